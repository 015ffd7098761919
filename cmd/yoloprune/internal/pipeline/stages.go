package pipeline

import (
	"context"
	"fmt"
)

// stages lists all that the experiment asks for, in order.
func (r *Run) all() []stage {
	e := r.exp
	list := []stage{{name: "data", do: r.openData}, {name: "model", do: r.openModel}}
	if e.Train != nil {
		list = append(list, r.training("train", "train", *e.Train, nil))
	}
	list = append(list, r.measured("baseline"))
	if e.Sparsify != nil {
		list = append(list, r.training("sparsify", "sparsify", e.Sparsify.Training, e.Sparsify), r.measured("sparsified"))
	}
	for i, p := range e.Prune {
		n := suffix(i)
		list = append(list, r.cut("prune"+n, p), r.measured("pruned"+n))
		if p.Recalibrate > 0 {
			list = append(list, r.recalibration("prune"+n, p), r.measured("recalibrated"+n))
		}
		if e.Finetune != nil {
			list = append(list, r.training("finetune", "finetune"+n, e.Finetune.Training, nil), r.measured("finetuned"+n))
		}
	}
	if e.Report != nil && e.Report.ScratchControl && len(e.Prune) > 0 {
		list = append(list, r.scratch()...)
	}
	if len(e.Export) > 0 {
		list = append(list, stage{name: "export", do: r.export})
	}
	if e.Report != nil {
		list = append(list, stage{name: "report", do: r.report})
	}
	return list
}

// suffix numbers the cuts of an experiment that has several.
func suffix(i int) string {
	if i == 0 {
		return ""
	}
	return fmt.Sprintf("-%d", i+1)
}

// wanted lists the stages to run. With Only, these end with the measurement
// after the last stage of that section. Other training before that must be
// done; cuts and measurements that are not are made on the way.
func (r *Run) wanted() ([]stage, error) {
	list := r.all()
	if r.o.Only == "" {
		return list, nil
	}
	last := -1
	for i, s := range list {
		if s.section == r.o.Only {
			last = i
		}
	}
	if last < 0 {
		return nil, r.exp.Errorf(r.o.Only, "is missing, so there is nothing to run; add the section")
	}
	for _, s := range list[:last] {
		if s.section != "" && s.section != r.o.Only && !r.done(s) {
			return nil, fmt.Errorf("%s: %s starts from stage %s, which is not done; run `yoloprune %s` first", r.Dir, r.o.Only, s.name, s.section)
		}
	}
	return list[:last+2], nil
}

// measured is the stage that measures the present network as name.
func (r *Run) measured(name string) stage {
	return stage{
		name: "val " + name, folder: "val/" + name,
		do:   func(context.Context) error { return r.measure(name) },
		load: func() error { return nil },
	}
}
