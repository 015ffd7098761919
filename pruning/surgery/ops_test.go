package surgery

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
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

// otherNets have one operation each that a random graph may miss, or several
// that meet.
func otherNets(t *testing.T) map[string]func() graphtest.Net {
	return map[string]func() graphtest.Net{
		"unequal sums both ways": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 24, 3, 1, graph.Leaky)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Conv(0, 16, 3, 1, graph.Leaky)
			n.Head(n.Shortcut(2, 0, 1))
			n.Head(n.Shortcut(1, 0))
			n.Head(0)
			return n
		},
		"unequal sum over a concatenation": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 8, 3, 1, graph.Mish)
			n.Conv(graph.Input, 12, 3, 1, graph.Swish)
			n.Conv(graph.Input, 14, 3, 1, graph.Leaky)
			n.Head(n.Shortcut(2, n.Route(0, 1)))
			n.Head(n.Shortcut(3, 2))
			return n
		},
		"sum with weights": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 16, 3, 1, graph.Leaky)
			n.Conv(0, 16, 3, 1, graph.Leaky)
			n.Conv(0, 8, 3, 1, graph.Leaky)
			a := add(t, n, &graph.Shortcut{Activation: graph.Leaky, Scaling: graph.PerChannel, Normalization: graph.NormSoftmax}, 1, 0, 2)
			b := add(t, n, &graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerFeature, Normalization: graph.NormRelu}, a, 1)
			n.Head(b)
			return n
		},
		"squeeze and excitation": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 16, 3, 1, graph.Swish)
			n.Conv(0, 16, 3, 16, graph.Swish)
			few := n.Conv(add(t, n, &graph.AvgPool{}, 1), 4, 1, 1, graph.Swish)
			gate := n.ConvOp(few, graph.Conv{Filters: 16, Size: 1, Stride: 1, Groups: 1, Activation: graph.Logistic})
			n.Head(n.Conv(add(t, n, &graph.ScaleChannels{Activation: graph.Linear}, gate, 1), 8, 3, 1, graph.Linear))
			return n
		},
		"gate for pixels": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 16, 3, 1, graph.Swish)
			gate := n.Conv(0, 1, 3, 1, graph.Logistic)
			n.Head(add(t, n, &graph.ScaleChannels{Activation: graph.Leaky, ScaleWH: true}, gate, 0))
			return n
		},
		"spatial attention": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 16, 3, 1, graph.Mish)
			n.Head(add(t, n, &graph.SAM{Activation: graph.Linear}, n.Conv(0, 16, 1, 1, graph.Logistic), 0))
			return n
		},
		"pixels to channels, sliced and summed": func() graphtest.Net {
			n := graphtest.New(3, 4, 4)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			deep := add(t, n, &graph.Reorg3D{Stride: 2}, 0)
			n.Head(n.Conv(n.Slice(2, 1, deep), 8, 3, 1, graph.Leaky))
			wide := n.Conv(n.MaxPool(0, 2, 2), 24, 3, 1, graph.Leaky)
			n.Head(n.Shortcut(wide, deep))
			return n
		},
		"pixels to channels and back": func() graphtest.Net {
			n := graphtest.New(3, 4, 4)
			n.Conv(graph.Input, 32, 3, 1, graph.Leaky)
			flat := add(t, n, &graph.Reorg3D{Stride: 2, Reverse: true}, 0)
			n.Head(n.Conv(flat, 8, 3, 1, graph.Leaky))
			n.Head(add(t, n, &graph.Reorg3D{Stride: 4}, flat))
			return n
		},
		"reorg of YOLOv2": func() graphtest.Net {
			n := graphtest.New(3, 6, 6)
			n.Conv(graph.Input, 32, 3, 1, graph.Leaky)
			n.Head(n.Conv(n.Route(add(t, n, &graph.Reorg{Stride: 2}, 0), n.Conv(n.MaxPool(0, 2, 2), 8, 1, 1, graph.Leaky)), 8, 3, 1, graph.Leaky))
			return n
		},
		"training losses": func() graphtest.Net {
			n := graphtest.New(3, 4, 4)
			n.Conv(graph.Input, 16, 3, 1, graph.Leaky)
			embedding := n.Conv(0, 8, 1, 1, graph.Linear)
			n.Head(0)
			n.Nodes[n.Last()].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: embedding}}
			add(t, n, &graph.Contrastive{Classes: 1}, n.Route(embedding))
			return n
		},
	}
}

// By hand: of inputs with three channels and two, channel 1 goes.
func TestShortcutWeightsAreCut(t *testing.T) {
	n := graphtest.New(1, 2, 2)
	n.Conv(graph.Input, 3, 1, 1, graph.Leaky)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	add(t, n, &graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerChannel, Normalization: graph.NormRelu}, 0, 1)
	add(t, n, &graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerFeature, Normalization: graph.NormRelu}, 2, 1)
	n.Head(3)
	g := n.Fill(1)
	g.Nodes[2].Weights.Scale = []float32{1, 2, 3, 4, 5, 6}
	g.Nodes[3].Weights.Scale = []float32{7, 8}
	cut, err := Apply(g, &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0, 2}, 1: {0}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]float32{1, 3, 4, 6}, cut.Nodes[2].Weights.Scale); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float32{7, 8}, cut.Nodes[3].Weights.Scale); d != "" {
		t.Error(d)
	}
}

// What a writer needs to edit the text that the network was read from.
func TestSourceSurvives(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Head(0)
	g := n.Fill(1)
	g.Source = "[net]\n"
	g.Nodes[0].Line = 7
	g.Nodes[2].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 1}}
	cut, err := Apply(g, &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {1}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if cut.Source != g.Source || cut.Nodes[0].Line != 7 || len(cut.Nodes[2].Mentions) != 1 {
		t.Errorf("source %q, line %d, mentions %v", cut.Source, cut.Nodes[0].Line, cut.Nodes[2].Mentions)
	}
}

// twoTo3 has layers 0 and 1 of two filters that combine multiplies or adds as
// layer 2, and a head that reads it with the given kernel. Filter 1 of both is
// constant: leaky(-3) = -0.3 and leaky(2) = 2.
func twoTo3(t *testing.T, combine graph.Op, kernel ...float32) (*graph.Graph, *plan.Plan) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	add(t, n, combine, 1, 0)
	n.ConvOp(2, graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	g := n.Fill(1)
	g.Nodes[0].Weights.Gamma[1], g.Nodes[0].Weights.Bias[1] = 0, -3
	g.Nodes[1].Weights.Gamma[1], g.Nodes[1].Weights.Bias[1] = 0, 2
	g.Nodes[3].Weights = &graph.Weights{Kernel: kernel, Bias: []float32{0}}
	return g, &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}, 1: {0}}}
}

// The constant that a sum or a product makes of two, by hand; the head reads it
// with 10.
func TestFoldThroughCombinations(t *testing.T) {
	logistic := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		op   graph.Op
		want float64
	}{
		{&graph.Shortcut{Activation: graph.Linear}, 1.7},
		{&graph.Shortcut{Activation: graph.Logistic}, logistic(1.7)},
		{&graph.ScaleChannels{Activation: graph.Linear}, -0.6},
		{&graph.ScaleChannels{Activation: graph.Leaky}, -0.06},
		{&graph.ScaleChannels{Activation: graph.Relu}, 0},
		{&graph.ScaleChannels{Activation: graph.Logistic}, logistic(-0.6)},
		{&graph.SAM{Activation: graph.Linear}, -0.6},
		{&graph.SAM{Activation: graph.Logistic}, logistic(-0.6)},
	} {
		t.Run(fmt.Sprint(c.op.Kind(), c.op), func(t *testing.T) {
			g, p := twoTo3(t, c.op, 1, 10)
			for _, fold := range []Fold{Beta, Expected} {
				cut, err := Apply(g, p, Options{Fold: fold})
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff([]float32{float32(10 * c.want)}, cut.Nodes[3].Weights.Bias, cmpopts.EquateApprox(0, 1e-5)); d != "" {
					t.Errorf("fold %s: %s", fold, d)
				}
				image := graphtest.Image(g, 1)
				if d := graphtest.MaxDiff(last(g, image), last(cut, image)); d > 1e-5 {
					t.Errorf("fold %s: differs by %g", fold, d)
				}
			}
		})
	}
}

func last(g *graph.Graph, image []float64) []float64 {
	all := graphtest.Forward(g, image)
	return all[len(all)-1]
}

// Behind a logistic a masked channel is not zero, so that no mask equals a cut.
func TestMaskRefusesLogistic(t *testing.T) {
	for _, op := range []graph.Op{
		&graph.Shortcut{Activation: graph.Logistic}, &graph.ScaleChannels{Activation: graph.Logistic}, &graph.SAM{Activation: graph.Logistic},
	} {
		g, p := twoTo3(t, op, 1, 10)
		want := fmt.Sprintf("layer 2 (%s): a channel behind its logistic can not be masked", op.Kind())
		if _, err := Mask(g, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A gate for pixels stays. Where it is constant, logistic(1), so is what it
// makes of a constant channel: leaky(-3) * logistic(1), which the head reads
// with 10. Where it varies, its mean is taken: by symmetry 0.5 for beta = 0.
func TestFoldThroughPixelGate(t *testing.T) {
	for _, c := range []struct{ gamma, beta, mean float32 }{{0, 1, 0.7310586}, {2, 0, 0.5}} {
		n := graphtest.New(1, 2, 2)
		n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
		n.Conv(graph.Input, 1, 1, 1, graph.Logistic)
		add(t, n, &graph.ScaleChannels{Activation: graph.Linear, ScaleWH: true}, 1, 0)
		n.ConvOp(2, graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
		g := n.Fill(1)
		g.Nodes[0].Weights.Gamma[1], g.Nodes[0].Weights.Bias[1] = 0, -3
		g.Nodes[1].Weights.Gamma[0], g.Nodes[1].Weights.Bias[0] = c.gamma, c.beta
		g.Nodes[3].Weights = &graph.Weights{Kernel: []float32{1, 10}, Bias: []float32{0}}
		cut, err := Apply(g, &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}}}, Options{Fold: Beta})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]float32{-3 * c.mean}, cut.Nodes[3].Weights.Bias, cmpopts.EquateApprox(0, 1e-5)); d != "" {
			t.Error(d)
		}
	}
}

// Channels 0, 2, 4 and 6 of 8 become the pixels of channel 0 of 2. Their
// constants 1, 2, 3 and 6 have the mean 3, which keeps that of the output.
func TestFoldThroughReverse(t *testing.T) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 8, 1, 1, graph.Relu)
	add(t, n, &graph.Reorg3D{Stride: 2, Reverse: true}, 0)
	n.ConvOp(1, graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	g := n.Fill(1)
	for i, constant := range []float32{1, 2, 3, 6} {
		g.Nodes[0].Weights.Gamma[2*i], g.Nodes[0].Weights.Bias[2*i] = 0, constant
	}
	g.Nodes[2].Weights = &graph.Weights{Kernel: []float32{10, 1}, Bias: []float32{0}}
	cut, err := Apply(g, &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {1, 3, 5, 7}}}, Options{Fold: Beta})
	if err != nil {
		t.Fatal(err)
	}
	if got := cut.Nodes[2].Weights.Bias[0]; got != 30 {
		t.Errorf("bias %v, want 30", got)
	}
	image := graphtest.Image(g, 1)
	if a, b := mean(last(g, image)), mean(last(cut, image)); math.Abs(a-b) > 1e-5 {
		t.Errorf("mean %v before, %v after", a, b)
	}
}

// A dead filter has no spread: its variance is zero, and so is that of z.
func TestExpectedOfDeadFilter(t *testing.T) {
	g, p := twoTo3(t, &graph.Shortcut{Activation: graph.Linear}, 1, 10)
	w := g.Nodes[0].Weights
	w.Gamma[1], w.Var[1] = 5, 0
	g.Nodes[1].Weights.Gamma[1] = 0
	cut, err := Apply(g, p, Options{Fold: Expected})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]float32{17}, cut.Nodes[3].Weights.Bias, cmpopts.EquateApprox(0, 1e-5)); d != "" {
		t.Error(d)
	}
}
