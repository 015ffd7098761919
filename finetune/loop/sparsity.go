package loop

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/finetune/optim"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// Sparsity is the penalty that drives batch-norm scales to zero (Liu et al.
// 2017, Network Slimming, arXiv:1708.06519). It acts once per step, on every
// gamma, so its strength depends neither on the batch nor on accumulation.
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
	// Schedule is constant; decay: linearly to a tenth; cosine: to zero; or
	// local: from half-way on the strongest 15 % of the channels have a
	// hundredth of the penalty, chosen anew at the start of every epoch by the
	// stepped weights (github.com/tanluren/yolov3-channel-and-layer-pruning).
	Schedule string
	Beta     float64 // the penalty on the betas, as a multiple of that on the gammas; 0: none
	// Groups are channels of several layers that are cut together. Their gammas
	// are penalised by the norm of all of them instead of one by one. No channel
	// is in two groups; those in none stand alone.
	Groups [][]Channel
}

// Channel is an output channel of a convolution.
type Channel struct {
	Node    graph.NodeID
	Channel int
}

// The local schedule: the weakest so much of the channels keep the penalty, the
// others have so much of it.
const (
	localShare   = 0.85
	localRelease = 0.01
)

// penalty applies a Sparsity. Where channels differ in their penalty or share
// it, units lists the gammas that share one, and scale has each one's factor.
type penalty struct {
	s     *Sparsity
	total int
	lr    optim.Schedule
	sum   float64 // of lr*schedule over the stage

	units     [][]optim.Ref
	scale     []float32
	betas     []optim.Slot // marked as if they were gammas
	betaUnits [][]optim.Ref
	betaScale []float32
	unitOf    []int // the unit of a beta's channel
}

func newPenalty(s *Sparsity, lr optim.Schedule, total int) *penalty {
	p := &penalty{s: s, total: total, lr: lr}
	if s != nil {
		p.sum = optim.Schedule(func(i, total int) float64 { return lr(i, total) * p.level(i) }).Sum(total)
	}
	return p
}

// bind finds the slots that are penalised; params are the slots' parameters.
func (p *penalty) bind(g *graph.Graph, params []engine.Param, slots []optim.Slot) error {
	if p.s == nil {
		return nil
	}
	units, err := p.grouped(g, params)
	if err != nil {
		return err
	}
	norms := normed(params)
	if p.s.Beta > 0 {
		for i, q := range params {
			if q.Role == engine.Beta && norms[q.Node] {
				b := slots[i]
				b.Gamma = true
				p.betas = append(p.betas, b)
			}
		}
	}
	if p.s.Schedule != "local" && len(p.s.Groups) == 0 {
		return nil
	}
	p.units, p.scale = units, ones(len(units))
	p.bindBetas(params)
	return nil
}

// normed says which layers have a gamma.
func normed(params []engine.Param) map[graph.NodeID]bool {
	m := map[graph.NodeID]bool{}
	for _, q := range params {
		m[q.Node] = m[q.Node] || q.Role == engine.Gamma
	}
	return m
}

// grouped lists the gammas of every group, then all others one by one.
func (p *penalty) grouped(g *graph.Graph, params []engine.Param) ([][]optim.Ref, error) {
	slotOf := map[graph.NodeID]int{}
	for i, q := range params {
		if q.Role == engine.Gamma {
			slotOf[q.Node] = i
		}
	}
	taken := map[optim.Ref]int{}
	var units [][]optim.Ref
	for k, group := range p.s.Groups {
		unit, err := members(g, params, slotOf, group)
		if err != nil {
			return nil, fmt.Errorf("sparsity: group %d: %w", k, err)
		}
		for _, r := range unit {
			if other, ok := taken[r]; ok {
				return nil, fmt.Errorf("sparsity: group %d: channel %d of %s is in group %d too", k, r.Index, params[r.Slot].Name(), other)
			}
			taken[r] = k
		}
		if len(unit) > 0 {
			units = append(units, unit)
		}
	}
	for i, q := range params {
		for c := range q.Value {
			r := optim.Ref{Slot: i, Index: c}
			if _, ok := taken[r]; !ok && q.Role == engine.Gamma {
				units = append(units, []optim.Ref{r})
			}
		}
	}
	return units, nil
}

// members finds a group's gammas. A layer without batch norm has none, and one
// that uses another's weights has that one's.
func members(g *graph.Graph, params []engine.Param, slotOf map[graph.NodeID]int, group []Channel) ([]optim.Ref, error) {
	var unit []optim.Ref
	for _, c := range group {
		if c.Node < 0 || int(c.Node) >= len(g.Nodes) || g.Nodes[c.Node].Conv() == nil {
			return nil, fmt.Errorf("layer %d is no convolution", c.Node)
		}
		slot, ok := slotOf[g.Owner(g.Nodes[c.Node]).ID]
		if !ok {
			continue
		}
		if c.Channel < 0 || c.Channel >= len(params[slot].Value) {
			return nil, fmt.Errorf("layer %d has no channel %d: it has %d", c.Node, c.Channel, len(params[slot].Value))
		}
		if r := (optim.Ref{Slot: slot, Index: c.Channel}); !slices.Contains(unit, r) {
			unit = append(unit, r)
		}
	}
	return unit, nil
}

// bindBetas makes every beta a unit of its own that follows its channel's unit.
func (p *penalty) bindBetas(params []engine.Param) {
	type channel struct {
		node    graph.NodeID
		channel int
	}
	unit := map[channel]int{}
	for k, u := range p.units {
		for _, r := range u {
			unit[channel{params[r.Slot].Node, r.Index}] = k
		}
	}
	node := map[string]graph.NodeID{}
	for _, q := range params {
		node[q.Name()] = q.Node
	}
	for i, b := range p.betas {
		for c := range b.Value {
			p.betaUnits = append(p.betaUnits, []optim.Ref{{Slot: i, Index: c}})
			p.unitOf = append(p.unitOf, unit[channel{node[b.Name], c}])
		}
	}
	p.betaScale = ones(len(p.betaUnits))
}

func ones(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = 1
	}
	return out
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

// renew chooses the channels that schedule local releases, at an epoch's start.
func (p *penalty) renew(slots []optim.Slot, epoch, epochs int) {
	if p.s == nil || p.s.Schedule != "local" || 2*epoch < epochs {
		return
	}
	order, size := make([]int, len(p.units)), make([]float64, len(p.units))
	for k, u := range p.units {
		order[k], size[k] = k, optim.GroupNorm(slots, u)/math.Sqrt(float64(len(u)))
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case size[a] < size[b]:
			return -1
		case size[a] > size[b]:
			return 1
		}
		return 0
	})
	penalised := int(localShare * float64(len(order)))
	for rank, k := range order {
		p.scale[k] = 1
		if rank >= penalised {
			p.scale[k] = localRelease
		}
	}
	p.scaleBetas()
}

func (p *penalty) scaleBetas() {
	for i, k := range p.unitOf {
		p.betaScale[i] = p.scale[k]
	}
}

// state is what a checkpoint within an epoch must hold.
func (p *penalty) state() []optim.Tensor {
	if p.s == nil || p.s.Schedule != "local" {
		return nil
	}
	return []optim.Tensor{{Name: "scale", Data: p.scale}}
}

func (p *penalty) subgradient(slots []optim.Slot, i int) {
	if p.s == nil || p.s.Method != "subgradient" {
		return
	}
	strength := p.s.Strength * p.level(i)
	if p.units == nil {
		optim.L1Subgradient(slots, strength)
		optim.L1Subgradient(p.betas, strength*p.s.Beta)
		return
	}
	optim.GroupSubgradient(slots, p.units, p.scale, strength)
	optim.GroupSubgradient(p.betas, p.betaUnits, p.betaScale, strength*p.s.Beta)
}

func (p *penalty) proximal(slots []optim.Slot, i int, lr float64) {
	if p.s == nil || p.s.Method != "proximal" {
		return
	}
	amount := lr * p.s.Strength * p.level(i)
	if p.s.Shrink > 0 {
		amount = p.s.Shrink * p.lr(i, p.total) * p.level(i) / p.sum
	}
	if p.units == nil {
		optim.Proximal(slots, amount)
		optim.Proximal(p.betas, amount*p.s.Beta)
		return
	}
	optim.GroupProximal(slots, p.units, p.scale, amount)
	optim.GroupProximal(p.betas, p.betaUnits, p.betaScale, amount*p.s.Beta)
}
