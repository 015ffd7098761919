package depgraph

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

func seq(from, to int) []int {
	var v []int
	for ; from < to; from++ {
		v = append(v, from)
	}
	return v
}

// holding returns the group that the filters of a convolution are in.
func holding(t *testing.T, g *graph.Graph, conv graph.NodeID) Group {
	t.Helper()
	groups, err := Build(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, gr := range groups {
		if slices.Contains(gr.Convs(), conv) {
			return gr
		}
	}
	t.Fatalf("no group holds layer %d", conv)
	return Group{}
}

// csp is the first block of yolov4-tiny, narrowed: layers 0-7, then a head.
func csp() *graph.Graph {
	n := graphtest.New(3, 8, 8)
	a := n.Conv(graph.Input, 8, 3, 1, graph.Leaky) // 0
	s := n.Slice(2, 1, a)                          // 1
	b := n.Conv(s, 4, 3, 1, graph.Leaky)           // 2
	c := n.Conv(b, 4, 3, 1, graph.Leaky)           // 3
	r := n.Route(c, b)                             // 4
	d := n.Conv(r, 8, 1, 1, graph.Leaky)           // 5
	n.MaxPool(n.Route(a, d), 2, 2)                 // 6, 7
	n.Head(7)                                      // 8, 9
	return n.Graph
}

func TestCSPBlock(t *testing.T) {
	got := holding(t, csp(), 0)
	high := append(slices.Repeat([]int{-1}, 4), seq(0, 4)...)
	want := Group{
		ID: 1, Channels: 8,
		Members: []Member{
			{0, "convolutional", Out, seq(0, 8), ""},
			{1, "route", Out, high, ""},
			{2, "convolutional", In, high, ""},
			{6, "route", Out, seq(0, 8), ""},
			{7, "maxpool", Out, seq(0, 8), ""},
			{8, "convolutional", In, seq(0, 8), ""},
		},
		Constraints: []Constraint{{Node: 1, Why: "layer 1 (route) takes slice 1 of 2 of layer 0", Parts: [][]int{seq(0, 4), seq(4, 8)}}},
		Balances:    []Balance{{Parts: [][]int{seq(0, 4), seq(4, 8)}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	text := strings.Join([]string{
		"group 1 (layer 0): 8 channels",
		"  layer   0 convolutional out  0-7",
		"  layer   1 route         out  0-3   group channels 4-7",
		"  layer   2 convolutional in   0-3   group channels 4-7",
		"  layer   6 route         out  0-7",
		"  layer   7 maxpool       out  0-7",
		"  layer   8 convolutional in   0-7",
		"  keep equally many of 0-3 | 4-7: layer 1 (route) takes slice 1 of 2 of layer 0",
		""}, "\n")
	if d := cmp.Diff(text, got.String()); d != "" {
		t.Error(d)
	}
}

func TestConcatenationKeepsGroupsApart(t *testing.T) {
	g := csp()
	for _, c := range []struct {
		conv graph.NodeID
		in   Member // the side of the convolution that reads the concatenation
	}{
		{2, Member{5, "convolutional", In, seq(4, 8), ""}},
		{3, Member{5, "convolutional", In, seq(0, 4), ""}},
		{5, Member{8, "convolutional", In, seq(8, 16), ""}},
	} {
		gr := holding(t, g, c.conv)
		if !slices.ContainsFunc(gr.Members, func(m Member) bool { return cmp.Equal(m, c.in) }) {
			t.Errorf("layer %d: no member %v in\n%v", c.conv, c.in, gr)
		}
		if len(gr.Balances) != 1 || len(gr.Balances[0].Parts) != 1 || gr.Protected != "" {
			t.Errorf("layer %d is not free:\n%v", c.conv, gr)
		}
	}
}

func TestProtected(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 3, 3, 3, graph.Leaky) // 0: depthwise over the image
	n.Conv(0, 8, 3, 1, graph.Leaky)           // 1
	n.Conv(1, 5, 1, 1, graph.Leaky)           // 2: read by no layer
	n.Head(1)                                 // 3, 4
	n.Conv(1, 4, 1, 1, graph.Leaky)           // 5
	n.Upsample(5, 2)                          // 6
	n.Head(6)                                 // 7, 8
	n.Conv(1, 1, 1, 1, graph.Leaky)           // 9
	n.Head(9)                                 // 10, 11
	for conv, why := range map[graph.NodeID]string{
		0: "network input", 2: "output of the network", 3: "head: layer 4 (yolo)", 7: "head: layer 8 (yolo)", 1: "", 5: "", 9: "single channel",
	} {
		got := holding(t, n.Graph, conv).Protected
		if (why == "") != (got == "") || !strings.Contains(got, why) {
			t.Errorf("layer %d: protected %q, want %q", conv, got, why)
		}
	}
}

func TestShortcutTies(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky) // 0
	n.Conv(0, 4, 1, 1, graph.Leaky)           // 1
	n.Conv(1, 8, 3, 1, graph.Leaky)           // 2
	n.Shortcut(2, 0)                          // 3
	n.Head(3)
	gr := holding(t, n.Graph, 0)
	if d := cmp.Diff([]graph.NodeID{0, 2}, gr.Convs()); d != "" || gr.Channels != 8 || len(gr.Balances) != 1 {
		t.Errorf("%s\n%v", d, gr)
	}
	if got := holding(t, n.Graph, 1).Convs(); len(got) != 1 {
		t.Errorf("layer 1 is tied to %v", got)
	}
}

// A sum over a concatenation: 0 and 1 make the halves of what 3 makes whole.
func TestShortcutOverConcatenation(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 4, 3, 1, graph.Leaky) // 0
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky) // 1
	n.Route(0, 1)                             // 2
	n.Conv(2, 10, 3, 1, graph.Leaky)          // 3
	n.Shortcut(3, 2)                          // 4
	n.Head(4)
	gr := holding(t, n.Graph, 0)
	want := []Balance{{Parts: [][]int{seq(0, 4)}}, {Parts: [][]int{seq(4, 10)}}}
	if d := cmp.Diff(want, gr.Balances); d != "" {
		t.Errorf("%s\n%v", d, gr)
	}
	if d := cmp.Diff([]graph.NodeID{0, 1, 3}, gr.Convs()); d != "" {
		t.Error(d)
	}
}

func TestRepeatedSource(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 4, 3, 1, graph.Leaky) // 0
	n.Route(0, 0)                             // 1
	n.Head(1)                                 // 2, 3
	gr := holding(t, n.Graph, 0)
	var in [][]int
	for _, m := range gr.Members {
		if m.Node == 2 {
			in = append(in, m.Map)
		}
	}
	if d := cmp.Diff([][]int{seq(0, 4), seq(4, 8)}, in); d != "" {
		t.Errorf("%s\n%v", d, gr)
	}
}

func TestDepthwiseTies(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 1, 1, graph.Leaky) // 0
	n.Conv(0, 6, 3, 6, graph.Leaky)           // 1
	n.Conv(1, 12, 3, 6, graph.Leaky)          // 2: two filters a channel
	n.Head(2)
	gr := holding(t, n.Graph, 0)
	if d := cmp.Diff([]graph.NodeID{0, 1, 2}, gr.Convs()); d != "" || gr.Channels != 6 {
		t.Errorf("%s\n%v", d, gr)
	}
	var filters [][]int
	for _, m := range gr.Members {
		if m.Node == 2 && m.Side == Out {
			filters = append(filters, m.Map)
		}
	}
	if d := cmp.Diff([][]int{{0, 2, 4, 6, 8, 10}, {1, 3, 5, 7, 9, 11}}, filters); d != "" {
		t.Error(d)
	}
}

func TestGroupedConvolution(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 1, 1, graph.Leaky) // 0
	n.Conv(0, 4, 3, 2, graph.Leaky)           // 1
	n.Head(1)
	for conv, want := range map[graph.NodeID]Balance{
		0: {Parts: [][]int{seq(0, 3), seq(3, 6)}},
		1: {Parts: [][]int{seq(0, 2), seq(2, 4)}},
	} {
		if d := cmp.Diff([]Balance{want}, holding(t, n.Graph, conv).Balances); d != "" {
			t.Errorf("layer %d: %s", conv, d)
		}
	}
}

// The slice border of the concatenation [6 | 2] lies inside layer 0, so that
// its first two channels balance its last two, and the next two layer 1.
func TestSliceAcrossConcatenation(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky) // 0
	n.Conv(graph.Input, 2, 3, 1, graph.Leaky) // 1
	n.Slice(2, 0, n.Route(0, 1))              // 2, 3
	n.Head(3)
	n.Head(2)
	gr := holding(t, n.Graph, 0)
	if d := cmp.Diff([]graph.NodeID{0, 1}, gr.Convs()); d != "" {
		t.Error(d)
	}
	want := []Balance{{Parts: [][]int{{0, 1}, {4, 5}}}, {Parts: [][]int{{2, 3}, {6, 7}}}}
	if d := cmp.Diff(want, gr.Balances); d != "" {
		t.Error(d)
	}
}

// A head takes part in the concatenation that is sliced: what balances it can
// not be cut either.
func TestFixedThroughBalance(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky) // 0
	n.Head(0)                                 // 1, 2
	n.Slice(2, 0, n.Route(1, 0))              // 3, 4
	n.Head(4)
	gr := holding(t, n.Graph, 0)
	if !strings.Contains(gr.Protected, "head: layer 2 (yolo)") {
		t.Errorf("protected %q", gr.Protected)
	}
}

func TestBuildErrors(t *testing.T) {
	raw := &graph.Graph{Net: graph.Net{Channels: 3, Height: 4, Width: 4}}
	if _, err := Build(raw); err == nil || !strings.Contains(err.Error(), "no layers") {
		t.Errorf("empty graph: %v", err)
	}
	raw.Add(&graph.Upsample{Stride: 2}, graph.Input)
	if _, err := Build(raw); err == nil || !strings.Contains(err.Error(), "layer 0 (upsample): shape is not known") {
		t.Errorf("no shapes: %v", err)
	}
}

func TestJSON(t *testing.T) {
	want := holding(t, csp(), 0)
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Group
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := json.Unmarshal([]byte(`{"members":[{"side":"up"}]}`), &got); err == nil {
		t.Error("side up was accepted")
	}
}

// Properties of any graph: every filter is in one group, once; balances
// partition the channels in parts of equal size; and any numbers kept, with
// any choice of channels, meet every constraint.
func TestGroupsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.Random(t)
		groups, err := Build(g)
		if err != nil {
			t.Fatal(err)
		}
		checkReasons(t, groups)
		filters := map[graph.NodeID][]int{}
		for _, gr := range groups {
			checkBalances(t, gr)
			for _, m := range gr.Members {
				if m.IsFilters() {
					filters[m.Node] = append(filters[m.Node], slices.DeleteFunc(slices.Clone(m.Map), func(c int) bool { return c < 0 })...)
				}
			}
		}
		for _, n := range g.Convs() {
			got := slices.Sorted(slices.Values(filters[n.ID]))
			if !slices.Equal(got, seq(0, n.Out.C)) {
				t.Fatalf("%v: filters in groups: %v", n, got)
			}
			if g.FeedsHead(n.ID) {
				checkFixed(t, groups, n.ID)
			}
		}
	})
}

// checkReasons says whether anything is protected for a reason that can be
// helped.
func checkReasons(t *rapid.T, groups []Group) {
	for _, gr := range groups {
		for _, b := range gr.Balances {
			small := b.Size() == 1 || strings.Contains(b.Fixed, "scales pixels by its one channel")
			if b.Fixed != "" && !small && !fixedForGood(b.Fixed) {
				t.Fatalf("protected for no good reason:\n%v", gr)
			}
		}
	}
}

func checkFixed(t *rapid.T, groups []Group, conv graph.NodeID) {
	for _, gr := range groups {
		for _, m := range gr.Members {
			for _, b := range gr.Balances {
				if m.IsFilters() && m.Node == conv && m.Map[b.Parts[0][0]] >= 0 && b.Fixed == "" {
					t.Fatalf("head %d may be cut:\n%v", conv, gr)
				}
			}
		}
	}
}

func checkBalances(t *rapid.T, gr Group) {
	keep := make([]bool, gr.Channels)
	seen := make([]int, gr.Channels)
	for _, b := range gr.Balances {
		n := rapid.IntRange(0, b.Size()).Draw(t, "kept")
		for _, part := range b.Parts {
			if len(part) != b.Size() {
				t.Fatalf("parts of unequal size:\n%v", gr)
			}
			order := rapid.Permutation(part).Draw(t, "order")
			for i, ch := range order {
				seen[ch]++
				keep[ch] = i < n
			}
		}
	}
	if !slices.Equal(seen, slices.Repeat([]int{1}, gr.Channels)) {
		t.Fatalf("balances do not partition the channels: %v\n%v", seen, gr)
	}
	for _, c := range gr.Constraints {
		for _, part := range c.Parts {
			if kept(part, keep) != kept(c.Parts[0], keep) {
				t.Fatalf("balanced choice %v breaks %q\n%v", keep, c.Why, gr)
			}
		}
	}
}

func kept(part []int, keep []bool) int {
	n := 0
	for _, ch := range part {
		if keep[ch] {
			n++
		}
	}
	return n
}
