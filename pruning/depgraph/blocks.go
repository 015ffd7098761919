package depgraph

import (
	"cmp"
	"fmt"
	"slices"

	"yoloprune/yolo/graph"
)

// BlockKind says what a Block is.
type BlockKind string

// A Residual is a shortcut and the branch that it adds to its entry; without
// them the entry passes as it is, which is what a branch of zeros leaves. A Run
// is a chain of convolutions outside of residual blocks that gives back the shape
// that it reads, most often a single one; it has no such value at which nothing
// changes.
const (
	Residual BlockKind = "residual"
	Run      BlockKind = "run"
)

// Block is a set of layers that can be taken out whole: those that read its last
// layer read Entry instead, which has the same shape.
type Block struct {
	Kind   BlockKind      `json:"kind"`
	Layers []graph.NodeID `json:"layers"` // ascending; only the last is read by others
	Entry  graph.NodeID   `json:"entry"`  // the layer that stands for them
	Note   string         `json:"note,omitempty"`
}

// Exit is the layer that others read.
func (b Block) Exit() graph.NodeID { return b.Layers[len(b.Layers)-1] }

func (b Block) String() string {
	ids := make([]int, len(b.Layers))
	for i, id := range b.Layers {
		ids[i] = int(id)
	}
	word := "layers"
	if len(ids) == 1 {
		word = "layer"
	}
	s := fmt.Sprintf("%s of %s %s, for which layer %d stands", b.Kind, word, ranges(ids), b.Entry)
	if b.Note != "" {
		s += "; " + b.Note
	}
	return s
}

// Blocks lists what can be taken out of g whole, in the order of the first
// layers, larger blocks first; blocks may overlap and a residual block may lie in
// another. Any that share no layer can go together. Shapes must have been
// inferred.
//
// A head's filters, a training loss and what an option names are in no block,
// and neither is what the image alone would stand for, which no cfg can name. A
// convolution whose weights others use is in one only together with all of them.
func Blocks(g *graph.Graph) []Block {
	f := finder{g, g.Consumers(), g.Sharers(), map[graph.NodeID]bool{}}
	for _, n := range g.Nodes {
		for _, m := range n.Mentions {
			f.named[m.Layer] = true
		}
	}
	var out []Block
	branch := map[graph.NodeID]bool{}
	for _, n := range g.Nodes {
		if b, ok := f.residual(n); ok {
			out = append(out, b)
			for _, id := range b.Layers {
				branch[id] = true
			}
		}
	}
	for _, n := range g.Nodes {
		if b, ok := f.run(n); ok && !slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return branch[id] }) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b Block) int {
		return cmp.Or(cmp.Compare(a.Layers[0], b.Layers[0]), cmp.Compare(len(b.Layers), len(a.Layers)))
	})
	return out
}

type finder struct {
	g       *graph.Graph
	read    map[graph.NodeID][]graph.NodeID
	sharers map[graph.NodeID][]*graph.Node
	named   map[graph.NodeID]bool
}

// free says whether the block's layers may go.
func (f finder) free(b Block) bool {
	return b.Entry != graph.Input && f.g.ShapeOf(b.Entry) == f.g.ShapeOf(b.Exit()) && !f.reachesHead(b.Exit()) &&
		!slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return f.named[id] || f.lendsOutside(b, id) })
}

// lendsOutside says whether a layer that is not in the block uses the weights of
// one that is.
func (f finder) lendsOutside(b Block, id graph.NodeID) bool {
	return slices.ContainsFunc(f.sharers[id], func(n *graph.Node) bool { return !slices.Contains(b.Layers, n.ID) })
}

// reachesHead says whether a head or a loss reads the layer's channels as they
// are, perhaps through layers that make no new ones.
func (f finder) reachesHead(id graph.NodeID) bool {
	return slices.ContainsFunc(f.read[id], func(by graph.NodeID) bool {
		switch f.g.Nodes[by].Op.(type) {
		case *graph.Conv:
			return false
		case *graph.Yolo, *graph.Contrastive:
			return true
		}
		return f.reachesHead(by)
	})
}

// residual returns the block that ends with a shortcut of two layers without
// weights, one of which convolutions make from the other.
func (f finder) residual(n *graph.Node) (Block, bool) {
	o, ok := n.Op.(*graph.Shortcut)
	if !ok || len(n.Inputs) != 2 || o.Scaling != graph.NoScaling {
		return Block{}, false
	}
	for i, entry := range n.Inputs {
		layers, ok := f.branch(n.Inputs[1-i], entry, n.ID)
		if !ok || f.passes(n.Inputs[1-i], entry) {
			continue
		}
		b := Block{Kind: Residual, Layers: append(layers, n.ID), Entry: entry}
		if o.Activation != graph.Linear {
			b.Note = fmt.Sprintf("the %s behind the sum goes too", o.Activation)
		}
		if f.free(b) {
			return b, true
		}
	}
	return Block{}, false
}

// branch lists the layers that lead from entry to end, if they read nothing
// else and, but for end by sum, nobody else reads them.
func (f finder) branch(end, entry, sum graph.NodeID) ([]graph.NodeID, bool) {
	if end <= entry {
		return nil, false
	}
	inside := map[graph.NodeID]bool{end: true}
	for id := end; id > entry; id-- {
		if !inside[id] {
			continue
		}
		for _, in := range f.g.Nodes[id].Inputs {
			if in < entry {
				return nil, false
			}
			inside[in] = true
		}
	}
	delete(inside, entry)
	var layers []graph.NodeID
	for id := entry + 1; id <= end; id++ {
		if !inside[id] {
			continue
		}
		for _, by := range f.read[id] {
			if !inside[by] && by != sum {
				return nil, false
			}
		}
		layers = append(layers, id)
	}
	return layers, true
}

// passes says whether a layer gives some channels of entry as they are, past all
// convolutions, so that no weights make it zero.
func (f finder) passes(id, entry graph.NodeID) bool {
	if id == entry {
		return true
	}
	n := f.g.Nodes[id]
	switch n.Op.(type) {
	case *graph.Conv:
		return false
	case *graph.ScaleChannels:
		return f.passes(n.Inputs[1], entry)
	}
	return slices.ContainsFunc(n.Inputs, func(in graph.NodeID) bool { return f.passes(in, entry) })
}

// run returns the shortest chain of convolutions of stride 1 that ends with n
// and has read the shape that it gives back.
func (f finder) run(n *graph.Node) (Block, bool) {
	b := Block{Kind: Run}
	for id := n.ID; id != graph.Input; id = b.Entry {
		m := f.g.Nodes[id]
		if m.Conv() == nil || m.Conv().Stride != 1 || id != n.ID && len(f.read[id]) != 1 {
			break
		}
		b.Layers, b.Entry = append(b.Layers, id), m.Inputs[0]
		if f.g.ShapeOf(b.Entry) == n.Out {
			slices.Reverse(b.Layers)
			return b, f.free(b)
		}
	}
	return Block{}, false
}

// Overlaps says whether two blocks share a layer.
func (b Block) Overlaps(o Block) bool {
	return slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return slices.Contains(o.Layers, id) })
}

// Layers lists the layers of all blocks in ascending order.
func Layers(blocks []Block) []graph.NodeID {
	var out []graph.NodeID
	for _, b := range blocks {
		out = append(out, b.Layers...)
	}
	slices.Sort(out)
	return out
}

// Cover returns blocks of g that share no layer and have exactly the layers
// that are listed in ascending order.
func Cover(g *graph.Graph, layers []graph.NodeID) ([]Block, error) {
	left := map[graph.NodeID]bool{}
	for i, id := range layers {
		if id < 0 || int(id) >= len(g.Nodes) {
			return nil, fmt.Errorf("layer %d: the network has layers 0-%d", id, len(g.Nodes)-1)
		}
		if i > 0 && id <= layers[i-1] {
			return nil, fmt.Errorf("layer %d after %d: list them in ascending order, each once", id, layers[i-1])
		}
		left[id] = true
	}
	var out []Block
	for _, b := range Blocks(g) {
		if !slices.ContainsFunc(b.Layers, func(id graph.NodeID) bool { return !left[id] }) {
			out = append(out, b)
			for _, id := range b.Layers {
				delete(left, id)
			}
		}
	}
	for _, id := range layers {
		if left[id] {
			return nil, fmt.Errorf("%v can not be taken out with the others that are listed: %s", g.Nodes[id], coverHint(g, id))
		}
	}
	return out, nil
}

// coverHint names the smallest block that a layer is in.
func coverHint(g *graph.Graph, id graph.NodeID) string {
	var best *Block
	for _, b := range Blocks(g) {
		if slices.Contains(b.Layers, id) && (best == nil || len(b.Layers) < len(best.Layers)) {
			best = &b
		}
	}
	if best == nil {
		return "no block has it; a block is a shortcut with its branch, or convolutions that give back the shape that they read"
	}
	return "list a whole block, such as the " + best.String()
}

// TakeOut returns g without the blocks, which are some of Blocks(g) that share
// no layer, and the new number of every layer that stays. Layers are numbered
// anew; a route is put in where one would no longer read the layer before it, as
// all but routes do in a cfg. Weights are shared with g.
func TakeOut(g *graph.Graph, blocks []Block) (*graph.Graph, map[graph.NodeID]graph.NodeID, error) {
	t := taker{g: g, out: &graph.Graph{Net: g.Net, Source: g.Source}, gone: map[graph.NodeID]bool{},
		stands: map[graph.NodeID]graph.NodeID{}, to: map[graph.NodeID]graph.NodeID{}}
	t.out.Net.Options = slices.Clone(g.Net.Options)
	for _, b := range blocks {
		for _, id := range b.Layers {
			if t.gone[id] {
				return nil, nil, fmt.Errorf("layer %d stands in two of the blocks", id)
			}
			t.gone[id] = true
		}
		t.stands[b.Exit()] = b.Entry
	}
	for _, n := range g.Nodes {
		if !t.gone[n.ID] {
			if err := t.keep(n); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := t.mentions(); err != nil {
		return nil, nil, err
	}
	if err := t.owners(); err != nil {
		return nil, nil, err
	}
	if err := t.out.Infer(); err != nil {
		return nil, nil, fmt.Errorf("without the blocks the network does not fit together: %w", err)
	}
	return t.out, t.to, nil
}

// taker copies the layers that stay.
type taker struct {
	g, out *graph.Graph
	gone   map[graph.NodeID]bool
	stands map[graph.NodeID]graph.NodeID // by exit: the entry
	to     map[graph.NodeID]graph.NodeID // by old number
}

// now returns the new number of what stands for an old layer.
func (t taker) now(id graph.NodeID) (graph.NodeID, bool) {
	for t.gone[id] {
		entry, ok := t.stands[id]
		if !ok {
			return 0, false
		}
		id = entry
	}
	if id == graph.Input {
		return id, true
	}
	to, ok := t.to[id]
	return to, ok
}

func (t taker) keep(n *graph.Node) error {
	bare := *n
	bare.Weights = nil
	c := bare.Clone()
	c.Weights = n.Weights
	for i, in := range n.Inputs {
		now, ok := t.now(in)
		if !ok {
			return fmt.Errorf("%v reads layer %d, which would be gone", n, in)
		}
		c.Inputs[i] = now
	}
	c.ID = graph.NodeID(len(t.out.Nodes))
	_, isRoute := n.Op.(*graph.Route)
	if !isRoute && n.Inputs[0] == n.ID-1 && c.Inputs[0] != c.ID-1 {
		c.Inputs[0] = t.out.Add(&graph.Route{Groups: 1}, c.Inputs[0]).ID
		c.ID++
	}
	t.out.Nodes = append(t.out.Nodes, c)
	t.to[n.ID] = c.ID
	return nil
}

// mentions renumbers the layers that options name.
func (t taker) mentions() error {
	for _, n := range t.out.Nodes {
		for i, m := range n.Mentions {
			to, ok := t.to[m.Layer]
			if !ok {
				return fmt.Errorf("%v: %s names layer %d, which would be gone", n, m.Key, m.Layer)
			}
			n.Mentions[i].Layer = to
		}
	}
	return nil
}

// owners finds the convolutions again whose weights others use.
func (t taker) owners() error {
	for _, n := range t.g.Nodes {
		to, stays := t.to[n.ID]
		if !stays || !n.Shares() {
			continue
		}
		owner := t.g.Owner(n)
		at, ok := t.to[owner.ID]
		if !ok {
			return fmt.Errorf("%v uses the weights of layer %d, which would be gone", n, owner.ID)
		}
		t.out.Nodes[to].Conv().Back = int(to - at)
	}
	return nil
}
