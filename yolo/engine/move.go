package engine

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// unary adds an operation of one input whose gradient depends on dy alone.
// The backward operation reads y too, so that it runs after the forward one.
func (b *builder) unary(name string, x value, dst onednn.Desc, forward, backward func(from, to []float32) error) (value, error) {
	y := make([]float32, dst.Len())
	o := &op{name: name, out: newVector(y), diff: []bool{true}}
	o.forward = func(in []G.Value) error { return forward(floats(in[0]), y) }
	if b.mode == training {
		o.gradient = func(in G.Nodes, yn, dy *G.Node) (G.Nodes, error) {
			dx := make([]float32, x.desc.Len())
			back := &op{name: name + " gradient", out: newVector(dx)}
			back.forward = func(in []G.Value) error { return backward(floats(in[0]), dx) }
			n, err := b.apply(back, dy, yn)
			return G.Nodes{n}, err
		}
	}
	n, err := b.apply(o, x.node)
	return value{n, dst}, err
}

// convert changes the memory order.
func (b *builder) convert(x value, to onednn.Desc) (value, error) {
	count := to.Shape.C
	name := fmt.Sprintf("%v to %v", x.desc.Order, to.Order)
	return b.unary(name, x, to,
		func(x0, y []float32) error { onednn.CopyChannels(x.desc, 0, to, 0, count, x0, y); return nil },
		func(dy, dx []float32) error { onednn.CopyChannels(to, 0, x.desc, 0, count, dy, dx); return nil })
}

func (b *builder) maxpool(n *graph.Node, o *graph.MaxPool) (value, error) {
	if o.Size > onednn.MaxPoolSize {
		return value{}, &UnsupportedError{n, fmt.Sprintf("size %d: at most %d", o.Size, onednn.MaxPoolSize)}
	}
	x := b.in(n, 0)
	p := &onednn.MaxPool{Src: x.desc, Dst: b.desc(n.Out), Op: o}
	return b.unary(n.String(), x, p.Dst,
		func(x, y []float32) error { p.Forward(x, y); return nil },
		func(dy, dx []float32) error { p.Backward(dy, dx); return nil })
}

func (b *builder) upsample(n *graph.Node, o *graph.Upsample) (value, error) {
	x := b.in(n, 0)
	return b.unary(n.String(), x, b.desc(n.Out),
		func(x0, y []float32) error { onednn.UpsampleForward(x.desc, o.Stride, x0, y); return nil },
		func(dy, dx []float32) error { onednn.UpsampleBackward(x.desc, o.Stride, dy, dx); return nil })
}

func (b *builder) avgpool(n *graph.Node) (value, error) {
	x := b.in(n, 0)
	return b.unary(n.String(), x, b.desc(n.Out),
		func(x0, y []float32) error { onednn.AvgPoolForward(x.desc, x0, y); return nil },
		func(dy, dx []float32) error { onednn.AvgPoolBackward(x.desc, dy, dx); return nil })
}

func (b *builder) localAvgPool(n *graph.Node, o *graph.LocalAvgPool) (value, error) {
	x := b.in(n, 0)
	p := onednn.LocalAvgPool{Src: x.desc, Dst: b.desc(n.Out), Op: o}
	return b.unary(n.String(), x, p.Dst,
		func(x0, y []float32) error { p.Forward(x0, y); return nil },
		func(dy, dx []float32) error { p.Backward(dy, dx); return nil })
}

// permute moves values within each image; source gives the place of origin of
// every place of the output, both counted as C x H x W.
func (b *builder) permute(n *graph.Node, source func(to int) int) (value, error) {
	x := b.in(n, 0)
	p := onednn.NewPermutation(x.desc, b.desc(n.Out), source)
	return b.unary(n.String(), x, b.desc(n.Out),
		func(x0, y []float32) error { p.Forward(x0, y); return nil },
		func(dy, dx []float32) error { p.Backward(dy, dx); return nil })
}

// spaceToDepth returns where value i of a [reorg3d]'s output comes from, for an
// input of shape in; see graph.Reorg3D.
func spaceToDepth(in graph.Shape, stride int) func(i int) int {
	h, w := in.H/stride, in.W/stride
	return func(i int) int {
		channel, y, x := i/(h*w), i/w%h, i%w
		off, c := channel/in.C, channel%in.C
		return (c*in.H+y*stride+off/stride)*in.W + x*stride + off%stride
	}
}

// depthToSpace is its inverse, for an output of shape out.
func depthToSpace(out graph.Shape, stride int) func(i int) int {
	h, w := out.H/stride, out.W/stride
	return func(i int) int {
		c, y, x := i/(out.H*out.W), i/out.W%out.H, i%out.W
		off := y%stride*stride + x%stride
		return ((off*out.C+c)*h+y/stride)*w + x/stride
	}
}

// scrambled is the same for [reorg]; see graph.Reorg.
func scrambled(in graph.Shape, stride int) func(i int) int {
	few := in.C / (stride * stride)
	return func(out int) int {
		k, j, i := out/(in.H*in.W), out/in.W%in.H, out%in.W
		c2, off := k%few, k/few
		return (c2*in.H*stride+j*stride+off/stride)*in.W*stride + i*stride + off%stride
	}
}

func (b *builder) reorg3D(n *graph.Node, o *graph.Reorg3D) (value, error) {
	if o.Reverse {
		return b.permute(n, depthToSpace(n.Out, o.Stride))
	}
	return b.permute(n, spaceToDepth(b.in(n, 0).desc.Shape, o.Stride))
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
