package depgraph

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// add appends any operation and returns its node.
func add(t *testing.T, n graphtest.Net, op graph.Op, in ...graph.NodeID) graph.NodeID {
	t.Helper()
	id := n.Add(op, in...).ID
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	return id
}

// maps returns what the group's members on one side of a layer hold.
func maps(gr Group, id graph.NodeID, side Side) [][]int {
	var out [][]int
	for _, m := range gr.Members {
		if m.Node == id && m.Side == side {
			out = append(out, m.Map)
		}
	}
	return out
}

func checkMaps(t *testing.T, gr Group, id graph.NodeID, side Side, want ...[]int) {
	t.Helper()
	if d := cmp.Diff(want, maps(gr, id, side)); d != "" {
		t.Errorf("layer %d %s: %s\n%v", id, side, d, gr)
	}
}

func missing(n int) []int { return slices.Repeat([]int{-1}, n) }

// What only passes channels on, one to one.
func TestPassingLayers(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky) // 0
	ops := []graph.Op{
		&graph.Dropout{Probability: .5}, &graph.Silence{}, &graph.LocalAvgPool{Size: 2, Stride: 2}, &graph.AvgPool{},
	}
	for _, op := range ops {
		add(t, n, op, n.Last())
	}
	n.Head(n.Last()) // 5, 6
	gr := holding(t, n.Graph, 0)
	for id := range graph.NodeID(5) {
		checkMaps(t, gr, id, Out, seq(0, 8))
	}
	checkMaps(t, gr, 5, In, seq(0, 8))
}

// Darknet adds the channels that an input shares with the layer before, which
// are its first ones: of 12 channels 8, of 4 all to the first 4.
func TestUnequalShortcut(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 12, 3, 1, graph.Leaky) // 0
	n.Conv(graph.Input, 4, 3, 1, graph.Leaky)  // 1
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)  // 2
	n.Shortcut(2, 0, 1)                        // 3
	n.Head(3)
	n.Head(0)
	gr := holding(t, n.Graph, 0)
	if gr.Channels != 12 {
		t.Errorf("%d channels", gr.Channels)
	}
	checkMaps(t, gr, 0, Out, seq(0, 12))
	checkMaps(t, gr, 1, Out, append(seq(0, 4), missing(8)...))
	checkMaps(t, gr, 2, Out, append(seq(0, 8), missing(4)...))
	checkMaps(t, gr, 3, Out, append(seq(0, 8), missing(4)...))
	want := []Balance{{Parts: [][]int{seq(0, 4)}}, {Parts: [][]int{seq(4, 8)}}, {Parts: [][]int{seq(8, 12)}}}
	if d := cmp.Diff(want, gr.Balances); d != "" {
		t.Error(d)
	}
	if text := "layer 2 + layer 0 (the first 8 of its 12 channels) + layer 1 (to the first 4 channels)"; !strings.Contains(gr.String(), text) {
		t.Errorf("%v does not say %q", gr, text)
	}
}

// Squeeze and excitation: the gate's last convolution goes with what it
// scales, the one before it is free.
func TestSqueezeAndExcitation(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Swish)                       // 0
	add(t, n, &graph.AvgPool{}, 0)                                  // 1
	n.Conv(1, 2, 1, 1, graph.Swish)                                 // 2
	n.Conv(2, 8, 1, 1, graph.Logistic)                              // 3
	add(t, n, &graph.ScaleChannels{Activation: graph.Linear}, 3, 0) // 4
	n.Head(4)
	want := strings.Join([]string{
		"group 1 (layers 0, 3): 8 channels",
		"  layer   0 convolutional  out  0-7",
		"  layer   1 avgpool        out  0-7",
		"  layer   2 convolutional  in   0-7",
		"  layer   3 convolutional  out  0-7",
		"  layer   4 scale_channels out  0-7   layer 0 scaled by layer 3",
		"  layer   5 convolutional  in   0-7",
		""}, "\n")
	if d := cmp.Diff(want, holding(t, n.Graph, 0).String()); d != "" {
		t.Error(d)
	}
	if gr := holding(t, n.Graph, 2); len(gr.Convs()) != 1 || gr.Protected != "" {
		t.Errorf("layer 2 is not free:\n%v", gr)
	}
}

func TestPixelGate(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Swish)                                      // 0
	n.Conv(0, 1, 1, 1, graph.Logistic)                                             // 1
	add(t, n, &graph.ScaleChannels{Activation: graph.Linear, ScaleWH: true}, 1, 0) // 2
	n.Head(2)
	if gr := holding(t, n.Graph, 1); gr.Protected != "layer 2 (scale_channels) scales pixels by its one channel" {
		t.Errorf("protected %q", gr.Protected)
	}
	gr := holding(t, n.Graph, 0)
	checkMaps(t, gr, 2, Out, seq(0, 8))
	if gr.Protected != "" || len(gr.Convs()) != 1 {
		t.Errorf("layer 0 is not free:\n%v", gr)
	}
}

func TestSAM(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Mish)              // 0
	n.Conv(0, 8, 1, 1, graph.Logistic)                    // 1
	add(t, n, &graph.SAM{Activation: graph.Linear}, 1, 0) // 2
	n.Head(2)
	gr := holding(t, n.Graph, 0)
	for _, id := range []graph.NodeID{0, 1, 2} {
		checkMaps(t, gr, id, Out, seq(0, 8))
	}
	if gr.Protected != "" {
		t.Errorf("%v", gr)
	}
}

// Channel c of 3 goes to off*3 + c for the four pixels off of a block.
func TestReorg3D(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 3, 3, 1, graph.Leaky) // 0
	add(t, n, &graph.Reorg3D{Stride: 2}, 0)   // 1
	n.Head(1)                                 // 2, 3
	gr := holding(t, n.Graph, 0)
	blocks := [][]int{{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}}
	checkMaps(t, gr, 1, Out, blocks...)
	checkMaps(t, gr, 2, In, blocks...)
	line := "  layer   1 reorg3d       out  0-2 | 3-5 | 6-8 | 9-11   each group channels 0-2; 2x2 pixels become channels\n"
	if !strings.Contains(gr.String(), line) {
		t.Errorf("%v does not say %q", gr, line)
	}
}

// In reverse, channels c, 2+c, 4+c and 6+c of 8 become channel c of 2, so the
// convolution that makes the 8 loses four filters with every channel.
func TestReorg3DReverse(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)              // 0
	add(t, n, &graph.Reorg3D{Stride: 2, Reverse: true}, 0) // 1
	n.Head(1)
	gr := holding(t, n.Graph, 0)
	checkMaps(t, gr, 0, Out, []int{0, 1}, []int{2, 3}, []int{4, 5}, []int{6, 7})
	checkMaps(t, gr, 1, Out, []int{0, 1})
}

// YOLOv2's reorg with stride 2 reads 8 channels as two of four times the
// pixels, 0-3 and 4-7, and makes of the first one the channels 0-3, 8-11, 16-19
// and 24-27, of the second one the others.
func TestReorg(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky) // 0
	add(t, n, &graph.Reorg{Stride: 2}, 0)     // 1
	n.Head(1)
	gr := holding(t, n.Graph, 0)
	if gr.Channels != 2 || gr.Protected != "" {
		t.Fatal(gr)
	}
	checkMaps(t, gr, 0, Out, []int{0, 4}, []int{1, 5}, []int{2, 6}, []int{3, 7})
	var first []int
	for _, m := range maps(gr, 1, Out) {
		first = append(first, m[0])
	}
	if d := cmp.Diff(slices.Concat(seq(0, 4), seq(8, 12), seq(16, 20), seq(24, 28)), first); d != "" {
		t.Error(d)
	}
}

// What a training loss reads keeps its channels: the input of a contrastive
// layer, and a layer that a head names.
func TestTrainingLosses(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)    // 0
	n.Conv(0, 4, 1, 1, graph.Leaky)              // 1
	n.Conv(0, 4, 1, 1, graph.Leaky)              // 2
	n.Head(0)                                    // 3, 4
	n.Route(2)                                   // 5
	add(t, n, &graph.Contrastive{Classes: 1}, 5) // 6
	n.Conv(1, 4, 1, 1, graph.Leaky)              // 7
	n.Head(7)                                    // 8, 9
	n.Nodes[9].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 1}, {Key: "yolo_layer", Layer: 4}}
	for conv, why := range map[graph.NodeID]string{
		0: "", 7: "",
		1: "training loss: layer 9 (yolo) reads it as its embedding_layer",
		2: "training loss: layer 6 (contrastive) compares all its channels",
		3: "head: layer 4 (yolo) fixes the number of filters",
	} {
		if got := holding(t, n.Graph, conv).Protected; got != why {
			t.Errorf("layer %d: protected %q, want %q", conv, got, why)
		}
	}
}

// Long lists are cut short in the middle.
func TestDescribeShortens(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	var ids []graph.NodeID
	for range 10 {
		ids = append(ids, n.Conv(graph.Input, 2, 1, 1, graph.Leaky))
	}
	n.Shortcut(ids...)
	n.Head(n.Route(slices.Repeat([]graph.NodeID{10}, 6)...)) // 11, 12
	text := holding(t, n.Graph, 0).String()
	for _, want := range []string{
		"group 1 (layers 0, 1, 2, 3, 4, 5, ..., 9): 2 channels\n",
		"  layer  12 convolutional in   0-1 | 2-3 | ... | 10-11   each group channels 0-1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\ndoes not say %q", text, want)
		}
	}
	if got := ranges([]int{0, 2, 4, 6, 8, 10, 12, 14, 16}); got != "0,2,4,6,8,10,...,16" {
		t.Errorf("got %s", got)
	}
}
