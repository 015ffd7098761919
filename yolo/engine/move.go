package engine

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// unary adds an operation of one input whose gradient depends on dy alone.
// The backward operation reads y too, so that it runs after the forward one.
func (b *builder) unary(name string, x value, dst onednn.Desc, forward, backward func(from, to []float32)) (value, error) {
	y := make([]float32, dst.Len())
	o := &op{name: name, out: newVector(y), diff: []bool{true}}
	o.forward = func(in []G.Value) error { forward(floats(in[0]), y); return nil }
	if b.mode == training {
		o.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
			dx := make([]float32, x.desc.Len())
			back := &op{name: name + " gradient", out: newVector(dx)}
			back.forward = func(in []G.Value) error { backward(floats(in[0]), dx); return nil }
			n, err := b.apply(back, dy, yn)
			return G.Nodes{n}, err
		}
	}
	n, err := b.apply(o, x.node)
	return value{n, dst}, err
}

// convert changes the memory order.
func (b *builder) convert(x value, to onednn.Desc) (value, error) {
	from, count := x.desc, to.Shape.C
	return b.unary(fmt.Sprintf("%v to %v", from.Order, to.Order), x, to,
		func(x, y []float32) { onednn.CopyChannels(from, 0, to, 0, count, x, y) },
		func(dy, dx []float32) { onednn.CopyChannels(to, 0, from, 0, count, dy, dx) })
}

func (b *builder) upsample(n *graph.Node, o *graph.Upsample) (value, error) {
	x := b.in(n, 0)
	return b.unary(n.String(), x, b.desc(n.Out),
		func(x0, y []float32) { onednn.UpsampleForward(x.desc, o.Stride, x0, y) },
		func(dy, dx []float32) { onednn.UpsampleBackward(x.desc, o.Stride, dy, dx) })
}

// slice is one input's part of a route: channels [from, from+count) of the
// input become channels [to, to+count) of the output.
type slice struct {
	src             onednn.Desc
	from, to, count int
}

// route concatenates slices of its inputs. An input that is read whole by a
// route of one input is passed on as it is.
func (b *builder) route(n *graph.Node, o *graph.Route) (value, error) {
	if len(n.Inputs) == 1 && o.Groups == 1 {
		return b.in(n, 0), nil
	}
	dst := b.desc(n.Out)
	var in G.Nodes
	var parts []slice
	to := 0
	for i := range n.Inputs {
		v := b.in(n, i)
		count := v.desc.Shape.C / o.Groups
		parts = append(parts, slice{v.desc, count * o.GroupID, to, count})
		in = append(in, v.node)
		to += count
	}
	y := make([]float32, dst.Len())
	x := &op{name: n.String(), out: newVector(y), diff: make([]bool, len(in))}
	for i := range x.diff {
		x.diff[i] = true
	}
	x.forward = func(in []G.Value) error {
		for i, p := range parts {
			onednn.CopyChannels(p.src, p.from, dst, p.to, p.count, floats(in[i]), y)
		}
		return nil
	}
	if b.mode == training {
		x.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) { return b.routeGradient(n, parts, dst, yn, dy) }
	}
	node, err := b.apply(x, in...)
	return value{node, dst}, err
}

func (b *builder) routeGradient(n *graph.Node, parts []slice, dst onednn.Desc, yn, dy *G.Node) (G.Nodes, error) {
	var out G.Nodes
	for _, p := range parts {
		dx := make([]float32, p.src.Len())
		back := &op{name: n.String() + " gradient", out: newVector(dx)}
		back.forward = func(in []G.Value) error {
			if p.count < p.src.Shape.C {
				onednn.Zero(dx)
			}
			onednn.CopyChannels(dst, p.to, p.src, p.from, p.count, floats(in[0]), dx)
			return nil
		}
		d, err := b.apply(back, dy, yn)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
