package surgery

import (
	"math"
	"strings"
	"testing"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/graph"
)

// A 1 x 1 convolution with filter means 3 and 5 loses the second; what reads it
// with weights 2 and 7 loses 35, which goes off its batch norm's mean, and what
// reads it without batch norm gets it as bias.
func TestMeasuredFold(t *testing.T) {
	n := graphtest.New(1, 4, 4)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Leaky)
	n.Head(1)
	g := n.Fill(1)
	copy(g.Nodes[1].Weights.Kernel, []float32{2, 7, 1, -1})
	p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}}}
	means := map[graph.NodeID][]float32{0: {3, 5}, 1: {0, 0}, 2: make([]float32, g.Nodes[2].Out.C)}
	cut, err := Apply(g, p, Options{Fold: Measured, Means: means})
	if err != nil {
		t.Fatal(err)
	}
	was, now := g.Nodes[1].Weights, cut.Nodes[1].Weights
	for f, want := range []float64{-35, 5} {
		if got := float64(now.Mean[f] - was.Mean[f]); math.Abs(got-want) > 1e-5 {
			t.Errorf("the mean of filter %d moved by %v, want %v", f, got, want)
		}
	}

	p.Keep = plan.Keep{1: {0}}
	means[1] = []float32{3, 5}
	if cut, err = Apply(g, p, Options{Fold: Measured, Means: means}); err != nil {
		t.Fatal(err)
	}
	for f := range g.Nodes[2].Out.C {
		want := 5 * float64(g.Nodes[2].Weights.Kernel[2*f+1])
		if got := float64(cut.Nodes[2].Weights.Bias[f] - g.Nodes[2].Weights.Bias[f]); math.Abs(got-want) > 1e-5 {
			t.Errorf("bias %d moved by %v, want %v", f, got, want)
		}
	}

	delete(means, 1)
	if _, err := Apply(g, p, Options{Fold: Measured, Means: means}); err == nil || !strings.Contains(err.Error(), "layer 1 (convolutional) has no measured means") {
		t.Errorf("without means: %v", err)
	}
	means[1] = []float32{1}
	if _, err := Apply(g, p, Options{Fold: Measured, Means: means}); err == nil || !strings.Contains(err.Error(), "1 measured means for 2 channels") {
		t.Errorf("with too few means: %v", err)
	}
}
