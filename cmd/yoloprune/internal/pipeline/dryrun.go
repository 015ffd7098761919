package pipeline

import (
	"context"

	"yoloprune/configs"
	"yoloprune/datasets/toy"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// Outline is what a run would do.
type Outline struct {
	Graph  *graph.Graph
	Stages []string
}

// Plan reads all that the experiment reads, writes nothing, and says what a
// run would do. The toy set need not be drawn; its anchors are then the
// published ones.
func Plan(exp *configs.Experiment, say func(string, ...any)) (*Outline, error) {
	r := &Run{exp: exp, o: Options{Say: say, Warn: say}}
	o := &Outline{}
	for _, s := range r.all() {
		o.Stages = append(o.Stages, s.name)
	}
	if exp.Data.Format == "toy" && exp.Model.Cfg == "" {
		m := exp.Model
		var err error
		o.Graph, err = zoo.Build(m.Arch, zoo.Options{Classes: len(toy.Names), Width: m.Width, InputW: m.Input[0], InputH: m.Input[1]})
		return o, err
	}
	ctx := context.Background()
	if err := r.openData(ctx); err != nil {
		return nil, err
	}
	if err := r.openModel(ctx); err != nil {
		return nil, err
	}
	o.Graph = r.g
	return o, nil
}
