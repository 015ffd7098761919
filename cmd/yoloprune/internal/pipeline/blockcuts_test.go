package pipeline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/graph"
)

// kind is what is removed, and in which order.
type kind int

const (
	channelsOnly  kind = iota
	blocksOnly         // random ones
	blocksFirst        // then channels of the network that is left, in one plan
	channelsFirst      // then blocks of the network that is left
	kinds
)

func (k kind) String() string {
	return [kinds]string{"channels", "blocks", "blocks then channels", "channels then blocks"}[k]
}

// removal is a plan, and the blocks that go: by the plan, or after it where
// channels go first.
type removal struct {
	kind   kind
	plan   *plan.Plan
	blocks []depgraph.Block
	how    string
}

func (r removal) String() string {
	text := r.kind.String()
	if r.how != "" {
		text += ", " + r.how
	}
	if n := len(r.blocks); n > 0 {
		text += fmt.Sprintf(", %d blocks of %d layers", n, len(depgraph.Layers(r.blocks)))
	}
	return text
}

// apply removes it from g.
func (r removal) apply(g *graph.Graph) (*graph.Graph, error) {
	o := surgery.Options{Fold: surgery.None}
	cut, err := surgery.Apply(g, r.plan, o)
	if err == nil && r.kind == channelsFirst {
		cut, err = surgery.RemoveBlocks(cut, r.blocks, o)
	}
	return cut, err
}

// masked returns networks that have all of g's layers and compute what the cut
// one should.
func (s subject) masked(g *graph.Graph, r removal) ([]*graph.Graph, error) {
	var out []*graph.Graph
	if len(r.blocks) > 0 {
		m, err := s.bypassed(g, r)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	if r.kind == channelsFirst || slices.ContainsFunc(r.blocks, needsMoreThanWeights) {
		return out, nil
	}
	m, err := surgery.Mask(g, r.plan)
	return append(out, m), err
}

// needsMoreThanWeights says whether no weights make the block pass on what it
// reads.
func needsMoreThanWeights(b depgraph.Block) bool { return b.Kind == depgraph.Run || b.Note != "" }

// bypassed returns g, no layer of which changes its number, with the plan's
// channels silent. So is all of a residual block but its sum, which becomes
// linear; the last layer of a run becomes a convolution that copies what stands
// for the run.
func (s subject) bypassed(g *graph.Graph, r removal) (*graph.Graph, error) {
	g = g.Clone()
	for id, keep := range r.plan.Keep {
		silence(g.Nodes[id], keep)
	}
	for _, b := range r.blocks {
		exit := g.Nodes[b.Exit()]
		if sum, ok := exit.Op.(*graph.Shortcut); ok {
			sum.Activation = graph.Linear
			for _, id := range b.Layers {
				silence(g.Nodes[id], nil)
			}
			continue
		}
		from, err := s.left(b.Entry, r)
		if err != nil {
			return nil, err
		}
		to, err := s.left(b.Exit(), r)
		if err != nil {
			return nil, err
		}
		copies(exit, b.Entry, g.ShapeOf(b.Entry).C, from, to)
	}
	return g, g.Infer()
}

// silence makes the filters of a convolution that are not kept zero.
func silence(n *graph.Node, keep []int) {
	if n.Conv() == nil {
		return
	}
	size := len(n.Weights.Kernel) / n.Conv().Filters
	for f := range n.Conv().Filters {
		if slices.Contains(keep, f) {
			continue
		}
		clear(n.Weights.Kernel[f*size:][:size])
		n.Weights.Bias[f] = 0
		if n.Conv().Activation == graph.Logistic {
			n.Weights.Bias[f] = -1000
		}
		if n.Weights.Gamma != nil {
			n.Weights.Gamma[f] = 0
		}
	}
}

// left lists the channels of a layer at the time when blocks are removed, by the
// numbers that they have before anything is.
func (s subject) left(id graph.NodeID, r removal) ([]int, error) {
	var out []int
	keep := make([][]bool, len(s.groups))
	for i, gr := range s.groups {
		keep[i] = slices.Repeat([]bool{true}, gr.Channels)
	}
	if r.kind == channelsFirst {
		var err error
		if keep, err = r.plan.Masks(s.g, s.groups); err != nil {
			return nil, err
		}
	}
	for i, gr := range s.groups {
		for _, m := range gr.Members {
			for ch, c := range m.Map {
				if m.Node == id && m.Side == depgraph.Out && c >= 0 && keep[i][ch] {
					out = append(out, c)
				}
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// copies makes of n a convolution whose channel to[i] is channel from[i] of
// entry, which has so many, and whose others are zero.
func copies(n *graph.Node, entry graph.NodeID, channels int, from, to []int) {
	c := &graph.Conv{Filters: n.Out.C, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear}
	n.Op, n.Inputs, n.Weights = c, []graph.NodeID{entry}, c.NewWeights(channels)
	for i, f := range to {
		n.Weights.Kernel[f*channels+from[i]] = 1
	}
}

// draw draws what to remove of the kind, or channels of a network that has no
// blocks; the channels of every third plan are a strategy's choice.
func (s subject) draw(t *testing.T, rng *rand.Rand, seed int, k kind) removal {
	t.Helper()
	if len(depgraph.Blocks(s.g)) == 0 {
		k = channelsOnly
	}
	switch k {
	case blocksOnly:
		return s.drawBlocks(t, rng)
	case blocksFirst:
		r := s.drawBlocks(t, rng)
		s.addChannels(t, rng, seed, &r)
		return r
	}
	r := removal{kind: channelsOnly}
	for range 4 { // of other numbers of channels the runs may be no runs any more
		r.plan, r.how = s.channels(t, rng, seed)
		if k == channelsFirst {
			s.addBlocks(t, rng, &r)
		}
		if r.kind == k {
			break
		}
	}
	return r
}

func (s subject) drawBlocks(t *testing.T, rng *rand.Rand) removal {
	t.Helper()
	r := removal{kind: blocksOnly, blocks: someBlocks(rng, s.g)}
	r.plan = &plan.Plan{Version: plan.Version, Removed: depgraph.Layers(r.blocks), Keep: plan.Keep{}}
	s.complete(t, r.plan)
	return r
}

func (s subject) complete(t *testing.T, p *plan.Plan) {
	t.Helper()
	if err := p.Complete(s.g, s.groups); err != nil {
		t.Fatal(err)
	}
}

// someBlocks draws blocks that share no layer.
func someBlocks(rng *rand.Rand, g *graph.Graph) []depgraph.Block {
	all := depgraph.Blocks(g)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	number := max(1, int(math.Round(ratio(rng)*float64(len(all)))))
	var out []depgraph.Block
	for _, b := range all {
		if len(out) < number && !slices.ContainsFunc(out, b.Overlaps) {
			out = append(out, b)
		}
	}
	return out
}

// addChannels cuts channels of the network without the blocks, in the same plan.
func (s subject) addChannels(t *testing.T, rng *rand.Rand, seed int, r *removal) {
	t.Helper()
	rest, to, err := depgraph.TakeOut(s.g, r.blocks)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := depgraph.Build(rest)
	if err != nil {
		t.Fatal(err)
	}
	p, how := subject{g: rest, groups: groups}.channels(t, rng, seed)
	back := map[graph.NodeID]graph.NodeID{}
	for old, now := range to {
		back[now] = old
	}
	removed := r.plan.Removed
	r.kind, r.how, r.plan = blocksFirst, how, p.Renumber(back)
	r.plan.Removed, r.plan.Filters = removed, nil
	s.complete(t, r.plan)
}

// addBlocks takes blocks out of the cut network, if there are any.
func (s subject) addBlocks(t *testing.T, rng *rand.Rand, r *removal) {
	t.Helper()
	cut, err := r.apply(s.g)
	if err != nil {
		t.Fatal(err)
	}
	if r.blocks = someBlocks(rng, cut); len(r.blocks) > 0 {
		r.kind = channelsFirst
	}
}

// counts are how many removals of each kind were tried, and passed.
type counts struct {
	tried, passed [kinds]int
	instead       int // removals of channels alone, there being no block to remove
	worst         differences
}

func (c *counts) add(o counts) {
	for k := range kinds {
		c.tried[k] += o.tried[k]
		c.passed[k] += o.passed[k]
	}
	c.instead += o.instead
	c.worst.include(o.worst)
}

func (c counts) String() string {
	var words []string
	tried, passed := 0, 0
	for k := range kinds {
		tried, passed = tried+c.tried[k], passed+c.passed[k]
		words = append(words, fmt.Sprintf("%d of %d %v", c.passed[k], c.tried[k], k))
	}
	if c.instead > 0 {
		words[channelsOnly] += fmt.Sprintf(" (%d where there are no blocks)", c.instead)
	}
	return fmt.Sprintf("%d of %d plans passed (%s), at worst %v", passed, tried, strings.Join(words, ", "), c.worst)
}

// allKinds fails where a kind was not tried.
func (c counts) allKinds(t *testing.T) {
	t.Helper()
	t.Log(c)
	for k := range kinds {
		if c.tried[k] == 0 {
			t.Errorf("no plan of kind %q was tried", k)
		}
	}
}

// everything counts all plans of the tests that are run.
var everything counts

func TestMain(m *testing.M) {
	code := m.Run()
	if everything.tried != [kinds]int{} {
		fmt.Println("cut networks:", everything)
	}
	os.Exit(code)
}
