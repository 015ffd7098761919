package depgraph

import (
	"fmt"
	"slices"
	"strings"

	"yoloprune/yolo/graph"
)

// Name is how messages call the group: its number and its convolutions.
func (g Group) Name() string {
	ids := g.Convs()
	switch len(ids) {
	case 0:
		return fmt.Sprintf("group %d (network input)", g.ID)
	case 1:
		return fmt.Sprintf("group %d (layer %d)", g.ID, ids[0])
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(int(id))
	}
	return fmt.Sprintf("group %d (layers %s)", g.ID, strings.Join(shorten(words, 8), ", "))
}

// String is Describe.
func (g Group) String() string { return g.Describe() }

// Describe prints the group: a line per member that says which of the layer's
// channels are which channels of the group and how the layer ties what it
// reads, then what ties their numbers.
//
//	group 3 (layer 2): 64 channels
//	  layer   2 convolutional out  0-63
//	  layer   3 route         out  0-31   group channels 32-63
//	  layer   4 reorg3d       out  0-63 | 64-127 | 128-191 | 192-255   each group channels 0-63; 2x2 pixels become channels
//	  keep equally many of 0-31 | 32-63: layer 3 (route) takes slice 1 of 2 of layer 2
func (g Group) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d channels", g.Name(), g.Channels)
	if g.Protected != "" {
		fmt.Fprintf(&b, ", never cut: %s", g.Protected)
	}
	b.WriteByte('\n')
	width := 13 // of most kinds, so that groups line up
	for _, m := range g.Members {
		width = max(width, len(m.Kind))
	}
	for rest := g.Members; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].repeats(rest[0]) {
			n++
		}
		b.WriteString("  " + describe(rest[:n], width) + "\n")
		rest = rest[n:]
	}
	for _, c := range g.Constraints {
		fmt.Fprintf(&b, "  keep equally many of %s: %s\n", partList(c.Parts), c.Why)
	}
	for _, bal := range g.Balances {
		if bal.Fixed != "" && g.Protected == "" {
			fmt.Fprintf(&b, "  never cut %s: %s\n", partList(bal.Parts), bal.Fixed)
		}
	}
	return b.String()
}

// repeats says whether m is another copy of the same group channels in the
// same side of the same layer.
func (m Member) repeats(o Member) bool {
	if m.Node != o.Node || m.Side != o.Side {
		return false
	}
	for i := range m.Map {
		if (m.Map[i] < 0) != (o.Map[i] < 0) {
			return false
		}
	}
	return true
}

// describe prints a member together with those that repeat it; kind is the
// width of that column.
func describe(same []Member, kind int) string {
	m := same[0]
	name := fmt.Sprintf("layer %3d", m.Node)
	if m.Node == graph.Input {
		name = "image    "
	}
	group := m.held(func(i int) int { return i })
	var parts [][]int
	for _, s := range same {
		parts = append(parts, s.held(func(i int) int { return s.Map[i] }))
	}
	var notes []string
	switch {
	case len(parts) > 1:
		notes = append(notes, "each group channels "+ranges(group))
	case !slices.Equal(parts[0], group):
		notes = append(notes, "group channels "+ranges(group))
	}
	if m.Why != "" {
		notes = append(notes, m.Why)
	}
	line := fmt.Sprintf("%s %-*s %-4s %s", name, kind, m.Kind, m.Side, partList(parts))
	if len(notes) > 0 {
		line += "   " + strings.Join(notes, "; ")
	}
	return line
}

// held lists of(i) for the group channels i that the member has.
func (m Member) held(of func(i int) int) []int {
	var out []int
	for i, c := range m.Map {
		if c >= 0 {
			out = append(out, of(i))
		}
	}
	return out
}

// partList prints parts, the middle ones left out when there are many.
func partList(parts [][]int) string {
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = ranges(p)
	}
	return strings.Join(shorten(words, 4), " | ")
}

// ranges prints 0,1,2,5 as "0-2,5", the middle left out when it is long.
func ranges(v []int) string {
	var words []string
	for i := 0; i < len(v); {
		j := i
		for j+1 < len(v) && v[j+1] == v[j]+1 {
			j++
		}
		if i == j {
			words = append(words, fmt.Sprint(v[i]))
		} else {
			words = append(words, fmt.Sprintf("%d-%d", v[i], v[j]))
		}
		i = j + 1
	}
	return strings.Join(shorten(words, 8), ",")
}

// shorten leaves out middle words when there are more than most.
func shorten(words []string, most int) []string {
	if len(words) <= most {
		return words
	}
	return append(slices.Clone(words[:most-2]), "...", words[len(words)-1])
}

// why says how a layer ties what it reads, for a person; "" where it just
// passes channels on, or makes new ones.
func why(g *graph.Graph, n *graph.Node) string {
	switch o := n.Op.(type) {
	case *graph.Conv:
		var words []string
		if Depthwise(o, g.ShapeOf(n.Inputs[0]).C) {
			words = append(words, "depthwise")
		}
		if n.Shares() {
			words = append(words, fmt.Sprintf("uses the weights of layer %d", g.Owner(n).ID))
		}
		return strings.Join(words, "; ")
	case *graph.Shortcut:
		return sumOf(g, n)
	case *graph.ScaleChannels:
		if o.ScaleWH {
			return fmt.Sprintf("%s, pixels scaled by %s", layerName(n.Inputs[1]), layerName(n.Inputs[0]))
		}
		return fmt.Sprintf("%s scaled by %s", layerName(n.Inputs[1]), layerName(n.Inputs[0]))
	case *graph.SAM:
		return fmt.Sprintf("%s times %s", layerName(n.Inputs[1]), layerName(n.Inputs[0]))
	case *graph.Reorg3D:
		if o.Reverse {
			return fmt.Sprintf("%d channels become %dx%d pixels", o.Stride*o.Stride, o.Stride, o.Stride)
		}
		return fmt.Sprintf("%dx%d pixels become channels", o.Stride, o.Stride)
	case *graph.Reorg:
		return fmt.Sprintf("mixes %d channels that follow each other", o.Stride*o.Stride)
	}
	return ""
}

// sumOf lists what a shortcut adds, and of how many channels where the numbers
// differ.
func sumOf(g *graph.Graph, n *graph.Node) string {
	var words []string
	for _, in := range n.Inputs {
		word := layerName(in)
		switch c := g.ShapeOf(in).C; {
		case c > n.Out.C:
			word += fmt.Sprintf(" (the first %d of its %d channels)", n.Out.C, c)
		case c < n.Out.C:
			word += fmt.Sprintf(" (to the first %d channels)", c)
		}
		words = append(words, word)
	}
	return strings.Join(words, " + ")
}

func layerName(id graph.NodeID) string {
	if id == graph.Input {
		return "image"
	}
	return fmt.Sprintf("layer %d", id)
}
