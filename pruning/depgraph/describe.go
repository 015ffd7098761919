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
	return fmt.Sprintf("group %d (layers %s)", g.ID, joinIDs(ids))
}

func joinIDs(ids []graph.NodeID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(int(id))
	}
	return strings.Join(words, ", ")
}

// String is Describe.
func (g Group) String() string { return g.Describe() }

// Describe prints the group: a line per member that says which of the layer's
// channels are which channels of the group, then what ties their numbers.
//
//	group 3 (layer 2): 64 channels
//	  layer   2 convolutional out  0-63
//	  layer   3 route         out  0-31   are group channels 32-63
//	  keep equally many of 0-31 | 32-63: layer 3 (route) takes slice 1 of 2 of layer 2
func (g Group) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d channels", g.Name(), g.Channels)
	if g.Protected != "" {
		fmt.Fprintf(&b, ", never cut: %s", g.Protected)
	}
	b.WriteByte('\n')
	for _, m := range g.Members {
		b.WriteString("  " + m.describe() + "\n")
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

func (m Member) describe() string {
	name := fmt.Sprintf("layer %3d", m.Node)
	if m.Node == graph.Input {
		name = "image    "
	}
	var channels, group []int
	for i, c := range m.Map {
		if c >= 0 {
			channels, group = append(channels, c), append(group, i)
		}
	}
	line := fmt.Sprintf("%s %-13s %-4s %s", name, m.Kind, m.Side, ranges(channels))
	if !slices.Equal(channels, group) {
		line += fmt.Sprintf("   are group channels %s", ranges(group))
	}
	return line
}

// partList prints parts, the middle ones left out when there are many.
func partList(parts [][]int) string {
	const most = 4
	var words []string
	for i, p := range parts {
		switch {
		case len(parts) <= most || i < most-2 || i == len(parts)-1:
			words = append(words, ranges(p))
		case i == most-2:
			words = append(words, "...")
		}
	}
	return strings.Join(words, " | ")
}

// ranges prints 0,1,2,5 as "0-2,5".
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
	return strings.Join(words, ",")
}
