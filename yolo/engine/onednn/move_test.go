package onednn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

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

// TestSubsample: a 1x1 convolution whose kernel is the identity, over strides and
// paddings.
func TestSubsample(t *testing.T) {
	for _, o := range append([]Order{NCHW}, orders...) {
		for _, s := range append([]graph.Shape{{C: 11, H: 1, W: 1}}, shapes...) {
			for _, k := range [][2]int{{2, 0}, {3, 0}, {2, 1}, {3, 2}, {1, 1}} {
				checkSubsample(t, o, s, k[0], k[1])
			}
		}
	}
}

func checkSubsample(t *testing.T, o Order, s graph.Shape, stride, pad int) {
	t.Helper()
	r := ref.Conv{Filters: s.C, Size: 1, Stride: stride, Pad: pad, Groups: s.C}
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
		SubsampleForward(src, dst, stride, pad, pack(src, x), y)
		SubsampleBackward(src, dst, stride, pad, pack(dst, dy), dx)
		return nil
	})
	what := fmt.Sprintf("%v %v by %d, padding %d", o, s, stride, pad)
	equal(t, what+": y", unpack(t, what, dst, y), want.Data)
	equal(t, what+": dx", unpack(t, what, src, dx), r.BackwardData(x, ones, dy).Data)
}

// TestPermutation reads an image backwards, between all pairs of orders, and
// undoes that.
func TestPermutation(t *testing.T) {
	for _, s := range shapes {
		for _, from := range append([]Order{NCHW}, orders...) {
			for _, to := range append([]Order{NCHW}, orders...) {
				turned := graph.Shape{C: s.H, H: s.W, W: s.C}
				src, dst := Desc{2, s, from}, Desc{2, turned, to}
				x := gridTensor(rand.New(rand.NewPCG(uint64(s.C), 3)), 2, s)
				y, dx := make([]float32, dst.Len()), make([]float32, src.Len())
				on(t, func() error {
					p := NewPermutation(src, dst, func(to int) int { return s.Size() - 1 - to })
					p.Forward(pack(src, x), y)
					p.Backward(y, dx)
					return nil
				})
				what := fmt.Sprintf("%v %v to %v", s, from, to)
				got := unpack(t, what, dst, y)
				in := func(d graph.Shape, n, i int) int { // value i of image n, counted as C x H x W
					return ((n*d.H+i/d.W%d.H)*d.W+i%d.W)*d.C + i/(d.H*d.W)
				}
				for n := range 2 {
					for i := range s.Size() {
						if v, want := got[in(turned, n, i)], x.Data[in(s, n, s.Size()-1-i)]; v != want {
							t.Fatalf("%s: value %d of image %d is %v, want %v", what, i, n, v, want)
						}
					}
				}
				equal(t, what+" and back", unpack(t, what, src, dx), x.Data)
			}
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
