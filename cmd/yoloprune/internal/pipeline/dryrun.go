package pipeline

import (
	"context"

	"yoloprune/configs"
	"yoloprune/datasets/toy"
	"yoloprune/yolo/graph"
)

// Outline is what a run would do.
type Outline struct {
	Graph  *graph.Graph
	Cuts   []string // what each is asked to remove
	Stages []string
}

// Plan reads all that the experiment reads, writes nothing, and says what a
// run would do. The toy set need not be drawn; its anchors are then the
// published ones.
func Plan(exp *configs.Experiment, say, warn func(string, ...any)) (*Outline, error) {
	r := &Run{exp: exp, o: Options{Say: say, Warn: warn}}
	list, err := r.wanted()
	if err != nil {
		return nil, err
	}
	o := &Outline{}
	for _, s := range list {
		o.Stages = append(o.Stages, s.name)
	}
	for i, p := range exp.Prune {
		o.Cuts = append(o.Cuts, "prune"+suffix(i)+": "+ask(p, exp.Seed, exp.Threads).String())
	}
	names := toy.Names
	if exp.Data.Format != "toy" {
		if err := r.openData(context.Background()); err != nil {
			return nil, err
		}
		names = r.data.val.Names()
	}
	if err := r.setModel(names); err != nil {
		return nil, err
	}
	o.Graph = r.g
	return o, nil
}
