package pipeline

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"yoloprune/configs"
	"yoloprune/finetune/loop"
	"yoloprune/yolo/darknet"
)

const residualCfg = `[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=2
size=3
stride=1
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=2
size=3
stride=1
pad=1
activation=leaky
[shortcut]
from=-2
activation=linear
[convolutional]
batch_normalize=1
filters=3
size=1
stride=1
activation=leaky
[convolutional]
filters=8
size=1
stride=1
activation=linear
[yolo]
mask=0
anchors=10,10
classes=3
num=1
`

// A shortcut ties the channels of the two convolutions that it adds, and no others.
func TestTiedChannels(t *testing.T) {
	g, _, err := darknet.Decode("residual.cfg", strings.NewReader(residualCfg))
	if err != nil {
		t.Fatal(err)
	}
	got, err := tied(g)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]loop.Channel{
		{{Node: 0, Channel: 0}, {Node: 1, Channel: 0}},
		{{Node: 0, Channel: 1}, {Node: 1, Channel: 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tied channels %v, want %v", got, want)
	}
}

func TestOptionsOfSparsify(t *testing.T) {
	e, err := configs.Parse("x.yaml", []byte(`
model: {arch: yolov4-tiny}
data: {format: toy}
train:
  {accumulate: 4, checkpoint_steps: 7, checkpoint_minutes: 1.5, patience: 3, drop_alarm: 0.5, spike_alarm: 2,
   optimizer: sgd, lr: 0.1, weight_decay: 0, momentum_style: darknet,
   schedule: sgdr, cycle: 0.5, cycle_mult: 2, power: 3, warmup: groups, warmup_epochs: 2, warmup_power: 5, warmup_bias_lr: 0.3, warmup_momentum: 0.7}
sparsify: {method: proximal, strength: 0.25, schedule: local, beta: 3}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := options(e.Sparsify.Training, e.Sparsify)
	if want := (&loop.Sparsity{Method: "proximal", Strength: 0.25, Schedule: "local", Beta: 3}); !reflect.DeepEqual(o.Sparsity, want) {
		t.Errorf("sparsity %+v, want %+v", o.Sparsity, want)
	}
	want := loop.Rate{
		Schedule: "sgdr", Cycle: 0.5, CycleMult: 2, Power: 3, Final: 0.02, Steps: []float64{0.8, 0.9}, Scales: []float64{0.1, 0.1},
		Warmup: "groups", WarmupEpochs: 2, WarmupPower: 5, WarmupBias: 0.3, WarmupMomentum: 0.7,
	}
	if !reflect.DeepEqual(o.Rate, want) {
		t.Errorf("rate %+v, want %+v", o.Rate, want)
	}
	if o.Optimizer != "sgd" || !o.SGD.Darknet || o.Patience != 0 || o.DropAlarm != 0.5 || o.SpikeAlarm != 2 {
		t.Errorf("optimizer %s %+v, patience %d, alarms %g and %g", o.Optimizer, o.SGD, o.Patience, o.DropAlarm, o.SpikeAlarm)
	}
	if o := options(*e.Train, nil); o.Patience != 3 || o.Sparsity != nil {
		t.Errorf("train: patience %d, sparsity %v", o.Patience, o.Sparsity)
	}
	if o.Accumulate != 4 || o.CheckpointSteps != 7 || o.CheckpointTime != 90*time.Second {
		t.Errorf("accumulate %d, checkpoints every %d steps and %v; want 4, 7, 90 s", o.Accumulate, o.CheckpointSteps, o.CheckpointTime)
	}
}

func TestKeptWeights(t *testing.T) {
	r := &Run{Dir: t.TempDir()}
	last, best := configs.Training{Keep: "last"}, configs.Training{Keep: "best"}
	if got := r.kept("train", best); got != "train/weights/last.weights" {
		t.Errorf("without best weights: %s", got)
	}
	if err := os.MkdirAll(r.path("train/weights"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("train/weights/best.weights"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := r.kept("train", best); got != "train/weights/best.weights" {
		t.Errorf("best: %s", got)
	}
	if got := r.kept("train", last); got != "train/weights/last.weights" {
		t.Errorf("last: %s", got)
	}
}
