package loss

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

// TestTorchGolden compares with the PyTorch recipe's own loss_fn and autograd
// (testdata/golden.py): 16 truths in five images, one of them empty, shared
// slots, a truth on the border, clamped sizes, two ignored slots.
func TestTorchGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Parts [3]float64
		Grads [][]float64
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	outs, truths := torchInputs()
	l, err := NewYOLOv4(torchHeads(), 64, 64, 5, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.SetTruths(truths)
	grads := zerosLike(outs)
	p, err := l.Compute(outs, grads)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "box", p.Box, want.Parts[0], 2e-6)
	near(t, "obj", p.Obj, want.Parts[1], 2e-6)
	near(t, "class", p.Class, want.Parts[2], 2e-6)
	near(t, "total", p.Total, want.Parts[0]+want.Parts[1]+want.Parts[2], 5e-6)
	for i := range grads {
		for j, g := range grads[i] {
			if w := want.Grads[i][j]; math.Abs(float64(g)-w) > 1e-7+2e-5*math.Abs(w) {
				t.Errorf("head %d, value %d (entry %d): gradient %g, PyTorch has %g", i, j, j%8, g, w)
			}
		}
	}
}

func torchHeads() []Head {
	anchors := [][2]float64{{8, 9}, {14, 12}, {16, 22}, {26, 24}, {30, 44}, {52, 50}}
	return []Head{
		{&graph.Yolo{Classes: 3, Mask: []int{3, 4, 5}, Anchors: anchors, ScaleXY: 1.05}, graph.Shape{C: 24, H: 2, W: 2}},
		{&graph.Yolo{Classes: 3, Mask: []int{0, 1, 2}, Anchors: anchors, ScaleXY: 1.05}, graph.Shape{C: 24, H: 4, W: 4}},
	}
}

func torchInputs() ([][]float32, [][]datasets.Truth) {
	truths := [][]datasets.Truth{
		{tr(0, .25, .25, .40, .38), tr(2, .27, .23, .42, .40), tr(1, .80, .75, .24, .20), tr(1, 1, .5, .12, .13), tr(1, .5, .5, .47, .66)},
		{tr(2, .75, .72, .80, .79), tr(0, .625, .625, .25, .33), tr(1, .625, .62, .24, .34), tr(0, .49, .51, .42, .38), tr(2, .26, .51, .41, .37)},
		{tr(0, .49, .3, .8, .78), tr(1, .49, .74, .2, .19)},
		{tr(1, .505, .25, .25, .34), tr(1, .25, .505, .23, .20), tr(0, .5, .999, .5, .201), tr(2, .1, .1, .03, .9)},
		{},
	}
	return [][]float32{torchRaw(32, 2), torchRaw(16, 4)}, truths
}

func torchRaw(stride float64, n int) []float32 {
	v := make([]float32, 5*n*n*24)
	for k := range v {
		amplitude := .4
		switch e := k % 8; {
		case e < 2:
			amplitude = 2.4
		case e < 4:
			amplitude = .1
		}
		v[k] = float32(amplitude * math.Sin(1.7*float64(k)+.3*stride))
	}
	at := func(image, row, col, channel int) *float32 { return &v[((image*n+row)*n+col)*24+channel] }
	*at(0, 0, 0, 2) = 7
	*at(1, 1, 1, 8+3) = -9
	*at(2, 0, 1, 4) = 30
	*at(3, 1, 0, 16+4) = -25
	*at(2, 0, 1, 16), *at(2, 0, 1, 17) = -3.2, .4
	*at(2, n-1, n/2, 8), *at(2, n-1, n/2, 9) = -3.5, -3.5
	return v
}

func tr(class int, x, y, w, h float64) datasets.Truth {
	return datasets.Truth{Class: class, X: x, Y: y, W: w, H: h}
}

func zerosLike(values [][]float32) [][]float32 {
	out := make([][]float32, len(values))
	for i, v := range values {
		out[i] = make([]float32, len(v))
	}
	return out
}
