package surgery

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// drawBlocks picks some blocks that share no layer.
func drawBlocks(t *rapid.T, g *graph.Graph, kinds ...depgraph.BlockKind) []depgraph.Block {
	all := depgraph.Blocks(g)
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "blocks"), 0))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	some := rapid.IntRange(0, len(all)).Draw(t, "number")
	var out []depgraph.Block
	for _, b := range all {
		if len(out) < some && (len(kinds) == 0 || slices.Contains(kinds, b.Kind)) && !slices.ContainsFunc(out, b.Overlaps) {
			out = append(out, b)
		}
	}
	return out
}

// silenced returns g, with all its layers, made to compute what it should
// without the blocks, by weights where that is possible: the branch of a residual
// block becomes zero and the activation of its sum linear; a run of one
// convolution gets the kernel that is 1 where a filter meets its own channel and
// 0 elsewhere. Of a longer run, whose layers may be too narrow for that, the last
// becomes a route. Weights are shared no more.
func silenced(g *graph.Graph, blocks []depgraph.Block) *graph.Graph {
	g = unshared(g)
	for _, b := range blocks {
		exit := g.Nodes[b.Exit()]
		switch {
		case b.Kind == depgraph.Residual:
			exit.Op.(*graph.Shortcut).Activation = graph.Linear
			for _, n := range plan.Makers(g, b) {
				n.Conv().Activation = graph.Linear
				clear(n.Weights.Kernel)
				clear(n.Weights.Bias)
				clear(n.Weights.Gamma)
			}
		case len(b.Layers) == 1:
			becomeIdentity(exit)
		default:
			exit.Op, exit.Inputs, exit.Weights = &graph.Route{Groups: 1}, []graph.NodeID{b.Entry}, nil
		}
	}
	return g
}

func becomeIdentity(n *graph.Node) {
	c := n.Conv()
	c.BatchNorm, c.Activation = false, graph.Linear
	n.Weights = c.NewWeights(n.Out.C)
	per, centre := n.Out.C/c.Groups, c.Size*c.Size/2
	for f := range c.Filters {
		n.Weights.Kernel[(f*per+f%per)*c.Size*c.Size+centre] = 1
	}
}

// sameHeads says whether two networks compute the same.
func sameHeads(t fataler, what string, want, got *graph.Graph) {
	image := graphtest.Image(want, 5)
	a, b := graphtest.Heads(want, image), graphtest.Heads(got, image)
	if len(a) != len(b) {
		t.Fatal(what, ": other heads")
	}
	for i := range a {
		if d := graphtest.MaxDiff(a[i], b[i]); !(d < exact) {
			t.Fatal(fmt.Sprintf("%s: head %d differs by %g", what, i, d))
		}
	}
}

// checkRemoval removes the blocks and compares with the silenced network.
func checkRemoval(t fataler, g *graph.Graph, blocks []depgraph.Block) *graph.Graph {
	before := fingerprint(g)
	rest, err := RemoveBlocks(g, blocks, Options{Fold: None})
	if err != nil {
		t.Fatal(blocks, err)
	}
	if before != fingerprint(g) {
		t.Fatal("the network was edited in place")
	}
	routes := 0
	for _, n := range rest.Nodes {
		if n.Line == 0 && n.Op.Kind() == "route" {
			routes++
		}
	}
	if g.Source != "" && len(rest.Nodes) != len(g.Nodes)-len(depgraph.Layers(blocks))+routes {
		t.Fatal("layers", len(rest.Nodes), "of", len(g.Nodes), "without", depgraph.Layers(blocks))
	}
	sameHeads(t, fmt.Sprint(blocks), silenced(g, blocks), rest)
	return rest
}

// checkBoth removes the blocks and cuts a plan of the rest, in one plan, and
// compares with the silenced network whose channels are masked.
func checkBoth(t *rapid.T, g *graph.Graph, blocks []depgraph.Block) {
	rest, to, err := depgraph.TakeOut(g, blocks)
	if err != nil {
		t.Fatal(err)
	}
	q, ok := randomPlan(t, rest, drawAlign(t))
	if !ok {
		return
	}
	back := map[graph.NodeID]graph.NodeID{}
	for old, now := range to {
		back[now] = old
	}
	p := q.Renumber(back)
	p.Filters, p.Removed = nil, depgraph.Layers(blocks)
	got, err := Apply(g, p, Options{Fold: None})
	if err != nil {
		t.Fatal(err)
	}
	masked := silenced(g, blocks)
	for _, n := range masked.Convs() {
		if keep, ok := p.Keep[n.ID]; ok {
			for f := range n.Conv().Filters {
				if !slices.Contains(keep, f) {
					maskFilter(n, f)
				}
			}
		}
	}
	sameHeads(t, "blocks and channels", masked, got)
	if slices.ContainsFunc(blocks, func(b depgraph.Block) bool { return b.Kind == depgraph.Run || b.Note != "" }) {
		return
	}
	weights, err := Mask(g, p)
	if err != nil && strings.Contains(err.Error(), "uses the weights of") {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	sameHeads(t, "masked by weights alone", weights, got)
}

// checkOrders cuts a plan of the whole network and removes residual blocks, in
// either order. Without the fold the weights are the same. With it they are but
// for rounding, if each convolution that others read has a batch norm: of one
// without, the fold changes the bias, by which its mean is judged.
func checkOrders(t *rapid.T, g *graph.Graph, blocks []depgraph.Block, folds ...Fold) {
	p, ok := randomPlan(t, g, drawAlign(t))
	if !ok {
		return
	}
	_, to, err := depgraph.TakeOut(g, blocks)
	if err != nil {
		t.Fatal(err)
	}
	for _, fold := range folds {
		o := Options{Fold: fold}
		cut, err := Apply(g, p, o)
		if err != nil {
			t.Fatal(err)
		}
		first, err := RemoveBlocks(cut, blocks, o)
		if err != nil {
			t.Fatal(err)
		}
		last, err := RemoveBlocks(g, blocks, o)
		if err != nil {
			t.Fatal(err)
		}
		if q := p.Renumber(to); q.Cuts(last) {
			if last, err = Apply(last, q, o); err != nil {
				t.Fatal(err)
			}
		}
		tolerance := 1e-3
		if o.Fold == None {
			tolerance = 0
		}
		for i, n := range last.Nodes {
			if d := weightsDiffer(first.Nodes[i].Weights, n.Weights); !(d <= tolerance) {
				t.Fatal(fmt.Sprintf("fold %s, layer %d: cutting first gives weights that differ by %g from removing first", o.Fold, i, d))
			}
		}
	}
}

// weightsDiffer returns the largest difference, by the value where that is above
// one.
func weightsDiffer(a, b *graph.Weights) float64 {
	if a == nil || b == nil {
		return float64(a.Len() + b.Len())
	}
	x := slices.Concat(a.Kernel, a.Bias, a.Gamma, a.Mean, a.Var, a.Scale)
	y := slices.Concat(b.Kernel, b.Bias, b.Gamma, b.Mean, b.Var, b.Scale)
	if len(x) != len(y) {
		return math.Inf(1)
	}
	worst := 0.0
	for i, v := range x {
		worst = max(worst, math.Abs(float64(v-y[i]))/max(1, math.Abs(float64(v))))
	}
	return worst
}

func TestRemovingEqualsSilencing(t *testing.T) {
	kinds := map[depgraph.BlockKind]int{}
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.RandomSharing(t)
		if blocks := drawBlocks(t, g); len(blocks) > 0 {
			checkRemoval(t, g, blocks)
			if !hasLogistic(g) {
				checkBoth(t, g, blocks)
			}
			for _, b := range blocks {
				kinds[b.Kind]++
			}
		}
		if blocks := drawBlocks(t, g, depgraph.Residual); len(blocks) > 0 {
			checkOrders(t, g, blocks, None)
		}
	})
	if kinds[depgraph.Run] == 0 {
		t.Errorf("removed %v", kinds)
	}
}

// hasLogistic says whether masked channels would not be zero.
func hasLogistic(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return activationOf(n) == graph.Logistic })
}

// Residual blocks in each other and one after the other, a leaky sum, and runs
// before and after them.
func TestRemovingEqualsSilencingByHand(t *testing.T) {
	n := graphtest.New(3, 6, 6)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	inner := n.Shortcut(n.Conv(n.Conv(0, 4, 1, 1, graph.Swish), 8, 3, 1, graph.Mish), 0)
	n.Shortcut(n.Conv(inner, 8, 3, 2, graph.Linear), 0)
	n.Shortcut(n.Conv(n.Route(n.Last()), 8, 3, 8, graph.Leaky), 5)
	n.Conv(n.Last(), 8, 3, 4, graph.Leaky)
	n.Conv(n.Last(), 12, 1, 1, graph.Leaky)
	n.Conv(n.Last(), 8, 3, 1, graph.Leaky)
	n.Head(n.Last())
	n.Head(n.Route(9, 8))
	g := n.Fill(1)
	rapid.Check(t, func(t *rapid.T) {
		if blocks := drawBlocks(t, g); len(blocks) > 0 {
			checkRemoval(t, g, blocks)
			checkBoth(t, g, blocks)
		}
		if blocks := drawBlocks(t, g, depgraph.Residual); len(blocks) > 0 {
			checkOrders(t, g, blocks, None, Expected)
		}
	})
}

// checkCfg encodes a network without some blocks, from the text that it was read
// from, and reads it back.
func checkCfg(t fataler, g *graph.Graph) {
	var text bytes.Buffer
	if err := darknet.Encode(&text, g); err != nil {
		t.Fatal(err)
	}
	back, _, err := darknet.Decode("cut.cfg", bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Options{cmpopts.IgnoreFields(graph.Node{}, "Weights", "Line", "Options"), cmpopts.EquateEmpty()}
	if d := cmp.Diff(g.Nodes, back.Nodes, same); d != "" {
		t.Fatal(d)
	}
}

// Every published cfg and model, over 64 x 64 images: cfgs with a quarter of the
// filters and random weights, models with their own.
func TestRemovingEqualsSilencingPublished(t *testing.T) {
	cfgs, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "cfg"), "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "models"), "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range append(cfgs, models...) {
		t.Run(filepath.Base(cfg), func(t *testing.T) {
			weights := ""
			if slices.Contains(models, cfg) {
				weights = strings.TrimSuffix(cfg, "cfg") + "weights"
			}
			g := loadSmall(t, cfg, weights, 64)
			if weights == "" {
				if g, err = graphtest.Narrow(g, 4, 1); err != nil {
					t.Fatal(err)
				}
			}
			if len(depgraph.Blocks(g)) == 0 {
				if base := filepath.Base(cfg); base != "yolov3-tiny.cfg" && base != "yolov3-tiny_3l.cfg" {
					t.Error("no blocks")
				}
				return
			}
			checkPublished(t, g)
		})
	}
}

func checkPublished(t *testing.T, g *graph.Graph) {
	draw := rapid.Custom(func(t *rapid.T) []depgraph.Block {
		blocks := drawBlocks(t, g)
		if len(blocks) == 0 {
			t.Skip("keeps all")
		}
		return blocks
	})
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		blocks := draw.Example(seed)
		checkCfg(t, checkRemoval(t, g, blocks))
		rapid.Custom(func(t *rapid.T) bool {
			checkBoth(t, g, blocks)
			if residual := drawBlocks(t, g, depgraph.Residual); len(residual) > 0 {
				checkOrders(t, g, residual, None, Expected)
			}
			return true
		}).Example(seed)
	}
}

// A residual block whose last gamma is zero adds act(beta), on every path that
// leads on from it: folded, nothing changes. Without the fold it does.
func TestFoldOfRemovedBlock(t *testing.T) {
	n := graphtest.New(3, 6, 6)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Shortcut(n.Conv(n.Conv(0, 4, 3, 1, graph.Swish), 8, 3, 1, graph.Mish), 0)
	n.Shortcut(n.Conv(n.Conv(3, 4, 1, 1, graph.Swish), 8, 3, 1, graph.Mish), 3)
	n.Conv(n.Route(n.MaxPool(6, 2, 2), n.MaxPool(0, 2, 2)), 8, 1, 1, graph.Leaky)
	n.Head(n.Last())
	n.Head(n.Upsample(7, 2))
	n.Head(6)
	g := n.Fill(1)
	clear(g.Nodes[2].Weights.Gamma)
	for _, c := range []struct {
		fold Fold
		same bool
	}{{None, false}, {Beta, true}, {Expected, true}, {Measured, true}} {
		image := graphtest.Image(g, 1)
		rest, err := Remove(g, []graph.NodeID{1, 2, 3}, Options{Fold: c.fold, Means: channelMeans(g, image)})
		if err != nil {
			t.Fatal(err)
		}
		a, b := graphtest.Heads(g, image), graphtest.Heads(rest, image)
		for i := range a {
			if d := graphtest.MaxDiff(a[i], b[i]); (d < 1e-5) != c.same {
				t.Errorf("fold %s: head %d differs by %g", c.fold, i, d)
			}
		}
	}
}

// The mean of a run's output is beta (linear), 5 and -1 here; for it stand the
// means 2 and 3 of what it reads. The head, which reads both with 1 and 10, keeps
// its mean: 5 - 10 = 2 + 30 + bias.
func TestFoldOfRemovedRun(t *testing.T) {
	n := graphtest.New(1, 4, 4)
	n.Conv(graph.Input, 2, 1, 1, graph.Linear)
	n.Conv(0, 2, 1, 1, graph.Linear)
	n.ConvOp(1, graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	g := n.Fill(1)
	copy(g.Nodes[0].Weights.Bias, []float32{2, 3})
	copy(g.Nodes[1].Weights.Bias, []float32{5, -1})
	g.Nodes[2].Weights = &graph.Weights{Kernel: []float32{1, 10}, Bias: []float32{0}}
	rest, err := Remove(g, []graph.NodeID{1}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]float32{-37}, rest.Nodes[1].Weights.Bias, cmpopts.EquateApprox(0, 1e-5)); d != "" {
		t.Error(d)
	}
	if g.Nodes[2].Weights.Bias[0] != 0 {
		t.Error("the network was edited in place")
	}
}

func TestRemoveRefuses(t *testing.T) {
	n := graphtest.New(3, 6, 6)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 8, 3, 1, graph.Leaky)
	n.Conv(1, 4, 3, 1, graph.Leaky)
	n.Head(2)
	g := n.Fill(1)
	bare := g.Clone()
	bare.Nodes[0].Weights = nil
	for _, c := range []struct {
		g      *graph.Graph
		layers []graph.NodeID
		o      Options
		want   string
	}{
		{g, nil, Options{}, "no layer is to be removed"},
		{g, []graph.NodeID{2}, Options{}, "removed: layer 2 (convolutional) can not be taken out"},
		{g, []graph.NodeID{1}, Options{Fold: "half"}, `fold: "half" is not known`},
		{bare, []graph.NodeID{1}, Options{}, "layer 0 (convolutional): has no weights"},
	} {
		if _, err := Remove(c.g, c.layers, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %s", c.layers, err, c.want)
		}
	}
	p := &plan.Plan{Version: plan.Version, Removed: []graph.NodeID{1}}
	if _, err := Mask(g, p); err == nil || !strings.Contains(err.Error(), "run of layer 1, for which layer 0 stands: it can not be masked") {
		t.Errorf("mask: %v", err)
	}
	p.Keep = plan.Keep{2: {0, 1}, 3: {0}}
	if _, err := Apply(g, p, Options{}); err == nil || !strings.Contains(err.Error(), "layer 3") {
		t.Errorf("head: %v", err)
	}
}
