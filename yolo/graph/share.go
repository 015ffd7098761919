package graph

import "fmt"

// Owner returns the node whose weights n uses: n itself, or for a convolution
// with Back the one so many layers before it. Infer says whether there is one.
func (g *Graph) Owner(n *Node) *Node {
	c := n.Conv()
	if c == nil || c.Back < 1 || c.Back > int(n.ID) {
		return n
	}
	return g.Nodes[n.ID-NodeID(c.Back)]
}

// Shares says whether n uses another convolution's weights.
func (n *Node) Shares() bool {
	c := n.Conv()
	return c != nil && c.Back != 0
}

// Sharers lists, by owner, the convolutions that use its weights, in order.
func (g *Graph) Sharers() map[NodeID][]*Node {
	out := make(map[NodeID][]*Node)
	for _, n := range g.Nodes {
		if n.Shares() {
			id := g.Owner(n).ID
			out[id] = append(out[id], n)
		}
	}
	return out
}

// Owners lists the convolutions that have weights of their own, in order.
func (g *Graph) Owners() []*Node {
	var out []*Node
	for _, n := range g.Convs() {
		if !n.Shares() {
			out = append(out, n)
		}
	}
	return out
}

// LinkShared hands every convolution with Back its owner's weights. Whoever gives
// nodes new weights calls it afterwards.
func (g *Graph) LinkShared() {
	for _, n := range g.Nodes {
		if n.Shares() {
			n.Weights = g.Owner(n).Weights
		}
	}
}

// checkOwner says whether a convolution and the one whose weights it uses have
// kernels and batch norms of the same sizes. The owner must have its own weights.
func (g *Graph) checkOwner(n *Node, c *Conv) error {
	if c.Back == 0 {
		return nil
	}
	if c.Back < 0 || c.Back > int(n.ID) {
		return fmt.Errorf("uses the weights of layer %d: only those of an earlier layer can be shared", int(n.ID)-c.Back)
	}
	owner := g.Owner(n)
	o := owner.Conv()
	if o == nil {
		return fmt.Errorf("uses the weights of %s, which is no convolution", located(owner))
	}
	if o.Back != 0 {
		return fmt.Errorf("uses the weights of %s, which itself uses those of layer %d: name that one", located(owner), int(owner.ID)-o.Back)
	}
	for _, f := range []struct {
		what        string
		mine, other int
	}{
		{"filters", c.Filters, o.Filters},
		{"size", c.Size, o.Size},
		{"groups", c.Groups, o.Groups},
		{"input channels", g.ShapeOf(n.Inputs[0]).C, g.ShapeOf(owner.Inputs[0]).C},
		{"batch norm", truth(c.BatchNorm), truth(o.BatchNorm)},
	} {
		if f.mine != f.other {
			return fmt.Errorf("uses the weights of %s, but has %s %d where that has %d: make the two alike", located(owner), f.what, f.mine, f.other)
		}
	}
	return nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// located names a node with its line, if it has one.
func located(n *Node) string {
	if n.Line > 0 {
		return fmt.Sprintf("%v of line %d", n, n.Line)
	}
	return n.String()
}
