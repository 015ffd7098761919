package plan

import (
	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// totals counts what the convolutions of a network cost.
type totals struct{ macs, params, filters int64 }

// ratios returns the fractions removed from full when t is left.
func (t totals) ratios(full totals) Ratios {
	removed := func(left, of int64) float64 {
		if of == 0 {
			return 0
		}
		return 1 - float64(left)/float64(of)
	}
	return Ratios{removed(t.macs, full.macs), removed(t.params, full.params), removed(t.filters, full.filters)}
}

// convCost returns the multiply-adds and parameters (kernel, and bias or gamma
// and beta) of a convolution that keeps k filters over c input channels.
func convCost(g *graph.Graph, n *graph.Node, c, k int) (macs, params int64) {
	op := n.Conv()
	perGroup := c / op.Groups
	if depgraph.Depthwise(op, g.ShapeOf(n.Inputs[0]).C) {
		perGroup = 1
	}
	kernel := int64(k) * int64(perGroup) * int64(op.Size*op.Size)
	params = kernel + int64(k)
	if op.BatchNorm {
		params += int64(k)
	}
	return kernel * int64(n.Out.H) * int64(n.Out.W), params
}

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
	convs   []*graph.Node
	in, out [][]term // by convolution
	slots   []slot
	full    totals
}

// newModel makes a slot of every balance, in order, with all channels kept.
func newModel(g *graph.Graph, groups []depgraph.Group) *model {
	m := &model{g: g, convs: g.Convs()}
	index := map[graph.NodeID]int{}
	for i, n := range m.convs {
		index[n.ID] = i
	}
	m.in, m.out = make([][]term, len(m.convs)), make([][]term, len(m.convs))
	for i, gr := range groups {
		for _, b := range gr.Balances {
			m.slots = append(m.slots, slot{group: i, parts: b.Parts, fixed: b.Fixed != "", counts: []int{b.Size()}})
			m.addTerms(gr, b, index)
		}
	}
	m.full = m.totals(m.sizes())
	return m
}

func (m *model) addTerms(gr depgraph.Group, b depgraph.Balance, index map[graph.NodeID]int) {
	for _, mem := range gr.Members {
		side := m.in
		if mem.Side == depgraph.Out {
			side = m.out
		}
		conv, ok := index[mem.Node]
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
		terms := side[conv]
		if k := len(terms) - 1; k >= 0 && terms[k].slot == len(m.slots)-1 {
			terms[k].times += times
			continue
		}
		side[conv] = append(terms, term{len(m.slots) - 1, times})
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

// totals counts the network whose slots keep n channels a part.
func (m *model) totals(n []int) totals {
	var t totals
	for i, conv := range m.convs {
		macs, params := convCost(m.g, conv, sum(m.in[i], n), sum(m.out[i], n))
		t.macs += macs
		t.params += params
		for _, o := range m.out[i] {
			if !m.slots[o.slot].fixed {
				t.filters += int64(o.times * n[o.slot])
			}
		}
	}
	return t
}

func (m *model) ratios(n []int) Ratios { return m.totals(n).ratios(m.full) }

// Reached returns what the network loses when channel i of group g is kept
// where keep[g][i] is set.
func Reached(g *graph.Graph, groups []depgraph.Group, keep [][]bool) Ratios {
	counts := count(g, groups, keep)
	var left, full totals
	for _, n := range g.Convs() {
		in := g.ShapeOf(n.Inputs[0]).C
		macs, params := convCost(g, n, in, n.Conv().Filters)
		full.macs, full.params = full.macs+macs, full.params+params
		macs, params = convCost(g, n, counts[n.ID].in, counts[n.ID].out)
		left.macs, left.params = left.macs+macs, left.params+params
	}
	left.filters, full.filters = cuttable(groups, keep)
	return left.ratios(full)
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
		if n.Conv() != nil {
			r.MACsBefore, r.ParamsBefore = convCost(g, n, g.ShapeOf(n.Inputs[0]).C, n.Out.C)
			r.MACsAfter, r.ParamsAfter = convCost(g, n, counts[n.ID].in, counts[n.ID].out)
		}
		rows = append(rows, r)
	}
	return rows
}
