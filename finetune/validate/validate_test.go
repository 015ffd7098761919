package validate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/datasets/batch"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/imagefile"
	"yoloprune/datasets/toy"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
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

// TestImageIsRun: an image alone gives what it gives in a batch, by every fit.
func TestImageIsRun(t *testing.T) {
	_, set := scenes(t)
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: 3, Width: 0.125, InputW: 128, InputH: 96})
	if err != nil {
		t.Fatal(err)
	}
	if err := zoo.InitWeights(g, 7); err != nil {
		t.Fatal(err)
	}
	net, err := engine.NewInference(g, engine.Options{Batch: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	var all [][]head.Detection
	for _, fit := range []batch.Fit{{}, {Resize: batch.Darknet}, {Letterbox: true}, {Resize: batch.Darknet, Letterbox: true}} {
		o := settings
		o.Fit = fit
		v, err := New(set, 128, 96, o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Run(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		img, err := imagefile.Read(set.Sample(4).Path)
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		got, err := Image(g, net, img, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r.Images[4], got, cmpopts.EquateApprox(1e-4, 1e-4)); d != "" || len(got) == 0 {
			t.Errorf("%+v: %d detections: %s", fit, len(got), d)
		}
		all = append(all, got)
	}
	for i := range all {
		for k := range i {
			if cmp.Equal(all[i], all[k]) {
				t.Errorf("fits %d and %d find the same, so the test shows nothing", k, i)
			}
		}
	}
}

func TestProtocol(t *testing.T) {
	g := network(t, 3)
	heads := g.Heads()
	heads[0].Yolo().NMSKind, heads[1].Yolo().NMSKind = "greedynms", "diounms"
	for _, c := range []struct {
		o    Options
		want Protocol
	}{
		{Options{Conf: .1, NMS: .2, MaxDet: 3}, Protocol{[2]int{64, 64}, .1, .2, "default", 3, "bilinear", false}},
		{Options{NMSKind: "greedynms", Fit: batch.Fit{Resize: "area"}}, Protocol{[2]int{64, 64}, 0, 0, "greedynms", 0, "area", false}},
		{Options{NMSKind: "auto", Fit: batch.Fit{Resize: "darknet", Letterbox: true}}, Protocol{[2]int{64, 64}, 0, 0, "diounms", 0, "darknet", true}},
	} {
		if got := c.o.Protocol(g); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.o, got, c.want)
		}
	}
}

// TestEvaluator: the detections are those of the network, the rules those asked for.
func TestEvaluator(t *testing.T) {
	_, set := scenes(t)
	g := network(t, 3)
	for _, o := range []eval.Options{{}, {Exact: true}, {Protocol: eval.ProtocolVOC07}, {Protocol: eval.ProtocolDarknet, Points: 11}} {
		all := settings
		all.Eval = o
		v, err := New(set, 64, 64, all)
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Run(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := eval.Measure(set.GroundTruth(), r.Detections, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, r.Result); d != "" || len(r.Detections) == 0 {
			t.Errorf("%+v: %d detections: %s", o, len(r.Detections), d)
		}
		if len(r.Truth.Truths) != len(set.GroundTruth().Truths) {
			t.Errorf("%+v: measured against %d truths", o, len(r.Truth.Truths))
		}
	}
}

func TestBadOptions(t *testing.T) {
	_, set := scenes(t)
	for want, change := range map[string]func(*Options){
		`kind of resize "cubic"`:     func(o *Options) { o.Fit.Resize = "cubic" },
		`kind of suppression "soft"`: func(o *Options) { o.NMSKind = "soft" },
		"confidence threshold 2":     func(o *Options) { o.Conf = 2 },
		"suppression threshold -1":   func(o *Options) { o.NMS = -1 },
		"limit of -5 detections":     func(o *Options) { o.MaxDet = -5 },
		`protocol "pascal"`:          func(o *Options) { o.Eval.Protocol = "pascal" },
	} {
		o := settings
		change(&o)
		if _, err := New(set, 64, 64, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
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
