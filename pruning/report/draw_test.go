package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/vg"
	"pgregory.net/rapid"
)

// sceneOf draws markers in a panel of the figure's size, many of them in the
// same place or in one column, as stages of one cost are.
func sceneOf(r *rapid.T) (*scene, []label) {
	s := &scene{bounds: vg.Rectangle{Max: vg.Point{X: 250, Y: 200}}, radius: markerRadius}
	var labels []label
	columns := rapid.SliceOfN(rapid.Float64Range(0, 250), 1, 3).Draw(r, "columns")
	for range rapid.IntRange(1, 12).Draw(r, "points") {
		at := vg.Point{
			X: vg.Length(rapid.SampledFrom(columns).Draw(r, "x")),
			Y: vg.Length(rapid.Float64Range(0, 200).Draw(r, "y")),
		}
		if len(s.markers) > 0 {
			s.segments = append(s.segments, segment{s.markers[len(s.markers)-1], at})
		}
		s.markers = append(s.markers, at)
		size := vg.Point{X: vg.Length(rapid.Float64Range(20, 80).Draw(r, "width")), Y: 10}
		labels = append(labels, label{anchor: at, size: size})
	}
	return s, labels
}

func TestLabelsDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, labels := sceneOf(r)
		s.place(labels)
		for i, l := range labels {
			if !l.placed {
				r.Fatalf("label %d has no place", i)
			}
			if d := l.box.Size().Sub(l.size); length(d) > 1e-9 {
				r.Fatalf("label %d has the size %v, want %v", i, l.box.Size(), l.size)
			}
			if b := l.box; b.Min.X < 0 || b.Min.Y < 0 || b.Max.X > 250 || b.Max.Y > 200 {
				r.Fatalf("label %d leaves the panel: %v", i, b)
			}
			for j, m := range s.markers {
				if distance(l.box, m) < markerRadius {
					r.Fatalf("label %d covers marker %d", i, j)
				}
			}
			for j, o := range labels[:i] {
				if l.box.Min.X < o.box.Max.X && o.box.Min.X < l.box.Max.X && l.box.Min.Y < o.box.Max.Y && o.box.Min.Y < l.box.Max.Y {
					r.Fatalf("labels %d and %d overlap: %v, %v", j, i, o.box, l.box)
				}
			}
		}
	})
}

func TestLabelWithoutRoomIsNotPlaced(t *testing.T) {
	s := &scene{bounds: vg.Rectangle{Max: vg.Point{X: 60, Y: 14}}, radius: 4, markers: []vg.Point{{X: 5, Y: 7}}}
	labels := []label{
		{anchor: s.markers[0], size: vg.Point{X: 40, Y: 10}},
		{anchor: s.markers[0], size: vg.Point{X: 40, Y: 10}},
		{anchor: s.markers[0], size: vg.Point{X: 400, Y: 10}},
	}
	s.place(labels)
	if !labels[0].placed || labels[1].placed || labels[2].placed {
		t.Errorf("placed %v %v %v; want the first alone", labels[0].placed, labels[1].placed, labels[2].placed)
	}
}

func TestLonelyLabelStandsBesideItsMarker(t *testing.T) {
	at := vg.Point{X: 50, Y: 50}
	s := &scene{bounds: vg.Rectangle{Max: vg.Point{X: 200, Y: 100}}, radius: 4, markers: []vg.Point{at}}
	labels := []label{{anchor: at, size: vg.Point{X: 40, Y: 10}}}
	s.place(labels)
	if got, want := labels[0].box.Min, (vg.Point{X: 56.5, Y: 45}); got != want {
		t.Errorf("at %v, want %v", got, want)
	}
}

func TestCrosses(t *testing.T) {
	box := vg.Rectangle{Min: vg.Point{X: 10, Y: 10}, Max: vg.Point{X: 20, Y: 20}}
	for _, c := range []struct {
		x0, y0, x1, y1 vg.Length
		want           bool
	}{
		{0, 15, 30, 15, true},   // through the middle
		{15, 0, 15, 30, true},   // upright
		{12, 12, 18, 18, true},  // inside
		{0, 15, 9, 15, false},   // ends before
		{0, 25, 30, 25, false},  // above
		{25, 0, 25, 30, false},  // to the right
		{0, 18, 13, 31, false},  // cuts off the corner outside: at x = 10 it is at 28
		{5, 18, 13, 26, false},  // at x = 10 it is at 23
		{5, 12, 13, 20, true},   // at x = 10 it is at 17
		{15, 15, 15, 15, true},  // a point inside
		{30, 30, 30, 30, false}, // a point outside
	} {
		g := segment{vg.Point{X: c.x0, Y: c.y0}, vg.Point{X: c.x1, Y: c.y1}}
		if got := crosses(box, g); got != c.want {
			t.Errorf("%v: %v, want %v", g, got, c.want)
		}
	}
}

func TestTrailHasHollowControlAndSkipsUndefined(t *testing.T) {
	dir := runFolder(t, "run")
	edit(t, filepath.Join(dir, "val", "pruned", "metrics.json"), func(m map[string]any) { m["AP50"] = -1 })
	got := load(t, dir).trail(metrics[0], color.Black, color.Black, func(s *Stage, _ float64) string { return s.Name })
	want := []point{
		{x: 1.017, y: .866, text: "baseline"},
		{x: 1.017, y: .852, text: "sparsified"},
		{x: .295, y: .702, text: "recalibrated"},
		{x: .295, y: .861, text: "finetuned"},
		{x: .295, y: .843, text: "scratch", control: true},
	}
	if diff := cmp.Diff(want, got.points, cmp.AllowUnexported(point{})); diff != "" {
		t.Error(diff)
	}
}

func TestPlaneRange(t *testing.T) {
	for _, c := range []struct {
		points []point
		want   [4]float64
	}{
		{nil, [4]float64{0, 1.12, 0, 1.02}},
		{[]point{{x: 2, y: .5}}, [4]float64{0, 2.24, .48, .52}},
		{[]point{{x: 1, y: .2}, {x: 2, y: .8}}, [4]float64{0, 2.24, .11, .89}},
		{[]point{{x: 1, y: 0}, {x: 2, y: 1}}, [4]float64{0, 2.24, 0, 1.02}},
	} {
		var got [4]float64
		got[0], got[1], got[2], got[3] = planeRange([]trail{{points: c.points}})
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 1e-12 {
				t.Errorf("%v: %v, want %v", c.points, got, c.want)
				break
			}
		}
	}
}

// The figure has two panels; each must hold ink of its own colour.
func TestFigureShowsBothMetrics(t *testing.T) {
	img := decodePNG(t, fullReport(t)["map_vs_flops.png"])
	half := img.Bounds().Dx() / 2
	for i, want := range [][2]bool{{true, false}, {false, true}} {
		left, right := false, false
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				if sameColour(img.At(x, y), light.lines[i]) {
					left, right = left || x < half, right || x >= half
				}
			}
		}
		if [2]bool{left, right} != want {
			t.Errorf("%s is drawn left: %v, right: %v; want %v", metrics[i].name, left, right, want)
		}
	}
}

func sameColour(a, b color.Color) bool {
	r0, g0, b0, _ := a.RGBA()
	r1, g1, b1, _ := b.RGBA()
	return r0 == r1 && g0 == g1 && b0 == b1
}

func decodePNG(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPlotResults(t *testing.T) {
	dir := runFolder(t, "run")
	out := filepath.Join(dir, "sparsify", "results.png")
	if err := PlotResults(filepath.Join(dir, "sparsify", "results.csv"), out); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	decodePNG(t, first)
	if left, _ := filepath.Glob(out + "?*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// A broken table leaves the old picture in place.
	writeText(t, filepath.Join(dir, "sparsify", "results.csv"), "epoch,loss\nx,1\n")
	if err := PlotResults(filepath.Join(dir, "sparsify", "results.csv"), out); err == nil {
		t.Error("no error for a broken table")
	}
	if second, _ := os.ReadFile(out); !bytes.Equal(first, second) {
		t.Error("a broken table changed the picture")
	}
}

func TestPlotResultsOfFewAndOddRows(t *testing.T) {
	dir := t.TempDir()
	table, out := filepath.Join(dir, "results.csv"), filepath.Join(dir, "results.png")
	for _, rows := range []string{
		"",
		"1,0.1,2\n",
		"1,0.1,NaN\n2,0.1,NaN\n",
		"0,0,0\n",
		"1,1e-12,9e29\n2,1e-12,1\n",
		"1000000000,0.1,1\n",
		"3,0.1,-2\n3,0.1,-2\n",
	} {
		writeText(t, table, "epoch,lr,loss\n"+rows)
		if err := PlotResults(table, out); err != nil {
			t.Errorf("%q: %v", rows, err)
		}
	}
}

func TestPanels(t *testing.T) {
	epochs, err := parseResults("results.csv", []byte("epoch,lr,loss,box,AP,near_zero\n1,.1,3,2,,0\n2,.1,2,1,.5,0\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range panels(epochs) {
		for _, c := range p.curves {
			got = append(got, fmt.Sprintf("%s: %s %d", p.title, c.name, len(c.points)))
		}
	}
	want := []string{"Loss: loss 2", "Loss: box 2", "Average precision (val): AP 1", "Learning rate: lr 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSVGChart(t *testing.T) {
	c := newSVGChart(panel{"Loss", false, []curve{{"loss", []xy{{0, 0}, {10, 4}}}, {"box", []xy{{5, 2}}}}})
	// x: 0..10 on 44..312; y: 0..4.2 on 154..8, so 4 stands at 154-146*4/4.2 = 14.95.
	if got, want := c.Lines[0].Path, "M44.0 154.0L312.0 15.0"; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	if c.Lines[0].Dot != nil || c.Lines[1].Dot == nil || c.Lines[1].Dot[0] != "178.0" {
		t.Errorf("dots %v and %v; want one for the single point, at 178", c.Lines[0].Dot, c.Lines[1].Dot)
	}
	if got := fmt.Sprint(c.X); got != "[{44.0 0} {97.6 2} {151.2 4} {204.8 6} {258.4 8} {312.0 10}]" {
		t.Errorf("ticks %s", got)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		n      int
		want   string
	}{
		{0, 1, 5, "[0 0.2 0.4 0.6 0.8 1]"},
		{0, 1.139, 5, "[0 0.2 0.4 0.6 0.8 1]"},
		{1, 60, 5, "[10 20 30 40 50 60]"},
		{0, 0.002, 4, "[0 0.0005 0.001 0.0015 0.002]"},
		{0.1, 0.95, 5, "[0.2 0.4 0.6 0.8]"},
		{3, 3, 5, "[]"},
		{0, math.Inf(1), 5, "[]"},
	} {
		if got := fmt.Sprint(ticks(c.lo, c.hi, c.n)); got != c.want {
			t.Errorf("ticks(%v, %v, %d) = %s, want %s", c.lo, c.hi, c.n, got, c.want)
		}
	}
}

func TestBins(t *testing.T) {
	h := bins([]float64{0, 0.01, 0.99, 1, 7}, 1)
	want := [histBins]float64{0: .4, histBins - 1: .6}
	for i := range h {
		if math.Abs(h[i]-want[i]) > 1e-12 {
			t.Errorf("bin %d: %v, want %v", i, h[i], want[i])
		}
	}
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{0.2, 1.234}, 1.3}, {nil, 1}, {[]float64{0}, 1}, {[]float64{5e-324}, 1e-12}, {[]float64{math.MaxFloat64}, 1e12}} {
		if got := upperBound(c.values); got != c.want {
			t.Errorf("upper bound of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestGammaHistograms(t *testing.T) {
	g := &Gammas{
		Before: []LayerGamma{{3, []float64{-1, 1, 2}}, {5, []float64{4}}},
		After:  []LayerGamma{{5, []float64{0.5}}, {7, []float64{0.25, -0.75}}},
	}
	overall, layers, bound := gammaHistograms(g)
	if bound != "4" {
		t.Errorf("bound %s, want 4", bound)
	}
	// 1 1 2 4 before; 0.25 0.5 0.75 after.
	if overall.MedianBefore != "1.5" || overall.MedianAfter != "0.5" || overall.Channels != 3 {
		t.Errorf("overall %+v", overall)
	}
	var got []string
	for _, l := range layers {
		got = append(got, l.Title+" "+l.MedianBefore+" "+l.MedianAfter)
	}
	if want := []string{"Layer 5 4 0.5", "Layer 7 - 0.5"}; !slices.Equal(got, want) {
		t.Errorf("layers %q, want %q", got, want)
	}
	if layers[1].Before != "" || !strings.HasPrefix(layers[1].After, "M0 70V") {
		t.Errorf("outlines %q and %q", layers[1].Before, layers[1].After)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(1476096), "1.476 M"},
		{count(999), "999"},
		{count(24251276), "24.25 M"},
		{count(6.9e9), "6.900 G"},
		{size(24251276), "24.3 MB"},
		{size(20), "20 B"},
		{milliseconds(11.69), "11.7 ms"},
		{milliseconds(0.123), "0.12 ms"},
		{milliseconds(1234), "1234 ms"},
		{duration(9.5), "9.5 s"},
		{duration(61), "1 min 1 s"},
		{duration(3720), "1 h 2 min"},
		{relative(1017, 295), "-71 %"},
		{relative(200, 201), "+0.5 %"},
		{relative(100, 0.5), "-99.5 %"},
		{relative(100, 100.01), "0 %"},
		{relative(0, 5), ""},
		{difference(.866, .861), "-0.005"},
		{difference(.5, .5002), "0"},
		{typeset("-71 % FLOPs, AP50 0.866 -> 0.861, -"), "−71 % FLOPs, AP50 0.866 → 0.861, -"},
		{typeset("bn-2 1e-05"), "bn-2 1e-05"},
		{tone("-3 %", false), "good"},
		{tone("+0.01", false), "bad"},
		{tone("+0.01", true), "good"},
		{tone("0", true), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestFacts(t *testing.T) {
	got := facts([]byte(`{"z":1,"input":[320,416],"sub":{"b":null,"a":[1,"x"]},"conf":0.001}`), "conf", "input")
	want := []pair{{"conf", "0.001"}, {"input", "320 x 416"}, {"sub.a", "1, x"}, {"sub.b", "-"}, {"z", "1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, raw := range []string{"", "null", "[1]"} {
		if got := facts([]byte(raw)); len(got) != 0 {
			t.Errorf("facts(%q) = %v, want none", raw, got)
		}
	}
}
