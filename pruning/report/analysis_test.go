package report

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func points(xy ...float64) []CurvePoint {
	var out []CurvePoint
	for i := 0; i < len(xy); i += 2 {
		out = append(out, CurvePoint{FLOPs: xy[i], Recalibrated: xy[i+1]})
	}
	return out
}

func TestFindKnee(t *testing.T) {
	for _, c := range []struct {
		name string
		y0   float64
		in   []CurvePoint
		want float64 // -1: none
	}{
		// The chord falls by 1 over 0.8: 0.5 lies 0.125 above it at 0.5, and 0.8 lies 0.3 above it at 0.4.
		{"a bend", 1, points(.2, .9, .4, .8, .5, .5, .8, 0), .4},
		{"a line", 1, points(.25, .75, .5, .5, 1, 0), -1},
		{"sagging", 1, points(.2, .1, .8, 0), -1},
		{"one point", 1, points(.2, .9), -1},
		{"nothing", 1, nil, -1},
	} {
		got := FindKnee(c.y0, c.in)
		if (got == nil) != (c.want < 0) || got != nil && *got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFindSafe(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []CurvePoint
		drop float64
		want float64 // -1: none
	}{
		{"all within", points(.2, .79, .6, .785), .02, .6},
		// From 0.8 at 0.2 to 0.7 at 0.6: 0.78 is reached after a fifth of the way, 0.28.
		{"between two points", points(.2, .8, .6, .7), .02, .28},
		// From 0.8 at 0 to 0.4 at 0.2: 0.78 after a twentieth.
		{"before the first", points(.2, .4), .02, .01},
		{"no drop allowed", points(.2, .4), 0, -1},
		{"recovers later", points(.2, .7, .4, .8), .05, .1},
	} {
		got := FindSafe(.8, c.in, c.drop)
		if (got == nil) != (c.want < 0) || got != nil && (*got-c.want > 1e-12 || c.want-*got > 1e-12) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAnalysisPictures(t *testing.T) {
	whole, knee, drop := .5, .4, .1
	a := &Analysis{
		Channels: 8, NearZero: 2, Below: .01, AP50: &whole, Ratios: []float64{.25, .5},
		Scales:      []LayerScale{{Layer: 0, Channels: 4, Greatest: 1, Median: .5, NearZero: 2}, {Layer: 5, Channels: 4, Least: .1, Median: .2, Greatest: .3}},
		Curves:      []Curve{{Criterion: "l1", Strategy: "greedy", Points: points(.2, .4, .5, .1), Knee: &knee}},
		Sensitivity: []LayerDrop{{Group: "group 0 (layer 0)", Drops: []*float64{&drop, nil}}},
	}
	for _, c := range []struct {
		change func(*Analysis)
		want   []string
	}{
		{func(*Analysis) {}, []string{"analysis.json", "curve.png", "scales.png", "sensitivity.png"}},
		{func(a *Analysis) { a.Curves, a.Sensitivity = nil, nil }, []string{"analysis.json", "scales.png"}},
		{func(a *Analysis) { a.Channels = 0 }, []string{"analysis.json"}},
	} {
		c.change(a)
		dir := t.TempDir()
		if err := a.Write(dir); err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) != len(c.want) {
			t.Fatalf("%v, %v; want %v", names, err, c.want)
		}
		for i, name := range names {
			if filepath.Base(name) != c.want[i] {
				t.Errorf("%s, want %s", name, c.want[i])
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(name) == ".png" {
				if _, err := png.Decode(bytes.NewReader(data)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestRank(t *testing.T) {
	whole := .8
	a := &Analysis{AP50: &whole, MaxDrop: .02, Curves: []Curve{
		{Criterion: "a", Points: points(.2, .5, .4, .5, .6, .5)},
		{Criterion: "b", Points: points(.2, .79, .4, .3)}, // does not reach 0.6
		{Criterion: "c", Points: points(.2, .6, .4, .48, .6, 0)},
	}}
	a.Rank()
	if got := a.Curves[a.Best].Criterion; got != "b" {
		t.Errorf("best is %s, want b: 0.545 over the two cuts that all reach, where a has 0.5 and c 0.54", got)
	}
	if a.Curves[1].Safe == nil || a.Curves[0].Safe == nil || *a.Curves[0].Safe >= *a.Curves[1].Safe {
		t.Errorf("safe cuts %v, %v", a.Curves[0].Safe, a.Curves[1].Safe)
	}
}

func TestAdvice(t *testing.T) {
	whole := .8
	curve := func(p ...float64) []Curve {
		return []Curve{{Criterion: "l1", Strategy: "greedy", Points: points(p...)}}
	}
	for _, c := range []struct {
		name string
		a    Analysis
		want []string
	}{
		{"no images", Analysis{Channels: 100, NearZero: 1, Below: .01}, []string{"does not look trained for sparsity", "give --images"}},
		{"sparse and safe", Analysis{Channels: 100, NearZero: 50, AP50: &whole, MaxDrop: .02, Curves: curve(.2, .8, .4, .79)}, []string{"(50.0 %)", "up to 40 %", ""}},
		{"no batch norm", Analysis{AP50: &whole, MaxDrop: .02, Curves: curve(.2, .5, .4, .05)}, []string{"no convolution has a batch norm", "about 1 %", "bends at 20 %", "at 40 % less than a tenth"}},
		{"hopeless", Analysis{Channels: 9, AP50: &whole, MaxDrop: 0, Curves: curve(.2, .5)}, []string{"", "every cut loses more"}},
		{"wrong classes", Analysis{Channels: 9, AP50: new(float64), Curves: curve(.2, 0)}, []string{"", "check that cfg"}},
	} {
		c.a.Best = 0
		if c.a.AP50 != nil {
			c.a.Rank()
		}
		c.a.Advise()
		if len(c.a.Advice) < len(c.want) && c.want[len(c.want)-1] != "" {
			t.Errorf("%s: %q", c.name, c.a.Advice)
			continue
		}
		for i, want := range c.want {
			if want != "" && !strings.Contains(c.a.Advice[i], want) {
				t.Errorf("%s: %q, want %q", c.name, c.a.Advice[i], want)
			}
		}
	}
}

func TestBin(t *testing.T) {
	for gamma, want := range map[float64]int{0: 0, 1e-9: 0, 1.1e-5: 0, 1.8e-5: 1, -1.1e-2: 12, 1.1: 20, 9.9: 23, 1e6: 23} {
		if got := Bin(gamma); got != want {
			t.Errorf("%v is in bin %d, want %d", gamma, got, want)
		}
	}
}
