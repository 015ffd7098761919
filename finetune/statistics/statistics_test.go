package statistics

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/toy"
	"yoloprune/finetune/loss"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

func scenes(t *testing.T) *coco.Set { return scenesOf(t, 64, 64) }

func scenesOf(t *testing.T, width, height int) *coco.Set {
	t.Helper()
	dir := t.TempDir()
	if err := toy.Write(dir, toy.Options{Images: 26, Seed: 3, Width: width, Height: height}); err != nil {
		t.Fatal(err)
	}
	set, err := coco.Load(filepath.Join(dir, "annotations", "train.json"), filepath.Join(dir, "images"), coco.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// network has running statistics that are not those of a new network.
func network(t *testing.T, arch string) *graph.Graph {
	t.Helper()
	g, err := zoo.Build(arch, zoo.Options{Classes: 3, Width: 0.0625, InputW: 64, InputH: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	return trained(g)
}

func trained(g *graph.Graph) *graph.Graph {
	for _, n := range g.Owners() {
		for k := range n.Weights.Mean {
			n.Weights.Mean[k], n.Weights.Var[k] = 0.1*float32(k%5)-0.2, 0.5+0.25*float32(k%4)
			n.Weights.Gamma[k], n.Weights.Bias[k] = 1+0.1*float32(k%3), 0.2*float32(k%7)-0.5
		}
	}
	return g
}

// images loads the first n images as the network gets them.
func images(t *testing.T, src datasets.Source, n int, fit batch.Fit) []float32 {
	t.Helper()
	l, err := batch.New(datasets.First(src, n), batch.Options{Batch: n, W: 64, H: 64, Fit: fit})
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range l.Epoch(0, false) {
		if err != nil {
			t.Fatal(err)
		}
		return append([]float32(nil), b.Images...)
	}
	t.Fatal("no batch")
	return nil
}

// The statistics are those of the reference engine's activations, of networks
// with pooling, concatenation, and sums.
func TestResponsesAgainstReference(t *testing.T) {
	set := scenes(t)
	for _, arch := range []string{"yolov4-tiny", "yolov3"} {
		g := network(t, arch)
		r, err := Responses(g, set, Options{Images: 8, Threads: 1, Tau: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		net, err := ref.NewNet(g)
		if err != nil {
			t.Fatal(err)
		}
		x := ref.Tensor{N: 8, H: 64, W: 64, C: 3, Data: images(t, set, 8, batch.Fit{})}
		_, nodes, err := net.Forward(x, false)
		if err != nil {
			t.Fatal(err)
		}
		measured := 0
		for _, n := range g.Nodes {
			if r.Mean[n.ID] != nil {
				measured++
				compare(t, fmt.Sprintf("%s, %v", arch, n), r, n.ID, nodes[n.ID])
			}
		}
		if want := len(g.Convs()) + 3; measured < want {
			t.Errorf("%s: %d layers measured, want at least %d", arch, measured, want)
		}
	}
}

func compare(t *testing.T, name string, r *Response, id graph.NodeID, y ref.Tensor) {
	t.Helper()
	square := 0.0
	for _, v := range y.Data {
		square += float64(v) * float64(v)
	}
	limit := 0.1 * math.Sqrt(square/float64(len(y.Data)))
	scale := limit / 0.1
	px := float64(len(y.Data) / y.C)
	for c := range y.C {
		var mean, abs, small float64
		for i := c; i < len(y.Data); i += y.C {
			v := float64(y.Data[i])
			mean += v / px
			abs += math.Abs(v) / px
			if math.Abs(v) < limit {
				small += 1 / px
			}
		}
		for _, x := range []struct {
			what      string
			got, want float64
			within    float64
		}{
			{"mean", float64(r.Mean[id][c]), mean, 1e-4 * scale},
			{"mean |a|", float64(r.MeanAbs[id][c]), abs, 1e-4 * scale},
			{"small", float64(r.Small[id][c]), small, 2 / px}, // a value at the limit may fall on either side
		} {
			if math.Abs(x.got-x.want) > x.within {
				t.Errorf("%s, channel %d: %s %v, want %v", name, c, x.what, x.got, x.want)
			}
		}
	}
}

// lossAt is the loss of g on images, without a change of anything.
func lossAt(t *testing.T, g *graph.Graph, x []float32, truths [][]datasets.Truth) float64 {
	t.Helper()
	net, err := engine.NewInference(g, engine.Options{Batch: len(truths), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	out, err := net.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	var heads []loss.Head
	var outs, grads [][]float32
	for _, o := range out {
		heads = append(heads, loss.Head{Yolo: g.Nodes[o.Node].Yolo(), Shape: o.Shape})
		outs, grads = append(outs, o.Data), append(grads, make([]float32, len(o.Data)))
	}
	l, err := loss.NewYOLOv4(heads, 64, 64, len(truths), loss.Options{IoULoss: "giou"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetTruths(truths)
	parts, err := l.Compute(outs, grads)
	if err != nil {
		t.Fatal(err)
	}
	return parts.Total
}

// A gate multiplies gamma and beta, or without batch norm kernel and bias: the
// derivative of the loss by it, from both sides, squared. The same with a factor
// on the kernel alone.
func TestGradientsAgainstDifferences(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	s, loss := measured(t, g, set)
	for _, id := range []graph.NodeID{0, 7, 21, 29} {
		compareGates(t, g, id, s, loss)
	}
	compareHessian(t, g, s, loss)
}

// In a letterboxed image the boxes lie where the image does: of 96 x 48 pixels,
// scaled to 64 x 32 and 16 below the top.
func TestGradientsOfLetterboxedImages(t *testing.T) {
	set, g := scenesOf(t, 96, 48), network(t, "yolov4-tiny")
	g.Net.Options = []graph.Option{{Key: "letter_box", Value: "1"}}
	s, loss := measured(t, g, set, func(x datasets.Truth) datasets.Truth {
		return datasets.Truth{Class: x.Class, X: x.X, Y: (16 + 32*x.Y) / 64, W: x.W, H: x.H / 2}
	})
	for _, id := range []graph.NodeID{0, 29} {
		compareGates(t, g, id, s, loss)
	}
}

// Layers that share weights are one; dropout lets everything pass.
func TestGradientsOfSharedWeights(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 3, Height: 64, Width: 64}}
	conv := func(o graph.Conv) { g.Add(&o, graph.NodeID(len(g.Nodes)-1)) }
	conv(graph.Conv{Filters: 6, Size: 3, Stride: 4, Pad: 1, Groups: 1, BatchNorm: true, Activation: graph.Mish})
	conv(graph.Conv{Filters: 6, Size: 3, Stride: 2, Pad: 2, Groups: 1, BatchNorm: true, Activation: graph.Swish, Dilation: 2})
	g.Add(&graph.Dropout{Probability: 0.5}, 1)
	conv(graph.Conv{Filters: 6, Size: 3, Stride: 1, Pad: 1, Groups: 1, BatchNorm: true, Activation: graph.Swish, Back: 2})
	conv(graph.Conv{Filters: 8, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	g.Add(&graph.Yolo{Classes: 3, Mask: []int{0}, Anchors: [][2]float64{{16, 16}}, ScaleXY: 1}, 4)
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	s, loss := measured(t, trained(g), scenes(t))
	if _, ok := s.Gate[3]; ok || len(s.Gate) != 3 {
		t.Errorf("gates of %d layers, want 0, 1 and 4", len(s.Gate))
	}
	for _, id := range []graph.NodeID{0, 1, 4} {
		compareGates(t, g, id, s, loss)
	}
}

// measured returns the gradients over one batch of four images, and their loss as
// a function of the network as it is; place says where boxes of the image lie in
// the input.
func measured(t *testing.T, g *graph.Graph, set *coco.Set, place ...func(datasets.Truth) datasets.Truth) (*Gradient, func() float64) {
	t.Helper()
	const n = 4
	s, err := Gradients(g, datasets.First(set, n), loss.Options{IoULoss: "giou"}, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.Batches != 1 {
		t.Fatalf("%d batches, want 1", s.Batches)
	}
	x := images(t, set, n, batch.Fit{Letterbox: len(place) > 0})
	var truths [][]datasets.Truth
	for i := range n {
		boxes := datasets.Truths(set.Sample(i).Boxes, set.Sample(i).Width, set.Sample(i).Height)
		for j := range boxes {
			for _, p := range place {
				boxes[j] = p(boxes[j])
			}
		}
		truths = append(truths, boxes)
	}
	return s, func() float64 { return lossAt(t, g, x, truths) }
}

func compareGates(t *testing.T, g *graph.Graph, id graph.NodeID, s *Gradient, loss func() float64) {
	t.Helper()
	const h = 1.0 / 512
	w := g.Nodes[id].Weights
	k := len(w.Bias) / 2
	per := len(w.Kernel) / len(w.Bias)
	kernel := w.Kernel[k*per : (k+1)*per]
	gate := [][]float32{w.Bias[k : k+1], kernel}
	if w.Gamma != nil {
		gate[1] = w.Gamma[k : k+1]
	}
	for _, c := range []struct {
		what   string
		scaled [][]float32
		got    float32
	}{{"gate", gate, s.Gate[id][k]}, {"kernel", [][]float32{kernel}, s.Weight[id][k]}} {
		want := (scaled(c.scaled, 1+h, loss) - scaled(c.scaled, 1-h, loss)) / (2 * h)
		got := math.Sqrt(float64(c.got))
		if math.Abs(got-math.Abs(want)) > 0.03*math.Abs(want)+2e-4 {
			t.Errorf("layer %d, filter %d, %s: |derivative| %v, want %v", id, k, c.what, got, math.Abs(want))
		}
	}
}

// compareHessian takes the derivative by every weight of a filter of layer 0:
// w*dL/dw is that by a factor on the weight alone.
func compareHessian(t *testing.T, g *graph.Graph, s *Gradient, loss func() float64) {
	t.Helper()
	const h, k, per = 1.0 / 64, 1, 27
	want := 0.0
	for i := range per {
		weight := [][]float32{g.Nodes[0].Weights.Kernel[k*per+i : k*per+i+1]}
		d := (scaled(weight, 1+h, loss) - scaled(weight, 1-h, loss)) / (2 * h)
		want += d * d
	}
	if got := float64(s.Hessian[0][k]); !(math.Abs(got-want) < 0.03*want) {
		t.Errorf("layer 0, filter %d: saliency %v, want %v", k, got, want)
	}
}

// Squares are taken by mini-batch and then averaged: over two mini-batches each
// value is the mean of those of either, which the square of a mean is not.
func TestGradientsSquareByBatch(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	of := func(src datasets.Source) *Gradient {
		s, err := Gradients(g, src, loss.Options{IoULoss: "giou"}, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	both, a, b := of(datasets.First(set, 2*batchSize)), of(datasets.First(set, batchSize)), of(later{datasets.First(set, 2*batchSize)})
	for _, n := range g.Convs() {
		for _, v := range [][3][]float32{
			{both.Gate[n.ID], a.Gate[n.ID], b.Gate[n.ID]},
			{both.Weight[n.ID], a.Weight[n.ID], b.Weight[n.ID]},
			{both.Hessian[n.ID], a.Hessian[n.ID], b.Hessian[n.ID]},
		} {
			for k, got := range v[0] {
				want := (float64(v[1][k]) + float64(v[2][k])) / 2
				if math.Abs(float64(got)-want) > 1e-5*want {
					t.Errorf("%v, filter %d: %v, want %v", n, k, got, want)
				}
			}
		}
	}
}

// later is the second batch of a source.
type later struct{ datasets.Source }

func (l later) Len() int                     { return l.Source.Len() - batchSize }
func (l later) Sample(i int) datasets.Sample { return l.Source.Sample(i + batchSize) }

func scaled(v [][]float32, by float32, do func() float64) float64 {
	var was [][]float32
	for _, x := range v {
		was = append(was, append([]float32(nil), x...))
		for i := range x {
			x[i] *= by
		}
	}
	defer func() {
		for i, x := range v {
			copy(x, was[i])
		}
	}()
	return do()
}

// Twice the same numbers, the network unchanged, and no more images than asked for.
func TestSameAgain(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	before := g.Clone()
	a, err := Gradients(g, set, loss.Options{IoULoss: "giou"}, Options{Threads: 1, Images: 16})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Gradients(g, datasets.First(set, 16), loss.Options{IoULoss: "giou"}, Options{Threads: 1})
	if d := cmp.Diff(a, b); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if a.Batches != 2 {
		t.Errorf("%d batches, want 2 of 8", a.Batches)
	}
	for i, n := range g.Nodes {
		if d := cmp.Diff(before.Nodes[i].Weights, n.Weights); d != "" {
			t.Errorf("%v was changed: %s", n, d)
		}
	}
}

func TestBadImages(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	if err := os.WriteFile(set.Sample(2).Path, []byte("no picture"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Responses(g, set, Options{Threads: 1})
	if err == nil || !strings.Contains(err.Error(), filepath.Base(set.Sample(2).Path)) {
		t.Errorf("an unreadable image: %v", err)
	}
	r, err := Responses(g, set, Options{Threads: 1, SkipBad: true})
	if err != nil || r.Images == 0 || r.Images >= set.Len() {
		t.Errorf("%v, %v; want the readable images", r, err)
	}
	if _, err := Responses(g, datasets.First(set, 0), Options{}); err == nil || !strings.Contains(err.Error(), "no images") {
		t.Errorf("no images: %v", err)
	}
}

// A set of other classes, and weights that make values without bounds.
func TestRefused(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	for _, h := range g.Heads() {
		h.Yolo().Classes = 4
	}
	if _, err := Gradients(g, set, loss.Options{}, Options{Threads: 1}); err == nil || !strings.Contains(err.Error(), "predicts 4 classes, but the image set has 3") {
		t.Errorf("other classes: %v", err)
	}
	g = network(t, "yolov4-tiny")
	g.Nodes[0].Weights.Bias[1] = float32(math.Inf(1))
	if _, err := Responses(g, set, Options{Threads: 1}); err == nil || !strings.Contains(err.Error(), "layer 0 (convolutional), channel 1: its response is +Inf") {
		t.Errorf("infinite responses: %v", err)
	}
}
