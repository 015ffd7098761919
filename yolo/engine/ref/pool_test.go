package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Over 1, 2, 3, ... a window's maximum is its last pixel on the image; over
// -1, -2, -3, ... its first, which a zero outside the image would beat.
func TestMaxPoolByHand(t *testing.T) {
	for _, c := range []struct {
		side  int
		scale float32
		o     MaxPool
		out   int
		want  []float32
	}{
		{3, 1, MaxPool{2, 1, 1}, 3, []float32{5, 6, 6, 8, 9, 9, 8, 9, 9}},
		{3, -1, MaxPool{2, 1, 1}, 3, []float32{-1, -2, -3, -4, -5, -6, -7, -8, -9}},
		{3, 1, MaxPool{2, 2, 1}, 2, []float32{5, 6, 8, 9}},
		{4, 1, MaxPool{2, 2, 1}, 2, []float32{6, 8, 14, 16}},
		{4, 1, MaxPool{2, 2, 0}, 2, []float32{6, 8, 14, 16}},
		{3, 1, MaxPool{2, 2, 0}, 1, []float32{5}},
		{5, 1, MaxPool{5, 1, 4}, 5, []float32{
			13, 14, 15, 15, 15, 18, 19, 20, 20, 20, 23, 24, 25, 25, 25, 23, 24, 25, 25, 25, 23, 24, 25, 25, 25}},
		{5, -1, MaxPool{5, 1, 4}, 5, []float32{
			-1, -1, -1, -2, -3, -1, -1, -1, -2, -3, -1, -1, -1, -2, -3, -6, -6, -6, -7, -8, -11, -11, -11, -12, -13}},
		{5, 1, MaxPool{3, 2, 2}, 3, []float32{7, 9, 10, 17, 19, 20, 22, 24, 25}},
		{4, 1, MaxPool{4, 1, 3}, 4, []float32{11, 12, 12, 12, 15, 16, 16, 16, 15, 16, 16, 16, 15, 16, 16, 16}},
		{2, 1, MaxPool{9, 1, 8}, 2, []float32{4, 4, 4, 4}},
		{1, -3, MaxPool{13, 1, 12}, 1, []float32{-3}},
	} {
		y := c.o.Forward(count(c.side, c.side, c.scale))
		what := fmt.Sprintf("%+v over %d", c.o, c.side)
		sameShape(t, what, y, 1, c.out, c.out, 1)
		same(t, what, y.Data, c.want, 0)
	}
}

func TestMaxPoolBackwardByHand(t *testing.T) {
	for _, c := range []struct {
		what     string
		x        Tensor
		o        MaxPool
		dy, want []float32
	}{
		{"equal values: the first in row-major order",
			tensorOf([]float32{0, 7}, []float32{7, 7}), MaxPool{2, 2, 1}, []float32{5}, []float32{0, 5, 0, 0}},
		{"equal values, overlapping windows",
			tensorOf([]float32{4, 4}, []float32{4, 4}), MaxPool{2, 1, 1}, []float32{1, 2, 3, 4}, []float32{1, 2, 3, 4}},
		{"one maximum of all windows",
			tensorOf([]float32{1, 2}, []float32{3, 9}), MaxPool{2, 1, 1}, []float32{1, 2, 3, 4}, []float32{0, 0, 0, 10}},
		{"negative values beat the outside",
			tensorOf([]float32{-1, -2}, []float32{-3, -4}), MaxPool{2, 1, 1}, []float32{1, 2, 3, 4}, []float32{1, 2, 3, 4}},
		{"pixels that no window reads",
			count(3, 3, 1), MaxPool{2, 2, 0}, []float32{1}, []float32{0, 0, 0, 0, 1, 0, 0, 0, 0}},
	} {
		dy := c.o.output(c.x)
		dy.Data = c.dy
		same(t, c.what, c.o.Backward(c.x, dy).Data, c.want, 0)
	}
}

// shuffled returns a tensor whose values are all different, 1 apart: a step
// below 1/2 changes no maximum, and max pooling is linear up to there.
func shuffled(rng *rand.Rand, n, h, w, c int) Tensor {
	x := New(n, h, w, c)
	for i, v := range rng.Perm(len(x.Data)) {
		x.Data[i] = float32(v - len(x.Data)/2)
	}
	return x
}

func TestMaxPoolDifferences(t *testing.T) {
	for _, c := range []struct {
		n, h, w, c int
		o          MaxPool
	}{
		{2, 6, 6, 3, MaxPool{2, 2, 1}},
		{1, 5, 7, 3, MaxPool{2, 2, 1}},
		{1, 5, 4, 37, MaxPool{2, 1, 1}},
		{2, 5, 6, 1, MaxPool{5, 1, 4}},
		{1, 7, 5, 2, MaxPool{3, 2, 2}},
		{1, 5, 5, 2, MaxPool{4, 3, 0}},
	} {
		rng := rand.New(rand.NewPCG(6, 0))
		x := shuffled(rng, c.n, c.h, c.w, c.c)
		y := c.o.Forward(x)
		dy := gridTensor(rng, y.N, y.H, y.W, y.C)
		loss := func() float64 { return dot(c.o.Forward(x).Data, dy.Data) }
		differences(t, fmt.Sprintf("%+v", c), x.Data, c.o.Backward(x, dy).Data, loss, 1.0/8, 1e-12)
	}
}

// Every maximum is one of the values, so <y, dy> = <x, dx>.
func TestMaxPoolAdjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
		size := draw("size", 1, 5)
		o := MaxPool{size, draw("stride", 1, 5), draw("padding", 0, 2*size-2)}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		x := gridTensor(rng, draw("n", 1, 2), draw("h", size, 8), draw("w", size, 8), draw("c", 1, 3))
		y := o.Forward(x)
		dy := gridTensor(rng, y.N, y.H, y.W, y.C)
		if a, b := dot(y.Data, dy.Data), dot(x.Data, o.Backward(x, dy).Data); a != b {
			t.Fatalf("<y,dy> = %v, <x,dx> = %v", a, b)
		}
	})
}

// Over 1, 2, 3, ... on a row-major image of width w the value at r, c is
// w*r+c+1, so the mean of a window is w*mean(r)+mean(c)+1, taken over the rows
// and columns that exist.
func TestLocalAvgPoolByHand(t *testing.T) {
	for _, c := range []struct {
		side int
		o    LocalAvgPool
		out  int
		want []float32
	}{
		{3, LocalAvgPool{2, 1, 1}, 3, []float32{3, 4, 4.5, 6, 7, 7.5, 7.5, 8.5, 9}},
		{5, LocalAvgPool{3, 2, 2}, 3, []float32{4, 5.5, 7, 11.5, 13, 14.5, 19, 20.5, 22}},
		{8, LocalAvgPool{4, 4, 3}, 2, []float32{10, 13.5, 38, 41.5}},
		{4, LocalAvgPool{2, 2, 0}, 2, []float32{3.5, 5.5, 11.5, 13.5}},
		{5, LocalAvgPool{2, 2, 0}, 2, []float32{4, 6, 14, 16}},
		{2, LocalAvgPool{9, 1, 8}, 2, []float32{2.5, 2.5, 2.5, 2.5}},
		{3, LocalAvgPool{1, 2, 0}, 2, []float32{1, 3, 7, 9}},
	} {
		y := c.o.Forward(count(c.side, c.side, 1))
		what := fmt.Sprintf("%+v over %d", c.o, c.side)
		sameShape(t, what, y, 1, c.out, c.out, 1)
		same(t, what, y.Data, c.want, 0)
	}
}

// The windows have 4, 2, 2 and 1 pixels on the image, and dy as much, so every
// window gives each of its pixels 1.
func TestLocalAvgPoolBackwardByHand(t *testing.T) {
	dx := LocalAvgPool{2, 1, 1}.Backward(New(1, 2, 2, 1), tensorOf([]float32{4, 2}, []float32{2, 1}))
	same(t, "dx", dx.Data, []float32{1, 2, 2, 4}, 0)
	dx = LocalAvgPool{2, 2, 0}.Backward(New(1, 3, 3, 1), tensorOf([]float32{4}))
	same(t, "dx, pixels that no window reads", dx.Data, []float32{1, 1, 0, 1, 1, 0, 0, 0, 0}, 0)
}

func TestAvgPoolByHand(t *testing.T) {
	x := Tensor{2, 1, 4, 2, []float32{1, 10, 2, 20, 3, 30, 6, 60, -1, 0, -1, 0, -1, 0, -1, 8}}
	y := AvgPool{}.Forward(x)
	sameShape(t, "y", y, 2, 1, 1, 2)
	same(t, "y", y.Data, []float32{3, 30, -1, 2}, 0)
	dx := AvgPool{}.Backward(x, Tensor{2, 1, 1, 2, []float32{4, 8, 12, 16}})
	sameShape(t, "dx", dx, 2, 1, 4, 2)
	same(t, "dx", dx.Data, []float32{1, 2, 1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4, 3, 4}, 0)
}

// drawLocalAvgPool draws a pool and its input.
func drawLocalAvgPool(t *rapid.T) (o LocalAvgPool, x Tensor, rng *rand.Rand) {
	draw := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
	size := draw("size", 1, 5)
	o = LocalAvgPool{size, draw("stride", 1, 5), draw("padding", 0, 2*size-2)}
	rng = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	return o, gridTensor(rng, draw("n", 1, 2), draw("h", size, 8), draw("w", size, 8), draw("c", 1, 3)), rng
}

// <y, dy> = <x, dx>, up to the rounding of the means to float32.
func TestLocalAvgPoolAdjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, x, rng := drawLocalAvgPool(t)
		y := o.Forward(x)
		dy := gridTensor(rng, y.N, y.H, y.W, y.C)
		if a, b := dot(y.Data, dy.Data), dot(x.Data, o.Backward(x, dy).Data); math.Abs(a-b) > 1e-4 {
			t.Fatalf("<y,dy> = %v, <x,dx> = %v", a, b)
		}
	})
}

// The mean of a constant is the constant, at the border too, and as every
// window's shares add up to one, no gradient is lost.
func TestLocalAvgPoolKeepsConstants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, x, _ := drawLocalAvgPool(t)
		for i := range x.Data {
			x.Data[i] = 0.375
		}
		y := o.Forward(x)
		for i, v := range y.Data {
			if v != 0.375 {
				t.Fatalf("mean %d of a constant 0.375 is %v", i, v)
			}
		}
		total := 0.0
		for _, v := range o.Backward(x, y).Data {
			total += float64(v)
		}
		if want := 0.375 * float64(len(y.Data)); math.Abs(total-want) > 1e-4 {
			t.Fatalf("dx sums to %v, dy to %v", total, want)
		}
	})
}

// A pool over one window is the global mean. Means are linear; the tolerance is
// for their rounding to float32.
func TestAvgPoolDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	for _, s := range [][4]int{{1, 1, 1, 1}, {2, 3, 3, 5}, {3, 4, 7, 2}, {1, 5, 5, 37}} {
		x, dy := gridTensor(rng, s[0], s[1], s[2], s[3]), gridTensor(rng, s[0], 1, 1, s[3])
		loss := func() float64 { return dot(AvgPool{}.Forward(x).Data, dy.Data) }
		differences(t, fmt.Sprint(s), x.Data, AvgPool{}.Backward(x, dy).Data, loss, 1, 1e-5)
		if s[1] == s[2] {
			same(t, fmt.Sprint(s, " as one window"), LocalAvgPool{s[1], 1, 0}.Forward(x).Data, AvgPool{}.Forward(x).Data, 1e-6)
		}
	}
}
