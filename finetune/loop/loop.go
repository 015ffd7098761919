// Package loop trains a detector: it reads batches, steps the engine and the
// optimiser, keeps an average of the weights, applies the sparsity penalty,
// validates after every epoch and writes a checkpoint, so that a run that was
// killed goes on where it stood.
//
// One step is, in this order: gradient, clipping, subgradient of the sparsity
// penalty, optimiser, proximal step of the penalty, moving average.
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
	Seed                   uint64
	SkipBad                bool

	Optimizer   string // adamw or sgd
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
	Recalibrate int // images to recalibrate batch norms on before a validation and at the end; 0: none

	Folder string // checkpoint/, weights/ and results.csv go here; empty: nothing is written
	// SaveWeights writes a network's weights, by the name of the file without
	// its extension: last after every epoch, best after one of a better AP.
	SaveWeights func(path string, g *graph.Graph) error
}

// Rate is the learning-rate schedule: a warm-up, then cosine to the fraction
// Final, or constant, or steps, which multiplies by Scales[i] from the
// fraction Steps[i] of the stage on.
type Rate struct {
	Schedule     string // cosine, constant or steps
	WarmupEpochs float64
	Final        float64
	Steps        []float64
	Scales       []float64
}

// Hooks are told how training goes; each may be nil.
type Hooks struct {
	Batch func(i int, loss float64) // i counts from 0
	Epoch func(Epoch)
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

// DivergedError is a loss or gradient that is no longer finite.
type DivergedError struct {
	Epoch, Batch int
	Cause        error
	Checkpoint   string // the last good one; empty if there is none
}

func (e *DivergedError) Error() string {
	kept := "no epoch was finished, so nothing was saved"
	if e.Checkpoint != "" {
		kept = "the last good checkpoint is kept: " + e.Checkpoint
	}
	return fmt.Sprintf("training diverged in epoch %d, batch %d: %v; %s; try a lower lr, more warmup_epochs, or clip",
		e.Epoch, e.Batch, e.Cause, kept)
}

func (e *DivergedError) Unwrap() error { return e.Cause }

// Run trains g in place. When it returns, g holds the averaged weights of the
// last epoch, with recalibrated batch norms if Options say so. A cancelled
// context stops it after a step with the context's error; the checkpoint of
// the last epoch stays. With resume it goes on from the folder's checkpoint.
func Run(ctx context.Context, g *graph.Graph, train datasets.Source, val *validate.Validator, o Options, h Hooks, resume bool) error {
	t, err := newTrainer(g, train, val, o)
	if err != nil {
		return err
	}
	defer t.close()
	first, err := t.start(resume)
	if err != nil {
		return err
	}
	for epoch := first; epoch < o.Epochs; epoch++ {
		r, err := t.epoch(ctx, epoch, h)
		if err != nil {
			return err
		}
		if err := t.conclude(&r); err != nil {
			return err
		}
		if h.Epoch != nil {
			h.Epoch(r)
		}
	}
	return t.finish()
}

// epoch runs every batch of one epoch.
func (t *trainer) epoch(ctx context.Context, number int, h Hooks) (Epoch, error) {
	begin := time.Now()
	r := Epoch{Number: number + 1, Of: t.o.Epochs, AP: math.NaN(), AP50: math.NaN()}
	mosaic := float64(number) < float64(t.o.Epochs)*(1-t.o.MosaicOff)
	n := 0
	for b, err := range t.loader.Epoch(number, mosaic) {
		if err != nil {
			return r, err
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		parts, err := t.step(b)
		if err != nil {
			return r, t.diverged(err, number+1, n+1)
		}
		r.add(parts)
		if h.Batch != nil {
			h.Batch(n, parts.Total)
		}
		n++
	}
	if n == 0 {
		return r, fmt.Errorf("training: no full batch of %d images", t.o.Batch)
	}
	r.divide(float64(n))
	r.LR = t.rate(t.iteration - 1)
	r.NearZero = nearZero(t.g)
	r.Seconds = time.Since(begin).Seconds()
	r.Skipped = t.loader.Skipped()
	return r, nil
}

func (r *Epoch) add(p loss.Parts) {
	r.Loss += p.Total
	r.Box += p.Box
	r.Obj += p.Obj
	r.Class += p.Class
}

func (r *Epoch) divide(n float64) {
	r.Loss /= n
	r.Box /= n
	r.Obj /= n
	r.Class /= n
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
