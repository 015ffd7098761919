// Package plan decides which channels every layer keeps.
//
// A plan is data: it names, for every convolution that is cut, the filters
// that stay. It can be written by hand, checked against a network and applied
// to any weights of that network. Make finds one from scores and a budget.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// Version is the format of plan.json that this package writes.
const Version = 1

// Plan says what is kept.
type Plan struct {
	Version   int      `json:"version"`
	Criterion string   `json:"criterion,omitempty"`
	Combine   string   `json:"combine,omitempty"` // how tied layers' scores added up; empty for their sum
	Members   string   `json:"members,omitempty"` // how each layer's were normalised before; empty for not
	Seed      uint64   `json:"seed,omitempty"`    // of the criterion random and of the strategy search
	Strategy  string   `json:"strategy,omitempty"`
	Normalize string   `json:"normalize,omitempty"`
	Grain     string   `json:"grain,omitempty"` // filter; empty for channel
	Align     int      `json:"align,omitempty"`
	Floor     float64  `json:"floor,omitempty"`
	Skip      []string `json:"skip,omitempty"`
	Threshold float64  `json:"threshold,omitempty"`
	Target    *Target  `json:"target,omitempty"`
	// Layers are the fractions asked for by the strategy layers, as in Options.
	Layers  map[string]float64 `json:"layers,omitempty"`
	Reached *Ratios            `json:"reached,omitempty"`

	// Filters is the number of filters that every convolution has before the
	// cut; where it is not empty, it guards against another network's plan.
	Filters Filters `json:"filters,omitempty"`
	// Removed lists, in ascending order, the layers of whole blocks that go; see
	// depgraph.Blocks. What is kept of the others has to fit the network that is
	// left, in which other channels may be tied than in the whole one.
	Removed []graph.NodeID `json:"removed,omitempty"`
	// Keep lists, in ascending order, the filters that a convolution keeps; a
	// convolution that is not named keeps all.
	Keep Keep `json:"keep"`
}

// Filters maps convolutions to their number of filters.
type Filters map[graph.NodeID]int

// Keep maps convolutions to the filters that they keep.
type Keep map[graph.NodeID][]int

// Quantity is what a budget counts.
type Quantity string

// FLOPs counts multiply-adds of the convolutions, Params their kernels,
// biases, gamma and beta and the weights of shortcuts, Channels the filters of
// the convolutions that are not fixed by the network, Bytes the weights file, Time
// the predicted milliseconds of an inference.
const (
	FLOPs    Quantity = "flops"
	Params   Quantity = "params"
	Channels Quantity = "channels"
	Bytes    Quantity = "bytes"
	Time     Quantity = "latency"
)

// Quantities lists what a budget may count.
var Quantities = []Quantity{FLOPs, Params, Channels, Bytes, Time}

// Target is a budget: the fraction of Quantity that is removed.
type Target struct {
	Quantity Quantity `json:"quantity"`
	Ratio    float64  `json:"ratio"`
}

// key is what a configuration calls the target: of the channels it is "ratio".
func (t Target) key() string {
	if t.Quantity == Channels {
		return "target.ratio"
	}
	return "target." + string(t.Quantity)
}

// Ratios are the fractions removed.
type Ratios struct {
	FLOPs    float64 `json:"flops"`
	Params   float64 `json:"params"`
	Channels float64 `json:"channels"`
	Bytes    float64 `json:"bytes"`
	Latency  float64 `json:"latency,omitempty"` // as predicted
}

// Of returns the ratio of one quantity.
func (r Ratios) Of(q Quantity) float64 {
	switch q {
	case Params:
		return r.Params
	case Channels:
		return r.Channels
	case Bytes:
		return r.Bytes
	case Time:
		return r.Latency
	}
	return r.FLOPs
}

// New returns the plan that keeps channel i of group g where keep[g][i] is
// set. It is not validated.
func New(g *graph.Graph, groups []depgraph.Group, keep [][]bool) *Plan {
	p := &Plan{Version: Version, Filters: Filters{}, Keep: Keep{}}
	for _, n := range g.Convs() {
		p.Filters[n.ID] = n.Conv().Filters
	}
	for i, gr := range groups {
		if !slices.Contains(keep[i], false) {
			continue
		}
		for _, m := range gr.Members {
			if m.IsFilters() {
				p.Keep[m.Node] = append(p.Keep[m.Node], kept(m, keep[i])...)
			}
		}
	}
	for id, v := range p.Keep {
		slices.Sort(v)
		if len(v) == p.Filters[id] {
			delete(p.Keep, id)
		}
	}
	reached := Reached(g, groups, keep)
	p.Reached = &reached
	return p
}

// kept lists the member's channels that stay.
func kept(m depgraph.Member, keep []bool) []int {
	var out []int
	for ch, c := range m.Map {
		if c >= 0 && keep[ch] {
			out = append(out, c)
		}
	}
	return out
}

// Complete validates a plan that was read, and fills in what the network says:
// the numbers of filters and the ratios removed.
func (p *Plan) Complete(g *graph.Graph, groups []depgraph.Group) error {
	if len(p.Removed) > 0 {
		return p.completeRemoved(g)
	}
	keep, err := p.Masks(g, groups)
	if err != nil {
		return err
	}
	reached := Reached(g, groups, keep)
	p.Reached, p.Filters = &reached, Filters{}
	for _, n := range g.Convs() {
		p.Filters[n.ID] = n.Conv().Filters
	}
	return nil
}

// Count returns how many filters that are not fixed by the network it has, and
// how many of them the plan leaves.
func (p *Plan) Count(g *graph.Graph, groups []depgraph.Group) (before, after int64, err error) {
	if len(p.Removed) > 0 {
		return p.countRemoved(g)
	}
	keep, err := p.Masks(g, groups)
	if err != nil {
		return 0, 0, err
	}
	after, before = cuttable(groups, keep)
	return before, after, nil
}

// SkipLayers lists the layers that entries of a skip list name.
func SkipLayers(g *graph.Graph, entries []string) ([]graph.NodeID, error) {
	var all []graph.NodeID
	for _, e := range entries {
		ids, err := skipLayers(g, strings.TrimSpace(e))
		if err != nil {
			return nil, fmt.Errorf("skip: %q: %w", e, err)
		}
		all = append(all, ids...)
	}
	return all, nil
}

// Kept lists the filters of a convolution that stay.
func (p *Plan) Kept(n *graph.Node) []int {
	if k, ok := p.Keep[n.ID]; ok {
		return k
	}
	all := make([]int, n.Conv().Filters)
	for i := range all {
		all[i] = i
	}
	return all
}

// Validate says whether the plan can be applied to g, whose groups are given.
func (p *Plan) Validate(g *graph.Graph, groups []depgraph.Group) error {
	if len(p.Removed) > 0 {
		_, _, _, err := p.reduceMasks(g)
		return err
	}
	_, err := p.Masks(g, groups)
	return err
}

// Masks validates the plan and returns it by group and channel. It refuses a
// plan for another network, one that splits a group, empties a layer, touches
// a head, unbalances slices, or removes nothing. Where it removes layers, the
// masks are those of the network that Reduce returns.
func (p *Plan) Masks(g *graph.Graph, groups []depgraph.Group) ([][]bool, error) {
	if len(p.Removed) > 0 {
		return nil, fmt.Errorf("the plan removes layers: reduce it and the network first")
	}
	masks, err := p.masks(g, groups)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(masks, func(m []bool) bool { return slices.Contains(m, false) }) {
		return nil, fmt.Errorf("the plan removes no channel: every convolution keeps all its filters")
	}
	return masks, nil
}

func (p *Plan) masks(g *graph.Graph, groups []depgraph.Group) ([][]bool, error) {
	if err := p.checkNetwork(g); err != nil {
		return nil, err
	}
	alive, err := p.alive(g, groups)
	if err != nil {
		return nil, err
	}
	masks := make([][]bool, len(groups))
	for i, gr := range groups {
		if masks[i], err = mask(gr, alive); err != nil {
			return nil, err
		}
		if err := checkGroup(gr, masks[i]); err != nil {
			return nil, err
		}
	}
	return masks, nil
}

func (p *Plan) checkNetwork(g *graph.Graph) error {
	if p.Version != Version {
		return fmt.Errorf("plan version %d: want %d", p.Version, Version)
	}
	if len(p.Filters) == 0 {
		return nil
	}
	for _, n := range g.Convs() {
		want, ok := p.Filters[n.ID]
		if !ok {
			return fmt.Errorf("%v is a convolution, but the plan's filters do not list it: the plan is for another network", n)
		}
		if want != n.Conv().Filters {
			return fmt.Errorf("%v has %d filters, the plan was made for %d: the plan is for another network", n, n.Conv().Filters, want)
		}
	}
	if len(p.Filters) != len(g.Convs()) {
		return fmt.Errorf("the plan lists %d convolutions, the network has %d: the plan is for another network", len(p.Filters), len(g.Convs()))
	}
	return nil
}

// alive marks the filters that stay, for every convolution.
func (p *Plan) alive(g *graph.Graph, groups []depgraph.Group) (map[graph.NodeID][]bool, error) {
	for _, id := range p.Keep.layers() {
		if id < 0 || int(id) >= len(g.Nodes) {
			return nil, fmt.Errorf("keep: layer %d: the network has layers 0-%d; take that one out", id, len(g.Nodes)-1)
		}
		if g.Nodes[id].Conv() == nil {
			return nil, fmt.Errorf("keep: %v has no filters: name the convolutions, the other layers follow", g.Nodes[id])
		}
		if err := checkList(g.Nodes[id], p.Keep[id]); err != nil {
			return nil, fmt.Errorf("keep: %s: %w", nameOf(groups, id), err)
		}
	}
	alive := map[graph.NodeID][]bool{}
	for _, n := range g.Convs() {
		alive[n.ID] = make([]bool, n.Conv().Filters)
		for _, k := range p.Kept(n) {
			alive[n.ID][k] = true
		}
	}
	return alive, nil
}

// nameOf names the group of a convolution's filters.
func nameOf(groups []depgraph.Group, id graph.NodeID) string {
	for _, gr := range groups {
		if slices.Contains(gr.Convs(), id) {
			return gr.Name()
		}
	}
	return "no group"
}

func checkList(n *graph.Node, list []int) error {
	if len(list) == 0 {
		return fmt.Errorf("%v would keep no filter: at least one must stay", n)
	}
	for i, k := range list {
		if k < 0 || k >= n.Conv().Filters {
			return fmt.Errorf("%v: filter %d: it has filters 0-%d", n, k, n.Conv().Filters-1)
		}
		if i > 0 && k <= list[i-1] {
			return fmt.Errorf("%v: filter %d after %d: list them in ascending order, each once", n, k, list[i-1])
		}
	}
	return nil
}

// mask returns the group's channels that stay, or an error where its
// convolutions disagree.
func mask(gr depgraph.Group, alive map[graph.NodeID][]bool) ([]bool, error) {
	keep := slices.Repeat([]bool{true}, gr.Channels)
	first := make([]*depgraph.Member, gr.Channels)
	for i := range gr.Members {
		m := &gr.Members[i]
		if !m.IsFilters() {
			continue
		}
		for ch, c := range m.Map {
			if c < 0 {
				continue
			}
			if first[ch] == nil {
				first[ch], keep[ch] = m, alive[m.Node][c]
			} else if alive[m.Node][c] != keep[ch] {
				return nil, splitError(gr, ch, *first[ch], *m, keep[ch])
			}
		}
	}
	return keep, nil
}

func splitError(gr depgraph.Group, ch int, a, b depgraph.Member, kept bool) error {
	if !kept {
		a, b = b, a
	}
	return fmt.Errorf("%s is split: filter %d of layer %d is kept, but filter %d of layer %d, which goes with it, is cut: keep or cut both",
		gr.Name(), a.Map[ch], a.Node, b.Map[ch], b.Node)
}

func checkGroup(gr depgraph.Group, keep []bool) error {
	for _, b := range gr.Balances {
		for _, part := range b.Parts {
			for _, ch := range part {
				if b.Fixed != "" && !keep[ch] {
					return fmt.Errorf("%s: channel %d can not be cut: %s; take %s out of the plan, or keep all that it has",
						gr.Name(), ch, b.Fixed, holders(gr, ch))
				}
			}
		}
	}
	for _, c := range gr.Constraints {
		first := countKept(c.Parts[0], keep)
		for q, part := range c.Parts {
			if n := countKept(part, keep); n != first {
				return fmt.Errorf("%s: %s, but slice 0 keeps %d channels and slice %d keeps %d: all must keep equally many",
					gr.Name(), c.Why, first, q, n)
			}
		}
	}
	return nil
}

// holders names the convolutions that make a channel of the group.
func holders(gr depgraph.Group, ch int) string {
	var words []string
	for _, m := range gr.Members {
		if m.IsFilters() && m.Map[ch] >= 0 {
			words = append(words, fmt.Sprintf("layer %d", m.Node))
		}
	}
	return strings.Join(words, " and ")
}

func countKept(part []int, keep []bool) int {
	n := 0
	for _, ch := range part {
		if keep[ch] {
			n++
		}
	}
	return n
}
