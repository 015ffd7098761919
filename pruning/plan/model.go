package plan

import (
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// slot is a balance seen by the solver: one number to choose.
type slot struct {
	group  int
	parts  [][]int
	fixed  bool  // by the network
	counts []int // what each part may keep, ascending; the last is its size
}

func (s slot) size() int { return s.counts[len(s.counts)-1] }

// term is a share of a convolution's channels: times for every channel that a
// part of the slot keeps.
type term struct{ slot, times int }

// model computes costs from the numbers kept by each slot.
type model struct {
	g       *graph.Graph
	lat     *Latency      // nil: times are not asked for
	units   []*graph.Node // the layers that cost something
	in, out [][]term      // by unit
	slots   []slot
	full    load
}

// newModel makes a slot of every balance, in order, with all channels kept.
func newModel(g *graph.Graph, groups []depgraph.Group, lat *Latency) *model {
	m := &model{g: g, lat: lat}
	index := map[graph.NodeID]int{}
	for _, n := range g.Nodes {
		if weighs(n) {
			index[n.ID] = len(m.units)
			m.units = append(m.units, n)
		}
	}
	m.in, m.out = make([][]term, len(m.units)), make([][]term, len(m.units))
	for i, gr := range groups {
		for _, b := range gr.Balances {
			m.slots = append(m.slots, slot{group: i, parts: b.Parts, fixed: b.Fixed != "", counts: []int{b.Size()}})
			m.addTerms(gr, b, index)
		}
	}
	m.full = m.load(m.sizes())
	return m
}

func (m *model) addTerms(gr depgraph.Group, b depgraph.Balance, index map[graph.NodeID]int) {
	for _, mem := range gr.Members {
		side := m.in
		if mem.Side == depgraph.Out {
			side = m.out
		}
		unit, ok := index[mem.Node]
		if !ok {
			continue
		}
		times := 0
		for _, part := range b.Parts {
			if mem.Map[part[0]] >= 0 {
				times++
			}
		}
		if times == 0 {
			continue
		}
		terms := side[unit]
		if k := len(terms) - 1; k >= 0 && terms[k].slot == len(m.slots)-1 {
			terms[k].times += times
			continue
		}
		side[unit] = append(terms, term{len(m.slots) - 1, times})
	}
}

func (m *model) sizes() []int {
	n := make([]int, len(m.slots))
	for i, s := range m.slots {
		n[i] = s.size()
	}
	return n
}

func sum(terms []term, n []int) int {
	total := 0
	for _, t := range terms {
		total += t.times * n[t.slot]
	}
	return total
}

// load counts the network whose slots keep n channels a part.
func (m *model) load(n []int) load {
	t := load{ms: m.lat.rest()}
	for i := range m.units {
		t = t.plus(m.unit(i, n))
	}
	return t
}

// unit counts one layer of it.
func (m *model) unit(i int, n []int) load {
	l := loadOf(m.g, m.units[i], sum(m.in[i], n), sum(m.out[i], n), m.lat)
	if m.units[i].Conv() == nil {
		return l
	}
	for _, o := range m.out[i] {
		if !m.slots[o.slot].fixed {
			l.filters += int64(o.times * n[o.slot])
		}
	}
	return l
}

func (m *model) ratios(n []int) Ratios { return m.load(n).ratios(m.full) }

// Reached returns what the network loses when channel i of group g is kept
// where keep[g][i] is set.
func Reached(g *graph.Graph, groups []depgraph.Group, keep [][]bool) Ratios {
	whole := make([][]bool, len(groups))
	for i, gr := range groups {
		whole[i] = slices.Repeat([]bool{true}, gr.Channels)
	}
	return leftOf(g, groups, keep, nil).ratios(leftOf(g, groups, whole, nil))
}

// leftOf counts the network of whose groups keep[i] stays.
func leftOf(g *graph.Graph, groups []depgraph.Group, keep [][]bool, lat *Latency) load {
	counts := count(g, groups, keep)
	left := load{ms: lat.rest()}
	for _, n := range g.Nodes {
		left = left.plus(loadOf(g, n, counts[n.ID].in, counts[n.ID].out, lat))
	}
	left.filters, _ = cuttable(groups, keep)
	return left
}

// cuttable counts the filters that the network does not fix.
func cuttable(groups []depgraph.Group, keep [][]bool) (left, full int64) {
	for i, gr := range groups {
		for _, b := range gr.Balances {
			if b.Fixed != "" {
				continue
			}
			for _, m := range gr.Members {
				if !m.IsFilters() {
					continue
				}
				for _, part := range b.Parts {
					if m.Map[part[0]] >= 0 {
						full += int64(len(part))
						left += int64(countKept(part, keep[i]))
					}
				}
			}
		}
	}
	return left, full
}

// sides are the numbers of channels that stay on a layer's two sides.
type sides struct{ in, out int }

// count counts the channels of every layer that stay.
func count(g *graph.Graph, groups []depgraph.Group, keep [][]bool) map[graph.NodeID]sides {
	c := map[graph.NodeID]sides{}
	for i, gr := range groups {
		for _, m := range gr.Members {
			s := c[m.Node]
			if n := len(kept(m, keep[i])); m.Side == depgraph.In {
				s.in += n
			} else {
				s.out += n
			}
			c[m.Node] = s
		}
	}
	return c
}

// Row is a layer before and after the cut, as in layers.json.
type Row struct {
	Index        int    `json:"index"`
	Type         string `json:"type"`
	Before       int    `json:"before"` // output channels
	After        int    `json:"after"`
	MACsBefore   int64  `json:"macs_before"`
	MACsAfter    int64  `json:"macs_after"`
	ParamsBefore int64  `json:"params_before"`
	ParamsAfter  int64  `json:"params_after"`
	Protected    string `json:"protected"` // why a convolution's filters may not be cut
}

// Table lists all layers before and after the cut. Multiply-adds are those of
// one image of the network's input size; layers without weights count none.
func (p *Plan) Table(g *graph.Graph, groups []depgraph.Group) ([]Row, error) {
	if len(p.Removed) > 0 {
		return p.tableRemoved(g, groups)
	}
	keep, err := p.Masks(g, groups)
	if err != nil {
		return nil, err
	}
	return tableRows(g, groups, keep), nil
}

func tableRows(g *graph.Graph, groups []depgraph.Group, keep [][]bool) []Row {
	counts, protected := count(g, groups, keep), map[graph.NodeID]string{}
	for _, gr := range groups {
		for _, id := range gr.Convs() {
			protected[id] = gr.Protected
		}
	}
	var rows []Row
	for _, n := range g.Nodes {
		r := Row{Index: int(n.ID), Type: n.Op.Kind(), Before: n.Out.C, After: counts[n.ID].out, Protected: protected[n.ID]}
		if r.After == 0 { // a head or a loss, which passes nothing on
			r.After = counts[n.ID].in
		}
		if weighs(n) {
			before := loadOf(g, n, g.ShapeOf(n.Inputs[0]).C, n.Out.C, nil)
			after := loadOf(g, n, counts[n.ID].in, counts[n.ID].out, nil)
			r.MACsBefore, r.ParamsBefore, r.MACsAfter, r.ParamsAfter = before.macs, before.params, after.macs, after.params
		}
		rows = append(rows, r)
	}
	return rows
}
