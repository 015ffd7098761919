package optim

import (
	"math"
	"strings"
	"testing"
)

func TestCosine(t *testing.T) {
	f := must[Schedule](t)(Cosine(0, .1))
	// YOLOv7's factors for 300 epochs down to a tenth.
	for k, want := range map[int]float64{0: 1, 150: .55, 299: .10002467, 300: .1, 400: .1} {
		near(t, "cosine", f(k, 300), want, 1e-8)
	}
	near(t, "empty run", f(0, 0), .1, 1e-12)
	w := must[Schedule](t)(Cosine(4, 0)) // ¼, ½, ¾ of the cosine of k/8
	for k, want := range []float64{.25, .5 * .5 * (1 + math.Cos(math.Pi/8)), .75 * .5 * (1 + math.Sqrt2/2), .5 * (1 + math.Cos(math.Pi*3/8)), .5} {
		near(t, "warm-up", w(k, 8), want, 1e-12)
	}
	near(t, "sum", must[Schedule](t)(Cosine(0, 0)).Sum(2), 1+.5, 1e-12)
}

func TestConstant(t *testing.T) {
	f := must[Schedule](t)(Constant(2))
	for k, want := range []float64{.5, 1, 1, 1} {
		near(t, "constant", f(k, 4), want, 0)
	}
}

// Darknet's learning rates: lr .0013, burn-in 1000, power 4, and yolov4's
// steps. The first update is number 1, iteration 0.
func TestDarknetSteps(t *testing.T) {
	f := must[Schedule](t)(Steps(StepsOptions{At: []int{400000, 450000}, Scales: []float64{.1, .1}, BurnIn: 1000}))
	for update, want := range map[int]float64{
		1: 1.3e-15, 100: 1.3e-7, 500: 8.125e-5, 999: .0012948078, 1000: .0013,
		399999: .0013, 400000: .00013, 449999: .00013, 450000: .000013, 500500: .000013,
	} {
		near(t, "lr", .0013*f(update-1, 500500), want, 1e-7*want)
	}
	g := must[Schedule](t)(Steps(StepsOptions{At: []int{2}, Scales: []float64{.5}, Warmup: 4}))
	for k, want := range []float64{.25, .25, .375, .5, .5} {
		near(t, "steps with warm-up", g(k, 5), want, 1e-12)
	}
	h := must[Schedule](t)(Steps(StepsOptions{At: []int{1}, Scales: []float64{.5}, BurnIn: 4, Power: 1}))
	for k, want := range []float64{.25, .5, .75, .5} {
		near(t, "steps in a burn-in", h(k, 5), want, 1e-12)
	}
}

func TestScheduleErrors(t *testing.T) {
	steps := func(o StepsOptions) error { _, err := Steps(o); return err }
	cosine := func(warm int, final float64) error { _, err := Cosine(warm, final); return err }
	_, constant := Constant(-1)
	for _, c := range []struct {
		err  error
		want string
	}{
		{constant, "warm-up of -1"},
		{cosine(-2, .1), "warm-up of -2"},
		{cosine(0, 1.5), "fraction 1.5 is not in [0, 1]"},
		{cosine(0, math.NaN()), "fraction NaN"},
		{steps(StepsOptions{Warmup: -1}), "warm-up of -1"},
		{steps(StepsOptions{Warmup: 1, BurnIn: 1}), "want one of them"},
		{steps(StepsOptions{BurnIn: -1}), "burn-in of -1"},
		{steps(StepsOptions{Power: -1}), "power: -1"},
		{steps(StepsOptions{At: []int{1}}), "1 steps and 0 scales"},
		{steps(StepsOptions{At: []int{0}, Scales: []float64{1}}), "step 0 at iteration 0"},
		{steps(StepsOptions{At: []int{5, 5}, Scales: []float64{1, 1}}), "step 1 at iteration 5"},
		{steps(StepsOptions{At: []int{5}, Scales: []float64{-1}}), "scale -1"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}
