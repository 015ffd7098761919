package importance

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// residual is conv 0 (2 filters) + conv 1 (1 x 1, 2 filters, over conv 0),
// added, then a head.
//
//	conv 0: kernels (1, -1), (2, 3) over two image channels, gamma 0.5, -2
//	conv 1: kernels (4, -5), (0, 6) over conv 0,             gamma 0.1, 1
func residual() *graph.Graph {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Leaky)
	n.Shortcut(1, 0)
	n.Conv(2, 3, 1, 1, graph.Leaky)
	n.Head(3)
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Kernel, []float32{1, -1, 2, 3})
	copy(g.Nodes[0].Weights.Gamma, []float32{0.5, -2})
	copy(g.Nodes[1].Weights.Kernel, []float32{4, -5, 0, 6})
	copy(g.Nodes[1].Weights.Gamma, []float32{0.1, 1})
	return g
}

func groupOf(t *testing.T, g *graph.Graph, conv graph.NodeID) depgraph.Group {
	t.Helper()
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(groups, func(gr depgraph.Group) bool { return slices.Contains(gr.Convs(), conv) })
	return groups[i]
}

var near = cmpopts.EquateApprox(0, 1e-6)

func TestScores(t *testing.T) {
	g := residual()
	gr := groupOf(t, g, 0)
	live := Live{}
	live.Cut(g, gr, []bool{false, true})
	for _, c := range []struct {
		name string
		crit Criterion
		live Live
		want []float64
	}{
		{"scales add up", newCriterion(t, g, Options{Criterion: "bn-scale"}), nil, []float64{0.5 + 0.1, 2 + 1}},
		{"scales do not look at inputs", newCriterion(t, g, Options{Criterion: "bn-scale"}), live, []float64{0.5 + 0.1, 2 + 1}},
		{"independent", newCriterion(t, g, Options{Criterion: "bn-scale-filter"}), nil, []float64{0.5*2 + 0.1*9, 2*5 + 1*6}},
		{"greedy, channel 0 gone", newCriterion(t, g, Options{Criterion: "bn-scale-filter"}), live, []float64{0.5*2 + 0.1*5, 2*5 + 1*6}},
	} {
		got, why := c.crit.Score(gr, c.live)
		if d := cmp.Diff(c.want, got, near); d != "" || why != "" {
			t.Errorf("%s: %s %s", c.name, d, why)
		}
	}
	if d := cmp.Diff([]bool{false, true}, live[3]); d != "" {
		t.Error(d)
	}
}

// Filters 0, 1 read channels 0, 1; filters 2, 3 read channels 2, 3.
func TestGroupedFilterNorm(t *testing.T) {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 4, 1, 1, graph.Leaky)
	n.ConvOp(0, graph.Conv{Filters: 4, Size: 1, Stride: 1, Groups: 2, Activation: graph.Leaky})
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[1].Weights.Kernel, []float32{1, 2, 3, 4, 5, 6, 7, 8})
	live := Live{}
	live.Cut(g, groupOf(t, g, 0), []bool{true, false, false, true})
	got, _ := newCriterion(t, g, Options{Criterion: "bn-scale-filter"}).Score(groupOf(t, g, 1), live)
	if d := cmp.Diff([]float64{1, 3, 6, 8}, got, near); d != "" {
		t.Error(d)
	}
}

func TestUnscored(t *testing.T) {
	n := graphtest.New(2, 2, 2)
	n.ConvOp(graph.Input, graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, Activation: graph.Leaky})
	n.Head(0)
	g := n.Fill(1)
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Score(groups, newCriterion(t, g, Options{Criterion: "bn-scale"}))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"network input", "no batch norm", "head: layer 2"} {
		if !strings.Contains(s.Unscored[i], want) || s.Values[i] != nil {
			t.Errorf("group %d: %q, want %q", i, s.Unscored[i], want)
		}
	}
	g.Nodes[0].Weights.Kernel[1] = float32(math.NaN())
	if _, err := Score(groups, newCriterion(t, g, Options{Criterion: "bn-scale-filter"})); err == nil || !strings.Contains(err.Error(), "group 1 (layer 0): the score of channel 0 is NaN") {
		t.Errorf("NaN weight: %v", err)
	}
}

func TestByMean(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{[]float64{1, 2, 3, 6}, []float64{1. / 3, 2. / 3, 1, 2}},
		{[]float64{0, 0}, []float64{0, 0}},
	} {
		if d := cmp.Diff(c.want, ByMean(c.in), near); d != "" {
			t.Error(d)
		}
	}
}
