package ref

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// By hand, over the image 1..9 with the kernel
//
//	1 2
//	3 4
//
// which tells correlation from convolution and rows from columns.
func TestConvByHand(t *testing.T) {
	x, w, b := count(3, 3, 1), []float32{1, 2, 3, 4}, []float32{0.5}
	for _, c := range []struct {
		stride, pad int
		want        []float32
	}{
		{1, 0, []float32{37.5, 47.5, 67.5, 77.5}},
		{2, 1, []float32{4.5, 18.5, 36.5, 77.5}},
		{1, 1, []float32{4.5, 11.5, 18.5, 9.5, 18.5, 37.5, 47.5, 21.5, 36.5, 67.5, 77.5, 33.5, 14.5, 23.5, 26.5, 9.5}},
		{3, 0, []float32{37.5}},
	} {
		y := Conv{1, 2, c.stride, c.pad, 1, 1}.Forward(x, w, b)
		same(t, fmt.Sprintf("stride %d, pad %d", c.stride, c.pad), y.Data, c.want, 0)
	}
}

// Taps two pixels apart: with a frame of one zero around 1..9, the window at p,q
// of the 5 x 5 reads (p,q), (p,q+2), (p+2,q) and (p+2,q+2).
func TestConvDilationByHand(t *testing.T) {
	x, w := count(3, 3, 1), []float32{1, 2, 3, 4}
	y := Conv{1, 2, 1, 0, 1, 2}.Forward(x, w, nil) // 1*1 + 2*3 + 3*7 + 4*9
	sameShape(t, "without padding", y, 1, 1, 1, 1)
	same(t, "without padding", y.Data, []float32{64}, 0)
	y = Conv{1, 2, 1, 1, 1, 2}.Forward(x, w, nil)
	sameShape(t, "padded", y, 1, 3, 3, 1)
	same(t, "padded", y.Data, []float32{
		4 * 5, 3*4 + 4*6, 3 * 5,
		2*2 + 4*8, 1*1 + 2*3 + 3*7 + 4*9, 1*2 + 3*8,
		2 * 5, 1*4 + 2*6, 1 * 5,
	}, 0)
}

// With dy = 1 at the first window and -1 at the last, dw is the difference of
// the two windows and dx of the two places of the kernel.
func TestConvBackwardByHand(t *testing.T) {
	o, x := Conv{1, 2, 1, 0, 1, 1}, count(3, 3, 1)
	dy := tensorOf([]float32{1, 0}, []float32{0, -1})
	dw, db := o.BackwardWeights(x, dy)
	same(t, "dw", dw, []float32{-4, -4, -4, -4}, 0)
	same(t, "db", db, []float32{0}, 0)
	dx := o.BackwardData(x, []float32{1, 2, 3, 4}, dy)
	sameShape(t, "dx", dx, 1, 3, 3, 1)
	same(t, "dx", dx.Data, []float32{1, 2, 0, 3, 3, -2, 0, -3, -4}, 0)
	same(t, "x", x.Data, count(3, 3, 1).Data, 0)
}

func TestConvGroupsByHand(t *testing.T) {
	y := Conv{2, 1, 1, 0, 2, 1}.Forward(Tensor{1, 1, 1, 4, []float32{1, 2, 3, 4}}, []float32{10, 1, 100, 1000}, nil)
	same(t, "two filters over two channels each", y.Data, []float32{12, 4300}, 0)
	y = Conv{4, 1, 1, 0, 2, 1}.Forward(Tensor{1, 1, 1, 2, []float32{5, 7}}, []float32{1, 2, 3, 4}, nil)
	same(t, "two filters per channel", y.Data, []float32{5, 10, 21, 28}, 0)
}

// A kernel that is 1 at k,c,r,s and 0 elsewhere picks pixel r,s of channel c
// for filter k: the orders K x C x R x S and N x H x W x C.
func TestConvKernelOrder(t *testing.T) {
	const K, C, S = 2, 3, 3
	rng := rand.New(rand.NewPCG(1, 1))
	x := gridTensor(rng, 2, S, S, C)
	for i := range K * C * S * S {
		k, c, r, s := i/(C*S*S), i/(S*S)%C, i/S%S, i%S
		w := make([]float32, K*C*S*S)
		w[i] = 1
		y := Conv{K, S, 1, 0, 1, 1}.Forward(x, w, nil)
		want := make([]float32, 2*K)
		for n := range 2 {
			want[n*K+k] = x.Data[((n*S+r)*S+s)*C+c]
		}
		same(t, fmt.Sprintf("weight %d", i), y.Data, want, 0)
	}
}

// A convolution is linear in x, in w and in b, so central differences are
// exact whatever the step.
func TestConvDifferences(t *testing.T) {
	for _, c := range []struct {
		n, h, w, c int
		o          Conv
	}{
		{1, 5, 5, 1, Conv{1, 3, 1, 1, 1, 1}},
		{2, 5, 4, 3, Conv{4, 3, 1, 1, 1, 1}},
		{2, 6, 6, 3, Conv{2, 3, 2, 1, 1, 1}},
		{2, 7, 5, 3, Conv{2, 3, 2, 1, 1, 1}},
		{1, 4, 5, 37, Conv{3, 3, 1, 1, 1, 1}},
		{2, 3, 3, 3, Conv{37, 1, 1, 0, 1, 1}},
		{1, 6, 5, 3, Conv{5, 1, 2, 0, 1, 1}},
		{2, 5, 5, 4, Conv{6, 3, 1, 1, 2, 1}},
		{2, 5, 6, 5, Conv{5, 3, 2, 1, 5, 1}},
		{1, 4, 4, 3, Conv{6, 3, 1, 1, 3, 1}},
		{1, 6, 5, 2, Conv{3, 2, 1, 1, 1, 1}},
		{1, 7, 7, 2, Conv{2, 5, 2, 2, 2, 1}},
		{1, 3, 2, 2, Conv{2, 1, 1, 2, 1, 1}},
		{1, 1, 1, 3, Conv{2, 3, 1, 1, 1, 1}},
		{2, 6, 5, 3, Conv{4, 3, 1, 2, 1, 2}},
		{1, 7, 6, 4, Conv{6, 3, 2, 3, 2, 3}},
		{1, 3, 4, 2, Conv{2, 3, 1, 5, 2, 5}}, // taps past the image
	} {
		t.Run(fmt.Sprintf("%dx%dx%dx%d %+v", c.n, c.h, c.w, c.c, c.o), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 0))
			x := gridTensor(rng, c.n, c.h, c.w, c.c)
			w, b := grid(rng, c.o.Filters*c.c/c.o.Groups*c.o.Size*c.o.Size), grid(rng, c.o.Filters)
			y := c.o.Forward(x, w, b)
			dy := gridTensor(rng, y.N, y.H, y.W, y.C)
			loss := func() float64 { return dot(c.o.Forward(x, w, b).Data, dy.Data) }
			dw, db := c.o.BackwardWeights(x, dy)
			differences(t, "dx", x.Data, c.o.BackwardData(x, w, dy).Data, loss, 1, 1e-12)
			differences(t, "dw", w, dw, loss, 1, 1e-12)
			differences(t, "db", b, db, loss, 1, 1e-12)
		})
	}
}

// drawConv draws a convolution and its operands.
func drawConv(t *rapid.T) (o Conv, x Tensor, w []float32, rng *rand.Rand) {
	draw := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
	groups, size := draw("groups", 1, 3), draw("size", 1, 4)
	dilation := draw("dilation", 1, 3)
	extent := (size-1)*dilation + 1
	pad := draw("pad", 0, extent)
	o = Conv{groups * draw("filters of a group", 1, 3), size, draw("stride", 1, 3), pad, groups, dilation}
	channels, least := draw("channels of a group", 1, 3), max(1, extent-2*pad)
	rng = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	x = gridTensor(rng, draw("n", 1, 2), draw("h", least, least+5), draw("w", least, least+5), groups*channels)
	return o, x, grid(rng, o.Filters*channels*size*size), rng
}

// The three directions are adjoint: <conv(x,w), dy> = <x, dx> = <w, dw>.
func TestConvAdjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, x, w, rng := drawConv(t)
		y := o.Forward(x, w, nil)
		dy := gridTensor(rng, y.N, y.H, y.W, y.C)
		dw, _ := o.BackwardWeights(x, dy)
		forward, data, weights := dot(y.Data, dy.Data), dot(x.Data, o.BackwardData(x, w, dy).Data), dot(w, dw)
		if forward != data || forward != weights {
			t.Fatalf("<y,dy> = %v, <x,dx> = %v, <w,dw> = %v", forward, data, weights)
		}
	})
}

// A grouped convolution is one convolution per slice of the channels, joined.
func TestConvGroupsAreSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, x, w, _ := drawConv(t)
		one := Conv{o.Filters / o.Groups, o.Size, o.Stride, o.Pad, 1, o.Dilation}
		var ys []Tensor
		for g := range o.Groups {
			part := Route{o.Groups, g}.Forward([]Tensor{x})
			ys = append(ys, one.Forward(part, w[g*len(w)/o.Groups:(g+1)*len(w)/o.Groups], nil))
		}
		want, got := Route{1, 0}.Forward(ys), o.Forward(x, w, nil)
		for i := range want.Data {
			if got.Data[i] != want.Data[i] {
				t.Fatalf("value %d is %v, want %v", i, got.Data[i], want.Data[i])
			}
		}
	})
}
