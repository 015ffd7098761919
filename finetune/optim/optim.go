// Package optim holds what changes weights between two steps of training:
// optimisers, learning-rate schedules, gradient clipping, sparsity penalties
// and the moving average of the weights.
//
// Everything works in place on flat float32 slices, in the order given, on one
// thread, so equal inputs give equal bytes.
package optim

import (
	"fmt"
	"math"
)

// Slot is one parameter tensor with its gradient.
type Slot struct {
	Name        string // unique; names the state in checkpoints
	Value, Grad []float32
	Decay       bool // weight decay applies: kernels, not biases or batch norms
	Gamma       bool // a batch-norm scale that sparsity works on
	Bias        bool // a bias, of a batch norm too: it has its own learning rate in a warm-up by groups
}

// Optimizer updates the slots that it was made for.
type Optimizer interface {
	// Step applies the slots' gradients with one learning rate for all.
	Step(lr float64)
	// StepRates does so with one for each group.
	StepRates(Rates)
	// State returns what Step remembers. The slices alias the optimiser's own:
	// they change with the next Step.
	State() State
	// SetState copies a state in, as State of an equal optimiser gave it.
	SetState(State) error
}

// Rates are a step's learning rate, that of the slots with Bias, and the
// momentum, which AdamW has none of.
type Rates struct{ LR, Bias, Momentum float64 }

func (r Rates) of(s Slot) float64 {
	if s.Bias {
		return r.Bias
	}
	return r.LR
}

// State is an optimiser's or a moving average's memory: a counter of steps and
// named tensors, in a fixed order.
type State struct {
	Step    uint64
	Tensors []Tensor
}

// Tensor is a named flat slice.
type Tensor struct {
	Name string
	Data []float32
}

// restore copies from into to after checking that names and sizes agree.
func restore(to, from []Tensor) error {
	if len(from) != len(to) {
		return fmt.Errorf("state of %d tensors; want %d", len(from), len(to))
	}
	for i, t := range to {
		if f := from[i]; f.Name != t.Name || len(f.Data) != len(t.Data) {
			return fmt.Errorf("state: tensor %d is %q with %d values; want %q with %d", i, f.Name, len(f.Data), t.Name, len(t.Data))
		}
	}
	for i, t := range to {
		copy(t.Data, from[i].Data)
	}
	return nil
}

// buffers makes one zeroed tensor per slot, named name/<kind>.
func buffers(slots []Slot, kind string) []Tensor {
	out := make([]Tensor, len(slots))
	for i, s := range slots {
		out[i] = Tensor{s.Name + "/" + kind, make([]float32, len(s.Value))}
	}
	return out
}

func checkSlots(slots []Slot) error {
	seen := make(map[string]bool, len(slots))
	for i, s := range slots {
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("optim: slot %d: name %q is empty or taken; every slot needs its own", i, s.Name)
		}
		if len(s.Value) != len(s.Grad) {
			return fmt.Errorf("optim: slot %s: %d values and %d gradients; want as many", s.Name, len(s.Value), len(s.Grad))
		}
		seen[s.Name] = true
	}
	return nil
}

// inRange says whether lo <= v < hi; NaN is not.
func inRange(v, lo, hi float64) bool { return v >= lo && v < hi }

func checkDecay(wd float64) error {
	if !inRange(wd, 0, math.MaxFloat32) {
		return fmt.Errorf("optim: weight decay: %g; want a number of at least 0", wd)
	}
	return nil
}
