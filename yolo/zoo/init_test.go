package zoo

import (
	"math"
	"slices"
	"testing"

	"yoloprune/yolo/graph"
)

// spread returns the mean and the standard deviation.
func spread(v []float32) (mean, std float64) {
	for _, x := range v {
		mean += float64(x)
	}
	mean /= float64(len(v))
	for _, x := range v {
		std += (float64(x) - mean) * (float64(x) - mean)
	}
	return mean, math.Sqrt(std / float64(len(v)))
}

func TestInitWeights(t *testing.T) {
	g := build(t, Options{Classes: 3, InputW: 64, InputH: 64})
	if err := InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	if err := g.CheckWeights(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		layer graph.NodeID
		std   float64
	}{
		{1, math.Sqrt(2 / 1.01 / (32 * 9))},   // 32 channels, 3x3
		{26, math.Sqrt(2 / 1.01 / (512 * 9))}, // the two halves of 256 joined
		{27, math.Sqrt(2 / 1.01 / 512)},       // 1x1
		{29, .01}, {36, .01},                  // heads
	} {
		kernel := g.Nodes[c.layer].Weights.Kernel
		n := math.Sqrt(float64(len(kernel)))
		// Five standard errors of the mean, s/sqrt(n), and of s, s/sqrt(2n).
		mean, std := spread(kernel)
		if math.Abs(mean) > 5*c.std/n || math.Abs(std-c.std) > 5*c.std/n/math.Sqrt2 {
			t.Errorf("layer %d: mean %v, deviation %v; want 0, %v", c.layer, mean, std, c.std)
		}
	}
	one := []float32{0, 0, 0, 0, -4, -1, -1, -1}
	for _, layer := range []graph.NodeID{29, 36} {
		if got := g.Nodes[layer].Weights.Bias; !slices.Equal(got, slices.Concat(one, one, one)) {
			t.Errorf("layer %d: bias %v", layer, got)
		}
	}
	checkIdentityNorm(t, g.Nodes[0].Weights, 32)
}

func checkIdentityNorm(t *testing.T, w *graph.Weights, n int) {
	t.Helper()
	zeros, ones := make([]float32, n), slices.Repeat([]float32{1}, n)
	for name, v := range map[string][2][]float32{
		"beta": {w.Bias, zeros}, "gamma": {w.Gamma, ones}, "mean": {w.Mean, zeros}, "variance": {w.Var, ones},
	} {
		if !slices.Equal(v[0], v[1]) {
			t.Errorf("%s is %v", name, v[0])
		}
	}
}

// gain integrates 1/E[f(z)²] over a standard normal z.
func gain(f func(float64) float64) float64 {
	const step = 1e-3
	sum := 0.0
	for z := -30.0; z < 30; z += step {
		sum += f(z) * f(z) * math.Exp(-z*z/2) * step
	}
	return math.Sqrt(2*math.Pi) / sum
}

func TestGains(t *testing.T) {
	for activation, f := range map[graph.Activation]func(float64) float64{
		graph.Linear: func(z float64) float64 { return z },
		graph.Relu:   func(z float64) float64 { return max(z, 0) },
		graph.Relu6:  func(z float64) float64 { return min(max(z, 0), 6) },
		graph.Leaky:  func(z float64) float64 { return max(z, .1*z) },
		graph.Swish:  func(z float64) float64 { return z / (1 + math.Exp(-z)) },
		graph.Mish:   func(z float64) float64 { return z * math.Tanh(math.Log1p(math.Exp(z))) },
	} {
		if got, want := gains[activation], gain(f); math.Abs(got-want) > 1e-5 {
			t.Errorf("%s: gain %v, want %v", activation, got, want)
		}
	}
	if gains[graph.Logistic] != 1 {
		t.Errorf("logistic: gain %v", gains[graph.Logistic])
	}
	for _, a := range graph.Activations {
		if gains[a] == 0 {
			t.Errorf("%s has no gain", a)
		}
	}
}

// The spread of a kernel follows the layer's own activation.
func TestInitWeightsOfActivations(t *testing.T) {
	for _, a := range graph.Activations {
		g := &graph.Graph{Net: graph.Net{Channels: 256, Height: 3, Width: 3}}
		g.Add(&graph.Conv{Filters: 64, Size: 1, Stride: 1, Groups: 1, Activation: a}, graph.Input)
		if err := InitWeights(g, 1); err != nil {
			t.Fatal(err)
		}
		want := math.Sqrt(gains[a] / 256)
		if _, std := spread(g.Nodes[0].Weights.Kernel); math.Abs(std-want) > 5*want/math.Sqrt(2*64*256) {
			t.Errorf("%s: deviation %v, want %v", a, std, want)
		}
	}
}

// A head's biases are logits, whether its convolution is linear or logistic.
func TestInitWeightsOfLogisticHeads(t *testing.T) {
	g := buildArch(t, "yolov4-csp", Options{Classes: 2, Width: .1, InputW: 32, InputH: 32})
	if err := InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	one := []float32{0, 0, 0, 0, -4, -1, -1}
	for _, h := range g.Heads() {
		n := g.Nodes[h.Inputs[0]]
		if n.Conv().Activation != graph.Logistic {
			t.Fatalf("%v is %s", n, n.Conv().Activation)
		}
		if got := n.Weights.Bias; !slices.Equal(got, slices.Concat(one, one, one)) {
			t.Errorf("%v: bias %v", n, got)
		}
		// 3*7 filters over at least 26 channels.
		if _, std := spread(n.Weights.Kernel); math.Abs(std-.01) > 5*.01/math.Sqrt(2*21*26) {
			t.Errorf("%v: deviation %v", n, std)
		}
	}
}

func TestInitWeightsOfShortcuts(t *testing.T) {
	for _, c := range []struct {
		scaling graph.Scaling
		weights int
	}{{graph.NoScaling, 0}, {graph.PerFeature, 2}, {graph.PerChannel, 10}} {
		g := &graph.Graph{Net: graph.Net{Channels: 5, Height: 3, Width: 3}}
		g.Add(&graph.Conv{Filters: 5, Size: 1, Stride: 1, Groups: 1, Activation: graph.Leaky}, graph.Input)
		s := &graph.Shortcut{Activation: graph.Linear, Scaling: c.scaling}
		if c.weights > 0 {
			s.Normalization = graph.NormSoftmax
		}
		n := g.Add(s, 0, graph.Input)
		if err := InitWeights(g, 1); err != nil {
			t.Fatal(err)
		}
		if err := g.CheckWeights(); err != nil {
			t.Error(err)
		}
		if c.weights == 0 {
			if n.Weights != nil {
				t.Errorf("a plain shortcut has weights %v", n.Weights)
			}
			continue
		}
		if want := slices.Repeat([]float32{1}, c.weights); !slices.Equal(n.Weights.Scale, want) {
			t.Errorf("%s: %v, want %v", c.scaling, n.Weights.Scale, want)
		}
		// Alike, each counts half, up to the small number in the divisor.
		if f := s.Factor(n.Weights, 1, 0, 2); math.Abs(f-.5) > 1e-4 {
			t.Errorf("%s: factor %v", c.scaling, f)
		}
	}
}

// A depthwise convolution's fan-in is one channel's window.
func TestInitWeightsOfGroups(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 1024, Height: 3, Width: 3}}
	g.Add(&graph.Conv{Filters: 1024, Size: 3, Stride: 1, Pad: 1, Groups: 1024, Activation: graph.Leaky}, graph.Input)
	if err := InitWeights(g, 1); err != nil {
		t.Fatal(err)
	}
	want := math.Sqrt(2 / 1.01 / 9)
	if _, std := spread(g.Nodes[0].Weights.Kernel); math.Abs(std-want) > 5*want/math.Sqrt(2*9216) {
		t.Errorf("deviation %v, want %v", std, want)
	}
	if !slices.Equal(g.Nodes[0].Weights.Bias, make([]float32, 1024)) {
		t.Error("bias is not zero")
	}
}

func TestInitWeightsSeed(t *testing.T) {
	kernels := func(seed uint64) [][]float32 {
		g := build(t, Options{Classes: 3, Width: .1, InputW: 32, InputH: 32})
		if err := InitWeights(g, seed); err != nil {
			t.Fatal(err)
		}
		var out [][]float32
		for _, n := range g.Convs() {
			out = append(out, n.Weights.Kernel)
		}
		return out
	}
	first, same, other := kernels(1), kernels(1), kernels(2)
	for i := range first {
		if !slices.Equal(first[i], same[i]) {
			t.Errorf("convolution %d differs with the same seed", i)
		}
		if slices.Equal(first[i], other[i]) {
			t.Errorf("convolution %d is the same with another seed", i)
		}
	}
	if first[0][0] == first[1][0] {
		t.Error("two layers start with the same number")
	}
}

func TestInitWeightsOfBrokenGraph(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 3, Height: 3, Width: 3}}
	g.Add(&graph.Conv{Filters: 0}, graph.Input)
	if err := InitWeights(g, 1); err == nil {
		t.Error("no error")
	}
}

// Weights that several layers use are drawn once.
func TestSharedWeights(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 4, Height: 6, Width: 6}}
	g.Add(&graph.Conv{Filters: 4, Size: 3, Stride: 1, Pad: 1, Groups: 1, BatchNorm: true, Activation: graph.Leaky}, graph.Input)
	g.Add(&graph.Conv{Filters: 4, Size: 3, Stride: 1, Pad: 2, Groups: 1, BatchNorm: true, Activation: graph.Leaky, Dilation: 2, Back: 1}, 0)
	alone := g.Clone()
	alone.Nodes = alone.Nodes[:1]
	for _, g := range []*graph.Graph{g, alone} {
		if err := InitWeights(g, 3); err != nil {
			t.Fatal(err)
		}
		if err := g.CheckWeights(); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(g.Nodes[0].Weights.Kernel, alone.Nodes[0].Weights.Kernel) {
		t.Error("the kernel is not that of the owner alone")
	}
}
