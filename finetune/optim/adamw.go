package optim

import (
	"fmt"
	"math"
	"slices"
)

// AdamWOptions set AdamW. A beta or epsilon left zero takes the default beside
// it.
type AdamWOptions struct {
	Beta1, Beta2 float64 // 0.9, 0.99
	Eps          float64 // 1e-8
	WeightDecay  float64 // λ, for slots with Decay
	Coupled      bool    // Adam: the decay is part of the gradient
}

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019,
// arXiv:1711.05101, algorithm 2), as PyTorch defines it: the decay is scaled by
// the learning rate. With g the gradient, w the weight, t the number of steps:
//
//	w = w·(1 − lr·λ)
//	m = β1·m + (1−β1)·g         v = β2·v + (1−β2)·g²
//	w = w − lr·m̂/(√v̂ + ε)       m̂ = m/(1−β1ᵗ)    v̂ = v/(1−β2ᵗ)
//
// Coupled makes it Adam (Kingma and Ba, ICLR 2015, arXiv:1412.6980) with L2
// regularisation, torch.optim.Adam: in the place of the first line g = g + λ·w.
type AdamW struct {
	o             AdamWOptions
	slots         []Slot
	first, second []Tensor // m and v
	step          uint64
}

// NewAdamW makes the optimiser for slots; its moments start at zero.
func NewAdamW(slots []Slot, o AdamWOptions) (*AdamW, error) {
	if err := checkSlots(slots); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if !inRange(o.Beta1, 0, 1) || !inRange(o.Beta2, 0, 1) {
		return nil, fmt.Errorf("optim: betas: %g and %g are not both in [0, 1)", o.Beta1, o.Beta2)
	}
	if !inRange(o.Eps, 0, 1) {
		return nil, fmt.Errorf("optim: epsilon: %g is not in [0, 1)", o.Eps)
	}
	if err := checkDecay(o.WeightDecay); err != nil {
		return nil, err
	}
	return &AdamW{o: o, slots: slots, first: buffers(slots, "m"), second: buffers(slots, "v")}, nil
}

func (o AdamWOptions) withDefaults() AdamWOptions {
	if o.Beta1 == 0 {
		o.Beta1 = .9
	}
	if o.Beta2 == 0 {
		o.Beta2 = .99
	}
	if o.Eps == 0 {
		o.Eps = 1e-8
	}
	return o
}

// Step implements Optimizer.
func (a *AdamW) Step(lr float64) { a.StepRates(Rates{LR: lr, Bias: lr}) }

// StepRates implements Optimizer.
func (a *AdamW) StepRates(r Rates) {
	a.step++
	t := float64(a.step)
	unbias := float32(1 / math.Sqrt(1-math.Pow(a.o.Beta2, t)))
	for i, slot := range a.slots {
		lr := r.of(slot)
		rate := float32(lr / (1 - math.Pow(a.o.Beta1, t)))
		keep := float32(1)
		if slot.Decay && a.o.Coupled {
			addDecay(slot, float32(a.o.WeightDecay))
		} else if slot.Decay {
			keep = float32(1 - lr*a.o.WeightDecay)
		}
		a.update(slot, a.first[i].Data, a.second[i].Data, rate, unbias, keep)
	}
}

func addDecay(slot Slot, decay float32) {
	for i, w := range slot.Value {
		slot.Grad[i] += decay * w
	}
}

// update is one slot's step: rate is lr/(1−β1ᵗ), unbias 1/√(1−β2ᵗ) and keep
// 1 − lr·λ.
func (a *AdamW) update(slot Slot, m, v []float32, rate, unbias, keep float32) {
	b1, b2, eps := float32(a.o.Beta1), float32(a.o.Beta2), float32(a.o.Eps)
	c1, c2 := float32(1-a.o.Beta1), float32(1-a.o.Beta2)
	for i, g := range slot.Grad {
		m[i] = b1*m[i] + c1*g
		v[i] = b2*v[i] + c2*g*g
		root := float32(math.Sqrt(float64(v[i])))
		slot.Value[i] = slot.Value[i]*keep - rate*m[i]/(root*unbias+eps)
	}
}

// State implements Optimizer.
func (a *AdamW) State() State {
	return State{Step: a.step, Tensors: slices.Concat(a.first, a.second)}
}

// SetState implements Optimizer.
func (a *AdamW) SetState(st State) error {
	if err := restore(slices.Concat(a.first, a.second), st.Tensors); err != nil {
		return fmt.Errorf("optim: adamw: %w", err)
	}
	a.step = st.Step
	return nil
}
