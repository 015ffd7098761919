package ref

import (
	"math"
	"math/rand/v2"
	"testing"
)

// grid returns n multiples of 1/8 in [-2, 2]. Products and sums of a few
// thousand of them are exact in float32, so linear operations can be compared
// without a tolerance.
func grid(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.IntN(33)-16) / 8
	}
	return out
}

func gridTensor(rng *rand.Rand, n, h, w, c int) Tensor {
	return Tensor{n, h, w, c, grid(rng, n*h*w*c)}
}

// normal returns n values of a normal distribution.
func normal(rng *rand.Rand, n int, mean, deviation float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(mean + deviation*rng.NormFloat64())
	}
	return out
}

func normalTensor(rng *rand.Rand, n, h, w, c int) Tensor {
	return Tensor{n, h, w, c, normal(rng, n*h*w*c, 0, 1)}
}

// tensorOf returns one image of one channel from rows of equal length.
func tensorOf(rows ...[]float32) Tensor {
	t := Tensor{N: 1, H: len(rows), W: len(rows[0]), C: 1}
	for _, row := range rows {
		t.Data = append(t.Data, row...)
	}
	return t
}

// count returns an H x W image of one channel that holds scale*(1, 2, 3, ...).
func count(h, w int, scale float32) Tensor {
	t := New(1, h, w, 1)
	for i := range t.Data {
		t.Data[i] = scale * float32(i+1)
	}
	return t
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// same compares values to an absolute tolerance; 0 asks for equality.
func same(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-float64(want[i])) <= tolerance) {
			t.Fatalf("%s: value %d is %v, want %v\n got %v\nwant %v", what, i, got[i], want[i], got, want)
		}
	}
}

// sameShape compares shapes.
func sameShape(t *testing.T, what string, got Tensor, n, h, w, c int) {
	t.Helper()
	if got.N != n || got.H != h || got.W != w || got.C != c || len(got.Data) != n*h*w*c {
		t.Fatalf("%s is %dx%dx%dx%d with %d values, want %dx%dx%dx%d", what, got.N, got.H, got.W, got.C, len(got.Data), n, h, w, c)
	}
}

// maxChecked bounds the values of one tensor that differences tries.
const maxChecked = 250

// differences compares gradient, value by value, with the fourth-order central
// difference
//
//	f'(x) = (8(f(x+h)-f(x-h)) - (f(x+2h)-f(x-2h))) / 12h + O(h^4)
//
// relative to max(1, |f'|). With h a power of two, x+h is exact for values of
// ordinary size. Of a long tensor it tries evenly spread values.
func differences(t *testing.T, what string, x, gradient []float32, f func() float64, h, tolerance float64) {
	t.Helper()
	smooth := func() bool { return true }
	differencesWhere(t, what, x, gradient, f, smooth, h, tolerance)
}

// differencesWhere is differences for a function with kinks: after every f,
// smooth says whether f is still on the smooth piece of its starting point.
// Values where it is not are passed over, at most two thirds of them.
func differencesWhere(t *testing.T, what string, x, gradient []float32, f func() float64, smooth func() bool, h, tolerance float64) {
	t.Helper()
	if len(x) != len(gradient) {
		t.Fatalf("%s: %d gradients for %d values", what, len(gradient), len(x))
	}
	tried, compared := 0, 0
	for i := 0; i < len(x); i += 1 + len(x)/maxChecked {
		tried++
		want, ok := difference(&x[i], f, smooth, h)
		if !ok {
			continue
		}
		compared++
		if off := math.Abs(float64(gradient[i])-want) / math.Max(1, math.Abs(want)); !(off <= tolerance) {
			t.Errorf("%s: gradient %d is %v, differences give %v (off by %.3g)", what, i, gradient[i], want, off)
			return
		}
	}
	if 3*compared < tried {
		t.Errorf("%s: only %d of %d values stay on the smooth piece", what, compared, tried)
	}
}

func difference(x *float32, f func() float64, smooth func() bool, h float64) (slope float64, ok bool) {
	old := *x
	defer func() { *x = old }()
	ok = true
	at := func(d float64) float64 {
		*x = float32(float64(old) + d)
		y := f()
		ok = ok && smooth()
		return y
	}
	return (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h), ok
}
