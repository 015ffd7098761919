package ref

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"yoloprune/yolo/engine/mask"
	"yoloprune/yolo/graph"
)

// builder makes small graphs.
type builder struct{ *graph.Graph }

func newBuilder(channels, height, width int) builder {
	return builder{&graph.Graph{Net: graph.Net{Channels: channels, Height: height, Width: width}}}
}

func (b builder) conv(from graph.NodeID, filters, size, stride, groups int, f graph.Activation) graph.NodeID {
	o := &graph.Conv{Filters: filters, Size: size, Stride: stride, Pad: size / 2, Groups: groups, BatchNorm: true, Activation: f}
	return b.Add(o, from).ID
}

// head adds a convolution without batch norm and a [yolo] of one anchor and
// two classes.
func (b builder) head(from graph.NodeID) {
	conv := b.Add(&graph.Conv{Filters: 7, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear}, from)
	b.Add(&graph.Yolo{Classes: 2, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}}, conv.ID)
}

func (b builder) route(groups, id int, from ...graph.NodeID) graph.NodeID {
	return b.Add(&graph.Route{Groups: groups, GroupID: id}, from...).ID
}

func (b builder) shortcut(f graph.Activation, from ...graph.NodeID) graph.NodeID {
	return b.Add(&graph.Shortcut{Activation: f}, from...).ID
}

func (b builder) pool(from graph.NodeID, size, stride int) graph.NodeID {
	return b.Add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, from).ID
}

// weights fills in random weights; moments are far from a fresh net's.
func (b builder) weights(t *testing.T, rng *rand.Rand) *graph.Graph {
	t.Helper()
	if err := b.Infer(); err != nil {
		t.Fatal(err)
	}
	for _, n := range b.Convs() {
		w := n.Conv().NewWeights(b.ShapeOf(n.Inputs[0]).C)
		copy(w.Kernel, normal(rng, len(w.Kernel), 0, 0.5))
		copy(w.Bias, normal(rng, len(w.Bias), 0, 0.5))
		copy(w.Gamma, normal(rng, len(w.Gamma), 1, 0.3))
		copy(w.Mean, normal(rng, len(w.Mean), 0, 1))
		for i, v := range normal(rng, len(w.Var), 0, 1) {
			w.Var[i] = 0.5 + v*v
		}
		n.Weights = w
	}
	return b.Graph
}

// twoHeads is a small detector with every operation and every way that a
// gradient can meet another: two readers of the images and of an inner node, a
// slice, a shortcut of three, a source that is read twice, a layer behind a
// [yolo] and one that no head reads.
func twoHeads(t *testing.T, rng *rand.Rand) *graph.Graph {
	b := newBuilder(3, 8, 12)
	stem := b.conv(graph.Input, 4, 3, 2, 1, graph.Mish)
	second := b.conv(graph.Input, 4, 3, 2, 1, graph.Swish)
	slice := b.route(2, 1, stem)
	a := b.conv(slice, 2, 3, 1, 1, graph.Logistic)
	c := b.conv(a, 2, 1, 1, 1, graph.Mish)
	merged := b.conv(b.route(1, 0, c, a), 4, 1, 1, 1, graph.Mish)
	sum := b.shortcut(graph.Swish, merged, second, stem)
	small := b.conv(b.pool(sum, 2, 2), 6, 3, 1, 2, graph.Mish)
	spp := b.route(1, 0, small, b.pool(small, 3, 1), small)
	b.head(b.conv(spp, 2, 1, 1, 1, graph.Leaky))
	b.conv(b.route(1, 0, graph.NodeID(len(b.Nodes)-1)), 3, 1, 1, 1, graph.Swish) // read by no head
	up := b.Add(&graph.Upsample{Stride: 2}, b.conv(small, 3, 3, 1, 3, graph.Mish)).ID
	b.head(b.conv(b.route(1, 0, up, sum), 6, 3, 1, 1, graph.Mish))
	return b.weights(t, rng)
}

// layers is a net with every operation that twoHeads lacks, in training: means,
// products with each kind of gate, one of them of a layer with itself, sums of
// unequal channels, dropout, and the three reorganisations. The embedding and
// its contrastive layer are read by no head.
func layers(t *testing.T, rng *rand.Rand) *graph.Graph {
	b := newBuilder(3, 8, 12)
	stem := b.conv(graph.Input, 4, 3, 2, 1, graph.Mish)
	gate := b.conv(b.Add(&graph.AvgPool{}, stem).ID, 4, 1, 1, 1, graph.Logistic)
	excited := b.Add(&graph.ScaleChannels{Activation: graph.Linear}, gate, stem).ID
	spot := b.conv(excited, 1, 3, 1, 1, graph.Logistic)
	lit := b.Add(&graph.ScaleChannels{Activation: graph.Logistic, ScaleWH: true}, spot, excited).ID
	square := b.Add(&graph.SAM{Activation: graph.Linear}, lit, lit).ID
	attended := b.Add(&graph.SAM{Activation: graph.Logistic}, b.conv(square, 4, 1, 1, 1, graph.Mish), stem).ID
	dropped := b.Add(&graph.Dropout{Probability: 0.25}, attended).ID
	mean := b.Add(&graph.LocalAvgPool{Size: 3, Stride: 2, Padding: 2}, b.Add(&graph.Silence{}, dropped).ID).ID
	deep := b.Add(&graph.Reorg3D{Stride: 2}, dropped).ID
	legacy := b.Add(&graph.Reorg{Stride: 2}, dropped).ID
	narrow := b.conv(deep, 3, 1, 1, 1, graph.Swish)
	b.head(b.shortcut(graph.Swish, mean, legacy, narrow))
	flat := b.Add(&graph.Reorg3D{Stride: 2, Reverse: true}, legacy).ID
	b.head(b.conv(b.route(1, 0, flat, dropped), 5, 3, 1, 1, graph.Mish))
	b.Add(&graph.Contrastive{Classes: 2}, b.conv(dropped, 3, 1, 1, 1, graph.Mish))
	return b.weights(t, rng)
}

func newNet(t *testing.T, g *graph.Graph) *Net {
	t.Helper()
	n, err := NewNet(g)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func forward(t *testing.T, n *Net, images Tensor, training bool) (heads, nodes []Tensor) {
	t.Helper()
	heads, nodes, err := n.Forward(images, training)
	if err != nil {
		t.Fatal(err)
	}
	return heads, nodes
}

// randomLike returns normal tensors of the same shapes.
func randomLike(rng *rand.Rand, xs []Tensor) []Tensor {
	var out []Tensor
	for _, x := range xs {
		out = append(out, normalTensor(rng, x.N, x.H, x.W, x.C))
	}
	return out
}

// piece says which smooth piece of a net's function the last Forward was on:
// the maxima that pooling took and the sides of zero that leaky saw.
func piece(n *Net) []int {
	var out []int
	for i, node := range n.graph.Nodes {
		switch o := node.Op.(type) {
		case *graph.MaxPool:
			MaxPool(*o).maxima(n.inputs(node)[0], n.nodes[i], func(xi, _ int) { out = append(out, xi) })
		case *graph.Conv:
			if o.Activation == graph.Leaky {
				for _, v := range n.saved[i].U.Data {
					out = append(out, int(choose(v > 0, 1, 0)))
				}
			}
		}
	}
	return out
}

// Every gradient of the whole net against differences, but where a step would
// cross a kink.
func TestNetDifferences(t *testing.T) {
	for what, build := range map[string]func(*testing.T, *rand.Rand) *graph.Graph{"two heads": twoHeads, "layers": layers} {
		t.Run(what, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(8, 0))
			netDifferences(t, rng, build(t, rng))
		})
	}
}

func netDifferences(t *testing.T, rng *rand.Rand, g *graph.Graph) {
	n := newNet(t, g)
	n.Seed, n.Iteration = 5, 6
	images := normalTensor(rng, 2, 8, 12, 3)
	heads, _ := forward(t, n, images, true)
	dheads := randomLike(rng, heads)
	grads, err := n.Backward(dheads)
	if err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		heads, _ := forward(t, n, images, true)
		return dot(heads[0].Data, dheads[0].Data) + dot(heads[1].Data, dheads[1].Data)
	}
	start := piece(n)
	smooth := func() bool { return slices.Equal(piece(n), start) }
	check := func(what string, x, gradient []float32) {
		differencesWhere(t, what, x, gradient, loss, smooth, 1.0/128, 2e-3)
	}
	check("images", images.Data, grads.Images.Data)
	for _, node := range g.Convs() {
		w, d := node.Weights, grads.Params[node.ID]
		check(fmt.Sprintf("%v kernel", node), w.Kernel, d.Kernel)
		check(fmt.Sprintf("%v bias", node), w.Bias, d.Bias)
		if w.Gamma != nil {
			check(fmt.Sprintf("%v gamma", node), w.Gamma, d.Gamma)
		} else if d.Gamma != nil {
			t.Errorf("%v has no gamma but its gradient", node)
		}
	}
}

func TestNetShapes(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	g := twoHeads(t, rng)
	n := newNet(t, g)
	heads, nodes := forward(t, n, normalTensor(rng, 3, 8, 12, 3), true)
	if len(heads) != 2 || len(nodes) != len(g.Nodes) {
		t.Fatalf("%d heads, %d nodes", len(heads), len(nodes))
	}
	sameShape(t, "head 0", heads[0], 3, 2, 3, 7)
	sameShape(t, "head 1", heads[1], 3, 4, 6, 7)
	grads, err := n.Backward(randomLike(rng, heads))
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range g.Nodes {
		s := node.Out
		sameShape(t, node.String(), nodes[i], 3, s.H, s.W, s.C)
		sameShape(t, "gradient of "+node.String(), grads.Nodes[i], 3, s.H, s.W, s.C)
		if d := grads.Params[i]; node.Conv() == nil && (d.Kernel != nil || d.Bias != nil || d.Gamma != nil) {
			t.Errorf("%v has parameter gradients", node)
		}
	}
}

// Folding the batch norm into kernel and bias changes no output at inference.
func TestNetFolded(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	g := twoHeads(t, rng)
	images := normalTensor(rng, 2, 8, 12, 3)
	folded := g.Clone()
	for _, node := range folded.Convs() {
		kernel, bias := FoldBatchNorm(node.Weights)
		node.Conv().BatchNorm = false
		node.Weights = &graph.Weights{Kernel: kernel, Bias: bias}
	}
	_, want := forward(t, newNet(t, g), images, false)
	_, got := forward(t, newNet(t, folded), images, false)
	for i := range want {
		same(t, g.Nodes[i].String(), got[i].Data, want[i].Data, 2e-5)
	}
}

// one is a net of a single 1x1 convolution with weight 1 over 1 x 4 pixels.
func one(t *testing.T, f graph.Activation) (*graph.Graph, *Net) {
	b := newBuilder(1, 1, 4)
	b.conv(graph.Input, 1, 1, 1, 1, f)
	w := &graph.Weights{Kernel: []float32{1}, Bias: []float32{0}, Gamma: []float32{1}, Mean: []float32{0}, Var: []float32{1}}
	b.Nodes[0].Weights = w
	return b.Graph, newNet(t, b.Graph)
}

// The golden numbers of the batch norm, through the net: training moves the
// running statistics, inference uses them and leaves them.
func TestNetRunningStatistics(t *testing.T) {
	g, n := one(t, graph.Linear)
	images, w := Tensor{1, 1, 4, 1, []float32{1, 2, 3, 6}}, g.Nodes[0].Weights
	_, nodes := forward(t, n, images, true)
	same(t, "training output", nodes[0].Data, []float32{-1.0690434, -0.5345217, 0, 1.6035652}, 1e-6)
	same(t, "mean, momentum 0.03", w.Mean, []float32{0.09}, 1e-6)
	same(t, "variance, momentum 0.03", w.Var, []float32{1.11}, 1e-6)

	w.Mean[0], w.Var[0], n.Momentum = 0, 1, 0.1
	forward(t, n, images, true)
	same(t, "mean, momentum 0.1", w.Mean, []float32{0.3}, 1e-6)
	same(t, "variance, momentum 0.1", w.Var, []float32{1.3666667}, 1e-6)

	w.Mean[0], w.Var[0] = 2, 4-1e-5
	_, nodes = forward(t, n, images, false)
	same(t, "inference output", nodes[0].Data, []float32{-0.5, 0, 0.5, 2}, 1e-6)
	same(t, "mean after inference", w.Mean, []float32{2}, 0)
	same(t, "variance after inference", w.Var, []float32{4 - 1e-5}, 0)
}

func TestNetConvWithoutBatchNormByHand(t *testing.T) {
	b := newBuilder(1, 1, 3)
	b.Add(&graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, Activation: graph.Leaky}, graph.Input)
	b.Nodes[0].Weights = &graph.Weights{Kernel: []float32{2, -1}, Bias: []float32{1, 0}}
	n := newNet(t, b.Graph)
	for _, training := range []bool{false, true} {
		_, nodes := forward(t, n, Tensor{1, 1, 3, 1, []float32{1, -3, 0}}, training)
		same(t, "y", nodes[0].Data, []float32{3, -0.1, -0.5, 3, 1, 0}, 1e-7)
	}
}

// Images of a batch do not meet at inference, and each gives what it gives
// alone.
func TestNetBatchIsImages(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	n := newNet(t, twoHeads(t, rng))
	images := normalTensor(rng, 3, 8, 12, 3)
	all, _ := forward(t, n, images, false)
	size := len(images.Data) / 3
	for i := range 3 {
		alone, _ := forward(t, n, Tensor{1, 8, 12, 3, images.Data[i*size : (i+1)*size]}, false)
		for k, head := range alone {
			part := len(head.Data)
			same(t, fmt.Sprintf("image %d, head %d", i, k), all[k].Data[i*part:(i+1)*part], head.Data, 0)
		}
	}
}

// foreign is an operation that the reference engine has not heard of.
type foreign struct{ *graph.Silence }

func TestNewNetErrors(t *testing.T) {
	for _, c := range []struct {
		change func(g *graph.Graph)
		want   string
	}{
		{func(g *graph.Graph) { g.Nodes = nil }, "network has no layers"},
		{func(g *graph.Graph) { g.Net.Channels = 0 }, "every side must be at least 1"},
		{func(g *graph.Graph) { g.Nodes[0].Weights = nil }, "layer 0 (convolutional): has no weights"},
		{func(g *graph.Graph) { g.Nodes[1].Weights.Kernel = make([]float32, 5) }, "layer 1 (convolutional): kernel has 5 values, want 108"},
		{func(g *graph.Graph) { g.Nodes[0].Inputs = nil }, "layer 0 (convolutional): reads 0 layers"},
		{func(g *graph.Graph) { g.Add(foreign{&graph.Silence{}}, 0) }, "(silence): the reference engine does not run this operation"},
	} {
		g := twoHeads(t, rand.New(rand.NewPCG(5, 0)))
		c.change(g)
		n, err := NewNet(g)
		if err == nil || n != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

func TestForwardErrors(t *testing.T) {
	g := twoHeads(t, rand.New(rand.NewPCG(6, 0)))
	for _, c := range []struct {
		images Tensor
		want   string
	}{
		{Tensor{}, "0 images: want 1 to"},
		{Tensor{N: -1, H: 8, W: 12, C: 3}, "-1 images: want 1 to"},
		{Tensor{N: 1 << 40, H: 8, W: 12, C: 3}, "images: want 1 to"},
		{New(1, 12, 8, 3), "images 1x12x8x3, want 1x8x12x3"},
		{New(1, 8, 12, 1), "images 1x8x12x1, want 1x8x12x3"},
		{Tensor{2, 8, 12, 3, make([]float32, 8*12*3)}, "images 288 values, want 576"},
	} {
		_, _, err := newNet(t, g).Forward(c.images, true)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// A batch norm over one value is refused before any statistic moves.
func TestForwardSingleValue(t *testing.T) {
	b := newBuilder(1, 2, 2)
	b.conv(b.conv(graph.Input, 2, 1, 1, 1, graph.Mish), 2, 3, 2, 1, graph.Mish)
	g := b.weights(t, rand.New(rand.NewPCG(7, 0)))
	before := g.Clone()
	n := newNet(t, g)
	_, _, err := n.Forward(count(2, 2, 1), true)
	if want := "layer 1 (convolutional): batch norm sees one value per channel"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	same(t, "running mean", g.Nodes[0].Weights.Mean, before.Nodes[0].Weights.Mean, 0)
	if _, _, err := n.Forward(count(2, 2, 1), false); err != nil {
		t.Errorf("inference: %v", err)
	}
	if _, _, err := n.Forward(New(2, 2, 2, 1), true); err != nil {
		t.Errorf("training with two images: %v", err)
	}
}

func TestForwardTooLarge(t *testing.T) {
	b := newBuilder(1, 1, 1)
	b.Add(&graph.Upsample{Stride: 1 << 14}, graph.Input)
	_, _, err := newNet(t, b.Graph).Forward(New(5, 1, 1, 1), false)
	if want := "layer 0 (upsample): output 1x16384x16384 of 5 images has more than"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func TestBackwardErrors(t *testing.T) {
	g := twoHeads(t, rand.New(rand.NewPCG(8, 0)))
	n, images := newNet(t, g), New(2, 8, 12, 3)
	good := []Tensor{New(2, 2, 3, 7), New(2, 4, 6, 7)}
	fails := func(dheads []Tensor, want string) {
		t.Helper()
		if _, err := n.Backward(dheads); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	fails(good, "backward needs a training forward before it")
	forward(t, n, images, false)
	fails(good, "backward needs a training forward before it")
	forward(t, n, images, true)
	fails(good[:1], "1 head gradients, want 2")
	fails([]Tensor{good[1], good[0]}, "layer 14 (yolo): head gradient 2x4x6x7, want 2x2x3x7")
	fails([]Tensor{good[0], {2, 4, 6, 7, nil}}, "head gradient 0 values, want 336")
	if _, err := n.Backward(good); err != nil {
		t.Error(err)
	}
	if _, _, err := n.Forward(New(1, 1, 1, 1), true); err == nil {
		t.Error("no error for a wrong image")
	}
	fails(good, "backward needs a training forward before it")
}

// Dropout is the identity at inference. In training the mask is that of the
// layer and the iteration, and the gradient goes through the mask of its own
// forward whatever the iteration has become.
func TestNetDropout(t *testing.T) {
	b := newBuilder(7, 2, 3)
	b.Add(&graph.Dropout{Probability: 0.5}, graph.Input)
	b.Add(&graph.Dropout{Probability: 0.2}, graph.Input)
	b.Add(&graph.Yolo{Classes: 2, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}}, 1)
	n := newNet(t, b.Graph)
	rng := rand.New(rand.NewPCG(9, 0))
	images, dy := gridTensor(rng, 2, 2, 3, 7), gridTensor(rng, 2, 2, 3, 7)
	_, nodes := forward(t, n, images, false)
	same(t, "at inference", nodes[1].Data, images.Data, 0)

	masked := func(x Tensor, node, iteration uint64, p float64) []float32 {
		out := make([]float32, len(x.Data))
		mask.Keep(3, node, iteration, p, out)
		for i, v := range x.Data {
			out[i] *= v
		}
		return out
	}
	n.Seed = 3
	for n.Iteration = range uint64(3) {
		_, nodes = forward(t, n, images, true)
		same(t, "layer 0 in training", nodes[0].Data, masked(images, 0, n.Iteration, 0.5), 0)
		same(t, "layer 1 in training", nodes[1].Data, masked(images, 1, n.Iteration, 0.2), 0)
	}
	grads, err := n.Backward([]Tensor{dy})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "gradient", grads.Images.Data, masked(dy, 1, 2, 0.2), 0)
}

// A gate is the first input of a product; which of the two it is only shows
// where they differ in shape.
func TestNetProductsByHand(t *testing.T) {
	b := newBuilder(1, 1, 4)
	mean := b.Add(&graph.AvgPool{}, graph.Input).ID
	b.Add(&graph.ScaleChannels{Activation: graph.Leaky}, mean, graph.Input)
	b.Add(&graph.ScaleChannels{Activation: graph.Relu, ScaleWH: true}, graph.Input, graph.Input)
	b.Add(&graph.SAM{Activation: graph.Linear}, 1, graph.Input)
	_, nodes := forward(t, newNet(t, b.Graph), Tensor{1, 1, 4, 1, []float32{1, -2, 3, 6}}, false)
	same(t, "mean", nodes[0].Data, []float32{2}, 0)
	same(t, "scale_channels", nodes[1].Data, []float32{2, -0.4, 6, 12}, 1e-7)
	same(t, "scale_channels, scale_wh", nodes[2].Data, []float32{1, 4, 9, 36}, 0)
	same(t, "sam", nodes[3].Data, []float32{2, 0.8, 18, 72}, 1e-6)
}

// A shortcut with weights runs, and training one is an error: its gradients
// would be wrong.
func TestNetWeightedShortcut(t *testing.T) {
	b := newBuilder(2, 1, 2)
	b.Add(&graph.Silence{}, graph.Input)
	o := &graph.Shortcut{Activation: graph.Leaky, Scaling: graph.PerChannel, Normalization: graph.NormRelu}
	b.Add(o, 0, graph.Input)
	b.Nodes[1].Weights = &graph.Weights{Scale: []float32{3, 1, 1, 7}}
	n := newNet(t, b.Graph)
	images := Tensor{1, 1, 2, 2, []float32{1, -2, 3, 4}}
	_, nodes := forward(t, n, images, false)
	same(t, "y", nodes[1].Data, []float32{4 / 4.0001, -1.6 / 8.0001, 12 / 4.0001, 32 / 8.0001}, 1e-6)

	_, _, err := n.Forward(images, true)
	if want := "layer 1 (shortcut): a shortcut with weights cannot be trained yet"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, err := n.Backward(nil); err == nil || !strings.Contains(err.Error(), "backward needs a training forward before it") {
		t.Errorf("backward: error %v", err)
	}
}

// A contrastive layer is no head: what only it reads gets no gradient.
func TestNetContrastive(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 0))
	g := layers(t, rng)
	n := newNet(t, g)
	heads, nodes := forward(t, n, normalTensor(rng, 2, 8, 12, 3), true)
	grads, err := n.Backward(randomLike(rng, heads))
	if err != nil {
		t.Fatal(err)
	}
	last := len(g.Nodes) - 1
	same(t, "output", nodes[last].Data, nodes[last-1].Data, 0)
	zeros := make([]float32, len(nodes[last].Data))
	same(t, "gradient", grads.Nodes[last].Data, zeros, 0)
	same(t, "gradient of the embedding", grads.Nodes[last-1].Data, zeros, 0)
	same(t, "gradient of its kernel", grads.Params[last-1].Kernel, make([]float32, len(g.Nodes[last-1].Weights.Kernel)), 0)
}
