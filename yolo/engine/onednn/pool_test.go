package onednn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// pools are Darknet's geometries and some beside them.
var pools = []graph.MaxPool{
	{Size: 2, Stride: 2, Padding: 1}, {Size: 2, Stride: 2, Padding: 0}, {Size: 2, Stride: 1, Padding: 1},
	{Size: 3, Stride: 2, Padding: 2}, {Size: 5, Stride: 1, Padding: 4}, {Size: 9, Stride: 1, Padding: 8},
	{Size: 13, Stride: 1, Padding: 12}, {Size: 15, Stride: 1, Padding: 14}, {Size: 3, Stride: 1, Padding: 4}, {Size: 1, Stride: 1, Padding: 0},
	{Size: 17, Stride: 1, Padding: 16}, {Size: 33, Stride: 2, Padding: 32}, {Size: MaxPoolSize, Stride: 50, Padding: 2 * (MaxPoolSize - 1)},
}

func TestMaxPool(t *testing.T) {
	for _, op := range pools {
		for _, s := range []graph.Shape{{C: 1, H: 6, W: 5}, {C: 11, H: 7, W: 7}, {C: 16, H: 4, W: 8}, {C: 37, H: 3, W: 13}} {
			for _, o := range orders {
				checkMaxPool(t, op, Desc{2, s, o})
			}
		}
	}
}

func checkMaxPool(t *testing.T, op graph.MaxPool, src Desc) {
	t.Helper()
	what := fmt.Sprintf("%v %v %+v", src.Order, src.Shape, op)
	rng := rand.New(rand.NewPCG(uint64(op.Size), uint64(src.Shape.C)))
	x := gridTensor(rng, src.N, src.Shape) // many equal values: the first must win
	r := ref.MaxPool(op)
	want := r.Forward(x)
	dst := Desc{src.N, graph.Shape{C: want.C, H: want.H, W: want.W}, src.Order}
	dy := gridTensor(rng, dst.N, dst.Shape)
	y, inferred, dx := dirty(dst.Len()), dirty(dst.Len()), dirty(src.Len())
	on(t, func() error {
		p := &MaxPool{Src: src, Dst: dst, Op: &op, Training: true}
		p.Forward(pack(src, x), y)
		p.Backward(pack(dst, dy), dx)
		p = &MaxPool{Src: src, Dst: dst, Op: &op}
		p.Forward(pack(src, x), inferred)
		return nil
	})
	equal(t, what+": y", unpack(t, what, dst, y), want.Data)
	equal(t, what+": y in inference", unpack(t, what, dst, inferred), want.Data)
	equal(t, what+": dx", unpack(t, what, src, dx), r.Backward(x, dy).Data)
}

// NaN inputs, some or all, must not lead a gradient outside of the image: every
// gradient of one lands on some value of its own image and channel.
func TestMaxPoolNaN(t *testing.T) {
	for _, op := range pools {
		for _, o := range orders {
			for _, share := range []float64{0.3, 1} {
				checkMaxPoolNaN(t, op, Desc{2, graph.Shape{C: 11, H: 7, W: 5}, o}, share)
			}
		}
	}
}

func checkMaxPoolNaN(t *testing.T, op graph.MaxPool, src Desc, share float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(op.Size), 5))
	x := gridTensor(rng, src.N, src.Shape)
	for i := range x.Data {
		if rng.Float64() < share {
			x.Data[i] = float32(math.NaN())
		}
	}
	out := ref.MaxPool(op).Forward(x)
	dst := Desc{src.N, graph.Shape{C: out.C, H: out.H, W: out.W}, src.Order}
	ones := ref.New(out.N, out.H, out.W, out.C)
	for i := range ones.Data {
		ones.Data[i] = 1
	}
	y, dx := dirty(dst.Len()), dirty(src.Len())
	on(t, func() error {
		p := &MaxPool{Src: src, Dst: dst, Op: &op, Training: true}
		p.Forward(pack(src, x), y)
		p.Backward(pack(dst, ones), dx)
		return nil
	})
	what := fmt.Sprintf("%v %+v", src.Order, op)
	sums := make([]float32, src.N*src.Shape.C)
	each(src, func(i, p int) { sums[i/src.Shape.Size()*src.Shape.C+i%src.Shape.C] += dx[p] })
	for _, s := range sums {
		if s != float32(out.H*out.W) {
			t.Errorf("%s: the gradients of a channel sum to %v, want %d", what, s, out.H*out.W)
			return
		}
	}
	if first := unpackUnchecked(dst, y)[0]; share == 1 && !math.IsNaN(float64(first)) {
		t.Errorf("%s: the maximum of NaN is %v", what, first)
	}
}

// TestAvgPool also takes the mean of an image of one pixel.
func TestAvgPool(t *testing.T) {
	for _, o := range orders {
		for _, s := range append([]graph.Shape{{C: 9, H: 1, W: 1}, {C: 300, H: 3, W: 2}}, shapes...) {
			rng := rand.New(rand.NewPCG(uint64(s.C), 4))
			src, dst := Desc{2, s, o}, Desc{2, graph.Shape{C: s.C, H: 1, W: 1}, o}
			x, dy := normalTensor(rng, 2, s), normalTensor(rng, 2, dst.Shape)
			y, dx := dirty(dst.Len()), dirty(src.Len())
			on(t, func() error {
				AvgPoolForward(src, pack(src, x), y)
				AvgPoolBackward(src, pack(dst, dy), dx)
				return nil
			})
			what := fmt.Sprintf("%v %v", o, s)
			near(t, what+": y", unpack(t, what, dst, y), ref.AvgPool{}.Forward(x).Data)
			near(t, what+": dx", unpack(t, what, src, dx), ref.AvgPool{}.Backward(x, dy).Data)
		}
	}
}

func TestLocalAvgPool(t *testing.T) {
	for _, max := range pools {
		op := graph.LocalAvgPool(max)
		for _, o := range orders {
			checkLocalAvgPool(t, op, Desc{2, graph.Shape{C: 11, H: 7, W: 6}, o})
		}
	}
}

func checkLocalAvgPool(t *testing.T, op graph.LocalAvgPool, src Desc) {
	t.Helper()
	what := fmt.Sprintf("%v %+v", src.Order, op)
	rng := rand.New(rand.NewPCG(uint64(op.Size), uint64(op.Stride)))
	x, r := normalTensor(rng, src.N, src.Shape), ref.LocalAvgPool(op)
	want := r.Forward(x)
	dst := Desc{src.N, graph.Shape{C: want.C, H: want.H, W: want.W}, src.Order}
	dy := normalTensor(rng, dst.N, dst.Shape)
	y, dx := dirty(dst.Len()), dirty(src.Len())
	on(t, func() error {
		p := LocalAvgPool{Src: src, Dst: dst, Op: &op}
		p.Forward(pack(src, x), y)
		p.Backward(pack(dst, dy), dx)
		return nil
	})
	near(t, what+": y", unpack(t, what, dst, y), want.Data)
	near(t, what+": dx", unpack(t, what, src, dx), r.Backward(x, dy).Data)
}
