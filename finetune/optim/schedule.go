package optim

import (
	"fmt"
	"math"
)

// Schedule gives the factor of the base learning rate at an iteration, counted
// from 0, of a run of total iterations. It is a pure function, so a resumed run
// needs no more than the iteration.
type Schedule func(iteration, total int) float64

// Sum returns the factors of a whole run added up. A total amount of something
// is spread in proportion to the learning rate by the share factor/Sum of every
// iteration.
func (s Schedule) Sum(total int) float64 {
	sum := 0.0
	for k := range total {
		sum += s(k, total)
	}
	return sum
}

// warmup rises in a straight line over n iterations; the first has 1/n.
func warmup(k, n int) float64 {
	if k+1 >= n {
		return 1
	}
	return float64(k+1) / float64(n)
}

func checkWarmup(n int) error {
	if n < 0 {
		return fmt.Errorf("optim: warm-up of %d iterations; want at least 0", n)
	}
	return nil
}

// Cosine falls from 1 to final along half a cosine:
//
//	f(k) = min(1, (k+1)/warm)·(final + (1−final)·½·(1 + cos(π·k/total)))
//
// Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, eq. 5, without restarts.
func Cosine(warm int, final float64) (Schedule, error) {
	if err := checkWarmup(warm); err != nil {
		return nil, err
	}
	if !(final >= 0 && final <= 1) {
		return nil, fmt.Errorf("optim: final learning rate: fraction %g is not in [0, 1]", final)
	}
	return func(k, total int) float64 {
		done := 1.0
		if total > 0 {
			done = min(1, float64(k)/float64(total))
		}
		return warmup(k, warm) * (final + (1-final)*.5*(1+math.Cos(math.Pi*done)))
	}, nil
}

// Constant stays at 1 after the warm-up.
func Constant(warm int) (Schedule, error) {
	if err := checkWarmup(warm); err != nil {
		return nil, err
	}
	return func(k, total int) float64 { return warmup(k, warm) }, nil
}

// StepsOptions set the steps schedule. Warmup and BurnIn exclude each other.
type StepsOptions struct {
	Warmup int
	At     []int     // increasing
	Scales []float64 // one per At
	BurnIn int       // Darknet's: (n/BurnIn)^Power for the first BurnIn updates
	Power  float64   // 4 when zero
}

// Steps multiplies by a scale at each of some points, as Darknet's policy of
// that name. It counts as Darknet does: the first update is n = 1, and Scales[i]
// holds for all n >= At[i]. During a burn-in, n < BurnIn, the factor is
// (n/BurnIn)^Power and no scale.
func Steps(o StepsOptions) (Schedule, error) {
	if o.Power == 0 {
		o.Power = 4
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return func(k, total int) float64 {
		n := k + 1
		if n < o.BurnIn {
			return math.Pow(float64(n)/float64(o.BurnIn), o.Power)
		}
		f := warmup(k, o.Warmup)
		for i, at := range o.At {
			if n >= at {
				f *= o.Scales[i]
			}
		}
		return f
	}, nil
}

func (o StepsOptions) check() error {
	if err := checkWarmup(o.Warmup); err != nil {
		return err
	}
	if o.BurnIn < 0 || o.Warmup > 0 && o.BurnIn > 0 {
		return fmt.Errorf("optim: steps: burn-in of %d and warm-up of %d iterations; want one of them, at least 0", o.BurnIn, o.Warmup)
	}
	if !(o.Power > 0 && o.Power <= 100) {
		return fmt.Errorf("optim: steps: burn-in power: %g is not in (0, 100]", o.Power)
	}
	if len(o.At) != len(o.Scales) {
		return fmt.Errorf("optim: steps: %d steps and %d scales; want as many", len(o.At), len(o.Scales))
	}
	for i, at := range o.At {
		if at < 1 || i > 0 && at <= o.At[i-1] {
			return fmt.Errorf("optim: steps: step %d at iteration %d; want increasing numbers from 1", i, at)
		}
		if !inRange(o.Scales[i], 0, 1e6) {
			return fmt.Errorf("optim: steps: scale %g; want a number of at least 0", o.Scales[i])
		}
	}
	return nil
}
