package importance

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// chain is two convolutions and a head, all 1 x 1:
//
//	conv 0, 3 filters over the image     (3 4) (0 1) (3 1)     gamma 2, -1, 0.5
//	conv 1, 2 filters over conv 0        (1 2 2) (-2 0 1)      gamma 1, 3
//	conv 2, 6 filters, before the head   (3 4) (4 0) and zeros
func chain() *graph.Graph {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 3, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Kernel, []float32{3, 4, 0, 1, 3, 1})
	copy(g.Nodes[0].Weights.Gamma, []float32{2, -1, 0.5})
	copy(g.Nodes[1].Weights.Kernel, []float32{1, 2, 2, -2, 0, 1})
	copy(g.Nodes[1].Weights.Gamma, []float32{1, 3})
	clear(g.Nodes[2].Weights.Kernel)
	copy(g.Nodes[2].Weights.Kernel, []float32{3, 4, 4, 0})
	return g
}

func build(t testing.TB, g *graph.Graph) []depgraph.Group {
	t.Helper()
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func newCriterion(t testing.TB, g *graph.Graph, o Options) Criterion {
	t.Helper()
	c, err := New(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != o.Criterion {
		t.Errorf("%s calls itself %s", o.Criterion, c.Name())
	}
	return c
}

// check compares the scores of the group of a convolution.
func check(t *testing.T, g *graph.Graph, o Options, conv graph.NodeID, live Live, want ...float64) {
	t.Helper()
	got, why := newCriterion(t, g, o).Score(groupOf(t, g, conv), live)
	if d := cmp.Diff(want, got, near); d != "" || why != "" {
		t.Errorf("%+v, layer %d: %s %s", o, conv, d, why)
	}
}

// TestByHand: the distances between conv 0's filters are |(3 3)|, |(0 3)| and
// |(3 0)|, that between conv 1's |(3 2 1)|; without the channel that is cut,
// number 1, conv 1's filters are (1 2) and (-2 1).
func TestByHand(t *testing.T) {
	g := chain()
	live := Live{}
	live.Cut(g, groupOf(t, g, 0), []bool{true, false, true})
	r := math.Sqrt
	for _, c := range []struct {
		name              string
		first, next, left []float64 // conv 0; conv 1; conv 1 without channel 1
	}{
		{"bn-scale", []float64{2, 1, 0.5}, []float64{1, 3}, []float64{1, 3}},
		{"bn-scale-filter", []float64{2 * 7, 1, 0.5 * 4}, []float64{5, 3 * 3}, []float64{3, 3 * 3}},
		// Columns (1 -2), (2 0) and (2 1) of conv 1, (3 4) and (4 0) of conv 2.
		{"bn-scale-next", []float64{2 * r(5), 2, 0.5 * r(5)}, []float64{5, 3 * 4}, []float64{5, 3 * 4}},
		{"l1", []float64{7, 1, 4}, []float64{5, 3}, []float64{3, 3}},
		{"l2", []float64{5, 1, r(10)}, []float64{3, r(5)}, []float64{r(5), r(5)}},
		{"fpgm", []float64{r(18) + 3, r(18) + 3, 6}, []float64{r(14), r(14)}, []float64{r(10), r(10)}},
		// Squares 25, 1, 10; 9, 5; 5, 5.
		{"lamp", []float64{1, 1. / 36, 10. / 35}, []float64{1, 5. / 14}, []float64{0.5, 0.5}},
	} {
		o := Options{Criterion: c.name}
		check(t, g, o, 0, nil, c.first...)
		check(t, g, o, 1, nil, c.next...)
		check(t, g, o, 1, live, c.left...)
	}
}

// TestLiveChanges: what was computed for other live channels is not used.
func TestLiveChanges(t *testing.T) {
	g := chain()
	first, next := groupOf(t, g, 0), groupOf(t, g, 1)
	c, live := newCriterion(t, g, Options{Criterion: "l1"}), Live{}
	for _, step := range []struct {
		keep []bool
		want []float64
	}{
		{[]bool{true, true, false}, []float64{1 + 2, 2}},
		{[]bool{false, true, true}, []float64{2 + 2, 1}},
		{[]bool{false, false, false}, []float64{0, 0}},
		{[]bool{true, true, true}, []float64{5, 3}},
	} {
		live.Cut(g, first, step.keep)
		for range 2 {
			if got, _ := c.Score(next, live); !cmp.Equal(step.want, got, near) {
				t.Errorf("%v: %v, want %v", step.keep, got, step.want)
			}
		}
	}
	if got, _ := c.Score(next, nil); !cmp.Equal([]float64{5, 3}, got, near) {
		t.Errorf("all live: %v", got)
	}
}

// TestGreedyOrder is a net in which the greedy order of Li et al. 2017, section
// 3.3, is not the independent one. conv 0 has filters (1) and (10), so that its
// channel 0 goes first. conv 1 has filters (5 1), (0 4), (1 2): with norms 6, 4,
// 3 number 2 goes first; without channel 0 they are 1, 4, 2, and number 0 does.
func TestGreedyOrder(t *testing.T) {
	n := graphtest.New(1, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 3, 1, 1, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Kernel, []float32{1, 10})
	copy(g.Nodes[1].Weights.Kernel, []float32{5, 1, 0, 4, 1, 2})
	check(t, g, Options{Criterion: "l1"}, 0, nil, 1, 10)
	check(t, g, Options{Criterion: "l1"}, 1, nil, 6, 4, 3)
	live := Live{}
	live.Cut(g, groupOf(t, g, 0), []bool{false, true})
	check(t, g, Options{Criterion: "l1"}, 1, live, 1, 4, 2)
}

// TestCombine: the scales of residual's conv 0 are 0.5, 2, of conv 1 0.1, 1.
func TestCombine(t *testing.T) {
	g := residual()
	for _, c := range []struct {
		combine, members string
		want             []float64
	}{
		{"", "", []float64{0.6, 3}},
		{"sum", "none", []float64{0.6, 3}},
		{"mean", "", []float64{0.3, 1.5}},
		{"max", "", []float64{0.5, 2}},
		{"norm", "", []float64{math.Sqrt(0.25 + 0.01), math.Sqrt(4 + 1)}},
		{"first", "", []float64{0.5, 2}},
		{"sum", "max", []float64{0.25 + 0.1, 1 + 1}},
		{"max", "layer", []float64{0.4, 1 / 0.55}},
	} {
		check(t, g, Options{Criterion: "bn-scale", Combine: c.combine, Members: c.members}, 0, nil, c.want...)
	}
}

// TestSilentMembers: conv 1 has no batch norm. Channels 2 and 3 of the second
// net are made by it alone.
func TestSilentMembers(t *testing.T) {
	bare := graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear}
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.ConvOp(0, bare)
	n.Head(n.Shortcut(1, 0))
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Gamma, []float32{-0.5, 2})
	for _, combine := range Combines {
		check(t, g, Options{Criterion: "bn-scale", Combine: combine}, 0, nil, 0.5, 2)
	}

	n = graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	bare.Filters = 4
	n.ConvOp(0, bare)
	n.Route(1)
	n.Conv(2, 2, 1, 1, graph.Leaky)
	n.Head(n.Shortcut(3, 1))
	g = n.Fill(1)
	s, why := newCriterion(t, g, Options{Criterion: "bn-scale"}).Score(groupOf(t, g, 1), nil)
	if s != nil || !strings.Contains(why, "channel 2: no batch norm") {
		t.Errorf("scores %v, reason %q", s, why)
	}
}

// separable is a convolution, a depthwise one and a 1 x 1 one:
//
//	conv 0  (1) (2)                               gamma 2, -1
//	conv 1  depthwise, (3) (-4)                   gamma 0.5, 3
//	conv 2  (6 0) (8 5)                           gamma 1, 1
func separable() *graph.Graph {
	n := graphtest.New(1, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 2, graph.Leaky)
	n.Conv(1, 2, 1, 1, graph.Linear)
	n.Head(2)
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Kernel, []float32{1, 2})
	copy(g.Nodes[0].Weights.Gamma, []float32{2, -1})
	copy(g.Nodes[1].Weights.Kernel, []float32{3, -4})
	copy(g.Nodes[1].Weights.Gamma, []float32{0.5, 3})
	copy(g.Nodes[2].Weights.Kernel, []float32{6, 0, 8, 5})
	return g
}

// TestDepthwise: conv 0 and conv 1 make one group.
func TestDepthwise(t *testing.T) {
	g := separable()
	for _, c := range []struct {
		name string
		want []float64
	}{
		{"bn-scale", []float64{2 + 0.5, 1 + 3}},
		{"bn-scale-filter", []float64{2*1 + 0.5*3, 1*2 + 3*4}},
		{"bn-scale-next", []float64{2*3 + 0.5*10, 1*4 + 3*5}},
		{"l1", []float64{1 + 3, 2 + 4}},
		{"l2", []float64{1 + 3, 2 + 4}},
		{"fpgm", []float64{1, 1}}, // |1 - 2|; a depthwise filter has no other
		{"lamp", []float64{1./5 + 9./25, 1 + 1}},
	} {
		check(t, g, Options{Criterion: c.name}, 0, nil, c.want...)
	}
}

// TestGroupedDistances: filters 0 and 1 read channels 0 and 1, filters 2 and 3
// the others; distances are |(3 4)| and |(0 2)|, with channel 0 gone |(4)|.
func TestGroupedDistances(t *testing.T) {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 4, 1, 1, graph.Leaky)
	n.Conv(0, 4, 1, 2, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[1].Weights.Kernel, []float32{4, 5, 1, 1, 6, 7, 6, 9})
	check(t, g, Options{Criterion: "fpgm"}, 1, nil, 5, 5, 2, 2)
	live := Live{}
	live.Cut(g, groupOf(t, g, 0), []bool{false, true, true, true})
	check(t, g, Options{Criterion: "fpgm"}, 1, live, 4, 4, 2, 2)
}

// TestNextReadsThroughLayers: conv 0 (gamma 1, 1) is read twice by conv 3
// through a route, whose columns are (3 4), (0 1), (1 0), (0 2); and, through a
// sum with weights 1 and 1 of softmax, half, by the head behind it.
func TestNextReadsThroughLayers(t *testing.T) {
	n := graphtest.New(1, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.MaxPool(0, 2, 1)
	n.Route(1, 0)
	n.Conv(2, 2, 1, 1, graph.Leaky)
	sum := n.Shortcut(3, 0)
	n.Head(sum)
	s := n.Nodes[sum].Op.(*graph.Shortcut)
	s.Scaling, s.Normalization = graph.PerFeature, graph.NormSoftmax
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	g := n.Fill(1)
	copy(g.Nodes[sum].Weights.Scale, []float32{1, 1})
	copy(g.Nodes[0].Weights.Gamma, []float32{1, 1})
	copy(g.Nodes[3].Weights.Gamma, []float32{2, 2})
	copy(g.Nodes[3].Weights.Kernel, []float32{3, 0, 1, 0, 4, 1, 0, 2})
	clear(g.Nodes[5].Weights.Kernel)
	copy(g.Nodes[5].Weights.Kernel, []float32{10, 20})
	half := 1 / (2 + 1e-4) // the normalisation's epsilon
	head := []float64{10 * half, 20 * half}
	check(t, g, Options{Criterion: "bn-scale-next"}, 0, nil, (5+1+head[0])+2*head[0], (1+2+head[1])+2*head[1])
}

// TestRandom: the same seed gives the same scores in any order of groups,
// another seed others.
func TestRandom(t *testing.T) {
	g := chain()
	groups := build(t, g)
	a := newCriterion(t, g, Options{Criterion: "random", Seed: 7})
	b := newCriterion(t, g, Options{Criterion: "random", Seed: 7})
	other := newCriterion(t, g, Options{Criterion: "random", Seed: 8})
	var first [][]float64
	for _, gr := range groups {
		s, _ := a.Score(gr, nil)
		first = append(first, s)
		if slices.Min(s) < 0 || slices.Max(s) >= 1 || len(s) != gr.Channels {
			t.Errorf("%s: %v", gr.Name(), s)
		}
	}
	for i := len(groups) - 1; i >= 0; i-- {
		again, _ := b.Score(groups[i], Live{})
		if d := cmp.Diff(first[i], again); d != "" {
			t.Error(d)
		}
		if s, _ := other.Score(groups[i], nil); cmp.Equal(first[i], s) {
			t.Errorf("%s: two seeds, the same scores", groups[i].Name())
		}
	}
	if cmp.Equal(first[1][:2], first[2][:2]) {
		t.Error("two groups have the same scores")
	}
}

func TestNormalizations(t *testing.T) {
	in := []float64{1, 2, 3, 6}
	rms := math.Sqrt((1 + 4 + 9 + 36) / 4.)
	for name, want := range map[string][]float64{
		"none":  in,
		"layer": {1. / 3, 2. / 3, 1, 2},
		"max":   {1. / 6, 1. / 3, 0.5, 1},
		"l2":    {1 / rms, 2 / rms, 3 / rms, 6 / rms},
	} {
		f := Normalizations[name]
		if d := cmp.Diff(want, f(in), near); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if d := cmp.Diff([]float64{0, 0}, f([]float64{0, 0})); d != "" {
			t.Errorf("%s of zeros: %s", name, d)
		}
	}
	if len(Normalizations) != 4 || in[0] != 1 || in[3] != 6 {
		t.Errorf("%d normalisations, scores became %v", len(Normalizations), in)
	}
}
