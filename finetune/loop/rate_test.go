package loop

import (
	"context"
	"math"
	"strings"
	"testing"

	"yoloprune/finetune/optim"
)

// Twelve epochs of five steps.
func TestRateSchedules(t *testing.T) {
	for _, c := range []struct {
		what string
		r    Rate
		want map[int]float64
	}{
		{"sgdr, cycles of 20 and 40", Rate{Schedule: "sgdr", Cycle: 1. / 3, CycleMult: 2, Final: 0.2}, map[int]float64{0: 1, 10: 0.6, 20: 1, 40: 0.6, 59: 0.2 + 0.4*(1+math.Cos(math.Pi*39/40))}},
		{"poly", Rate{Schedule: "poly", Power: 2}, map[int]float64{29: 0.25, 59: 0}},
		{"burn-in of 10 steps", Rate{Schedule: "constant", WarmupEpochs: 2, Warmup: "burn-in", WarmupPower: 4}, map[int]float64{0: 1e-4, 4: 0.0625, 9: 1}},
		{"groups", Rate{Schedule: "constant", WarmupEpochs: 2, Warmup: "groups"}, map[int]float64{0: 0, 5: 0.5, 10: 1}},
		{"linear", Rate{Schedule: "constant", WarmupEpochs: 2, Warmup: "linear"}, map[int]float64{0: 0.1, 4: 0.5, 9: 1}},
	} {
		f, err := c.r.schedule(5, 60)
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range c.want {
			if got := f(k, 60); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s: step %d: %g, want %g", c.what, k, got, want)
			}
		}
	}
	if _, err := (Rate{Schedule: "constant", Warmup: "cold"}).schedule(5, 60); err == nil || !strings.Contains(err.Error(), `unknown warm-up "cold"`) {
		t.Errorf("error %v", err)
	}
}

// In the middle of the warm-up, and with the rate halved after a step that failed.
func TestGroupRates(t *testing.T) {
	tr := &trainer{o: Options{LR: 0.01, SGD: optim.SGDOptions{Momentum: 0.937}}, perEpoch: 5, total: 60}
	tr.o.Rate = Rate{Schedule: "constant", WarmupEpochs: 2, Warmup: "groups", WarmupBias: 0.1, WarmupMomentum: 0.8}
	var err error
	if tr.rateAt, err = tr.o.Rate.schedule(5, 60); err != nil {
		t.Fatal(err)
	}
	for _, halved := range []bool{false, true} {
		tr.halved = halved
		k := 1.0
		if halved {
			k = 0.5
		}
		r := tr.rates(5, tr.rate(5))
		if math.Abs(r.LR-0.005*k) > 1e-12 || math.Abs(r.Bias-0.055*k) > 1e-12 || math.Abs(r.Momentum-0.8685) > 1e-12 {
			t.Errorf("halved %v: %+v, want 0.005, 0.055 and 0.8685, the rates by %g", halved, r, k)
		}
	}
	tr.o.Rate.Warmup = "linear"
	if r := tr.rates(5, 0.3); r != (optim.Rates{LR: 0.3, Bias: 0.3, Momentum: 0.937}) {
		t.Errorf("linear warm-up: %+v, want the same for all", r)
	}
}

// In the first step of a warm-up by groups only the biases move.
func TestFirstStepOfGroupWarmup(t *testing.T) {
	set := scenes(t, "train")
	o := settings("")
	o.Epochs, o.Batch, o.EMA, o.Optimizer = 1, set.Len(), 0, "sgd"
	o.Rate = Rate{Schedule: "constant", WarmupEpochs: 4, Warmup: "groups", WarmupBias: 0.1}
	before, g := network(t, 3), network(t, 3)
	if err := Run(context.Background(), g, set, nil, o, Hooks{}, false); err != nil {
		t.Fatal(err)
	}
	moved := map[string]bool{}
	a, b := tensors(before), tensors(g)
	for i := range a {
		_, vector, _ := strings.Cut(a[i].Name, ".")
		for j := range a[i].Data {
			moved[vector] = moved[vector] || a[i].Data[j] != b[i].Data[j]
		}
	}
	if moved["kernel"] || moved["gamma"] || !moved["bias"] {
		t.Errorf("moved: %v; want biases, and no kernel or gamma", moved)
	}
}
