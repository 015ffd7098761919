package loop

import (
	"math"

	"yoloprune/finetune/optim"
)

// Sparsity is the penalty that drives batch-norm scales to zero (Liu et al.
// 2017, Network Slimming, arXiv:1708.06519). It acts once per step, on every
// gamma.
//
// Subgradient adds Strength*sign(gamma) to the gradient before the optimiser,
// as the paper's code does. An adaptive optimiser divides that by the
// gradient's size and gammas ring around zero, so Proximal is the better
// choice with AdamW: after the step every gamma moves towards zero by
// lr*Strength and stops there, or, with Shrink set, by its share of Shrink,
// which is the whole way over the stage, spread with the learning rate.
type Sparsity struct {
	Method   string // subgradient or proximal
	Strength float64
	Shrink   float64
	Schedule string // constant; decay: linearly to a tenth; cosine: to zero
}

type penalty struct {
	s     *Sparsity
	total int
	lr    optim.Schedule
	sum   float64 // of lr*schedule over the stage
}

func newPenalty(s *Sparsity, lr optim.Schedule, total int) *penalty {
	p := &penalty{s: s, total: total, lr: lr}
	if s != nil {
		p.sum = optim.Schedule(func(i, total int) float64 { return lr(i, total) * p.level(i) }).Sum(total)
	}
	return p
}

// level is the schedule's factor at a step.
func (p *penalty) level(i int) float64 {
	at := float64(i) / float64(max(p.total, 1))
	switch p.s.Schedule {
	case "decay":
		return 1 - 0.9*at
	case "cosine":
		return (1 + math.Cos(math.Pi*at)) / 2
	}
	return 1
}

func (p *penalty) subgradient(slots []optim.Slot, i int) {
	if p.s != nil && p.s.Method == "subgradient" {
		optim.L1Subgradient(slots, p.s.Strength*p.level(i))
	}
}

func (p *penalty) proximal(slots []optim.Slot, i int, lr float64) {
	if p.s == nil || p.s.Method != "proximal" {
		return
	}
	amount := lr * p.s.Strength * p.level(i)
	if p.s.Shrink > 0 {
		amount = p.s.Shrink * p.lr(i, p.total) * p.level(i) / p.sum
	}
	optim.Proximal(slots, amount)
}
