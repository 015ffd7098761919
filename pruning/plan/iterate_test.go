package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/importance"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// The chain has 4 filters over 1 channel, 4 over 4, and a head of 6 over 4: 44
// multiply-adds. A filter of layer 0 saves 1 + 4, one of layer 1 saves 4 + 6; for
// a filter of layer 1 that has gone, one of layer 0 saves one less.
func TestIterativeByHand(t *testing.T) {
	for _, c := range []struct {
		name  string
		gamma float32 // of layer 1; 1 in layer 0
		ratio float64
		want  Keep
	}{
		// 1/10 against 1/5: twice layer 1, 20 of 44.
		{"equal scores", 1, .45, Keep{1: {0, 1}}},
		// 3/10 against 1/5: three times layer 0, 15 of 44.
		{"layer 1 matters", 3, .34, Keep{0: {0}}},
		// 1.9/10 against 1/5; with one of layer 1 gone 1.9/10 against 1/4: 10 of 44,
		// 20 of 44.
		{"costs change", 1.9, .45, Keep{1: {0, 1}}},
	} {
		g := chain()
		gammas(g, 0, 1, 1, 1, 1)
		gammas(g, 1, c.gamma, c.gamma, c.gamma, c.gamma)
		o := options("iterative", FLOPs, c.ratio)
		o.Criterion, o.Normalize = "bn-scale", "none"
		p, _, err := Make(g, build(t, g), o)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, p.Keep); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// Filter 0 of layer 1 has all its weight on channel 0 of layer 0, the others have
// it on the rest. Once channel 0 is gone, filter 0 is worth nothing and goes next,
// although it was the best before.
func TestIterativeScoresAgain(t *testing.T) {
	g := chain()
	copy(g.Nodes[0].Weights.Kernel, []float32{.1, 1, 1, 1})
	copy(g.Nodes[1].Weights.Kernel, []float32{99, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1})
	o := options("iterative", Channels, .25) // 2 of 8 filters
	o.Criterion, o.Normalize = "l1", "none"
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Keep{0: {1, 2, 3}, 1: {1, 2, 3}}, p.Keep); d != "" {
		t.Error(d)
	}
}

// Layers by number and by name.
func TestLayers(t *testing.T) {
	g := chain()
	o := options("layers", "", 0)
	o.Target, o.Layers = Target{}, map[string]float64{"0": .5, "convolutional-1": .25}
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Keep[0]) != 2 || len(p.Keep[1]) != 3 || p.Target != nil {
		t.Errorf("keeps %v with target %v; want 2 filters of layer 0 and 3 of layer 1, and no target", p.Keep, p.Target)
	}
}

// An entry that names fewer layers counts, and one that names many leaves out the
// heads. Of 4 filters 1 goes of layer 0 and 2 of layer 1.
func TestLayersByType(t *testing.T) {
	g := chain()
	o := options("layers", "", 0)
	o.Target, o.Layers = Target{}, map[string]float64{"convolutional": .75, "0-1": .5, "convolutional-0": .25}
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Keep[0]) != 3 || len(p.Keep[1]) != 2 || len(p.Keep) != 2 {
		t.Errorf("keeps %v; want 3 filters of layer 0, 2 of layer 1", p.Keep)
	}
	if d := cmp.Diff(o.Layers, p.Layers); d != "" {
		t.Error(d)
	}
}

func TestUniform(t *testing.T) {
	g := chain()
	p, _, err := Make(g, build(t, g), options("uniform", Channels, .5))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Keep[0]) != 2 || len(p.Keep[1]) != 2 {
		t.Errorf("keeps %v, want half of both layers", p.Keep)
	}
}

// Between the grid's points the time is bilinear, beyond it constant.
func TestGrid(t *testing.T) {
	g := Grid{In: []int{10, 20}, Out: []int{4, 8}, MS: [][]float64{{1, 2}, {3, 6}}}
	for _, c := range []struct {
		in, out int
		want    float64
	}{{10, 4, 1}, {20, 8, 6}, {15, 4, 2}, {10, 6, 1.5}, {15, 6, 3}, {5, 2, 1}, {99, 99, 6}, {99, 6, 4.5}} {
		if got := g.At(c.in, c.out); got != c.want {
			t.Errorf("%d to %d channels: %v ms, want %v", c.in, c.out, got, c.want)
		}
	}
}

// Layer 1 takes all the time, half of it with half of its filters.
func TestLatencyTarget(t *testing.T) {
	g := chain()
	flat := Grid{In: []int{4}, Out: []int{4}, MS: [][]float64{{1e-9}}}
	o := options("iterative", Time, .399)
	o.Criterion, o.Normalize = "bn-scale", "none"
	o.Latency = &Latency{Rest: 2, Scale: 2, Layers: map[graph.NodeID]Grid{
		0: flat, 2: flat,
		1: {In: []int{4}, Out: []int{1, 4}, MS: [][]float64{{1}, {4}}[1:]},
	}}
	if _, _, err := Make(g, build(t, g), o); err == nil {
		t.Error("a row of one time for two counts is taken")
	}
	o.Latency.Layers[1] = Grid{In: []int{4}, Out: []int{1, 4}, MS: [][]float64{{1, 4}}}
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	// 2 + 2*4 = 10 ms whole, 2 + 2*2 = 6 ms with two filters left.
	if len(p.Keep[1]) != 2 || p.Keep[0] != nil || p.Reached.Latency < .4-1e-6 || p.Reached.Latency > .4+1e-6 {
		t.Errorf("keeps %v, latency %v removed; want two filters of layer 1, 0.4", p.Keep, p.Reached.Latency)
	}
}

// Of 10 ms, 2 are not the convolutions', and 2 are left when layer 1 keeps one
// filter.
func TestLatencyOutOfReach(t *testing.T) {
	g := chain()
	flat := Grid{In: []int{4}, Out: []int{4}, MS: [][]float64{{1e-9}}}
	o := options("uniform", Time, .7)
	o.Floor = 0
	o.Latency = &Latency{Rest: 2, Scale: 2, Layers: map[graph.NodeID]Grid{
		0: flat, 2: flat, 1: {In: []int{4}, Out: []int{1, 4}, MS: [][]float64{{1, 4}}},
	}}
	_, _, err := Make(g, build(t, g), o)
	want := "target.latency: 0.7 can not be reached: at most 0.6000 can be removed: 0.2000 of the time is not in the convolutions, and stays"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// The filter grain leaves tied layers alone.
func TestFilterGrain(t *testing.T) {
	n := graphtest.New(3, 8, 8)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 8, 3, 1, graph.Leaky)
	n.Conv(1, 8, 3, 1, graph.Leaky)
	n.Shortcut(2, 0)
	n.Head(3)
	g := n.Fill(1)
	groups := build(t, g)
	o := options("greedy", Channels, .1)
	o.Grain = "filter"
	p, scores, err := Make(g, groups, o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Grain != "filter" {
		t.Errorf("the plan says %q", p.Grain)
	}
	tied := 0
	for i, gr := range groups {
		convs := gr.Convs()
		if len(convs) < 2 {
			continue
		}
		tied++
		if scores.Unscored[i] == "" {
			t.Errorf("%s may be cut", gr.Name())
		}
		for _, id := range convs {
			if p.Keep[id] != nil {
				t.Errorf("layer %d is tied, and cut", id)
			}
		}
	}
	if tied == 0 {
		t.Error("nothing is tied in this network")
	}
	o.Target.Ratio = .9
	_, _, err = Make(g, groups, o)
	if want := "the grain filter keeps tied layers whole (0."; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// MakeBy takes the scores it is given: with all of the weight on one group the
// others are cut.
func TestMakeBy(t *testing.T) {
	g := chain()
	groups := build(t, g)
	base, err := importance.New(g, groups, importance.Options{Criterion: "bn-scale"})
	if err != nil {
		t.Fatal(err)
	}
	for _, protect := range []graph.NodeID{0, 1} {
		factors := map[int]float64{}
		for _, gr := range groups {
			if c := gr.Convs(); len(c) == 1 && c[0] == protect {
				factors[gr.ID] = 1000
			}
		}
		o := options("global", Channels, .25)
		p, _, err := MakeBy(g, groups, o, importance.Scaled(base, "layer", factors))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Keep) != 1 || p.Keep[protect] != nil {
			t.Errorf("layer %d protected: keeps %v", protect, p.Keep)
		}
	}
}

// A plan says how it was found, as far as that is not the usual way.
func TestPlanSaysHow(t *testing.T) {
	g := chain()
	groups := build(t, g)
	for _, c := range []struct {
		change           func(*Options)
		combine, members string
		seed             uint64
	}{
		{func(*Options) {}, "", "", 0},
		{func(o *Options) { o.Combine, o.Members, o.Seed = "sum", "none", 3 }, "", "", 0},
		{func(o *Options) { o.Combine, o.Members, o.Criterion, o.Seed = "max", "layer", "random", 3 }, "max", "layer", 3},
	} {
		o := options("greedy", Channels, .5)
		c.change(&o)
		p, _, err := Make(g, groups, o)
		if err != nil {
			t.Fatal(err)
		}
		if p.Combine != c.combine || p.Members != c.members || p.Seed != c.seed {
			t.Errorf("combine %q, members %q, seed %d; want %q, %q, %d", p.Combine, p.Members, p.Seed, c.combine, c.members, c.seed)
		}
	}
}
