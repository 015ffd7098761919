package engine

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

var orders = []onednn.Order{onednn.NHWC, onednn.Blocked8, onednn.Blocked16}

// randomWeights gives every convolution weights that keep activations near one,
// and every shortcut with weights some of both signs.
func randomWeights(g *graph.Graph, seed uint64) *graph.Graph {
	if err := g.Infer(); err != nil {
		panic(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, n := range g.Convs() {
		w := n.Conv().NewWeights(g.ShapeOf(n.Inputs[0]).C)
		scale := 1.5 / math.Sqrt(float64(len(w.Kernel)/len(w.Bias)))
		for i := range w.Kernel {
			w.Kernel[i] = float32(scale * rng.NormFloat64())
		}
		for i := range w.Bias {
			w.Bias[i] = float32(0.3 * rng.NormFloat64())
		}
		for i := range w.Gamma {
			w.Gamma[i] = float32(1 + 0.2*rng.NormFloat64())
			w.Mean[i], w.Var[i] = float32(0.1*rng.NormFloat64()), float32(0.5+rng.Float64())
		}
		n.Weights = w
	}
	g.LinkShared()
	for _, n := range g.Nodes {
		if s, ok := n.Op.(*graph.Shortcut); ok && s.Scaling != graph.NoScaling {
			n.Weights = &graph.Weights{Scale: make([]float32, g.Arrays(n)[0].Len)}
			for i := range n.Weights.Scale {
				n.Weights.Scale[i] = float32(0.5 + rng.NormFloat64())
			}
		}
	}
	return g
}

func tiny(t *testing.T) *graph.Graph {
	t.Helper()
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: 3, Width: 0.25, InputW: 96, InputH: 64})
	if err != nil {
		t.Fatal(err)
	}
	return randomWeights(g, 1)
}

// network builds small graphs.
type network struct{ *graph.Graph }

func newNetwork(channels, height, width int) network {
	return network{&graph.Graph{Net: graph.Net{Channels: channels, Height: height, Width: width}}}
}

func (n network) conv(in graph.NodeID, f, size, stride, groups int, bn bool, act graph.Activation) graph.NodeID {
	return n.Add(&graph.Conv{Filters: f, Size: size, Stride: stride, Pad: size / 2, Groups: groups, BatchNorm: bn, Activation: act}, in).ID
}

// yolo adds a head of one class and one anchor, which reads six channels.
func (n network) yolo(in graph.NodeID) graph.NodeID {
	return n.Add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 1}, in).ID
}

// head adds a convolution of six filters and a [yolo].
func (n network) head(in graph.NodeID) { n.yolo(n.conv(in, 6, 1, 1, 1, false, graph.Linear)) }

func (n network) shortcut(act graph.Activation, in ...graph.NodeID) graph.NodeID {
	return n.Add(&graph.Shortcut{Activation: act}, in...).ID
}

func (n network) route(groups, id int, in ...graph.NodeID) graph.NodeID {
	return n.Add(&graph.Route{Groups: groups, GroupID: id}, in...).ID
}

func (n network) pool(in graph.NodeID, size, stride int) graph.NodeID {
	return n.Add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, in).ID
}

func (n network) sam(act graph.Activation, in ...graph.NodeID) graph.NodeID {
	return n.Add(&graph.SAM{Activation: act}, in...).ID
}

// gate adds squeeze and excitation.
func (n network) gate(act graph.Activation, in graph.NodeID) graph.NodeID {
	c := n.filters(in)
	squeezed := n.conv(n.Add(&graph.AvgPool{}, in).ID, 3, 1, 1, 1, false, graph.Relu)
	return n.Add(&graph.ScaleChannels{Activation: act}, n.conv(squeezed, c, 1, 1, 1, false, graph.Logistic), in).ID
}

// filters returns the channels of a convolution that has been added.
func (n network) filters(id graph.NodeID) int { return n.Nodes[id].Conv().Filters }

// crossed has what the published networks have not: activations with three and
// more readers, shortcuts of two and three sources, a source that a route reads
// twice, slices that start inside a block, grouped and depthwise convolutions,
// a strided 1x1 convolution, every smooth activation, convolutions of one
// filter, a branch that no head reads, one class, one anchor.
func crossed() *graph.Graph {
	g := newNetwork(3, 16, 24)
	conv := g.conv
	a := conv(graph.Input, 12, 3, 2, 1, true, graph.Mish)
	b := conv(a, 12, 3, 1, 12, true, graph.Swish)
	s := g.Add(&graph.Shortcut{Activation: graph.Linear}, b, a).ID
	c := conv(s, 12, 3, 1, 2, true, graph.Logistic)
	s3 := g.Add(&graph.Shortcut{Activation: graph.Swish}, c, s, a).ID
	slice := g.Add(&graph.Route{Groups: 4, GroupID: 1}, s3).ID
	twice := g.Add(&graph.Route{Groups: 1}, slice, s3, slice).ID
	pool := g.Add(&graph.MaxPool{Size: 3, Stride: 1, Padding: 2}, twice).ID
	conv(pool, 5, 1, 1, 1, true, graph.Mish) // nobody reads it
	one := conv(pool, 1, 1, 1, 1, true, graph.Linear)
	wide := conv(one, 7, 1, 1, 1, false, graph.Mish)
	h1 := conv(wide, 6, 1, 1, 1, false, graph.Linear)
	g.yolo(h1)
	down := conv(pool, 9, 1, 2, 1, true, graph.Swish)
	up := g.Add(&graph.Upsample{Stride: 2}, down).ID
	join := g.Add(&graph.Route{Groups: 1}, up, one, wide).ID
	h2 := conv(join, 6, 3, 1, 1, false, graph.Logistic)
	g.yolo(h2)
	return randomWeights(g.Graph, 2)
}

func pictures(g *graph.Graph, batch int) []float32 {
	rng := rand.New(rand.NewPCG(9, 9))
	x := make([]float32, batch*g.InputShape().Size())
	for i := range x {
		x[i] = rng.Float32()
	}
	return x
}

func refTensor(g *graph.Graph, batch int, x []float32) ref.Tensor {
	s := g.InputShape()
	return ref.Tensor{N: batch, H: s.H, W: s.W, C: s.C, Data: slices.Clone(x)}
}

// near compares relative to the root mean square of want.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	if len(want) == 0 {
		return
	}
	sum, worst, at := 0.0, 0.0, 0
	for i, v := range want {
		sum += float64(v) * float64(v)
		if d := math.Abs(float64(got[i]) - float64(v)); !(d <= worst) {
			worst, at = d, i
		}
	}
	if rms := math.Sqrt(sum / float64(len(want))); !(worst <= tolerance*rms+1e-7) {
		t.Errorf("%s: value %d is %v, want %v (off by %.2g of the rms)", what, at, got[at], want[at], worst/rms)
	}
}

// sameInference compares inference in every order with the reference.
func sameInference(t *testing.T, name string, g *graph.Graph, batch int) {
	t.Helper()
	x := pictures(g, batch)
	net, err := ref.NewNet(g.Clone())
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := net.Forward(refTensor(g, batch, x), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orders {
		fast, err := NewInference(g, Options{Batch: batch, Threads: 2}.WithOrder(o))
		if err != nil {
			t.Fatalf("%s %v: %v", name, o, err)
		}
		for range 2 { // the second run must not see the first
			got, err := fast.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			sameHeads(t, fmt.Sprintf("%s %v batch %d", name, o, batch), g, got, want)
		}
		fast.Close()
	}
}

func sameHeads(t *testing.T, what string, g *graph.Graph, got []Output, want []ref.Tensor) {
	t.Helper()
	heads := g.Heads()
	if len(got) != len(want) || len(got) != len(heads) {
		t.Fatalf("%s: %d outputs, want %d", what, len(got), len(want))
	}
	for i, out := range got {
		if out.Node != heads[i].ID || out.Shape != heads[i].Out {
			t.Errorf("%s: output %d is of layer %d, %v, want layer %d, %v", what, i, out.Node, out.Shape, heads[i].ID, heads[i].Out)
		}
		near(t, fmt.Sprintf("%s head %d", what, i), out.Data, want[i].Data, 1e-4)
	}
}

func TestInferenceEqualsReference(t *testing.T) {
	for name, g := range map[string]*graph.Graph{"tiny": tiny(t), "crossed": crossed()} {
		for _, batch := range []int{1, 3} {
			sameInference(t, name, g, batch)
		}
	}
}

// weighted is L = sum of c_i*x_i^2/2 over all heads, c_i spread around one, and
// its gradient.
func weighted(heads []Output, grads [][]float32) (float64, error) {
	sum := 0.0
	for h, out := range heads {
		for i, v := range out.Data {
			c := 1 + 0.5*float32(i%5)
			sum += float64(c) * float64(v) * float64(v) / 2
			grads[h][i] = c * v
		}
	}
	return sum, nil
}

// refGradients runs the reference forward and backward with the loss weighted.
func refGradients(t *testing.T, g *graph.Graph, batch int, x []float32) (heads []ref.Tensor, loss float64, grads *ref.Gradients) {
	t.Helper()
	net, err := ref.NewNet(g)
	if err != nil {
		t.Fatal(err)
	}
	heads, _, err = net.Forward(refTensor(g, batch, x), true)
	if err != nil {
		t.Fatal(err)
	}
	outs, slopes := make([]Output, len(heads)), make([][]float32, len(heads))
	dheads := make([]ref.Tensor, len(heads))
	for i, h := range heads {
		outs[i].Data, slopes[i] = h.Data, make([]float32, len(h.Data))
		dheads[i] = ref.Tensor{N: h.N, H: h.H, W: h.W, C: h.C, Data: slopes[i]}
	}
	if loss, err = weighted(outs, slopes); err != nil {
		t.Fatal(err)
	}
	if grads, err = net.Backward(dheads); err != nil {
		t.Fatal(err)
	}
	return heads, loss, grads
}

// sameTraining compares a training step in every order with the reference:
// outputs, loss, every parameter's gradient, running statistics.
func sameTraining(t *testing.T, name string, g *graph.Graph, batch int, tolerance float64) {
	t.Helper()
	for _, o := range orders {
		sameTrainingIn(t, name, g, batch, o, tolerance)
	}
}

func sameTrainingIn(t *testing.T, name string, g *graph.Graph, batch int, o onednn.Order, tolerance float64) {
	t.Helper()
	what := fmt.Sprintf("%s %v", name, o)
	x, slow, mine := pictures(g, batch), g.Clone(), g.Clone()
	heads, wantLoss, want := refGradients(t, slow, batch, x)
	fast, err := NewTraining(mine, weighted, Options{Batch: batch, Threads: 2}.WithOrder(o))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer fast.Close()
	compare := func(what string) {
		t.Helper()
		if loss := step(t, fast, x); !(math.Abs(loss-wantLoss) <= 1e-4*wantLoss) {
			t.Errorf("%s: loss %v, want %v", what, loss, wantLoss)
		}
		sameHeads(t, what, g, fast.outputs, heads)
		for _, p := range fast.Params() {
			w := want.Params[p.Node]
			ref := map[Role][]float32{Kernel: w.Kernel, Bias: w.Bias, Beta: w.Bias, Gamma: w.Gamma}[p.Role]
			near(t, fmt.Sprintf("%s gradient of %s", what, p.Name()), p.Grad, ref, tolerance)
		}
	}
	compare(what)
	for i, n := range mine.Convs() {
		s := slow.Convs()[i]
		dead := func(u *graph.Node) bool { return mine.Owner(u) == mine.Owner(n) && !fast.live[u.ID] }
		if slices.ContainsFunc(mine.Convs(), dead) {
			continue // the reference runs dead branches too
		}
		near(t, fmt.Sprintf("%s mean of %v", what, n), n.Weights.Mean, s.Weights.Mean, 1e-4)
		near(t, fmt.Sprintf("%s variance of %v", what, n), n.Weights.Var, s.Weights.Var, 1e-4)
	}
	fast.SetIteration(0)       // the masks of the first step
	compare(what + ", again,") // nothing of the first step may be left
}

func TestTrainingEqualsReference(t *testing.T) {
	// The leaky slope of a value within rounding of zero may differ.
	sameTraining(t, "tiny", tiny(t), 2, 2e-3)
	// Four batch norms in a row take most of a gradient away, and with it digits.
	sameTraining(t, "crossed", crossed(), 2, 1e-3)
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after closing", n)
	}
}

// TestTrainingAgainstDifferences compares every parameter's gradient with the
// central difference of the loss along a random direction v:
//
//	grad.v = (8(L(w+hv) - L(w-hv)) - (L(w+2hv) - L(w-2hv))) / 12h + O(h^4)
//
// The windows of the max pooling are of one pixel here: where the maximum
// changes place the slope jumps, and differences straddle that.
func TestTrainingAgainstDifferences(t *testing.T) {
	g := crossed()
	for _, n := range g.Nodes {
		if n.Op.Kind() == "maxpool" {
			n.Op = &graph.MaxPool{Size: 1, Stride: 1}
		}
	}
	againstDifferences(t, g)
}

func againstDifferences(t *testing.T, net *graph.Graph) {
	t.Helper()
	defer onednn.SetThreads(onednn.SetThreads(0))
	for _, o := range orders {
		g := net.Clone()
		tr, err := NewTraining(g, weighted, Options{Batch: 2, Threads: 1}.WithOrder(o))
		if err != nil {
			t.Fatal(err)
		}
		x := pictures(g, 2)
		loss := func() float64 {
			l, err := tr.Step(x)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		rng := rand.New(rand.NewPCG(3, 3))
		for _, p := range tr.Params() {
			loss()
			grad, old, v := slices.Clone(p.Grad), slices.Clone(p.Value), make([]float32, len(p.Value))
			want, norm := 0.0, 0.0
			for i := range v {
				v[i] = float32(rng.NormFloat64())
				want += float64(v[i]) * float64(grad[i])
				norm += float64(grad[i]) * float64(grad[i])
			}
			const h = 5e-3
			at := func(s float32) float64 {
				for i := range v {
					p.Value[i] = old[i] + s*v[i]
				}
				return loss()
			}
			got := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
			at(0)
			if off := math.Abs(got-want) / (math.Sqrt(norm) + 1); !(off <= 0.03) {
				t.Errorf("%v %s: gradient along a direction %g, differences give %g", o, p.Name(), want, got)
			}
		}
		tr.Close()
	}
}

func TestRecalibrateAverages(t *testing.T) {
	g := crossed()
	slow, batches := g.Clone(), [][]float32{pictures(g, 2), pictures(g, 4)[2*g.InputShape().Size():]}
	sums := map[graph.NodeID][]float64{}
	net, err := ref.NewNet(slow)
	if err != nil {
		t.Fatal(err)
	}
	net.Momentum = 1 // the running statistics are those of the last batch
	for _, x := range batches {
		if _, _, err := net.Forward(refTensor(g, 2, x), true); err != nil {
			t.Fatal(err)
		}
		for _, n := range slow.Convs() {
			for _, v := range append(slices.Clone(n.Weights.Mean), n.Weights.Var...) {
				sums[n.ID] = append(sums[n.ID], float64(v))
			}
		}
	}
	err = Recalibrate(g, Options{Batch: 2}, func(yield func([]float32, error) bool) {
		for _, x := range batches {
			if !yield(x, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	live := leadToHead(g)
	for _, n := range g.Convs() {
		if !live[n.ID] {
			continue
		}
		all := sums[n.ID]
		half := len(all) / 2
		var want []float32
		for i := range half {
			want = append(want, float32((all[i]+all[half+i])/2))
		}
		near(t, n.String(), append(slices.Clone(n.Weights.Mean), n.Weights.Var...), want, 1e-4)
	}
}

func TestRecalibrateNeedsABatch(t *testing.T) {
	err := Recalibrate(crossed(), Options{Batch: 2}, func(func([]float32, error) bool) {})
	if err == nil || !strings.Contains(err.Error(), "no batch") {
		t.Errorf("error %v, want one about no batch", err)
	}
}

type ownError struct{ msg string }

func (e *ownError) Error() string { return e.msg }

func TestErrors(t *testing.T) {
	bare := crossed()
	bare.Nodes[0].Weights = nil
	headless := newNetwork(3, 8, 8)
	headless.conv(graph.Input, 2, 1, 1, 1, false, graph.Linear)
	shapeless := newNetwork(3, 8, 8)
	shapeless.yolo(shapeless.conv(graph.Input, 6, 3, 1, 1, false, graph.Linear))
	randomWeights(shapeless.Graph, 1).Nodes[0].Out = graph.Shape{}
	swollen := newNetwork(1, 16, 16)
	swollen.head(swollen.conv(graph.Input, 64, 3, 1, 1, false, graph.Linear))
	for _, x := range []struct {
		name  string
		graph *graph.Graph
		batch int
		want  string
	}{
		{"batch", crossed(), 0, "engine: batch 0: must be at least 1"},
		{"negative batch", crossed(), -1, "engine: batch -1"},
		{"weights", bare, 1, "engine: layer 0 (convolutional): has no weights"},
		{"head", randomWeights(headless.Graph, 1), 1, "engine: the network has no [yolo]"},
		{"many images", crossed(), 1 << 21, "engine: network input: 2097152 images of 3x16x24 have more than"},
		{"too many for a number", crossed(), math.MaxInt, "have more than"},
		{"many values in a layer", randomWeights(swollen.Graph, 1), 65537, "engine: layer 0 (convolutional): 65537 images of 64x16x16 have more than"},
		{"no shapes", shapeless.Graph, 1, "has no shape"},
	} {
		o := Options{Batch: x.batch}
		_, inference := NewInference(x.graph, o)
		_, training := NewTraining(x.graph, weighted, o)
		recalibration := Recalibrate(x.graph, o, nil)
		for _, err := range []error{inference, training, recalibration} {
			if err == nil || !strings.HasPrefix(err.Error(), "engine: ") || strings.Count(err.Error(), "engine: ") != 1 || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: error %v, want one with %q", x.name, err, x.want)
			}
		}
	}
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after failed builds", n)
	}
}

// What runs but cannot be trained is an UnsupportedError of the training alone.
func TestUntrainable(t *testing.T) {
	wide := newNetwork(3, 6, 5)
	wide.head(wide.pool(wide.conv(graph.Input, 6, 1, 1, 1, false, graph.Linear), 256, 1))
	summed := newNetwork(3, 6, 5)
	a := summed.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	summed.head(summed.Add(&graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerFeature, Normalization: graph.NormRelu}, a, a).ID)
	contrastive := newNetwork(3, 6, 5)
	a = contrastive.conv(graph.Input, 6, 3, 1, 1, true, graph.Mish)
	contrastive.head(a)
	contrastive.Add(&graph.Contrastive{Classes: 2}, a)
	for _, x := range []struct {
		network network
		want    string
	}{
		{wide, "engine: layer 1 (maxpool): size 256: at most 255 can be trained"},
		{summed, "engine: layer 1 (shortcut): a shortcut with weights cannot be trained yet"},
		{contrastive, "engine: layer 3 (contrastive): its loss cannot be trained yet: take the section out of the cfg to train without it"},
	} {
		g := randomWeights(x.network.Graph, 8)
		sameInference(t, x.want, g, 2)
		_, err := NewTraining(g, weighted, Options{Batch: 2})
		var u *UnsupportedError
		if !errors.As(err, &u) || err.Error() != x.want {
			t.Errorf("error %v, want %q", err, x.want)
		}
	}
}

func TestStepErrors(t *testing.T) {
	g := crossed()
	fail := false
	tr, err := NewTraining(g, func(h []Output, grads [][]float32) (float64, error) {
		if fail {
			return 0, &ownError{"no more"}
		}
		return weighted(h, grads)
	}, Options{Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Step(make([]float32, 5)); err == nil || !strings.Contains(err.Error(), "5 image values") {
		t.Errorf("short image: error %v", err)
	}
	fail = true
	_, err = tr.Step(pictures(g, 2))
	var own *ownError
	if !errors.As(err, &own) || err.Error() != "no more" {
		t.Errorf("error of the loss: %v, want its own", err)
	}
	fail = false
	if _, err := tr.Step(pictures(g, 2)); err != nil {
		t.Errorf("a step after a failed one: %v", err)
	}
}

// The second convolution sees one pixel of one image.
func TestNormOfOneValue(t *testing.T) {
	n := newNetwork(3, 2, 2)
	n.head(n.conv(n.conv(graph.Input, 6, 3, 1, 1, true, graph.Linear), 5, 3, 2, 1, true, graph.Linear))
	g, want := randomWeights(n.Graph, 1), "engine: layer 1 (convolutional): batch norm over one value a channel"
	_, err := NewTraining(g, weighted, Options{Batch: 1})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("training: error %v, want one with %q", err, want)
	}
	if err := Recalibrate(g, Options{Batch: 1}, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("recalibration: error %v, want one with %q", err, want)
	}
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after a failed build", n)
	}
	sameInference(t, "one value", g, 1)
	tr, err := NewTraining(g, weighted, Options{Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Step(pictures(g, 2)); err != nil {
		t.Errorf("one value an image, two images: %v", err)
	}
}

// trained is what some steps leave: losses, last outputs, last gradients, all
// weights and running statistics.
type trained struct {
	losses []float64
	values [][]float32
	names  []string
}

func (r *trained) add(name string, values []float32) {
	r.names, r.values = append(r.names, name), append(r.values, slices.Clone(values))
}

func steps(t *testing.T, g *graph.Graph, threads, n int) *trained {
	t.Helper()
	g = g.Clone()
	tr, err := NewTraining(g, weighted, Options{Batch: 2, Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	r := &trained{}
	x := pictures(g, 2)
	for range n {
		loss, err := tr.Step(x)
		if err != nil {
			t.Fatal(err)
		}
		r.losses = append(r.losses, loss)
		for _, p := range tr.Params() {
			for i, d := range p.Grad {
				p.Value[i] -= 1e-5 * d
			}
		}
	}
	for i, out := range tr.outputs {
		r.add(fmt.Sprintf("output %d", i), out.Data)
	}
	for _, p := range tr.Params() {
		r.add("gradient of "+p.Name(), p.Grad)
		r.add(p.Name(), p.Value)
	}
	for _, c := range g.Convs() {
		r.add(fmt.Sprintf("mean of %v", c), c.Weights.Mean)
		r.add(fmt.Sprintf("variance of %v", c), c.Weights.Var)
	}
	return r
}

func TestSameBytes(t *testing.T) {
	for name, g := range map[string]*graph.Graph{"tiny": tiny(t), "crossed": crossed(), "everything": everything()} {
		a, b := steps(t, g, 2, 5), steps(t, g, 2, 5)
		if !slices.Equal(a.losses, b.losses) || a.losses[0] <= a.losses[4] {
			t.Errorf("%s: losses %v and %v, want equal ones that fall", name, a.losses, b.losses)
		}
		for i := range a.values {
			if !slices.Equal(a.values[i], b.values[i]) {
				t.Errorf("%s: two equal runs give different values: %s", name, a.names[i])
			}
		}
	}
}

func TestThreadsAgree(t *testing.T) {
	defer onednn.SetThreads(onednn.SetThreads(0))
	for name, g := range map[string]*graph.Graph{"tiny": tiny(t), "crossed": crossed(), "everything": everything()} {
		one := steps(t, g, 1, 1)
		for _, threads := range []int{2, 3} {
			more := steps(t, g, threads, 1)
			near(t, name+" loss", []float32{float32(more.losses[0])}, []float32{float32(one.losses[0])}, 1e-5)
			for i := range one.values {
				near(t, fmt.Sprintf("%s, %d threads and one: %s", name, threads, one.names[i]), more.values[i], one.values[i], 1e-5)
			}
		}
	}
}

func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc/self/statm here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// staysFlat calls f 200 times and compares the memory in use after 50 of them and
// at the end.
func staysFlat(t *testing.T, f func() error) {
	t.Helper()
	var heap, rss [2]int
	for i := range 200 {
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if i == 49 || i == 199 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap[i/199], rss[i/199] = int(m.HeapAlloc), resident(t)
		}
	}
	if heap[1] > heap[0]+1<<20 || rss[1] > rss[0]+32<<20 {
		t.Errorf("run 50 to 200: heap %d to %d bytes, resident %d to %d", heap[0], heap[1], rss[0], rss[1])
	}
}

func TestMemoryStaysFlat(t *testing.T) {
	defer onednn.SetThreads(onednn.SetThreads(0))
	for _, g := range []*graph.Graph{tiny(t), everything()} {
		x := pictures(g, 1)
		tr := newTraining(t, g, weighted, Options{Batch: 1, Threads: 1})
		staysFlat(t, func() error { _, err := tr.Step(x); return err })
		net := newInference(t, g, Options{Batch: 1, Threads: 1})
		staysFlat(t, func() error { _, err := net.Forward(x); return err })
	}
}

// TestClosedNetworksAreFreed: without explicit collection the heap must not
// grow with every network that is replaced.
func TestClosedNetworksAreFreed(t *testing.T) {
	g := tiny(t)
	x := pictures(g, 16)
	var most, first uint64
	for i := range 40 {
		net, err := NewInference(g, Options{Batch: 16})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := net.Forward(x); err != nil {
			t.Fatal(err)
		}
		net.Close()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if i < 10 {
			first = max(first, m.HeapSys)
		}
		most = max(most, m.HeapSys)
	}
	if most > 2*first {
		t.Errorf("heap grew from %d to %d bytes over 40 networks", first, most)
	}
}
