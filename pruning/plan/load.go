package plan

import (
	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// load is what a layer, or a network, costs.
type load struct {
	macs, params, filters int64
	stats                 int64   // means and variances, which the weights file holds too
	ms                    float64 // of an inference, where a Latency is at hand
}

func (l load) plus(o load) load {
	return load{l.macs + o.macs, l.params + o.params, l.filters + o.filters, l.stats + o.stats, l.ms + o.ms}
}

func (l load) minus(o load) load {
	return load{l.macs - o.macs, l.params - o.params, l.filters - o.filters, l.stats - o.stats, l.ms - o.ms}
}

// bytes is the size of the weights file: a header of 20 bytes, and four for each
// parameter, mean and variance.
func (l load) bytes() int64 { return 20 + 4*(l.params+l.stats) }

// of returns one quantity.
func (l load) of(q Quantity) float64 {
	switch q {
	case Params:
		return float64(l.params)
	case Channels:
		return float64(l.filters)
	case Bytes:
		return float64(l.bytes())
	case Time:
		return l.ms
	}
	return float64(l.macs)
}

// ratios returns the fractions removed from full when l is left.
func (l load) ratios(full load) Ratios {
	removed := func(q Quantity) float64 {
		if full.of(q) == 0 {
			return 0
		}
		return 1 - l.of(q)/full.of(q)
	}
	return Ratios{FLOPs: removed(FLOPs), Params: removed(Params), Channels: removed(Channels), Bytes: removed(Bytes), Latency: removed(Time)}
}

// loadOf returns what a layer costs that reads in and makes out channels, but
// for its filters, which count only where they may be cut. A convolution has K
// filters of C/G x R x S weights, applied at H x W places; its parameters are
// these and the bias, or gamma and beta. One that shares another's weights has
// none of its own. A shortcut may have weights, one for each input or one for
// each channel of each input.
func loadOf(g *graph.Graph, n *graph.Node, in, out int, lat *Latency) load {
	switch op := n.Op.(type) {
	case *graph.Conv:
		return convLoad(g, n, op, in, out, lat)
	case *graph.Shortcut:
		switch op.Scaling {
		case graph.PerFeature:
			return load{params: int64(len(n.Inputs))}
		case graph.PerChannel:
			return load{params: int64(len(n.Inputs) * out)}
		}
	}
	return load{}
}

func convLoad(g *graph.Graph, n *graph.Node, op *graph.Conv, in, out int, lat *Latency) load {
	perGroup := in / op.Groups
	if depgraph.Depthwise(op, g.ShapeOf(n.Inputs[0]).C) {
		perGroup = 1
	}
	kernel := int64(out) * int64(perGroup) * int64(op.Size*op.Size)
	l := load{macs: kernel * int64(n.Out.H) * int64(n.Out.W), ms: lat.of(n.ID, in, out)}
	if n.Shares() {
		return l
	}
	l.params = kernel + int64(out)
	if op.BatchNorm {
		l.params += int64(out)
		l.stats = 2 * int64(out)
	}
	return l
}

// weighs says whether a layer costs anything.
func weighs(n *graph.Node) bool {
	s, ok := n.Op.(*graph.Shortcut)
	return n.Conv() != nil || ok && s.Scaling != graph.NoScaling
}
