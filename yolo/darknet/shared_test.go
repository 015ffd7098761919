package darknet

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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

// publishedCfgs has, for every cfg in shared/cfg, the number of its layers, the
// size of its weights file (that of the published file where one exists) and
// the warnings that it causes.
var publishedCfgs = []struct {
	name     string
	layers   int
	bytes    int64
	warnings []string // line and start of the message
}{
	{"csresnext50-panet-spp", 138, 228123400, []string{"86: adds 64 channels to 128"}},
	{"enet-coco", 146, 19233100, []string{"1038: adds 576 channels to 128", "1054: adds 576 channels to 128"}},
	{"yolov3", 107, 248007048, nil},
	{"yolov3-spp", 114, 252209544, nil},
	{"yolov3-tiny", 24, 35434956, nil},
	{"yolov3-tiny-prn", 28, 19759052, []string{"166: adds 256 channels to 128", "182: adds 256 channels to 128"}},
	{"yolov3-tiny_3l", 31, 36039888, nil},
	{"yolov3_5l", 131, 249599104, nil},
	{"yolov4", 162, 257717640, nil},
	{"yolov4-csp", 175, 211944840, nil},
	{"yolov4-csp-s-mish", 112, 33164680, nil},
	{"yolov4-csp-swish", 176, 211944840, nil},
	{"yolov4-csp-x-swish", 204, 399388168, nil},
	{"yolov4-custom", 162, 257717640, nil},
	{"yolov4-p5", 244, 283669892, nil},
	{"yolov4-p6", 305, 510868180, nil},
	{"yolov4-sam-mish-csp-reorg-bfm", 216, 246251912, []string{
		"917: adds 2048 channels to 896", "1028: adds 896 channels to 512",
		"1156: uc_normalizer is no key of [yolo]", "1160: beta1 is no key of [yolo]", "1290: uc_normalizer is no key of [yolo]",
		"1294: beta1 is no key of [yolo]", "1424: uc_normalizer is no key of [yolo]", "1428: beta1 is no key of [yolo]",
	}},
	{"yolov4-tiny", 38, 24251276, nil},
	{"yolov4-tiny-3l", 45, 25336200, nil},
	{"yolov4-tiny-custom", 38, 24251276, nil},
	{"yolov4-tiny_contrastive", 55, 29561736, nil},
	{"yolov4x-mish", 203, 399388168, nil},
	{"yolov7", 143, 147898248, nil},
	{"yolov7-tiny", 99, 24967560, nil},
	{"yolov7x", 159, 285638760, nil},
}

func TestPublishedCfgs(t *testing.T) {
	for _, c := range publishedCfgs {
		t.Run(c.name, func(t *testing.T) {
			file := shared(t, "cfg", c.name+".cfg")
			g, warnings, err := Load(file, "")
			if err != nil {
				t.Fatal(err)
			}
			checkWarnings(t, file, warnings, c.warnings)
			if len(g.Nodes) != c.layers {
				t.Errorf("%d layers, want %d", len(g.Nodes), c.layers)
			}
			if got := longHeader + 4*total(arrays(g)); got != c.bytes {
				t.Errorf("weights file of %d bytes, want %d", got, c.bytes)
			}
			checkRoundTrip(t, g)
		})
	}
}

// ignoreText leaves out what a cfg written anew cannot keep: the text and the
// line numbers.
var ignoreText = cmp.Options{
	cmpopts.IgnoreFields(graph.Graph{}, "Source"), cmpopts.IgnoreFields(graph.Node{}, "Line", "Weights"),
	cmpopts.IgnoreFields(graph.Option{}, "Line"), cmpopts.EquateEmpty(),
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// checkRoundTrip writes the cfg of g anew and reads it back: it must be the
// same graph, and the same text when written again. A graph with a text gets
// that back.
func checkRoundTrip(t fataler, g *graph.Graph) {
	t.Helper()
	var text, again, same bytes.Buffer
	if err := EncodeCanonical(&text, g); err != nil {
		t.Fatalf("encode: %v", err)
	}
	back, _, err := Decode("back.cfg", bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatalf("decode what was encoded: %v\n%s", err, text.Bytes())
	}
	if len(g.Net.Options) == 0 { // writing anew adds some
		back.Net.Options = nil
	}
	if diff := cmp.Diff(g, back, ignoreText); diff != "" {
		t.Fatalf("graph changed:\n%s", diff)
	}
	if err := EncodeCanonical(&again, back); err != nil || !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Fatalf("text changed (%v)", err)
	}
	if g.Source == "" {
		return
	}
	if err := Encode(&same, g); err != nil || same.String() != g.Source {
		t.Fatalf("the text did not come back (%v):\n%s", err, cmp.Diff(g.Source, same.String()))
	}
}

// publishedModels are those of shared/models.
var publishedModels = []string{
	"mobilenetv2-yolo-fastest-voc", "mobilenetv2-yolo-fastest-voc-v2", "mobilenetv2-yolov3-nano-coco", "yolo-fastest-1.0",
	"yolo-fastest-1.1", "yolo-fastest-1.1-body", "yolo-fastest-1.1-xl", "yoloface-500k", "yoloface-500k-v2", "yoloface-50k",
}

// facts are what a model's facts.json says, which another program counted.
type facts struct {
	Input       [3]int         `json:"input"` // width, height, channels
	LayerTypes  map[string]int `json:"layer_types"`
	Activations map[string]int `json:"activations"` // of the convolutions
	Grouped     int            `json:"grouped_convolutions"`
	Weights     struct {
		Version [3]int32 `json:"version"`
		Seen    uint64   `json:"seen"`
		Floats  float64  `json:"floats"`
	} `json:"weights_file"`
}

func readFacts(t *testing.T, name string) facts {
	t.Helper()
	var f facts
	if err := json.Unmarshal([]byte(readFile(t, shared(t, "models", name, "facts.json"))), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// factsOf counts the same in a graph.
func factsOf(g *graph.Graph, h Header) facts {
	f := facts{Input: [3]int{g.Net.Width, g.Net.Height, g.Net.Channels}, LayerTypes: map[string]int{}, Activations: map[string]int{}}
	for _, n := range g.Nodes {
		f.LayerTypes[n.Op.Kind()]++
		if c := n.Conv(); c != nil {
			f.Activations[string(c.Activation)]++
			if c.Groups > 1 {
				f.Grouped++
			}
		}
	}
	f.Weights.Version, f.Weights.Seen, f.Weights.Floats = [3]int32{h.Major, h.Minor, h.Revision}, h.Seen, float64(total(arrays(g)))
	return f
}

func TestPublishedModels(t *testing.T) {
	for _, name := range publishedModels {
		t.Run(name, func(t *testing.T) {
			want := readFacts(t, name)
			base := filepath.Join(shared(t, "models", name), name)
			raw := []byte(readFile(t, base+".weights"))
			g, warnings, err := Load(base+".cfg", "")
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			h, err := DecodeWeights(base+".weights", bytes.NewReader(raw), g)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, factsOf(g, h)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			var out bytes.Buffer
			if err := EncodeWeights(&out, g, h.Seen); err != nil || !bytes.Equal(out.Bytes(), raw) {
				t.Errorf("written weights differ from the file (%v)", err)
			}
			checkRoundTrip(t, g)
		})
	}
}

// TestPartialSizes has the sizes of the partial files that people start from:
// the first three are those of the published files.
func TestPartialSizes(t *testing.T) {
	for _, c := range []struct {
		cfg    string
		layers int
		bytes  int64
	}{
		{"yolov4", 137, 170038676}, {"yolov4-tiny", 29, 19789716}, {"yolov3", 74, 162482580},
		{"yolov4-csp", 142, 146548116}, {"yolov7", 132, 121266068}, {"yolov7-tiny", 87, 17843092},
	} {
		g, _, err := Load(shared(t, "cfg", c.cfg+".cfg"), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := longHeader + 4*total(before(arrays(g), c.layers)); got != c.bytes {
			t.Errorf("%s: the first %d layers take %d bytes, want %d", c.cfg, c.layers, got, c.bytes)
		}
		if layers, exact := layersIn(arrays(g), c.bytes-longHeader); !exact || layers > c.layers {
			t.Errorf("%s: %d bytes are %d layers (%v), want %d", c.cfg, c.bytes, layers, exact, c.layers)
		}
	}
}
