package importance

import (
	"math"
	"testing"

	"yoloprune/pruning/depgraph"
)

// given scores by numbers written down.
type given []float64

func (given) Name() string                                     { return "given" }
func (s given) Score(depgraph.Group, Live) ([]float64, string) { return s, "" }

func TestSensitivity(t *testing.T) {
	gr := depgraph.Group{ID: 3, Channels: 4}
	for _, c := range []struct {
		name  string
		curve Curve
		order given
		want  []float64
	}{
		// From 0 over 0.1 at a half to 0.5 at all: 0.05 each for the lower half, 0.2 for the upper.
		{"convex", Curve{[]float64{.5, 1}, []float64{.1, .5}}, given{4, 1, 3, 2}, []float64{.2, .05, .2, .05}},
		// The point at a half lies above the line to (1, 0.4), which counts: 0.1 each.
		{"bulging", Curve{[]float64{.5, 1}, []float64{.3, .4}}, given{4, 1, 3, 2}, []float64{.1, .1, .1, .1}},
		// A gain is no loss.
		{"gain", Curve{[]float64{.5, 1}, []float64{-.1, .5}}, given{1, 2, 3, 4}, []float64{0, 0, .25, .25}},
		// Equal ranks go by the channel.
		{"ties", Curve{[]float64{.25, 1}, []float64{.01, .61}}, given{7, 7, 7, 7}, []float64{.01, .2, .2, .2}},
		// Without the point at 1 the last slope goes on.
		{"short", Curve{[]float64{.5}, []float64{.2}}, given{1, 2, 3, 4}, []float64{.1, .1, .1, .1}},
	} {
		got, why := Sensitivity(c.order, map[int]Curve{3: c.curve}).Score(gr, nil)
		if why != "" || len(got) != 4 {
			t.Fatalf("%s: %v, %s", c.name, got, why)
		}
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 1e-12 {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
				break
			}
		}
	}
	if got, why := Sensitivity(given{1}, nil).Score(gr, nil); got != nil || why == "" {
		t.Errorf("a group without a curve: %v, %q", got, why)
	}
}

func TestScaled(t *testing.T) {
	c := Scaled(given{1, 2, 3}, "layer", map[int]float64{3: 10})
	for _, x := range []struct {
		group int
		want  []float64
	}{{3, []float64{5, 10, 15}}, {4, []float64{.5, 1, 1.5}}} {
		got, _ := c.Score(depgraph.Group{ID: x.group, Channels: 3}, nil)
		for i := range x.want {
			if math.Abs(got[i]-x.want[i]) > 1e-12 {
				t.Errorf("group %d: %v, want %v", x.group, got, x.want)
			}
		}
	}
}
