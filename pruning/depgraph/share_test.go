package depgraph

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// Layer 3 uses the weights of layer 1: the filters of both are one group, and so
// are the channels that they read.
func TestSharedWeights(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky)
	n.Conv(0, 8, 3, 1, graph.Leaky)
	n.Conv(graph.Input, 6, 3, 1, graph.Mish)
	n.Use(1, 2, 1, 2, graph.Leaky)
	n.Head(1) // 4, 5
	n.Head(3) // 6, 7
	read := holding(t, n.Graph, 0)
	for _, id := range []graph.NodeID{0, 2} {
		checkMaps(t, read, id, Out, seq(0, 6))
	}
	for _, id := range []graph.NodeID{1, 3} {
		checkMaps(t, read, id, In, seq(0, 6))
	}
	made := holding(t, n.Graph, 1)
	for _, id := range []graph.NodeID{1, 3} {
		checkMaps(t, made, id, Out, seq(0, 8))
	}
	for _, id := range []graph.NodeID{4, 6} {
		checkMaps(t, made, id, In, seq(0, 8))
	}
	if read.ID == made.ID || read.Protected != "" || made.Protected != "" {
		t.Errorf("groups %v%v", read, made)
	}
	want := "  layer   3 convolutional out  0-7   uses the weights of layer 1\n"
	if text := made.Describe(); !strings.Contains(text, want) {
		t.Errorf("no line\n%sin\n%s", want, text)
	}
	if d := cmp.Diff([]graph.NodeID{1, 3}, made.Convs()); d != "" {
		t.Error(d)
	}
}

// What reads the image with weights that another layer uses protects what that
// one reads, and a head protects the filters of all that share its.
func TestSharedWeightsProtect(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky)
	n.Conv(0, 3, 1, 1, graph.Leaky)
	n.Use(0, 1, 1, 1, graph.Leaky)
	n.Head(2) // 3, 4
	n.Use(3, 0, 1, 1, graph.Linear)
	n.Head(n.Last()) // 6, 7
	if gr := holding(t, n.Graph, 1); gr.Protected != "network input" {
		t.Errorf("layer 1: %v", gr)
	}
	if gr := holding(t, n.Graph, 5); !strings.HasPrefix(gr.Protected, "head: ") {
		t.Errorf("layer 5: %v", gr)
	}
	if gr := holding(t, n.Graph, 0); gr.Protected != "" {
		t.Errorf("layer 0: %v", gr)
	}
}

// A convolution that uses its own result's weights ties what it reads to what it
// makes.
func TestRepeatedLayer(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky)
	n.Conv(0, 6, 3, 1, graph.Leaky)
	n.Use(1, 1, 1, 1, graph.Leaky)
	n.Head(2)
	gr := holding(t, n.Graph, 0)
	for _, id := range []graph.NodeID{0, 1, 2} {
		checkMaps(t, gr, id, Out, seq(0, 6))
	}
	for _, b := range Blocks(n.Graph) {
		if b.Layers[0] == 1 {
			t.Errorf("%v: layer 2 uses its weights", b)
		}
	}
}
