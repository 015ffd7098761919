package surgery

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

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
	means[1] = []float32{1, float32(math.NaN())}
	if _, err := Apply(g, p, Options{Fold: Measured, Means: means}); err == nil || !strings.Contains(err.Error(), "the measured mean of channel 1 is NaN") {
		t.Errorf("with a mean that is no number: %v", err)
	}
}

// channelMeans measures every layer's channels on one image.
func channelMeans(g *graph.Graph, image []float64) map[graph.NodeID][]float32 {
	means := map[graph.NodeID][]float32{}
	for id, y := range graphtest.Forward(g, image) {
		px := len(y) / g.Nodes[id].Out.C
		for c := range g.Nodes[id].Out.C {
			means[graph.NodeID(id)] = append(means[graph.NodeID(id)], float32(mean(y[c*px:(c+1)*px])))
		}
	}
	return means
}

// The mean of a constant channel is the constant: where a plan removes such alone,
// and no border is padded, what was measured changes the weights as beta does.
// Measured at the convolutions alone, it comes to the same.
func TestMeasuredFoldOfConstantsIsBeta(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.RandomSharing(t, 1)
		p, ok := randomPlan(t, g, drawAlign(t))
		if !ok {
			return
		}
		silence(g, p)
		all := channelMeans(g, graphtest.Image(g, 8))
		convs := map[graph.NodeID][]float32{}
		for _, n := range g.Convs() {
			convs[n.ID] = all[n.ID]
		}
		want, err := Apply(g, p, Options{Fold: Beta})
		if err != nil {
			t.Fatal(err)
		}
		for _, means := range []map[graph.NodeID][]float32{all, convs} {
			got, err := Apply(g, p, Options{Fold: Measured, Means: means})
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range want.Nodes {
				if d := weightsDiffer(got.Nodes[i].Weights, n.Weights); !(d < 1e-5) {
					t.Fatalf("%v: weights differ by %g from those with beta", n, d)
				}
			}
		}
	})
}

// Two sums of what layer 0 gives (means 2, 1) and a branch each (7, 3 and 10, 4),
// read by a head with 1 and 100. Without the first branch and without channel 1
// it misses 7 of channel 0 and all 8 of channel 1; the second sum's own mean would
// count the 3 of the first branch twice.
func TestMeasuredFoldOfBlockAndChannels(t *testing.T) {
	n := graphtest.New(1, 4, 4)
	n.Conv(graph.Input, 2, 1, 1, graph.Linear)
	n.Shortcut(n.Conv(0, 2, 1, 1, graph.Linear), 0)
	n.Shortcut(n.Conv(2, 2, 1, 1, graph.Linear), 2)
	n.Head(4)
	g := n.Fill(1)
	for f := range 6 {
		copy(g.Nodes[5].Weights.Kernel[2*f:], []float32{1, 100})
	}
	means := map[graph.NodeID][]float32{0: {2, 1}, 1: {7, 3}, 2: {9, 4}, 3: {10, 4}, 4: {19, 8}, 5: make([]float32, 6)}
	p := &plan.Plan{Version: plan.Version, Removed: []graph.NodeID{1, 2}, Keep: plan.Keep{0: {0}, 3: {0}}}
	cut, err := Apply(g, p, Options{Fold: Measured, Means: means})
	if err != nil {
		t.Fatal(err)
	}
	for f, b := range cut.Nodes[3].Weights.Bias {
		if got := b - g.Nodes[5].Weights.Bias[f]; math.Abs(float64(got)-807) > 1e-3 {
			t.Errorf("bias %d moved by %v, want 807", f, got)
		}
	}
	if got := means[4]; !slices.Equal(got, []float32{19, 8}) {
		t.Errorf("the means were changed to %v", got)
	}
}

// Where a block is removed, nothing changes for layers that do not read it: the
// mean of a maximum is not the maximum of means, and yet nothing is missing there.
func TestMeasuredFoldLeavesOthersAlone(t *testing.T) {
	n := graphtest.New(2, 6, 6)
	n.Conv(graph.Input, 4, 3, 1, graph.Mish)
	n.Conv(n.MaxPool(0, 2, 2), 4, 1, 1, graph.Leaky)
	n.Head(2)
	n.Shortcut(n.Conv(0, 4, 3, 1, graph.Leaky), 0)
	n.Head(6)
	g := n.Fill(3)
	rest, err := Remove(g, []graph.NodeID{5, 6}, Options{Fold: Measured, Means: channelMeans(g, graphtest.Image(g, 3))})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []graph.NodeID{0, 2, 3} {
		if d := weightsDiffer(g.Nodes[id].Weights, rest.Nodes[id].Weights); d != 0 {
			t.Errorf("layer %d: weights differ by %g", id, d)
		}
	}
}
