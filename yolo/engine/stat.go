package engine

import "yoloprune/yolo/graph"

// Measured lists the layers whose outputs Channels hands out: those that compute
// something of their own and lead to a head. What a route, an upsampling or a
// dropout passes on is theirs.
func (i *Inference) Measured() []graph.NodeID {
	var ids []graph.NodeID
	for _, n := range i.g.Nodes {
		if i.live[n.ID] && computes(n) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

func computes(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv, *graph.Shortcut, *graph.ScaleChannels, *graph.SAM, *graph.MaxPool, *graph.AvgPool, *graph.LocalAvgPool:
		return true
	}
	return false
}

// Channels hands the output of a measured layer in the last Forward to each, a part
// of a channel of an image at a time: values v[0], v[stride], v[2*stride] and so on,
// in memory that the next Forward overwrites. A part has so few pixels that the
// values beside it, which the next channels' calls read, stay in the cache.
func (i *Inference) Channels(id graph.NodeID, each func(channel int, v []float32, stride int)) {
	d := i.values[id].desc
	data := i.values[id].node.Op().(*op).out.Data().([]float32)
	b, channels, px := d.Block(), d.Shape.C, d.Shape.H*d.Shape.W
	pixels := max(1, partLen/b)
	for image := range d.N {
		for first := 0; first < channels; first += b {
			block := data[image*(d.Len()/d.N)+first*px:][:b*px]
			for p := 0; p < px; p += pixels {
				part := block[p*b : min(p+pixels, px)*b]
				for c := range min(b, channels-first) {
					each(first+c, part[c:len(part)-b+c+1], b)
				}
			}
		}
	}
}

// partLen is about how many values of a block of channels Channels goes through at
// once.
const partLen = 4096
