package plan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// weightings fill a network with weights whose scores differ, are all equal, or
// are equal in pairs of filters.
var weightings = []struct {
	name string
	fill func(*graph.Graph)
}{
	{"random", func(*graph.Graph) {}},
	{"equal", equalWeights},
	{"pairs", equalPairs},
}

func equalWeights(g *graph.Graph) {
	for _, n := range g.Convs() {
		for _, v := range [][]float32{n.Weights.Kernel, n.Weights.Bias, n.Weights.Gamma, n.Weights.Mean, n.Weights.Var} {
			for i := range v {
				v[i] = 0.5
			}
		}
	}
}

// equalPairs makes filter 2i+1 of every convolution like 2i.
func equalPairs(g *graph.Graph) {
	for _, n := range g.Convs() {
		filters := n.Conv().Filters
		for _, v := range [][]float32{n.Weights.Kernel, n.Weights.Bias, n.Weights.Gamma, n.Weights.Mean, n.Weights.Var} {
			size := len(v) / filters
			for f := 1; f < filters && size > 0; f += 2 {
				copy(v[f*size:][:size], v[(f-1)*size:][:size])
			}
		}
	}
}

// targeted are the strategies that meet a target.
var targeted = slices.DeleteFunc(slices.Clone(Strategies), func(s string) bool { return s == "layers" })

// quickNetworks are what a short test cuts: small ones with ties of many kinds.
var quickNetworks = []string{
	"yolov3-tiny-prn.cfg", "yolov4-tiny.cfg", "enet-coco.cfg", "yolov7-tiny.cfg",
	"mobilenetv2-yolo-fastest-voc-v2.cfg", "yolo-fastest-1.1.cfg", "yoloface-50k.cfg",
}

// Every published cfg with a quarter of its filters and random weights, and every
// published model: whatever the strategy, the step and the ratio, and however
// the scores are tied, the numbers of filters are as asked for and fit together.
func TestPlansOfPublishedNetworks(t *testing.T) {
	cfgs, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "cfg"), "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "models"), "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) != 25 || len(models) != 10 {
		t.Errorf("%d cfgs and %d models, want 25 and 10", len(cfgs), len(models))
	}
	for _, cfg := range append(cfgs, models...) {
		t.Run(filepath.Base(cfg), func(t *testing.T) {
			if testing.Short() && !slices.Contains(quickNetworks, filepath.Base(cfg)) {
				t.Skip("takes seconds")
			}
			weights := ""
			if slices.Contains(models, cfg) {
				weights = strings.TrimSuffix(cfg, "cfg") + "weights"
			}
			g, _, err := darknet.Load(cfg, weights)
			if err == nil && weights == "" {
				g, err = graphtest.Narrow(g, 4, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkNetwork(t, g)
		})
	}
}

// checkNetwork makes plans of a network by every strategy, with every step.
func checkNetwork(t *testing.T, g *graph.Graph) {
	groups := build(t, g)
	rng := rand.New(rand.NewPCG(1, uint64(len(g.Nodes))))
	made := 0
	for turn, w := range weightings {
		w.fill(g)
		for k, strategy := range targeted {
			for i, align := range []int{1, 4, 8, 32} {
				if testing.Short() && i != (turn+k)%4 {
					continue
				}
				o := drawOptions(rng, g)
				o.Strategy, o.Align = strategy, align
				if strategy == "regular" {
					o.Align = max(2, align)
				}
				if makeChecked(t, w.name, g, groups, o) {
					made++
				}
			}
		}
	}
	t.Logf("%d plans", made)
	if made == 0 {
		t.Error("no plan could be made")
	}
}

func drawOptions(rng *rand.Rand, g *graph.Graph) Options {
	o := Defaults(Target{[]Quantity{FLOPs, Params, Channels}[rng.IntN(3)], 0.05 + 0.9*rng.Float64()})
	o.Floor = []float64{0, 0.1, 0.3}[rng.IntN(3)]
	switch convs := g.Convs(); rng.IntN(3) {
	case 0:
		o.Skip = []string{fmt.Sprint(convs[rng.IntN(len(convs))].ID)}
	case 1:
		o.Skip = []string{"shortcut"}
	}
	return o
}

// makeChecked makes a plan of the target or, where that is out of reach, of
// smaller ones, and says whether there is one.
func makeChecked(t *testing.T, name string, g *graph.Graph, groups []depgraph.Group, o Options) bool {
	t.Helper()
	for ; o.Target.Ratio > 0.005; o.Target.Ratio /= 2 {
		p, scores, err := Make(g, groups, o)
		if infeasible := (*InfeasibleError)(nil); errors.As(err, &infeasible) {
			continue
		}
		if err == nil {
			err = checkMade(g, groups, o, p, scores)
		}
		if err == nil && o.Align == 8 {
			err = sameAgain(g, groups, o, p)
		}
		if err != nil {
			t.Errorf("%s weights, %s, align %d, floor %v, skip %v, -%.3f %s: %v", name, o.Strategy, o.Align, o.Floor, o.Skip, o.Target.Ratio, o.Target.Quantity, err)
		}
		return err == nil
	}
	return false
}

func sameAgain(g *graph.Graph, groups []depgraph.Group, o Options, p *Plan) error {
	q, _, err := Make(g, groups, o)
	if err != nil {
		return err
	}
	var first, second bytes.Buffer
	if err := errors.Join(Encode(&first, p), Encode(&second, q)); err != nil {
		return err
	}
	if first.String() != second.String() {
		return fmt.Errorf("a second run makes another plan")
	}
	return nil
}

// The same for networks that are drawn, of odd numbers of filters and all ties.
func TestPlansOfRandomNetworks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.Random(t)
		groups := build(t, g)
		w := rapid.SampledFrom(weightings).Draw(t, "weights")
		w.fill(g)
		o := Defaults(Target{rapid.SampledFrom([]Quantity{FLOPs, Params, Channels}).Draw(t, "quantity"), rapid.Float64Range(0.01, 0.9).Draw(t, "ratio")})
		o.Strategy = rapid.SampledFrom(targeted).Draw(t, "strategy")
		o.Align = rapid.SampledFrom([]int{1, 4, 8, 32}).Draw(t, "align")
		if o.Strategy == "regular" {
			o.Align = max(2, o.Align)
		}
		o.Floor = rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(t, "floor")
		o.Skip = rapid.SampledFrom([][]string{nil, {"0"}, {"shortcut"}}).Draw(t, "skip")
		p, scores, err := Make(g, groups, o)
		if infeasible := (*InfeasibleError)(nil); errors.As(err, &infeasible) {
			return
		}
		if err == nil {
			err = checkMade(g, groups, o, p, scores)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// checkMade says what is wrong with a plan. It takes nothing from the plan but
// the filters that each convolution keeps.
func checkMade(g *graph.Graph, groups []depgraph.Group, o Options, p *Plan, scores importance.Scores) error {
	if len(p.Keep) == 0 {
		return errors.New("nothing is cut")
	}
	if r := p.Reached.Of(o.Target.Quantity); r < o.Target.Ratio-1e-12 {
		return fmt.Errorf("reached %v", r)
	}
	for _, n := range g.Convs() {
		if err := checkNumber(g, n, o, p); err != nil {
			return fmt.Errorf("%v of %d filters: %w", n, n.Conv().Filters, err)
		}
	}
	stays, err := inGroups(groups, p)
	if err != nil {
		return err
	}
	for i, gr := range groups {
		if err := checkParts(gr, stays[i], o); err != nil {
			return fmt.Errorf("%s: %w", gr.Name(), err)
		}
		if scores.Unscored[i] == "" && o.Strategy != "iterative" { // whose scores change after a channel has gone
			if err := bestStay(gr, stays[i], scores.Values[i]); err != nil {
				return fmt.Errorf("%s: %w", gr.Name(), err)
			}
		}
	}
	if err := checkSkipped(g, groups, stays, o.Skip); err != nil {
		return err
	}
	return checkShapes(g, groups, stays, p)
}

// checkNumber is about how many filters a convolution keeps.
func checkNumber(g *graph.Graph, n *graph.Node, o Options, p *Plan) error {
	keep, cut := p.Keep[n.ID]
	switch {
	case !cut:
		return nil
	case g.FeedsHead(n.ID):
		return errors.New("a head is cut")
	case len(keep) == 0 || len(keep) >= n.Conv().Filters:
		return fmt.Errorf("is listed, and keeps %d", len(keep))
	case len(keep)%o.Align != 0:
		return fmt.Errorf("keeps %d", len(keep))
	case float64(len(keep)) < o.Floor*float64(n.Conv().Filters)-1e-9:
		return fmt.Errorf("keeps %d, less than its floor", len(keep))
	}
	return nil
}

// inGroups says which channels of every group stay. All convolutions that hold a
// channel must agree.
func inGroups(groups []depgraph.Group, p *Plan) ([][]bool, error) {
	out := make([][]bool, len(groups))
	for i, gr := range groups {
		votes := make([]map[bool]bool, gr.Channels)
		out[i] = slices.Repeat([]bool{true}, gr.Channels)
		for ch := range votes {
			votes[ch] = map[bool]bool{}
			for _, m := range gr.Members {
				if m.IsFilters() && m.Map[ch] >= 0 {
					keep, cut := p.Keep[m.Node]
					out[i][ch] = !cut || slices.Contains(keep, m.Map[ch])
					votes[ch][out[i][ch]] = true
				}
			}
			if len(votes[ch]) > 1 {
				return nil, fmt.Errorf("%s: only some layers keep channel %d", gr.Name(), ch)
			}
		}
	}
	return out, nil
}

// checkParts is about the numbers kept that a group's layers require.
func checkParts(gr depgraph.Group, stays []bool, o Options) error {
	for _, b := range gr.Balances {
		n := countKept(b.Parts[0], stays)
		for _, part := range b.Parts {
			if countKept(part, stays) != n {
				return fmt.Errorf("a part keeps %d channels, another %d", countKept(part, stays), n)
			}
		}
		if b.Fixed != "" && n < b.Size() {
			return fmt.Errorf("%s, but it is cut", b.Fixed)
		}
		if n == 0 || float64(n) < o.Floor*float64(b.Size())-1e-9 {
			return fmt.Errorf("a part of %d keeps %d", b.Size(), n)
		}
	}
	for _, c := range gr.Constraints {
		for _, part := range c.Parts {
			if a, b := countKept(part, stays), countKept(c.Parts[0], stays); a != b {
				return fmt.Errorf("%s: one keeps %d, another %d", c.Why, a, b)
			}
		}
	}
	return nil
}

// bestStay says whether, in each part, no channel is cut for one of a lower
// score, or of the same score and a higher number.
func bestStay(gr depgraph.Group, stays []bool, scores []float64) error {
	for _, b := range gr.Balances {
		for _, part := range b.Parts {
			worst := -1
			for _, ch := range part {
				if stays[ch] && (worst < 0 || scores[ch] <= scores[worst]) {
					worst = ch
				}
			}
			for _, ch := range part {
				if !stays[ch] && (scores[ch] > scores[worst] || scores[ch] == scores[worst] && ch < worst) {
					return fmt.Errorf("channel %d of score %v is cut, and %d of score %v stays", ch, scores[ch], worst, scores[worst])
				}
			}
		}
	}
	return nil
}

// checkSkipped says whether a group with a skipped layer stays whole.
func checkSkipped(g *graph.Graph, groups []depgraph.Group, stays [][]bool, skip []string) error {
	for i, gr := range groups {
		for _, m := range gr.Members {
			if m.Side != depgraph.Out || m.Node == graph.Input {
				continue
			}
			named := slices.Contains(skip, fmt.Sprint(m.Node)) || slices.Contains(skip, g.Nodes[m.Node].Op.Kind())
			if named && slices.Contains(stays[i], false) {
				return fmt.Errorf("%s is cut, and %v is skipped", gr.Name(), g.Nodes[m.Node])
			}
		}
	}
	return nil
}

// checkShapes is about convolutions in groups, and then gives all convolutions
// their numbers of filters to see whether the shapes fit together.
func checkShapes(g *graph.Graph, groups []depgraph.Group, stays [][]bool, p *Plan) error {
	read := channelsRead(g, groups, stays)
	small := g.Clone()
	for _, n := range small.Convs() {
		c, in := n.Conv(), read[n.ID]
		if c.Groups > 1 {
			filters := slices.Repeat([]bool{false}, c.Filters)
			for _, f := range p.Kept(n) {
				filters[f] = true
			}
			left, err := groupsLeft(filters, in, c.Groups)
			if err != nil {
				return fmt.Errorf("%v: %w", n, err)
			}
			c.Groups = left
		}
		c.Filters = len(p.Kept(n))
		n.Weights = nil
	}
	return small.Infer()
}

// channelsRead says, by convolution, which of the channels that it reads stay.
func channelsRead(g *graph.Graph, groups []depgraph.Group, stays [][]bool) map[graph.NodeID][]bool {
	read := map[graph.NodeID][]bool{}
	for _, n := range g.Convs() {
		read[n.ID] = make([]bool, g.ShapeOf(n.Inputs[0]).C)
	}
	for i, gr := range groups {
		for _, m := range gr.Members {
			for ch, c := range m.Map {
				if v := read[m.Node]; v != nil && m.Side == depgraph.In && c >= 0 {
					v[c] = stays[i][ch]
				}
			}
		}
	}
	return read
}

// groupsLeft returns how many of a convolution's groups are left. A group goes
// only with all that it reads and makes; those that stay are alike.
func groupsLeft(filters, in []bool, groups int) (int, error) {
	left, reads, makes := 0, 0, 0
	for q := range groups {
		r := countTrue(in[q*len(in)/groups : (q+1)*len(in)/groups])
		m := countTrue(filters[q*len(filters)/groups : (q+1)*len(filters)/groups])
		if r == 0 && m == 0 {
			continue
		}
		if left > 0 && (r != reads || m != makes) || r == 0 || m == 0 {
			return 0, fmt.Errorf("group %d of %d reads %d and makes %d channels, others %d and %d", q, groups, r, m, reads, makes)
		}
		left, reads, makes = left+1, r, m
	}
	return left, nil
}

func countTrue(v []bool) int {
	n := 0
	for _, b := range v {
		if b {
			n++
		}
	}
	return n
}

// A depthwise convolution reads 64 channels of one layer and some of another, of
// which nothing can be cut in steps of 32. Where the sum of the two is no multiple
// of 32 without these, the 64 have to stay too.
func TestAlignAcrossConcatenation(t *testing.T) {
	for other, feasible := range map[int]bool{24: false, 32: true} {
		n := graphtest.New(1, 1, 1)
		n.Conv(graph.Input, 64, 1, 1, graph.Leaky)
		n.Conv(graph.Input, other, 1, 1, graph.Leaky)
		n.Conv(n.Route(0, 1), 64+other, 1, 64+other, graph.Leaky)
		n.Head(n.Last())
		g := n.Fill(1)
		groups := build(t, g)
		for _, strategy := range targeted {
			o := Defaults(Target{Channels, 0.2})
			o.Strategy, o.Align = strategy, 32
			p, scores, err := Make(g, groups, o)
			if infeasible := (*InfeasibleError)(nil); errors.As(err, &infeasible) && !feasible {
				continue
			}
			if err == nil {
				err = checkMade(g, groups, o, p, scores)
			}
			if err != nil {
				t.Errorf("64 and %d channels, %s: %v", other, strategy, err)
			}
		}
	}
}

// Three layers of 32 filters, all scores equal, in steps of 8: of layers that
// keep as much the lowest is cut first, and of its channels the last.
func TestTiesGoByLayer(t *testing.T) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 32, 1, 1, graph.Leaky)
	n.Conv(0, 32, 1, 1, graph.Leaky)
	n.Conv(1, 32, 1, 1, graph.Leaky)
	n.Head(2)
	g := n.Fill(1)
	equalWeights(g)
	for _, strategy := range targeted {
		if strategy == "iterative" { // goes by what a step saves
			continue
		}
		for steps, want := range []map[graph.NodeID]int{1: {0: 24}, 2: {0: 24, 1: 24}, 3: {0: 24, 1: 24, 2: 24}, 4: {0: 16, 1: 24, 2: 24}} {
			if steps == 0 {
				continue
			}
			o := Defaults(Target{Channels, float64(8*steps)/96 - 1e-9})
			o.Strategy, o.Criterion = strategy, "bn-scale"
			p, _, err := Make(g, build(t, g), o)
			if err != nil {
				t.Fatal(err)
			}
			for id := range graph.NodeID(3) {
				n, cut := want[id]
				if !cut {
					n = 32
				}
				if keep := p.Kept(g.Nodes[id]); !slices.Equal(keep, seq(n)) {
					t.Errorf("%s, %d steps: layer %d keeps %v, want the first %d", strategy, steps, id, keep, n)
				}
			}
		}
	}
}
