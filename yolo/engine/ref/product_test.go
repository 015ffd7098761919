package ref

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/graph"
)

// x is 2 pixels of 2 channels in each of 2 images. With dy = 1, dgate is the
// sum of x over what shares a gate's value, and dx the gate.
func TestProductByHand(t *testing.T) {
	x := Tensor{2, 1, 2, 2, []float32{1, 2, 3, 4, 5, 6, 7, 8}}
	ones := Tensor{2, 1, 2, 2, []float32{1, 1, 1, 1, 1, 1, 1, 1}}
	for _, c := range []struct {
		what         string
		gate         Tensor
		y, dgate, dx []float32
	}{
		{"sam", Tensor{2, 1, 2, 2, []float32{1, 10, 100, -1, 0, 2, 3, 4}},
			[]float32{1, 20, 300, -4, 0, 12, 21, 32}, []float32{1, 2, 3, 4, 5, 6, 7, 8}, []float32{1, 10, 100, -1, 0, 2, 3, 4}},
		{"scale_channels", Tensor{2, 1, 1, 2, []float32{1, 10, 2, -1}},
			[]float32{1, 20, 3, 40, 10, -6, 14, -8}, []float32{4, 6, 12, 14}, []float32{1, 10, 1, 10, 2, -1, 2, -1}},
		{"scale_channels, scale_wh", Tensor{2, 1, 2, 1, []float32{1, 10, 2, -1}},
			[]float32{1, 2, 30, 40, 10, 12, -7, -8}, []float32{3, 7, 11, 15}, []float32{1, 1, 10, 10, 2, 2, -1, -1}},
	} {
		o := Product{graph.Linear}
		same(t, c.what, o.Forward(c.gate, x).Data, c.y, 0)
		dgate, dx := o.Backward(c.gate, x, ones)
		sameShape(t, c.what+" dgate", dgate, c.gate.N, c.gate.H, c.gate.W, c.gate.C)
		same(t, c.what+" dgate", dgate.Data, c.dgate, 0)
		same(t, c.what+" dx", dx.Data, c.dx, 0)
	}
}

// The gate of a tall image: rows and columns are not mixed up.
func TestProductByPixelByHand(t *testing.T) {
	x := Tensor{1, 3, 2, 1, []float32{1, 2, 3, 4, 5, 6}}
	gate := Tensor{1, 3, 2, 1, []float32{1, 10, 100, 2, 20, 200}}
	same(t, "y", Product{graph.Linear}.Forward(gate, x).Data, []float32{1, 20, 300, 8, 100, 1200}, 0)
}

// The product is activated, not the factors: leaky of -2*3 is -0.6, with a
// slope of 0.1 by either factor; relu stops it; logistic of 0 is 1/2, slope 1/4.
func TestProductActivationByHand(t *testing.T) {
	for _, c := range []struct {
		f                  graph.Activation
		gate, x            float32
		y, dgate, dx, dout float32
	}{
		{graph.Leaky, -2, 3, -0.6, 0.3, -0.2, 1},
		{graph.Leaky, -2, -3, 6, -6, -4, 2},
		{graph.Relu, -2, 3, 0, 0, 0, 1},
		{graph.Relu, -2, -3, 6, -3, -2, 1},
		{graph.Logistic, 0, 3, 0.5, 3, 0, 4},
		{graph.Linear, -2, 3, -6, 15, -10, 5},
	} {
		gate, x, dy := tensorOf([]float32{c.gate}), tensorOf([]float32{c.x}), tensorOf([]float32{c.dout})
		what := fmt.Sprintf("%s(%v*%v)", c.f, c.gate, c.x)
		same(t, what, Product{c.f}.Forward(gate, x).Data, []float32{c.y}, 1e-7)
		dgate, dx := Product{c.f}.Backward(gate, x, dy)
		same(t, what+" dgate", dgate.Data, []float32{c.dgate}, 1e-7)
		same(t, what+" dx", dx.Data, []float32{c.dx}, 1e-7)
	}
}

// Linear is linear in gate and in x, so its differences are exact.
func TestProductDifferences(t *testing.T) {
	for _, c := range []struct {
		f            graph.Activation
		h, tolerance float64
	}{{graph.Linear, 1, 1e-12}, {graph.Logistic, 1.0 / 64, 1e-4}} {
		for _, s := range [][3]int{{3, 4, 5}, {1, 1, 5}, {3, 4, 1}} {
			rng := rand.New(rand.NewPCG(12, 0))
			x, dy := gridTensor(rng, 2, 3, 4, 5), gridTensor(rng, 2, 3, 4, 5)
			gate := gridTensor(rng, 2, s[0], s[1], s[2])
			o := Product{c.f}
			loss := func() float64 { return dot(o.Forward(gate, x).Data, dy.Data) }
			dgate, dx := o.Backward(gate, x, dy)
			what := fmt.Sprintf("%s, gate %v ", c.f, s)
			differences(t, what+"dgate", gate.Data, dgate.Data, loss, c.h, c.tolerance)
			differences(t, what+"dx", x.Data, dx.Data, loss, c.h, c.tolerance)
		}
	}
}
