package statistics

import (
	"math"
	"strings"
	"testing"

	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// Zeros are small, of a layer that puts out nothing else and of one that is not
// run because it leads to no head.
func TestZerosAreSmall(t *testing.T) {
	g := &graph.Graph{Net: graph.Net{Channels: 3, Height: 64, Width: 64}}
	g.Add(&graph.Conv{Filters: 6, Size: 3, Stride: 4, Pad: 1, Groups: 1, BatchNorm: true, Activation: graph.Relu}, graph.Input)
	g.Add(&graph.Conv{Filters: 5, Size: 1, Stride: 1, Groups: 1, BatchNorm: true, Activation: graph.Mish}, 0)
	g.Add(&graph.Conv{Filters: 8, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear}, 0)
	g.Add(&graph.Yolo{Classes: 3, Mask: []int{0}, Anchors: [][2]float64{{16, 16}}, ScaleXY: 1}, 2)
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	for k := range g.Nodes[0].Weights.Bias {
		g.Nodes[0].Weights.Gamma[k], g.Nodes[0].Weights.Bias[k] = 0, -1
	}
	r, err := Responses(g, scenes(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []graph.NodeID{0, 1} {
		for c, v := range r.Small[id] {
			if v != 1 || r.MeanAbs[id][c] != 0 {
				t.Errorf("layer %d, channel %d: %v small, mean |a| %v; want 1 and 0", id, c, v, r.MeanAbs[id][c])
			}
		}
	}
}

func TestBadOptions(t *testing.T) {
	set, g := scenes(t), network(t, "yolov4-tiny")
	for want, o := range map[string]Options{
		"images: -3": {Images: -3}, "tau: -1": {Tau: -1}, "tau: NaN": {Tau: math.NaN()}, "tau: +Inf": {Tau: math.Inf(1)},
	} {
		if _, err := Responses(g, set, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
