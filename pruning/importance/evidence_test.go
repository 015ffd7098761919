package importance

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

type values = map[graph.NodeID][]float32

// measuredChain is what could have been measured on chain.
func measuredChain() *Evidence {
	return &Evidence{
		MeanAbs:      values{0: {1, 2, 3}, 1: {4, 5}},
		Small:        values{0: {0.25, 1, 0}, 1: {0.5, 0.5}},
		GateTaylor:   values{0: {6, 7, 8}, 1: {9, 10}},
		WeightTaylor: values{0: {11, 12, 13}, 1: {14, 15}},
		Hessian:      values{0: {16, 17, 18}, 1: {19, 20}},
	}
}

func TestMeasured(t *testing.T) {
	for _, c := range []struct {
		name string
		want []float64
	}{
		{"response", []float64{1, 2, 3}},
		{"apoz", []float64{0.75, 0, 1}},
		{"taylor", []float64{6, 7, 8}},
		{"taylor-weights", []float64{11, 12, 13}},
		{"hessian", []float64{16, 17, 18}},
	} {
		g := chain()
		live := Live{}
		live.Cut(g, groupOf(t, g, 0), []bool{false, true, true})
		check(t, g, Options{Criterion: c.name, Evidence: measuredChain()}, 0, nil, c.want...)
		check(t, g, Options{Criterion: c.name, Evidence: measuredChain()}, 0, live, c.want...)
	}
}

// TestGateNeedsNoEvidenceWithoutBatchNorm: conv 1 adds to conv 0 and has no
// batch norm.
func TestGateNeedsNoEvidenceWithoutBatchNorm(t *testing.T) {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.ConvOp(0, graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	n.Head(n.Shortcut(1, 0))
	g := n.Fill(1)
	check(t, g, Options{Criterion: "taylor", Evidence: &Evidence{GateTaylor: values{0: {3, 4}}}}, 0, nil, 3, 4)
	_, err := New(g, build(t, g), Options{Criterion: "taylor-weights", Evidence: &Evidence{WeightTaylor: values{0: {3, 4}}}})
	if err == nil || !strings.Contains(err.Error(), "layer 1 (convolutional) was not measured") {
		t.Errorf("error %v", err)
	}
}

// TestSharedWeights: conv 2 uses the weights of conv 1, whose filters count at
// both; gradients may have been counted with the owner.
func TestSharedWeights(t *testing.T) {
	n := graphtest.New(2, 2, 2)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Leaky)
	n.ConvOp(1, graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, BatchNorm: true, Activation: graph.Leaky, Back: 1})
	n.Head(2)
	g := n.Fill(1)
	g.LinkShared()
	copy(g.Nodes[1].Weights.Gamma, []float32{2, 3})
	check(t, g, Options{Criterion: "bn-scale"}, 2, nil, scale(g, 0, 0)+4, scale(g, 0, 1)+6)
	owners := values{0: {1, 2}, 1: {3, 4}}
	check(t, g, Options{Criterion: "taylor", Evidence: &Evidence{GateTaylor: owners}}, 2, nil, 4, 6)
	uses := values{0: {1, 2}, 1: {3, 4}, 2: {5, 6}}
	check(t, g, Options{Criterion: "taylor", Evidence: &Evidence{GateTaylor: uses}}, 2, nil, 9, 12)
	_, err := New(g, build(t, g), Options{Criterion: "response", Evidence: &Evidence{MeanAbs: owners}})
	if err == nil || !strings.Contains(err.Error(), "layer 2 (convolutional) was not measured") {
		t.Errorf("error %v", err)
	}
}

func scale(g *graph.Graph, conv graph.NodeID, k int) float64 {
	return math.Abs(float64(g.Nodes[conv].Weights.Gamma[k]))
}

// TestNeeds: what needs images is refused without evidence, naming the flags;
// what does not is made without.
func TestNeeds(t *testing.T) {
	want := map[string][2]bool{
		"taylor": {true, true}, "taylor-weights": {true, true}, "hessian": {true, true},
		"response": {true, false}, "apoz": {true, false},
	}
	g := chain()
	for _, name := range Names {
		images, gradients := Needs(name)
		if d := cmp.Diff(want[name], [2]bool{images, gradients}); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		message := ""
		switch {
		case gradients:
			message = "criterion " + name + " needs gradients: give --images and --annotations"
		case images:
			message = "criterion " + name + " needs activations: give --images"
		}
		for _, e := range []*Evidence{nil, {}} {
			_, err := New(g, build(t, g), Options{Criterion: name, Evidence: e})
			if (err == nil) != (message == "") || err != nil && err.Error() != message {
				t.Errorf("%s: error %v, want %q", name, err, message)
			}
		}
	}
}

func TestBadOptions(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Criterion: "gamma"}, `criterion: "gamma" is not known: use one of bn-scale, bn-scale-filter`},
		{Options{}, `criterion: "" is not known`},
		{Options{Criterion: "l1", Combine: "min"}, `combine: "min" is not known: use one of sum, mean, max, norm`},
		{Options{Criterion: "l1", Members: "mean"}, `members: "mean" is not known: use one of l2, layer, max, none`},
		{Options{Criterion: "taylor", Evidence: &Evidence{Small: values{}}}, "needs gradients"},
		{Options{Criterion: "response", Evidence: &Evidence{MeanAbs: values{0: {1, 2, 3}}}}, "criterion response: layer 1 (convolutional) was not measured"},
		{Options{Criterion: "response", Evidence: &Evidence{MeanAbs: values{0: {1, 2}}}}, "measured with 2 channels, it has 3"},
		{Options{Criterion: "hessian", Evidence: &Evidence{Hessian: values{0: {1, nan, 3}}}}, "layer 0 (convolutional): channel 1 was measured as NaN"},
		{Options{Criterion: "apoz", Evidence: &Evidence{Small: values{0: {1, 0, inf}}}}, "channel 2 was measured as +Inf"},
	} {
		g := chain()
		if _, err := New(g, build(t, g), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
	}
	g := chain()
	g.Nodes[1].Weights = nil
	if _, err := New(g, build(t, g), Options{Criterion: "l1"}); err == nil || !strings.Contains(err.Error(), "has no weights") {
		t.Errorf("no weights: error %v", err)
	}
}
