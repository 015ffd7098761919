package ref

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// planes returns a tensor whose value c, h, w of image n is its own place in
// Darknet's order, ((n*C+c)*H+h)*W+w.
func planes(n, h, w, c int) Tensor {
	t := New(n, h, w, c)
	for i := range t.Data {
		image, row, column := t.position(i / c)
		t.Data[i] = float32(((image*c+i%c)*h+row)*w + column)
	}
	return t
}

// flat returns the values in Darknet's order, N x C x H x W.
func flat(t Tensor) []float32 {
	var out []float32
	for n := range t.N {
		for c := range t.C {
			for i := range t.H * t.W {
				out = append(out, t.channels(n*t.H*t.W + i)[c])
			}
		}
	}
	return out
}

// An image of 2 channels, 2 x 4 pixels,
//
//	0 1 2 3     8  9 10 11
//	4 5 6 7    12 13 14 15
//
// becomes one of 8 channels, 1 x 2 pixels: for each place of the 2 x 2 block,
// both channels there.
func TestReorg3DByHand(t *testing.T) {
	x := planes(1, 2, 4, 2)
	y := Reorg3D{Stride: 2}.Forward(x)
	sameShape(t, "y", y, 1, 1, 2, 8)
	same(t, "y", flat(y), []float32{0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15}, 0)
	back := Reorg3D{2, true}.Forward(y)
	sameShape(t, "reverse", back, 1, 2, 4, 2)
	same(t, "reverse", flat(back), flat(x), 0)
}

// Reverse by hand: the four channels of one pixel become a block.
func TestReorg3DReverseByHand(t *testing.T) {
	y := Reorg3D{2, true}.Forward(Tensor{1, 1, 2, 4, []float32{1, 2, 3, 4, 5, 6, 7, 8}})
	sameShape(t, "y", y, 1, 2, 4, 1)
	same(t, "y", y.Data, []float32{1, 2, 5, 6, 3, 4, 7, 8}, 0)
}

// An image of 4 channels, 2 x 2 pixels, whose values are 0..15 in Darknet's
// order, is read as one channel of 4 x 4 pixels
//
//	 0  1  2  3
//	 4  5  6  7
//	 8  9 10 11
//	12 13 14 15
//
// of which output k*4.. takes every second pixel of every second row, starting
// at row k/2, column k%2.
func TestReorgByHand(t *testing.T) {
	x := planes(1, 2, 2, 4)
	want := []float32{0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15}
	y := Reorg{2}.Forward(x)
	sameShape(t, "y", y, 1, 1, 1, 16)
	same(t, "y", y.Data, want, 0)

	// dy = the value that came from there, so dx = x
	dx := Reorg{2}.Backward(x, Tensor{1, 1, 1, 16, want})
	sameShape(t, "dx", dx, 1, 2, 2, 4)
	same(t, "dx", dx.Data, x.Data, 0)
}

// An image of 8 channels, 2 x 4 pixels, is read as 2 channels of 4 x 8; the
// first 8 outputs come from the upper left of the first's blocks, the next 8
// from the second's, then those to their right.
func TestReorgTwoChannelsByHand(t *testing.T) {
	x := planes(2, 2, 4, 8)
	y := Reorg{2}.Forward(x)
	sameShape(t, "y", y, 2, 1, 2, 32)
	got := flat(y)
	for _, c := range []struct {
		from int
		want []float32
	}{
		{0, []float32{0, 2, 4, 6, 16, 18, 20, 22}},
		{8, []float32{32, 34, 36, 38, 48, 50, 52, 54}},
		{16, []float32{1, 3, 5, 7, 17, 19, 21, 23}},
		{32, []float32{8, 10, 12, 14, 24, 26, 28, 30}},
		{56, []float32{41, 43, 45, 47, 57, 59, 61, 63}},
		{64, []float32{64, 66, 68, 70, 80, 82, 84, 86}},
	} {
		same(t, fmt.Sprintf("from %d", c.from), got[c.from:c.from+8], c.want, 0)
	}
}

// drawReorg draws an input that both reorganisations take.
func drawReorg(t *rapid.T) (stride int, x Tensor) {
	draw := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
	s := draw("stride", 1, 3)
	return s, planes(draw("n", 1, 2), s*draw("h", 1, 3), s*draw("w", 1, 3), s*s*draw("c", 1, 3))
}

// The formulas of Darknet, each with its own loops over its own order.
func TestReorgFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, x := drawReorg(t)
		in := flat(x)
		legacy, deep := make([]float32, len(in)), make([]float32, len(in))
		for n := range x.N {
			for k := range x.C {
				c2, off := k%(x.C/(s*s)), k/(x.C/(s*s))
				for j := range x.H {
					for i := range x.W {
						w2, h2 := i*s+off%s, j*s+off/s
						legacy[i+x.W*(j+x.H*(k+x.C*n))] = in[w2+x.W*s*(h2+x.H*s*(c2+x.C/(s*s)*n))]
					}
				}
			}
			for k := range x.C * s * s {
				c2, off := k%x.C, k/x.C
				for j := range x.H / s {
					for i := range x.W / s {
						deep[((n*x.C*s*s+k)*(x.H/s)+j)*(x.W/s)+i] = in[((n*x.C+c2)*x.H+j*s+off/s)*x.W+i*s+off%s]
					}
				}
			}
		}
		if got := flat(Reorg{s}.Forward(x)); !slices.Equal(got, legacy) {
			t.Fatalf("reorg gives %v, want %v", got, legacy)
		}
		if got := flat(Reorg3D{Stride: s}.Forward(x)); !slices.Equal(got, deep) {
			t.Fatalf("reorg3d gives %v, want %v", got, deep)
		}
	})
}

// All three are permutations: <y, dy> = <x, dx>, backward undoes forward, and
// no value is lost.
func TestReorgPermutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, x := drawReorg(t)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for _, o := range []struct {
			what     string
			forward  func(x Tensor) Tensor
			backward func(dy Tensor) Tensor
		}{
			{"reorg3d", Reorg3D{s, false}.Forward, Reorg3D{s, false}.Backward},
			{"reorg3d reverse", Reorg3D{s, true}.Forward, Reorg3D{s, true}.Backward},
			{"reorg", Reorg{s}.Forward, func(dy Tensor) Tensor { return Reorg{s}.Backward(x, dy) }},
		} {
			y := o.forward(x)
			dy := gridTensor(rng, y.N, y.H, y.W, y.C)
			if a, b := dot(y.Data, dy.Data), dot(x.Data, o.backward(dy).Data); a != b {
				t.Fatalf("%s: <y,dy> = %v, <x,dx> = %v", o.what, a, b)
			}
			if back := o.backward(y); !slices.Equal(back.Data, x.Data) {
				t.Fatalf("%s: backward of forward is %v, want %v", o.what, back.Data, x.Data)
			}
		}
	})
}
