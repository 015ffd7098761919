package engine

import (
	"fmt"
	"slices"
	"time"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// TimeConv returns the median time, in milliseconds, of runs inferences of one
// convolution with bias and activation over an image of shape in, alone and
// with its data in the cache. A layer of a network takes longer where other
// layers have pushed its data out.
func TimeConv(c *graph.Conv, in graph.Shape, threads, runs int) (ms float64, err error) {
	defer guard(&err)
	onednn.SetThreads(threads)
	src, op := timedInput(c, in)
	dst := src
	dst.Shape = graph.Shape{C: op.Filters, H: pixels(op, src.Shape.H), W: pixels(op, src.Shape.W)}
	dst.Order = onednn.BestOrder()
	for _, d := range []onednn.Desc{src, dst} {
		if d.Shape.H < 1 || d.Shape.W < 1 || d.Shape.H*d.Shape.W > graph.MaxActivation/max(d.Shape.C, 8) {
			return 0, fmt.Errorf("engine: a convolution of %v to %v cannot be timed", src.Shape, dst.Shape)
		}
	}
	onednn.On(func() { ms, err = timeConv(onednn.ConvSpec{Src: src, Dst: dst, Op: op}, runs) })
	return ms, err
}

// timedInput is what the layer reads: the image as it comes, a subsampled
// input in front of a strided 1x1 kernel, and else the order of the engine.
func timedInput(c *graph.Conv, in graph.Shape) (onednn.Desc, *graph.Conv) {
	op := *c
	src := onednn.Desc{N: 1, Shape: in, Order: onednn.BestOrder()}
	if src.Order != onednn.NHWC && in.C <= 4 {
		src.Order = onednn.NCHW
	}
	if c.Size == 1 && c.Stride > 1 {
		src.Shape.H, src.Shape.W = pixels(c, in.H), pixels(c, in.W)
		op.Stride, op.Pad = 1, 0
	}
	return src, &op
}

// pixels is the output's side: (H + 2*pad - extent)/stride + 1, rounded down.
func pixels(c *graph.Conv, side int) int { return (side+2*c.Pad-c.Extent())/c.Stride + 1 }

func timeConv(s onednn.ConvSpec, runs int) (float64, error) {
	p, err := onednn.NewConv(s)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.Freeze(make([]float32, s.Op.KernelLen(s.Src.Shape.C)), make([]float32, s.Op.Filters)); err != nil {
		return 0, err
	}
	x, y := make([]float32, s.Src.Len()), make([]float32, s.Dst.Len())
	times := make([]float64, 0, runs)
	for range max(1, runs) + 1 {
		begin := time.Now()
		if err := p.Infer(x, y); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin).Seconds()*1e3)
	}
	times = times[1:]
	slices.Sort(times)
	return times[len(times)/2], nil
}
