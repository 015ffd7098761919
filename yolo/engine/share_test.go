package engine

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// use adds a convolution with the weights of an earlier one, at another dilation.
func (n network) use(owner, in graph.NodeID, dilation int, act graph.Activation) graph.NodeID {
	o := *n.Nodes[owner].Conv()
	o.Dilation, o.Activation, o.Back = dilation, act, len(n.Nodes)-int(owner)
	o.Pad = (o.Extent() - 1) / 2
	return n.Add(&o, in).ID
}

// trident has three towers over one input, with one set of weights at the
// dilations 1, 2 and 3, as in TridentNet (Li et al., ICCV 2019,
// arXiv:1901.01892); one of the convolutions has no batch norm, and one tower
// applies a layer to its own result.
func trident() *graph.Graph {
	n := newNetwork(3, 9, 8)
	stem := n.conv(graph.Input, 12, 3, 1, 1, true, graph.Mish)
	one := n.conv(stem, 5, 1, 1, 1, true, graph.Mish)
	two := n.conv(one, 5, 3, 1, 1, true, graph.Mish)
	three := n.conv(two, 12, 3, 1, 1, false, graph.Swish)
	n.head(n.shortcut(graph.Linear, three, stem))
	for d := 2; d <= 3; d++ {
		a := n.use(two, n.use(one, stem, 1, graph.Mish), d, graph.Swish)
		if d == 3 {
			a = n.use(two, a, 1, graph.Logistic)
		}
		n.head(n.shortcut(graph.Mish, n.use(three, a, d, graph.Mish), stem))
	}
	return randomWeights(n.Graph, 21)
}

func TestTrident(t *testing.T) {
	for _, batch := range []int{1, 3} {
		sameInference(t, "trident", trident(), batch)
		sameTraining(t, "trident", trident(), batch, 1e-3)
	}
	againstDifferences(t, trident())
}

// What several layers use is one parameter, under its owner's name.
func TestSharedParams(t *testing.T) {
	g := trident()
	tr := newTraining(t, g, weighted, Options{Batch: 2})
	names := map[string]int{}
	for _, p := range tr.Params() {
		names[p.Name()]++
		if o := g.Nodes[p.Node]; o.Shares() {
			t.Errorf("%s is a parameter of its own, but %v has the weights", p.Name(), g.Owner(o))
		}
	}
	want := 0
	for _, n := range g.Owners() {
		want += len(g.Arrays(n))
		if n.Conv().BatchNorm {
			want -= 2 // mean and variance
		}
	}
	if len(names) != want || len(tr.Params()) != want {
		t.Errorf("%d parameters with %d names, want %d", len(tr.Params()), len(names), want)
	}
}

// Shared weights have the sum of the gradients that copies of them would have.
func TestSharedGradientIsASum(t *testing.T) {
	g, apart := trident(), trident().Clone()
	for _, n := range apart.Convs() {
		n.Conv().Back, n.Weights = 0, n.Weights.Clone()
	}
	x := pictures(g, 2)
	one, many := newTraining(t, g, weighted, Options{Batch: 2}), newTraining(t, apart, weighted, Options{Batch: 2})
	step(t, one, x)
	step(t, many, x)
	sum := map[string][]float64{}
	for _, p := range many.Params() {
		p.Node = g.Owner(g.Nodes[p.Node]).ID
		if sum[p.Name()] == nil {
			sum[p.Name()] = make([]float64, len(p.Grad))
		}
		for i, v := range p.Grad {
			sum[p.Name()][i] += float64(v)
		}
	}
	for _, p := range one.Params() {
		want := make([]float32, len(p.Grad))
		for i, v := range sum[p.Name()] {
			want[i] = float32(v)
		}
		near(t, p.Name(), p.Grad, want, 1e-5)
	}
}

// Shared statistics are recalibrated to the mean over the layers that use them.
func TestRecalibrateShared(t *testing.T) {
	g, apart := trident(), trident().Clone()
	for _, n := range apart.Convs() {
		n.Conv().Back, n.Weights = 0, n.Weights.Clone()
	}
	x := pictures(g, 2)
	batches := func(yield func([]float32, error) bool) { yield(x, nil) }
	if err := Recalibrate(g, Options{Batch: 2}, batches); err != nil {
		t.Fatal(err)
	}
	net, err := ref.NewNet(apart)
	if err != nil {
		t.Fatal(err)
	}
	net.Momentum = 1
	if _, _, err := net.Forward(refTensor(apart, 2, x), true); err != nil {
		t.Fatal(err)
	}
	for owner, users := range g.Sharers() {
		n := g.Nodes[owner]
		for c := range n.Weights.Mean {
			mean, variance := 0.0, 0.0
			for _, u := range append(slices.Clone(users), n) {
				mean += float64(apart.Nodes[u.ID].Weights.Mean[c]) / float64(len(users)+1)
				variance += float64(apart.Nodes[u.ID].Weights.Var[c]) / float64(len(users)+1)
			}
			got := fmt.Sprintf("%.3f %.3f", n.Weights.Mean[c], n.Weights.Var[c])
			if !(math.Abs(float64(n.Weights.Mean[c])-mean) < 1e-4 && math.Abs(float64(n.Weights.Var[c])-variance) < 1e-3*(1+variance)) {
				t.Errorf("%v channel %d: mean and variance %s, want %.3f %.3f", n, c, got, mean, variance)
			}
		}
	}
}
