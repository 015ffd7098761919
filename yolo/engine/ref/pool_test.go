package ref

import (
	"fmt"
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
