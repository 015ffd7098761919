package loop

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/finetune/optim"
)

// Forecast says before the first step how far a sparsity penalty moves a
// batch-norm scale that the loss leaves alone, and so whether it can make the
// network sparse at all. With lr_k the learning rates of the stage and l_k the
// factors of the penalty's schedule, Shrink is
//
//	proximal:              strength·Σ lr_k·l_k, or the shrink that was asked for
//	subgradient, SGD:      strength·Σ lr_k·l_k/(1 − momentum)
//	subgradient, AdamW:    Σ lr_k, whatever the strength: it divides by the gradient's size
//
// The loss holds gammas back that matter, so it is what is reached at most.
type Forecast struct {
	Shrink float64
	Median float64 // |gamma| now, or the norm of a group of gammas
	Reach  float64 // fraction of them that come under NearZero
	Groups bool
}

func (f Forecast) String() string {
	what := "gammas"
	if f.Groups {
		what = "groups of gammas"
	}
	return fmt.Sprintf("the sparsity penalty moves %s by up to %.3g; their median is %.3g; up to %.1f %% of them come near zero",
		what, f.Shrink, f.Median, 100*f.Reach)
}

// forecast is of the whole stage, from the weights that it starts with.
func (t *trainer) forecast() Forecast {
	f := Forecast{Shrink: t.shrink(), Groups: len(t.o.Sparsity.Groups) > 0}
	sizes := t.gammaSizes()
	if len(sizes) == 0 {
		return f
	}
	slices.Sort(sizes)
	f.Median = sizes[len(sizes)/2]
	near, _ := slices.BinarySearch(sizes, f.Shrink+NearZero)
	f.Reach = float64(near) / float64(len(sizes))
	return f
}

func (t *trainer) gammaSizes() []float64 {
	var sizes []float64
	for _, u := range t.penalty.units {
		sizes = append(sizes, optim.GroupNorm(t.slots, u))
	}
	if t.penalty.units != nil {
		return sizes
	}
	for _, s := range t.slots {
		for _, v := range s.Value {
			if s.Gamma {
				sizes = append(sizes, math.Abs(float64(v)))
			}
		}
	}
	return sizes
}

func (t *trainer) shrink() float64 {
	s := t.o.Sparsity
	moved := s.Strength * t.o.LR * t.penalty.sum
	switch {
	case s.Method == "proximal" && s.Shrink > 0:
		return s.Shrink
	case s.Method == "proximal":
		return moved
	case t.o.Optimizer == "sgd":
		return moved / (1 - t.o.SGD.Momentum)
	}
	return t.o.LR * t.rateAt.Sum(t.total)
}
