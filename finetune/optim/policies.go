package optim

import (
	"fmt"
	"math"
)

// SGDR is Cosine with warm restarts: a cycle of first iterations, then one mult
// times as long, and so on; the last is cut off by the end of the run. Within a
// cycle of c iterations that began at s
//
//	f(k) = min(1, (k+1)/warm)·(final + (1−final)·½·(1 + cos(π·(k−s)/c)))
//
// Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, eq. 5. Darknet's policy
// of that name (sgdr_cycle, sgdr_mult, learning_rate_min) counts the first
// update as 1 and so runs one iteration ahead.
func SGDR(warm, first, mult int, final float64) (Schedule, error) {
	if _, err := Cosine(warm, final); err != nil {
		return nil, err
	}
	if first < 1 || mult < 1 {
		return nil, fmt.Errorf("optim: sgdr: a first cycle of %d iterations, each next %d times as long; want both at least 1", first, mult)
	}
	return func(k, _ int) float64 {
		start, cycle := 0, first
		for k-start >= cycle {
			start, cycle = start+cycle, cycle*mult
		}
		at := float64(k-start) / float64(cycle)
		return warmup(k, warm) * (final + (1-final)*.5*(1+math.Cos(math.Pi*at)))
	}, nil
}

// Poly falls from 1 to final along a power, counted as Darknet does, whose
// policy of that name it is with final 0; the first update is n = k+1 = 1:
//
//	f(k) = min(1, (k+1)/warm)·(final + (1−final)·(1 − n/total)^power)
func Poly(warm int, power, final float64) (Schedule, error) {
	if _, err := Cosine(warm, final); err != nil {
		return nil, err
	}
	if !(power > 0 && power <= 100) {
		return nil, fmt.Errorf("optim: poly: power %g is not in (0, 100]", power)
	}
	return func(k, total int) float64 {
		left := 0.0
		if total > 0 {
			left = max(0, 1-float64(k+1)/float64(total))
		}
		return warmup(k, warm) * (final + (1-final)*math.Pow(left, power))
	}, nil
}

// BurnIn puts Darknet's burn-in of n updates before a schedule, in whose place
// it stands. The first update is 1:
//
//	f(k) = ((k+1)/n)^power for k+1 < n, else s(k)
func BurnIn(s Schedule, n int, power float64) (Schedule, error) {
	if err := checkWarmup(n); err != nil {
		return nil, err
	}
	if !(power > 0 && power <= 100) {
		return nil, fmt.Errorf("optim: burn-in: power %g is not in (0, 100]", power)
	}
	return func(k, total int) float64 {
		if k+1 < n {
			return math.Pow(float64(k+1)/float64(n), power)
		}
		return s(k, total)
	}, nil
}

// GroupWarmup is YOLOv7's warm-up over the first N iterations (train.py), where
// the biases come down to the schedule's rate and all else rises to it. With
// r = min(1, k/N) and lr the schedule's rate
//
//	weights: r·lr      biases: (1−r)·Bias + r·lr      momentum: (1−r)·Momentum + r·μ
type GroupWarmup struct {
	N              int
	Bias, Momentum float64 // at the start: 0.1 and 0.8 in YOLOv7
}

func (w GroupWarmup) share(k int) float64 {
	if k >= w.N {
		return 1
	}
	return float64(k) / float64(w.N)
}

// Weights is the schedule of all but the biases.
func (w GroupWarmup) Weights(s Schedule) Schedule {
	return func(k, total int) float64 { return w.share(k) * s(k, total) }
}

// Rates returns what a step uses; weights is their learning rate at k, and
// momentum that after the warm-up.
func (w GroupWarmup) Rates(k int, weights, momentum float64) Rates {
	r := w.share(k)
	return Rates{LR: weights, Bias: (1-r)*w.Bias + weights, Momentum: (1-r)*w.Momentum + r*momentum}
}
