package optim

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Two groups over two slots: (3, 4) with norm 5, and -2 alone; a third of zeros.
func grouped() ([]Slot, [][]Ref) {
	slots := []Slot{
		{Name: "a", Value: []float32{3, -2, 0}, Grad: make([]float32, 3)},
		{Name: "b", Value: []float32{7, 4}, Grad: make([]float32, 2)},
	}
	return slots, [][]Ref{{{0, 0}, {1, 1}}, {{0, 1}}, {{0, 2}}}
}

func TestGroupSubgradient(t *testing.T) {
	slots, groups := grouped()
	GroupSubgradient(slots, groups, []float32{.5, 1, 1}, 10)
	if want := []float32{3, -10, 0}; !slices.Equal(slots[0].Grad, want) {
		t.Errorf("gradient %v, want %v", slots[0].Grad, want)
	}
	if want := []float32{0, 4}; !slices.Equal(slots[1].Grad, want) {
		t.Errorf("gradient %v, want %v", slots[1].Grad, want)
	}
}

func TestGroupProximal(t *testing.T) {
	for _, c := range []struct {
		amount float64
		scale  []float32
		a, b   []float32
	}{
		{2.5, []float32{1, 1, 1}, []float32{1.5, 0, 0}, []float32{7, 2}},
		{2.5, []float32{2, .2, 1}, []float32{0, -1.5, 0}, []float32{7, 0}},
		{0, []float32{1, 1, 1}, []float32{3, -2, 0}, []float32{7, 4}},
	} {
		slots, groups := grouped()
		GroupProximal(slots, groups, c.scale, c.amount)
		if !slices.Equal(slots[0].Value, c.a) || !slices.Equal(slots[1].Value, c.b) {
			t.Errorf("amount %g, scale %v: %v and %v, want %v and %v", c.amount, c.scale, slots[0].Value, slots[1].Value, c.a, c.b)
		}
	}
}

// The proximal operator's value is where ½‖x − γ‖² + a‖x‖ is least.
func TestGroupProximalMinimises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Float32Range(-2, 2), 1, 5).Draw(t, "gamma")
		amount := rapid.Float64Range(.01, 3).Draw(t, "amount")
		before := slices.Clone(value)
		var group []Ref
		for i := range value {
			group = append(group, Ref{0, i})
		}
		GroupProximal([]Slot{{Value: value}}, [][]Ref{group}, []float32{1}, amount)
		objective := func(x []float32) float64 {
			far, norm := 0.0, 0.0
			for i, v := range x {
				far += math.Pow(float64(v-before[i]), 2) / 2
				norm += float64(v) * float64(v)
			}
			return far + amount*math.Sqrt(norm)
		}
		least := objective(value)
		for i := range value {
			for _, d := range []float32{-.1, -.01, .01, .1} {
				x := slices.Clone(value)
				x[i] += d
				if o := objective(x); o < least-1e-6 {
					t.Fatalf("%v: %g, but %v: %g", value, least, x, o)
				}
			}
		}
	})
}
