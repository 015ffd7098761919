package loop

import (
	"fmt"
	"time"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// trainer is the state of a stage. g holds the weights that are stepped, ema
// the moving average of all of them, running statistics included.
type trainer struct {
	o       Options
	g       *graph.Graph
	net     *engine.Training
	loader  *batch.Loader
	plain   *plain // nil without recalibration
	val     *validate.Validator
	loss    *loss.YOLOv4
	parts   loss.Parts
	slots   []optim.Slot
	opt     optim.Optimizer
	ema     *optim.EMA
	rateAt  optim.Schedule
	penalty *penalty
	sum     *accumulator

	iteration, total, perEpoch int // steps: taken, of the stage, of an epoch
	best                       float64
	rows                       []Epoch
	within                     within
	clock, savedAt             time.Time
	halved, stopped            bool // the learning rate by guard, the stage by watchAP
	bestEpoch, spikeTold       int
	before                     *float64 // the AP before the first step, until it has been compared
	spike                      spike
	statistics                 []float32 // running ones before the step
	unsaved                    int       // steps since the last checkpoint
	saved                      bool      // there is a checkpoint
}

func newTrainer(g *graph.Graph, src datasets.Source, val *validate.Validator, o Options) (*trainer, error) {
	if err := validate.CheckClasses(g, src.Names()); err != nil {
		return nil, err
	}
	o.Accumulate = max(o.Accumulate, 1)
	t := &trainer{o: o, g: g, val: val, best: -1, savedAt: time.Now(), spike: spike{factor: o.SpikeAlarm}}
	if err := t.openData(src); err != nil {
		return nil, err
	}
	if err := t.openNet(); err != nil {
		return nil, err
	}
	t.perEpoch = t.loader.Batches() / o.Accumulate
	t.total = o.Epochs * t.perEpoch
	if err := t.openOptimizer(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *trainer) openData(src datasets.Source) (err error) {
	w, h := t.g.Net.Width, t.g.Net.Height
	if src.Len() < t.o.Batch {
		return fmt.Errorf("training: %d images, fewer than one batch of %d: use a smaller batch", src.Len(), t.o.Batch)
	}
	if src.Len()/t.o.Batch < t.o.Accumulate {
		return fmt.Errorf("training: %d images, fewer than one step of %d batches of %d: accumulate fewer", src.Len(), t.o.Accumulate, t.o.Batch)
	}
	t.loader, err = batch.New(src, batch.Options{
		Batch: t.o.Batch, W: w, H: h, Augment: &t.o.Augment, Shuffle: true, DropLast: true, Seed: t.o.Seed, SkipBad: t.o.SkipBad,
	})
	if err != nil || t.o.Recalibrate == 0 {
		return err
	}
	t.plain, err = newPlain(src, t.o.Recalibrate, t.g.Net, t.o.SkipBad)
	return err
}

func (t *trainer) openNet() (err error) {
	var heads []loss.Head
	for _, h := range t.g.Heads() {
		heads = append(heads, loss.Head{Yolo: h.Yolo(), Shape: h.Out})
	}
	t.loss, err = loss.NewYOLOv4(heads, t.g.Net.Width, t.g.Net.Height, t.o.Batch, t.o.Loss)
	if err != nil {
		return err
	}
	t.net, err = engine.NewTraining(t.g, t.compute, engine.Options{Batch: t.o.Batch, Threads: t.o.Threads, BNMomentum: t.o.BNMomentum, Seed: t.o.Seed})
	return err
}

func (t *trainer) compute(heads []engine.Output, grads [][]float32) (float64, error) {
	outs := make([][]float32, len(heads))
	for i, h := range heads {
		outs[i] = h.Data
	}
	var err error
	t.parts, err = t.loss.Compute(outs, grads)
	return t.parts.Total, err
}

// openOptimizer lists the trained vectors. Kernels decay; biases and batch
// norms do not, as in Darknet and YOLOv7.
func (t *trainer) openOptimizer() (err error) {
	for _, p := range t.net.Params() {
		t.slots = append(t.slots, optim.Slot{
			Name: p.Name(), Value: p.Value, Grad: p.Grad,
			Decay: p.Role == engine.Kernel, Gamma: p.Role == engine.Gamma,
			Bias: p.Role == engine.Bias || p.Role == engine.Beta,
		})
	}
	t.sum = newAccumulator(t.slots, t.o.Accumulate)
	switch t.o.Optimizer {
	case "adamw", "adam":
		t.o.AdamW.Coupled = t.o.Optimizer == "adam"
		t.opt, err = optim.NewAdamW(t.slots, t.o.AdamW)
	case "sgd":
		t.opt, err = optim.NewSGD(t.slots, t.o.SGD)
	default:
		err = fmt.Errorf("unknown optimizer %q: use adamw, adam or sgd", t.o.Optimizer)
	}
	if err != nil {
		return err
	}
	if t.o.EMA > 0 {
		t.ema, err = optim.NewEMA(tensors(t.g), t.o.EMA, t.o.EMARamp)
	}
	if err != nil {
		return err
	}
	if t.rateAt, err = t.o.Rate.schedule(t.perEpoch, t.total); err != nil {
		return err
	}
	t.penalty = newPenalty(t.o.Sparsity, t.rateAt, t.total)
	return t.penalty.bind(t.g, t.net.Params(), t.slots)
}

// tensors lists every weight vector, running statistics included, in order.
func tensors(g *graph.Graph) []optim.Tensor {
	var out []optim.Tensor
	for _, n := range g.Owners() {
		w := n.Weights
		for i, v := range [][]float32{w.Kernel, w.Bias, w.Gamma, w.Mean, w.Var} {
			if v != nil {
				out = append(out, optim.Tensor{Name: fmt.Sprintf("%d.%s", n.ID, vectors[i]), Data: v})
			}
		}
	}
	return out
}

// update takes a step along the slots' gradients.
func (t *trainer) update() {
	if t.o.Clip > 0 {
		optim.ClipNorm(t.slots, t.o.Clip)
	}
	lr := t.rate(t.iteration)
	t.penalty.subgradient(t.slots, t.iteration)
	t.opt.StepRates(t.rates(t.iteration, lr))
	t.penalty.proximal(t.slots, t.iteration, lr)
	t.iteration++
	if t.ema != nil {
		t.ema.Update()
	}
}

// current returns the network that is measured and saved: the average, or the
// stepped weights themselves without one.
func (t *trainer) current() (*graph.Graph, error) {
	g := t.g.Clone()
	if t.ema != nil {
		for i, v := range tensors(g) {
			copy(v.Data, t.ema.Average()[i].Data)
		}
	}
	if t.plain == nil {
		return g, nil
	}
	return g, t.plain.recalibrate(g, t.o.Threads)
}

// conclude measures and saves what an epoch leaves behind.
func (t *trainer) conclude(r *Epoch, h Hooks) error {
	g, err := t.current()
	if err != nil {
		return err
	}
	if t.val != nil && (r.Number%max(t.o.ValEvery, 1) == 0 || r.Number == r.Of) {
		if err := t.validate(r, g); err != nil {
			return err
		}
		t.watchAP(*r, h)
	}
	return t.save(*r, g)
}

func (t *trainer) validate(r *Epoch, g *graph.Graph) error {
	m, err := t.val.Run(g, nil)
	if err != nil {
		return err
	}
	r.AP, r.AP50 = m.AP, m.AP50
	if m.AP <= t.best {
		return nil
	}
	t.best, t.bestEpoch = m.AP, r.Number
	return t.saveWeights("best", g)
}

// finish copies the network to keep into g.
func (t *trainer) finish() error {
	g, err := t.current()
	if err != nil {
		return err
	}
	to := tensors(t.g)
	for i, v := range tensors(g) {
		copy(to[i].Data, v.Data)
	}
	return nil
}

func (t *trainer) close() { t.net.Close() }
