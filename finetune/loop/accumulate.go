package loop

import (
	"yoloprune/datasets/batch"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
)

// accumulator adds up the gradients of the micro-batches of one step. Each is
// divided by its own number of positives P_i, at least 1, so that
//
//	g = Σ max(P_i, 1)·g_i / max(Σ P_i, 1)
//
// is the gradient of all their images in one batch; the batch statistics of
// batch norms alone remain those of the micro-batch, as with Darknet's
// subdivisions.
type accumulator struct {
	slots     []optim.Slot
	sums      [][]float32
	parts     loss.Parts // weighted sums
	count, of int        // micro-batches that were added, and of a step
}

func newAccumulator(slots []optim.Slot, of int) *accumulator {
	a := &accumulator{slots: slots, of: max(of, 1)}
	if a.of == 1 {
		return a
	}
	for _, s := range slots {
		a.sums = append(a.sums, make([]float32, len(s.Grad)))
	}
	return a
}

// add takes a micro-batch's gradients. With the last of a step it returns true
// and the step's loss, and the slots hold the step's gradients.
func (a *accumulator) add(p loss.Parts) (loss.Parts, bool) {
	if a.of == 1 {
		return p, true
	}
	a.addParts(p)
	a.addGradients(float32(max(p.Positives, 1)))
	a.count++
	if a.count < a.of {
		return loss.Parts{}, false
	}
	return a.take(), true
}

func (a *accumulator) addParts(p loss.Parts) {
	w := float64(max(p.Positives, 1))
	a.parts.Box += w * p.Box
	a.parts.Obj += w * p.Obj
	a.parts.Class += w * p.Class
	a.parts.Total += w * p.Total
	a.parts.Positives += p.Positives
}

func (a *accumulator) addGradients(weight float32) {
	for k, s := range a.slots {
		sum := a.sums[k]
		for i, g := range s.Grad {
			sum[i] += weight * g
		}
	}
}

// take moves the sums, divided, into the slots and starts the next step.
func (a *accumulator) take() loss.Parts {
	p := a.parts
	scale := 1 / float64(max(p.Positives, 1))
	for k, s := range a.slots {
		for i, v := range a.sums[k] {
			s.Grad[i] = v * float32(scale)
		}
	}
	a.reset()
	p.Box, p.Obj, p.Class, p.Total = p.Box*scale, p.Obj*scale, p.Class*scale, p.Total*scale
	return p
}

// reset forgets the micro-batches of a step that is not taken.
func (a *accumulator) reset() {
	if a.count == 0 {
		return
	}
	a.count, a.parts = 0, loss.Parts{}
	for _, s := range a.sums {
		clear(s)
	}
}

// micro runs a micro-batch forward and backward. With the last of a step it
// takes the step and returns true and the step's loss.
func (t *trainer) micro(b *batch.Batch) (loss.Parts, bool, error) {
	if t.sum.count == 0 {
		t.keepStatistics()
	}
	t.loss.SetTruths(b.Truths)
	t.net.SetIteration(uint64(t.iteration*t.sum.of + t.sum.count))
	if _, err := t.net.Step(b.Images); err != nil {
		return t.parts, false, err
	}
	if err := optim.CheckFinite(t.slots); err != nil {
		return t.parts, false, err
	}
	parts, full := t.sum.add(t.parts)
	if full {
		t.update()
	}
	return parts, full, nil
}
