package eval

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// shared returns the path of a shared file, or skips the test without it.
func shared(t testing.TB, elem ...string) string {
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join(moduleRoot(t), "..", "shared")
	}
	path := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no shared data: %v", err)
	}
	return path
}

func moduleRoot(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

func readTruths(t testing.TB, file string) *GroundTruth {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gt, err := ReadGroundTruth(file, f)
	if err != nil {
		t.Fatal(err)
	}
	return gt
}

func readDets(t testing.TB, file string) []Detection {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dets, err := ReadDetections(file, f)
	if err != nil {
		t.Fatal(err)
	}
	return dets
}

func readJSON(t testing.TB, file string, v any) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// longNames maps our names to those of the reference files.
var longNames = map[string]string{
	"AP": "AP", "AP50": "AP50", "AP75": "AP75", "APs": "AP_small", "APm": "AP_medium", "APl": "AP_large",
	"AR1": "AR_1", "AR10": "AR_10", "AR100": "AR_100", "ARs": "AR_small", "ARm": "AR_medium", "ARl": "AR_large",
}

func checkNumbers(t *testing.T, r *Numbers, want map[string]float64, tolerance float64) {
	t.Helper()
	for _, n := range numbers {
		w, ok := want[longNames[n.name]]
		if !ok {
			t.Fatalf("the reference has no %s", longNames[n.name])
		}
		if math.Abs(n.of(r)-w) > tolerance {
			t.Errorf("%s = %.16f, want %.16f", n.name, n.of(r), w)
		}
	}
}

// reference is what the original cocoeval.py gives at full precision.
type reference struct {
	Summary     map[string]float64            `json:"summary"`
	PerCategory map[string]map[string]float64 `json:"per_category"`
}

// check compares all twelve numbers and those of every class.
func (want *reference) check(t *testing.T, r *Result) {
	t.Helper()
	checkNumbers(t, &r.Numbers, want.Summary, 1e-12)
	defined := 0
	for _, c := range r.PerClass {
		w, ok := want.PerCategory[c.Category.Name]
		if !ok {
			w = map[string]float64{"AP": -1, "AP50": -1}
		} else {
			defined++
		}
		if !near(c.AP, w["AP"]) || !near(c.AP50, w["AP50"]) {
			t.Errorf("%s: AP %.16f, AP50 %.16f, want %.16f, %.16f", c.Category.Name, c.AP, c.AP50, w["AP"], w["AP50"])
		}
	}
	if defined != len(want.PerCategory) || defined == 0 {
		t.Errorf("%d classes compared, want %d", defined, len(want.PerCategory))
	}
}

// The evaluator's own test of the COCO API: 100 images, 80 classes, crowds and
// equal scores; the numbers are those of the original cocoeval.py.
func TestCOCOPublished(t *testing.T) {
	const dir = "cocoeval-fakebbox100"
	gt := readTruths(t, shared(t, "datasets", dir, "instances_val2014_100_bbox.json"))
	dets := readDets(t, shared(t, "datasets", dir, "instances_val2014_fakebbox100_results.json"))
	var want reference
	readJSON(t, shared(t, "datasets", dir, "expected.json"), &want)
	r, err := COCO(gt, dets)
	if err != nil {
		t.Fatal(err)
	}
	want.check(t, r)
}

// Real detectors on 30 images, thousands of detections of low score.
func TestCOCODetectors(t *testing.T) {
	const dir = "coco-sample"
	var want struct {
		Saved map[string]*reference `json:"saved_detections"`
	}
	readJSON(t, shared(t, "datasets", dir, "reference", "expected.json"), &want)
	gt := readTruths(t, shared(t, "datasets", dir, "annotations", "val.json"))
	if len(want.Saved) < 2 {
		t.Fatalf("%d files of detections, want two or more", len(want.Saved))
	}
	for _, file := range slices.Sorted(maps.Keys(want.Saved)) {
		t.Run(file, func(t *testing.T) {
			r, err := COCO(gt, readDets(t, shared(t, "datasets", dir, "reference", file)))
			if err != nil {
				t.Fatal(err)
			}
			want.Saved[file].check(t, r)
		})
	}
}

// The thresholds' last bits are part of the protocol.
func TestParams(t *testing.T) {
	p := cocoParams([numMax]int{1, 10, 100})
	ious := []float64{.5, .55, .6, .65, .7, .75, .8, .85, .8999999999999999, .95}
	if !slices.Equal(p.ious, ious) {
		t.Errorf("IoU thresholds %v, want %v", p.ious, ious)
	}
	above := map[int]bool{35: true, 41: true, 47: true, 57: true, 69: true, 70: true, 82: true, 83: true, 94: true, 95: true}
	for i, r := range p.recalls {
		exact := float64(i) / 100
		if above[i] != (r > exact) || r < exact {
			t.Errorf("recall point %d is %.17g, i/100 is %.17g; want it above: %v", i, r, exact, above[i])
		}
	}
}

func TestCOCOWithoutGroundTruth(t *testing.T) {
	r, err := COCO(nil, nil)
	if err != nil || r.AP != -1 {
		t.Errorf("AP %v, error %v, want -1 and none", r, err)
	}
	_, err = COCO(nil, []Detection{{}})
	checkFormatError(t, err, "detections[0].image_id: 0 is not an image")
	err = CheckDetections("dt.json", nil, []Detection{{}})
	checkFormatError(t, err, "dt.json: detections[0].image_id: 0 is not an image")
}

// Neither the truths nor the detections are changed, so that one set can be
// measured again.
func TestCOCOKeepsItsInput(t *testing.T) {
	gt := &GroundTruth{
		Images:     []int64{2, 1},
		Categories: []Category{{ID: 9}, {ID: 3}},
		Truths:     []Truth{{ID: 1, Image: 2, Category: 9, Box: [4]float64{0, 0, 9, 9}, Area: 81}, {ID: 0, Image: 1, Category: 3, Box: [4]float64{0, 0, 9, 9}, Area: 81}},
	}
	dets := []Detection{{2, 9, [4]float64{0, 0, 9, 9}, .1}, {1, 3, [4]float64{0, 0, 9, 9}, .2}}
	if _, err := COCO(gt, dets); err != nil {
		t.Fatal(err)
	}
	if gt.Images[0] != 2 || gt.Categories[0].ID != 9 || gt.Truths[0].Image != 2 || dets[0].Score != .1 {
		t.Errorf("the input was reordered: %+v %+v", gt, dets)
	}
}

func BenchmarkCOCO(b *testing.B) {
	const dir = "cocoeval-fakebbox100"
	gt := readTruths(b, shared(b, "datasets", dir, "instances_val2014_100_bbox.json"))
	dets := readDets(b, shared(b, "datasets", dir, "instances_val2014_fakebbox100_results.json"))
	for b.Loop() {
		if _, err := COCO(gt, dets); err != nil {
			b.Fatal(err)
		}
	}
}
