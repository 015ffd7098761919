package optim

import (
	"math"
	"strings"
	"testing"
)

// Cycles of 2, 4 and 8 iterations: cosines of 0, 90 degrees; 0, 45, 90, 135; 0.
func TestSGDR(t *testing.T) {
	f := must[Schedule](t)(SGDR(0, 2, 2, 0))
	for k, want := range []float64{1, .5, 1, .5 + math.Sqrt2/4, .5, .5 - math.Sqrt2/4, 1} {
		near(t, "sgdr", f(k, 7), want, 1e-12)
	}
	f = must[Schedule](t)(SGDR(2, 2, 1, .2)) // warm-up halves the first
	for k, want := range []float64{.5, .6, 1, .6, 1, .6} {
		near(t, "sgdr of equal cycles", f(k, 6), want, 1e-12)
	}
	cosine, one := must[Schedule](t)(Cosine(3, .1)), must[Schedule](t)(SGDR(3, 50, 2, .1))
	for k := range 50 {
		near(t, "one cycle is cosine", one(k, 50), cosine(k, 50), 1e-12)
	}
}

// Darknet's lr·(1 − it/max)^power, the first update being it = 1.
func TestPoly(t *testing.T) {
	f := must[Schedule](t)(Poly(0, 4, 0))
	for k, want := range []float64{.31640625, .0625, .00390625, 0, 0} {
		near(t, "poly", f(k, 4), want, 1e-12)
	}
	f = must[Schedule](t)(Poly(2, 1, .5))
	for k, want := range []float64{.5 * .875, .75, .625, .5} {
		near(t, "poly to a half, warm-up", f(k, 4), want, 1e-12)
	}
	near(t, "empty run", must[Schedule](t)(Poly(0, 1, .5))(0, 0), .5, 0)
}

// Darknet's rates, lr .0013, burn-in 1000, power 4, before any policy.
func TestBurnIn(t *testing.T) {
	s := func(k, total int) float64 { return 1 - float64(k)/float64(total) }
	f := must[Schedule](t)(BurnIn(s, 1000, 4))
	for update, want := range map[int]float64{1: 1.3e-15, 100: 1.3e-7, 500: 8.125e-5, 999: .0012948078, 1000: .0013 * (1 - .0999), 5001: .00065} {
		near(t, "lr", .0013*f(update-1, 10000), want, 1e-7*want)
	}
	f = must[Schedule](t)(BurnIn(s, 0, 4))
	near(t, "no burn-in", f(0, 10), 1, 0)
}

// YOLOv7: lr .01, momentum .937, 1000 iterations; the schedule halves the rate.
func TestGroupWarmup(t *testing.T) {
	w := GroupWarmup{N: 1000, Bias: .1, Momentum: .8}
	f := w.Weights(func(int, int) float64 { return .5 })
	for k, want := range map[int]Rates{
		0: {0, .1, .8}, 500: {.0025, .0525, .8685}, 1000: {.005, .005, .937}, 9999: {.005, .005, .937},
	} {
		got := w.Rates(k, .01*f(k, 9999), .937)
		near(t, "lr", got.LR, want.LR, 1e-12)
		near(t, "bias lr", got.Bias, want.Bias, 1e-12)
		near(t, "momentum", got.Momentum, want.Momentum, 1e-12)
	}
}

func TestPolicyErrors(t *testing.T) {
	err := func(_ Schedule, err error) error { return err }
	for _, c := range []struct {
		err  error
		want string
	}{
		{err(SGDR(-1, 1, 1, 0)), "warm-up of -1"},
		{err(SGDR(0, 1, 1, 2)), "fraction 2 is not"},
		{err(SGDR(0, 0, 1, 0)), "first cycle of 0 iterations"},
		{err(SGDR(0, 5, 0, 0)), "each next 0 times as long"},
		{err(Poly(0, 0, 0)), "power 0 is not in"},
		{err(Poly(0, math.NaN(), 0)), "power NaN"},
		{err(Poly(-1, 1, 0)), "warm-up of -1"},
		{err(BurnIn(nil, -1, 4)), "warm-up of -1"},
		{err(BurnIn(nil, 1, -4)), "power -4"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}
