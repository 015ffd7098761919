package loop

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"yoloprune/finetune/optim"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// alone is a trainer of layers without a gradient, so that the penalty is all
// that moves them: plain SGD with lr 0.1.
func alone(t *testing.T, g *graph.Graph, s *Sparsity, steps int, params ...engine.Param) *trainer {
	t.Helper()
	tr := &trainer{
		o: Options{LR: 0.1, Optimizer: "sgd", Sparsity: s}, total: steps,
		rateAt: func(int, int) float64 { return 1 },
	}
	for _, p := range params {
		tr.slots = append(tr.slots, optim.Slot{Name: p.Name(), Value: p.Value, Grad: p.Grad, Gamma: p.Role == engine.Gamma})
	}
	var err error
	if tr.opt, err = optim.NewSGD(tr.slots, optim.SGDOptions{}); err != nil {
		t.Fatal(err)
	}
	tr.penalty = newPenalty(s, tr.rateAt, steps)
	if err := tr.penalty.bind(g, params, tr.slots); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (t *trainer) idle() {
	for _, s := range t.slots {
		clear(s.Grad)
	}
	t.update()
}

func param(node graph.NodeID, r engine.Role, values ...float32) engine.Param {
	return engine.Param{Node: node, Role: r, Value: values, Grad: make([]float32, len(values))}
}

func wantValues(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 2e-6 {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

// Of 20 channels the 3 strongest are released in the second half: they move by
// lr·strength/100 a step instead of lr·strength, their betas too.
func TestLocalReleasesTheStrongest(t *testing.T) {
	for _, method := range []string{"subgradient", "proximal"} {
		gamma, beta := make([]float32, 20), make([]float32, 20)
		for i := range gamma {
			gamma[i], beta[i] = 1+0.1*float32((i*7)%20), -1
		}
		before := slices.Clone(gamma)
		s := &Sparsity{Method: method, Strength: 0.5, Schedule: "local", Beta: 2}
		tr := alone(t, nil, s, 4, param(0, engine.Gamma, gamma...), param(0, engine.Beta, beta...))
		gamma, beta = tr.slots[0].Value, tr.slots[1].Value
		for epoch := range 2 {
			tr.penalty.renew(tr.slots, epoch, 2)
			tr.idle()
			tr.idle()
		}
		for i, v := range before {
			moved := float32(0.2)
			if v > 2.65 {
				moved = 0.101
			}
			wantValues(t, method+" gamma", gamma[i:i+1], []float32{v - moved})
			wantValues(t, method+" beta", beta[i:i+1], []float32{-1 + 2*moved})
		}
	}
}

// Betas follow at their own strength; the bias of a layer without batch norm is
// called bias and has no penalty.
func TestBetaPenalty(t *testing.T) {
	s := &Sparsity{Method: "proximal", Strength: 1, Schedule: "constant", Beta: 0.5}
	tr := alone(t, nil, s, 2, param(0, engine.Gamma, 1, -1), param(0, engine.Beta, -1, 0.05), param(1, engine.Bias, 1), param(1, engine.Kernel, 1))
	tr.idle()
	tr.idle()
	wantValues(t, "gamma", tr.slots[0].Value, []float32{0.8, -0.8})
	wantValues(t, "beta", tr.slots[1].Value, []float32{-0.9, 0})
	wantValues(t, "bias", tr.slots[2].Value, []float32{1})
	wantValues(t, "kernel", tr.slots[3].Value, []float32{1})
}

// Tied gammas (0.3, 0.4) have the norm 0.5, which falls by 0.1 a step.
func TestGroupsShrinkTogether(t *testing.T) {
	g := network(t, 3)
	s := &Sparsity{
		Method: "proximal", Strength: 1, Schedule: "constant",
		Groups: [][]Channel{{{0, 0}, {1, 1}, {0, 0}}},
	}
	tr := alone(t, g, s, 5, param(0, engine.Gamma, 0.3, 0.35), param(1, engine.Gamma, 1, 0.4))
	if f := tr.forecast(); !f.Groups || math.Abs(f.Median-0.5) > 1e-6 || math.Abs(f.Reach-2./3) > 1e-9 {
		t.Errorf("forecast %+v, want groups with a median of 0.5, of which 2 of 3 get near zero", f)
	}
	for i, want := range [][]float32{{0.24, 0.25, 0.9, 0.32}, {0.18, 0.15, 0.8, 0.24}, {0.12, 0.05, 0.7, 0.16}, {0.06, 0, 0.6, 0.08}} {
		tr.idle()
		wantValues(t, string(rune('1'+i)), slices.Concat(tr.slots[0].Value, tr.slots[1].Value), want)
	}
	tr.idle()
	tr.idle()
	if tr.slots[0].Value[0] != 0 || tr.slots[1].Value[1] != 0 {
		t.Errorf("after the norm's whole way: %g and %g, want exact zeros", tr.slots[0].Value[0], tr.slots[1].Value[1])
	}
}

func TestGroupRefusals(t *testing.T) {
	g := network(t, 3)
	for _, c := range []struct {
		groups [][]Channel
		want   string
	}{
		{[][]Channel{{{-1, 0}}}, "group 0: layer -1 is no convolution"},
		{[][]Channel{{{999, 0}}}, "group 0: layer 999 is no convolution"},
		{[][]Channel{{{3, 0}}}, "group 0: layer 3 is no convolution"},
		{[][]Channel{{{0, 0}}, {{1, 0}, {0, 4}}}, "group 1: layer 0 has no channel 4: it has 4"},
		{[][]Channel{{{0, 1}, {1, 0}}, {{2, 2}, {1, 0}}}, "group 1: channel 0 of 1.gamma is in group 0 too"},
	} {
		o := settings("")
		o.Sparsity = &Sparsity{Method: "proximal", Strength: 1, Schedule: "constant", Groups: c.groups}
		err := Run(context.Background(), g, scenes(t, "train"), nil, o, Hooks{}, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.groups, err, c.want)
		}
	}
}

// Ten steps of lr 0.1.
func TestForecastShrink(t *testing.T) {
	for _, c := range []struct {
		s         Sparsity
		optimizer string
		momentum  float64
		want      float64
	}{
		{Sparsity{Method: "proximal", Strength: 0.5, Schedule: "constant"}, "adamw", 0, 0.5},
		{Sparsity{Method: "proximal", Strength: 0.5, Schedule: "decay"}, "sgd", 0, 0.05 * (10 - 0.09*45)},
		{Sparsity{Method: "proximal", Shrink: 0.3, Schedule: "cosine"}, "adamw", 0, 0.3},
		{Sparsity{Method: "subgradient", Strength: 0.5, Schedule: "local"}, "sgd", 0.9, 5},
		{Sparsity{Method: "subgradient", Strength: 0.5, Schedule: "constant"}, "adamw", 0.9, 1},
	} {
		tr := alone(t, nil, &c.s, 10, param(0, engine.Gamma, 9))
		tr.o.Optimizer, tr.o.SGD.Momentum = c.optimizer, c.momentum
		if got := tr.forecast().Shrink; math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v, %s: shrink %g, want %g", c.s, c.optimizer, got, c.want)
		}
		if c.s.Method == "proximal" {
			for range 10 {
				tr.idle()
			}
			wantValues(t, c.s.Schedule, tr.slots[0].Value, []float32{float32(9 - c.want)})
		}
	}
}

func TestForecastReach(t *testing.T) {
	s := &Sparsity{Method: "proximal", Shrink: 0.5, Schedule: "constant"}
	tr := alone(t, nil, s, 10, param(0, engine.Gamma, 0.1, -0.505, 0.6, -1), param(0, engine.Kernel, 0))
	f := tr.forecast()
	if f.Groups || math.Abs(f.Median-0.6) > 1e-6 || f.Reach != 0.5 {
		t.Errorf("forecast %+v, want median 0.6 and half within reach", f)
	}
	if want := "moves gammas by up to 0.5; their median is 0.6; up to 50.0 % of them come near zero"; !strings.Contains(f.String(), want) {
		t.Errorf("%q, want %q", f, want)
	}
	none := alone(t, nil, s, 10, param(0, engine.Kernel, 1))
	if f := none.forecast(); f.Reach != 0 || f.Median != 0 {
		t.Errorf("without gammas: %+v", f)
	}
}

// The forecast comes before the first step, of a resumed run too.
func TestForecastComesFirst(t *testing.T) {
	o := settings("")
	o.Epochs, o.Sparsity = 1, &Sparsity{Method: "proximal", Strength: 1e-9, Schedule: "constant"}
	var order []string
	h := Hooks{
		Sparsity: func(f Forecast) {
			if f.Reach != 0 || f.Median != 1 {
				t.Errorf("forecast %+v: want nothing in reach of new gammas, which are 1", f)
			}
			order = append(order, "forecast")
		},
		Batch: func(int, float64) { order = append(order, "step") },
	}
	if err := Run(context.Background(), network(t, 3), scenes(t, "train"), nil, o, h, false); err != nil {
		t.Fatal(err)
	}
	if order[0] != "forecast" || order[1] != "step" {
		t.Errorf("%v", order)
	}
}
