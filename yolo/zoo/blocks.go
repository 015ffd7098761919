package zoo

import (
	"math"
	"slices"

	"yoloprune/yolo/graph"
)

// builder adds layers to a graph.
type builder struct {
	Options
	arch       architecture
	activation graph.Activation // of the convolutions that follow
	g          *graph.Graph
}

// last is the number of the newest layer, graph.Input if there is none.
func (b *builder) last() graph.NodeID { return graph.NodeID(len(b.g.Nodes)) - 1 }

// filters scales a published number of filters and rounds it to an even one,
// so that a route can halve it. Equal numbers stay equal, as a shortcut needs.
func (b *builder) filters(n int) int {
	return max(2, 2*int(math.RoundToEven(float64(n)*b.Width/2)))
}

// conv adds a convolution with batch norm and activation that keeps the size,
// or halves it at stride 2.
func (b *builder) conv(filters, size, stride int) graph.NodeID {
	return b.g.Add(&graph.Conv{
		Filters: b.filters(filters), Size: size, Stride: stride, Pad: size / 2, Groups: 1,
		BatchNorm: true, Activation: b.activation,
	}, b.last()).ID
}

func (b *builder) route(inputs ...graph.NodeID) graph.NodeID {
	return b.g.Add(&graph.Route{Groups: 1}, inputs...).ID
}

// shortcut adds an earlier layer to the last one.
func (b *builder) shortcut(from graph.NodeID) graph.NodeID {
	return b.g.Add(&graph.Shortcut{Activation: graph.Linear}, b.last(), from).ID
}

// maxPool pools windows, with as much padding as keeps the size at stride 1.
func (b *builder) maxPool(size, stride int) graph.NodeID {
	return b.g.Add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, b.last()).ID
}

func (b *builder) upsample() graph.NodeID {
	return b.g.Add(&graph.Upsample{Stride: 2}, b.last()).ID
}

// head adds the convolution that predicts (classes+5) values an anchor, and
// its [yolo]. Scale 0 is the finest. With new_coords the [yolo] expects values
// that are logistic already.
func (b *builder) head(scale int) {
	h := b.arch.heads[scale]
	y := h.Yolo
	y.Classes, y.Anchors, y.Mask = b.Classes, slices.Clone(b.arch.anchors), slices.Clone(h.Mask)
	if b.Anchors != nil {
		y.Anchors, y.Mask = slices.Clone(b.Anchors), nil
	}
	for i := range anchorsPerHead {
		if len(y.Mask) < anchorsPerHead {
			y.Mask = append(y.Mask, anchorsPerHead*scale+i)
		}
	}
	activation := graph.Linear
	if y.NewCoords {
		activation = graph.Logistic
	}
	b.g.Add(&graph.Conv{
		Filters: len(y.Mask) * y.PerAnchor(), Size: 1, Stride: 1, Groups: 1, Activation: activation,
	}, b.last())
	b.g.Add(&y, b.last()).Options = options(h.options)
}

// residual adds a bottleneck block that is added to its input, the last layer,
// of n channels (He et al., CVPR 2016, arXiv:1512.03385).
func (b *builder) residual(inner, n int) graph.NodeID {
	in := b.last()
	b.conv(inner, 1, 1)
	b.conv(n, 3, 1)
	return b.shortcut(in)
}

// residualStage halves the size and adds residual blocks of n channels.
func (b *builder) residualStage(n, blocks int) graph.NodeID {
	b.conv(n, 3, 2)
	for range blocks {
		b.residual(n/2, n)
	}
	return b.last()
}

// bottlenecks adds count convolutions, in turn 1x1 to n channels and 3x3 to 2n.
func (b *builder) bottlenecks(n, count int) graph.NodeID {
	for i := range count {
		if i%2 == 0 {
			b.conv(n, 1, 1)
		} else {
			b.conv(2*n, 3, 1)
		}
	}
	return b.last()
}

// pools is spatial pyramid pooling (He et al., ECCV 2014, arXiv:1406.4729) in
// the form of YOLOv3-SPP, with windows that keep the size. It lists what is to
// be joined: the widest window first, the last layer itself at the end.
func (b *builder) pools() []graph.NodeID {
	in := b.last()
	out := []graph.NodeID{in}
	for _, size := range []int{5, 9, 13} {
		if b.last() != in {
			b.route(in)
		}
		out = append(out, b.maxPool(size, 1))
	}
	slices.Reverse(out)
	return out
}

// lateral doubles the size of the last layer and joins it to a finer one, both
// reduced to n channels first (Lin et al., Feature Pyramid Networks, CVPR 2017,
// arXiv:1612.03144).
func (b *builder) lateral(n int, finer graph.NodeID) graph.NodeID {
	b.conv(n, 1, 1)
	coarse := b.upsample()
	b.route(finer)
	fine := b.conv(n, 1, 1)
	return b.route(fine, coarse)
}

// sppCSP is spatial pyramid pooling in a cross-stage partial block of n
// channels (Scaled-YOLOv4, arXiv:2011.08036, section 4.1). YOLOv7 joins the
// pools the other way round.
func (b *builder) sppCSP(n int, narrowFirst bool) graph.NodeID {
	in := b.last()
	side := b.conv(n, 1, 1)
	b.route(in)
	b.conv(n, 1, 1)
	b.conv(n, 3, 1)
	b.conv(n, 1, 1)
	pools := b.pools()
	if narrowFirst {
		slices.Reverse(pools)
	}
	b.route(pools...)
	b.conv(n, 1, 1)
	b.route(b.conv(n, 3, 1), side)
	return b.conv(n, 1, 1)
}
