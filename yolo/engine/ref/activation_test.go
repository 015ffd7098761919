package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/graph"
)

// Mish and its slope at 1: e(e+2) = 12.8256..., t = 12.8256.../14.8256...
func TestActivateByHand(t *testing.T) {
	for _, c := range []struct {
		f           graph.Activation
		x, y, slope float64
	}{
		{graph.Linear, -3, -3, 1},
		{graph.Leaky, -2, -0.2, 0.1},
		{graph.Leaky, 0, 0, 0.1},
		{graph.Leaky, 3, 3, 1},
		{graph.Relu, -2, 0, 0},
		{graph.Relu, 0, 0, 0},
		{graph.Relu, 3, 3, 1},
		{graph.Relu6, -1, 0, 0},
		{graph.Relu6, 0, 0, 0},
		{graph.Relu6, 3, 3, 1},
		{graph.Relu6, 6, 6, 0},
		{graph.Relu6, 7, 6, 0},
		{graph.Logistic, 0, 0.5, 0.25},
		{graph.Logistic, math.Log(3), 0.75, 0.1875},
		{graph.Swish, 0, 0, 0.5},
		{graph.Swish, math.Log(3), 0.75 * math.Log(3), 0.75 + 0.1875*math.Log(3)},
		{graph.Mish, 0, 0, 0.6},
		{graph.Mish, 1, 0.8650983882673103, 1.0490362200997922},
		{graph.Mish, 1000, 1000, 1},
		{graph.Mish, -1000, 0, 0},
		{graph.Swish, -1000, 0, 0},
		{graph.Swish, 1000, 1000, 1},
		{graph.Logistic, -1000, 0, 0},
		{graph.Logistic, 1000, 1, 0},
	} {
		if y := Activate(c.f, c.x); math.Abs(y-c.y) > 1e-12 {
			t.Errorf("%s(%v) = %v, want %v", c.f, c.x, y, c.y)
		}
		if s := Slope(c.f, c.x); math.Abs(s-c.slope) > 1e-12 {
			t.Errorf("%s'(%v) = %v, want %v", c.f, c.x, s, c.slope)
		}
	}
}

// Between -20 and 20 in steps that miss the kinks at 0 and 6 by at least 0.02.
func TestSlopeDifferences(t *testing.T) {
	for _, f := range graph.Activations {
		for x := -20.02; x < 20; x += 0.37 {
			at := func(d float64) float64 { return Activate(f, x+d) }
			const h = 0.002
			want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
			if got := Slope(f, x); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s'(%v) = %v, differences give %v", f, x, got, want)
			}
		}
	}
}

func TestActivationPassesNaN(t *testing.T) {
	for _, f := range graph.Activations {
		if y := Activate(f, math.NaN()); !math.IsNaN(y) {
			t.Errorf("%s(NaN) = %v", f, y)
		}
	}
}

func TestActivateTensor(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	for _, f := range graph.Activations {
		x, dy := gridTensor(rng, 2, 3, 4, 5), gridTensor(rng, 2, 3, 4, 5)
		y, dx := ActivateForward(f, x), ActivateBackward(f, x, dy)
		for i, v := range x.Data {
			if want := float32(Activate(f, float64(v))); y.Data[i] != want {
				t.Fatalf("%s: y[%d] = %v, want %v", f, i, y.Data[i], want)
			}
			if want := float32(float64(dy.Data[i]) * Slope(f, float64(v))); dx.Data[i] != want {
				t.Fatalf("%s: dx[%d] = %v, want %v", f, i, dx.Data[i], want)
			}
		}
	}
}
