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
		if len(read[n.ID]) == 0 && n.Yolo() == nil {
			a.fix(n.ID, fmt.Sprintf("output of the network: no layer reads %v", n))
		}
	}
	return a
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
	case *graph.Route:
		for c, src := range Sources(a.g, n) {
			a.class.join(a.of(n.ID, c), a.of(src.Node, src.Channel))
		}
	case *graph.MaxPool, *graph.Upsample, *graph.Shortcut:
		a.tieSame(n)
	case *graph.Yolo:
		a.tieSame(n)
		a.fix(n.ID, fmt.Sprintf("head: %v fixes the number of filters", n))
	default:
		why := fmt.Sprintf("%v: its effect on channels is not known", n)
		a.fix(n.ID, why)
		for _, in := range n.Inputs {
			a.fix(in, why)
		}
	}
}

func (a *atoms) tieSame(n *graph.Node) {
	for _, in := range n.Inputs {
		for c := range n.Out.C {
			a.class.join(a.of(n.ID, c), a.of(in, c))
		}
	}
}

// Source is one channel of one node.
type Source struct {
	Node    graph.NodeID
	Channel int
}

// Sources lists, for every output channel of a route, the channel it copies.
func Sources(g *graph.Graph, n *graph.Node) []Source {
	r := n.Op.(*graph.Route)
	var out []Source
	for _, in := range n.Inputs {
		size := g.ShapeOf(in).C / r.Groups
		for c := range size {
			out = append(out, Source{in, r.GroupID*size + c})
		}
	}
	return out
}

// constrain notes which slices must keep equal numbers of channels. Darknet
// slices by count, so all slices of a source must stay equal, also those that
// the route does not take.
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
	a.addMember(groups, at, graph.Input, "input", graph.Input, Out)
	for _, n := range a.g.Nodes {
		if n.Conv() != nil || n.Yolo() != nil {
			a.addMember(groups, at, n.ID, n.Op.Kind(), n.Inputs[0], In)
		}
		if n.Yolo() == nil {
			a.addMember(groups, at, n.ID, n.Op.Kind(), n.ID, Out)
		}
	}
}

// addMember files every channel of atomsOf under node and side. The k-th time
// that a group channel turns up goes to the k-th member.
func (a *atoms) addMember(groups []Group, at []place, node graph.NodeID, kind string, atomsOf graph.NodeID, side Side) {
	mine := map[int][]int{} // by group: indices of this side's members
	for c := range a.g.ShapeOf(atomsOf).C {
		p := at[a.of(atomsOf, c)]
		g := &groups[p.group]
		free := slices.IndexFunc(mine[p.group], func(m int) bool { return g.Members[m].Map[p.channel] < 0 })
		if free < 0 {
			free = len(mine[p.group])
			mine[p.group] = append(mine[p.group], len(g.Members))
			g.Members = append(g.Members, Member{node, kind, side, slices.Repeat([]int{-1}, g.Channels)})
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
