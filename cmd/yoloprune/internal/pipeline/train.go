package pipeline

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/configs"
	"yoloprune/datasets/augment"
	"yoloprune/datasets/batch"
	"yoloprune/finetune/loop"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/report"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// section is a part of the experiment that trains, with its key.
type section struct {
	key string
	configs.Training
}

func (r *Run) trainings() []section {
	var all []section
	if t := r.exp.Train; t != nil {
		all = append(all, section{"train", *t})
	}
	if s := r.exp.Sparsify; s != nil {
		all = append(all, section{"sparsify", s.Training})
	}
	if f := r.exp.Finetune; f != nil {
		all = append(all, section{"finetune", f.Training})
	}
	return all
}

// training is a stage that trains the present network: train, sparsify (with
// s), finetune or scratch.
func (r *Run) training(section, folder string, t configs.Training, s *configs.Sparsify) stage {
	return stage{
		name: folder, folder: folder, section: section,
		do:   func(ctx context.Context) error { return r.train(ctx, folder, t, s) },
		load: func() error { return r.loadFrom(folder+"/model.cfg", r.kept(folder, t)) },
	}
}

// kept is the weights file that a stage goes on with. A network that was never
// measured has no best weights.
func (r *Run) kept(folder string, t configs.Training) string {
	best := folder + "/weights/best.weights"
	if _, err := os.Stat(r.path(best)); t.Keep == "best" && err == nil {
		return best
	}
	return folder + "/weights/last.weights"
}

// loadFrom takes up the network that an earlier stage left.
func (r *Run) loadFrom(cfg, weights string) error {
	g, _, err := darknet.Load(r.path(cfg), r.path(weights))
	if err == nil {
		r.g = g
	}
	return err
}

func (r *Run) train(ctx context.Context, folder string, t configs.Training, s *configs.Sparsify) error {
	if err := darknet.Save(r.path(folder, "model.cfg"), "", r.g); err != nil {
		return err
	}
	val, err := validate.New(r.data.val, r.g.Net.Width, r.g.Net.Height, r.validation())
	if err != nil {
		return err
	}
	o := options(t, s)
	o.Folder, o.Threads, o.Seed, o.SkipBad = r.path(folder), r.exp.Threads, r.exp.Seed, r.exp.Data.SkipBad
	o.SaveWeights = func(path string, g *graph.Graph) error { return darknet.Save("", path+".weights", g) }
	if s != nil && s.Groups {
		if o.Sparsity.Groups, err = tied(r.g); err != nil {
			return err
		}
	}
	before := gammas(r.g)
	h := r.hooks(folder, t.Epochs, r.data.train.Len()/t.Batch/t.Accumulate)
	err = loop.Run(ctx, r.g, r.data.train, val, o, h, r.o.Resume)
	r.o.Progress.Done()
	if err == nil && t.Keep == "best" {
		err = r.loadFrom(folder+"/model.cfg", r.kept(folder, t))
	}
	if err != nil || s == nil {
		return err
	}
	return writeJSON(r.path(folder, "gammas.json"), map[string]any{"before": before, "after": gammas(r.g)})
}

// hooks feed the progress bar and the log, and draw results.png after every
// epoch.
func (r *Run) hooks(folder string, epochs, batches int) loop.Hooks {
	p := r.o.Progress
	p.Stage(folder, epochs, batches)
	begin := time.Now()
	done, skipped := 0, 0
	return loop.Hooks{
		Sparsity: func(f loop.Forecast) {
			r.say("%s: %v", folder, f)
			if f.Reach == 0 {
				r.warn("%s: the penalty is too weak to make any channel sparse; raise strength (or shrink), lr or epochs", folder)
			}
		},
		Alarm: func(a loop.Alarm) {
			at := fmt.Sprintf("epoch %d", a.Epoch)
			if a.Step > 0 {
				at += fmt.Sprintf(", step %d", a.Step)
			}
			r.warn("%s: %s: %s: %s", folder, at, a.Kind, a.Msg)
		},
		Batch: p.Batch,
		Epoch: func(e loop.Epoch) {
			done++
			if e.Skipped > skipped {
				skipped = e.Skipped
				r.warn("%s: %d training images cannot be read and are left out", folder, skipped)
			}
			left := time.Since(begin) / time.Duration(done) * time.Duration(e.Of-e.Number)
			p.Epoch(term.EpochStats{
				Epoch: e.Number, Epochs: e.Of, LR: e.LR, Loss: e.Loss, Box: e.Box, Obj: e.Obj, Class: e.Class,
				AP: known(e.AP), AP50: known(e.AP50), NearZero: e.NearZero, Seconds: e.Seconds, ETA: left,
			})
			r.log.Info("epoch", "stage", folder, "epoch", e.Number, "of", e.Of, "lr", e.LR, "loss", e.Loss, "box", e.Box, "obj", e.Obj,
				"class", e.Class, "AP", known(e.AP), "AP50", known(e.AP50), "near_zero", e.NearZero, "seconds", e.Seconds)
			if err := report.PlotResults(r.path(folder, "results.csv"), r.path(folder, "results.png")); err != nil {
				r.warn("%v", err)
			}
		},
	}
}

// known is -1 for a figure that was not measured.
func known(x float64) float64 {
	if math.IsNaN(x) {
		return -1
	}
	return x
}

func options(t configs.Training, s *configs.Sparsify) loop.Options {
	o := loop.Options{
		Epochs: t.Epochs, Batch: t.Batch, Optimizer: t.Optimizer, LR: t.LR,
		AdamW: optim.AdamWOptions{Beta1: t.Betas[0], Beta2: t.Betas[1], WeightDecay: t.WeightDecay},
		SGD:   optim.SGDOptions{Momentum: t.Momentum, WeightDecay: t.WeightDecay, Nesterov: t.Nesterov, Darknet: t.MomentumStyle == "darknet"},
		Rate: loop.Rate{
			Schedule: t.LRSchedule, WarmupEpochs: t.WarmupEpochs, Final: t.LRFinal, Steps: t.Steps, Scales: t.Scales,
			Power: t.Power, Cycle: t.Cycle, CycleMult: t.CycleMult,
			Warmup: t.Warmup, WarmupPower: t.WarmupPower, WarmupBias: t.WarmupBiasLR, WarmupMomentum: t.WarmupMomentum,
		},
		Clip:       t.Clip,
		EMA:        t.EMA,
		EMARamp:    t.EMARamp,
		BNMomentum: t.BNMomentum,
		Loss: loss.Options{
			Box: t.Loss.Box, Obj: t.Loss.Obj, Class: t.Loss.Class, IoULoss: t.Loss.IoU,
			LabelSmooth: t.Loss.LabelSmooth, AssignIoU: t.Loss.AssignIoU, IgnoreThresh: t.Loss.Ignore,
		},
		Augment:   augment.Default(),
		MosaicOff: t.MosaicOff, ValEvery: t.ValEvery,
		Patience: t.Patience, DropAlarm: t.DropAlarm, SpikeAlarm: t.SpikeAlarm,
		Accumulate: t.Accumulate, CheckpointSteps: t.CheckpointSteps,
		CheckpointTime: time.Duration(t.CheckpointMinutes * float64(time.Minute)),
	}
	a := &o.Augment
	a.Mosaic, a.Scale, a.FlipX, a.FlipY = float64(t.Mosaic), t.Scale, float64(t.Flip), float64(t.FlipVertical)
	a.Hue, a.Saturation, a.Value = t.HSV[0], t.HSV[1], t.HSV[2]
	if s != nil {
		o.Sparsity = &loop.Sparsity{Method: s.Method, Strength: s.Strength, Shrink: s.Shrink, Schedule: s.Schedule, Beta: s.Beta}
		o.Recalibrate = math.MaxInt
	}
	return o
}

func (r *Run) validation() validate.Options {
	v := r.exp.Val
	return validate.Options{
		Fit:   batch.Fit{Letterbox: head.Letterboxed(r.g.Net)},
		Batch: 16, Threads: r.exp.Threads, Conf: v.Conf, NMS: v.NMS, NMSKind: v.NMSKind, MaxDet: v.MaxDet, SkipBad: r.exp.Data.SkipBad,
	}
}

// tied lists the channels of several convolutions that are cut together.
func tied(g *graph.Graph) ([][]loop.Channel, error) {
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	var out [][]loop.Channel
	for _, group := range groups {
		for i := range group.Channels {
			var same []loop.Channel
			for _, m := range group.Members {
				if m.IsFilters() && m.Map[i] >= 0 {
					same = append(same, loop.Channel{Node: m.Node, Channel: m.Map[i]})
				}
			}
			if len(same) > 1 {
				out = append(out, same)
			}
		}
	}
	return out, nil
}

// gammas lists every layer's batch-norm scales, as gammas.json holds them.
func gammas(g *graph.Graph) []report.LayerGamma {
	var out []report.LayerGamma
	for _, n := range g.Owners() {
		if n.Weights.Gamma == nil {
			continue
		}
		l := report.LayerGamma{Layer: int(n.ID)}
		for _, v := range n.Weights.Gamma {
			l.Gamma = append(l.Gamma, float64(v))
		}
		out = append(out, l)
	}
	return out
}
