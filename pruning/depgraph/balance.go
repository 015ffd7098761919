package depgraph

import (
	"fmt"
	"slices"
	"strings"
)

// balance fills in Balances and Protected. fixed says by channel why it may
// not be cut.
//
// Channels get the same label when they are alike: held by the same members,
// fixed or not, and in the same parts of the same constraints at positions
// where the other parts hold channels that are alike in turn. The last rule
// splits labels until nothing changes; then the labels that share a position
// of a constraint have equal sizes, and equal numbers kept in each of them
// meet the constraint.
func (g *Group) balance(fixed []string) {
	label := g.memberLabels(fixed)
	for n := 0; n < count(label); {
		n = count(label)
		label = g.refine(label)
	}
	g.collectBalances(label, g.joinLabels(label), fixed)
	g.protect()
}

func count(label []int) int { return slices.Max(label) + 1 }

// relabel numbers equal keys alike, in the order of their first channel.
func relabel(keys []string) []int {
	index := map[string]int{}
	label := make([]int, len(keys))
	for i, k := range keys {
		n, ok := index[k]
		if !ok {
			n = len(index)
			index[k] = n
		}
		label[i] = n
	}
	return label
}

func (g *Group) memberLabels(fixed []string) []int {
	keys := make([]string, g.Channels)
	for i := range keys {
		key := []byte(fixed[i] + "|")
		for _, m := range g.Members {
			bit := byte('0')
			if m.Map[i] >= 0 {
				bit = '1'
			}
			key = append(key, bit)
		}
		keys[i] = string(key)
	}
	return relabel(keys)
}

// refine splits labels by what stands at the channels' positions in the
// constraints' parts.
func (g *Group) refine(label []int) []int {
	keys := make([]strings.Builder, g.Channels)
	for i := range keys {
		fmt.Fprintf(&keys[i], "%d", label[i])
	}
	for c, con := range g.Constraints {
		for p, across := range con.positions(label) {
			for q, part := range con.Parts {
				fmt.Fprintf(&keys[part[p]], " %d.%d:%s", c, q, across)
			}
		}
	}
	out := make([]string, len(keys))
	for i := range keys {
		out[i] = keys[i].String()
	}
	return relabel(out)
}

// positions describes each position across the parts: the labels there, each
// with how often that channel stood in its part before.
func (c Constraint) positions(label []int) []string {
	seen := make([]map[int]int, len(c.Parts))
	for q := range seen {
		seen[q] = map[int]int{}
	}
	keys := make([]string, len(c.Parts[0]))
	for p := range keys {
		var b strings.Builder
		for q, part := range c.Parts {
			fmt.Fprintf(&b, "%d#%d,", label[part[p]], seen[q][part[p]])
			seen[q][part[p]]++
		}
		keys[p] = b.String()
	}
	short := make([]string, len(keys))
	for p, n := range relabel(keys) {
		short[p] = fmt.Sprint(n)
	}
	return short
}

// joinLabels joins the labels that share a position of a constraint.
func (g *Group) joinLabels(label []int) disjoint {
	joined := newDisjoint(count(label))
	for _, c := range g.Constraints {
		for _, part := range c.Parts {
			for p, ch := range part {
				joined.join(label[c.Parts[0][p]], label[ch])
			}
		}
	}
	return joined
}

func (g *Group) collectBalances(label []int, joined disjoint, fixed []string) {
	parts := make([][]int, count(label))
	for ch, l := range label {
		parts[l] = append(parts[l], ch)
	}
	index := map[int]int{}
	for l, part := range parts {
		root := joined.find(l)
		b, ok := index[root]
		if !ok {
			b = len(g.Balances)
			index[root] = b
			g.Balances = append(g.Balances, Balance{})
		}
		bal := &g.Balances[b]
		bal.Parts = append(bal.Parts, part)
		if bal.Fixed == "" {
			bal.Fixed = fixed[part[0]]
		}
	}
}

// protect fixes balances that have no smaller number to keep, and says whether
// the whole group is fixed.
func (g *Group) protect() {
	all := true
	for i := range g.Balances {
		b := &g.Balances[i]
		if b.Fixed == "" && b.Size() == 1 {
			b.Fixed = "single channel"
			if len(b.Parts) > 1 {
				b.Fixed = "one channel per part: " + g.Constraints[0].Why
			}
		}
		all = all && b.Fixed != ""
	}
	if all {
		g.Protected = g.Balances[0].Fixed
	}
}
