package loop

import (
	"fmt"

	"yoloprune/finetune/optim"
)

// schedule is r's over total steps, perEpoch of them an epoch.
func (r Rate) schedule(perEpoch, total int) (optim.Schedule, error) {
	warm := int(r.WarmupEpochs * float64(perEpoch))
	switch r.Warmup {
	case "", "linear":
		return r.policy(warm, total)
	case "burn-in":
		s, err := r.policy(0, total)
		if err != nil {
			return nil, err
		}
		return optim.BurnIn(s, warm, r.WarmupPower)
	case "groups":
		s, err := r.policy(0, total)
		if err != nil {
			return nil, err
		}
		return r.groups(perEpoch).Weights(s), nil
	}
	return nil, fmt.Errorf("unknown warm-up %q: use linear, burn-in or groups", r.Warmup)
}

// policy is the schedule behind a linear warm-up of warm steps.
func (r Rate) policy(warm, total int) (optim.Schedule, error) {
	switch r.Schedule {
	case "cosine":
		return optim.Cosine(warm, r.Final)
	case "sgdr":
		return optim.SGDR(warm, max(1, int(r.Cycle*float64(total))), r.CycleMult, r.Final)
	case "poly":
		return optim.Poly(warm, r.Power, r.Final)
	case "constant":
		return optim.Constant(warm)
	case "steps":
		o := optim.StepsOptions{Warmup: warm, Scales: r.Scales}
		for _, at := range r.Steps {
			o.At = append(o.At, max(1, int(at*float64(total))))
		}
		return optim.Steps(o)
	}
	return nil, fmt.Errorf("unknown learning-rate schedule %q: use cosine, sgdr, poly, constant or steps", r.Schedule)
}

func (r Rate) groups(perEpoch int) optim.GroupWarmup {
	return optim.GroupWarmup{N: int(r.WarmupEpochs * float64(perEpoch)), Bias: r.WarmupBias, Momentum: r.WarmupMomentum}
}

func (t *trainer) rate(iteration int) float64 {
	lr := t.o.LR * t.rateAt(iteration, t.total)
	if t.halved {
		lr /= 2
	}
	return lr
}

// rates are those of a step whose learning rate is lr.
func (t *trainer) rates(iteration int, lr float64) optim.Rates {
	momentum := t.o.SGD.Momentum
	if t.o.Rate.Warmup != "groups" {
		return optim.Rates{LR: lr, Bias: lr, Momentum: momentum}
	}
	w := t.o.Rate.groups(t.perEpoch)
	if t.halved {
		w.Bias /= 2
	}
	return w.Rates(iteration, lr, momentum)
}
