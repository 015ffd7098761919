package pipeline

import (
	"context"
	"fmt"

	"yoloprune/configs"
	"yoloprune/finetune/loop"
	"yoloprune/pruning/depgraph"
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
			g, err := Cut(r.g, PlanOptions(p), surgery.Fold(p.Fold), r.path(folder), r.say)
			if err == nil {
				r.g = g
			}
			return err
		},
		load: func() error { return r.loadFrom(folder+"/pruned.cfg", folder+"/pruned.weights") },
	}
}

// PlanOptions translates the experiment file's words.
func PlanOptions(p configs.Prune) plan.Options {
	t := plan.Target{Quantity: plan.FLOPs, Ratio: p.Target.FLOPs}
	switch {
	case p.Target.Params > 0:
		t = plan.Target{Quantity: plan.Params, Ratio: p.Target.Params}
	case p.Target.Ratio > 0:
		t = plan.Target{Quantity: plan.Channels, Ratio: p.Target.Ratio}
	}
	return plan.Options{
		Criterion: p.Criterion, Strategy: p.Strategy, Normalize: p.Normalize, Target: t,
		Align: p.Align, Floor: p.Floor, Skip: p.Skip,
	}
}

// checkCut plans the first cut with the weights at hand and forgets it: a target
// that cannot be reached, or a layer that is not there, is told before hours of
// training.
func (r *Run) checkCut() error {
	if len(r.exp.Prune) == 0 {
		return nil
	}
	groups, err := depgraph.Build(r.g)
	if err != nil {
		return err
	}
	if _, _, err := plan.Make(r.g, groups, PlanOptions(r.exp.Prune[0])); err != nil {
		return r.exp.Errorf("prune", "%v", err)
	}
	return nil
}

// Cut plans and makes a cut, and writes all that belongs to it into dir:
// groups.json, scores.json, plan.json, layers.json, pruned.cfg and
// pruned.weights.
func Cut(g *graph.Graph, o plan.Options, fold surgery.Fold, dir string, say func(string, ...any)) (*graph.Graph, error) {
	p, err := MakePlan(g, o)
	if err != nil {
		return nil, err
	}
	out, err := surgery.Apply(g, p.Plan, surgery.Options{Fold: fold})
	if err != nil {
		return nil, err
	}
	if err := p.Write(dir); err != nil {
		return nil, err
	}
	say("prune: %s", p.Summary())
	return out, darknet.Save(dir+"/pruned.cfg", dir+"/pruned.weights", out)
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
