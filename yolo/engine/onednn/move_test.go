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
	y, dx := dirty(dst.Len()), dirty(src.Len())
	p := &MaxPool{Src: src, Dst: dst, Op: &op}
	on(t, func() error {
		p.Forward(pack(src, x), y)
		p.Backward(pack(dst, dy), dx)
		return nil
	})
	equal(t, what+": y", unpack(t, what, dst, y), want.Data)
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
		p := &MaxPool{Src: src, Dst: dst, Op: &op}
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

func TestUpsample(t *testing.T) {
	for _, o := range orders {
		for _, s := range shapes {
			for _, stride := range []int{1, 2, 3} {
				src := Desc{2, s, o}
				dst := Desc{2, graph.Shape{C: s.C, H: s.H * stride, W: s.W * stride}, o}
				what := fmt.Sprintf("%v %v by %d", o, s, stride)
				rng := rand.New(rand.NewPCG(uint64(s.C), uint64(stride)))
				x, dy := gridTensor(rng, 2, s), gridTensor(rng, 2, dst.Shape)
				y, dx := dirty(dst.Len()), dirty(src.Len())
				on(t, func() error {
					UpsampleForward(src, stride, pack(src, x), y)
					UpsampleBackward(src, stride, pack(dst, dy), dx)
					return nil
				})
				r := ref.Upsample{Stride: stride}
				equal(t, what+": y", unpack(t, what, dst, y), r.Forward(x).Data)
				equal(t, what+": dx", unpack(t, what, src, dx), r.Backward(dy).Data)
			}
		}
	}
}

// TestSubsample: a 1x1 convolution whose kernel is the identity, over a stride.
func TestSubsample(t *testing.T) {
	for _, o := range append([]Order{NCHW}, orders...) {
		for _, s := range shapes {
			r := ref.Conv{Filters: s.C, Size: 1, Stride: 2, Groups: s.C}
			ones := make([]float32, s.C)
			for i := range ones {
				ones[i] = 1
			}
			rng := rand.New(rand.NewPCG(uint64(s.C), 2))
			x := gridTensor(rng, 2, s)
			want := r.Forward(x, ones, nil)
			src, dst := Desc{2, s, o}, Desc{2, graph.Shape{C: want.C, H: want.H, W: want.W}, o}
			dy := gridTensor(rng, 2, dst.Shape)
			y, dx := dirty(dst.Len()), dirty(src.Len())
			on(t, func() error {
				SubsampleForward(src, 2, pack(src, x), y)
				SubsampleBackward(src, 2, pack(dst, dy), dx)
				return nil
			})
			what := fmt.Sprintf("%v %v", o, s)
			equal(t, what+": y", unpack(t, what, dst, y), want.Data)
			equal(t, what+": dx", unpack(t, what, src, dx), r.BackwardData(x, ones, dy).Data)
		}
	}
}

// TestCopyChannels copies runs that start and end on and off a block, between
// all pairs of orders.
func TestCopyChannels(t *testing.T) {
	for _, c := range []struct{ sc, dc, count, src, dst int }{
		{0, 0, 37, 37, 37}, {0, 0, 16, 16, 48}, {0, 16, 16, 16, 48}, {8, 0, 8, 16, 8}, {5, 3, 7, 20, 11},
		{0, 8, 5, 5, 13}, {0, 5, 8, 8, 13}, {0, 0, 5, 10, 5}, {3, 0, 1, 4, 1},
	} {
		for _, from := range append([]Order{NCHW}, orders...) {
			for _, to := range append([]Order{NCHW}, orders...) {
				s := Desc{2, graph.Shape{C: c.src, H: 3, W: 5}, from}
				d := Desc{2, graph.Shape{C: c.dst, H: 3, W: 5}, to}
				rng := rand.New(rand.NewPCG(uint64(c.src), uint64(c.dst)))
				x, want := gridTensor(rng, 2, s.Shape), ref.New(2, 3, 5, c.dst)
				for p := range 2 * 3 * 5 {
					copy(want.Data[p*c.dst+c.dc:][:c.count], x.Data[p*c.src+c.sc:][:c.count])
				}
				y := make([]float32, d.Len())
				on(t, func() error { CopyChannels(s, c.sc, d, c.dc, c.count, pack(s, x), y); return nil })
				what := fmt.Sprintf("%v to %v %+v", from, to, c)
				equal(t, what, unpack(t, what, d, y), want.Data)
			}
		}
	}
}
