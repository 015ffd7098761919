package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/yolo/graph"
)

// Reduction is a network without the layers that a plan removes.
type Reduction struct {
	Blocks []depgraph.Block              // what is taken out
	Rest   *graph.Graph                  // what is left; its weights are the whole network's
	To     map[graph.NodeID]graph.NodeID // the new numbers of the layers that stay
	Plan   *Plan                         // what is cut of the rest, with the new numbers
}

// Reduce takes the layers that the plan removes out of g.
func (p *Plan) Reduce(g *graph.Graph) (*Reduction, error) {
	if err := p.checkNetwork(g); err != nil {
		return nil, err
	}
	blocks, err := depgraph.Cover(g, p.Removed)
	if err != nil {
		return nil, fmt.Errorf("removed: %w", err)
	}
	for _, id := range p.Keep.layers() {
		if slices.Contains(p.Removed, id) {
			return nil, fmt.Errorf("keep: layer %d is removed as a whole: take it out of the one list or the other", id)
		}
		if id < 0 || int(id) >= len(g.Nodes) {
			return nil, fmt.Errorf("keep: layer %d: the network has layers 0-%d; take that one out", id, len(g.Nodes)-1)
		}
	}
	rest, to, err := depgraph.TakeOut(g, blocks)
	if err != nil {
		return nil, err
	}
	q := p.Renumber(to)
	q.Filters = nil // checked above
	return &Reduction{blocks, rest, to, q}, nil
}

// Renumber returns the plan for a network whose layers have the new numbers to,
// without what it says of layers that have none, and without its skip list, its
// ratios by layer and what it has reached, which are the other network's.
func (p *Plan) Renumber(to map[graph.NodeID]graph.NodeID) *Plan {
	q := *p
	q.Skip, q.Layers, q.Reached, q.Filters, q.Keep, q.Removed = nil, nil, nil, nil, Keep{}, nil
	for _, id := range p.Removed {
		if now, ok := to[id]; ok {
			q.Removed = append(q.Removed, now)
		}
	}
	for id, n := range p.Filters {
		if now, ok := to[id]; ok {
			if q.Filters == nil {
				q.Filters = Filters{}
			}
			q.Filters[now] = n
		}
	}
	for id, kept := range p.Keep {
		if now, ok := to[id]; ok {
			q.Keep[now] = slices.Clone(kept)
		}
	}
	return &q
}

// Cuts says whether the plan keeps fewer filters of some convolution than it has.
func (p *Plan) Cuts(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Convs(), func(n *graph.Node) bool {
		kept, ok := p.Keep[n.ID]
		return ok && len(kept) != n.Conv().Filters
	})
}

// masks returns the groups of what is left, and what is kept of them, which may
// be everything.
func (r *Reduction) masks() ([]depgraph.Group, [][]bool, error) {
	groups, err := depgraph.Build(r.Rest)
	if err != nil {
		return nil, nil, err
	}
	keep, err := r.Plan.masks(r.Rest, groups)
	if err != nil {
		return nil, nil, fmt.Errorf("with the layers numbered as they are without the removed ones: %w", err)
	}
	return groups, keep, nil
}

// reduceMasks validates a plan that removes layers.
func (p *Plan) reduceMasks(g *graph.Graph) (*Reduction, []depgraph.Group, [][]bool, error) {
	r, err := p.Reduce(g)
	if err != nil {
		return nil, nil, nil, err
	}
	groups, keep, err := r.masks()
	return r, groups, keep, err
}

// completeRemoved is Complete for a plan that removes layers.
func (p *Plan) completeRemoved(g *graph.Graph) error {
	r, groups, keep, err := p.reduceMasks(g)
	if err != nil {
		return err
	}
	full, err := fullOf(g, nil)
	if err != nil {
		return err
	}
	reached := leftOf(r.Rest, groups, keep, nil).ratios(full)
	p.Reached, p.Filters = &reached, filtersOf(g)
	return nil
}

// countRemoved is Count for a plan that removes layers.
func (p *Plan) countRemoved(g *graph.Graph) (before, after int64, err error) {
	_, groups, keep, err := p.reduceMasks(g)
	if err != nil {
		return 0, 0, err
	}
	full, err := fullOf(g, nil)
	after, _ = cuttable(groups, keep)
	return full.filters, after, err
}

func filtersOf(g *graph.Graph) Filters {
	f := Filters{}
	for _, n := range g.Convs() {
		f[n.ID] = n.Conv().Filters
	}
	return f
}

// fullOf counts a network of which nothing is cut.
func fullOf(g *graph.Graph, lat *Latency) (load, error) {
	groups, err := depgraph.Build(g)
	if err != nil {
		return load{}, err
	}
	return newModel(g, groups, lat).full, nil
}

// tableRemoved is Table for a plan that removes layers. A removed layer is left
// with no channels.
func (p *Plan) tableRemoved(g *graph.Graph, groups []depgraph.Group) ([]Row, error) {
	r, left, keep, err := p.reduceMasks(g)
	if err != nil {
		return nil, err
	}
	whole := make([][]bool, len(groups))
	for i, gr := range groups {
		whole[i] = slices.Repeat([]bool{true}, gr.Channels)
	}
	rows, after := tableRows(g, groups, whole), tableRows(r.Rest, left, keep)
	for i := range rows {
		a := Row{}
		if now, ok := r.To[graph.NodeID(i)]; ok {
			a = after[now]
		}
		rows[i].After, rows[i].MACsAfter, rows[i].ParamsAfter, rows[i].Protected = a.After, a.MACsAfter, a.ParamsAfter, a.Protected
	}
	return rows, nil
}

// BlockScores scores blocks; a larger score means: keep. It is the mean of
// |gamma| over the filters that make what the block adds, or gives: those of
// the convolution before a shortcut (as in tanluren's yolov3-channel-and-layer-
// pruning), and of the last convolution of a run. Filters without batch norm
// count with the L1 norm of their kernel.
//
// A residual block of score zero adds a constant, so that little is lost with
// it; a run of score zero gives a constant, which what it reads then stands for.
func BlockScores(g *graph.Graph, blocks []depgraph.Block) ([]float64, error) {
	if err := g.CheckWeights(); err != nil {
		return nil, err
	}
	scores := make([]float64, len(blocks))
	for i, b := range blocks {
		sum, filters := 0.0, 0
		for _, n := range Makers(g, b) {
			s, count := strength(n)
			sum, filters = sum+s, filters+count
		}
		if filters == 0 {
			return nil, fmt.Errorf("%v: no convolution makes what it gives, so it has no score", b)
		}
		scores[i] = sum / float64(filters)
		if math.IsNaN(scores[i]) || math.IsInf(scores[i], 0) {
			return nil, fmt.Errorf("%v: its score is %v: the weights hold NaN or infinity", b, scores[i])
		}
	}
	return scores, nil
}

// Makers lists the convolutions of a block whose filters its exit's channels
// are, through layers that make none.
func Makers(g *graph.Graph, b depgraph.Block) []*graph.Node {
	var found []*graph.Node
	seen := map[graph.NodeID]bool{}
	var follow func(graph.NodeID)
	follow = func(id graph.NodeID) {
		if seen[id] || !slices.Contains(b.Layers, id) {
			return
		}
		seen[id] = true
		n := g.Nodes[id]
		if n.Conv() != nil {
			found = append(found, n)
			return
		}
		if _, ok := n.Op.(*graph.ScaleChannels); ok {
			follow(n.Inputs[1])
			return
		}
		for _, in := range n.Inputs {
			follow(in)
		}
	}
	follow(b.Exit())
	return found
}

// strength sums |gamma|, or the L1 norms, of a convolution's filters.
func strength(n *graph.Node) (sum float64, filters int) {
	values := n.Weights.Gamma
	if values == nil {
		values = n.Weights.Kernel
	}
	for _, v := range values {
		sum += math.Abs(float64(v))
	}
	return sum, n.Conv().Filters
}

// BlockOptions say which blocks go: Count of them, or as many as reach Target.
type BlockOptions struct {
	Count  int
	Target *Target
	Kinds  []depgraph.BlockKind // which may go; all if empty
	Skip   []string             // as in Options: layers that stay
}

// blockQuantities are what whole blocks can be counted in.
var blockQuantities = []Quantity{FLOPs, Params, Channels, Bytes}

func (o BlockOptions) check() error {
	if (o.Count != 0) == (o.Target != nil) {
		return fmt.Errorf("blocks: want either a number of blocks or a target")
	}
	if o.Count < 0 {
		return fmt.Errorf("blocks: %d is not positive", o.Count)
	}
	if t := o.Target; t != nil && !slices.Contains(blockQuantities, t.Quantity) {
		return fmt.Errorf("target: %q is not known: use one of %v", t.Quantity, blockQuantities)
	}
	if t := o.Target; t != nil && !(t.Ratio > 0 && t.Ratio < 1) {
		return fmt.Errorf("%s: %v is not in (0, 1): it is the fraction to remove", t.key(), t.Ratio)
	}
	for _, k := range o.Kinds {
		if k != depgraph.Residual && k != depgraph.Run {
			return fmt.Errorf("blocks: kind %q is not known: use one of %v", k, []depgraph.BlockKind{depgraph.Residual, depgraph.Run})
		}
	}
	return nil
}

// LowestBlocks returns the n blocks of the lowest scores that share no layer,
// residual blocks before runs, which are dearer: nothing is learnt past a run.
func LowestBlocks(g *graph.Graph, n int) ([]depgraph.Block, error) {
	return chooseBlocks(g, BlockOptions{Count: n})
}

// MakeBlocks returns the plan that removes the blocks of the lowest scores, as
// LowestBlocks does. It keeps all filters of the other layers.
func MakeBlocks(g *graph.Graph, o BlockOptions) (*Plan, error) {
	blocks, err := chooseBlocks(g, o)
	if err != nil {
		return nil, err
	}
	p := &Plan{Version: Version, Removed: depgraph.Layers(blocks), Target: o.Target, Skip: slices.Clone(o.Skip), Keep: Keep{}}
	return p, p.completeRemoved(g)
}

// MakeWithBlocks removes blocks, and then cuts channels of what is left until
// the target of all of g is reached. The groups and their scores, which decided,
// are those of the network without the blocks, whose layers are numbered anew.
func MakeWithBlocks(g *graph.Graph, b BlockOptions, o Options) (*Plan, []depgraph.Group, importance.Scores, error) {
	fail := func(err error) (*Plan, []depgraph.Group, importance.Scores, error) {
		return nil, nil, importance.Scores{}, err
	}
	inner := o
	if err := inner.complete(); err != nil {
		return fail(err)
	}
	if o.Strategy == "layers" {
		return fail(fmt.Errorf("layers: ratios by layer have no target that blocks could count towards: use another strategy"))
	}
	blocks, err := chooseBlocks(g, b)
	if err != nil {
		return fail(err)
	}
	rest, to, err := depgraph.TakeOut(g, blocks)
	if err != nil {
		return fail(err)
	}
	groups, err := depgraph.Build(rest)
	if err != nil {
		return fail(err)
	}
	if inner.Skip, err = renumberSkip(g, to, o.Skip); err != nil {
		return fail(err)
	}
	inner.Latency, inner.Evidence = o.Latency.renumber(to), renumberEvidence(o.Evidence, to)
	full, err := fullOf(g, o.Latency)
	if err != nil {
		return fail(err)
	}
	lost := newModel(rest, groups, inner.Latency).full.ratios(full)
	gone := lost.Of(o.Target.Quantity)
	if gone >= o.Target.Ratio {
		return fail(fmt.Errorf("%s: the blocks alone remove %.4f, no less than the %v asked for: remove fewer blocks or cut no channels",
			o.Target.key(), gone, o.Target.Ratio))
	}
	inner.Target.Ratio = 1 - (1-o.Target.Ratio)/(1-gone) // of the rest: (1-R)*whole = (1-r)*(1-gone)*whole
	q, scores, err := Make(rest, groups, inner)
	if err != nil {
		return fail(fmt.Errorf("without the blocks: %w", err))
	}
	back := map[graph.NodeID]graph.NodeID{}
	for old, now := range to {
		back[now] = old
	}
	p := q.Renumber(back)
	p.Removed, p.Target, p.Skip = depgraph.Layers(blocks), &o.Target, slices.Clone(o.Skip)
	p.Filters = nil // of the rest only; now those of all
	if err := p.completeRemoved(g); err != nil {
		return fail(err)
	}
	p.Reached.Latency = 1 - (1-lost.Latency)*(1-q.Reached.Latency)
	return p, groups, scores, nil
}

// renumberSkip rewrites a skip list for the layers' new numbers; one that is
// gone needs no skipping.
func renumberSkip(g *graph.Graph, to map[graph.NodeID]graph.NodeID, entries []string) ([]string, error) {
	var out []string
	for _, e := range entries {
		ids, err := skipLayers(g, strings.TrimSpace(e))
		if err != nil {
			return nil, fmt.Errorf("skip: %q: %w", e, err)
		}
		for _, id := range ids {
			if now, ok := to[id]; ok {
				out = append(out, strconv.Itoa(int(now)))
			}
		}
	}
	return out, nil
}

// renumberEvidence returns what was measured of the layers that have a new number.
func renumberEvidence(e *importance.Evidence, to map[graph.NodeID]graph.NodeID) *importance.Evidence {
	if e == nil {
		return nil
	}
	moved := func(values map[graph.NodeID][]float32) map[graph.NodeID][]float32 {
		if values == nil {
			return nil
		}
		out := map[graph.NodeID][]float32{}
		for id, v := range values {
			if now, ok := to[id]; ok {
				out[now] = v
			}
		}
		return out
	}
	return &importance.Evidence{
		MeanAbs: moved(e.MeanAbs), Small: moved(e.Small),
		GateTaylor: moved(e.GateTaylor), WeightTaylor: moved(e.WeightTaylor), Hessian: moved(e.Hessian),
	}
}

// chooseBlocks takes blocks, the lowest scores first, until there are enough.
func chooseBlocks(g *graph.Graph, o BlockOptions) ([]depgraph.Block, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ranked, err := rankBlocks(g, o)
	if err != nil {
		return nil, err
	}
	full, err := fullOf(g, nil)
	if err != nil {
		return nil, err
	}
	var taken []depgraph.Block
	left, reached := full, 0.0
	for _, b := range ranked {
		if slices.ContainsFunc(taken, b.Overlaps) {
			continue
		}
		taken = append(taken, b)
		if o.Target == nil {
			if len(taken) == o.Count {
				return taken, nil
			}
			continue
		}
		left = left.without(g, b)
		if reached = left.ratios(full).Of(o.Target.Quantity); reached >= o.Target.Ratio {
			return taken, nil
		}
	}
	if o.Target != nil {
		return nil, &InfeasibleError{*o.Target, reached, fmt.Sprintf("there are %d blocks that can go together; cut channels as well", len(taken))}
	}
	return nil, fmt.Errorf("blocks: %d can not be removed: the network has %d that can go together", o.Count, len(taken))
}

// without takes off what a block's layers cost.
func (l load) without(g *graph.Graph, b depgraph.Block) load {
	for _, id := range b.Layers {
		n := g.Nodes[id]
		l = l.minus(loadOf(g, n, g.ShapeOf(n.Inputs[0]).C, n.Out.C, nil))
		if n.Conv() != nil {
			l.filters -= int64(n.Out.C)
		}
	}
	return l
}

// rankBlocks lists the blocks that may go, residual ones first, by their scores;
// equal ones stay in the order of the layers.
func rankBlocks(g *graph.Graph, o BlockOptions) ([]depgraph.Block, error) {
	stay := map[graph.NodeID]bool{}
	for _, e := range o.Skip {
		ids, err := skipLayers(g, strings.TrimSpace(e))
		if err != nil {
			return nil, fmt.Errorf("skip: %q: %w", e, err)
		}
		for _, id := range ids {
			stay[id] = true
		}
	}
	blocks := slices.DeleteFunc(depgraph.Blocks(g), func(b depgraph.Block) bool {
		return len(o.Kinds) > 0 && !slices.Contains(o.Kinds, b.Kind) ||
			slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return stay[id] })
	})
	scores, err := BlockScores(g, blocks)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(blocks))
	for i := range order {
		order[i] = i
	}
	rank := map[depgraph.BlockKind]int{depgraph.Residual: 0, depgraph.Run: 1}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rank[blocks[a].Kind], rank[blocks[b].Kind]), cmp.Compare(scores[a], scores[b]))
	})
	ranked := make([]depgraph.Block, len(blocks))
	for i, k := range order {
		ranked[i] = blocks[k]
	}
	return ranked, nil
}
