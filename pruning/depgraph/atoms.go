package depgraph

import (
	"fmt"
	"slices"

	"yoloprune/yolo/graph"
)

// atoms holds the two partitions: atoms tied into classes, and classes joined
// into groups.
type atoms struct {
	g       *graph.Graph
	first   []int // first[id+1] is the atom of channel 0 of node id
	class   disjoint
	fixed   map[int]string // by atom: why it may not be cut
	demands []demand
}

// demand is a Constraint in atoms.
type demand struct {
	node  graph.NodeID
	why   string
	parts [][]int
}

func newAtoms(g *graph.Graph) *atoms {
	a := &atoms{g: g, fixed: map[int]string{}}
	total := g.Net.Channels
	a.first = append(a.first, 0)
	for _, n := range g.Nodes {
		a.first = append(a.first, total)
		total += n.Out.C
	}
	a.class = newDisjoint(total)
	a.fix(graph.Input, "network input")
	read := g.Consumers()
	for _, n := range g.Nodes {
		for _, m := range n.Mentions {
			if g.Nodes[m.Layer].Yolo() == nil { // fixed in any case
				a.fix(m.Layer, fmt.Sprintf("training loss: %v reads it as its %s", n, m.Key))
			}
		}
		if len(read[n.ID]) == 0 && !terminal(n) {
			a.fix(n.ID, fmt.Sprintf("output of the network: no layer reads %v", n))
		}
	}
	return a
}

// terminal says whether a node ends a branch by its kind: it has an in side
// only, and tie says why its channels stay.
func terminal(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Yolo, *graph.Contrastive:
		return true
	}
	return false
}

// of returns the atom of a node's channel.
func (a *atoms) of(id graph.NodeID, channel int) int { return a.first[id+1] + channel }

func (a *atoms) fix(id graph.NodeID, why string) {
	for c := range a.g.ShapeOf(id).C {
		if at := a.of(id, c); a.fixed[at] == "" {
			a.fixed[at] = why
		}
	}
}

// tie joins the atoms of a node with those that it passes on.
func (a *atoms) tie(n *graph.Node) {
	switch op := n.Op.(type) {
	case *graph.Conv:
		if in := a.g.ShapeOf(n.Inputs[0]).C; Depthwise(op, in) {
			for k := range op.Filters {
				a.class.join(a.of(n.ID, k), a.of(n.Inputs[0], k*in/op.Filters))
			}
		}
		a.tieOwner(n)
	case *graph.Shortcut, *graph.SAM:
		a.tieSame(n)
	case *graph.ScaleChannels:
		if op.ScaleWH {
			a.fix(n.Inputs[0], fmt.Sprintf("%v scales pixels by its one channel", n))
			a.tieSources(n)
			return
		}
		a.tieSame(n)
	case *graph.Contrastive:
		a.tieSources(n)
		a.fix(n.ID, fmt.Sprintf("training loss: %v compares all its channels", n))
	case *graph.Yolo:
		a.tieSame(n)
		a.fix(n.ID, fmt.Sprintf("head: %v fixes the number of filters", n))
	case *graph.Route, *graph.MaxPool, *graph.AvgPool, *graph.LocalAvgPool, *graph.Upsample,
		*graph.Reorg3D, *graph.Reorg, *graph.Dropout, *graph.Silence:
		a.tieSources(n)
	default:
		a.fixAround(n, fmt.Sprintf("%v: its effect on channels is not known", n))
	}
}

// tieSources joins every output channel with those that it is made of.
func (a *atoms) tieSources(n *graph.Node) {
	for c, from := range Sources(a.g, n) {
		for _, src := range from {
			a.class.join(a.of(n.ID, c), a.of(src.Node, src.Channel))
		}
	}
}

// tieSame joins channel c of the output with channel c of every input that has
// one.
//
// The inputs of a shortcut may differ in channels; Darknet adds the first
// m = min(C_0, C_k) of input k to those of the output. Let a cut remove r of
// these m from the output. Being tied, the same r go from input k, which
// leaves m-r in both, in the old order. The longer of the two (if C_0 < C_k the
// input, if C_k < C_0 the output) has its other channels behind them, whatever
// is left there: min of the new numbers is m-r again, and Darknet adds the
// channels that it added before. The longer may become as long as the other,
// but never shorter, so the channels past m are free.
func (a *atoms) tieSame(n *graph.Node) {
	for _, in := range n.Inputs {
		for c := range min(n.Out.C, a.g.ShapeOf(in).C) {
			a.class.join(a.of(n.ID, c), a.of(in, c))
		}
	}
}

// tieOwner joins a convolution with the one whose weights it uses: filter with
// filter, and input channel with input channel, for a cut takes the same rows
// and slices of the one kernel from both.
func (a *atoms) tieOwner(n *graph.Node) {
	if !n.Shares() {
		return
	}
	owner := a.g.Owner(n)
	for k := range n.Out.C {
		a.class.join(a.of(n.ID, k), a.of(owner.ID, k))
	}
	for c := range a.g.ShapeOf(n.Inputs[0]).C {
		a.class.join(a.of(n.Inputs[0], c), a.of(owner.Inputs[0], c))
	}
}

// fixAround protects what a node reads and makes.
func (a *atoms) fixAround(n *graph.Node, why string) {
	a.fix(n.ID, why)
	for _, in := range n.Inputs {
		a.fix(in, why)
	}
}

// constrain notes which slices must keep equal numbers of channels. Darknet
// slices by count, so all slices of a source must stay equal, also those that
// the route does not take. What a reorg3d or reorg moves as a block is tied, so
// that their blocks are equal by themselves.
func (a *atoms) constrain(n *graph.Node) {
	switch op := n.Op.(type) {
	case *graph.Route:
		for _, in := range n.Inputs {
			a.demand(n, in, op.Groups, fmt.Sprintf("%v takes slice %d of %d of layer %d", n, op.GroupID, op.Groups, in))
		}
	case *graph.Conv:
		if Depthwise(op, a.g.ShapeOf(n.Inputs[0]).C) {
			return
		}
		a.demand(n, n.Inputs[0], op.Groups, fmt.Sprintf("%v reads %d groups", n, op.Groups))
		a.demand(n, n.ID, op.Groups, fmt.Sprintf("%v makes %d groups", n, op.Groups))
	}
}

func (a *atoms) demand(n *graph.Node, of graph.NodeID, slices int, why string) {
	if slices < 2 {
		return
	}
	d := demand{node: n.ID, why: why}
	size := a.g.ShapeOf(of).C / slices
	for s := range slices {
		part := make([]int, size)
		for c := range part {
			part[c] = a.of(of, s*size+c)
		}
		d.parts = append(d.parts, part)
	}
	a.demands = append(a.demands, d)
}

// disjoint is a union-find over 0..n-1 whose roots are the smallest elements.
type disjoint []int

func newDisjoint(n int) disjoint {
	d := make(disjoint, n)
	for i := range d {
		d[i] = i
	}
	return d
}

func (d disjoint) find(i int) int {
	for d[i] != i {
		d[i] = d[d[i]]
		i = d[i]
	}
	return i
}

func (d disjoint) join(i, j int) {
	i, j = d.find(i), d.find(j)
	d[max(i, j)] = min(i, j)
}

// place is where an atom's class stands: a group, and a channel of it.
type place struct{ group, channel int }

// collect turns the partitions into groups.
func (a *atoms) collect() []Group {
	joined := a.joinGroups()
	groups, at := a.number(joined)
	for i := range groups {
		groups[i].ID = i
	}
	a.addMembers(groups, at)
	a.addConstraints(groups, at)
	why := a.fixedChannels(groups, at)
	for i := range groups {
		groups[i].balance(why[i])
	}
	return groups
}

// joinGroups joins the classes of each convolution, of the network input and
// of each demand.
func (a *atoms) joinGroups() disjoint {
	joined := newDisjoint(len(a.class))
	join := func(i, j int) { joined.join(a.class.find(i), a.class.find(j)) }
	ids := []graph.NodeID{graph.Input}
	for _, n := range a.g.Convs() {
		ids = append(ids, n.ID)
	}
	for _, id := range ids {
		for c := range a.g.ShapeOf(id).C {
			join(a.of(id, 0), a.of(id, c))
		}
	}
	for _, d := range a.demands {
		for _, part := range d.parts {
			for _, at := range part {
				join(d.parts[0][0], at)
			}
		}
	}
	return joined
}

// number gives every class its place. A class is first met at the layer that
// makes it, so groups and channels come in the order of those layers.
func (a *atoms) number(joined disjoint) ([]Group, []place) {
	var groups []Group
	index := map[int]int{}
	at := make([]place, len(a.class))
	for i := range a.class {
		if c := a.class.find(i); c != i {
			at[i] = at[c]
			continue
		}
		root := joined.find(i)
		g, ok := index[root]
		if !ok {
			g = len(groups)
			index[root] = g
			groups = append(groups, Group{})
		}
		at[i] = place{g, groups[g].Channels}
		groups[g].Channels++
	}
	return groups, at
}

func (a *atoms) addMembers(groups []Group, at []place) {
	a.addMember(groups, at, Member{Node: graph.Input, Kind: "input", Side: Out}, graph.Input)
	for _, n := range a.g.Nodes {
		if n.Conv() != nil || terminal(n) {
			a.addMember(groups, at, Member{Node: n.ID, Kind: n.Op.Kind(), Side: In}, n.Inputs[0])
		}
		if !terminal(n) {
			a.addMember(groups, at, Member{Node: n.ID, Kind: n.Op.Kind(), Side: Out, Why: why(a.g, n)}, n.ID)
		}
	}
}

// addMember files every channel of atomsOf under m's node and side. The k-th
// time that a group channel turns up goes to the k-th member.
func (a *atoms) addMember(groups []Group, at []place, m Member, atomsOf graph.NodeID) {
	mine := map[int][]int{} // by group: indices of this side's members
	for c := range a.g.ShapeOf(atomsOf).C {
		p := at[a.of(atomsOf, c)]
		g := &groups[p.group]
		free := slices.IndexFunc(mine[p.group], func(m int) bool { return g.Members[m].Map[p.channel] < 0 })
		if free < 0 {
			free = len(mine[p.group])
			mine[p.group] = append(mine[p.group], len(g.Members))
			m.Map = slices.Repeat([]int{-1}, g.Channels)
			g.Members = append(g.Members, m)
		}
		g.Members[mine[p.group][free]].Map[p.channel] = c
	}
}

func (a *atoms) addConstraints(groups []Group, at []place) {
	for _, d := range a.demands {
		g := &groups[at[d.parts[0][0]].group]
		c := Constraint{Node: d.node, Why: d.why}
		for _, part := range d.parts {
			channels := make([]int, len(part))
			for i, atom := range part {
				channels[i] = at[atom].channel
			}
			c.Parts = append(c.Parts, channels)
		}
		if !slices.ContainsFunc(g.Constraints, c.sameParts) {
			g.Constraints = append(g.Constraints, c)
		}
	}
}

func (c Constraint) sameParts(d Constraint) bool {
	return slices.EqualFunc(c.Parts, d.Parts, slices.Equal[[]int])
}

// fixedChannels returns, by group and channel, why a channel may not be cut.
func (a *atoms) fixedChannels(groups []Group, at []place) [][]string {
	why := make([][]string, len(groups))
	for i := range groups {
		why[i] = make([]string, groups[i].Channels)
	}
	for atom, p := range at {
		if r := a.fixed[atom]; r != "" && why[p.group][p.channel] == "" {
			why[p.group][p.channel] = r
		}
	}
	return why
}
