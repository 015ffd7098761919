package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

func newTraining(t *testing.T, g *graph.Graph, loss LossFunc, o Options) *Training {
	t.Helper()
	tr, err := NewTraining(g, loss, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func newInference(t *testing.T, g *graph.Graph, o Options) *Inference {
	t.Helper()
	i, err := NewInference(g, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func step(t *testing.T, tr *Training, x []float32) float64 {
	t.Helper()
	loss, err := tr.Step(x)
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// weightsOf copies every weight and running statistic.
func weightsOf(g *graph.Graph) (out []float32) {
	for _, n := range g.Convs() {
		w := n.Weights
		out = slices.Concat(out, w.Kernel, w.Bias, w.Gamma, w.Mean, w.Var)
	}
	return out
}

// gradientsOf copies every gradient.
func gradientsOf(tr *Training) (out []float32) {
	for _, p := range tr.Params() {
		out = append(out, p.Grad...)
	}
	return out
}

// still is a momentum that leaves the running statistics where they are. As
// their mean is the shift of the variance's sums, only then do two steps round
// alike.
const still = 1e-30

// The loss comes back in full, also beyond a float32.
func TestLossInFull(t *testing.T) {
	g := crossed()
	for _, want := range []float64{1 + 1e-12, 1e300, math.Inf(1), math.NaN()} {
		tr := newTraining(t, g, func(h []Output, grads [][]float32) (float64, error) { return want, nil }, Options{Batch: 1})
		if got := step(t, tr, pictures(g, 1)); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("loss %v, want %v", got, want)
		}
	}
}

// An error of the loss is returned as it is, and the step leaves nothing: the
// running statistics stay, and the next step gives what it would have given.
func TestFailedStepLeavesNothing(t *testing.T) {
	g, own := crossed(), &ownError{"no more"}
	fail := true
	tr := newTraining(t, g, func(h []Output, grads [][]float32) (float64, error) {
		loss, err := weighted(h, grads)
		if fail {
			err = fmt.Errorf("loss: %w", own)
		}
		return loss, err
	}, Options{Batch: 2})
	before := weightsOf(g)
	_, err := tr.Step(pictures(g, 2))
	var got *ownError
	if !errors.As(err, &got) || got != own || err.Error() != "loss: no more" {
		t.Errorf("error %v, want the loss's own", err)
	}
	if !slices.Equal(weightsOf(g), before) {
		t.Error("a failed step moved the weights or the statistics")
	}
	fail = false
	fresh := newTraining(t, g.Clone(), weighted, Options{Batch: 2})
	if a, b := step(t, tr, pictures(g, 2)), step(t, fresh, pictures(g, 2)); a != b || !slices.Equal(gradientsOf(tr), gradientsOf(fresh)) {
		t.Errorf("after a failed step the loss is %v, want %v, or the gradients differ", a, b)
	}
}

func TestPanicOfTheLoss(t *testing.T) {
	g := crossed()
	tr := newTraining(t, g, func([]Output, [][]float32) (float64, error) { panic("oh") }, Options{Batch: 1})
	if _, err := tr.Step(pictures(g, 1)); err == nil || err.Error() != "engine: loss: oh" {
		t.Errorf("error %v, want one with the panic", err)
	}
}

// A step changes no weight but the running statistics, by the momentum that is
// asked for: r' = (1-m)*r + m*b is linear in m.
func TestMomentum(t *testing.T) {
	g := crossed()
	moved := func(m float64) *graph.Graph {
		c := g.Clone()
		step(t, newTraining(t, c, weighted, Options{Batch: 2, BNMomentum: m}), pictures(g, 2))
		return c
	}
	whole, part, byDefault := moved(1), moved(0.25), moved(0)
	for i, n := range g.Convs() {
		a, b, d := whole.Convs()[i].Weights, part.Convs()[i].Weights, byDefault.Convs()[i].Weights
		if !slices.Equal(b.Kernel, n.Weights.Kernel) || !slices.Equal(b.Bias, n.Weights.Bias) || !slices.Equal(b.Gamma, n.Weights.Gamma) {
			t.Errorf("%v: a step changed weights", n)
		}
		mix := func(old, new []float32, m float32) []float32 {
			out := slices.Clone(old)
			for c := range out {
				out[c] += m * (new[c] - out[c])
			}
			return out
		}
		near(t, fmt.Sprintf("%v mean", n), b.Mean, mix(n.Weights.Mean, a.Mean, 0.25), 1e-6)
		near(t, fmt.Sprintf("%v variance", n), b.Var, mix(n.Weights.Var, a.Var, 0.25), 1e-6)
		near(t, fmt.Sprintf("%v mean, default", n), d.Mean, mix(n.Weights.Mean, a.Mean, DefaultBNMomentum), 1e-6)
		near(t, fmt.Sprintf("%v variance, default", n), d.Var, mix(n.Weights.Var, a.Var, DefaultBNMomentum), 1e-6)
	}
}

// Inference folds when it is made and changes nothing of the graph.
func TestInferenceIsASnapshot(t *testing.T) {
	g := crossed()
	before, x := weightsOf(g), pictures(g, 1)
	net := newInference(t, g, Options{Batch: 1})
	forward := func() (all []float32) {
		outs, err := net.Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outs {
			all = append(all, o.Data...)
		}
		return all
	}
	first := forward()
	if !slices.Equal(weightsOf(g), before) {
		t.Error("inference changed the graph's weights")
	}
	for _, n := range g.Convs() {
		clear(n.Weights.Kernel)
		clear(n.Weights.Bias)
	}
	if !slices.Equal(forward(), first) {
		t.Error("inference sees weights that changed later")
	}
}

func TestClosed(t *testing.T) {
	g := crossed()
	tr, net := newTraining(t, g, weighted, Options{Batch: 1}), newInference(t, g, Options{Batch: 1})
	if onednn.Live() == 0 {
		t.Error("no oneDNN object lives in an open network")
	}
	tr.Close()
	net.Close()
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after closing", n)
	}
	const want = "engine: layer 0 (convolutional): convolution is closed"
	if _, err := tr.Step(pictures(g, 1)); err == nil || err.Error() != want {
		t.Errorf("step: error %v, want %q", err, want)
	}
	if _, err := net.Forward(pictures(g, 1)); err == nil || err.Error() != want {
		t.Errorf("forward: error %v, want %q", err, want)
	}
}

func TestImageLength(t *testing.T) {
	g := crossed()
	tr, net := newTraining(t, g, weighted, Options{Batch: 2}), newInference(t, g, Options{Batch: 2})
	const want = "image values, want 2304 (2 images of 3x16x24)"
	for _, n := range []int{0, 5, 1152, 2303, 2305} {
		_, training := tr.Step(make([]float32, n))
		_, inference := net.Forward(make([]float32, n))
		recalibration := Recalibrate(g, Options{Batch: 2}, func(yield func([]float32, error) bool) { yield(make([]float32, n), nil) })
		for _, err := range []error{training, inference, recalibration} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d values: error %v, want one with %q", n, err, want)
			}
		}
	}
}

// An error of the batches ends a recalibration, which then changes nothing.
func TestRecalibrateBatchError(t *testing.T) {
	g, own := crossed(), &ownError{"unreadable"}
	before := weightsOf(g)
	err := Recalibrate(g, Options{Batch: 2}, func(yield func([]float32, error) bool) {
		if yield(pictures(g, 2), nil) {
			yield(nil, own)
		}
	})
	if !errors.Is(err, own) {
		t.Errorf("error %v, want the batches' own", err)
	}
	if !slices.Equal(weightsOf(g), before) {
		t.Error("a failed recalibration changed the graph")
	}
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live", n)
	}
}

// A network that was built for some threads runs with another number, which the
// next one to be made may set.
func TestThreadsChangeLater(t *testing.T) {
	defer onednn.SetThreads(onednn.SetThreads(0))
	g := crossed()
	tr := newTraining(t, g.Clone(), weighted, Options{Batch: 2, Threads: 2, BNMomentum: still})
	want := step(t, tr, pictures(g, 2))
	grads := gradientsOf(tr)
	for _, threads := range []int{1, 3, 2} {
		newInference(t, g, Options{Batch: 1, Threads: threads})
		got := step(t, tr, pictures(g, 2))
		if math.Abs(got-want) > 1e-5*want {
			t.Errorf("with %d threads the loss is %v, want %v", threads, got, want)
		}
		near(t, fmt.Sprintf("gradients with %d threads", threads), gradientsOf(tr), grads, 1e-5)
	}
}

// Networks may be used side by side.
func TestSideBySide(t *testing.T) {
	g := crossed()
	alone := newTraining(t, g.Clone(), weighted, Options{Batch: 2, BNMomentum: still})
	step(t, alone, pictures(g, 2))
	want := gradientsOf(alone)
	var all sync.WaitGroup
	for range 3 {
		tr := newTraining(t, g.Clone(), weighted, Options{Batch: 2, BNMomentum: still})
		all.Go(func() {
			for range 10 {
				if _, err := tr.Step(pictures(g, 2)); err != nil {
					t.Error(err)
				}
				if !slices.Equal(gradientsOf(tr), want) {
					t.Error("gradients differ from those of a network alone")
				}
			}
		})
	}
	all.Wait()
}
