package importance

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// rule values every filter of a convolution, given which of the convolution's
// input channels are live (nil: all); or says why it can not. Values are not
// negative.
type rule func(n *graph.Node, live []bool) (values []float64, why string)

// scorer makes a criterion of a rule: the score of group channel i is that of
// the filters that make it, combined. A depthwise filter is one of them, and
// one whose weights several layers use counts at each.
type scorer struct {
	g       *graph.Graph
	o       Options
	rule    rule
	results map[graph.NodeID]result
}

// result is what a rule said last of a convolution.
type result struct {
	live   []bool
	values []float64
	why    string
}

func newScorer(g *graph.Graph, o Options, r rule) *scorer {
	return &scorer{g, o, r, map[graph.NodeID]result{}}
}

func (s *scorer) Name() string { return s.o.Criterion }

func (s *scorer) Score(gr depgraph.Group, live Live) ([]float64, string) {
	t, reason := newTally(s.o.Combine, gr.Channels), "no convolution makes it"
	for _, m := range gr.Members {
		if !m.IsFilters() {
			continue
		}
		values, why := s.values(m.Node, live[m.Node])
		if why != "" {
			reason = why
			continue
		}
		for ch, k := range m.Map {
			if k >= 0 {
				t.add(ch, values[k])
			}
		}
	}
	if why := t.lacks(gr, reason); why != "" {
		return nil, why
	}
	return t.scores(), ""
}

// values asks the rule, unless nothing has changed since it was asked.
func (s *scorer) values(id graph.NodeID, live []bool) ([]float64, string) {
	r, ok := s.results[id]
	if !ok || !slices.Equal(r.live, live) || (r.live == nil) != (live == nil) {
		r = result{live: slices.Clone(live)}
		if r.values, r.why = s.rule(s.g.Nodes[id], live); r.why == "" {
			r.values = Normalizations[s.o.Members](r.values)
		}
		s.results[id] = r
	}
	return r.values, r.why
}

// Combines lists how the scores s_m of a channel's M filters become one:
//
//	sum  sum_m s_m      mean  1/M sum_m s_m      max  max_m s_m      norm  sqrt(sum_m s_m^2)
//	first  s_1
//
// first, the earliest layer's, is the rule of Li et al., ICLR 2017,
// arXiv:1608.08710, section 3.3, for a residual sum: what goes is decided by the
// way around the branch, there a projection, in Darknet's networks the convolution
// in front of the stage.
//
// Fang et al., DepGraph, CVPR 2023, arXiv:2301.12900, section 3.3, sum; the
// others are offered by most tools. A filter that the criterion can not judge
// is left out, in M too.
var Combines = []string{"sum", "mean", "max", "norm", "first"}

// tally combines scores channel by channel.
type tally struct {
	combine string
	total   []float64
	count   []int
}

func newTally(combine string, channels int) *tally {
	return &tally{combine, make([]float64, channels), make([]int, channels)}
}

func (t *tally) add(ch int, v float64) {
	switch t.count[ch]++; t.combine {
	case "first":
		if t.count[ch] == 1 {
			t.total[ch] = v
		}
	case "max":
		t.total[ch] = max(t.total[ch], v)
	case "norm":
		t.total[ch] += v * v
	default:
		t.total[ch] += v
	}
}

func (t *tally) scores() []float64 {
	for ch, n := range t.count {
		switch {
		case t.combine == "mean" && n > 0:
			t.total[ch] /= float64(n)
		case t.combine == "norm":
			t.total[ch] = math.Sqrt(t.total[ch])
		}
	}
	return t.total
}

// lacks says why the group is not scored: no channel is, or one that could be
// cut is not, which would have to compare as zero. reason is the rule's.
func (t *tally) lacks(gr depgraph.Group, reason string) string {
	if !slices.ContainsFunc(t.count, func(n int) bool { return n > 0 }) {
		return reason
	}
	for _, b := range gr.Balances {
		for _, part := range b.Parts {
			for _, ch := range part {
				if b.Fixed == "" && t.count[ch] == 0 {
					return fmt.Sprintf("channel %d: %s", ch, reason)
				}
			}
		}
	}
	return ""
}
