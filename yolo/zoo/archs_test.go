package zoo

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// strides are those of the heads in the order of the layers.
var strides = map[string][]int{
	"yolov3": {32, 16, 8}, "yolov3-spp": {32, 16, 8}, "yolov3-tiny": {32, 16},
	"yolov4": {8, 16, 32}, "yolov4-csp": {8, 16, 32}, "yolov4-tiny": {32, 16},
	"yolov7": {8, 16, 32}, "yolov7-tiny": {8, 16, 32},
}

// fataler is what *testing.T and *rapid.T share.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// checkHeads holds a network's heads against its options: sizes, classes, and
// every anchor used once, the smallest ones by the finest head.
func checkHeads(t fataler, arch string, o Options, g *graph.Graph) {
	t.Helper()
	heads := g.Heads()
	if len(heads) != len(strides[arch]) {
		t.Fatalf("%s: %d heads", arch, len(heads))
	}
	for i, h := range heads {
		stride := strides[arch][i]
		want := graph.Shape{C: 3 * (5 + o.Classes), H: o.InputH / stride, W: o.InputW / stride}
		if h.Out != want || h.Yolo().Classes != o.Classes {
			t.Fatalf("%s, %+v: head %d is %v of %d classes, want %v", arch, o, i, h.Out, h.Yolo().Classes, want)
		}
	}
	if o.Anchors == nil {
		return
	}
	slices.SortFunc(heads, func(a, b *graph.Node) int { return cmp.Compare(b.Out.W*b.Out.H, a.Out.W*a.Out.H) })
	var used []int
	for _, h := range heads {
		used = append(used, h.Yolo().Mask...)
		if !slices.Equal(h.Yolo().Anchors, o.Anchors) {
			t.Fatalf("%s: a head has anchors %v", arch, h.Yolo().Anchors)
		}
	}
	for i, a := range used {
		if a != i {
			t.Fatalf("%s: masks from fine to coarse are %v", arch, used)
		}
	}
}

func TestArchsBuildNarrow(t *testing.T) {
	for _, arch := range Archs() {
		for _, width := range []float64{.25, .5} {
			for _, classes := range []int{1, 3, 80} {
				for _, input := range [][2]int{{64, 96}, {320, 320}} {
					o := Options{Classes: classes, Width: width, InputW: input[0], InputH: input[1]}
					checkHeads(t, arch, o, buildArch(t, arch, o))
				}
			}
		}
	}
}

// drawOptions draws good options; the smallest input is one cell of the coarse
// head.
func drawOptions(t *rapid.T, arch string) Options {
	o := Options{
		Classes: rapid.IntRange(1, 100).Draw(t, "classes"),
		Width:   rapid.Float64Range(.001, 1.5).Draw(t, "width"),
		InputW:  32 * rapid.IntRange(1, 20).Draw(t, "columns"),
		InputH:  32 * rapid.IntRange(1, 20).Draw(t, "rows"),
	}
	if rapid.Bool().Draw(t, "own anchors") {
		for range Anchors(arch) {
			o.Anchors = append(o.Anchors, [2]float64{rapid.Float64Range(1, 500).Draw(t, "w"), rapid.Float64Range(1, 500).Draw(t, "h")})
		}
		slices.SortFunc(o.Anchors, func(a, b [2]float64) int { return cmp.Compare(a[0]*a[1], b[0]*b[1]) })
	}
	return o
}

// Any good options give a network whose heads follow them, with even channels
// wherever batch norms are, the layers of the published one, and no fewer
// parameters than a narrower one.
func TestAnyOptions(t *testing.T) {
	for _, arch := range Archs() {
		t.Run(arch, rapid.MakeCheck(func(t *rapid.T) {
			o := drawOptions(t, arch)
			g, err := Build(arch, o)
			if err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			checkHeads(t, arch, o, g)
			for _, n := range g.Convs() {
				if c := n.Conv(); c.BatchNorm && c.Filters%2 != 0 {
					t.Fatalf("%v has %d filters", n, c.Filters)
				}
			}
			narrow := o
			narrow.Width *= rapid.Float64Range(.1, 1).Draw(t, "narrower")
			sameLayers(t, g, narrow, arch)
		}))
	}
}

func sameLayers(t *rapid.T, g *graph.Graph, o Options, arch string) {
	narrow, err := Build(arch, o)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	for i, n := range g.Nodes {
		m := narrow.Nodes[i]
		if n.Op.Kind() != m.Op.Kind() || !slices.Equal(n.Inputs, m.Inputs) || n.Out.H != m.Out.H || n.Out.W != m.Out.W {
			t.Fatalf("%v of %v is %v of %v at width %v", n, n.Inputs, m, m.Inputs, o.Width)
		}
	}
	if a, b := cost.Of(narrow).Params(), cost.Of(g).Params(); a > b {
		t.Fatalf("%d parameters at width %v, %d when wider", a, o.Width, b)
	}
}

func TestParametersGrowWithWidth(t *testing.T) {
	for _, arch := range Archs() {
		var last int64
		for _, width := range []float64{.1, .25, .5, .75, 1, 1.25} {
			n := cost.Of(buildArch(t, arch, Options{Classes: 3, Width: width, InputW: 64, InputH: 64})).Params()
			if n <= last {
				t.Errorf("%s: %d parameters at width %v, %d at the one before", arch, n, width, last)
			}
			last = n
		}
	}
}

func TestAnchors(t *testing.T) {
	for arch, heads := range strides {
		if got := Anchors(arch); got != 3*len(heads) {
			t.Errorf("%s: %d anchors, want %d", arch, got, 3*len(heads))
		}
	}
	if got := Anchors("resnet"); got != 0 {
		t.Errorf("unknown architecture: %d anchors", got)
	}
}

// A built network can be changed without changing the next one.
func TestBuildsShareNothing(t *testing.T) {
	for _, arch := range Archs() {
		o := Options{Classes: 1, Width: .1, InputW: 32, InputH: 32}
		y := buildArch(t, arch, o).Heads()[1].Yolo()
		want := fmt.Sprint(y.Mask, y.Anchors)
		y.Mask[0], y.Anchors[0][0] = 99, 1234
		y = buildArch(t, arch, o).Heads()[1].Yolo()
		if got := fmt.Sprint(y.Mask, y.Anchors); got != want {
			t.Errorf("%s: %s, was %s", arch, got, want)
		}
	}
}

// Every built network survives being written as Darknet and read back, without
// a warning.
func TestArchsAsDarknet(t *testing.T) {
	for _, arch := range Archs() {
		g := buildArch(t, arch, Options{Classes: 3, Width: .1, InputW: 64, InputH: 96})
		if err := InitWeights(g, 1); err != nil {
			t.Fatal(err)
		}
		if err := g.CheckWeights(); err != nil {
			t.Fatal(err)
		}
		cfg, weights := filepath.Join(t.TempDir(), "m.cfg"), filepath.Join(t.TempDir(), "m.weights")
		if err := darknet.Save(cfg, weights, g); err != nil {
			t.Fatal(err)
		}
		back, warnings, err := darknet.Load(cfg, weights)
		if err != nil || len(warnings) > 0 {
			t.Fatal(err, warnings)
		}
		for i, n := range g.Nodes {
			if n.Weights != nil && !slices.Equal(n.Weights.Kernel, back.Nodes[i].Weights.Kernel) {
				t.Errorf("%s: kernel of %v changed", arch, n)
			}
		}
	}
}
