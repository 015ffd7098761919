package cost_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

func decode(t *testing.T, cfg string) *graph.Graph {
	t.Helper()
	g, _, err := darknet.Decode("x.cfg", strings.NewReader(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Worked by hand, layer by layer.
func TestOf(t *testing.T) {
	g := decode(t, `[net]
width=8
height=6
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=6
groups=2
activation=linear
[route]
layers=0,1
[maxpool]
size=2
stride=2
[upsample]
stride=2
`)
	want := cost.Table{InputW: 8, InputH: 6, Rows: []cost.Row{
		// 4x3x3x3 kernel over 3x4 outputs; 4 gammas and 4 betas.
		{Index: 0, Type: "convolutional", In: graph.Shape{C: 3, H: 6, W: 8}, Out: graph.Shape{C: 4, H: 3, W: 4},
			Params: 108 + 8, MACs: 108 * 12, ActivationBytes: 4 * 48, RunningStats: 8},
		// 6x2x1x1 kernel: each half of the filters reads half of the channels.
		{Index: 1, Type: "convolutional", In: graph.Shape{C: 4, H: 3, W: 4}, Out: graph.Shape{C: 6, H: 3, W: 4},
			Params: 12 + 6, MACs: 12 * 12, ActivationBytes: 4 * 72},
		{Index: 2, Type: "route", In: graph.Shape{C: 10, H: 3, W: 4}, Out: graph.Shape{C: 10, H: 3, W: 4}, ActivationBytes: 4 * 120},
		{Index: 3, Type: "maxpool", In: graph.Shape{C: 10, H: 3, W: 4}, Out: graph.Shape{C: 10, H: 2, W: 2}, ActivationBytes: 4 * 40},
		{Index: 4, Type: "upsample", In: graph.Shape{C: 10, H: 2, W: 2}, Out: graph.Shape{C: 10, H: 4, W: 4}, ActivationBytes: 4 * 160},
	}}
	got := cost.Of(g)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, v := range map[string][2]int64{
		"params":           {got.Params(), 134},
		"MACs":             {got.MACs(), 1440},
		"FLOPs":            {got.FLOPs(), 2880},
		"activation bytes": {got.ActivationBytes(), 4 * 440},
		"file bytes":       {got.WeightsFileBytes(), 20 + 4*(134+8)},
	} {
		if v[0] != v[1] {
			t.Errorf("%s %d, want %d", name, v[0], v[1])
		}
	}
}

func shared(t *testing.T, path ...string) string {
	t.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no published models: %v", err)
	}
	return full
}

// The published file has 24251276 bytes, and Darknet prints 6.9 BFLOPs, both
// for 80 classes at 416x416.
func TestPublishedTiny(t *testing.T) {
	g, _, err := darknet.Load(shared(t, "cfg", "yolov4-tiny.cfg"), "")
	if err != nil {
		t.Fatal(err)
	}
	c := cost.Of(g)
	if got := c.WeightsFileBytes(); got != 24251276 {
		t.Errorf("weights file of %d bytes, want 24251276", got)
	}
	if b := float64(c.FLOPs()) / 1e9; b < 6.85 || b >= 6.95 {
		t.Errorf("%.3f BFLOPs, want 6.9", b)
	}
	if c.InputW != 416 || c.InputH != 416 {
		t.Errorf("input %dx%d", c.InputW, c.InputH)
	}
}

// The numbers were counted by another program; the inputs are not all square
// and all networks have depthwise convolutions.
func TestPublishedModels(t *testing.T) {
	for _, m := range []struct {
		name        string
		macs, bytes int64
	}{
		{"mobilenetv2-yolo-fastest-voc", 62571200, 764876},
		{"mobilenetv2-yolov3-nano-coco", 274726400, 3564300},
		{"yoloface-500k", 55911680, 520580},
		{"yoloface-50k", 1029000, 45012},
	} {
		g, _, err := darknet.Load(shared(t, "models", m.name, m.name+".cfg"), "")
		if err != nil {
			t.Fatal(err)
		}
		c := cost.Of(g)
		if c.MACs() != m.macs || c.WeightsFileBytes() != m.bytes {
			t.Errorf("%s: %d MACs, %d bytes; want %d, %d", m.name, c.MACs(), c.WeightsFileBytes(), m.macs, m.bytes)
		}
	}
}
