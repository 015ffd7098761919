// Package loop trains a detector: it reads batches, steps the engine and the
// optimiser, keeps an average of the weights, applies the sparsity penalty,
// validates after every epoch and writes a checkpoint, so that a run that was
// killed goes on where it stood.
//
// One step is, in this order: gradient, over as many micro-batches as are
// accumulated, clipping, subgradient of the sparsity penalty, optimiser, proximal
// step of the penalty, moving average.
package loop

import (
	"context"
	"fmt"
	"math"
	"time"

	"yoloprune/datasets"
	"yoloprune/datasets/augment"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/graph"
)

// Options set a stage up. Epochs and fractions count from its start.
type Options struct {
	Epochs, Batch, Threads int
	Accumulate             int // micro-batches of Batch images a step; 0 is 1. Those at an epoch's end that make no whole step are left out
	Seed                   uint64
	SkipBad                bool

	Optimizer   string // adamw, sgd or adam, which is adamw with AdamW.Coupled
	AdamW       optim.AdamWOptions
	SGD         optim.SGDOptions
	LR          float64
	Rate        Rate    // how LR changes
	Clip        float64 // largest gradient norm; 0: off
	EMA         float64 // decay of the averaged weights; 0: off
	EMARamp     float64 // updates over which the decay rises
	BNMomentum  float64
	Loss        loss.Options
	Augment     augment.Options // Mosaic is the chance of four images in one
	MosaicOff   float64         // last fraction of the epochs without mosaic
	ValEvery    int             // epochs between validations
	Sparsity    *Sparsity
	Patience    int     // epochs without a better AP after which the stage ends; 0: it never does
	DropAlarm   float64 // an alarm is given when the first AP is so much below that before the first step; 0: off
	SpikeAlarm  float64 // and when a step's loss is so many times the mean of those before it; 0: off
	Recalibrate int     // images to recalibrate batch norms on before a validation and at the end; 0: none

	// A checkpoint is written after every epoch, and within one after so many
	// steps or so much time; 0: not for that reason.
	CheckpointSteps int
	CheckpointTime  time.Duration

	Folder string // checkpoint/, weights/ and results.csv go here; empty: nothing is written
	// SaveWeights writes a network's weights, by the name of the file without
	// its extension: last after every epoch, best after one of a better AP.
	SaveWeights func(path string, g *graph.Graph) error
}

// Rate is the learning-rate schedule after a warm-up: cosine to the fraction
// Final; sgdr, the same with restarts; poly, to Final along Power; constant; or
// steps, which multiplies by Scales[i] from the fraction Steps[i] of the stage on.
type Rate struct {
	Schedule     string // cosine, sgdr, poly, constant or steps
	WarmupEpochs float64
	// Warmup is linear (or empty): up in a straight line; burn-in: Darknet's,
	// along WarmupPower; or groups: YOLOv7's, the biases from the rate WarmupBias
	// down, all else from 0, the momentum from WarmupMomentum on.
	Warmup         string
	WarmupPower    float64
	WarmupBias     float64
	WarmupMomentum float64
	Final          float64
	Steps          []float64
	Scales         []float64
	Power          float64 // of poly
	Cycle          float64 // of sgdr: the first cycle's fraction of the stage
	CycleMult      int     // of sgdr: how many times as long the next is
}

// Hooks are told how training goes; each may be nil.
type Hooks struct {
	Sparsity func(Forecast) // before the first step, if there is a penalty
	Alarm    func(Alarm)
	Batch    func(i int, loss float64) // of a step; i counts from 0 in every epoch
	Epoch    func(Epoch)
}

// Epoch is the record of one epoch: what results.csv holds. AP and AP50 are
// NaN when the epoch was not validated. Seconds counts training alone.
type Epoch struct {
	Number, Of            int
	LR                    float64
	Loss, Box, Obj, Class float64
	AP, AP50              float64
	NearZero              float64 // fraction of batch-norm scales below NearZero
	Seconds               float64
	Skipped               int // training images found unreadable so far
}

// NearZero is the size under which a batch-norm scale counts as near zero.
const NearZero = 1e-2

// Run trains g in place. When it returns, g holds the averaged weights of the
// last epoch, with recalibrated batch norms if Options say so. A cancelled
// context stops it after a step and a checkpoint, with the context's error. With
// resume it goes on from the folder's checkpoint and ends with the weights of a
// run that was never stopped, to the bit.
func Run(ctx context.Context, g *graph.Graph, train datasets.Source, val *validate.Validator, o Options, h Hooks, resume bool) error {
	t, err := newTrainer(g, train, val, o)
	if err != nil {
		return err
	}
	defer t.close()
	if o.Sparsity != nil && h.Sparsity != nil {
		h.Sparsity(t.forecast())
	}
	first, err := t.start(resume)
	if err != nil {
		return err
	}
	for epoch := first; epoch < o.Epochs && !t.stopped; epoch++ {
		r, err := t.epoch(ctx, epoch, h)
		if err != nil {
			return err
		}
		if err := t.conclude(&r, h); err != nil {
			return err
		}
		if h.Epoch != nil {
			h.Epoch(r)
		}
	}
	return t.finish()
}

// within is how far an epoch has come.
type within struct {
	Steps   int        `json:"steps"`
	Failed  int        `json:"failed"` // of the steps, not finite and skipped
	Sum     loss.Parts `json:"sum"`    // of the steps' losses
	Seconds float64    `json:"seconds"`
}

// epoch runs every batch of one epoch that has not been run yet.
func (t *trainer) epoch(ctx context.Context, number int, h Hooks) (Epoch, error) {
	t.clock = time.Now()
	if err := t.steps(ctx, number, h); err != nil {
		return Epoch{}, err
	}
	if t.within.Steps == 0 {
		return Epoch{}, fmt.Errorf("training: no full step of %d images", t.o.Batch*t.sum.of)
	}
	if err := t.checkWeights(); err != nil {
		return Epoch{}, t.diverged(err, number+1, 0)
	}
	t.lap()
	r := Epoch{Number: number + 1, Of: t.o.Epochs, AP: math.NaN(), AP50: math.NaN(), Seconds: t.within.Seconds}
	r.setLoss(t.within)
	r.LR = t.rate(t.iteration - 1)
	r.NearZero = nearZero(t.g)
	r.Skipped = t.loader.Skipped()
	t.within = within{}
	return r, nil
}

// steps reads the epoch's batches, past those that a resumed run has had.
func (t *trainer) steps(ctx context.Context, number int, h Hooks) error {
	t.sum.reset()
	if t.within.Steps == 0 {
		t.penalty.renew(t.slots, number, t.o.Epochs)
	}
	skip := t.within.Steps * t.sum.of
	mosaic := float64(number) < float64(t.o.Epochs)*(1-t.o.MosaicOff)
	for b, err := range t.loader.Epoch(number, mosaic) {
		if err != nil {
			return err
		}
		if skip > 0 {
			skip--
			continue
		}
		if err := t.pause(ctx, number); err != nil {
			return err
		}
		parts, full, err := t.micro(b)
		switch {
		case err != nil:
			skip = t.sum.of - t.sum.count - 1
			if err := t.guard(err, number+1, t.within.Steps+1, h); err != nil {
				return err
			}
		case full:
			t.stepped(parts, number+1, h)
		}
		if t.within.Steps == t.perEpoch {
			break
		}
	}
	return nil
}

// stepped counts a step that was taken.
func (t *trainer) stepped(p loss.Parts, epoch int, h Hooks) {
	s := &t.within.Sum
	s.Total += p.Total
	s.Box += p.Box
	s.Obj += p.Obj
	s.Class += p.Class
	if h.Batch != nil {
		h.Batch(t.within.Steps, p.Total)
	}
	t.within.Steps++
	t.unsaved++
	t.watchLoss(p.Total, epoch, h)
}

// pause writes a checkpoint between two steps when one is due, and stops where
// the context says so.
func (t *trainer) pause(ctx context.Context, number int) error {
	if t.sum.count > 0 {
		return nil
	}
	stop := ctx.Err()
	due := t.o.CheckpointSteps > 0 && t.unsaved >= t.o.CheckpointSteps ||
		t.o.CheckpointTime > 0 && time.Since(t.savedAt) >= t.o.CheckpointTime
	if stop == nil && !due || t.unsaved == 0 && t.saved {
		return stop
	}
	if err := t.checkWeights(); err != nil {
		return t.diverged(err, number+1, t.within.Steps)
	}
	t.lap()
	if err := t.saveCheckpoint(number); err != nil {
		return err
	}
	return stop
}

// lap adds the time since the last call to the epoch's.
func (t *trainer) lap() {
	now := time.Now()
	t.within.Seconds += now.Sub(t.clock).Seconds()
	t.clock = now
}

func (r *Epoch) setLoss(w within) {
	n := float64(w.Steps - w.Failed)
	r.Loss, r.Box, r.Obj, r.Class = w.Sum.Total/n, w.Sum.Box/n, w.Sum.Obj/n, w.Sum.Class/n
}

func nearZero(g *graph.Graph) float64 {
	near, all := 0, 0
	for _, n := range g.Owners() {
		for _, v := range n.Weights.Gamma {
			all++
			if math.Abs(float64(v)) < NearZero {
				near++
			}
		}
	}
	return float64(near) / float64(max(all, 1))
}
