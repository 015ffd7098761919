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

// checkCut tells before hours of training what is wrong with the cuts. Each is
// tried on what those before it leave. Which channels and blocks that is depends
// on weights that are not trained yet; where it matters, there is a warning only.
func (r *Run) checkCut() error {
	for i, p := range r.exp.Prune {
		if err := r.checkAsk(i, p); err != nil {
			return err
		}
	}
	g, sure := r.g, true
	for i, p := range r.exp.Prune {
		if folder := "prune" + suffix(i); r.takenUp(folder) {
			left, _, err := darknet.Load(r.path(folder, "pruned.cfg"), r.path(folder, "pruned.weights"))
			if err != nil {
				return nil // the stage tells what can be done
			}
			g, sure = left, true
			continue
		}
		planned, err := r.tryCut(g, p)
		switch {
		case err != nil && sure:
			return r.exp.Errorf(askedAt(r.exp.CutPath(i), p), "%v", err)
		case err != nil && p.Plan == "":
			r.warn("%s: with the weights at hand this cut can not be made of what is left by those before it: %v", r.exp.CutPath(i), err)
			return nil
		case err != nil || i == len(r.exp.Prune)-1:
			return nil
		}
		sure = sure && p.Plan != ""
		if g, err = surgery.Apply(g, planned.Plan, surgery.Options{Fold: surgery.None}); err != nil {
			return r.exp.Errorf(r.exp.CutPath(i), "%v", err)
		}
	}
	return nil
}

// checkAsk finds what no network can mend.
func (r *Run) checkAsk(i int, p configs.Prune) error {
	path, a := r.exp.CutPath(i), ask(p, r.exp.Seed, r.exp.Threads)
	if err := a.checkStrategy(); err != nil {
		return r.exp.Errorf(path+".strategy", "%v", err)
	}
	if r.takenUp("prune" + suffix(i)) {
		return nil
	}
	images, _ := importance.Needs(a.Options.Criterion)
	if (images || NeedsJudge(a.Options.Strategy) || p.Fold == string(surgery.Measured)) && r.exp.Data.Train == nil {
		return r.exp.Errorf(path, "criterion %s, strategy %s and fold %s measure on training images, and data.train is missing", a.Options.Criterion, a.Options.Strategy, p.Fold)
	}
	if p.Plan == "" {
		return nil
	}
	if _, err := plan.Read(p.Plan); err != nil {
		return r.exp.Errorf(path+".plan", "%v", err)
	}
	return nil
}

// takenUp says whether a run that goes on takes up a stage's earlier result.
func (r *Run) takenUp(folder string) bool {
	if !r.o.Resume {
		return false
	}
	for _, s := range r.all() {
		if s.folder != "" && !r.done(s) {
			return false
		}
		if s.folder == folder {
			return true
		}
	}
	return false
}

// tryCut plans a cut of g with the weights at hand: a target that cannot be
// reached, a layer that is not there or a plan of another network is found so.
// What a criterion measures on images, and times, are left out.
func (r *Run) tryCut(g *graph.Graph, p configs.Prune) (*Planned, error) {
	a := ask(p, r.exp.Seed, r.exp.Threads)
	if images, _ := importance.Needs(a.Options.Criterion); images {
		a.Options.Criterion = "random"
	}
	if a.Options.Target.Quantity == plan.Time {
		a.Options.Target.Quantity = plan.FLOPs
	}
	if NeedsJudge(a.Options.Strategy) {
		a.Options.Strategy = "greedy"
	}
	return a.once(g)
}

// askedAt returns the path of what decides a cut.
func askedAt(path string, p configs.Prune) string {
	switch {
	case p.Plan != "":
		return path + ".plan"
	case p.Blocks > 0 && p.Target == (configs.Target{}):
		return path + ".blocks"
	}
	return path
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
		if s.key == "finetune" {
			epochs += (len(r.exp.Prune) - 1) * s.Epochs // it runs after every cut
		}
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
