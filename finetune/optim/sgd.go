package optim

import (
	"errors"
	"fmt"
)

// SGDOptions set stochastic gradient descent.
type SGDOptions struct {
	Momentum    float64 // μ, in [0, 1)
	WeightDecay float64 // λ, for slots with Decay
	Nesterov    bool    // needs a momentum
	Darknet     bool    // Darknet's order; not with Nesterov
}

// SGD is stochastic gradient descent with momentum, as PyTorch defines it
// (torch.optim.SGD, dampening 0). With g the gradient and w the weight:
//
//	g = g + λ·w
//	u = μ·u + g
//	w = w − lr·u            or, with Nesterov, w − lr·(g + μ·u)
//
// Darknet's order (convolutional_layer.c, update_convolutional_layer), with g
// the mean over the batch, takes the momentum after the step:
//
//	u = u + g + λ·w         w = w − lr·u         u = μ·u
//
// which gives the same weights up to rounding while the momentum stays the same.
// In both the learning rate stands outside u, so a change of it acts at once.
type SGD struct {
	o       SGDOptions
	slots   []Slot
	moments []Tensor
	step    uint64
}

// NewSGD makes the optimiser for slots; its momentum starts at zero.
func NewSGD(slots []Slot, o SGDOptions) (*SGD, error) {
	if err := checkSlots(slots); err != nil {
		return nil, err
	}
	if !inRange(o.Momentum, 0, 1) {
		return nil, fmt.Errorf("optim: momentum: %g is not in [0, 1)", o.Momentum)
	}
	if o.Nesterov && o.Momentum == 0 {
		return nil, errors.New("optim: nesterov needs a momentum above 0")
	}
	if o.Nesterov && o.Darknet {
		return nil, errors.New("optim: Darknet's order of the momentum has no nesterov")
	}
	if err := checkDecay(o.WeightDecay); err != nil {
		return nil, err
	}
	kind := "momentum"
	if o.Darknet {
		kind = "darknet-momentum"
	}
	return &SGD{o: o, slots: slots, moments: buffers(slots, kind)}, nil
}

// Step implements Optimizer.
func (s *SGD) Step(lr float64) { s.StepRates(Rates{lr, lr, s.o.Momentum}) }

// StepRates implements Optimizer.
func (s *SGD) StepRates(r Rates) {
	s.step++
	for i, slot := range s.slots {
		lr, mu := float32(r.of(slot)), float32(r.Momentum)
		if s.o.Darknet {
			s.updateDarknet(slot, s.moments[i].Data, lr, mu)
		} else {
			s.update(slot, s.moments[i].Data, lr, mu)
		}
	}
}

func (s *SGD) updateDarknet(slot Slot, u []float32, lr, mu float32) {
	decay := float32(0)
	if slot.Decay {
		decay = float32(s.o.WeightDecay)
	}
	w, grad := slot.Value, slot.Grad
	for i := range w {
		u[i] += grad[i] + decay*w[i]
		w[i] -= lr * u[i]
		u[i] *= mu
	}
}

func (s *SGD) update(slot Slot, u []float32, lr, mu float32) {
	decay := float32(0)
	if slot.Decay {
		decay = float32(s.o.WeightDecay)
	}
	w, grad := slot.Value, slot.Grad
	for i := range w {
		g := grad[i] + decay*w[i]
		u[i] = mu*u[i] + g
		if s.o.Nesterov {
			w[i] -= lr * (g + mu*u[i])
		} else {
			w[i] -= lr * u[i]
		}
	}
}

// State implements Optimizer.
func (s *SGD) State() State { return State{Step: s.step, Tensors: s.moments} }

// SetState implements Optimizer.
func (s *SGD) SetState(st State) error {
	if err := restore(s.moments, st.Tensors); err != nil {
		return fmt.Errorf("optim: sgd: %w", err)
	}
	s.step = st.Step
	return nil
}
