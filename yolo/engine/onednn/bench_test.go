package onednn

import (
	"fmt"
	"testing"

	"yoloprune/yolo/graph"
)

// BenchmarkConv times forward, data gradient and weight gradient together, for
// layers of YOLOv4-tiny at 416 and for odd channel counts as a cut leaves them,
// batch 4. docs/engine.md has the figures.
func BenchmarkConv(b *testing.B) {
	for _, l := range []struct{ in, side, out, size int }{
		{64, 104, 64, 3}, {128, 52, 128, 3}, {256, 26, 256, 3}, {512, 13, 512, 3},
		{100, 52, 100, 3}, {101, 52, 77, 3}, {37, 104, 53, 3}, {201, 52, 99, 1},
	} {
		for _, o := range []Order{NHWC, Blocked8} {
			b.Run(fmt.Sprintf("%d>%d/%dx%d@%d/%v", l.in, l.out, l.size, l.size, l.side, o), func(b *testing.B) {
				op := &graph.Conv{Filters: l.out, Size: l.size, Stride: 1, Pad: l.size / 2, Groups: 1}
				src := Desc{4, graph.Shape{C: l.in, H: l.side, W: l.side}, o}
				dst := Desc{4, graph.Shape{C: l.out, H: l.side, W: l.side}, o}
				benchmarkConv(b, ConvSpec{Src: src, Dst: dst, Op: op, Training: true, NeedDX: true})
			})
		}
	}
}

func benchmarkConv(b *testing.B, s ConvSpec) {
	var p *Conv
	var err error
	On(func() { p, err = NewConv(s) })
	if err != nil {
		b.Fatal(err)
	}
	defer On(p.Close)
	x, y := make([]float32, s.Src.Len()), make([]float32, s.Dst.Len())
	dx, w := make([]float32, s.Src.Len()), make([]float32, s.Op.KernelLen(s.Src.Shape.C))
	for b.Loop() {
		On(func() {
			for _, step := range []func() error{
				func() error { return p.Forward(x, w, y) },
				func() error { return p.BackwardWeights(x, y, w) },
				func() error { return p.BackwardData(y, w, dx) },
			} {
				if err == nil {
					err = step()
				}
			}
		})
	}
	if err != nil {
		b.Fatal(err)
	}
}
