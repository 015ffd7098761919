// Package graphtest makes small graphs and runs them, for the tests of the
// pruning packages. Forward is written to be read, in float64.
package graphtest

import (
	"math"
	"math/rand/v2"

	"yoloprune/yolo/graph"
)

// Net is a graph under construction.
type Net struct{ *graph.Graph }

// New starts a graph over c x h x w images.
func New(c, h, w int) Net {
	return Net{&graph.Graph{Net: graph.Net{Channels: c, Height: h, Width: w}}}
}

// Last is the node added last, or the input.
func (n Net) Last() graph.NodeID { return graph.NodeID(len(n.Nodes) - 1) }

func (n Net) add(op graph.Op, in ...graph.NodeID) graph.NodeID {
	id := n.Add(op, in...).ID
	if err := n.Infer(); err != nil {
		panic(err)
	}
	return id
}

// Conv adds a same-padded convolution with batch norm.
func (n Net) Conv(in graph.NodeID, filters, size, groups int, act graph.Activation) graph.NodeID {
	return n.add(&graph.Conv{Filters: filters, Size: size, Stride: 1, Pad: size / 2, Groups: groups, BatchNorm: true, Activation: act}, in)
}

// ConvOp adds any convolution.
func (n Net) ConvOp(in graph.NodeID, op graph.Conv) graph.NodeID { return n.add(&op, in) }

// Use adds a convolution with the weights of an earlier one, at another stride and
// dilation.
func (n Net) Use(owner, in graph.NodeID, stride, dilation int, act graph.Activation) graph.NodeID {
	op := *n.Nodes[owner].Conv()
	op.Stride, op.Dilation, op.Activation = stride, dilation, act
	op.Pad, op.Back = (op.Extent()-1)/2, len(n.Nodes)-int(owner)
	return n.add(&op, in)
}

// Route adds a concatenation.
func (n Net) Route(in ...graph.NodeID) graph.NodeID { return n.Slice(1, 0, in...) }

// Slice adds a route over slice id of groups.
func (n Net) Slice(groups, id int, in ...graph.NodeID) graph.NodeID {
	return n.add(&graph.Route{Groups: groups, GroupID: id}, in...)
}

// Shortcut adds a linear sum.
func (n Net) Shortcut(in ...graph.NodeID) graph.NodeID {
	return n.add(&graph.Shortcut{Activation: graph.Linear}, in...)
}

// MaxPool adds pooling with Darknet's default padding.
func (n Net) MaxPool(in graph.NodeID, size, stride int) graph.NodeID {
	return n.add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, in)
}

// Upsample adds upsampling.
func (n Net) Upsample(in graph.NodeID, stride int) graph.NodeID {
	return n.add(&graph.Upsample{Stride: stride}, in)
}

// Head adds a 1 x 1 convolution without batch norm, and a yolo of one class
// and one anchor that reads it.
func (n Net) Head(in graph.NodeID) graph.NodeID {
	c := n.ConvOp(in, graph.Conv{Filters: 6, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	return n.add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 1}, c)
}

// Fill gives every convolution and every weighted shortcut random weights; the
// signal keeps its size from layer to layer.
func (n Net) Fill(seed uint64) *graph.Graph {
	r := rand.New(rand.NewPCG(seed, 1))
	for _, c := range n.Convs() {
		in := n.ShapeOf(c.Inputs[0]).C
		w := c.Conv().NewWeights(in)
		fan := float64(len(w.Kernel) / c.Conv().Filters)
		for i := range w.Kernel {
			w.Kernel[i] = float32(r.NormFloat64() / math.Sqrt(fan))
		}
		for k := range w.Bias {
			w.Bias[k] = float32(0.5 * r.NormFloat64())
		}
		for k := range w.Gamma {
			w.Gamma[k] = float32(1.5 * r.Float64() * r.NormFloat64())
			w.Mean[k] = float32(0.3 * r.NormFloat64())
			w.Var[k] = float32(0.5 + r.Float64())
		}
		c.Weights = w
	}
	n.LinkShared()
	for _, m := range n.Nodes {
		if o, ok := m.Op.(*graph.Shortcut); ok && o.Scaling != graph.NoScaling {
			m.Weights = &graph.Weights{Scale: make([]float32, o.ScaleLen(len(m.Inputs), m.Out.C))}
			for i := range m.Weights.Scale {
				m.Weights.Scale[i] = float32(r.NormFloat64())
			}
		}
	}
	return n.Graph
}
