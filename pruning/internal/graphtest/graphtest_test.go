package graphtest

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// kinds are all that a graph can have, weights used twice and dilation among them.
var kinds = []string{
	"convolutional", "maxpool", "avgpool", "local_avgpool", "upsample", "shortcut", "route", "scale_channels", "sam",
	"dropout", "reorg", "reorg3d", "silence", "contrastive", "yolo", "shared", "dilated",
}

// Every layer of random graphs against the reference engine, which is written
// apart from this package; rounds are added until each kind was there.
func TestForwardIsTheReferences(t *testing.T) {
	ran := map[string]bool{}
	for round := 0; round < 10 && !all(ran); round++ {
		rapid.Check(t, func(t *rapid.T) {
			g := RandomSharing(t)
			compare(t, g, Image(g, rapid.Uint64().Draw(t, "image")))
			for _, n := range g.Nodes {
				ran[n.Op.Kind()] = true
				ran["shared"] = ran["shared"] || n.Shares()
				ran["dilated"] = ran["dilated"] || n.Conv() != nil && n.Conv().Extent() > n.Conv().Size
			}
		})
	}
	for _, kind := range kinds {
		if !ran[kind] {
			t.Errorf("no graph had %s", kind)
		}
	}
}

func all(ran map[string]bool) bool {
	for _, kind := range kinds {
		if !ran[kind] {
			return false
		}
	}
	return true
}

func compare(t *rapid.T, g *graph.Graph, image []float64) {
	net, err := ref.NewNet(g)
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := net.Forward(channelsLast(image, g.InputShape()), false)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range Forward(g, image) {
		n := g.Nodes[i]
		if d := difference(channelsLast(got, n.Out), want[i]); !(d < 1e-3) {
			t.Fatalf("%v: differs by %g of its values", n, d)
		}
	}
}

// channelsLast turns C x H x W into 1 x H x W x C.
func channelsLast(x []float64, s graph.Shape) ref.Tensor {
	y := ref.New(1, s.H, s.W, s.C)
	for i, v := range x {
		y.Data[i%(s.H*s.W)*s.C+i/(s.H*s.W)] = float32(v)
	}
	return y
}

// difference returns the largest difference, by the largest value of the layer.
func difference(a, b ref.Tensor) float64 {
	worst, largest := 0.0, 1.0
	if len(a.Data) != len(b.Data) {
		return math.Inf(1)
	}
	for i, v := range a.Data {
		worst = max(worst, math.Abs(float64(v-b.Data[i])))
		largest = max(largest, math.Abs(float64(v)))
	}
	return worst / largest
}
