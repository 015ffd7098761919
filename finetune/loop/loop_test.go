package loop

import (
	"context"
	"encoding/csv"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"yoloprune/datasets/augment"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/toy"
	"yoloprune/finetune/optim"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// scenes draws a small image set.
func scenes(t *testing.T, split string) *coco.Set {
	t.Helper()
	dir := t.TempDir()
	if err := toy.Write(dir, toy.Options{Images: 26, Seed: 3, Width: 64, Height: 64}); err != nil {
		t.Fatal(err)
	}
	set, err := coco.Load(filepath.Join(dir, "annotations", split+".json"), filepath.Join(dir, "images"), coco.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func network(t *testing.T, classes int) *graph.Graph {
	t.Helper()
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: classes, Width: 0.125, InputW: 64, InputH: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	return g
}

func settings(folder string) Options {
	return Options{
		Epochs: 4, Batch: 4, Threads: 1, Seed: 5, Optimizer: "adamw", LR: 0.002,
		AdamW: optim.AdamWOptions{WeightDecay: 0.02},
		Rate:  Rate{Schedule: "cosine", WarmupEpochs: 1, Final: 0.1},
		Clip:  10, EMA: 0.9, EMARamp: 5, BNMomentum: 0.1, Augment: augment.Default(), MosaicOff: 0.25,
		ValEvery: 2, Folder: folder, SaveWeights: saved,
	}
}

func validator(t *testing.T, set *coco.Set) *validate.Validator {
	t.Helper()
	v, err := validate.New(set, 64, 64, validate.Options{Batch: 4, Threads: 1, Conf: 0.001, NMS: 0.6, MaxDet: 100})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sameWeights(a, b *graph.Graph) bool {
	ta, tb := tensors(a), tensors(b)
	for i := range ta {
		if !slices.Equal(ta[i].Data, tb[i].Data) {
			return false
		}
	}
	return len(ta) == len(tb)
}

// saved is a SaveWeights that leaves a mark.
func saved(path string, _ *graph.Graph) error {
	return os.WriteFile(path+".weights", []byte("saved"), 0o666)
}

func TestResumeGivesTheSameBytes(t *testing.T) {
	set := scenes(t, "train")
	for _, optimizer := range []string{"adamw", "sgd"} {
		run := func(folder string, stopAfter int, resume bool) (*graph.Graph, error) {
			g := network(t, 3)
			o := settings(folder)
			o.Optimizer, o.SGD = optimizer, optim.SGDOptions{Momentum: 0.9, Nesterov: true}
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			hooks := Hooks{Epoch: func(e Epoch) {
				if e.Number == stopAfter {
					stop()
				}
			}}
			return g, Run(ctx, g, set, validator(t, set), o, hooks, resume)
		}
		whole, err := run(t.TempDir(), 0, false)
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		if _, err := run(folder, 2, false); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: stopped run: %v, want the context's error", optimizer, err)
		}
		again, err := run(folder, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		if !sameWeights(whole, again) {
			t.Errorf("%s: a run that was stopped and resumed has other weights than an unbroken one", optimizer)
		}
		checkResults(t, folder)
	}
}

// checkResults says whether results.csv has every epoch once, in order, with
// AP where it was measured.
func checkResults(t *testing.T, folder string) {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, "results.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 5 || strings.Join(rows[0], ",") != "epoch,lr,loss,box,obj,class,AP,AP50,near_zero,seconds" {
		t.Fatalf("results.csv: %q", rows)
	}
	for i, r := range rows[1:] {
		if r[0] != string(rune('1'+i)) || (r[6] != "") != (i%2 == 1) {
			t.Errorf("results.csv: row %d is %q: want epoch %d, AP in every second epoch", i, r, i+1)
		}
	}
	for _, name := range []string{"last.weights", "best.weights"} {
		if _, err := os.Stat(filepath.Join(folder, "weights", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestLossFalls(t *testing.T) {
	o := settings("")
	o.Epochs, o.ValEvery, o.LR, o.Augment = 20, 100, 0.01, augment.Options{}
	var losses []float64
	g := network(t, 3)
	err := Run(context.Background(), g, scenes(t, "train"), nil, o, Hooks{Epoch: func(e Epoch) { losses = append(losses, e.Loss) }}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(losses) != 20 || losses[19] > 0.5*losses[0] {
		t.Errorf("losses %.3g: want the last below half of the first", losses)
	}
}

func TestDivergedKeepsTheLastCheckpoint(t *testing.T) {
	folder := t.TempDir()
	o := settings(folder)
	o.LR, o.Clip = 0.01, 0
	o.Optimizer, o.SGD = "sgd", optim.SGDOptions{Momentum: 0.9}
	o.Rate = Rate{Schedule: "steps", Steps: []float64{0.5}, Scales: []float64{9e5}}
	err := Run(context.Background(), network(t, 3), scenes(t, "train"), nil, o, Hooks{}, false)
	var d *DivergedError
	if !errors.As(err, &d) {
		t.Fatalf("error %v, want a DivergedError", err)
	}
	if d.Epoch < 3 || d.Checkpoint != filepath.Join(folder, "checkpoint", "last.ckpt") {
		t.Errorf("diverged in epoch %d with checkpoint %q", d.Epoch, d.Checkpoint)
	}
	if _, err := os.Stat(d.Checkpoint); err != nil {
		t.Error(err)
	}
	if !strings.Contains(err.Error(), "lower lr") {
		t.Errorf("%v: does not say what to try", err)
	}
}

func TestSparsityShrinksGammas(t *testing.T) {
	set := scenes(t, "train")
	mean := func(s *Sparsity) (mean float64, zeros int) {
		g := network(t, 3)
		o := settings("")
		o.EMA, o.Sparsity = 0, s
		o.Optimizer, o.SGD = "sgd", optim.SGDOptions{Momentum: 0.9}
		if err := Run(context.Background(), g, set, nil, o, Hooks{}, false); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range g.Convs() {
			for _, v := range c.Weights.Gamma {
				mean += math.Abs(float64(v))
				n++
				if v == 0 {
					zeros++
				}
			}
		}
		return mean / float64(n), zeros
	}
	plain, _ := mean(nil)
	half, _ := mean(&Sparsity{Method: "proximal", Shrink: 0.5, Schedule: "constant"})
	if d := plain - half; math.Abs(d-0.5) > 0.1 {
		t.Errorf("proximal with shrink 0.5 moved the mean |gamma| by %.3f", d)
	}
	if _, zeros := mean(&Sparsity{Method: "proximal", Shrink: 3, Schedule: "cosine"}); zeros == 0 {
		t.Error("proximal with shrink 3 made no gamma exactly zero")
	}
	if sub, _ := mean(&Sparsity{Method: "subgradient", Strength: 1, Schedule: "decay"}); sub > plain-0.05 {
		t.Errorf("subgradient: mean |gamma| %.3f, without %.3f", sub, plain)
	}
}

func TestScheduleLevels(t *testing.T) {
	one := func(int, int) float64 { return 1 }
	for _, c := range []struct {
		schedule    string
		first, last float64 // of ten steps
	}{{"constant", 1, 1}, {"decay", 1, 0.19}, {"cosine", 1, (1 + math.Cos(math.Pi*0.9)) / 2}} {
		p := newPenalty(&Sparsity{Schedule: c.schedule}, one, 10)
		if a, b := p.level(0), p.level(9); math.Abs(a-c.first) > 1e-12 || math.Abs(b-c.last) > 1e-12 {
			t.Errorf("%s: level %g at the start, %g at the end, want %g and %g", c.schedule, a, b, c.first, c.last)
		}
	}
}

func TestRefusals(t *testing.T) {
	set := scenes(t, "train")
	for _, c := range []struct {
		name   string
		graph  *graph.Graph
		change func(*Options)
		want   string
	}{
		{"classes", network(t, 4), func(*Options) {}, "predicts 4 classes, but the image set has 3"},
		{"batch", network(t, 3), func(o *Options) { o.Batch = 100 }, "fewer than one batch of 100"},
		{"optimizer", network(t, 3), func(o *Options) { o.Optimizer = "lion" }, `unknown optimizer "lion"`},
		{"schedule", network(t, 3), func(o *Options) { o.Rate.Schedule = "wave" }, `unknown learning-rate schedule "wave"`},
	} {
		o := settings("")
		c.change(&o)
		err := Run(context.Background(), c.graph, set, nil, o, Hooks{}, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestResumeRefusesAnotherStage(t *testing.T) {
	set, folder := scenes(t, "train"), t.TempDir()
	o := settings(folder)
	o.Epochs = 1
	if err := Run(context.Background(), network(t, 3), set, nil, o, Hooks{}, false); err != nil {
		t.Fatal(err)
	}
	o.Epochs = 2
	err := Run(context.Background(), network(t, 3), set, nil, o, Hooks{}, true)
	if err == nil || !strings.Contains(err.Error(), "was written by a stage of 1 epochs") {
		t.Errorf("error %v, want one about the other stage", err)
	}
}
