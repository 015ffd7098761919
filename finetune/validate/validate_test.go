package validate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/datasets/coco"
	"yoloprune/datasets/toy"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

func scenes(t *testing.T) (dir string, set *coco.Set) {
	t.Helper()
	dir = t.TempDir()
	if err := toy.Write(dir, toy.Options{Images: 26, Seed: 3, Width: 64, Height: 64}); err != nil {
		t.Fatal(err)
	}
	set, err := coco.Load(filepath.Join(dir, "annotations", "train.json"), filepath.Join(dir, "images"), coco.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dir, set
}

func network(t *testing.T, classes int) *graph.Graph {
	t.Helper()
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: classes, Width: 0.125, InputW: 64, InputH: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	return g
}

var settings = Options{Batch: 5, Threads: 1, Conf: 0.0001, NMS: 0.6, MaxDet: 20}

// TestBatchesDoNotMatter: the last, partial batch and the size of the batch
// change nothing.
func TestBatchesDoNotMatter(t *testing.T) {
	_, set := scenes(t)
	g := network(t, 3)
	var first *Result
	for _, batch := range []int{1, 3, 7, 1000} {
		o := settings
		o.Batch = batch
		v, err := New(set, 64, 64, o)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		r, err := v.Run(g, func(done, total int) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if last != set.Len() || r.Skipped != 0 || len(r.Images) != set.Len() {
			t.Errorf("batch %d: %d images done, %d skipped, %d listed, want all %d", batch, last, r.Skipped, len(r.Images), set.Len())
		}
		if first == nil {
			first = r
			if len(r.Detections) == 0 {
				t.Fatal("the network finds nothing, so the test shows nothing")
			}
			continue
		}
		if len(r.Detections) != len(first.Detections) || abs(r.AP-first.AP) > 1e-6 {
			t.Errorf("batch %d: %d detections with AP %g, batch 1 has %d with %g", batch, len(r.Detections), r.AP, len(first.Detections), first.AP)
		}
	}
}

func abs(x float64) float64 { return max(x, -x) }

func TestUnreadableImage(t *testing.T) {
	_, set := scenes(t)
	bad := set.Sample(2)
	b, err := os.ReadFile(bad.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad.Path, b[:len(b)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	v, err := New(set, 64, 64, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Run(network(t, 3), nil); err == nil || !strings.Contains(err.Error(), filepath.Base(bad.Path)) {
		t.Errorf("error %v, want one that names %s", err, bad.Path)
	}
	o := settings
	o.SkipBad = true
	if v, err = New(set, 64, 64, o); err != nil {
		t.Fatal(err)
	}
	r, err := v.Run(network(t, 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	truths := 0
	for _, c := range r.PerClass {
		truths += c.Truths
	}
	if want := len(set.GroundTruth().Truths) - len(bad.Boxes); r.Skipped != 1 || truths != want {
		t.Errorf("%d skipped and %d truths counted, want 1 and %d", r.Skipped, truths, want)
	}
}

func TestClassesMustAgree(t *testing.T) {
	_, set := scenes(t)
	v, err := New(set, 64, 64, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Run(network(t, 5), nil); err == nil || !strings.Contains(err.Error(), "filters=24") {
		t.Errorf("error %v, want one that gives the right number of filters, 24", err)
	}
}

func TestWithout(t *testing.T) {
	gt := &eval.GroundTruth{Images: []int64{1, 2, 3}, Truths: []eval.Truth{{ID: 1, Image: 1}, {ID: 2, Image: 2}, {ID: 3, Image: 1}}}
	got := without(gt, map[int64]bool{1: true})
	if len(got.Images) != 2 || len(got.Truths) != 1 || got.Truths[0].ID != 2 {
		t.Errorf("without image 1: %+v", got)
	}
}
