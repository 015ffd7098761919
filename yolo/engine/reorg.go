package engine

import (
	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// permute moves values within each image; source gives the place of origin of
// every place of the output, both counted as C x H x W.
func (b *builder) permute(n *graph.Node, source func(to int) int) (value, error) {
	x := b.in(n, 0)
	p := onednn.NewPermutation(x.desc, b.desc(n.Out), source)
	return b.unary(n.String(), x, b.desc(n.Out), p.Forward, p.Backward)
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
