package surgery

import (
	"fmt"
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/graph"
)

// RemoveBlocks returns g without the blocks, which are some of
// depgraph.Blocks(g) that share no layer. g is not changed, and shares no memory
// with the result.
//
// With another Fold than None the layers behind a block keep the mean of what they
// read: of the difference between what the block gives and what stands for it,
// the constant part is folded into their batch norm or bias, as for a removed
// channel. A residual block whose last gamma is zero then goes without a trace
// but at padded borders.
func RemoveBlocks(g *graph.Graph, blocks []depgraph.Block, o Options) (*graph.Graph, error) {
	return Remove(g, depgraph.Layers(blocks), o)
}

// Remove is RemoveBlocks for the layers of whole blocks, in ascending order.
func Remove(g *graph.Graph, layers []graph.NodeID, o Options) (*graph.Graph, error) {
	if len(layers) == 0 {
		return nil, fmt.Errorf("no layer is to be removed")
	}
	r, _, err := reduce(g, &plan.Plan{Version: plan.Version, Removed: layers}, o)
	if err != nil {
		return nil, err
	}
	return r.Rest.Clone(), nil
}

// applyRemoved is Apply for a plan that removes layers: these go first.
func applyRemoved(g *graph.Graph, p *plan.Plan, o Options) (*graph.Graph, error) {
	r, missing, err := reduce(g, p, o)
	if err != nil {
		return nil, err
	}
	if !r.Plan.Cuts(r.Rest) {
		if err := p.Validate(g, nil); err != nil {
			return nil, err
		}
		return r.Rest.Clone(), nil
	}
	out, err := Apply(r.Rest, r.Plan, o.reduced(r.To, missing))
	if err != nil {
		return nil, fmt.Errorf("with the layers numbered as they are without the removed ones: %w", err)
	}
	return out, nil
}

// reduced gives the means the layers' new numbers, less what is missing of them.
func (o Options) reduced(to map[graph.NodeID]graph.NodeID, missing constantsByNode) Options {
	if o.Fold != Measured {
		return o
	}
	means := map[graph.NodeID][]float32{}
	for id, m := range o.Means {
		now, ok := to[id]
		if !ok {
			continue
		}
		means[now] = slices.Clone(m)
		for c, v := range missing[id] {
			means[now][c] = float32(float64(m[c]) - v)
		}
	}
	o.Means = means
	return o
}

// reduce takes the layers out of g and folds what they contributed. Kernels are
// shared with g. missing is that of missingConstants.
func reduce(g *graph.Graph, p *plan.Plan, o Options) (r *plan.Reduction, missing constantsByNode, err error) {
	if err := o.complete(g); err != nil {
		return nil, nil, err
	}
	if err := g.CheckWeights(); err != nil {
		return nil, nil, err
	}
	if r, err = p.Reduce(g); err != nil {
		return nil, nil, err
	}
	missing = missingConstants(g, r.Blocks, o)
	for owner, users := range usersOfWeights(g) {
		users = slices.DeleteFunc(users, func(n *graph.Node) bool { _, stays := r.To[n.ID]; return !stays })
		if len(users) > 0 && missing != nil {
			r.Rest.Nodes[r.To[owner]].Weights = shifted(g, users, missing)
		}
	}
	r.Rest.LinkShared()
	return r, missing, r.Rest.CheckWeights()
}

// missingConstants returns, by node and channel, how much lower the mean of a
// layer's output is when each block passes on what it reads; nil for Fold None.
// A convolution makes up for what it misses, so nothing is missing behind it. What
// another layer misses is estimated from its inputs on both sides, since a measured
// mean is not what combine makes of theirs, even where nothing is missing.
func missingConstants(g *graph.Graph, blocks []depgraph.Block, o Options) constantsByNode {
	if o.Fold == None {
		return nil
	}
	alive, entry := channels{}, map[graph.NodeID]graph.NodeID{}
	for _, n := range g.Nodes {
		alive[n.ID] = slices.Repeat([]bool{true}, n.Out.C)
	}
	for _, b := range blocks {
		entry[b.Exit()] = b.Entry
		for _, id := range b.Layers {
			clear(alive[id])
		}
	}
	with := constants(g, alive, o)
	without := constantsByNode{graph.Input: with[graph.Input]}
	missing := constantsByNode{graph.Input: make([]float64, g.Net.Channels)}
	for _, n := range g.Nodes {
		full, rest := with[n.ID], with[n.ID]
		if from, taken := entry[n.ID]; taken {
			rest = without[from]
		} else if n.Conv() == nil {
			full, rest = with.combine(g, n), without.combine(g, n)
		}
		missing[n.ID] = minus(full, rest)
		without[n.ID] = minus(with[n.ID], missing[n.ID])
	}
	return missing
}

func minus(a, b []float64) []float64 {
	d := make([]float64, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return d
}

// shifted returns weights that make up for the constants which the inputs of their
// users miss. The kernel, and all where nothing is missing, is shared.
func shifted(g *graph.Graph, users []*graph.Node, missing constantsByNode) *graph.Weights {
	old := users[0].Weights
	misses := func(n *graph.Node) bool {
		return slices.ContainsFunc(missing[n.Inputs[0]], func(v float64) bool { return v != 0 })
	}
	if !slices.ContainsFunc(users, misses) {
		return old
	}
	w := *old
	w.Bias, w.Mean = slices.Clone(old.Bias), slices.Clone(old.Mean)
	all := slices.Repeat([]bool{true}, len(w.Bias))
	shift := contributions(g, users, all, func(in graph.NodeID) ([]bool, []float64) {
		return make([]bool, len(missing[in])), missing[in]
	})
	for f, s := range shift {
		if w.Gamma != nil {
			w.Mean[f] = float32(float64(old.Mean[f]) - s)
		} else {
			w.Bias[f] = float32(float64(old.Bias[f]) + s)
		}
	}
	return &w
}

// maskRemoved is Mask for a plan that removes layers. The branch of a residual
// block becomes zero. What a run would have to become, the identity, its
// activation does not allow.
func maskRemoved(g *graph.Graph, p *plan.Plan) (*graph.Graph, error) {
	r, _, err := reduce(g, p, Options{Fold: None})
	if err != nil {
		return nil, err
	}
	if err := p.Validate(g, nil); err != nil {
		return nil, err
	}
	alive := aliveChannels(r.Rest, r.Plan)
	if err := canMask(r.Rest, alive); err != nil {
		return nil, err
	}
	out := g.Clone()
	for _, n := range out.Convs() {
		if to, ok := r.To[n.ID]; ok {
			maskFilters(n, alive[to])
		}
	}
	for _, b := range r.Blocks {
		if err := maskBlock(out, b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maskBlock makes a residual block's branch zero.
func maskBlock(g *graph.Graph, b depgraph.Block) error {
	linear := activationOf(g.Nodes[b.Exit()]) == graph.Linear
	logistic := slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return activationOf(g.Nodes[id]) == graph.Logistic })
	if b.Kind != depgraph.Residual || !linear || logistic {
		return fmt.Errorf("%v: it can not be masked, only cut: no weights make it pass on what it reads", b)
	}
	for _, n := range plan.Makers(g, b) {
		if err := usedInside(g, b, n); err != nil {
			return err
		}
		maskFilters(n, make([]bool, n.Conv().Filters))
	}
	return nil
}

// usedInside says whether only layers of the block use n's weights, so that they
// can be made zero.
func usedInside(g *graph.Graph, b depgraph.Block, n *graph.Node) error {
	for _, u := range g.Convs() {
		if g.Owner(u) == g.Owner(n) && !slices.Contains(b.Layers, u.ID) {
			return fmt.Errorf("%v: it can not be masked, only cut: layer %d uses the weights of layer %d too", b, u.ID, n.ID)
		}
	}
	return nil
}

// maskFilters makes those filters zero that are not alive.
func maskFilters(n *graph.Node, alive []bool) {
	for f, a := range alive {
		if !a {
			maskFilter(n, f)
		}
	}
}
