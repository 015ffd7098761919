package plan

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/graph"
)

// twoBlocks has a residual block of layers 1-3, another of 4-6 and a run of
// layer 7; the head is layers 8 and 9. The mean |gamma| of layer 2 is 0.5, of
// layer 5 0.25, of layer 7 0.125.
func twoBlocks() *graph.Graph {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Shortcut(n.Conv(n.Conv(0, 4, 1, 1, graph.Leaky), 8, 3, 1, graph.Leaky), 0)
	n.Shortcut(n.Conv(n.Conv(3, 4, 1, 1, graph.Leaky), 8, 3, 1, graph.Leaky), 3)
	n.Head(n.Conv(6, 8, 3, 1, graph.Leaky))
	g := n.Fill(1)
	for id, gamma := range map[graph.NodeID]float32{2: 0.5, 5: 0.25, 7: 0.125} {
		for i := range g.Nodes[id].Weights.Gamma {
			g.Nodes[id].Weights.Gamma[i] = gamma * float32(1-2*(i%2))
		}
	}
	return g
}

func TestBlockScores(t *testing.T) {
	g := twoBlocks()
	scores, err := BlockScores(g, depgraph.Blocks(g))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]float64{0.5, 0.25, 0.125}, scores); d != "" {
		t.Error(d)
	}
	// 8 filters of 4 x 3 x 3 weights, all 0.5: a norm of 18 each.
	last := g.Nodes[2]
	last.Conv().BatchNorm = false
	last.Weights = &graph.Weights{Kernel: slices.Repeat([]float32{0.5, -0.5}, 144), Bias: make([]float32, 8)}
	if scores, err = BlockScores(g, depgraph.Blocks(g)[:1]); err != nil || scores[0] != 18 {
		t.Errorf("%v, %v; want 18", scores, err)
	}
	last.Weights.Kernel[3] = float32(math.NaN())
	if _, err = BlockScores(g, depgraph.Blocks(g)); err == nil || !strings.Contains(err.Error(), "residual of layers 1-3, for which layer 0 stands: its score is NaN") {
		t.Errorf("got %v", err)
	}
}

// Multiply-adds of twoBlocks by 16 pixels: layer 0 3*9*8 = 216, layers 1 and 4
// 32, 2 and 5 288, 7 576, 8 48: 1480 in all. A residual block is 320 of them.
func TestMakeBlocks(t *testing.T) {
	flops := func(r float64) *Target { return &Target{FLOPs, r} }
	for _, c := range []struct {
		o     BlockOptions
		want  []graph.NodeID
		flops float64
	}{
		{BlockOptions{Count: 1}, []graph.NodeID{4, 5, 6}, 320. / 1480},
		{BlockOptions{Count: 2}, []graph.NodeID{1, 2, 3, 4, 5, 6}, 640. / 1480},
		{BlockOptions{Count: 3}, []graph.NodeID{1, 2, 3, 4, 5, 6, 7}, 1216. / 1480},
		{BlockOptions{Count: 1, Skip: []string{"5"}}, []graph.NodeID{1, 2, 3}, 320. / 1480},
		{BlockOptions{Count: 1, Kinds: []depgraph.BlockKind{depgraph.Run}}, []graph.NodeID{7}, 576. / 1480},
		{BlockOptions{Target: flops(0.2)}, []graph.NodeID{4, 5, 6}, 320. / 1480},
		{BlockOptions{Target: flops(0.3)}, []graph.NodeID{1, 2, 3, 4, 5, 6}, 640. / 1480},
		{BlockOptions{Target: &Target{Channels, 0.7}}, []graph.NodeID{1, 2, 3, 4, 5, 6, 7}, 1216. / 1480}, // 32 of 40
	} {
		g := twoBlocks()
		p, err := MakeBlocks(g, c.o)
		if err != nil {
			t.Errorf("%+v: %v", c.o, err)
			continue
		}
		if d := cmp.Diff(c.want, p.Removed); d != "" {
			t.Errorf("%+v: %s", c.o, d)
		}
		if math.Abs(p.Reached.FLOPs-c.flops) > 1e-12 {
			t.Errorf("%+v: removed %v of the FLOPs, want %v", c.o, p.Reached.FLOPs, c.flops)
		}
		if err := p.Validate(g, nil); err != nil {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestMakeBlocksRefuses(t *testing.T) {
	for _, c := range []struct {
		o    BlockOptions
		want string
	}{
		{BlockOptions{}, "want either a number of blocks or a target"},
		{BlockOptions{Count: 1, Target: &Target{FLOPs, 0.5}}, "want either a number of blocks or a target"},
		{BlockOptions{Count: -1}, "-1 is not positive"},
		{BlockOptions{Count: 4}, "4 can not be removed: the network has 3 that can go together"},
		{BlockOptions{Target: &Target{FLOPs, 1}}, "target.flops: 1 is not in (0, 1)"},
		{BlockOptions{Target: &Target{FLOPs, 0.9}}, "target.flops: 0.9 can not be reached: at most 0.8216 can be removed: there are 3 blocks"},
		{BlockOptions{Target: &Target{"size", 0.9}}, `"size" is not known: use one of [flops params channels bytes]`},
		{BlockOptions{Count: 1, Kinds: []depgraph.BlockKind{"half"}}, `kind "half" is not known`},
		{BlockOptions{Count: 1, Skip: []string{"99"}}, `skip: "99": the network has layers 0-9`},
	} {
		if _, err := MakeBlocks(twoBlocks(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %s", c.o, err, c.want)
		}
	}
}

// The target is that of the whole network; layer 0 of it is skipped, which has
// the same number in the rest, and so is layer 7, which has not.
func TestMakeWithBlocks(t *testing.T) {
	g := twoBlocks()
	for _, skip := range [][]string{nil, {"7"}} {
		o := Defaults(Target{FLOPs, 0.6})
		o.Align, o.Skip = 1, skip
		p, groups, scores, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]graph.NodeID{4, 5, 6}, p.Removed); d != "" {
			t.Error(d)
		}
		if r := p.Reached.FLOPs; r < 0.6 || r > 0.6+0.05 {
			t.Errorf("removed %v of the FLOPs, want 0.6", r)
		}
		if _, cut := p.Keep[7]; cut != (skip == nil) {
			t.Errorf("skip %v: layer 7 keeps %v", skip, p.Keep[7])
		}
		if len(groups) != len(scores.Values) || p.Strategy != "greedy" || !slices.Equal(p.Skip, skip) || p.Target.Ratio != 0.6 {
			t.Errorf("%d groups, %d scores, plan %+v", len(groups), len(scores.Values), p)
		}
	}
	o := Defaults(Target{FLOPs, 0.1})
	if _, _, _, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o); err == nil || !strings.Contains(err.Error(), "target.flops: the blocks alone remove 0.2162, no less than the 0.1 asked for") {
		t.Errorf("got %v", err)
	}
	o.Target.Ratio = 1.4
	if _, _, _, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o); err == nil || !strings.Contains(err.Error(), "1.4 is not in (0, 1)") {
		t.Errorf("got %v", err)
	}
}

// What was measured of layer 7 decides there, though it is layer 4 of the rest.
func TestBlocksMoveEvidence(t *testing.T) {
	g := twoBlocks()
	e := &importance.Evidence{MeanAbs: map[graph.NodeID][]float32{}}
	for _, n := range g.Convs() {
		e.MeanAbs[n.ID] = slices.Repeat([]float32{9}, n.Conv().Filters)
	}
	e.MeanAbs[7] = []float32{9, 1, 9, 2, 9, 3, 9, 9}
	o := Defaults(Target{Channels, 15. / 40}) // 12 with the block, 3 of layer 7
	o.Criterion, o.Strategy, o.Align, o.Evidence = "response", "global", 1, e
	p, _, _, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Keep{7: {0, 2, 4, 6, 7}}, p.Keep); d != "" {
		t.Error(d)
	}
}

// Every filter takes 1/8 ms: of 46 there are, 12 go with the block, and at least 11
// more for half of the time.
func TestBlocksAndLatency(t *testing.T) {
	g := twoBlocks()
	grid := Grid{In: []int{1}, Out: []int{1, 8}, MS: [][]float64{{.125, 1}}}
	lat := &Latency{Scale: 1, Layers: map[graph.NodeID]Grid{}}
	for _, n := range g.Convs() {
		lat.Layers[n.ID] = grid
	}
	o := Defaults(Target{Time, .5})
	o.Align, o.Latency, o.Strategy = 1, lat, "uniform"
	p, _, _, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, n := range g.Convs() {
		if !slices.Contains(p.Removed, n.ID) {
			left += len(p.Kept(n))
		}
	}
	if want := 1 - float64(left)/46; math.Abs(p.Reached.Latency-want) > 1e-12 || want < .5 {
		t.Errorf("latency: reached %v, want %v", p.Reached.Latency, want)
	}
	o.Strategy, o.Target, o.Layers = "layers", Target{}, map[string]float64{"0": .5}
	if _, _, _, err := MakeWithBlocks(g, BlockOptions{Count: 1}, o); err == nil || !strings.Contains(err.Error(), "ratios by layer have no target") {
		t.Errorf("got %v", err)
	}
}

func TestRemovedPlanIsData(t *testing.T) {
	g := twoBlocks()
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Decode("plan.json", strings.NewReader(`{"removed": [1, 2, 3], "keep": {"4": [0, 2, 3]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Complete(g, groups); err != nil {
		t.Fatal(err)
	}
	// Of the 1480, 320 go with the block, and a quarter of layers 4 and 5.
	if want := 400. / 1480; math.Abs(p.Reached.FLOPs-want) > 1e-12 {
		t.Errorf("removed %v, want %v", p.Reached.FLOPs, want)
	}
	// 40 filters may be cut, of which 12 go with the block and 1 of layer 4.
	if before, after, err := p.Count(g, groups); before != 40 || after != 27 || err != nil {
		t.Errorf("%d filters of %d, %v", after, before, err)
	}
	rows, err := p.Table(g, groups)
	if err != nil {
		t.Fatal(err)
	}
	var after []int
	for _, r := range rows {
		after = append(after, r.After)
	}
	if d := cmp.Diff([]int{8, 0, 0, 0, 3, 8, 8, 8, 6, 6}, after); d != "" {
		t.Error(d)
	}
	if rows[2].Before != 8 || rows[2].MACsBefore != 288*16 || rows[2].MACsAfter != 0 || rows[8].Protected == "" {
		t.Errorf("rows %+v and %+v", rows[2], rows[8])
	}
	var text bytes.Buffer
	if err := Encode(&text, p); err != nil {
		t.Fatal(err)
	}
	back, err := Decode("plan.json", &text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, back, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if _, err := p.Masks(g, groups); err == nil {
		t.Error("masks of the whole network's groups are no use for the rest")
	}
}

func TestRemovedPlanRefused(t *testing.T) {
	g := twoBlocks()
	for _, c := range []struct{ plan, want string }{
		{`{"removed": [1, 2], "keep": {}}`, "removed: layer 1 (convolutional) can not be taken out with the others that are listed: list a whole block, such as the residual of layers 1-3"},
		{`{"removed": [8], "keep": {}}`, "removed: layer 8 (convolutional) can not be taken out"},
		{`{"removed": [1, 2, 3], "keep": {"2": [0]}}`, "keep: layer 2 is removed as a whole"},
		{`{"removed": [1, 2, 3], "keep": {"12": [0]}}`, "keep: layer 12: the network has layers 0-9"},
		{`{"removed": [1, 2, 3], "keep": {"0": [0, 1]}}`, "with the layers numbered as they are without the removed ones: "},
		{`{"removed": [7], "filters": {"0": 8}, "keep": {}}`, "the plan is for another network"},
	} {
		p, err := Decode("plan.json", strings.NewReader(c.plan))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(g, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.plan, err, c.want)
		}
	}
}

// What the plan says it removes is what the network loses.
func TestReachedOfBlocks(t *testing.T) {
	g := twoBlocks()
	p, err := MakeBlocks(g, BlockOptions{Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Reduce(g)
	if err != nil {
		t.Fatal(err)
	}
	full, rest := cost.Of(g), cost.Of(r.Rest)
	want := Ratios{1 - float64(rest.FLOPs())/float64(full.FLOPs()), 1 - float64(rest.Params())/float64(full.Params()), 24. / 40,
		1 - float64(rest.WeightsFileBytes())/float64(full.WeightsFileBytes()), 0}
	if d := cmp.Diff(want, *p.Reached, cmpopts.EquateApprox(0, 1e-12)); d != "" {
		t.Error(d)
	}
}
