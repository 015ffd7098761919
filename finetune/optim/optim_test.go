package optim

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func near(t interface {
	Helper()
	Errorf(string, ...any)
}, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s = %.10g, want %.10g", what, got, want)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// one is a slot of a single weight that starts at 1.
func one(decay bool) []Slot {
	return []Slot{{Name: "w", Value: []float32{1}, Grad: []float32{0}, Decay: decay}}
}

// follow applies one gradient after the other and compares the weight.
func follow(t *testing.T, what string, o Optimizer, s []Slot, lr float64, grads, want []float64) {
	t.Helper()
	for i, g := range grads {
		s[0].Grad[0] = float32(g)
		o.Step(lr)
		near(t, what, float64(s[0].Value[0]), want[i], 2e-7)
	}
}

// The trajectories are PyTorch 1.13's; the first is worked out below.
//
//	u = .1 + .01·1 = .11               w = 1 − .1·.11 = .989
//	u = .9·.11 + .2 + .00989 = .30889  w = .958111
func TestSGDGolden(t *testing.T) {
	grads := []float64{.1, .2, -.1}
	s := one(true)
	o := must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, WeightDecay: .01}))
	follow(t, "momentum", o, s, .1, grads, []float64{.989, .958111, .939352789})
	s = one(true)
	o = must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, WeightDecay: .01, Nesterov: true}))
	follow(t, "nesterov", o, s, .1, grads, []float64{.9791, .93032971, .922550012551})
	s = one(true) // Darknet's order gives the weights of the first
	o = must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, WeightDecay: .01, Darknet: true}))
	follow(t, "darknet", o, s, .1, grads, []float64{.989, .958111, .939352789})
	s = one(false) // no decay: w − .1·g
	o = must[*SGD](t)(NewSGD(s, SGDOptions{WeightDecay: .5}))
	follow(t, "plain", o, s, .1, grads, []float64{.99, .97, .98})
}

// The second step by hand: m = .9·.01 − .1·.2 = −.011, v = .99·.0001 + .01·.04
// = .000499, m̂ = m/.19 = −.0578947, v̂ = v/.0199 = .0250754, and
// w = .89900001·.999 + .1·.0578947/.158352 = .9346618.
func TestAdamWGolden(t *testing.T) {
	grads := []float64{.1, -.2, .3}
	s := one(true)
	o := must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .01}))
	follow(t, "decay", o, s, .1, grads, []float64{.89900001, .9346617790, .8994914073})
	s = one(false)
	o = must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .01}))
	follow(t, "no decay", o, s, .1, grads, []float64{.90000001, .9365607790, .9023250691})
}

// With the decay in the gradient: g = .1 + .01·1 = .11, then −.2 + .01·.9 =
// −.191, m = .9·.011 − .0191 = −.0092, v = .99·.000121 + .01·.036481 = .0004846,
// w = .90000001 + .1·(.0092/.19)/√(.0004846/.0199) = .9310291.
func TestAdamGolden(t *testing.T) {
	s := one(true)
	o := must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .01, Coupled: true}))
	follow(t, "adam", o, s, .1, []float64{.1, -.2}, []float64{.90000001, .9310290986})
}

// Two steps of equal gradients: kernel and bias by their own rates, and the
// momentum of each step, not that of the options.
func TestStepRates(t *testing.T) {
	slots := func() []Slot {
		return []Slot{
			{Name: "w", Value: []float32{1}, Grad: []float32{1}},
			{Name: "b", Value: []float32{1}, Grad: []float32{1}, Bias: true},
		}
	}
	s := slots()
	o := Optimizer(must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9})))
	o.StepRates(Rates{.1, .2, .5})
	o.StepRates(Rates{.01, .02, .5}) // u = 1.5
	near(t, "sgd weight", float64(s[0].Value[0]), 1-.1-.015, 1e-7)
	near(t, "sgd bias", float64(s[1].Value[0]), 1-.2-.03, 1e-7)
	s = slots()
	o = must[*AdamW](t)(NewAdamW(s, AdamWOptions{}))
	o.StepRates(Rates{LR: .1, Bias: .2})
	near(t, "adamw weight", float64(s[0].Value[0]), .9, 1e-7)
	near(t, "adamw bias", float64(s[1].Value[0]), .8, 1e-7)
}

// A gradient as small as ε is halved by it: w = 1 − .1·10⁻⁸/(10⁻⁸ + 10⁻⁸).
func TestAdamWEpsilon(t *testing.T) {
	s := one(false)
	o := must[*AdamW](t)(NewAdamW(s, AdamWOptions{}))
	follow(t, "epsilon", o, s, .1, []float64{1e-8}, []float64{.95})
}

// With all gradients zero AdamW only decays, and without decay rests.
func TestAdamWZeroGradient(t *testing.T) {
	s := append(one(true), Slot{Name: "b", Value: []float32{1}, Grad: []float32{0}})
	o := must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .5}))
	o.Step(.1)
	near(t, "decayed", float64(s[0].Value[0]), .95, 1e-7)
	near(t, "not decayed", float64(s[1].Value[0]), 1, 0)
}

func optimizers(t testing.TB, s []Slot) map[string]Optimizer {
	return map[string]Optimizer{
		"sgd":      must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, WeightDecay: .01})),
		"darknet":  must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, WeightDecay: .01, Darknet: true})),
		"adam":     must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .02, Coupled: true})),
		"nesterov": must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9, Nesterov: true})),
		"adamw":    must[*AdamW](t)(NewAdamW(s, AdamWOptions{WeightDecay: .02})),
	}
}

func randomSlots(r *rand.Rand) []Slot {
	s := []Slot{{Name: "kernel", Decay: true}, {Name: "gamma", Gamma: true}, {Name: "empty"}}
	for i, n := range []int{7, 3, 0} {
		for range n {
			s[i].Value = append(s[i].Value, float32(r.NormFloat64()))
			s[i].Grad = append(s[i].Grad, 0)
		}
	}
	return s
}

func drawGrads(r *rand.Rand, s []Slot) {
	for i := range s {
		for j := range s[i].Grad {
			s[i].Grad[j] = float32(r.NormFloat64())
		}
	}
}

func cloneState(st State) State {
	out := State{Step: st.Step}
	for _, t := range st.Tensors {
		out.Tensors = append(out.Tensors, Tensor{t.Name, slices.Clone(t.Data)})
	}
	return out
}

// Going on from a saved state is the same, bit for bit, as never having
// stopped.
func TestStateResumes(t *testing.T) {
	for name := range optimizers(t, randomSlots(rand.New(rand.NewPCG(1, 1)))) {
		whole := randomSlots(rand.New(rand.NewPCG(1, 1)))
		r := rand.New(rand.NewPCG(2, 2))
		o := optimizers(t, whole)[name]
		var saved State
		var resumed []Slot
		for k := range 6 {
			if k == 3 {
				saved = cloneState(o.State())
				resumed = randomSlots(rand.New(rand.NewPCG(9, 9)))
				for i := range whole {
					copy(resumed[i].Value, whole[i].Value)
				}
			}
			drawGrads(r, whole)
			o.Step(.05)
		}
		p := optimizers(t, resumed)[name]
		if err := p.SetState(saved); err != nil {
			t.Fatal(err)
		}
		r = rand.New(rand.NewPCG(2, 2))
		for k := range 6 {
			drawGrads(r, resumed)
			if k >= 3 {
				p.Step(.05)
			}
		}
		for i := range whole {
			if !slices.Equal(whole[i].Value, resumed[i].Value) {
				t.Errorf("%s: slot %s is %v after a resume, %v without", name, whole[i].Name, resumed[i].Value, whole[i].Value)
			}
		}
		if p.State().Step != 6 {
			t.Errorf("%s: %d steps counted, want 6", name, p.State().Step)
		}
	}
}

func TestSetStateErrors(t *testing.T) {
	s := randomSlots(rand.New(rand.NewPCG(1, 1)))
	for name, o := range optimizers(t, s) {
		good := cloneState(o.State())
		renamed, short := cloneState(good), cloneState(good)
		renamed.Tensors[1].Name = "other"
		short.Tensors[0].Data = short.Tensors[0].Data[1:]
		short.Tensors[1].Data[0] = 5
		for want, st := range map[string]State{
			"state of 0 tensors":     {},
			`tensor 1 is "other"`:    renamed,
			"with 6 values; want \"": short,
		} {
			if err := o.SetState(st); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", name, err, want)
			}
		}
		if o.State().Tensors[1].Data[0] != 0 {
			t.Errorf("%s: a refused state was copied in part", name)
		}
	}
}

func TestNewErrors(t *testing.T) {
	sgd := func(o SGDOptions) error { _, err := NewSGD(one(true), o); return err }
	adamw := func(o AdamWOptions) error { _, err := NewAdamW(one(true), o); return err }
	slots := func(s ...Slot) error { _, err := NewSGD(s, SGDOptions{}); return err }
	ema := func(decay, ramp float64) error { _, err := NewEMA(nil, decay, ramp); return err }
	for _, c := range []struct {
		err  error
		want string
	}{
		{sgd(SGDOptions{Momentum: 1}), "momentum: 1 is not in [0, 1)"},
		{sgd(SGDOptions{Momentum: math.NaN()}), "momentum: NaN"},
		{sgd(SGDOptions{Nesterov: true}), "nesterov needs a momentum"},
		{sgd(SGDOptions{Momentum: .9, Nesterov: true, Darknet: true}), "has no nesterov"},
		{sgd(SGDOptions{WeightDecay: -1}), "weight decay: -1"},
		{adamw(AdamWOptions{Beta1: 1}), "betas: 1 and 0.99"},
		{adamw(AdamWOptions{Beta2: -.1}), "betas: 0.9 and -0.1"},
		{adamw(AdamWOptions{Eps: -1}), "epsilon: -1"},
		{adamw(AdamWOptions{WeightDecay: math.Inf(1)}), "weight decay: +Inf"},
		{slots(Slot{}), `slot 0: name ""`},
		{slots(Slot{Name: "a"}, Slot{Name: "a"}), `slot 1: name "a" is empty or taken`},
		{slots(Slot{Name: "a", Value: []float32{1}}), "slot a: 1 values and 0 gradients"},
		{ema(1, 0), "decay 1 is not in [0, 1)"},
		{ema(.9, -1), "ramp of -1"},
		{ema(.9, math.Inf(1)), "ramp of +Inf"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}

// d(n) of YOLOv7's average.
func TestEMADecay(t *testing.T) {
	e := must[*EMA](t)(NewEMA(nil, .9999, 2000))
	for n, want := range map[uint64]float64{1: .000499825, 10: .004987022, 2000: .632057347, 10000: .993162727} {
		near(t, "d", e.decayAt(n), want, 1e-9)
	}
}

func TestEMAUpdate(t *testing.T) {
	live := []float32{1, -2}
	e := must[*EMA](t)(NewEMA([]Tensor{{"w", live}}, .75, 0))
	live[0], live[1] = 5, 2
	e.Update() // .75·1 + .25·5 = 2, .75·−2 + .25·2 = −1
	e.Update() // .75·2 + .25·5 = 2.75, −.25
	if want := []float32{2.75, -.25}; !slices.Equal(e.Average()[0].Data, want) {
		t.Errorf("average %v, want %v", e.Average()[0].Data, want)
	}
	if !slices.Equal(live, []float32{5, 2}) {
		t.Errorf("live values became %v", live)
	}
}

func TestEMAResumes(t *testing.T) {
	live := []float32{1}
	e := must[*EMA](t)(NewEMA([]Tensor{{"w", live}}, .9, 3))
	step := func(e *EMA, k int) { live[0] = float32(k * k); e.Update() }
	for k := range 3 {
		step(e, k)
	}
	f := must[*EMA](t)(NewEMA([]Tensor{{"w", live}}, .9, 3))
	if err := f.SetState(cloneState(e.State())); err != nil {
		t.Fatal(err)
	}
	step(e, 3)
	step(f, 3)
	if e.Average()[0].Data[0] != f.Average()[0].Data[0] || f.State().Step != 4 {
		t.Errorf("resumed average %v at step %d, want %v at 4", f.Average(), f.State().Step, e.Average())
	}
	if err := f.SetState(State{Tensors: []Tensor{{"v", live}}}); err == nil || !strings.Contains(err.Error(), `want "w" with 1`) {
		t.Errorf("error %v for another tensor", err)
	}
}

func TestClipNorm(t *testing.T) {
	s := []Slot{{Name: "a", Grad: []float32{3}}, {Name: "b", Grad: []float32{0, -4}}} // norm 5
	if norm := ClipNorm(s, 10); norm != 5 || s[0].Grad[0] != 3 || s[1].Grad[1] != -4 {
		t.Errorf("below the limit: norm %g, gradients %v", norm, s)
	}
	if norm := ClipNorm(s, 0); norm != 5 || s[0].Grad[0] != 3 {
		t.Errorf("without a limit: norm %g, gradients %v", norm, s)
	}
	if norm := ClipNorm(s, 2.5); norm != 5 {
		t.Errorf("norm %g, want 5", norm)
	}
	near(t, "clipped", float64(s[0].Grad[0]), 1.5, 1e-6)
	near(t, "clipped", float64(s[1].Grad[1]), -2, 1e-6)
	tiny := []Slot{{Name: "a", Grad: []float32{1e-6}}} // 10⁻⁶/(10⁻⁶ + 10⁻⁶) = ½
	ClipNorm(tiny, 1e-6)
	near(t, "tiny", float64(tiny[0].Grad[0]), 5e-7, 1e-12)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		s[1].Grad[0] = float32(bad)
		if norm := ClipNorm(s, .1); !(math.IsNaN(norm) || math.IsInf(norm, 1)) || s[0].Grad[0] < 1.4 {
			t.Errorf("with %g: norm %g, gradients %v; want them left alone", bad, norm, s)
		}
	}
}

func TestCheckFinite(t *testing.T) {
	s := []Slot{{Name: "a", Grad: []float32{math.MaxFloat32}}, {Name: "b", Grad: []float32{0, 1}}}
	if err := CheckFinite(s); err != nil {
		t.Errorf("finite gradients: %v", err)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		s[1].Grad[1] = float32(v)
		var bad *NonFiniteError
		if err := CheckFinite(s); !errors.As(err, &bad) || bad.Slot != "b" || bad.Index != 1 || !strings.Contains(err.Error(), "gradient of b: value 1 is") {
			t.Errorf("%g: error %v", v, err)
		}
	}
}

// γ under the penalty alone with plain momentum: it drifts and does not stop at
// zero (s = .1, lr .01, μ .9).
func TestL1Subgradient(t *testing.T) {
	s := []Slot{
		{Name: "gamma", Value: []float32{.05}, Grad: []float32{0}, Gamma: true},
		{Name: "kernel", Value: []float32{1}, Grad: []float32{0}},
	}
	o := must[*SGD](t)(NewSGD(s, SGDOptions{Momentum: .9}))
	var path []float64
	for range 12 {
		clear(s[0].Grad)
		L1Subgradient(s, .1)
		o.Step(.01)
		path = append(path, float64(s[0].Value[0]))
	}
	for i, want := range []float64{.049, .0471, .04439, .040951} {
		near(t, "gamma", path[i], want, 1e-7)
	}
	if i := slices.IndexFunc(path, func(g float64) bool { return g < 0 }); i < 0 {
		t.Errorf("gamma never crossed zero: %v", path)
	} else {
		near(t, "before crossing", path[i-1], .001757, 1e-6)
		near(t, "after crossing", path[i], -.005419, 1e-6)
	}
	if s[1].Value[0] != 1 {
		t.Errorf("a slot that is no gamma moved to %g", s[1].Value[0])
	}
	signs := []Slot{{Name: "g", Value: []float32{2, 0, -3}, Grad: []float32{1, 1, 1}, Gamma: true}}
	L1Subgradient(signs, .5)
	if want := []float32{1.5, 1, .5}; !slices.Equal(signs[0].Grad, want) {
		t.Errorf("gradients %v, want %v", signs[0].Grad, want)
	}
}

func TestProximal(t *testing.T) {
	s := []Slot{
		{Name: "g", Value: []float32{1, .25, .125, 0, -.25, -1}, Gamma: true},
		{Name: "w", Value: []float32{1}},
	}
	Proximal(s, 0)
	Proximal(s, -1)
	Proximal(s, math.NaN())
	if s[0].Value[0] != 1 {
		t.Fatalf("no amount moved gamma to %g", s[0].Value[0])
	}
	Proximal(s, .25)
	if want := []float32{.75, 0, 0, 0, 0, -.75}; !slices.Equal(s[0].Value, want) || s[1].Value[0] != 1 {
		t.Errorf("gammas %v, want %v; weight %g, want 1", s[0].Value, want, s[1].Value[0])
	}
	for i, g := range s[0].Value[1:5] {
		if math.Signbit(float64(g)) {
			t.Errorf("gamma %d is a negative zero", i+1)
		}
	}
}

// Whatever the split into steps, a whole run shrinks a free gamma by the total
// amount when each step takes its share of the learning rate.
func TestProximalShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(1, 200).Draw(t, "total")
		f, err := Cosine(rapid.IntRange(0, 20).Draw(t, "warm"), rapid.Float64Range(0, 1).Draw(t, "final"))
		if err != nil {
			t.Fatal(err)
		}
		s := []Slot{{Name: "g", Value: []float32{3}, Gamma: true}}
		for k := range total {
			Proximal(s, 1*f(k, total)/f.Sum(total))
		}
		near(t, "gamma", float64(s[0].Value[0]), 2, 1e-4)
	})
}
