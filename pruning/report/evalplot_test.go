package report

import (
	"bytes"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/yolo/eval"
)

// measured is a set of that many classes, each with one truth found at .9, one
// missed, and a wrong detection at .8; the last class has no truths.
func measured(classes int) (*eval.GroundTruth, []eval.Detection) {
	gt := &eval.GroundTruth{Images: []int64{1}}
	var dets []eval.Detection
	for k := int64(1); k <= int64(classes); k++ {
		gt.Categories = append(gt.Categories, eval.Category{ID: k, Name: "class"})
		box := [4]float64{float64(100 * k), 0, 50, 50}
		dets = append(dets, eval.Detection{Image: 1, Category: k, Box: [4]float64{0, 900, 50, 50}, Score: .8})
		if k == int64(classes) {
			break
		}
		gt.Truths = append(gt.Truths,
			eval.Truth{ID: 2 * k, Image: 1, Category: k, Box: box, Area: 2500},
			eval.Truth{ID: 2*k + 1, Image: 1, Category: k, Box: [4]float64{float64(100 * k), 500, 50, 50}, Area: 2500})
		dets = append(dets, eval.Detection{Image: 1, Category: k, Box: box, Score: .9})
	}
	return gt, dets
}

func traced(t *testing.T, classes int) *eval.Curves {
	gt, dets := measured(classes)
	c, err := eval.TraceCurves(gt, dets, .5)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two points: recall 1/2 at precision 1, and then 1/2 at 1/2; precision falls
// from recall 0 on. Nothing reaches more than 1/2.
func TestPRLines(t *testing.T) {
	c := traced(t, 3)
	lines := classLines(c, prLine)
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one for each class with truths", len(lines))
	}
	same := cmp.Options{cmp.AllowUnexported(xy{}), cmpopts.EquateApprox(0, 1e-12)}
	if d := cmp.Diff([]xy{{0, 1}, {.5, 1}, {.5, .5}}, lines[0].points, same); d != "" {
		t.Error(d)
	}
	// F1 from .8 on 2/(2+1+1), from .9 on 2/(2+0+1).
	if d := cmp.Diff([]xy{{.8, .5}, {.9, 2. / 3}}, f1Line(c.Classes[0]), same); d != "" {
		t.Error(d)
	}
	mean := meanPrecision(c)
	if mean[0].y != 1 || mean[50].y != 1 || mean[51].y != 0 {
		t.Errorf("mean precision %v at 0, %v at .5, %v at .51; want 1, 1, 0", mean[0].y, mean[50].y, mean[51].y)
	}
}

// colours counts the pixels of each colour in a PNG.
func colours(t *testing.T, path string) (count map[color.Color]int, width, height int) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count = map[color.Color]int{}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[color.RGBAModel.Convert(img.At(x, y))]++
		}
	}
	return count, b.Dx(), b.Dy()
}

func TestPlotPR(t *testing.T) {
	for _, classes := range []int{1, 3, 80} {
		path := filepath.Join(t.TempDir(), "PR.png")
		if err := PlotPR(traced(t, classes), path); err != nil {
			t.Fatal(err)
		}
		count, w, h := colours(t, path)
		if w < 2*h || h < 400 {
			t.Errorf("%d classes: %dx%d pixels", classes, w, h)
		}
		if classes == 3 && (count[light.lines[0]] < 20 || count[light.ink] < 100) {
			t.Errorf("%d pixels of the first class and %d of the mean", count[light.lines[0]], count[light.ink])
		}
	}
	again := t.TempDir()
	a, b := filepath.Join(again, "a.png"), filepath.Join(again, "b.png")
	for _, path := range []string{a, b} {
		if err := PlotPR(traced(t, 3), path); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := os.ReadFile(a)
	second, _ := os.ReadFile(b)
	if !bytes.Equal(first, second) {
		t.Error("the same curves give other bytes")
	}
}

// Of each class half is found: two cells of half a shade; the background's row is
// wholly detections.
func TestPlotConfusion(t *testing.T) {
	for _, classes := range []int{1, 3, 80} {
		gt, dets := measured(classes)
		c, err := eval.Confuse(gt, dets, .25, .45)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "confusion.png")
		if err := PlotConfusion(c, path); err != nil {
			t.Fatal(err)
		}
		count, w, h := colours(t, path)
		cells := float64((classes + 1) * (classes + 1))
		half := float64(count[blend(light.paper, light.lines[0], .54)])
		want := float64(2*(classes-1)) / cells
		if share := half / float64(w*h); classes > 1 && (share < .3*want || share > want) {
			t.Errorf("%d classes: %.4f of the picture is of half a shade, want under %.4f, less the margins", classes, share, want)
		}
	}
}

func TestPlotsCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "folder.png")
	if err := PlotPR(traced(t, 2), path); err == nil {
		t.Error("PR is written nowhere")
	}
	if err := PlotConfusion(&eval.Confusion{Counts: [][]int{{0}}}, path); err == nil {
		t.Error("confusion is written nowhere")
	}
}
