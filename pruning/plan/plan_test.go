package plan

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

func build(t interface{ Fatal(...any) }, g *graph.Graph) []depgraph.Group {
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func gammas(g *graph.Graph, id graph.NodeID, v ...float32) { copy(g.Nodes[id].Weights.Gamma, v) }

// chain is two 1 x 1 convolutions of 4 filters and a head of 6, over one pixel
// of one channel: 4 + 16 + 24 = 44 multiply-adds.
func chain() *graph.Graph {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 4, 1, 1, graph.Leaky)
	n.Conv(0, 4, 1, 1, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	for _, c := range g.Convs() {
		for i := range c.Weights.Kernel {
			c.Weights.Kernel[i] = 1
		}
	}
	gammas(g, 0, 0.1, -0.9, 0.5, 0.7)
	gammas(g, 1, 0.2, 0.3, 1, 0.8)
	return g
}

func options(strategy string, q Quantity, ratio float64) Options {
	o := Defaults(Target{q, ratio})
	o.Strategy, o.Align = strategy, 1
	return o
}

// Half of the 8 filters that are not the head's go. The scores of the global
// strategy are |gamma|. Those of the others are |gamma| times the norm, which
// is 1 in layer 0 and in layer 1 the number of live inputs, a common factor.
func TestMakeByHand(t *testing.T) {
	low := chain()
	gammas(low, 1, 0.02, 0.03, 0.1, 0.08)
	for _, c := range []struct {
		name, strategy, normalize string
		g                         *graph.Graph
		want                      Keep
	}{
		{"global", "global", "none", chain(), Keep{0: {1, 3}, 1: {2, 3}}},
		{"global, one layer low", "global", "none", low, Keep{1: {2}, 0: {1, 2, 3}}},
		{"global by layer", "global", "layer", low, Keep{0: {1, 3}, 1: {2, 3}}},
		{"greedy", "greedy", "layer", low, Keep{0: {1, 3}, 1: {2, 3}}},
		{"independent", "independent", "layer", low, Keep{0: {1, 3}, 1: {2, 3}}},
	} {
		o := options(c.strategy, Channels, 0.5)
		o.Normalize = c.normalize
		if c.strategy == "global" {
			o.Criterion = "bn-scale"
		}
		p, _, err := Make(c.g, build(t, c.g), o)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, p.Keep); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// Filters kept: 2 of layer 0, 2 of layer 1: 2 + 4 + 12 = 18 of 44 multiply-adds
// and, with gamma and beta, and the head's bias, 22 + 12 + 6 - 8 of 66
// parameters, are left, and with 8 of 16 means and variances and the header 180 of
// 348 bytes.
func TestReachedAndTable(t *testing.T) {
	g := chain()
	p := &Plan{Version: Version, Keep: Keep{0: {1, 3}, 1: {2, 3}}}
	rows, err := p.Table(g, build(t, g))
	if err != nil {
		t.Fatal(err)
	}
	head := "head: layer 3 (yolo) fixes the number of filters"
	want := []Row{
		{0, "convolutional", 4, 2, 4, 2, 4 + 8, 2 + 4, ""},
		{1, "convolutional", 4, 2, 16, 4, 16 + 8, 4 + 4, ""},
		{2, "convolutional", 6, 6, 24, 12, 24 + 6, 12 + 6, head},
		{3, "yolo", 6, 6, 0, 0, 0, 0, ""},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	keep, err := p.Masks(g, build(t, g))
	if err != nil {
		t.Fatal(err)
	}
	got := Reached(g, build(t, g), keep)
	if want := (Ratios{26. / 44, 34. / 66, 0.5, 168. / 348, 0}); !cmp.Equal(got, want, cmpopts.EquateApprox(0, 1e-12)) {
		t.Errorf("reached %v, want %v", got, want)
	}
}

// Layer 1 keeps one of two filters. Filter 0 reads channel 0 with 9 and
// channel 1 with 1, filter 1 reads them with 2 and 3. Layer 0 loses channel 0,
// and with it filter 0 its 9: independent says 10 > 5, greedy says 1 < 3.
func TestGreedyDiffersFromIndependent(t *testing.T) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Kernel, []float32{1, 1})
	copy(g.Nodes[1].Weights.Kernel, []float32{9, 1, 2, 3})
	gammas(g, 0, 0.1, 1)
	gammas(g, 1, 1, 1)
	for strategy, want := range map[string]struct {
		keep   Keep
		scores []float64
	}{
		"greedy":      {Keep{0: {1}, 1: {1}}, []float64{1, 3}},
		"independent": {Keep{0: {1}, 1: {0}}, []float64{10, 5}},
	} {
		o := options(strategy, Channels, 0.5)
		p, scores, err := Make(g, build(t, g), o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.keep, p.Keep); d != "" {
			t.Errorf("%s: %s", strategy, d)
		}
		mean := (want.scores[0] + want.scores[1]) / 2
		if got := scores.Values[2]; math.Abs(got[0]-want.scores[0]/mean) > 1e-6 || math.Abs(got[1]-want.scores[1]/mean) > 1e-6 {
			t.Errorf("%s: scores %v, want %v / %v", strategy, got, want.scores, mean)
		}
	}
}

// All scores are equal: the cut is even, and the first channels stay.
func TestTies(t *testing.T) {
	g := graphtest.Tiny(0.5, 64, 1)
	for _, c := range g.Convs() {
		for i := range c.Weights.Gamma {
			c.Weights.Gamma[i] = 1
		}
	}
	o := Defaults(Target{Channels, 0.5})
	o.Strategy, o.Criterion = "global", "bn-scale"
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	for id, keep := range p.Keep {
		half := p.Filters[id] / 2
		sliced := id == 2 || id == 10 || id == 18
		if len(keep)%8 != 0 || len(keep) < half-8 || len(keep) > half+8 || !sliced && keep[len(keep)-1] != len(keep)-1 {
			t.Errorf("layer %d of %d filters keeps %v", id, p.Filters[id], keep)
		}
	}
}

func TestTargetsAreReached(t *testing.T) {
	g := graphtest.Tiny(0.5, 320, 7)
	groups := build(t, g)
	for _, strategy := range targeted {
		for _, q := range []Quantity{FLOPs, Params, Channels, Bytes} {
			for _, ratio := range []float64{0.02, 0.2, 0.4, 0.6, 0.7, 0.8} {
				o := Defaults(Target{q, ratio})
				o.Strategy = strategy
				p, _, err := Make(g, groups, o)
				if err != nil {
					t.Fatal(err)
				}
				if got := p.Reached.Of(q); got < ratio || got > ratio+Tolerance {
					t.Errorf("%s %s %v: reached %v", strategy, q, ratio, got)
				}
			}
		}
	}
}

// On any graph, a plan that is found meets its target, the floor, the
// alignment and the skip list, is valid, and is found again.
func TestMakeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.Random(t)
		groups := build(t, g)
		o := Options{
			Criterion: rapid.SampledFrom([]string{"bn-scale-filter", "l1", "random"}).Draw(t, "criterion"),
			Strategy:  rapid.SampledFrom(targeted).Draw(t, "strategy"),
			Normalize: rapid.SampledFrom(Normalizations).Draw(t, "normalize"),
			Target:    Target{rapid.SampledFrom([]Quantity{FLOPs, Params, Channels}).Draw(t, "quantity"), rapid.Float64Range(0.01, 0.95).Draw(t, "ratio")},
			Align:     rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "align"),
			Floor:     rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(t, "floor"),
			Skip:      rapid.SampledFrom([][]string{nil, {"heads"}, {"0"}, {"0-1", "shortcut"}}).Draw(t, "skip"),
		}
		if o.Strategy == "regular" {
			o.Align = max(2, o.Align)
		}
		p, scores, err := Make(g, groups, o)
		var infeasible *InfeasibleError
		if errors.As(err, &infeasible) {
			if infeasible.Most >= o.Target.Ratio {
				t.Fatal(err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, g, groups, o, p)
		q, again, err := Make(g, groups, o)
		if d := cmp.Diff(p, q); d != "" || err != nil || !cmp.Equal(scores, again) {
			t.Fatalf("second run differs: %v %s", err, d)
		}
	})
}

func checkPlan(t *rapid.T, g *graph.Graph, groups []depgraph.Group, o Options, p *Plan) {
	if r := p.Reached.Of(o.Target.Quantity); r < o.Target.Ratio-1e-12 {
		t.Fatalf("asked for %v, reached %v", o.Target, r)
	}
	if slices.Contains(o.Skip, "0") && p.Keep[0] != nil {
		t.Fatal("layer 0 was skipped, and is cut")
	}
	for id := range p.Keep {
		if g.FeedsHead(id) {
			t.Fatalf("head %d is cut", id)
		}
	}
	masks, err := p.Masks(g, groups)
	if err != nil {
		t.Fatal(err)
	}
	for i, gr := range groups {
		if len(gr.Balances) != 1 {
			continue
		}
		size, n := gr.Channels, countKept(seq(gr.Channels), masks[i])
		if n < size && float64(n) < o.Floor*float64(size)-1e-9 {
			t.Fatalf("%s keeps %d: under the floor", gr.Name(), n)
		}
		for _, id := range gr.Convs() {
			if k := p.Keep[id]; k != nil && len(k)%o.Align != 0 {
				t.Fatalf("layer %d keeps %d: not aligned to %d", id, len(k), o.Align)
			}
		}
	}
}

func seq(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = i
	}
	return v
}

// layered asks for the strategy layers.
func layered(entries ...any) func(*Options) {
	return func(o *Options) {
		o.Strategy, o.Target, o.Layers = "layers", Target{}, map[string]float64{}
		for i := 0; i < len(entries); i += 2 {
			switch v := entries[i+1].(type) {
			case float64:
				o.Layers[entries[i].(string)] = v
			case int:
				o.Layers[entries[i].(string)] = float64(v)
			}
		}
	}
}

func TestMakeErrors(t *testing.T) {
	g := graphtest.Tiny(0.5, 64, 1)
	groups := build(t, g)
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Criterion = "l3" }, `criterion: "l3" is not known: use one of bn-scale`},
		{func(o *Options) { o.Strategy = "gredy" }, "use one of uniform, layers, global, regular, greedy, independent, iterative"},
		{func(o *Options) { o.Normalize = "most" }, "use one of l2, layer, max, none"},
		{func(o *Options) { o.Grain = "kernel" }, "use one of channel, filter"},
		{func(o *Options) { o.Criterion = "taylor" }, "gradients"},
		{func(o *Options) { o.Strategy, o.Align = "regular", 1 }, "align: 1 with the strategy regular"},
		{func(o *Options) { o.Layers = map[string]float64{"2": .5} }, "are for the strategy layers, not greedy"},
		{func(o *Options) { o.Strategy = "layers" }, "target.flops: the strategy layers has its ratios by layer"},
		{func(o *Options) { o.Strategy, o.Target = "layers", Target{} }, "needs ratios by layer"},
		{layered("2", 1), `layers: "2": 1 is not in [0, 1)`},
		{layered("x", .5), `layers: "x": no layer has such a name`},
		{layered("9", .5), `layers: "9": none of these is a convolution`},
		{layered("30", .5), `layers: "30": none of these is a convolution`},
		{layered("29", .5), `(layer 29) is kept whole: head`},
		{layered("2", .5, "convolutional-2", .25), `layers: "convolutional-2": 0.25, but "2": 0.5: both name group 3 (layer 2)`},
		{layered("convolutional-29", .5), `(layer 29) is kept whole: head`},
		{func(o *Options) { o.Strategy, o.Grain, o.Target.Ratio = "greedy", "filter", 0.999 }, "can not be reached: at most 0."},
		{layered("2", 0), "removes no channel"},
		{func(o *Options) { o.Skip = []string{"convolutional-["} }, "not a pattern"},
		{func(o *Options) { o.Target.Quantity = "latency" }, "target.latency: no layer times were measured"},
		{func(o *Options) { o.Target.Quantity = "watts" }, "use one of [flops params channels bytes latency]"},
		{func(o *Options) { o.Target.Ratio = 1.4 }, "target.flops: 1.4 is not in (0, 1)"},
		{func(o *Options) { o.Target.Ratio = math.NaN() }, "target.flops: NaN is not in (0, 1)"},
		{func(o *Options) { o.Target = Target{Channels, 1.4} }, "target.ratio: 1.4 is not in (0, 1)"},
		{func(o *Options) { o.Target = Target{Channels, 0.999} }, "target.ratio: 0.999 can not be reached: at most 0."},
		{func(o *Options) { o.Align = 0 }, "align: 0 is not positive"},
		{func(o *Options) { o.Floor = 1 }, "floor: 1 is not in [0, 1)"},
		{func(o *Options) { o.Skip = []string{"7-3"} }, `skip: "7-3": the network has layers 0-`},
		{func(o *Options) { o.Skip = []string{"99"} }, `skip: "99": the network has layers 0-`},
		{func(o *Options) { o.Skip = []string{"-3"} }, `skip: "-3": want a layer (5), a range (3-7)`},
		{func(o *Options) { o.Skip = []string{"convolution"} }, "or a type: convolutional, maxpool"},
		{func(o *Options) { o.Target.Ratio = 0.999 }, "target.flops: 0.999 can not be reached: at most 0."},
		{func(o *Options) { o.Target.Ratio = 0.999 }, "every layer keeps a fraction of 0.1, in steps of 8 filters (0.99"},
		{func(o *Options) { o.Target.Ratio = 0.999 }, "is kept whole (head: layer 30 (yolo) fixes the number of filters)"},
		{func(o *Options) { o.Target.Ratio, o.Skip = 0.9, []string{"0-20"} }, "the skip list keeps layers whole (0.9"},
		{func(o *Options) { o.Skip = []string{"convolutional"} }, "can not be reached: at most 0.0000 can be removed"},
	} {
		o := Defaults(Target{FLOPs, 0.5})
		c.change(&o)
		if _, _, err := Make(g, groups, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
	g.Nodes[1].Weights.Gamma[3] = float32(math.Inf(1))
	if _, _, err := Make(g, groups, Defaults(Target{FLOPs, 0.5})); err == nil || !strings.Contains(err.Error(), "(layer 1): the score of channel 3 is +Inf") {
		t.Errorf("infinite gamma: %v", err)
	}
	g.Nodes[1].Weights = nil
	if _, _, err := Make(g, groups, Defaults(Target{FLOPs, 0.5})); err == nil || !strings.Contains(err.Error(), "has no weights") {
		t.Errorf("no weights: %v", err)
	}
}

func TestSkip(t *testing.T) {
	g := graphtest.Tiny(0.5, 64, 1)
	groups := build(t, g)
	for _, c := range []struct {
		skip  string
		whole []graph.NodeID // convolutions beside the heads that are not cut
	}{
		{"heads", nil},
		{"4", []graph.NodeID{4}},
		{"3-5", []graph.NodeID{4, 5}},
		{"9", []graph.NodeID{2, 7}}, // a pooling: all that passes through it
		{"upsample", []graph.NodeID{32}},
		{"convolutional-4", []graph.NodeID{4}},
		{"convolutional-3?", []graph.NodeID{32, 35}},
		{"max*-9", []graph.NodeID{2, 7}},
		{"before-heads", []graph.NodeID{28, 35}},
		{"shortcut", nil},
	} {
		o := Defaults(Target{Channels, 0.6})
		o.Skip, o.Align, o.Floor = []string{c.skip}, 1, 0
		if err := o.complete(); err != nil {
			t.Fatal(err)
		}
		by, err := o.criterion(g, groups)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSolver(g, groups, o, by)
		if err != nil {
			t.Fatal(err)
		}
		var whole []graph.NodeID
		for i, gr := range groups {
			if strings.HasPrefix(s.whole[i], "skip "+c.skip) {
				whole = append(whole, gr.Convs()...)
			}
		}
		if d := cmp.Diff(c.whole, whole); d != "" {
			t.Errorf("skip %s: %s", c.skip, d)
		}
	}
}

// A head may read several convolutions at once.
func TestBeforeHeads(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky) // 0
	n.Conv(0, 8, 3, 1, graph.Leaky)           // 1
	n.Conv(1, 2, 1, 1, graph.Linear)          // 2
	n.Conv(0, 4, 1, 1, graph.Linear)          // 3
	n.Add(&graph.Route{Groups: 1}, 2, 3)      // 4
	n.Add(&graph.Yolo{}, 4)                   // 5
	got, err := SkipLayers(n.Graph, []string{"before-heads"})
	if d := cmp.Diff([]graph.NodeID{1, 0}, got); d != "" || err != nil {
		t.Error(err, d)
	}
}

// A reorg3d in reverse makes one channel of four filters, which are cut
// together: two channels are a step of 8 filters, and of the 80 filters that may
// be cut 24 are the target. The product's 32 are skipped by its type.
func TestStepOfSeveralFilters(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 48, 3, 1, graph.Leaky)
	n.Add(&graph.Reorg3D{Stride: 2, Reverse: true}, 0)
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	n.Conv(1, 16, 3, 1, graph.Leaky)
	n.Conv(2, 16, 1, 1, graph.Logistic)
	n.Add(&graph.SAM{Activation: graph.Linear}, 3, 2)
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	n.Head(4)
	g := n.Fill(1)
	o := Defaults(Target{Channels, 0.3})
	o.Skip = []string{"sam"}
	p, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Keep) != 1 || len(p.Keep[0]) != 24 {
		t.Errorf("keeps %v", p.Keep)
	}
}

// The layers of a plan's table, also those that pass nothing on.
func TestTableOfLosses(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 4, 1, 1, graph.Linear)
	n.Add(&graph.Contrastive{Classes: 1}, 1)
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	n.Head(0)
	g := n.Fill(1)
	rows, err := (&Plan{Version: Version, Keep: Keep{0: {1, 2}}}).Table(g, build(t, g))
	if err != nil {
		t.Fatal(err)
	}
	var after []int
	for _, r := range rows {
		after = append(after, r.After)
	}
	if d := cmp.Diff([]int{2, 4, 4, 6, 6}, after); d != "" {
		t.Error(d)
	}
}

// Every step of the only layer is worth 1/4 of its channels, so the target is
// met by the next one up.
func TestCoarseSteps(t *testing.T) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 32, 1, 1, graph.Leaky)
	n.Head(0)
	g := n.Fill(3)
	p, _, err := Make(g, build(t, g), Defaults(Target{Channels, 0.3}))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Keep[0]) != 16 || p.Reached.Channels != 0.5 {
		t.Errorf("keeps %d, reached %v", len(p.Keep[0]), p.Reached.Channels)
	}
}

func TestValidate(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 4, 3, 1, graph.Leaky) // 0: sliced by 1
	n.Slice(2, 1, 0)                          // 1
	n.Conv(1, 4, 3, 1, graph.Leaky)           // 2
	n.Conv(2, 4, 3, 1, graph.Leaky)           // 3
	n.Shortcut(3, 2)                          // 4
	n.Head(4)                                 // 5, 6
	g := n.Fill(1)
	groups := build(t, g)
	filters := Filters{0: 4, 2: 4, 3: 4, 5: 6}
	for _, c := range []struct {
		p    Plan
		want string
	}{
		{Plan{Version: 1, Keep: Keep{0: {1, 2}}}, ""},
		{Plan{Version: 1, Filters: filters, Keep: Keep{2: {0}, 3: {0}}}, ""},
		{Plan{Keep: Keep{0: {1, 2}}}, "plan version 0: want 1"},
		{Plan{Version: 1}, "removes no channel"},
		{Plan{Version: 1, Keep: Keep{0: {0, 1, 2, 3}}}, "removes no channel"},
		{Plan{Version: 1, Keep: Keep{0: {0, 1, 2}}}, "group 1 (layer 0): layer 1 (route) takes slice 1 of 2 of layer 0, but slice 0 keeps 2 channels and slice 1 keeps 1"},
		{Plan{Version: 1, Keep: Keep{2: {0, 1}}}, "group 2 (layers 2, 3) is split: filter 2 of layer 3 is kept, but filter 2 of layer 2, which goes with it, is cut"},
		{Plan{Version: 1, Keep: Keep{2: {0, 1}, 3: {0, 2}}}, "group 2 (layers 2, 3) is split: filter 1 of layer 2 is kept"},
		{Plan{Version: 1, Keep: Keep{5: {0, 1}}}, "group 3 (layer 5): channel 2 can not be cut: head: layer 6 (yolo) fixes the number of filters; take layer 5 out of the plan"},
		{Plan{Version: 1, Keep: Keep{0: {}}}, "keep: group 1 (layer 0): layer 0 (convolutional) would keep no filter: at least one must stay"},
		{Plan{Version: 1, Keep: Keep{0: {3, 4}}}, "layer 0 (convolutional): filter 4: it has filters 0-3"},
		{Plan{Version: 1, Keep: Keep{0: {-1, 2}}}, "filter -1: it has filters 0-3"},
		{Plan{Version: 1, Keep: Keep{0: {2, 1}}}, "filter 1 after 2: list them in ascending order"},
		{Plan{Version: 1, Keep: Keep{0: {2, 2}}}, "filter 2 after 2"},
		{Plan{Version: 1, Keep: Keep{1: {0}}}, "layer 1 (route) has no filters"},
		{Plan{Version: 1, Keep: Keep{9: {0}}}, "layer 9: the network has layers 0-6"},
		{Plan{Version: 1, Filters: Filters{0: 4}, Keep: Keep{0: {1, 2}}}, "layer 2 (convolutional) is a convolution, but the plan's filters do not list it"},
		{Plan{Version: 1, Filters: Filters{0: 4, 2: 8, 3: 4, 5: 6}, Keep: Keep{0: {1, 2}}}, "layer 2 (convolutional) has 4 filters, the plan was made for 8"},
		{Plan{Version: 1, Filters: Filters{0: 4, 2: 4, 3: 4, 5: 6, 8: 1}, Keep: Keep{0: {1, 2}}}, "lists 5 convolutions, the network has 4"},
	} {
		err := c.p.Validate(g, groups)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("keep %v: got %v\nwant %s", c.p.Keep, err, c.want)
		}
	}
}

func TestFileRoundTrip(t *testing.T) {
	g := graphtest.Tiny(0.25, 64, 2)
	o := Defaults(Target{Params, 0.3})
	o.Skip = []string{"0", "heads"}
	want, _, err := Make(g, build(t, g), o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEncodeText(t *testing.T) {
	p := &Plan{Version: 1, Filters: Filters{2: 4, 10: 3}, Keep: Keep{10: {0, 2}, 2: {1}}}
	var b bytes.Buffer
	if err := Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	want := `{
  "version": 1,
  "filters": {"2": 4, "10": 3},
  "keep": {
    "2": [1],
    "10": [0, 2]
  }
}
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// By hand: all but keep may be left out. Complete fills in the rest, as in
// TestReachedAndTable.
func TestHandWritten(t *testing.T) {
	p, err := Decode("p.json", strings.NewReader(`{"keep": {"1": [2, 3], "0": [1, 3]}}`))
	if err != nil {
		t.Fatal(err)
	}
	g := chain()
	groups := build(t, g)
	before, after, err := p.Count(g, groups)
	if before != 8 || after != 4 || err != nil {
		t.Errorf("%d of %d filters are left, %v; want 4 of 8", after, before, err)
	}
	if err := p.Complete(g, groups); err != nil {
		t.Fatal(err)
	}
	want := &Plan{
		Version: 1, Reached: &Ratios{26. / 44, 34. / 66, 0.5, 168. / 348, 0},
		Filters: Filters{0: 4, 1: 4, 2: 6}, Keep: Keep{0: {1, 3}, 1: {2, 3}},
	}
	if d := cmp.Diff(want, p, cmpopts.EquateApprox(0, 1e-12)); d != "" {
		t.Error(d)
	}
	p.Keep[2] = []int{0}
	if _, _, err := p.Count(g, groups); err == nil || p.Complete(g, groups) == nil {
		t.Error("a plan that cuts a head was counted or completed")
	}
}

func TestSkipLayers(t *testing.T) {
	got, err := SkipLayers(chain(), []string{"0", " yolo", "heads", "1-3"})
	if d := cmp.Diff([]graph.NodeID{0, 3, 1, 2}, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if _, err := SkipLayers(chain(), []string{"9"}); err == nil || !strings.Contains(err.Error(), `skip: "9": the network has layers 0-3`) {
		t.Error(err)
	}
}

func TestEncodeNothing(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, &Plan{Version: 1, Keep: Keep{}}); err != nil || b.String() != "{\n  \"version\": 1,\n  \"keep\": {}\n}\n" {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "p.json:1:1: EOF"},
		{`{"version": 0, "keep": {}}`, "p.json: version 0: want 1"},
		{`{"keep": null}`, "keep: want an object of layers"},
		{`{"keep": {"3": "0-5"}}`, "keep: layer 3: cannot unmarshal string"},
		{`{"keep": {"3": [99999999999999999999]}}`, "keep: layer 3: cannot unmarshal number"},
		{`[]`, "cannot unmarshal array"},
		{"{\n\"version\": 1,\n \"keep\": [}", "p.json:3:11: invalid character '}'"},
		{`{"version": 1, "kep": {}}`, `unknown field "kep"`},
		{`{"version": 1, "keep": {"0": [1]}} x`, "text after the plan's closing brace"},
		{`{"version": 1, "keep": {"0": [1]}} {}`, "text after the plan's closing brace"},
		{`{"version": 2, "keep": {"0": [1]}}`, "p.json: version 2: want 1"},
		{`{"version": 1}`, `no "keep"`},
		{`{"version": 1, "keep": [1]}`, "keep: want an object"},
		{`{"version": 1, "keep": {"a": [1]}}`, `keep: "a" is not a layer number`},
		{`{"version": 1, "keep": {"-1": [1]}}`, `keep: "-1" is not a layer number`},
		{`{"version": 1, "keep": {"3": [1], "3": [2]}}`, "keep: layer 3 stands twice"},
		{`{"version": 1, "keep": {"3": [1.5]}}`, "keep: layer 3: cannot unmarshal number 1.5"},
		{`{"version": 1, "keep": {}, "filters": {"3": "x"}}`, "filters: layer 3: cannot unmarshal string"},
		{`{"version": "1"}`, "p.json:1:15: cannot unmarshal string"},
	} {
		p, err := Decode("p.json", strings.NewReader(c.text))
		var format *FormatError
		if p != nil || !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v\nwant %s", c.text, err, c.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a missing file was read")
	}
}

// checkNormal says of a valid plan that it keeps something of every layer, and
// is the plan of its own masks, which lists no layer that keeps all.
func checkNormal(t *testing.T, g *graph.Graph, groups []depgraph.Group, p *Plan) {
	keep, err := p.Masks(g, groups)
	if err != nil {
		return
	}
	rows, err := p.Table(g, groups)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.After < 1 || r.After > r.Before || r.Protected != "" && r.After != r.Before {
			t.Fatalf("%+v", r)
		}
	}
	want := Keep{}
	for id, list := range p.Keep {
		if len(list) < g.Nodes[id].Conv().Filters {
			want[id] = list
		}
	}
	if d := cmp.Diff(want, New(g, groups, keep).Keep); d != "" {
		t.Fatal(d)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version": 1, "keep": {"0": [1, 3], "12": [0]}, "filters": {"0": 4}, "target": {"quantity": "flops", "ratio": 0.5}}`))
	f.Add([]byte(`{"version": 1, "keep": {"0": null}}`))
	f.Add([]byte(`{"keep": {`))
	f.Add([]byte(`{"keep": {"0": [1, 3], "1": [0, 1, 2, 3]}}`))
	f.Add([]byte(`{"keep": {"0": [1], "1": [2, 2], "2": [0], "3": []}, "skip": ["0-1"], "align": 8}`))
	f.Add([]byte(`{"filters": {"0": 4, "1": 4, "2": 6}, "keep": {"1": [3]}, "reached": {"flops": 1e308}}`))
	g := chain()
	groups, err := depgraph.Build(g)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode("plan.json", bytes.NewReader(data))
		if err != nil {
			return
		}
		checkNormal(t, g, groups, p)
		var first, second bytes.Buffer
		if err := Encode(&first, p); err != nil {
			t.Fatal(err)
		}
		q, err := Decode("plan.json", bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, first.Bytes())
		}
		if err := Encode(&second, q); err != nil || first.String() != second.String() {
			t.Fatal(fmt.Sprint("not a fixed point: ", err, first.String(), second.String()))
		}
	})
}
