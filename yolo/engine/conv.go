package engine

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

func (b *builder) conv(n *graph.Node, c *graph.Conv) (value, error) {
	x, dst := b.in(n, 0), b.desc(n.Out)
	if c.Size == 1 && c.Stride > 1 {
		var err error
		if x, c, err = b.strided(n, x, c); err != nil {
			return value{}, err
		}
	}
	p, err := b.primitive(onednn.ConvSpec{
		Src: x.desc, Dst: dst, Op: c,
		Training: b.mode != inference, NeedDX: b.mode == training && n.Inputs[0] != graph.Input,
	})
	if err != nil {
		return value{}, err
	}
	y := make([]float32, dst.Len())
	var node *G.Node
	switch {
	case b.mode == inference:
		node, err = b.convFolded(n, p, x, y)
	case c.BatchNorm:
		node, err = b.convNorm(n, p, x, dst, y)
	default:
		node, err = b.convBias(n, p, x, dst, y)
	}
	return value{node, dst}, err
}

// strided takes stride and padding out of a 1x1 convolution: it reads a
// subsampled input instead.
func (b *builder) strided(n *graph.Node, x value, c *graph.Conv) (value, *graph.Conv, error) {
	one := *c
	one.Stride, one.Pad = 1, 0
	src, dst := x.desc, x.desc
	dst.Shape.H, dst.Shape.W = n.Out.H, n.Out.W
	x, err := b.unary(n.String()+" subsampled", x, dst,
		func(x0, y []float32) { onednn.SubsampleForward(src, dst, c.Stride, c.Pad, x0, y) },
		func(dy, dx []float32) { onednn.SubsampleBackward(src, dst, c.Stride, c.Pad, dy, dx) })
	return x, &one, err
}

func (b *builder) primitive(s onednn.ConvSpec) (p *onednn.Conv, err error) {
	onednn.On(func() {
		if p, err = onednn.NewConv(s); err == nil {
			b.infos = append(b.infos, p.Info())
		}
	})
	if err == nil {
		b.convs = append(b.convs, p)
	}
	return p, err
}

// convFolded is convolution + bias + activation in one primitive, the batch
// norm folded into kernel and bias.
func (b *builder) convFolded(n *graph.Node, p *onednn.Conv, x value, y []float32) (*G.Node, error) {
	kernel, bias := Fold(n.Weights)
	var err error
	onednn.On(func() { err = p.Freeze(kernel, bias) })
	if err != nil {
		return nil, err
	}
	return b.apply(&op{
		name: n.String(), out: newVector(y),
		forward: func(in []G.Value) error { return p.Infer(floats(in[0]), y) },
	}, x.node)
}

// convNorm is convolution + batch norm + activation as one operation, with one
// backward operation. z, the convolution's result, is kept for it.
func (b *builder) convNorm(n *graph.Node, p *onednn.Conv, x value, dst onednn.Desc, y []float32) (*G.Node, error) {
	if b.batch*n.Out.H*n.Out.W == 1 {
		return nil, fmt.Errorf("batch norm over one value a channel: it has no variance; use a larger batch or input")
	}
	w := n.Weights
	z := make([]float32, dst.Len())
	bn := onednn.Norm{Desc: dst, Act: n.Conv().Activation, Eps: graph.BatchNormEps}
	st := &norm{w, make([]float32, n.Out.C), make([]float32, n.Out.C), b.batch * n.Out.H * n.Out.W}
	b.norms = append(b.norms, st)
	o := &op{name: n.String(), out: newVector(y), diff: []bool{n.Inputs[0] != graph.Input, true, true, true}}
	o.forward = func(in []G.Value) error {
		if err := p.Forward(floats(in[0]), w.Kernel, z); err != nil {
			return err
		}
		return bn.Forward(z, w.Gamma, w.Bias, w.Mean, st.mean, st.variance, y)
	}
	if b.mode == training {
		o.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
			dgamma, dbeta := make([]float32, n.Out.C), make([]float32, n.Out.C)
			return b.convGradient(n, p, x, in[0], yn, dy, func(dyv, dz []float32) error {
				return bn.Backward(z, w.Gamma, w.Bias, st.mean, st.variance, dyv, dz, dgamma, dbeta)
			}, dst, dgamma, dbeta)
		}
	}
	return b.apply(o, x.node, b.param(n, Kernel, w.Kernel), b.param(n, Gamma, w.Gamma), b.param(n, Beta, w.Bias))
}

// convBias is convolution + bias + activation for training.
func (b *builder) convBias(n *graph.Node, p *onednn.Conv, x value, dst onednn.Desc, y []float32) (*G.Node, error) {
	w, act := n.Weights, n.Conv().Activation
	z := make([]float32, dst.Len())
	o := &op{name: n.String(), out: newVector(y), diff: []bool{n.Inputs[0] != graph.Input, true, true}}
	o.forward = func(in []G.Value) error {
		if err := p.Forward(floats(in[0]), w.Kernel, z); err != nil {
			return err
		}
		return onednn.BiasForward(dst, act, z, w.Bias, y)
	}
	if b.mode == training {
		o.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
			dbias := make([]float32, n.Out.C)
			return b.convGradient(n, p, x, in[0], yn, dy, func(dyv, dz []float32) error {
				return onednn.BiasBackward(dst, act, z, w.Bias, dyv, dz, dbias)
			}, dst, dbias)
		}
	}
	return b.apply(o, x.node, b.param(n, Kernel, w.Kernel), b.param(n, Bias, w.Bias))
}

// convGradient makes the backward operation: first what follows the
// convolution (after), then the weight and the data gradient. It reads y so
// that it runs after the forward operation. The gradients of the small vectors
// come last in the result, in the order of small.
func (b *builder) convGradient(n *graph.Node, p *onednn.Conv, x value, xn, yn, dy *G.Node,
	after func(dy, dz []float32) error, dst onednn.Desc, small ...[]float32) (G.Nodes, error) {
	needDX := n.Inputs[0] != graph.Input
	dw := make([]float32, len(n.Weights.Kernel))
	main := dw
	if needDX {
		main = make([]float32, x.desc.Len())
	}
	back := &op{name: n.String() + " gradient", out: newVector(main)}
	back.forward = func(in []G.Value) error {
		dz := b.temp(dst.Len())
		if err := after(floats(in[2]), dz); err != nil {
			return err
		}
		if err := p.BackwardWeights(floats(in[0]), dz, dw); err != nil {
			return err
		}
		if !needDX {
			return nil
		}
		return p.BackwardData(dz, n.Weights.Kernel, main)
	}
	first, err := b.apply(back, xn, yn, dy)
	if err != nil {
		return nil, err
	}
	out := G.Nodes{nil, first}
	if needDX {
		out[0] = first
		if out[1], err = b.take(n.String()+" dw", first, dw); err != nil {
			return nil, err
		}
	}
	for _, s := range small {
		t, err := b.take(n.String()+" dv", first, s)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}
