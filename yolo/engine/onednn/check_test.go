package onednn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// orders are those that an activation inside a network can have.
var orders = []Order{NHWC, Blocked8, Blocked16}

// tolerance is how far a fast operation may be from the reference, relative to
// the value or to the tensor's root mean square, whichever is larger.
const tolerance = 1e-4

// fenceLen is the number of floats on either side of a test's memory.
const fenceLen = 256

// fences are the memories, with their fences, that on checks next.
var fences [][]float32

// fenceBits is a NaN that no operation makes, another for every memory: values
// that are read beyond their memory spoil a result, and a write there shows.
func fenceBits(memory int) uint32 { return 0x7fc50000 + uint32(memory) }

// fenced copies x between two fences.
func fenced(x []float32) []float32 {
	all := make([]float32, len(x)+2*fenceLen)
	for i := range all {
		all[i] = math.Float32frombits(fenceBits(len(fences)))
	}
	fences = append(fences, all)
	end := fenceLen + len(x)
	return all[fenceLen:end:end][:copy(all[fenceLen:end], x)]
}

// on runs f on oneDNN's thread; a panic there becomes an error. Nothing that
// was made since the last call may have been written beyond its memory.
func on(t *testing.T, f func() error) {
	t.Helper()
	if err := tryOn(f); err != nil {
		t.Fatal(err)
	}
	for memory, all := range fences {
		for i := range fenceLen {
			for _, at := range []int{i, len(all) - 1 - i} {
				if math.Float32bits(all[at]) != fenceBits(memory) {
					t.Fatalf("memory of %d values is written at %d", len(all)-2*fenceLen, at-fenceLen)
				}
			}
		}
	}
	fences = nil
}

func tryOn(f func() error) (err error) {
	On(func() {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		err = f()
	})
	return err
}

func normal(rng *rand.Rand, n int, mean, deviation float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(mean + deviation*rng.NormFloat64())
	}
	return out
}

// grid returns n multiples of 1/8 in [-2, 2], among them many equal ones. Sums
// of a few thousand are exact.
func grid(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.IntN(33)-16) / 8
	}
	return out
}

// tensor returns the values of a batch of images in reference order.
func tensor(n int, s graph.Shape, values []float32) ref.Tensor {
	return ref.Tensor{N: n, H: s.H, W: s.W, C: s.C, Data: values}
}

func normalTensor(rng *rand.Rand, n int, s graph.Shape) ref.Tensor {
	return tensor(n, s, normal(rng, n*s.Size(), 0, 1))
}

func gridTensor(rng *rand.Rand, n int, s graph.Shape) ref.Tensor {
	return tensor(n, s, grid(rng, n*s.Size()))
}

// place is where value n, c, h, w of an activation lies in memory:
//
//	NHWC     ((n*H + h)*W + w)*C + c
//	blocked  (((n*blocks + c/b)*H + h)*W + w)*b + c%b, NCHW being b = 1
func place(d Desc, n, c, h, w int) int {
	s := d.Shape
	if d.Order == NHWC {
		return ((n*s.H+h)*s.W+w)*s.C + c
	}
	b := int(d.Order)
	blocks := (s.C + b - 1) / b
	return (((n*blocks+c/b)*s.H+h)*s.W+w)*b + c%b
}

// each calls f with the place of every value, in reference order.
func each(d Desc, f func(i, place int)) {
	i := 0
	for n := range d.N {
		for h := range d.Shape.H {
			for w := range d.Shape.W {
				for c := range d.Shape.C {
					f(i, place(d, n, c, h, w))
					i++
				}
			}
		}
	}
}

// pack brings a tensor into the order of d, padding being zero.
func pack(d Desc, x ref.Tensor) []float32 {
	out := fenced(make([]float32, d.Len()))
	each(d, func(i, p int) { out[p] = x.Data[i] })
	return out
}

// unpack is the inverse of pack. It fails where padding is not zero.
func unpack(t *testing.T, what string, d Desc, data []float32) []float32 {
	t.Helper()
	if len(data) != d.Len() {
		t.Fatalf("%s: %d values in memory, want %d", what, len(data), d.Len())
	}
	out := make([]float32, d.N*d.Shape.Size())
	filled := make([]bool, len(data))
	each(d, func(i, p int) { out[i], filled[p] = data[p], true })
	for p, f := range filled {
		if !f && data[p] != 0 {
			t.Fatalf("%s: padding at %d is %v", what, p, data[p])
		}
	}
	return out
}

// dirty returns memory full of NaN, so that a value that is not written shows.
func dirty(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	return fenced(out)
}

// far returns the largest difference, each relative to its value or to the
// root mean square of want, and where it is.
func far(got, want []float32) (off float64, at int) {
	sum := 0.0
	for _, v := range want {
		sum += float64(v) * float64(v)
	}
	rms := math.Sqrt(sum / float64(len(want)))
	for i, v := range want {
		d := math.Abs(float64(got[i]) - float64(v))
		if d == 0 {
			continue
		}
		if d /= math.Max(math.Abs(float64(v)), rms); !(d <= off) {
			off, at = d, i
		}
	}
	return off, at
}

func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	if off, i := far(got, want); !(off <= tolerance) {
		t.Errorf("%s: value %d is %v, want %v (off by %.3g)", what, i, got[i], want[i], off)
	}
}

func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i, v := range want {
		if got[i] != v {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], v)
		}
	}
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// slope compares a gradient with the central difference of f along a random
// direction v,
//
//	grad.v = (8(f(x+hv)-f(x-hv)) - (f(x+2hv)-f(x-2hv))) / 12h + O(h^4)
//
// relative to |grad||v|/sqrt(n), what grad.v is for directions at random.
func slope(t *testing.T, what string, rng *rand.Rand, x, grad []float32, f func() float64) {
	t.Helper()
	const h = 1.0 / 64
	v, old := normal(rng, len(x), 0, 1), append([]float32(nil), x...)
	at := func(s float64) float64 {
		for i := range x {
			x[i] = old[i] + float32(s)*v[i]
		}
		return f()
	}
	want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
	at(0)
	got := dot(grad, v)
	size := math.Sqrt(dot(grad, grad)*dot(v, v)/float64(len(x))) + math.Abs(want)
	if off := math.Abs(got-want) / size; !(off <= 2e-3) {
		t.Errorf("%s: gradient along a direction is %v, differences give %v (off by %.3g)", what, got, want, off)
	}
}
