package cost_test

import (
	"encoding/json"
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

// Worked by hand: what is gated, not the gate; what a shortcut starts from; no
// multiply-adds outside the convolutions.
func TestOfTheOtherLayers(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 8, Height: 4, Width: 6}}
	whole, channels, one := graph.Shape{C: 8, H: 4, W: 6}, graph.Shape{C: 8, H: 1, W: 1}, int64(8*4*6*4)
	quarter := graph.Shape{C: 32, H: 2, W: 3}
	var want []cost.Row
	for i, c := range []struct {
		op     graph.Op
		inputs []graph.NodeID
		row    cost.Row
	}{
		{&graph.Silence{}, []graph.NodeID{graph.Input}, cost.Row{Type: "silence", In: whole, Out: whole, ActivationBytes: one}},
		{&graph.AvgPool{}, []graph.NodeID{0}, cost.Row{Type: "avgpool", In: whole, Out: channels, ActivationBytes: 32}},
		{&graph.ScaleChannels{Activation: graph.Linear}, []graph.NodeID{1, 0}, cost.Row{Type: "scale_channels", In: whole, Out: whole, ActivationBytes: one}},
		{&graph.SAM{Activation: graph.Linear}, []graph.NodeID{2, 0}, cost.Row{Type: "sam", In: whole, Out: whole, ActivationBytes: one}},
		{&graph.Dropout{}, []graph.NodeID{3}, cost.Row{Type: "dropout", In: whole, Out: whole, ActivationBytes: one}},
		// 12x(8/4)x3x3 kernel over 4x6 outputs, 12 gammas and 12 betas.
		{&graph.Conv{Filters: 12, Size: 3, Stride: 1, Pad: 1, Groups: 4, BatchNorm: true, Activation: graph.Mish}, []graph.NodeID{4},
			cost.Row{Type: "convolutional", In: whole, Out: graph.Shape{C: 12, H: 4, W: 6}, Params: 216 + 24, MACs: 216 * 24, ActivationBytes: 4 * 288, RunningStats: 24}},
		// A weight for each of three inputs; then one for each of two inputs and 12 channels.
		{&graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerFeature, Normalization: graph.NormRelu}, []graph.NodeID{4, 5, 3},
			cost.Row{Type: "shortcut", In: whole, Out: whole, Params: 3, ActivationBytes: one}},
		{&graph.Shortcut{Activation: graph.Linear, Scaling: graph.PerChannel, Normalization: graph.NormSoftmax}, []graph.NodeID{5, 4},
			cost.Row{Type: "shortcut", In: graph.Shape{C: 12, H: 4, W: 6}, Out: graph.Shape{C: 12, H: 4, W: 6}, Params: 24, ActivationBytes: 4 * 288}},
		{&graph.Shortcut{Activation: graph.Linear}, []graph.NodeID{4, 5}, cost.Row{Type: "shortcut", In: whole, Out: whole, ActivationBytes: one}},
		{&graph.Reorg3D{Stride: 2}, []graph.NodeID{8}, cost.Row{Type: "reorg3d", In: whole, Out: quarter, ActivationBytes: one}},
		{&graph.Reorg{Stride: 2}, []graph.NodeID{8}, cost.Row{Type: "reorg", In: whole, Out: quarter, ActivationBytes: one}},
		{&graph.LocalAvgPool{Size: 2, Stride: 2, Padding: 1}, []graph.NodeID{8},
			cost.Row{Type: "local_avgpool", In: whole, Out: graph.Shape{C: 8, H: 2, W: 3}, ActivationBytes: one / 4}},
		{&graph.Contrastive{Classes: 3}, []graph.NodeID{8}, cost.Row{Type: "contrastive", In: whole, Out: whole, ActivationBytes: one}},
	} {
		g.Add(c.op, c.inputs...)
		c.row.Index = i
		want = append(want, c.row)
	}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	got := cost.Of(g)
	if diff := cmp.Diff(want, got.Rows); diff != "" {
		t.Error(diff)
	}
	// 240 + 3 + 24 trained, 24 kept beside them.
	if got.Params() != 267 || got.WeightsFileBytes() != 20+4*(267+24) {
		t.Errorf("%d parameters, %d bytes", got.Params(), got.WeightsFileBytes())
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

// The sizes of the published weights files, and the BFLOPs that Darknet prints,
// which hold a little for pooling and shortcuts, all for 80 classes.
func TestPublishedNetworks(t *testing.T) {
	for _, c := range []struct {
		name   string
		side   int
		bytes  int64
		bflops float64
	}{
		{"yolov3", 416, 248007048, 65.879},
		{"yolov3-tiny", 416, 35434956, 5.571},
		{"yolov4", 608, 257717640, 128.459},
		{"yolov4-tiny", 416, 24251276, 6.910},
	} {
		g, _, err := darknet.Load(shared(t, "cfg", c.name+".cfg"), "")
		if err != nil {
			t.Fatal(err)
		}
		table := cost.Of(g)
		if got := table.WeightsFileBytes(); got != c.bytes {
			t.Errorf("%s: weights file of %d bytes, want %d", c.name, got, c.bytes)
		}
		if b := float64(table.FLOPs()) / 1e9; b > c.bflops || b < .998*c.bflops {
			t.Errorf("%s: %.3f BFLOPs, Darknet prints %.3f", c.name, b, c.bflops)
		}
		if table.InputW != c.side || table.InputH != c.side {
			t.Errorf("%s: input %dx%d, want %d", c.name, table.InputW, table.InputH, c.side)
		}
	}
}

// facts is what a model's facts.json says, which another program counted.
// Parameters are all floats of the weights file, running statistics included.
type facts struct {
	Input       [3]int         `json:"input"` // width, height, channels
	Layers      int            `json:"layers"`
	LayerTypes  map[string]int `json:"layer_types"`
	Parameters  int64          `json:"parameters"`
	MultiplyAdd int64          `json:"multiply_adds"`
	File        struct {
		Bytes int64 `json:"file_bytes"`
	} `json:"weights_file"`
}

func readFacts(t *testing.T, path string) (f facts) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func factsOf(g *graph.Graph) facts {
	c := cost.Of(g)
	f := facts{
		Input: [3]int{c.InputW, c.InputH, g.Net.Channels}, Layers: len(c.Rows), LayerTypes: map[string]int{},
		Parameters: c.Params(), MultiplyAdd: c.MACs(),
	}
	for _, r := range c.Rows {
		f.LayerTypes[r.Type]++
		f.Parameters += r.RunningStats
	}
	f.File.Bytes = c.WeightsFileBytes()
	return f
}

// All ten have depthwise convolutions, two have gates, and the inputs are not
// all square.
func TestPublishedModels(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(shared(t, "models"), "*", "facts.json"))
	if err != nil || len(folders) != 10 {
		t.Fatalf("%d models, want 10 (%v)", len(folders), err)
	}
	for _, file := range folders {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			g, _, err := darknet.Load(filepath.Join(filepath.Dir(file), name+".cfg"), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(readFacts(t, file), factsOf(g)); diff != "" {
				t.Errorf("facts.json (-), counted (+):\n%s", diff)
			}
		})
	}
}

// Shared weights count once, what is computed with them wherever it is: layer 1
// on a quarter of the pixels. A dilation changes nothing.
func TestSharedWeights(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 4, Height: 6, Width: 8}}
	g.Add(&graph.Conv{Filters: 4, Size: 3, Stride: 1, Pad: 1, Groups: 1, BatchNorm: true, Activation: graph.Leaky}, graph.Input)
	g.Add(&graph.Conv{Filters: 4, Size: 3, Stride: 2, Pad: 2, Groups: 1, BatchNorm: true, Activation: graph.Leaky, Dilation: 2, Back: 1}, 0)
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	c := cost.Of(g)
	if c.Params() != 4*4*9+8 || c.Rows[1].Params != 0 {
		t.Errorf("%d parameters, %d of them in layer 1", c.Params(), c.Rows[1].Params)
	}
	if c.MACs() != 4*4*9*(48+12) || c.Rows[1].MACs != 4*4*9*12 {
		t.Errorf("%d multiply-adds, %d of them in layer 1", c.MACs(), c.Rows[1].MACs)
	}
	if want := int64(20 + 4*(4*4*9+16)); c.WeightsFileBytes() != want {
		t.Errorf("%d bytes of weights, want %d", c.WeightsFileBytes(), want)
	}
}
