package darknet

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"yoloprune/yolo/graph"
)

// shared returns a path in the folder of published models beside the
// repository, and skips the test when there is none.
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

// publishedCfgs has, for every cfg in shared/cfg, the size of its weights file:
// that of the published file where one exists.
var publishedCfgs = []struct {
	name  string
	bytes int64 // 0: only that it decodes
}{
	{"csresnext50-panet-spp", 228123400},
	{"enet-coco", 19233100},
	{"yolov3", 248007048},
	{"yolov3-spp", 252209544},
	{"yolov3-tiny", 35434956},
	{"yolov3-tiny-prn", 19759052},
	{"yolov3-tiny_3l", 0},
	{"yolov3_5l", 0},
	{"yolov4", 257717640},
	{"yolov4-csp", 211944840},
	{"yolov4-csp-s-mish", 33164680},
	{"yolov4-csp-swish", 211944840},
	{"yolov4-csp-x-swish", 399388168},
	{"yolov4-custom", 257717640},
	{"yolov4-p5", 283669892},
	{"yolov4-p6", 510868180},
	{"yolov4-sam-mish-csp-reorg-bfm", 246251912},
	{"yolov4-tiny", 24251276},
	{"yolov4-tiny-3l", 25336200},
	{"yolov4-tiny-custom", 24251276},
	{"yolov4-tiny_contrastive", 0},
	{"yolov4x-mish", 399388168},
	{"yolov7", 147898248},
	{"yolov7-tiny", 24967560},
	{"yolov7x", 285638760},
}

func TestPublishedCfgs(t *testing.T) {
	for _, c := range publishedCfgs {
		t.Run(c.name, func(t *testing.T) {
			g, warnings, err := Load(shared(t, "cfg", c.name+".cfg"), "")
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				if !strings.Contains(w.Msg, "the channels that both have are added") && !strings.Contains(w.Msg, "is no key of [yolo]") {
					t.Errorf("published cfg has a warning: %v", w)
				}
			}
			if got := longHeader + 4*total(arrays(g)); c.bytes != 0 && got != c.bytes {
				t.Errorf("weights file of %d bytes, want %d", got, c.bytes)
			}
			checkRoundTrip(t, g)
		})
	}
}

// ignoreLines leaves out what a written cfg cannot keep: the line numbers.
var ignoreLines = cmp.Options{
	cmpopts.IgnoreFields(graph.Node{}, "Line"), cmpopts.IgnoreFields(graph.Option{}, "Line"), cmpopts.EquateEmpty(),
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// checkRoundTrip writes the cfg of g and reads it back: it must be the same
// graph, and the same text when written again.
func checkRoundTrip(t fataler, g *graph.Graph) {
	t.Helper()
	var text bytes.Buffer
	if err := Encode(&text, g); err != nil {
		t.Fatalf("encode: %v", err)
	}
	back, _, err := Decode("back.cfg", bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatalf("decode what was encoded: %v\n%s", err, text.Bytes())
	}
	bare := g.Clone()
	for _, n := range bare.Nodes {
		n.Weights = nil
	}
	if diff := cmp.Diff(bare, back, ignoreLines); diff != "" {
		t.Fatalf("graph changed:\n%s", diff)
	}
	var again bytes.Buffer
	if err := Encode(&again, back); err != nil || !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Fatalf("text changed (%v)", err)
	}
}

// publishedModels are those of shared/models, with the image count of their
// headers.
var publishedModels = []struct {
	name   string
	floats int64
	seen   uint64
}{
	{"mobilenetv2-yolo-fastest-voc-v2", 209864, 7323136},
	{"mobilenetv2-yolo-fastest-voc", 191214, 2836864},
	{"mobilenetv2-yolov3-nano-coco", 891070, 14547712},
	{"yolo-fastest-1.0", 356406, 8000000},
	{"yolo-fastest-1.1-body", 294396, 13326656},
	{"yolo-fastest-1.1-xl", 923486, 16000000},
	{"yolo-fastest-1.1", 346062, 14231680},
	{"yoloface-500k-v2", 104624, 7871728},
	{"yoloface-500k", 130140, 1697280},
	{"yoloface-50k", 11248, 504704},
}

func TestPublishedWeights(t *testing.T) {
	for _, m := range publishedModels {
		t.Run(m.name, func(t *testing.T) {
			base := filepath.Join(shared(t, "models", m.name), m.name)
			raw, err := os.ReadFile(base + ".weights")
			if err != nil {
				t.Skip(err)
			}
			g, _, err := Load(base+".cfg", "")
			if err != nil {
				t.Fatal(err)
			}
			h, err := DecodeWeights(base+".weights", bytes.NewReader(raw), g)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Header{0, 2, 5, m.seen}); h != want {
				t.Errorf("header %v, want %v", h, want)
			}
			if got := total(arrays(g)); got != m.floats {
				t.Errorf("%d floats, want %d", got, m.floats)
			}
			var out bytes.Buffer
			if err := EncodeWeights(&out, g, h.Seen); err != nil || !bytes.Equal(out.Bytes(), raw) {
				t.Errorf("written weights differ from the file (%v)", err)
			}
			checkRoundTrip(t, g)
		})
	}
}
