package engine

import (
	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// shortcut adds its inputs, then activates.
func (b *builder) shortcut(n *graph.Node, o *graph.Shortcut) (value, error) {
	if o.Scaling != graph.NoScaling {
		if b.mode == training {
			return value{}, &UnsupportedError{n, "a shortcut with weights cannot be trained yet"}
		}
		return b.addition(n, o, b.addScaled(n, o, shortcutScales(n, o, b.g)))
	}
	for i := range n.Inputs {
		if b.in(n, i).desc.Shape.C != n.Out.C {
			return b.addition(n, o, b.addScaled(n, o, ones(n, b.g)))
		}
	}
	return b.addition(n, o, b.addEqual(n, o))
}

// adder computes sum and y = act(sum) from the inputs.
type adder func(in []G.Value, sum, y []float32)

// addEqual is for inputs of equal shapes.
func (b *builder) addEqual(n *graph.Node, o *graph.Shortcut) adder {
	dst := b.desc(n.Out)
	return func(in []G.Value, sum, y []float32) {
		acc := floats(in[0])
		for i := 1; i < len(in); i++ {
			act := graph.Linear
			if i == len(in)-1 {
				act = o.Activation
			}
			onednn.Add(dst, act, acc, floats(in[i]), y, sum)
			acc = sum
		}
	}
}

// addScaled is for inputs with weights or of unequal channels: scales has one
// factor for every channel that an input adds to.
func (b *builder) addScaled(n *graph.Node, o *graph.Shortcut, scales [][]float32) adder {
	dst := b.desc(n.Out)
	return func(in []G.Value, sum, y []float32) {
		onednn.Zero(sum)
		for i := range in {
			onednn.AddScaled(b.in(n, i).desc, dst, scales[i], floats(in[i]), sum)
		}
		onednn.ActForward(dst, o.Activation, sum, y)
	}
}

// addition makes the node. The gradient of every input is dy*act'(sum), for the
// channels that it has; each gets a node of its own.
func (b *builder) addition(n *graph.Node, o *graph.Shortcut, forward adder) (value, error) {
	dst := b.desc(n.Out)
	y := make([]float32, dst.Len())
	sum := b.kept(y)
	x := &op{name: n.String(), out: newVector(y)}
	x.forward = func(in []G.Value) error { forward(in, sum, y); return nil }
	var in G.Nodes
	for i := range n.Inputs {
		in = append(in, b.in(n, i).node)
		x.diff = append(x.diff, true)
	}
	if b.mode == training {
		x.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
			var out G.Nodes
			for i := range in {
				d, err := b.addGradient(n, o, b.in(n, i).desc, sum, yn, dy)
				if err != nil {
					return nil, err
				}
				out = append(out, d)
			}
			return out, nil
		}
	}
	node, err := b.apply(x, in...)
	return value{node, dst}, err
}

func (b *builder) addGradient(n *graph.Node, o *graph.Shortcut, src onednn.Desc, sum []float32, yn, dy *G.Node) (*G.Node, error) {
	dst := b.desc(n.Out)
	dx := make([]float32, src.Len())
	back := &op{name: n.String() + " gradient", out: newVector(dx)}
	back.forward = func(in []G.Value) error {
		if src.Shape == dst.Shape {
			onednn.ActBackward(dst, o.Activation, sum, floats(in[0]), dx)
			return nil
		}
		dz := b.temp(dst.Len())
		onednn.ActBackward(dst, o.Activation, sum, floats(in[0]), dz)
		onednn.Zero(dx)
		onednn.CopyChannels(dst, 0, src, 0, min(src.Shape.C, dst.Shape.C), dz, dx)
		return nil
	}
	return b.apply(back, dy, yn)
}

// ones are the factors of a shortcut without weights.
func ones(n *graph.Node, g *graph.Graph) [][]float32 {
	out := make([][]float32, len(n.Inputs))
	for k, in := range n.Inputs {
		out[k] = make([]float32, min(n.Out.C, g.ShapeOf(in).C))
		for c := range out[k] {
			out[k][c] = 1
		}
	}
	return out
}

// shortcutScales returns the normalised weights of every input, one for each
// channel that it adds to.
func shortcutScales(n *graph.Node, o *graph.Shortcut, g *graph.Graph) [][]float32 {
	out := ones(n, g)
	for k := range out {
		for c := range out[k] {
			out[k][c] = float32(o.Factor(n.Weights, k, c, len(n.Inputs)))
		}
	}
	return out
}
