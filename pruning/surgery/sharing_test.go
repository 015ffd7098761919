package surgery

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// unshared returns a copy of g in which every convolution has weights of its own.
func unshared(g *graph.Graph) *graph.Graph {
	g = g.Clone()
	for _, n := range g.Convs() {
		n.Conv().Back, n.Weights = 0, n.Weights.Clone()
	}
	return g
}

// trident has three towers over layer 1 that share their weights and differ in
// dilation, as Darknet's resnet152_trident.cfg does, with references of both
// kinds.
const trident = `[net]
width=16
height=16
channels=3

[convolutional]
batch_normalize=1
filters=12
size=3
stride=1
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

# large
[convolutional]
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=leaky

[convolutional]
batch_normalize=1
dilation=3
filters=16
size=3
stride=1
pad=1
activation=linear

[shortcut]
from=-3
activation=leaky

[convolutional]
filters=6
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0
anchors=8,8
classes=1
num=1

# medium
[route]
layers=1

[convolutional]
share_index=2
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=leaky

[convolutional]
share_index=-6
dilation=2
batch_normalize=1
filters=16
size=3
stride=1
pad=1
activation=linear

[shortcut]
from=-3
activation=leaky

[convolutional]
share_index=5
filters=6
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0
anchors=8,8
classes=1
num=1

# small
[route]
layers=1

[convolutional]
share_index=2
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=leaky

[convolutional]
share_index=3
dilation=1
batch_normalize=1
filters=16
size=3
stride=1
pad=1
activation=linear

[shortcut]
from=-3
activation=leaky

[convolutional]
share_index=5
filters=6
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0
anchors=8,8
classes=1
num=1
`

func tridentNet(t *testing.T, seed uint64) *graph.Graph {
	t.Helper()
	g, warnings, err := darknet.Decode("trident.cfg", strings.NewReader(trident))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	return graphtest.Net{Graph: g}.Fill(seed)
}

// files writes a network as cfg and weights and reads it back.
func files(t fataler, g *graph.Graph) (back *graph.Graph, cfg string, weights int) {
	var text, body bytes.Buffer
	if err := darknet.Encode(&text, g); err != nil {
		t.Fatal(err)
	}
	if err := darknet.EncodeWeights(&body, g, 0); err != nil {
		t.Fatal(err)
	}
	cfg, weights = text.String(), body.Len()
	back, _, err := darknet.Decode("cut.cfg", &text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := darknet.DecodeWeights("cut.weights", &body, back); err != nil {
		t.Fatal(err)
	}
	return back, cfg, weights
}

// The files of a network that shares weights, whole and cut: each set of weights
// stands there once, the text keeps its references, and what is read back
// computes the same.
func TestTridentFiles(t *testing.T) {
	g := tridentNet(t, 3)
	back, text, size := files(t, g)
	if text != trident {
		t.Errorf("the text has changed: %s", cmp.Diff(trident, text))
	}
	// kernel and 4 vectors of a convolution with batch norm, bias and kernel of the head's
	const floats = (12*27 + 4*12) + (16*12*9 + 4*16) + (8*16 + 4*8) + (16*8*9 + 4*16) + (6*16 + 6)
	if size != 20+4*floats {
		t.Errorf("%d bytes of weights, want %d", size, 20+4*floats)
	}
	sameHeads(t, "whole", g, back)
	p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{}}
	for _, id := range []graph.NodeID{2, 8, 14} {
		p.Keep[id] = []int{0, 3, 4, 5, 7}
	}
	for _, id := range []graph.NodeID{1, 3, 9, 15} {
		p.Keep[id] = []int{1, 2, 5, 6, 7, 9, 10, 11, 14}
	}
	checkMasking(t, g, p)
	cut, err := Apply(g, p, Options{Fold: None})
	if err != nil {
		t.Fatal(err)
	}
	back, text, size = files(t, cut)
	sameHeads(t, "cut", cut, back)
	want := strings.ReplaceAll(strings.ReplaceAll(trident, "filters=8\n", "filters=5\n"), "filters=16\n", "filters=9\n")
	if text != want {
		t.Errorf("the cut network's text: %s", cmp.Diff(want, text))
	}
	if int64(size) != cost.Of(back).WeightsFileBytes() {
		t.Errorf("%d bytes of weights, by the cost %d", size, cost.Of(back).WeightsFileBytes())
	}
}

func TestTridentRandomCuts(t *testing.T) {
	g := tridentNet(t, 4)
	rapid.Check(t, func(t *rapid.T) {
		if p, ok := randomPlan(t, g, drawAlign(t)); ok {
			checkMasking(t, g, p)
			cut, err := Apply(g, p, Options{Fold: None})
			if err != nil {
				t.Fatal(err)
			}
			back, _, _ := files(t, cut)
			sameHeads(t, "read back", cut, back)
		}
	})
}

// The block of a tower goes by itself where it uses others' weights; the block
// that owns them stays, or goes with no other left that uses them.
func TestTridentBlocks(t *testing.T) {
	g := tridentNet(t, 5)
	var got []string
	for _, b := range depgraph.Blocks(g) {
		got = append(got, b.String())
	}
	want := []string{"residual of layers 8-10, for which layer 7 stands; the leaky behind the sum goes too",
		"residual of layers 14-16, for which layer 13 stands; the leaky behind the sum goes too"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	rest, err := Remove(g, []graph.NodeID{8, 9, 10}, Options{Fold: None})
	if err != nil {
		t.Fatal(err)
	}
	sameHeads(t, "without a tower's block", silenced(g, depgraph.Blocks(g)[:1]), rest)
	back, text, _ := files(t, rest)
	sameHeads(t, "read back", rest, back)
	for id, owner := range map[graph.NodeID]graph.NodeID{8: 5, 11: 2, 12: 3, 14: 5} {
		if n := back.Nodes[id]; back.Owner(n).ID != owner {
			t.Errorf("%v uses the weights of layer %d, want %d\n%s", n, back.Owner(n).ID, owner, text)
		}
	}
	_, err = Remove(g, []graph.NodeID{2, 3, 4}, Options{})
	if err == nil || !strings.Contains(err.Error(), "layer 2 (convolutional) can not be taken out") {
		t.Errorf("the owners' block: %v", err)
	}
	_, err = Mask(g, &plan.Plan{Version: plan.Version, Removed: []graph.NodeID{8, 9, 10}})
	if err == nil || !strings.Contains(err.Error(), "can not be masked") {
		t.Errorf("mask of a tower's block: %v", err)
	}
}

// By hand: layers 1 and 2 share a kernel of one filter over the two filters of
// layer 0 and of layer 3, of which filter 1 is constant: 2 and 6. The kernel meets
// it with 5, which one reads 2*5, the other 6*5: the bias grows by the mean, 20.
func TestFoldOfSharedWeights(t *testing.T) {
	n := graphtest.New(1, 3, 3)
	n.Conv(graph.Input, 2, 1, 1, graph.Linear)
	n.ConvOp(0, graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	n.Conv(graph.Input, 2, 1, 1, graph.Linear)
	n.Use(1, 2, 1, 1, graph.Linear)
	n.Head(1)
	n.Head(3)
	g := n.Fill(1)
	g.Nodes[0].Weights.Gamma, g.Nodes[0].Weights.Bias = []float32{1, 0}, []float32{0, 2}
	g.Nodes[2].Weights.Gamma, g.Nodes[2].Weights.Bias = []float32{1, 0}, []float32{0, 6}
	copy(g.Nodes[1].Weights.Kernel, []float32{7, 5})
	copy(g.Nodes[1].Weights.Bias, []float32{1})
	p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}, 2: {0}}}
	for _, fold := range []Fold{Beta, Expected} {
		cut, err := Apply(g, p, Options{Fold: fold})
		if err != nil {
			t.Fatal(err)
		}
		w := cut.Nodes[1].Weights
		if cut.Nodes[3].Weights != w {
			t.Errorf("%s: the weights are not shared any more", fold)
		}
		if d := cmp.Diff([][]float32{{7}, {21}}, [][]float32{w.Kernel, w.Bias}, cmpopts.EquateApprox(0, 1e-5)); d != "" {
			t.Errorf("%s: kernel and bias %s", fold, d)
		}
	}
}

func TestMaskOfSharedLogistic(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 4, 1, 1, graph.Logistic)
	n.Use(0, graph.Input, 1, 1, graph.Leaky)
	n.Head(0)
	n.Head(1)
	p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}, 1: {0}}}
	_, err := Mask(n.Fill(1), p)
	if err == nil || !strings.Contains(err.Error(), "layer 1 (convolutional): a channel can not be masked behind its leaky and behind the logistic of layer 0") {
		t.Errorf("error %v", err)
	}
}

// Shared kernels are zeroed and counted once, and are kept whole if any layer that
// uses them is to be.
func TestZeroSharedKernels(t *testing.T) {
	g := tridentNet(t, 6)
	out, s, err := ZeroKernels(g, 0.5, 15)
	if err != nil {
		t.Fatal(err)
	}
	var whole []string
	kernels := 0
	for _, l := range s.Layers {
		whole = append(whole, l.Whole)
		kernels += l.Kernels
	}
	if d := cmp.Diff([]string{"", "", "", "skip", "head"}, whole); d != "" {
		t.Error(d)
	}
	if want := 12*3 + 16*12 + 8*16 + 16*8 + 6*16; kernels != want || s.Kernels != want {
		t.Errorf("%d and %d kernels, want %d", kernels, s.Kernels, want)
	}
	if out.Nodes[8].Weights != out.Nodes[2].Weights || math.Abs(float64(s.Layers[2].Zero)-64) > 0 {
		t.Errorf("%d kernels of layer 2 are zero", s.Layers[2].Zero)
	}
}
