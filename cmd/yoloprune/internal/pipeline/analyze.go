package pipeline

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/finetune/loop"
	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/report"
	"yoloprune/yolo/graph"
)

// AnalyzeOptions set up Analyze.
type AnalyzeOptions struct {
	Plans   []plan.Options // all but the target
	Ratios  []float64      // of the FLOPs, ascending: the points of the curve
	Layers  []float64      // ratios at which every group is cut alone; empty: none
	MaxDrop float64        // of AP50, for the advice

	Decider    *Judge // for the strategies that judge cuts; on other images than those of the figures, if there are
	Candidates int    // of the strategy search

	Note func(format string, args ...any)
}

// Scales sums up the batch-norm scales of every layer.
func Scales(g *graph.Graph) *report.Analysis {
	a := &report.Analysis{Input: [2]int{g.Net.Width, g.Net.Height}, Below: loop.NearZero}
	for _, l := range gammas(g) {
		s := report.LayerScale{Layer: l.Layer, Channels: len(l.Gamma)}
		v := make([]float64, len(l.Gamma))
		for i, x := range l.Gamma {
			a.Histogram[report.Bin(x)]++
			if v[i] = math.Abs(x); v[i] < a.Below {
				s.NearZero++
			}
		}
		slices.Sort(v)
		s.Least, s.Median, s.Greatest = v[0], v[len(v)/2], v[len(v)-1]
		a.NearZero += s.NearZero
		a.Channels += s.Channels
		a.Scales = append(a.Scales, s)
	}
	return a
}

// Analyze measures what cuts of g would leave, without training and without
// writing anything.
func Analyze(g *graph.Graph, j *Judge, o AnalyzeOptions) (*report.Analysis, error) {
	a := Scales(g)
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	whole, err := j.AP50(g)
	if err != nil {
		return nil, err
	}
	a.AP50, a.Images, a.MaxDrop = &whole, j.Images(), o.MaxDrop
	o.Note("whole: AP50 %.3f on %d images", whole, a.Images)
	for _, p := range o.Plans {
		c := report.Curve{Criterion: p.Criterion, Strategy: p.Strategy, Normalize: p.Normalize}
		if c.Points, err = j.curve(g, p, o); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name(), err)
		}
		a.Curves = append(a.Curves, c)
	}
	a.Rank()
	if len(o.Layers) > 0 {
		a.Ratios = o.Layers
		p := o.Plans[a.Best]
		by, err := importance.New(g, groups, importance.Options{Criterion: p.Criterion, Combine: p.Combine, Members: p.Members, Seed: p.Seed, Evidence: p.Evidence})
		if err != nil {
			return nil, err
		}
		a.SensitivityBy = p.Criterion
		if a.Sensitivity, err = j.sensitivity(g, groups, by, whole, o.Layers, o.Note); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// curve cuts to every ratio. The first that cannot be reached ends it.
func (j *Judge) curve(g *graph.Graph, po plan.Options, o AnalyzeOptions) ([]report.CurvePoint, error) {
	var out []report.CurvePoint
	for _, r := range o.Ratios {
		po.Target = plan.Target{Quantity: plan.FLOPs, Ratio: r}
		planned, err := Ask{Options: po, Judge: o.Decider, Candidates: o.Candidates}.once(g)
		if err != nil {
			if len(out) == 0 {
				return nil, err
			}
			o.Note("%v", err)
			break
		}
		v, err := j.Judge(planned.Plan, true, true)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		o.Note("%s, %s, -%.0f %% FLOPs: AP50 %.3f right after the cut (%.3f without fold), %.3f with batch norms measured again",
			po.Criterion, po.Strategy, 100*v.FLOPs, v.Folded, v.Raw, v.Recalibrated)
	}
	return out, nil
}

// sensitivity cuts every group alone, at every ratio.
func (j *Judge) sensitivity(g *graph.Graph, groups []depgraph.Group, by importance.Criterion, whole float64, ratios []float64, note func(string, ...any)) ([]report.LayerDrop, error) {
	scores, err := importance.Score(groups, by)
	if err != nil {
		return nil, err
	}
	var out []report.LayerDrop
	for i, gr := range groups {
		if scores.Values[i] == nil || len(gr.Convs()) == 0 {
			continue
		}
		l := report.LayerDrop{ID: gr.ID, Group: gr.Name()}
		for _, r := range ratios {
			d, err := j.drop(g, groups, i, scores.Values[i], r, whole)
			if err != nil {
				return nil, err
			}
			l.Drops = append(l.Drops, d)
		}
		note("%s alone: %s", l.Group, dropText(ratios, l.Drops))
		out = append(out, l)
	}
	return out, nil
}

func dropText(ratios []float64, drops []*float64) string {
	s := ""
	for i, d := range drops {
		if d != nil {
			s += fmt.Sprintf("  -%.0f %%: %+.3f", 100*ratios[i], -*d)
		}
	}
	return s
}

// drop returns what AP50 loses when group i alone is cut by ratio; nil where it
// has no channel to spare.
func (j *Judge) drop(g *graph.Graph, groups []depgraph.Group, i int, scores []float64, ratio, whole float64) (*float64, error) {
	keep := make([][]bool, len(groups))
	for k, gr := range groups {
		keep[k] = slices.Repeat([]bool{true}, gr.Channels)
	}
	cutGroup(groups[i], scores, ratio, keep[i])
	if !slices.Contains(keep[i], false) {
		return nil, nil
	}
	p := plan.New(g, groups, keep)
	if err := p.Validate(g, groups); err != nil {
		return nil, err
	}
	v, err := j.Judge(p, false, false)
	d := whole - v.Recalibrated
	return &d, err
}

// cutGroup takes the lowest scores out of every part, down to one channel.
func cutGroup(gr depgraph.Group, scores []float64, ratio float64, keep []bool) {
	for _, b := range gr.Balances {
		if b.Fixed != "" {
			continue
		}
		n := min(int(math.Round(ratio*float64(b.Size()))), b.Size()-1)
		for _, part := range b.Parts {
			order := slices.Clone(part)
			slices.SortStableFunc(order, func(x, y int) int {
				switch {
				case scores[x] < scores[y]:
					return -1
				case scores[x] > scores[y]:
					return 1
				}
				return 0
			})
			for _, ch := range order[:n] {
				keep[ch] = false
			}
		}
	}
}
