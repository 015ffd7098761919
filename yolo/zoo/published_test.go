package zoo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

var ignoreLines = cmp.Options{
	cmpopts.IgnoreFields(graph.Node{}, "Line"), cmpopts.IgnoreFields(graph.Option{}, "Line"), cmpopts.EquateEmpty(),
}

// published has the input size of the published cfgs, and the size of the
// published weights files.
var published = []struct {
	arch  string
	input int
	bytes int64
}{
	{"yolov3", 416, 248007048},
	{"yolov3-spp", 608, 252209544},
	{"yolov3-tiny", 416, 35434956},
	{"yolov4", 608, 257717640},
	{"yolov4-csp", 512, 211944840},
	{"yolov4-tiny", 416, 24251276},
	{"yolov7", 640, 147898248},
	{"yolov7-tiny", 416, 24967560},
}

// The built networks are the published ones, layer by layer: operations, links,
// shapes and carried options.
func TestBuiltAsPublished(t *testing.T) {
	for _, c := range published {
		t.Run(c.arch, func(t *testing.T) {
			got, err := Build(c.arch, Options{Classes: 80, InputW: c.input, InputH: c.input})
			if err != nil {
				t.Fatal(err)
			}
			if size := cost.Of(got).WeightsFileBytes(); size != c.bytes {
				t.Errorf("weights file of %d bytes, published %d", size, c.bytes)
			}
			want, _, err := darknet.Load(shared(t, "cfg", c.arch+".cfg"), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Nodes, got.Nodes, ignoreLines); diff != "" {
				t.Errorf("published (-), built (+):\n%s", diff)
			}
			if want.InputShape() != got.InputShape() {
				t.Errorf("input %v, published %v", got.InputShape(), want.InputShape())
			}
			compareNets(t, c.arch, want.Net, got.Net)
		})
	}
	if len(published) != len(Archs()) {
		t.Errorf("%d of %d architectures compared", len(published), len(Archs()))
	}
}

// otherwise are the [net] keys that differ from the published ones: the length
// depends on the classes, YOLOv3's cfgs hold the batch for testing and name
// that for training in a comment, and letter_box is in the way of mosaic.
func otherwise(arch, key string) bool {
	switch key {
	case "max_batches", "steps":
		return true
	case "batch", "subdivisions":
		return arch == "yolov3" || arch == "yolov3-spp" || arch == "yolov3-tiny"
	case "letter_box":
		return arch == "yolov4-csp"
	}
	return false
}

func compareNets(t *testing.T, arch string, want, got graph.Net) {
	t.Helper()
	settings := func(n graph.Net) map[string]string {
		m := map[string]string{}
		for _, o := range n.Options {
			if !otherwise(arch, o.Key) {
				m[o.Key] = o.Value
			}
		}
		return m
	}
	if diff := cmp.Diff(settings(want), settings(got)); diff != "" {
		t.Errorf("[net]: published (-), built (+):\n%s", diff)
	}
}

// Darknet exits at the start of training with letter_box and mosaic.
func TestNetsCanBeTrained(t *testing.T) {
	for _, arch := range Archs() {
		n := buildArch(t, arch, Options{Classes: 1, Width: .1, InputW: 32, InputH: 32}).Net
		if _, ok := graph.Lookup(n.Options, "letter_box"); ok {
			t.Errorf("%s has letter_box", arch)
		}
		if batch, _ := graph.Lookup(n.Options, "batch"); batch == "1" || batch == "" {
			t.Errorf("%s has batch %q, which is for testing", arch, batch)
		}
	}
}
