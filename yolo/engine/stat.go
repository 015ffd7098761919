package engine

import "yoloprune/yolo/graph"

// Measured lists the layers whose outputs Channel hands out: those that compute
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

// Channels hands the output of a measured layer in the last Forward to each,
// channel by channel and image by image: values v[0], v[stride], v[2*stride] and
// so on, H*W of them, in memory that the next Forward overwrites.
func (i *Inference) Channels(id graph.NodeID, each func(channel int, v []float32, stride int)) {
	d := i.values[id].desc
	data := i.values[id].node.Op().(*op).out.Data().([]float32)
	b, px := d.Block(), d.Shape.H*d.Shape.W
	perImage := d.Len() / d.N
	for image := range d.N {
		for c := range d.Shape.C {
			from := image*perImage + c/b*px*b + c%b
			each(c, data[from:from+(px-1)*b+1], b)
		}
	}
}
