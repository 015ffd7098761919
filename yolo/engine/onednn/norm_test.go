package onednn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// shapes have odd and even channel counts, one block, several, and a rest.
var shapes = []graph.Shape{{C: 1, H: 5, W: 3}, {C: 3, H: 4, W: 6}, {C: 8, H: 3, W: 3}, {C: 37, H: 6, W: 5}, {C: 101, H: 2, W: 3}}

// forAll runs f for every order, shape and activation.
func forAll(t *testing.T, f func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation)) {
	for _, o := range orders {
		for _, s := range shapes {
			for _, act := range graph.Activations {
				f(t, rand.New(rand.NewPCG(uint64(s.C), uint64(o))), Desc{3, s, o}, act)
			}
		}
	}
}

func TestNorm(t *testing.T) {
	forAll(t, func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation) {
		what := d.Order.String() + " " + d.Shape.String() + " " + string(act)
		c := d.Shape.C
		x, dy := normalTensor(rng, d.N, d.Shape), normalTensor(rng, d.N, d.Shape)
		for i := range x.Data {
			x.Data[i] = 3*x.Data[i] + 20 // a mean that is large beside the deviation
		}
		gamma, beta, shift := normal(rng, c, 1, 0.3), normal(rng, c, 0, 0.5), normal(rng, c, 19, 1)
		z, m := ref.BatchNormForward(x, gamma, beta)
		dz := ref.ActivateBackward(act, z, dy)
		wantDX, wantDG, wantDB := ref.BatchNormBackward(x, gamma, m, dz)

		n := Norm{Desc: d, Act: act, Eps: graph.BatchNormEps}
		mean, variance, y, dx := dirty(c), dirty(c), dirty(d.Len()), dirty(d.Len())
		dgamma, dbeta := dirty(c), dirty(c)
		px := pack(d, x)
		on(t, func() error {
			if err := n.Forward(px, gamma, beta, shift, mean, variance, y); err != nil {
				return err
			}
			return n.Backward(px, gamma, beta, mean, variance, pack(d, dy), dx, dgamma, dbeta)
		})
		near(t, what+": mean", mean, narrow(m.Mean))
		near(t, what+": variance", variance, narrow(m.Var))
		near(t, what+": y", unpack(t, what, d, y), ref.ActivateForward(act, z).Data)
		if kinked(act) {
			// Rounding may put a value on the other side of a kink.
			return
		}
		near(t, what+": dx", unpack(t, what, d, dx), wantDX.Data)
		near(t, what+": dgamma", dgamma, wantDG)
		near(t, what+": dbeta", dbeta, wantDB)
	})
}

// kinked says whether the activation's slope jumps; those are checked with
// values that stay away from the jump.
func kinked(act graph.Activation) bool {
	return act == graph.Leaky || act == graph.Relu || act == graph.Relu6
}

// TestNormKinked keeps every activation's input away from 0 and 6: beta is
// either far above or far below, in units of the normalised input.
func TestNormKinked(t *testing.T) {
	forAll(t, func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation) {
		if !kinked(act) {
			return
		}
		what := d.Order.String() + " " + d.Shape.String() + " " + string(act)
		c := d.Shape.C
		x, dy := normalTensor(rng, d.N, d.Shape), normalTensor(rng, d.N, d.Shape)
		gamma, beta := normal(rng, c, 0.2, 0.05), make([]float32, c)
		for i := range beta {
			beta[i] = []float32{3, -3, 9}[i%3]
		}
		z, m := ref.BatchNormForward(x, gamma, beta)
		wantDX, wantDG, wantDB := ref.BatchNormBackward(x, gamma, m, ref.ActivateBackward(act, z, dy))
		n := Norm{Desc: d, Act: act, Eps: graph.BatchNormEps}
		dx, dgamma, dbeta := dirty(d.Len()), dirty(c), dirty(c)
		on(t, func() error {
			return n.Backward(pack(d, x), gamma, beta, narrow(m.Mean), narrow(m.Var), pack(d, dy), dx, dgamma, dbeta)
		})
		near(t, what+": dx", unpack(t, what, d, dx), wantDX.Data)
		near(t, what+": dgamma", dgamma, wantDG)
		near(t, what+": dbeta", dbeta, wantDB)
	})
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func TestBias(t *testing.T) {
	forAll(t, func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation) {
		what := d.Order.String() + " " + d.Shape.String() + " " + string(act)
		c := d.Shape.C
		x, dy := gridTensor(rng, d.N, d.Shape), gridTensor(rng, d.N, d.Shape)
		bias := make([]float32, c)
		for i := range bias {
			bias[i] = float32(i%7)/4 + 1.0/16 // no sum lands on a kink
		}
		z := ref.New(x.N, x.H, x.W, x.C)
		for i := range z.Data {
			z.Data[i] = x.Data[i] + bias[i%c]
		}
		want := ref.ActivateBackward(act, z, dy)
		sums := make([]float32, c)
		for i, v := range want.Data {
			sums[i%c] += v
		}
		y, dx, dbias := dirty(d.Len()), dirty(d.Len()), dirty(c)
		px := pack(d, x)
		on(t, func() error {
			if err := BiasForward(d, act, px, bias, y); err != nil {
				return err
			}
			return BiasBackward(d, act, px, bias, pack(d, dy), dx, dbias)
		})
		near(t, what+": y", unpack(t, what, d, y), ref.ActivateForward(act, z).Data)
		near(t, what+": dx", unpack(t, what, d, dx), want.Data)
		near(t, what+": dbias", dbias, sums)
	})
}

func TestAdd(t *testing.T) {
	forAll(t, func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation) {
		what := d.Order.String() + " " + d.Shape.String() + " " + string(act)
		a, b, dy := gridTensor(rng, d.N, d.Shape), gridTensor(rng, d.N, d.Shape), gridTensor(rng, d.N, d.Shape)
		for i := range b.Data {
			b.Data[i] += 1.0 / 16
		}
		s := ref.Shortcut{Activation: act}
		xs := []ref.Tensor{a, b}
		y, sum, dz, inPlace := dirty(d.Len()), dirty(d.Len()), dirty(d.Len()), pack(d, a)
		on(t, func() error {
			Add(d, act, pack(d, a), pack(d, b), y, sum)
			ActBackward(d, act, sum, pack(d, dy), dz)
			Add(d, act, inPlace, pack(d, b), inPlace, inPlace)
			return nil
		})
		near(t, what+": y", unpack(t, what, d, y), s.Forward(xs).Data)
		near(t, what+": y in place", unpack(t, what, d, inPlace), s.Forward(xs).Data)
		near(t, what+": dz", unpack(t, what, d, dz), s.Backward(xs, dy)[0].Data)
	})
}

// TestNormThreads: sums are joined in one order whatever the number of threads.
func TestNormThreads(t *testing.T) {
	defer SetThreads(2)
	d := Desc{4, graph.Shape{C: 37, H: 40, W: 41}, Blocked8}
	rng := rand.New(rand.NewPCG(1, 2))
	x, gamma, beta := pack(d, normalTensor(rng, d.N, d.Shape)), normal(rng, 37, 1, 0.1), normal(rng, 37, 0, 1)
	var first []float32
	for _, threads := range []int{1, 2} {
		SetThreads(threads)
		mean, variance, y := dirty(37), dirty(37), dirty(d.Len())
		on(t, func() error {
			return Norm{d, graph.Mish, graph.BatchNormEps}.Forward(x, gamma, beta, beta, mean, variance, y)
		})
		if first == nil {
			first = y
		} else if !slices.Equal(first, y) {
			t.Error("one and two threads give different values")
		}
	}
}

// extremes reach beyond where e^x leaves the range of a float32.
var extremes = []float32{0, 1e-6, -1e-6, 0.5, -0.5, 3, -3, 7, -7, 19, 21, -21, 44, 45, -45, 80, -80, 87.5, -87.5, 89, -89, 1e3, -1e3, 1e9, -1e9, 1e19, -1e19}

func extremeTensor() ref.Tensor {
	return tensor(1, graph.Shape{C: 1, H: 1, W: len(extremes)}, extremes)
}

// closeTo compares relative to want, and absolutely near zero.
func closeTo(t *testing.T, what string, got float32, want float64) {
	t.Helper()
	if off := math.Abs(float64(got) - want); !(off <= tolerance*math.Abs(want)+1e-6) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestActivationExtremes(t *testing.T) {
	for _, o := range orders {
		for _, act := range graph.Activations {
			d := Desc{1, graph.Shape{C: 1, H: 1, W: len(extremes)}, o}
			x, ones, zero := pack(d, extremeTensor()), ref.New(1, 1, len(extremes), 1), fenced([]float32{0})
			for i := range ones.Data {
				ones.Data[i] = 1
			}
			y, dx, dbias := dirty(d.Len()), dirty(d.Len()), dirty(1)
			on(t, func() error {
				if err := BiasForward(d, act, x, zero, y); err != nil {
					return err
				}
				return BiasBackward(d, act, x, zero, pack(d, ones), dx, dbias)
			})
			what := o.String() + " " + string(act)
			got, slopes := unpack(t, what, d, y), unpack(t, what, d, dx)
			for i, v := range extremes {
				closeTo(t, fmt.Sprintf("%s of %g", what, v), got[i], ref.Activate(act, float64(v)))
				closeTo(t, fmt.Sprintf("%s slope at %g", what, v), slopes[i], ref.Slope(act, float64(v)))
			}
		}
	}
}
