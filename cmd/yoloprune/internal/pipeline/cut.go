package pipeline

import (
	"context"
	"fmt"

	"yoloprune/configs"
	"yoloprune/finetune/loop"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// cut is the stage that removes channels.
func (r *Run) cut(folder string, p configs.Prune) stage {
	return stage{
		name: folder, folder: folder,
		do: func(context.Context) error {
			g, err := r.makeCut(folder, p)
			if err == nil {
				r.g = g
			}
			return err
		},
		load: func() error { return r.loadFrom(folder+"/pruned.cfg", folder+"/pruned.weights") },
	}
}

// ask translates the experiment file's words.
func ask(p configs.Prune, seed uint64, threads int) Ask {
	t := plan.Target{}
	for _, x := range []struct {
		quantity plan.Quantity
		ratio    float64
	}{
		{plan.FLOPs, p.Target.FLOPs}, {plan.Params, p.Target.Params}, {plan.Channels, p.Target.Ratio},
		{plan.Bytes, p.Target.Bytes}, {plan.Time, p.Target.Latency},
	} {
		if x.ratio > 0 {
			t = plan.Target{Quantity: x.quantity, Ratio: x.ratio}
		}
	}
	return Ask{
		File: p.Plan, Blocks: p.Blocks, Threads: threads,
		Options: plan.Options{
			Criterion: p.Criterion, Combine: p.Combine, Members: p.Members, Seed: seed, Strategy: p.Strategy, Normalize: p.Normalize,
			Grain: p.Grain, Layers: p.Layers, Target: t, Align: p.Align, Floor: p.Floor, Skip: p.Skip,
		},
	}
}

// checkCut plans the first cut with the weights at hand and forgets it: a target
// that cannot be reached, or a layer that is not there, is told before hours of
// training. What a criterion measures on images, and times, are left out.
func (r *Run) checkCut() error {
	if len(r.exp.Prune) == 0 {
		return nil
	}
	a := ask(r.exp.Prune[0], r.exp.Seed, r.exp.Threads)
	images, _ := importance.Needs(a.Options.Criterion)
	fold := r.exp.Prune[0].Fold
	if (images || NeedsJudge(a.Options.Strategy) || fold == string(surgery.Measured)) && r.exp.Data.Train == nil {
		return r.exp.Errorf(r.exp.CutPath(0), "criterion %s, strategy %s and fold %s measure on training images, and data.train is missing", a.Options.Criterion, a.Options.Strategy, fold)
	}
	if images {
		a.Options.Criterion = "random"
	}
	if a.Options.Target.Quantity == plan.Time {
		a.Options.Target.Quantity = plan.FLOPs
	}
	if NeedsJudge(a.Options.Strategy) {
		a.Options.Strategy = "greedy"
	}
	if _, err := a.once(r.g); err != nil {
		return r.exp.Errorf(r.exp.CutPath(0), "%v", err)
	}
	return nil
}

// makeCut plans and makes a cut, and writes all that belongs to it into folder:
// groups.json, scores.json, plan.json, layers.json, pruned.cfg and
// pruned.weights.
func (r *Run) makeCut(folder string, c configs.Prune) (*graph.Graph, error) {
	a := ask(c, r.exp.Seed, r.exp.Threads)
	if err := r.equip(&a, c); err != nil {
		return nil, err
	}
	p, err := a.Plan(r.g)
	if err != nil {
		return nil, err
	}
	fold := surgery.Options{Fold: surgery.Fold(c.Fold)}
	if fold.Fold == surgery.Measured {
		if fold.Means, err = Means(r.g, r.data.train, r.exp.Threads, r.exp.Data.SkipBad); err != nil {
			return nil, err
		}
	}
	out, err := surgery.Apply(r.g, p.Plan, fold)
	if err != nil {
		return nil, err
	}
	dir := r.path(folder)
	if err := p.Write(dir); err != nil {
		return nil, err
	}
	r.say("prune: %s", p.Summary())
	return out, darknet.Save(dir+"/pruned.cfg", dir+"/pruned.weights", out)
}

// equip measures what the criterion and the strategy need, on training images:
// those of the measurements are kept for them.
func (r *Run) equip(a *Ask, c configs.Prune) (err error) {
	a.Note, a.Candidates = r.say, c.Candidates
	if c.Plan != "" {
		return nil
	}
	if a.Options.Evidence, err = Evidence(r.g, r.data.train, a.Options.Criterion, r.exp.Threads, r.exp.Data.SkipBad); err != nil {
		return err
	}
	if !NeedsJudge(a.Options.Strategy) {
		return nil
	}
	o := r.validation()
	o.Eval.Protocol = ""
	a.Cache = r.path("sensitivity.json")
	a.Judge, err = NewJudge(r.g, r.data.train, r.data.train, JudgeOptions{Options: o, Images: c.Judge, Recalibrate: c.Recalibrate})
	return err
}

// recalibration is the stage that measures the batch norms again after a cut.
func (r *Run) recalibration(folder string, p configs.Prune) stage {
	to := folder + "/recalibrated"
	return stage{
		name: "recalibrate " + folder, folder: to,
		do: func(context.Context) error {
			if err := loop.Recalibrate(r.g, r.data.train, p.Recalibrate, r.exp.Threads, r.exp.Data.SkipBad); err != nil {
				return err
			}
			return darknet.Save(r.path(to, "model.cfg"), r.path(to, "model.weights"), r.g)
		},
		load: func() error { return r.loadFrom(to+"/model.cfg", to+"/model.weights") },
	}
}

// scratch trains the cut network from new weights, for as many epochs as the
// pruned one had in all: the control that says what the cut network owes to
// its weights.
func (r *Run) scratch() []stage {
	t := configs.Training{}
	for _, s := range r.trainings() {
		epochs := t.Epochs + s.Epochs
		if t.Epochs == 0 {
			t = s.Training
		}
		t.Epochs = epochs
	}
	if t.Epochs == 0 {
		return nil
	}
	var kept *graph.Graph
	train := r.training("scratch", "scratch", t, nil)
	do, load := train.do, train.load
	train.do = func(ctx context.Context) error {
		kept = r.g
		r.g = kept.Clone()
		if err := zoo.InitWeights(r.g, r.exp.Seed+1); err != nil {
			return err
		}
		return do(ctx)
	}
	train.load = func() error { kept = r.g; return load() }
	back := stage{name: "scratch done", do: func(context.Context) error {
		if kept == nil {
			return fmt.Errorf("scratch control: the pruned network is gone")
		}
		r.g = kept
		return nil
	}}
	return []stage{train, r.measured("scratch"), back}
}
