package stats

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/datasets"
)

type source []datasets.Sample

func (source) Names() []string                { return []string{"cat", "dog", "cow"} }
func (source) CategoryIDs() []int64           { return []int64{0, 1, 2} }
func (s source) Len() int                     { return len(s) }
func (s source) Sample(i int) datasets.Sample { return s[i] }

var set = source{
	{Width: 200, Height: 100, Boxes: []datasets.Box{
		{Class: 0, W: 10, H: 20},              // 200: small, as 40 x 20 is
		{Class: 0, W: 32, H: 32, Crowd: true}, // on the bound: medium
		{Class: 1, W: 100, H: 100, Difficult: true, Truncated: true},
	}},
	{Width: 100, Height: 100},
	{Width: 100, Height: 100, Boxes: []datasets.Box{{Class: 1, W: 40, H: 20}}},
}

func TestNew(t *testing.T) {
	want := &Stats{
		Images: 3, Boxes: 4, Crowd: 1, Difficult: 1, Truncated: 1, WithoutBoxes: 1,
		Classes: []Class{{"cat", 2, 1}, {"dog", 2, 2}, {"cow", 0, 0}},
		Sizes:   Sizes{2, 1, 1},
		// 10 32 40 100: the quantile q is at q * 3
		Width:       &Quantiles{10, 13.3, 26.5, 36, 55, 91, 100, 45.5},
		Height:      &Quantiles{20, 20, 20, 26, 49, 89.8, 100, 43},
		Area:        &Quantiles{200, 290, 650, 912, 3268, 8653.6, 10000, 3006},
		Share:       &Quantiles{.01, .01618, .0409, .0656, .185, .437, .5, .1603},
		Aspect:      &Quantiles{.5, .575, .875, 1, 1.25, 1.85, 2, 1.125},
		PerImage:    &Quantiles{0, .1, .5, 1, 2, 2.8, 3, 4. / 3},
		ImageWidth:  &Quantiles{100, 100, 100, 100, 150, 190, 200, 400. / 3},
		ImageHeight: &Quantiles{100, 100, 100, 100, 100, 100, 100, 100},
	}
	if d := cmp.Diff(want, New(set), cmpopts.IgnoreUnexported(Stats{}), cmpopts.EquateApprox(1e-9, 0)); d != "" {
		t.Error(d)
	}
}

func TestPlot(t *testing.T) {
	for _, s := range []source{set, {{Width: 1, Height: 1}}} {
		dir := filepath.Join(t.TempDir(), "plots")
		names, err := New(s).Plot(dir)
		if err != nil || len(names) != 4 {
			t.Fatalf("%v %v", names, err)
		}
		for _, n := range names {
			f, err := os.Open(filepath.Join(dir, n))
			if err != nil {
				t.Fatal(err)
			}
			if c, err := png.DecodeConfig(f); err != nil || c.Width < 100 {
				t.Errorf("%s: %+v, %v", n, c, err)
			}
			f.Close()
		}
	}
}

// 200 x 100 stretched to 400 x 400 is twice as wide and four times as high;
// letterboxed both are doubled.
func TestBoxSizes(t *testing.T) {
	if d := cmp.Diff([][2]float64{{20, 80}, {160, 80}}, BoxSizes(set, 400, 400, false)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([][2]float64{{20, 40}, {160, 80}}, BoxSizes(set, 400, 400, true)); d != "" {
		t.Error(d)
	}
}

func TestRecall(t *testing.T) {
	anchors := [][2]float64{{10, 10}, {100, 50}}
	for _, tt := range []struct {
		size [2]float64
		want float64
	}{
		{[2]float64{10, 10}, 1},
		{[2]float64{39, 39}, 1},
		{[2]float64{10, 40}, 0},  // a factor of 4 is too much
		{[2]float64{26, 190}, 1}, // 100/26, 190/50
		{[2]float64{2, 10}, 0},
	} {
		if got := Recall([][2]float64{tt.size}, anchors, 4); got != tt.want {
			t.Errorf("%v: %g, want %g", tt.size, got, tt.want)
		}
	}
	if got := Recall([][2]float64{{10, 10}, {1, 1}}, anchors, 4); got != 0.5 {
		t.Errorf("half: %g", got)
	}
	if !math.IsNaN(Recall(nil, anchors, 4)) {
		t.Error("no boxes have a recall")
	}
}
