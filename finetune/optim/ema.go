package optim

import (
	"fmt"
	"math"
	"slices"
)

// EMA is an exponential moving average of tensors, usually all weights and
// running statistics of a network:
//
//	e = d·e + (1−d)·w      d(n) = decay·(1 − e^(−n/ramp))
//
// n counts the updates from 1. The ramp lets the average follow quickly at the
// start, when it still holds the initial weights (YOLOv7, utils/torch_utils.py,
// ModelEMA, where decay is 0.9999 and ramp 2000).
type EMA struct {
	decay, ramp float64
	step        uint64
	live        []Tensor
	average     []Tensor
}

// NewEMA starts the average of live at its present values. The slices of live
// are read at every Update. A ramp of 0 switches the ramp off.
func NewEMA(live []Tensor, decay, ramp float64) (*EMA, error) {
	if !inRange(decay, 0, 1) {
		return nil, fmt.Errorf("optim: ema: decay %g is not in [0, 1)", decay)
	}
	if !inRange(ramp, 0, math.Inf(1)) {
		return nil, fmt.Errorf("optim: ema: ramp of %g updates; want a number of at least 0", ramp)
	}
	e := &EMA{decay: decay, ramp: ramp, live: slices.Clone(live)}
	for _, t := range live {
		e.average = append(e.average, Tensor{t.Name, slices.Clone(t.Data)})
	}
	return e, nil
}

// decayAt is d(n).
func (e *EMA) decayAt(n uint64) float64 {
	if e.ramp == 0 {
		return e.decay
	}
	return e.decay * (1 - math.Exp(-float64(n)/e.ramp))
}

// Update takes the live values into the average.
func (e *EMA) Update() {
	e.step++
	d := e.decayAt(e.step)
	keep, take := float32(d), float32(1-d)
	for i, t := range e.live {
		average := e.average[i].Data
		for j, w := range t.Data {
			average[j] = keep*average[j] + take*w
		}
	}
}

// Average returns the averaged tensors, in the order given. They change with
// the next Update.
func (e *EMA) Average() []Tensor { return e.average }

// State returns the average and the number of updates. The slices alias the
// average's own.
func (e *EMA) State() State { return State{Step: e.step, Tensors: e.average} }

// SetState copies a state in, as State of an equal average gave it.
func (e *EMA) SetState(st State) error {
	if err := restore(e.average, st.Tensors); err != nil {
		return fmt.Errorf("optim: ema: %w", err)
	}
	e.step = st.Step
	return nil
}
