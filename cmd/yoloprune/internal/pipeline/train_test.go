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
train: {accumulate: 4, checkpoint_steps: 7, checkpoint_minutes: 1.5}
sparsify: {method: proximal, strength: 0.25, schedule: local, beta: 3}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := options(e.Sparsify.Training, e.Sparsify)
	if want := (&loop.Sparsity{Method: "proximal", Strength: 0.25, Schedule: "local", Beta: 3}); !reflect.DeepEqual(o.Sparsity, want) {
		t.Errorf("sparsity %+v, want %+v", o.Sparsity, want)
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
