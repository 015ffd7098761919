package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Each file of testdata/bad begins with the mistakes that it must be told,
// all of them and in order.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			want := wanted(t, file)
			e, err := Load(file, nil)
			if e != nil {
				t.Error("an experiment came with the error")
			}
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got error %v, want an *Error", err)
			}
			if diff := cmp.Diff(want, strings.Split(bad.Error(), "\n")); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
}

func wanted(t *testing.T, file string) []string {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(src)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: ")
		if !ok {
			break
		}
		if text[0] >= '0' && text[0] <= '9' {
			want = append(want, file+":"+text)
		} else {
			want = append(want, file+": "+text)
		}
	}
	return want
}

var ignoreDoc = cmpopts.IgnoreUnexported(Experiment{})

const minimal = `
model: {arch: yolov4-tiny}
data: {format: toy}
train: {}
`

func parse(t *testing.T, src string, overrides ...string) *Experiment {
	t.Helper()
	e, err := Parse("some/dir/exp-1.yaml", []byte(src), overrides)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestDefaults(t *testing.T) {
	e := parse(t, minimal)
	if e.Name != "exp-1" || e.Seed != 1 {
		t.Errorf("name %q seed %d, want exp-1 and 1", e.Name, e.Seed)
	}
	want := Model{Arch: "yolov4-tiny", Width: 1, Input: Size{416, 416}, Anchors: Anchors{Kind: "published"}}
	if diff := cmp.Diff(want, e.Model); diff != "" {
		t.Errorf("model, want - got +:\n%s", diff)
	}
	if e.Train == nil || e.Sparsify != nil || e.Prune != nil || e.Finetune != nil || e.Export != nil || e.Report != nil {
		t.Errorf("a stage that is left out must not run: %+v", e)
	}
	images, annotations := e.Data.Val.Paths("set")
	if images != "set/images" || annotations != "set/annotations/val.json" {
		t.Errorf("toy val split lies at %s and %s", images, annotations)
	}
}

func TestLaterStagesInherit(t *testing.T) {
	e := parse(t, `
model: {arch: yolov4-tiny}
data: {format: toy}
train: {epochs: 40, lr: 0.01, batch: 4, schedule: steps, loss: {box: 7}, ema: 0.5, patience: 7, keep: best}
sparsify: {epochs: 8, schedule: decay, loss: {obj: 2}}
finetune: {ema: 0.9}
prune: {target: {ratio: 0.5}}
`)
	s, f := e.Sparsify, e.Finetune
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"sparsify epochs", s.Epochs, 8},
		{"sparsify lr", s.LR, 0.01},
		{"sparsify learning-rate schedule", s.LRSchedule, "steps"},
		{"sparsify penalty schedule", s.Schedule, "decay"},
		{"sparsify strength", s.Strength, 1e-3},
		{"sparsify box gain", s.Loss.Box, 7.0},
		{"sparsify obj gain", s.Loss.Obj, 2.0},
		{"sparsify warm-up, a tenth of 8 epochs", s.WarmupEpochs, 0.8},
		{"sparsify patience", s.Patience, 0},
		{"sparsify keeps", s.Keep, "last"},
		{"finetune patience", f.Patience, 7},
		{"finetune keeps", f.Keep, "best"},
		{"finetune drop alarm", f.DropAlarm, 0.05},
		{"train drop alarm", e.Train.DropAlarm, 0.0},
		{"greedy compares by layer", e.Prune[0].Normalize, "layer"},
		{"train obj gain", e.Train.Loss.Obj, 1.0},
		{"finetune epochs", f.Epochs, 40},
		{"finetune lr, half of train's", f.LR, 0.005},
		{"finetune batch", f.Batch, 4},
		{"finetune schedule", f.LRSchedule, "steps"},
		{"finetune ema", f.EMA, 0.9},
		{"train ema", e.Train.EMA, 0.5},
		{"cuts", len(e.Prune), 1},
		{"cut's recalibration", e.Prune[0].Recalibrate, 200},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestForms(t *testing.T) {
	e := parse(t, `
model: {arch: yolov4-tiny, input: 96, anchors: [[1, 2], [3.5, 4]]}
data: {format: toy}
train: {epochs: 1e2, mosaic: true, flip: false, flip_vertical: 0.25}
prune:
  - {target: {flops: 0.5}, strategy: global}
  - {target: {params: 0.2}, skip: [3, 4], align: 1}
`)
	want := Anchors{"list", [][2]float64{{1, 2}, {3.5, 4}}}
	if diff := cmp.Diff(want, e.Model.Anchors); diff != "" {
		t.Errorf("anchors, want - got +:\n%s", diff)
	}
	if e.Model.Input != (Size{96, 96}) || e.Train.Epochs != 100 {
		t.Errorf("input %v, epochs %d", e.Model.Input, e.Train.Epochs)
	}
	if e.Train.Mosaic != 0.5 || e.Train.Flip != 0 || e.Train.FlipVertical != 0.25 {
		t.Errorf("chances %v %v %v, want 0.5 0 0.25", e.Train.Mosaic, e.Train.Flip, e.Train.FlipVertical)
	}
	if e.Prune[0].Normalize != "none" {
		t.Errorf("global compares by %s, want none", e.Prune[0].Normalize)
	}
	if len(e.Prune) != 2 || e.Prune[0].Align != 8 || e.Prune[1].Align != 1 || len(e.Prune[1].Skip) != 2 {
		t.Errorf("cuts %+v", e.Prune)
	}
}

func TestOverrides(t *testing.T) {
	t.Setenv("YOLOPRUNE_TRAIN_LR", "0.03")
	t.Setenv("YOLOPRUNE_TRAIN_BATCH", "16")
	t.Setenv("YOLOPRUNE_FINETUNE_EPOCHS", "5")
	t.Setenv("YOLOPRUNE_MODEL_INPUT", "[64, 96]")
	e := parse(t, minimal+"sparsify: {}\n",
		"train.lr=0.05", "train.lr=0.04", "sparsify=null", "prune.0.target.flops=.5", "prune[0].align=4",
		"data.skip_bad=true", "train.loss={box: 2}", "model.weights=a=b.weights", "train.hsv=[0, 0, 0]", "export=[darknet]")
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"the last override before the environment", e.Train.LR, 0.04},
		{"the environment before the file", e.Train.Batch, 16},
		{"a list in the environment", e.Model.Input, Size{64, 96}},
		{"the environment starts no stage", e.Finetune == nil, true},
		{"null takes a stage out", e.Sparsify == nil, true},
		{"an override starts a stage", len(e.Prune), 1},
		{"the same cut by index", e.Prune[0].Align, 4},
		{"bool", e.Data.SkipBad, true},
		{"a section as a flow mapping", e.Train.Loss.Box, 2.0},
		{"only the first = separates", e.Model.Weights, "a=b.weights"},
		{"a list", e.Train.HSV, [3]float64{}},
		{"a list of words", e.Export[0], "darknet"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestBadOverrides(t *testing.T) {
	cuts := minimal + "prune: [{target: {flops: 0.1}}, {target: {flops: 0.2}}]\n"
	for _, c := range []struct{ src, override, want string }{
		{minimal, "train.lrr=1", `override "train.lrr=1": train.lrr: unknown key; did you mean "lr"?`},
		{minimal, "train", `override "train": not of the form key=value, as in train.lr=0.01`},
		{minimal, "train..lr=1", `override "train..lr=1": not of the form key=value, as in train.lr=0.01`},
		{minimal, "train.lr=[", `override "train.lr=[": train.lr: value is not YAML: did not find expected node content`},
		{minimal, "train=&a {loss: *a}", `override "train=&a {loss: *a}": train: value has an anchor that contains itself`},
		{minimal, "train.lr=fast", `override "train.lr=fast": train.lr: "fast" is not a number`},
		{minimal, "seed.x=1", `override "seed.x=1": seed: a mapping is not a whole number from 0 on`},
		{cuts, "prune.align=4", `override "prune.align=4": prune.align: this is a list of 2; put the item's number before "align"`},
		{cuts, "prune.2.align=4", `override "prune.2.align=4": prune.2.align: there is no item 2; the list has 2`},
		{cuts, "prune.1.target.flops=2", `override "prune.1.target.flops=2": prune[1].target.flops: 2 is not in (0, 1)`},
	} {
		_, err := Parse("e.yaml", []byte(c.src), []string{c.override})
		if err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestBadEnvironment(t *testing.T) {
	t.Setenv("YOLOPRUNE_TRAIN_LR", "much")
	t.Setenv("YOLOPRUNE_TRAIN_BATHC", "3")
	t.Setenv("YOLOPRUNE_SOMETHING_ELSE", "not ours")
	_, err := Parse("e.yaml", []byte(minimal), nil)
	want := `environment YOLOPRUNE_TRAIN_BATHC: sets no key; did you mean "YOLOPRUNE_TRAIN_BATCH"?
environment YOLOPRUNE_TRAIN_LR: train.lr: "much" is not a number`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// An override below an alias must not reach the place that the alias stands for.
func TestOverrideOfAlias(t *testing.T) {
	e := parse(t, `
model: {arch: yolov4-tiny}
data: {format: toy}
train: &t {epochs: 7, loss: {box: 2}}
prune: {target: {flops: 0.5}}
finetune: *t
`, "finetune.epochs=9", "finetune.loss.box=5")
	if e.Train.Epochs != 7 || e.Finetune.Epochs != 9 || e.Train.Loss.Box != 2 || e.Finetune.Loss.Box != 5 {
		t.Errorf("epochs %d and %d, want 7 and 9; box %v and %v, want 2 and 5",
			e.Train.Epochs, e.Finetune.Epochs, e.Train.Loss.Box, e.Finetune.Loss.Box)
	}
}

func TestErrorf(t *testing.T) {
	e := parse(t, "model: {arch: yolov4-tiny, weights: a.weights}\ndata:\n  format: toy\n", "val.conf=0.1")
	for path, want := range map[string]string{
		"model.weights": "some/dir/exp-1.yaml:1:37: model.weights: is not there",
		"data.root":     "some/dir/exp-1.yaml:3:3: data.root: is not there",
		"val.conf":      `override "val.conf=0.1": val.conf: is not there`,
		"report.html":   "some/dir/exp-1.yaml: report.html: is not there",
	} {
		if got := e.Errorf(path, "is not %s", "there").Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The file that a run writes must give the same run again.
func TestMarshalRoundTrip(t *testing.T) {
	for _, file := range []string{"toy.yaml", "bccd-yolov4-tiny.yaml", "testdata/every_key.yaml"} {
		t.Run(file, func(t *testing.T) {
			e, err := Load(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, e)
		})
	}
}

func roundTrip(t *testing.T, e *Experiment) {
	t.Helper()
	out, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("resolved.yaml", out, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff(e, again, ignoreDoc, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("written - read +:\n%s\n%s", diff, out)
	}
}

// The example of DESIGN.md, whose key names are a contract.
func TestDesignExample(t *testing.T) {
	_, err := Load("testdata/design.yaml", nil)
	var bad *Error
	if !errors.As(err, &bad) || len(bad.Diagnostics) != 1 || bad.Diagnostics[0].Key != "export[1]" {
		t.Fatalf("only export onnx may be refused, got %v", err)
	}
	e, err := Load("testdata/design.yaml", []string{"export=[darknet]"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Train.Mosaic != 0.5 || e.Sparsify.Schedule != "decay" || e.Prune[0].Target.FLOPs != 0.6 || !e.Report.ScratchControl {
		t.Errorf("read as %+v", e)
	}
}

func TestDefaultIsTheToyExperiment(t *testing.T) {
	e, err := Parse("toy.yaml", Default, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.Data.Format != "toy" || e.Train == nil || len(e.Prune) == 0 || e.Report == nil {
		t.Errorf("not a whole run: %+v", e)
	}
	if string(e.Source()) != string(Default) {
		t.Error("Source is not the file as given")
	}
}

func TestLoadWithoutFile(t *testing.T) {
	if _, err := Load("testdata/none.yaml", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a not-exist error", err)
	}
}

func TestTooLong(t *testing.T) {
	_, err := Parse("e.yaml", make([]byte, maxSource+1), nil)
	if err == nil || !strings.Contains(err.Error(), "too many for an experiment") {
		t.Errorf("got %v", err)
	}
}

func TestManyMistakesAreCut(t *testing.T) {
	src := minimal
	for i := range 80 {
		src += "key_" + strconv.Itoa(i) + ": 1\n"
	}
	_, err := Parse("e.yaml", []byte(src), nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxDiagnostics+1 || lines[maxDiagnostics] != "e.yaml: 30 more mistakes" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range append(files, "toy.yaml", "bccd-yolov4-tiny.yaml", "testdata/every_key.yaml") {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src), "train.lr=0.1")
	}
	f.Add(minimal, "prune[0].target={flops: 0.5}")
	f.Add("a: &a [*a]", "a.b=&x [*x]")
	f.Fuzz(func(t *testing.T, src, override string) {
		e, err := Parse("fuzz.yaml", []byte(src), []string{override})
		var bad *Error
		switch {
		case err == nil:
			roundTrip(t, e)
		case !errors.As(err, &bad) || len(bad.Diagnostics) == 0:
			t.Errorf("error %v is not a list of mistakes", err)
		}
	})
}
