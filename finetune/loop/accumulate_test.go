package loop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"yoloprune/datasets/augment"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// Three micro-batches of 3, 0 and 1 positives: each gradient counts by its
// positives, at least 1, and the sum is divided by 4.
func TestAccumulatorWeighsByPositives(t *testing.T) {
	grad := []float32{0, 0}
	a := newAccumulator([]optim.Slot{{Name: "w", Value: make([]float32, 2), Grad: grad}}, 3)
	for i, c := range []struct {
		g []float32
		p loss.Parts
	}{
		{[]float32{2, -4}, loss.Parts{Total: 10, Box: 6, Obj: 3, Class: 1, Positives: 3}},
		{[]float32{1, 0}, loss.Parts{Total: 2, Obj: 2}},
		{[]float32{-1, 8}, loss.Parts{Total: 4, Box: 1, Obj: 1, Class: 2, Positives: 1}},
	} {
		copy(grad, c.g)
		p, full := a.add(c.p)
		if full != (i == 2) {
			t.Fatalf("micro-batch %d: a whole step: %v", i, full)
		}
		if want := (loss.Parts{Total: 9, Box: 4.75, Obj: 3, Class: 1.25, Positives: 4}); full && p != want {
			t.Errorf("loss %+v, want %+v", p, want)
		}
	}
	if want := []float32{1.5, -1}; !slices.Equal(grad, want) {
		t.Errorf("gradient %v, want %v", grad, want)
	}
	copy(grad, []float32{5, 5})
	a.add(loss.Parts{Positives: 1})
	a.reset()
	for range 3 {
		copy(grad, []float32{3, 6})
		a.add(loss.Parts{})
	}
	if want := []float32{9, 18}; !slices.Equal(grad, want) {
		t.Errorf("after a reset and a step without positives: gradient %v, want %v, divided by 1", grad, want)
	}
}

const plainCfg = `[net]
width=64
height=64
channels=3
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=24
size=1
stride=1
activation=linear
[yolo]
mask=0,1,2
anchors=10,10, 20,20, 40,40
classes=3
num=3
`

// unnormalised builds a network without batch norms.
func unnormalised(t *testing.T) *graph.Graph {
	t.Helper()
	g, _, err := darknet.Decode("plain.cfg", strings.NewReader(plainCfg))
	if err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	return g
}

// Without batch norms, two micro-batches of four are a batch of eight.
func TestAccumulatedStepIsALargerBatch(t *testing.T) {
	set := scenes(t, "train")
	run := func(batch, accumulate int) *graph.Graph {
		g := unnormalised(t)
		o := settings("")
		o.Epochs, o.Batch, o.Accumulate, o.Augment, o.EMA = 2, batch, accumulate, augment.Options{}, 0
		o.Optimizer, o.SGD, o.LR = "sgd", optim.SGDOptions{Momentum: 0.9}, 0.01
		steps := 0
		if err := Run(context.Background(), g, set, nil, o, Hooks{Batch: func(int, float64) { steps++ }}, false); err != nil {
			t.Fatal(err)
		}
		if want := 2 * (set.Len() / 8); steps != want {
			t.Errorf("batch %d x %d: %d steps, want %d", batch, accumulate, steps, want)
		}
		return g
	}
	start, whole, parts := tensors(unnormalised(t)), tensors(run(8, 1)), tensors(run(4, 2))
	for k := range whole {
		moved, apart := 0.0, 0.0
		for i, v := range whole[k].Data {
			moved = max(moved, math.Abs(float64(v-start[k].Data[i])))
			apart = max(apart, math.Abs(float64(v-parts[k].Data[i])))
		}
		if moved == 0 || apart > 1e-4*moved {
			t.Errorf("%s: moved by %g, and %g apart", whole[k].Name, moved, apart)
		}
	}
}

// The penalty of a step does not depend on how many micro-batches it has: the
// gammas of a network without a gradient move by lr·strength·steps.
func TestPenaltyOncePerStep(t *testing.T) {
	for _, method := range []string{"subgradient", "proximal"} {
		for _, of := range []int{1, 4} {
			gamma, grad := []float32{1}, []float32{0}
			tr := &trainer{
				o:      Options{LR: 0.1},
				slots:  []optim.Slot{{Name: "0.gamma", Value: gamma, Grad: grad, Gamma: true}},
				rateAt: func(int, int) float64 { return 1 }, total: 3,
			}
			var err error
			if tr.opt, err = optim.NewSGD(tr.slots, optim.SGDOptions{}); err != nil {
				t.Fatal(err)
			}
			tr.penalty = newPenalty(&Sparsity{Method: method, Strength: 0.5, Schedule: "constant"}, tr.rateAt, 3)
			tr.sum = newAccumulator(tr.slots, of)
			for range 3 * of {
				grad[0] = 0
				if _, full := tr.sum.add(loss.Parts{Positives: 7}); full {
					tr.update()
				}
			}
			if math.Abs(float64(gamma[0])-0.85) > 1e-6 {
				t.Errorf("%s, %d micro-batches a step: gamma %g, want 0.85", method, of, gamma[0])
			}
		}
	}
}

// A run that is stopped, or killed, in the middle of an epoch ends with the
// bytes of an unbroken one.
func TestResumeWithinAnEpoch(t *testing.T) {
	set := scenes(t, "train")
	options := func(folder string) Options {
		o := settings(folder)
		o.Epochs, o.Batch, o.Accumulate, o.CheckpointSteps = 2, 2, 2, 2
		o.Sparsity = &Sparsity{Method: "proximal", Strength: 20, Schedule: "local", Beta: 0.5}
		return o
	}
	whole := network(t, 3)
	if err := Run(context.Background(), whole, set, nil, options(t.TempDir()), Hooks{}, false); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 1, 2} { // steps within the second epoch
		stopped, killed := t.TempDir(), t.TempDir()
		interrupt(t, options(stopped), set.Len()/4+at, killed)
		for _, folder := range []string{stopped, killed} {
			again := network(t, 3)
			if err := Run(context.Background(), again, set, nil, options(folder), Hooks{}, true); err != nil {
				t.Fatal(err)
			}
			if !sameWeights(whole, again) {
				t.Errorf("step %d of epoch 2, stopped %v: other weights than an unbroken run's", at, folder == stopped)
			}
		}
	}
}

// interrupt stops a run after a step, and copies to killed what a kill at that
// instant would have left.
func interrupt(t *testing.T, o Options, step int, killed string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	n := -1
	hooks := Hooks{Batch: func(int, float64) {
		if n++; n == step {
			if err := os.CopyFS(killed, os.DirFS(o.Folder)); err != nil {
				t.Error(err)
			}
			stop()
		}
	}}
	err := Run(ctx, network(t, 3), scenes(t, "train"), nil, o, hooks, false)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped run: %v, want the context's error", err)
	}
	if _, err := os.Stat(filepath.Join(o.Folder, checkpointFile)); err != nil {
		t.Fatal(err)
	}
}

func TestAccumulateRefusals(t *testing.T) {
	set, folder := scenes(t, "train"), t.TempDir()
	o := settings(folder)
	o.Batch, o.Accumulate = 4, 100
	err := Run(context.Background(), network(t, 3), set, nil, o, Hooks{}, false)
	if want := fmt.Sprintf("%d images, fewer than one step of 100 batches of 4", set.Len()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	o.Epochs, o.Accumulate = 1, 1
	if err := Run(context.Background(), network(t, 3), set, nil, o, Hooks{}, false); err != nil {
		t.Fatal(err)
	}
	o.Accumulate = 2
	err = Run(context.Background(), network(t, 3), set, nil, o, Hooks{}, true)
	if err == nil || !strings.Contains(err.Error(), "accumulate 1, with") {
		t.Errorf("error %v, want one about the other accumulation", err)
	}
}
