package zoo

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

func build(t *testing.T, o Options) *graph.Graph {
	t.Helper()
	return buildArch(t, "yolov4-tiny", o)
}

func buildArch(t *testing.T, arch string, o Options) *graph.Graph {
	t.Helper()
	g, err := Build(arch, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func shared(t *testing.T, path ...string) string {
	t.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no published models: %v", err)
	}
	return full
}

// 1476096 parameters and 1017.0 MFLOPs were counted with PyTorch on the same
// network.
func TestHalfWidth(t *testing.T) {
	c := cost.Of(build(t, Options{Classes: 3, Width: .5, InputW: 320, InputH: 320}))
	if c.Params() != 1476096 {
		t.Errorf("%d parameters, want 1476096", c.Params())
	}
	if f := math.Round(float64(c.FLOPs())/1e5) / 10; f != 1017.0 {
		t.Errorf("%.1f MFLOPs, want 1017.0", f)
	}
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		n     int
		width float64
		want  int
	}{
		{64, 1, 64}, {64, .5, 32}, {32, .01, 2}, {64, .3, 20}, // 9.6 rounds to 10
		{32, .15625, 4}, // 2.5 rounds to the even 2, as in Python
		{32, .21875, 8}, // 3.5 rounds to 4
		{256, 1.25, 320},
	} {
		b := builder{Options: Options{Width: c.width}}
		if got := b.filters(c.n); got != c.want {
			t.Errorf("%d filters at width %v: %d, want %d", c.n, c.width, got, c.want)
		}
	}
}

func TestBuildForAnyInputAndClasses(t *testing.T) {
	for _, o := range []Options{
		{Classes: 1, InputW: 32, InputH: 32}, {Classes: 3, InputW: 640, InputH: 352, Width: .1}, {Classes: 200, InputW: 64, InputH: 96, Width: 1.3},
	} {
		g := build(t, o)
		heads := g.Heads()
		if len(heads) != 2 {
			t.Fatalf("%d heads", len(heads))
		}
		for i, stride := range []int{32, 16} {
			want := graph.Shape{C: 3 * (5 + o.Classes), H: o.InputH / stride, W: o.InputW / stride}
			if heads[i].Out != want {
				t.Errorf("%+v: head %d is %v, want %v", o, i, heads[i].Out, want)
			}
		}
	}
}

func TestTrainingLength(t *testing.T) {
	for classes, want := range map[int][2]string{
		1: {"6000", "4800,5400"}, 3: {"6000", "4800,5400"}, 20: {"40000", "32000,36000"},
	} {
		g := build(t, Options{Classes: classes, InputW: 32, InputH: 32})
		length, _ := graph.Lookup(g.Net.Options, "max_batches")
		steps, _ := graph.Lookup(g.Net.Options, "steps")
		if got := [2]string{length, steps}; got != want {
			t.Errorf("%d classes: %v, want %v", classes, got, want)
		}
	}
}

var ownAnchors = [][2]float64{{5, 5}, {8, 9}, {12, 10.5}, {20, 22}, {40, 30}, {60, 80}}

// Published anchors keep the published masks; one's own are each used once.
func TestTinyAnchors(t *testing.T) {
	for _, c := range []struct {
		anchors      [][2]float64
		coarse, fine []int
	}{
		{nil, []int{3, 4, 5}, []int{1, 2, 3}},
		{ownAnchors, []int{3, 4, 5}, []int{0, 1, 2}},
	} {
		heads := build(t, Options{Classes: 2, InputW: 64, InputH: 64, Anchors: c.anchors}).Heads()
		for i, want := range [][]int{c.coarse, c.fine} {
			y := heads[i].Yolo()
			if !slices.Equal(y.Mask, want) {
				t.Errorf("head %d has mask %v, want %v", i, y.Mask, want)
			}
			if c.anchors != nil && !slices.Equal(y.Anchors, c.anchors) {
				t.Errorf("head %d has anchors %v", i, y.Anchors)
			}
		}
		heads[0].Yolo().Anchors[0][0] = 1234
		if heads[1].Yolo().Anchors[0][0] == 1234 || tinyAnchors[0][0] == 1234 || ownAnchors[0][0] == 1234 {
			t.Error("anchors are shared")
		}
	}
}

func TestBuildErrors(t *testing.T) {
	good := Options{Classes: 3, Width: 1, InputW: 416, InputH: 416}
	for _, c := range []struct {
		name, arch string
		change     func(*Options)
		want       string
	}{
		{"arch", "resnet", func(*Options) {}, `unknown architecture "resnet": there is yolov3, yolov3-spp, yolov3-tiny, yolov4, yolov4-csp, yolov4-tiny, yolov7, yolov7-tiny`},
		{"arch typo", "YOLOv4tiny", func(*Options) {}, `(did you mean yolov4-tiny?)`},
		{"classes", "", func(o *Options) { o.Classes = 0 }, "classes 0: want 1 to 10000"},
		{"many classes", "", func(o *Options) { o.Classes = 10001 }, "classes 10001"},
		{"width", "", func(o *Options) { o.Width = -.5 }, "width -0.5: want a multiplier above 0"},
		{"width nan", "", func(o *Options) { o.Width = math.NaN() }, "width NaN"},
		{"width large", "", func(o *Options) { o.Width = 9 }, "width 9"},
		{"input", "", func(o *Options) { o.InputW = 400 }, "input 400x416: both sides must be multiples of 32"},
		{"height", "", func(o *Options) { o.InputH = 0 }, "input 416x0"},
		{"huge", "", func(o *Options) { o.InputH = 8224 }, "input 416x8224"},
		{"few anchors", "", func(o *Options) { o.Anchors = ownAnchors[:5] }, "5 anchors: yolov4-tiny has two heads of three, so it wants 6"},
		{"anchors of a tiny", "yolov7-tiny", func(o *Options) { o.Anchors = ownAnchors }, "6 anchors: yolov7-tiny has three heads of three, so it wants 9"},
		{"anchors of a large", "yolov3-tiny", func(o *Options) { o.Anchors = yolov3Anchors }, "9 anchors: yolov3-tiny has two heads of three, so it wants 6"},
		{"no anchors", "", func(o *Options) { o.Anchors = [][2]float64{} }, "0 anchors"},
		{"unsorted", "", func(o *Options) { o.Anchors = [][2]float64{{3, 3}, {2, 2}} }, "anchor 1 is smaller than the one before"},
		{"flat anchor", "", func(o *Options) { o.Anchors = [][2]float64{{3, 0}} }, "anchor 0 is 3x0"},
		{"nan anchor", "", func(o *Options) { o.Anchors = [][2]float64{{3, math.NaN()}} }, "anchor 0 is 3xNaN"},
	} {
		o := good
		c.change(&o)
		if c.arch == "" {
			c.arch = "yolov4-tiny"
		}
		g, err := Build(c.arch, o)
		if g != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// A built network survives being written as Darknet.
func TestDarknetRoundTrip(t *testing.T) {
	g := build(t, Options{Classes: 3, Width: .25, InputW: 96, InputH: 64, Anchors: ownAnchors})
	if err := InitWeights(g, 1); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, weights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
	if err := darknet.Save(cfg, weights, g); err != nil {
		t.Fatal(err)
	}
	back, warnings, err := darknet.Load(cfg, weights)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for i, n := range g.Nodes {
		if n.Weights != nil && !slices.Equal(n.Weights.Kernel, back.Nodes[i].Weights.Kernel) {
			t.Errorf("%v: kernel changed", n)
		}
		n.Weights, back.Nodes[i].Weights = nil, nil
	}
	back.Source = ""
	if diff := cmp.Diff(g, back, ignoreLines); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(weights)
	if err != nil || info.Size() != cost.Of(g).WeightsFileBytes() {
		t.Errorf("weights file has %d bytes, the table says %d (%v)", info.Size(), cost.Of(g).WeightsFileBytes(), err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
