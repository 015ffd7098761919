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
