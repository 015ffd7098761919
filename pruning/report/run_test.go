package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// runFolder makes a run folder as the pipeline leaves it: yolov4-tiny at half
// width on three classes of blood cells, with a test split and a scratch
// control. Tests take from it or break what they need.
func runFolder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	writeText(t, filepath.Join(dir, "resolved.yaml"), `name: `+name+`
seed: 1
model: {arch: yolov4-tiny, width: 0.5, input: [320, 320]}
prune: {criterion: bn-scale, strategy: greedy, target: {flops: 0.7, params: 0}, align: 8}
`)
	writeText(t, filepath.Join(dir, "env.json"), `{"go":"go1.26.8","os":"linux/amd64","cpu":"Example CPU @ 2.50GHz","threads":2,
 "versions":{"opencv":"4.6.0","onednn":"2.6.3"},"seed":1,"started":"2026-08-01T09:30:00Z"}`)
	writeTraining(t, filepath.Join(dir, "train"), 60, 0.866, 0)
	writeTraining(t, filepath.Join(dir, "sparsify"), 20, 0.85, 0.61)
	writeTraining(t, filepath.Join(dir, "finetune"), 20, 0.861, 0)
	writeJSON(t, filepath.Join(dir, "sparsify", "gammas.json"), exampleGammas())
	writeJSON(t, filepath.Join(dir, "prune", "layers.json"), exampleLayers())
	for i, s := range exampleStages {
		stage := filepath.Join(dir, "val", s.name)
		writeJSON(t, filepath.Join(stage, "metrics.json"), s.metrics(s.ap50, s.ap, 87))
		writeJSON(t, filepath.Join(stage, "test.json"), s.metrics(s.testAP50, s.testAP, 36))
		for n := range 3 {
			writeSample(t, filepath.Join(stage, "samples", fmt.Sprintf("%d.jpg", n)), uint64(n), i)
		}
	}
	return dir
}

type exampleStage struct {
	name                       string
	params, macs               int64
	ap50, ap, testAP50, testAP float64
	latency                    float64
}

var exampleStages = []exampleStage{
	{"baseline", 1476096, 508500000, .866, .572, .863, .552, 24.31},
	{"sparsified", 1476096, 508500000, .852, .498, .827, .509, 24.12},
	{"pruned", 352252, 147500000, .304, .117, .294, .116, 11.74},
	{"recalibrated", 352252, 147500000, .702, .308, .580, .260, 11.81},
	{"finetuned", 352252, 147500000, .861, .561, .831, .534, 11.69},
	{"scratch", 352252, 147500000, .843, .514, .806, .469, 11.72},
}

func (s exampleStage) metrics(ap50, ap float64, images int) map[string]any {
	return map[string]any{
		"stage": s.name, "params": s.params, "macs": s.macs, "flops": 2 * s.macs, "bytes": 20 + 4*s.params + 9000,
		"AP": ap, "AP50": ap50, "AP75": part(ap, .95), "APs": -1, "APm": part(ap, .8), "APl": part(ap, 1.1),
		"AR1": part(ap, .5), "AR10": part(ap, .9), "AR100": part(ap, 1.1), "ARs": -1, "ARm": ap, "ARl": part(ap, 1.2),
		"classes":   map[string]float64{"Platelets": part(ap, .7), "RBC": ap, "WBC": part(ap, 1.3)},
		"classes50": map[string]float64{"Platelets": part(ap50, .95), "RBC": ap50, "WBC": part(ap50, 1.15)},
		"protocol": map[string]any{"evaluator": "coco", "conf": 0.001, "nms": 0.65, "nms_kind": "default", "max_det": 100,
			"input": []int{320, 320}, "resize": "stretch"},
		"latency_ms": s.latency, "latency_runs": 50, "threads": 2, "input": []int{320, 320}, "images": images,
	}
}

// part keeps an undefined precision undefined.
func part(v, factor float64) float64 {
	if v < 0 {
		return -1
	}
	return min(v*factor, .99)
}

// exampleGammas start around one; sparsity training draws two thirds of them
// to zero.
func exampleGammas() Gammas {
	r := rand.New(rand.NewPCG(1, 2))
	var g Gammas
	for layer, n := range []int{16, 32, 32, 16, 16, 32, 64, 32, 32, 64, 128, 64, 64, 128, 256, 128, 256, 64, 128} {
		before, after := make([]float64, n), make([]float64, n)
		for i := range n {
			before[i] = 1 + .18*r.NormFloat64()
			after[i] = .012 * r.ExpFloat64()
			if r.Float64() < .36 {
				after[i] = math.Abs(.38 + .14*r.NormFloat64())
			}
		}
		g.Before = append(g.Before, LayerGamma{layer, before})
		g.After = append(g.After, LayerGamma{layer, after})
	}
	return g
}

func exampleLayers() []Layer {
	widths := []int{16, 32, 32, 0, 16, 16, 0, 32, 0, 0, 64, 0, 32, 32, 0, 64, 0, 0, 128, 0, 64, 64, 0, 128, 0, 0, 256, 128, 256, 24, 0, 0, 64, 0, 0, 128, 24, 0}
	r := rand.New(rand.NewPCG(3, 4))
	layers := make([]Layer, len(widths))
	for i, n := range widths {
		l := Layer{Index: i, Type: "convolutional", Before: n, MACsBefore: int64(n) * 210000, ParamsBefore: int64(n) * 900}
		keep := .2 + .6*r.Float64()
		switch {
		case n == 0:
			l.Type, l.Before, keep = "route", 64, 1
		case n == 24:
			l.Protected, keep = "feeds a yolo head", 1
		}
		l.After = max(int(keep*float64(l.Before))/8*8, min(8, l.Before))
		l.MACsAfter = l.MACsBefore * int64(l.After) / int64(l.Before)
		l.ParamsAfter = l.ParamsBefore * int64(l.After) / int64(l.Before)
		layers[i] = l
	}
	return layers
}

func writeTraining(t *testing.T, dir string, epochs int, top, sparse float64) {
	t.Helper()
	var b strings.Builder
	b.WriteString("epoch,lr,loss,box,obj,class,AP,AP50,near_zero,seconds\n")
	r := rand.New(rand.NewPCG(5, 6))
	for e := 1; e <= epochs; e++ {
		x := float64(e) / float64(epochs)
		lr := .002 * (.02 + .98*(1+math.Cos(math.Pi*x))/2) * min(1, float64(e)/3)
		box, obj, class := .6+1.8*math.Exp(-4*x)+.05*r.Float64(), .4+3*math.Exp(-6*x)+.05*r.Float64(), .1+.9*math.Exp(-7*x)
		ap50, ap := "", ""
		if e%2 == 0 || e == epochs {
			v := top * (1 - math.Exp(-5*x))
			ap50, ap = fmt.Sprint(v), fmt.Sprint(v*.64)
		}
		fmt.Fprintf(&b, "%d,%g,%g,%g,%g,%g,%s,%s,%g,%g\n", e, lr, box+obj+class, box, obj, class, ap, ap50, sparse*x, 4.3+.2*r.Float64())
	}
	writeText(t, filepath.Join(dir, "results.csv"), b.String())
}

// writeSample draws a few discs with boxes around them.
func writeSample(t *testing.T, path string, seed uint64, variant int) {
	t.Helper()
	const w, h = 320, 240
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = uint8(225 + i%4*5)
	}
	r := rand.New(rand.NewPCG(seed, 7))
	for range 7 {
		x, y, radius := 30+r.IntN(w-60), 30+r.IntN(h-60), 12+r.IntN(16)
		for dy := -radius - 2; dy <= radius+2; dy++ {
			for dx := -radius - 2; dx <= radius+2; dx++ {
				switch {
				case dx*dx+dy*dy < radius*radius:
					img.Set(x+dx, y+dy, color.RGBA{200, 110, 130, 255})
				case max(dx, -dx, dy, -dy) == radius+2:
					img.Set(x+dx+variant, y+dy, color.RGBA{20, 90, 220, 255})
				}
			}
		}
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		t.Fatal(err)
	}
	writeText(t, path, buf.String())
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, path, string(data))
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit rewrites a JSON object of the run folder.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	change(v)
	writeJSON(t, path, v)
}

func load(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoad(t *testing.T) {
	r := load(t, runFolder(t, "bccd-yolov4-tiny"))
	var names []string
	for _, s := range r.Stages {
		names = append(names, s.Name)
		if s.Test == nil || len(s.Samples) != 3 {
			t.Errorf("%s: test %v, %d samples; want a test split and 3 samples", s.Name, s.Test, len(s.Samples))
		}
	}
	if got, want := strings.Join(names, " "), "baseline sparsified pruned recalibrated finetuned scratch"; got != want {
		t.Errorf("stages %q, want %q", got, want)
	}
	if len(r.Missing) != 0 {
		t.Errorf("missing %v, want nothing", r.Missing)
	}
	if len(r.Targets) != 1 || r.Targets[0] != (Target{1, "flops", 0.7}) {
		t.Errorf("targets %v, want flops 0.7 alone", r.Targets)
	}
	if len(r.Training) != 3 || len(r.Training[0].Epochs) != 60 {
		t.Errorf("%d training stages, want 3 with 60 epochs in the first", len(r.Training))
	}
}

func TestLoadListsWhatWasNotRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "young")
	writeText(t, filepath.Join(dir, "train", "results.csv"), "epoch,loss\n1,2.5\n")
	r := load(t, dir)
	if r.Name != "young" {
		t.Errorf("name %q, want the folder's", r.Name)
	}
	want := "resolved.yaml env.json sparsify/results.csv finetune/results.csv sparsify/gammas.json prune/layers.json " +
		"val/baseline/metrics.json val/sparsified/metrics.json val/pruned/metrics.json val/recalibrated/metrics.json val/finetuned/metrics.json"
	if got := strings.Join(r.Missing, " "); got != want {
		t.Errorf("missing\n%s, want\n%s", got, want)
	}
}

func TestLoadOrdersUnknownStagesLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for _, name := range []string{"quantised", "scratch", "pruned", "baseline", "extra"} {
		s := exampleStages[0]
		s.name = name
		writeJSON(t, filepath.Join(dir, "val", name, "metrics.json"), s.metrics(.5, .3, 1))
	}
	writeText(t, filepath.Join(dir, "val", "notes.txt"), "a file, no stage")
	var names []string
	for _, s := range load(t, dir).Stages {
		names = append(names, s.Name)
	}
	if got, want := strings.Join(names, " "), "baseline pruned scratch extra quantised"; got != want {
		t.Errorf("stages %q, want %q", got, want)
	}
}

// Two cuts: the second one's folders and stages carry its number.
func TestLoadSeveralCuts(t *testing.T) {
	dir := runFolder(t, "run")
	writeText(t, filepath.Join(dir, "resolved.yaml"), "prune:\n- target: {flops: 0.7}\n- target: {params: 0.25}\n")
	for _, from := range []exampleStage{
		{"pruned-2", 264189, 100000000, .4, .2, .4, .2, 9},
		{"finetuned-2", 264189, 100000000, .84, .5, .8, .5, 9},
		{"finetuned-10", 264189, 100000000, .84, .5, .8, .5, 9},
	} {
		writeJSON(t, filepath.Join(dir, "val", from.name, "metrics.json"), from.metrics(from.ap50, from.ap, 87))
	}
	writeTraining(t, filepath.Join(dir, "finetune-2"), 5, .8, 0)
	writeTraining(t, filepath.Join(dir, "scratch"), 6, .8, 0)
	writeJSON(t, filepath.Join(dir, "prune", "layers.json"), []Layer{
		{Type: "convolutional", Before: 32, After: 16, MACsBefore: 320, MACsAfter: 160, ParamsBefore: 64, ParamsAfter: 32}})
	writeJSON(t, filepath.Join(dir, "prune-2", "layers.json"), []Layer{
		{Type: "convolutional", Before: 16, After: 8, MACsBefore: 160, MACsAfter: 80, ParamsBefore: 32, ParamsAfter: 16, Protected: "x"}})

	r := load(t, dir)
	var names, folders []string
	for _, s := range r.Stages {
		names = append(names, s.Name)
	}
	for _, s := range r.Training {
		folders = append(folders, s.Stage)
	}
	if got, want := strings.Join(names, " "), "baseline sparsified pruned recalibrated finetuned pruned-2 finetuned-2 finetuned-10 scratch"; got != want {
		t.Errorf("stages %q, want %q", got, want)
	}
	if got, want := strings.Join(folders, " "), "train sparsify finetune finetune-2 scratch"; got != want {
		t.Errorf("training %q, want %q", got, want)
	}
	want := Layer{Type: "convolutional", Before: 32, After: 8, MACsBefore: 320, MACsAfter: 80, ParamsBefore: 64, ParamsAfter: 16, Protected: "x"}
	if len(r.Layers) != 1 || r.Layers[0] != want {
		t.Errorf("layers %+v, want %+v", r.Layers, want)
	}
	// 147.5 of 508.5 MMACs are 29 %; 264189 of 352252 parameters are 75 %.
	if got, want := fmt.Sprint(r.reached()), "[{cut 1, flops asked -70.0 %, reached -71.0 %} {cut 2, params asked -25.0 %, reached -25.0 %}]"; got != want {
		t.Errorf("reached %s, want %s", got, want)
	}
	if r.Final().Name != "finetuned-10" {
		t.Errorf("final stage %s, want finetuned-10", r.Final().Name)
	}
}

func TestLoadCutsThatDoNotFollow(t *testing.T) {
	for _, c := range []struct {
		second []Layer
		want   string
	}{
		{[]Layer{}, "0 layers; expected 1 as in the cut before it"},
		{[]Layer{{Type: "convolutional", Before: 24, After: 8}}, "layer 0: convolutional with 24 channels before the cut; expected convolutional with 16"},
		{[]Layer{{Type: "route", Before: 16, After: 8}}, "layer 0: route with 16 channels"},
	} {
		dir := runFolder(t, "run")
		writeJSON(t, filepath.Join(dir, "prune", "layers.json"), []Layer{{Type: "convolutional", Before: 32, After: 16}})
		writeJSON(t, filepath.Join(dir, "prune-2", "layers.json"), c.second)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "prune-2/layers.json: "+c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// A block of layers 2 and 3 goes; a route that stands for it is in the network
// that the second cut reads, and is no layer of the first.
func TestLoadCutsAfterABlock(t *testing.T) {
	conv := func(i, before, after int) Layer {
		return Layer{Index: i, Type: "convolutional", Before: before, After: after}
	}
	route := func(i, channels int) Layer { return Layer{Index: i, Type: "route", Before: channels, After: channels} }
	gone := func(l Layer) Layer { l.After = 0; return l }
	first := []Layer{conv(0, 8, 8), conv(1, 4, 4), gone(route(2, 8)), gone(conv(3, 8, 8)), route(4, 8), conv(5, 6, 5)}
	for _, c := range []struct {
		what   string
		second []Layer
		want   []Layer
		err    string
	}{
		{"no route", []Layer{conv(0, 8, 7), conv(1, 4, 3), route(2, 8), conv(3, 5, 2)},
			[]Layer{conv(0, 8, 7), conv(1, 4, 3), gone(route(2, 8)), gone(conv(3, 8, 8)), route(4, 8), conv(5, 6, 2)}, ""},
		{"a route like the one behind it", []Layer{conv(0, 8, 7), conv(1, 4, 3), route(2, 8), route(3, 8), conv(4, 5, 2)},
			[]Layer{conv(0, 8, 7), conv(1, 4, 3), gone(route(2, 8)), gone(conv(3, 8, 8)), route(4, 8), conv(5, 6, 2)}, ""},
		{"a route of other channels", []Layer{conv(0, 8, 7), route(1, 4), conv(2, 4, 3), route(3, 8), conv(4, 5, 2)},
			[]Layer{conv(0, 8, 7), conv(1, 4, 3), gone(route(2, 8)), gone(conv(3, 8, 8)), route(4, 8), conv(5, 6, 2)}, ""},
		{"too few", []Layer{conv(0, 8, 7), conv(1, 4, 3), conv(2, 5, 2)}, nil, "3 layers; expected 4 as in the cut before it"},
		{"a convolution more", []Layer{conv(0, 8, 7), conv(1, 4, 3), conv(2, 8, 8), route(3, 8), conv(4, 5, 2)}, nil,
			"layer 2: convolutional with 8 channels before the cut; expected route with 8"},
		{"a convolution behind the last", []Layer{conv(0, 8, 7), conv(1, 4, 3), route(2, 8), conv(3, 5, 2), conv(4, 5, 2)}, nil,
			"layer 4: convolutional; expected no more layers"},
	} {
		dir := runFolder(t, "run")
		writeJSON(t, filepath.Join(dir, "prune", "layers.json"), first)
		writeJSON(t, filepath.Join(dir, "prune-2", "layers.json"), c.second)
		r, err := Load(dir)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), "prune-2/layers.json: "+c.err) {
				t.Errorf("%s: error %v, want one with %q", c.what, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else if diff := cmp.Diff(c.want, r.Layers); diff != "" {
			t.Errorf("%s: want - got +:\n%s", c.what, diff)
		}
	}
}

func TestRankOfOddNames(t *testing.T) {
	for _, name := range []string{"pruned-1", "pruned-02", "pruned--2", "baseline-2", "scratch-2", "pruned-2-3", "pruned-1000000", ""} {
		if (Stage{Name: name}).step() {
			t.Errorf("%q is taken for a step", name)
		}
	}
}

func TestLoadRefusesWhatIsNoRunFolder(t *testing.T) {
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "file"), "x")
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		filepath.Join(dir, "file"): "expected a run folder",
		dir:                        "expected a run folder",
	} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s): %v, want an error with %q", path, err, want)
		}
	}
}

func TestLoadBrokenFiles(t *testing.T) {
	metrics := func(change func(map[string]any)) string {
		v := exampleStages[0].metrics(.8, .5, 87)
		change(v)
		data, _ := json.Marshal(v)
		return string(data)
	}
	set := func(key string, value any) string {
		return metrics(func(v map[string]any) { v[key] = value })
	}
	const base = "val/baseline/metrics.json"
	for _, c := range []struct{ file, text, want string }{
		{"resolved.yaml", "name: [", "resolved.yaml: "},
		{"env.json", "[1]", "env.json:1: top level: found a array"},
		{"env.json", "{\n\"a\": 1,\n}", "env.json:3: not valid JSON"},
		{"sparsify/gammas.json", `{"before": 3}`, "before: found a number"},
		{"prune/layers.json", `[{"index":4,"before":8,"after":9}]`, "layer 4: 8 channels before and 9 after"},
		{"prune/layers.json", `[{"index":4,"before":8.5}]`, "layers.json:1:"},
		{base, "", "not valid JSON"},
		{base, `{"stage":"baseline"`, "not valid JSON"},
		{base, "null", "params: missing"},
		{base, metrics(func(v map[string]any) { delete(v, "AP50") }), "AP50: missing; expected a number"},
		{base, set("stage", "pruned"), `stage: "pruned"; expected "baseline"`},
		{base, set("AP", 1.5), "AP: 1.5; expected 0 to 1, or -1 for undefined"},
		{base, set("APs", -0.5), "APs: -0.5; expected"},
		{base, set("classes", map[string]float64{"RBC": 2}), "classes.RBC: 2; expected"},
		{base, set("flops", 508500000), "flops: 508500000; expected 2 x macs = 2 x 508500000"},
		{base, set("params", -1), "params: -1; expected 0 or more"},
		{base, set("params", "many"), "params: found a string"},
		{base, set("latency_ms", -2), "latency_ms: -2; expected 0 or more"},
		{"val/baseline/test.json", `{"AP50": 0.5}`, "test.json: AP: missing"},
		{"train/results.csv", "", "results.csv: empty"},
		{"train/results.csv", "step,loss\n", `results.csv:1: columns "step,loss"; expected one named epoch`},
		{"train/results.csv", "epoch,loss\n1,2\n2,x\n", `results.csv:3: loss: "x"; expected a number`},
		{"train/results.csv", "epoch,loss\n1.5,2\n", `results.csv:2: epoch: "1.5"; expected a whole number`},
		{"train/results.csv", "epoch,loss\n1\n", "results.csv:2: wrong number of fields"},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		writeJSON(t, filepath.Join(dir, base), exampleStages[0].metrics(.8, .5, 87))
		writeText(t, filepath.Join(dir, c.file), c.text)
		_, err := Load(dir)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s holding %.60q: error %v, want a FormatError with %q", c.file, c.text, err, c.want)
			continue
		}
		if format.File != filepath.Join(dir, c.file) {
			t.Errorf("%s: the error names %s", c.file, format.File)
		}
	}
}

func TestLoadRefusesAHugeFileUnread(t *testing.T) {
	dir := runFolder(t, "run")
	if err := os.Truncate(filepath.Join(dir, "prune", "layers.json"), maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "expected at most") {
		t.Errorf("error %v, want one about the size", err)
	}
}

func TestSamplesAreOrderedAndBounded(t *testing.T) {
	dir := runFolder(t, "run")
	samples := filepath.Join(dir, "val", "baseline", "samples")
	for n := 3; n <= maxSamples+1; n++ {
		writeSample(t, filepath.Join(samples, fmt.Sprintf("%d.jpg", n)), 1, 0)
	}
	writeText(t, filepath.Join(samples, "notes.txt"), "no image")
	s := load(t, dir).Stage("baseline")
	if len(s.Samples) != maxSamples || s.Skipped != 3 {
		t.Errorf("%d samples and %d skipped, want %d and 3", len(s.Samples), s.Skipped, maxSamples)
	}
	if got := s.Samples[10].Name; got != "10.jpg" {
		t.Errorf("eleventh sample %s, want 10.jpg", got)
	}
	if got := s.Samples[0]; got.Width != 320 || got.Height != 240 || got.MIME != "image/jpeg" {
		t.Errorf("sample %dx%d %s, want 320x240 image/jpeg", got.Width, got.Height, got.MIME)
	}
}

func TestParseResultsKeepsGaps(t *testing.T) {
	epochs, err := parseResults("results.csv", []byte("epoch,lr,loss,AP,AP50,extra\n1,0.1,NaN,,-1,7\n2,0.2,1e300,0.25,0.5,\n"))
	if err != nil {
		t.Fatal(err)
	}
	for column, want := range map[string][]xy{
		"lr":   {{1, 0.1}, {2, 0.2}},
		"loss": nil,
		"AP":   {{2, 0.25}},
		"AP50": {{2, 0.5}},
		"box":  nil,
	} {
		if got := series(epochs, column); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", column, got, want)
		}
	}
}

func FuzzParseResults(f *testing.F) {
	f.Add([]byte("epoch,lr,loss,box,obj,class,AP,AP50,near_zero,seconds\n1,0.1,2,1,1,1,,,0,4\n"))
	f.Add([]byte("epoch,loss\n1,\"2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		epochs, err := parseResults("results.csv", data)
		if err != nil {
			return
		}
		for _, p := range panels(epochs) {
			for _, line := range newSVGChart(p).Lines {
				if strings.Contains(line.Path, "NaN") || strings.Contains(line.Path, "Inf") {
					t.Fatalf("path %s", line.Path)
				}
			}
		}
	})
}

func FuzzParseMetrics(f *testing.F) {
	data, _ := json.Marshal(exampleStages[0].metrics(.8, -1, 87))
	f.Add(data)
	f.Add([]byte(`{"AP": -1, "AP50": 0.5, "classes": null, "protocol": [1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMetrics("metrics.json", data, "baseline", "AP", "AP50")
		if err != nil {
			return
		}
		r := &Run{Name: "fuzz", Stages: []Stage{{Name: "baseline", Val: *m}}}
		if _, err := indented(r.summary()); err != nil {
			t.Fatal(err)
		}
		if r.Markdown() == "" || len(r.classTables()) > 2 {
			t.Fatal("no text, or tables of a split that is not there")
		}
	})
}

// FuzzGammas feeds any scales to the histograms.
func FuzzGammas(f *testing.F) {
	f.Add([]byte(`{"before":[{"layer":0,"gamma":[1,-1]}],"after":[{"layer":0,"gamma":[0,1e300]},{"layer":7,"gamma":[]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var g Gammas
		if decodeJSON("gammas.json", data, &g) != nil {
			return
		}
		overall, layers, bound := gammaHistograms(&g)
		for _, h := range append(layers, overall) {
			if text := h.Before + h.After + bound; strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Fatalf("%+v, bound %s", h, bound)
			}
		}
	})
}

func FuzzLayers(f *testing.F) {
	data, _ := json.Marshal(exampleLayers())
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		layers, err := parseLayers("layers.json", data)
		if err != nil {
			return
		}
		if v := newLayersView(layers); len(v.Rows)+v.Others != len(layers) {
			t.Fatalf("%d rows and %d others of %d layers", len(v.Rows), v.Others, len(layers))
		}
	})
}

// keys lists a JSON object's keys.
func keys(v map[string]any) string {
	return fmt.Sprint(sortedKeys(maps.Collect(func(yield func(string, float64) bool) {
		for k := range v {
			if !yield(k, 0) {
				return
			}
		}
	})))
}
