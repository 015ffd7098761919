package engine

import (
	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/mask"
	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// product multiplies the second input by the first, the gate, then activates.
func (b *builder) product(n *graph.Node, act graph.Activation) (value, error) {
	gate, x := b.in(n, 0), b.in(n, 1)
	p := onednn.Product{Gate: gate.desc, X: x.desc, Act: act}
	y := make([]float32, x.desc.Len())
	z := b.kept(y)
	o := &op{name: n.String(), out: newVector(y), diff: []bool{true, true}}
	o.forward = func(in []G.Value) error { p.Forward(floats(in[0]), floats(in[1]), z, y); return nil }
	if b.mode == training {
		o.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) { return b.productGradient(n, p, z, in, yn, dy) }
	}
	node, err := b.apply(o, gate.node, x.node)
	return value{node, x.desc}, err
}

func (b *builder) productGradient(n *graph.Node, p onednn.Product, z []float32, in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
	dgate, dx := make([]float32, p.Gate.Len()), make([]float32, p.X.Len())
	backGate := &op{name: n.String() + " gate gradient", out: newVector(dgate)}
	backGate.forward = func(in []G.Value) error {
		p.BackwardGate(floats(in[0]), z, floats(in[1]), b.temp(len(z)), dgate)
		return nil
	}
	backX := &op{name: n.String() + " gradient", out: newVector(dx)}
	backX.forward = func(in []G.Value) error {
		p.BackwardX(floats(in[0]), z, floats(in[1]), b.temp(len(z)), dx)
		return nil
	}
	first, err := b.apply(backGate, in[1], dy, yn)
	if err != nil {
		return nil, err
	}
	second, err := b.apply(backX, in[0], dy, yn)
	return G.Nodes{first, second}, err
}

// dropout is the input itself, but in training. The mask is drawn anew for
// every iteration.
func (b *builder) dropout(n *graph.Node, o *graph.Dropout) (value, error) {
	x := b.in(n, 0)
	if b.mode != training || o.Probability == 0 {
		return x, nil
	}
	plain := x.desc
	plain.Order = onednn.NHWC
	drawn, factors := make([]float32, plain.Len()), make([]float32, x.desc.Len())
	p := onednn.Product{Gate: x.desc, X: x.desc, Act: graph.Linear}
	return b.unary(n.String(), x, x.desc,
		func(x0, y []float32) {
			mask.Keep(b.seed, uint64(n.ID), b.iteration, o.Probability, drawn)
			onednn.CopyChannels(plain, 0, x.desc, 0, plain.Shape.C, drawn, factors)
			p.Forward(factors, x0, y, y)
		},
		func(dy, dx []float32) { p.Forward(factors, dy, dx, dx) })
}
