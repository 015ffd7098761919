package engine

import (
	"fmt"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

func (b *builder) maxpool(n *graph.Node, o *graph.MaxPool) (value, error) {
	if b.mode == training && o.Size > onednn.MaxPoolSize {
		return value{}, &UnsupportedError{n, fmt.Sprintf("size %d: at most %d can be trained", o.Size, onednn.MaxPoolSize)}
	}
	x := b.in(n, 0)
	p := &onednn.MaxPool{Src: x.desc, Dst: b.desc(n.Out), Op: o, Training: b.mode == training}
	return b.unary(n.String(), x, p.Dst, p.Forward, p.Backward)
}

func (b *builder) avgpool(n *graph.Node) (value, error) {
	x := b.in(n, 0)
	return b.unary(n.String(), x, b.desc(n.Out),
		func(x0, y []float32) { onednn.AvgPoolForward(x.desc, x0, y) },
		func(dy, dx []float32) { onednn.AvgPoolBackward(x.desc, dy, dx) })
}

func (b *builder) localAvgPool(n *graph.Node, o *graph.LocalAvgPool) (value, error) {
	x := b.in(n, 0)
	p := onednn.LocalAvgPool{Src: x.desc, Dst: b.desc(n.Out), Op: o}
	return b.unary(n.String(), x, p.Dst, p.Forward, p.Backward)
}
