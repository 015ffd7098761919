package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// Every activation behind a batch norm, behind a bias, and behind shortcuts of
// two and three sources, with channels that do not fill a block.
func TestActivations(t *testing.T) {
	for _, act := range graph.Activations {
		n := newNetwork(3, 6, 7)
		a := n.conv(graph.Input, 11, 3, 1, 1, true, act)
		b := n.conv(graph.Input, 11, 3, 1, 1, false, act)
		c := n.conv(a, 11, 1, 1, 1, false, act)
		two := n.shortcut(act, c, b)
		n.head(n.shortcut(act, two, a, b))
		g := randomWeights(n.Graph, 5)
		sameInference(t, string(act), g, 3)
		sameTraining(t, string(act), g, 3, 1e-3)
	}
}

// Max pooling as published networks use it, on even and odd sides; every branch
// reads one activation, so that its gradient is a sum of six.
func TestPools(t *testing.T) {
	for _, side := range [][2]int{{12, 10}, {13, 7}} {
		n := newNetwork(3, side[0], side[1])
		a := n.conv(graph.Input, 11, 3, 1, 1, true, graph.Mish)
		spp := n.route(1, 0, n.pool(a, 33, 1), n.pool(a, 17, 1), n.pool(a, 5, 1), a, n.pool(a, 2, 1))
		n.head(spp)
		n.head(n.pool(a, 2, 2))
		g := randomWeights(n.Graph, 6)
		sameInference(t, fmt.Sprint("pools ", side), g, 2)
		sameTraining(t, fmt.Sprint("pools ", side), g, 2, 1e-3)
	}
}

// corners are graphs at the edge of what is allowed.
func corners() map[string]network {
	out := map[string]network{}
	start := func(name string, h, w int) network {
		out[name] = newNetwork(3, h, w)
		return out[name]
	}
	n := start("activations of one value", 1, 1)
	a := n.conv(graph.Input, 1, 1, 1, 1, false, graph.Mish)
	b, c := n.conv(a, 1, 1, 1, 1, false, graph.Swish), n.conv(a, 1, 3, 1, 1, false, graph.Swish)
	n.head(n.shortcut(graph.Linear, a, b, c))

	n = start("two heads read one layer", 4, 4)
	a = n.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	n.yolo(a)
	n.yolo(a)

	n = start("a layer reads a head", 4, 4)
	a = n.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	n.yolo(n.conv(n.yolo(a), 6, 3, 1, 1, true, graph.Mish))

	n = start("strided 1x1 on the image", 5, 6)
	a = n.conv(graph.Input, 5, 1, 2, 1, true, graph.Mish)
	n.head(n.shortcut(graph.Linear, a, n.conv(graph.Input, 5, 3, 2, 1, true, graph.Mish)))

	n = start("strided and padded 1x1", 13, 16)
	a = n.padded(graph.Input, 5, 2, 1)
	n.head(n.padded(a, 7, 3, 2))
	n.head(n.padded(a, 7, 1, 1))

	n = start("depthwise on the image", 5, 6)
	n.head(n.conv(graph.Input, 3, 3, 1, 3, true, graph.Mish))

	n = start("depthwise and grouped of odd widths", 5, 6)
	a = n.conv(graph.Input, 24, 3, 1, 1, true, graph.Mish)
	b = n.conv(n.conv(a, 24, 5, 2, 24, true, graph.Mish), 72, 3, 1, 24, true, graph.Mish)
	n.head(n.conv(b, 15, 3, 1, 3, false, graph.Mish))

	n = start("a shortcut reads one layer three times", 4, 4)
	a = n.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	n.yolo(n.shortcut(graph.Mish, a, a, a))

	n = start("a route takes one slice twice", 4, 4)
	a = n.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	n.yolo(n.route(2, 1, a, a))

	n = start("slices of a route of slices", 4, 5)
	a = n.conv(graph.Input, 20, 3, 1, 1, true, graph.Mish)
	b = n.route(2, 1, a)
	c = n.route(1, 0, n.route(1, 0, b), n.route(5, 4, a), a)
	n.head(n.route(2, 0, c))
	n.head(n.route(2, 1, c))

	n = start("gradients of six readers", 4, 6)
	a = n.conv(graph.Input, 9, 3, 1, 1, true, graph.Swish)
	b = n.conv(a, 9, 3, 1, 9, true, graph.Mish)
	c = n.Add(&graph.Upsample{Stride: 2}, n.pool(a, 2, 2)).ID
	n.head(n.shortcut(graph.Swish, a, b, c))
	n.head(n.route(1, 0, a, b, c, a))
	n.head(a)
	return out
}

func TestCorners(t *testing.T) {
	for name, n := range corners() {
		g := randomWeights(n.Graph, 3)
		sameInference(t, name, g, 1)
		sameTraining(t, name, g, 1, 1e-3)
	}
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after closing", n)
	}
}

// Any layer can read the image, in every order.
func TestImageReaders(t *testing.T) {
	for name, add := range map[string]func(n network) graph.NodeID{
		"route":    func(n network) graph.NodeID { return n.route(1, 0, graph.Input) },
		"maxpool":  func(n network) graph.NodeID { return n.pool(graph.Input, 2, 2) },
		"upsample": func(n network) graph.NodeID { return n.Add(&graph.Upsample{Stride: 2}, graph.Input).ID },
		"reorg3d":  func(n network) graph.NodeID { return n.Add(&graph.Reorg3D{Stride: 2}, graph.Input).ID },
		"sam":      func(n network) graph.NodeID { return n.sam(graph.Linear, graph.Input, graph.Input) },
	} {
		n := newNetwork(3, 6, 4)
		n.head(n.conv(add(n), 5, 3, 1, 1, true, graph.Mish))
		g := randomWeights(n.Graph, 4)
		sameInference(t, name, g, 2)
		sameTraining(t, name, g, 2, 1e-3)
	}
}

// Dropout, reorganisation, products and mean pooling, with channels that do not
// fill a block.
func TestOtherLayers(t *testing.T) {
	for name, add := range map[string]func(n network, a graph.NodeID) graph.NodeID{
		"avgpool": func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.AvgPool{}, a).ID },
		"local_avgpool": func(n network, a graph.NodeID) graph.NodeID {
			return n.Add(&graph.LocalAvgPool{Size: 3, Stride: 2, Padding: 2}, a).ID
		},
		"padded average": func(n network, a graph.NodeID) graph.NodeID {
			return n.Add(&graph.LocalAvgPool{Size: 4, Stride: 3, Padding: 6}, a).ID
		},
		"reorg3d": func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.Reorg3D{Stride: 2}, a).ID },
		"reorg3d reverse": func(n network, a graph.NodeID) graph.NodeID {
			return n.Add(&graph.Reorg3D{Stride: 2, Reverse: true}, a).ID
		},
		"reorg3d and back": func(n network, a graph.NodeID) graph.NodeID {
			return n.Add(&graph.Reorg3D{Stride: 2, Reverse: true}, n.Add(&graph.Reorg3D{Stride: 2}, a).ID).ID
		},
		"reorg":           func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.Reorg{Stride: 2}, a).ID },
		"dropout":         func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.Dropout{Probability: .3}, a).ID },
		"dropout of none": func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.Dropout{}, a).ID },
		"silence":         func(n network, a graph.NodeID) graph.NodeID { return n.Add(&graph.Silence{}, a).ID },
		"sam": func(n network, a graph.NodeID) graph.NodeID {
			return n.sam(graph.Logistic, n.conv(a, 12, 1, 1, 1, true, graph.Logistic), a)
		},
		"sam of itself":  func(n network, a graph.NodeID) graph.NodeID { return n.sam(graph.Leaky, a, a) },
		"scale_channels": func(n network, a graph.NodeID) graph.NodeID { return n.gate(graph.Relu, a) },
		"scaled by itself": func(n network, a graph.NodeID) graph.NodeID {
			m := n.Add(&graph.AvgPool{}, a).ID
			return n.Add(&graph.ScaleChannels{Activation: graph.Logistic}, m, m).ID
		},
		"scaled by a pixel": func(n network, a graph.NodeID) graph.NodeID {
			return n.Add(&graph.ScaleChannels{Activation: graph.Logistic, ScaleWH: true}, n.conv(a, 1, 3, 1, 1, true, graph.Logistic), a).ID
		},
		"fewer channels": func(n network, a graph.NodeID) graph.NodeID {
			return n.shortcut(graph.Swish, a, n.conv(a, 5, 3, 1, 1, true, graph.Mish))
		},
		"more channels": func(n network, a graph.NodeID) graph.NodeID {
			return n.shortcut(graph.Logistic, n.conv(a, 5, 3, 1, 1, true, graph.Mish), a, a)
		},
		"both": func(n network, a graph.NodeID) graph.NodeID {
			return n.shortcut(graph.Linear, a, n.conv(a, 19, 1, 1, 1, true, graph.Mish), n.conv(a, 1, 1, 1, 1, true, graph.Mish))
		},
	} {
		n := newNetwork(3, 8, 6)
		a := n.conv(graph.Input, 12, 3, 1, 1, true, graph.Mish)
		b := add(n, a)
		n.head(n.conv(b, 7, 3, 1, 1, false, graph.Mish))
		n.head(b)
		n.head(a)
		g := randomWeights(n.Graph, 7)
		sameInference(t, name, g, 3)
		sameTraining(t, name, g, 3, 1e-3)
	}
}

// Shortcuts with weights, of fewer and more channels.
func TestWeightedShortcuts(t *testing.T) {
	for _, scaling := range []graph.Scaling{graph.PerFeature, graph.PerChannel} {
		for _, norm := range []graph.Normalization{graph.NormRelu, graph.NormSoftmax} {
			n := newNetwork(3, 6, 5)
			a := n.conv(graph.Input, 11, 3, 1, 1, true, graph.Mish)
			b, c := n.conv(a, 13, 3, 1, 1, true, graph.Mish), n.conv(a, 4, 3, 1, 1, true, graph.Mish)
			n.head(n.Add(&graph.Shortcut{Activation: graph.Leaky, Scaling: scaling, Normalization: norm}, a, b, c).ID)
			sameInference(t, string(scaling)+" "+string(norm), randomWeights(n.Graph, 8), 2)
		}
	}
}

// TestDropoutIterations: each step drops other values, and the same iteration
// the same ones.
func TestDropoutIterations(t *testing.T) {
	n := newNetwork(3, 8, 8)
	a := n.conv(graph.Input, 6, 3, 1, 1, false, graph.Linear)
	n.yolo(n.Add(&graph.Dropout{Probability: .5}, a).ID)
	g := randomWeights(n.Graph, 8)
	var seen [][]float32
	net, err := NewTraining(g, func(heads []Output, grads [][]float32) (float64, error) {
		seen = append(seen, slices.Clone(heads[0].Data))
		return weighted(heads, grads)
	}, Options{Batch: 1, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	for range 2 {
		net.SetIteration(7)
		for range 2 {
			if _, err := net.Step(pictures(g, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if slices.Equal(seen[0], seen[1]) {
		t.Error("two iterations drop the same values")
	}
	if !slices.Equal(seen[0], seen[2]) || !slices.Equal(seen[1], seen[3]) {
		t.Error("an iteration drops other values the second time")
	}
}

func TestNothingToTrain(t *testing.T) {
	n := newNetwork(6, 4, 4)
	n.yolo(n.pool(graph.Input, 2, 2))
	g := randomWeights(n.Graph, 1)
	_, err := NewTraining(g, weighted, Options{Batch: 1}.WithOrder(onednn.NHWC))
	if err == nil || !strings.Contains(err.Error(), "no weights to train") {
		t.Errorf("error %v, want one about no weights", err)
	}
}

// Dead branches have no parameters; the others are listed in network order,
// each once, and their values are the graph's own.
func TestParams(t *testing.T) {
	g := crossed()
	tr, err := NewTraining(g, weighted, Options{Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	var got, want []string
	for _, p := range tr.Params() {
		got = append(got, p.Name())
		w := g.Nodes[p.Node].Weights
		own := map[Role][]float32{Kernel: w.Kernel, Bias: w.Bias, Gamma: w.Gamma, Beta: w.Bias}[p.Role]
		if &p.Value[0] != &own[0] || len(p.Value) != len(own) || len(p.Grad) != len(own) {
			t.Errorf("%s: %d values, %d gradients, want the graph's %d", p.Name(), len(p.Value), len(p.Grad), len(own))
		}
	}
	for _, n := range g.Convs() {
		roles := []Role{Kernel, Bias}
		if n.Conv().BatchNorm {
			roles = []Role{Kernel, Gamma, Beta}
		}
		for _, r := range roles {
			if n.ID != 8 { // nobody reads layer 8
				want = append(want, fmt.Sprintf("%d.%v", n.ID, r))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("parameters %v, want %v", got, want)
	}
}

// Every convolution that runs names its kernels; only the one that reads the
// image goes without a data gradient.
func TestKernels(t *testing.T) {
	n := newNetwork(3, 6, 6)
	n.head(n.conv(graph.Input, 5, 3, 1, 1, true, graph.Leaky))
	g := randomWeights(n.Graph, 1)
	training, inference := newTraining(t, g, weighted, Options{Batch: 1}).Kernels(), newInference(t, g, Options{Batch: 1}).Kernels()
	if len(training) != 2 || len(inference) != 2 {
		t.Fatalf("%d and %d kernels, want 2", len(training), len(inference))
	}
	for i, want := range []bool{false, true} {
		if got := strings.Contains(training[i], "data gradient"); got != want || !strings.Contains(training[i], "weight gradient") {
			t.Errorf("convolution %d: %s", i, training[i])
		}
		if strings.Contains(inference[i], "gradient") || !strings.Contains(inference[i], "forward") {
			t.Errorf("convolution %d in inference: %s", i, inference[i])
		}
	}
}
