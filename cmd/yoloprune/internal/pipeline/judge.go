package pipeline

import (
	"errors"

	"yoloprune/datasets"
	"yoloprune/finetune/loop"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/report"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
)

// JudgeOptions set up a Judge.
type JudgeOptions struct {
	validate.Options
	Images      int // that are measured on, the first of the set; 0: all
	Recalibrate int // images to measure batch norms on; 0: none
	Fold        surgery.Options
}

// Judge says what cuts of a network are worth on a few images, without any
// training: what a search or an analysis asks again and again.
type Judge struct {
	g      *graph.Graph
	o      JudgeOptions
	val    *validate.Validator
	images int
	norms  *loop.Recalibrator // nil: none

	measured map[string]map[int]importance.Curve // sensitivities of g, by the criterion that chose
}

// errNoBoxes is for a set on which no precision is defined.
var errNoBoxes = errors.New("no image has a box, so nothing can be judged on them")

// NewJudge prepares to measure g and cuts of it on val, with batch norms
// measured on train.
func NewJudge(g *graph.Graph, train datasets.Source, val validate.Source, o JudgeOptions) (*Judge, error) {
	j := &Judge{measured: map[string]map[int]importance.Curve{}, g: g, o: o, images: val.Len()}
	var err error
	if o.Images > 0 && o.Images < val.Len() {
		val, j.images = some{val, o.Images}, o.Images
	}
	if j.val, err = validate.New(val, g.Net.Width, g.Net.Height, o.Options); err != nil {
		return nil, err
	}
	if o.Recalibrate > 0 {
		j.norms, err = loop.NewRecalibrator(train, o.Recalibrate, g.Net, o.SkipBad)
	}
	return j, err
}

// AP50 measures a network as it is.
func (j *Judge) AP50(g *graph.Graph) (float64, error) {
	r, err := j.val.Run(g, nil)
	if err != nil {
		return 0, err
	}
	if r.AP50 < 0 {
		return 0, errNoBoxes
	}
	return r.AP50, nil
}

// Judge cuts by the plan and measures AP50: raw and folded before the batch norms
// are measured again, where they are wanted, and recalibrated, which is folded
// where nothing is recalibrated.
func (j *Judge) Judge(p *plan.Plan, raw, folded bool) (v report.CurvePoint, err error) {
	v.FLOPs = p.Reached.FLOPs
	if raw {
		if v.Raw, err = j.folded(p, surgery.Options{Fold: surgery.None}); err != nil {
			return v, err
		}
	}
	if folded || j.norms == nil {
		v.Folded, err = j.folded(p, j.o.Fold)
		v.Recalibrated = v.Folded
	}
	if err != nil || j.norms == nil {
		return v, err
	}
	cut, err := surgery.Apply(j.g, p, j.o.Fold)
	if err != nil {
		return v, err
	}
	if err := j.norms.Run(cut, j.o.Threads); err != nil {
		return v, err
	}
	v.Recalibrated, err = j.AP50(cut)
	return v, err
}

func (j *Judge) folded(p *plan.Plan, fold surgery.Options) (float64, error) {
	cut, err := surgery.Apply(j.g, p, fold)
	if err != nil {
		return 0, err
	}
	return j.AP50(cut)
}

// some is the first n samples of a set.
type some struct {
	validate.Source
	n int
}

// Len implements datasets.Source.
func (s some) Len() int { return s.n }

// GroundTruth implements validate.Source.
func (s some) GroundTruth() *eval.GroundTruth {
	in := map[int64]bool{}
	for i := range s.n {
		in[s.Sample(i).ID] = true
	}
	return s.Source.GroundTruth().Only(func(id int64) bool { return in[id] })
}

// Images is how many images a Judge measures on.
func (j *Judge) Images() int { return j.images }
