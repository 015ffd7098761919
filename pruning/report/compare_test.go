package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image/png"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	a, b := runFolder(t, "bn-scale"), runFolder(t, "taylor")
	edit(t, filepath.Join(b, "val", "finetuned", "metrics.json"), func(m map[string]any) {
		m["macs"], m["flops"], m["AP50"] = 203400000, 406800000, .871
	})
	out := filepath.Join(t.TempDir(), "comparison")
	if err := Compare([]*Run{load(t, a), load(t, b)}, out); err != nil {
		t.Fatal(err)
	}
	files := readAll(t, out)

	rows, err := csv.NewReader(bytes.NewReader(files["report.csv"])).ReadAll()
	if err != nil || len(rows) != 1+2*6 {
		t.Fatalf("report.csv: %d rows, error %v; want 13", len(rows), err)
	}
	if diff := cmp.Diff(append([]string{"run"}, csvHeader...), rows[0]); diff != "" {
		t.Error(diff)
	}
	if rows[11][0] != "taylor" || rows[11][1] != "finetuned" || rows[11][7] != "0.871" {
		t.Errorf("row 11 is %q", rows[11])
	}

	var all struct {
		Runs []struct {
			Experiment string
			Stages     []struct{ Name string }
		}
	}
	if err := json.Unmarshal(files["report.json"], &all); err != nil || len(all.Runs) != 2 || len(all.Runs[1].Stages) != 6 {
		t.Errorf("report.json: %+v, error %v", all, err)
	}

	list := elements(t, files["report.html"])
	// 406.8 of 1017 MFLOPs are 40 %.
	if want := "−60 % FLOPs, −76 % parameters, AP50 0.866 → 0.871, test AP50 0.863 → 0.831"; !has(texts(list, "dd"), want) {
		t.Errorf("the page lacks %q: %q", want, texts(list, "dd"))
	}
	if _, err := png.Decode(bytes.NewReader(files["map_vs_flops.png"])); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(files["report.md"], []byte("| taylor: finetuned | 352.3 k (-76 %) |")) {
		t.Errorf("report.md:\n%s", files["report.md"])
	}
}

func TestCompareNothing(t *testing.T) {
	if err := Compare(nil, t.TempDir()); err == nil {
		t.Error("no error")
	}
}

func TestCompareWarns(t *testing.T) {
	a, b, young := runFolder(t, "a"), runFolder(t, "b"), filepath.Join(t.TempDir(), "young")
	edit(t, filepath.Join(b, "env.json"), func(m map[string]any) { m["cpu"] = "Another CPU" })
	for _, s := range exampleStages {
		edit(t, filepath.Join(b, "val", s.name, "metrics.json"), func(m map[string]any) {
			m["input"], m["images"], m["protocol"] = []int{416, 416}, 300, map[string]any{"evaluator": "voc07"}
		})
	}
	writeText(t, filepath.Join(young, "train", "results.csv"), "epoch,loss\n1,2\n")
	c := &comparison{runs: []*Run{load(t, a), load(t, young), load(t, b)}, names: []string{"a", "young", "b"}}
	want := []string{
		"young: no stage was measured.",
		"a and b were evaluated under different protocols: their precisions do not compare.",
		"a and b were measured on different numbers of images: their precisions do not compare.",
		"a and b have different input sizes: a precision at one cost is not one at the other.",
		"a and b ran on different processors: their latencies do not compare.",
	}
	if diff := cmp.Diff(want, c.warnings()); diff != "" {
		t.Error(diff)
	}
	if p := c.panel(&light, 0); strings.Contains(p.X.Label.Text, " at ") {
		t.Errorf("axis %q names one input size for two", p.X.Label.Text)
	}
}

func TestUniqueNames(t *testing.T) {
	runs := []*Run{
		{Name: "cells", Dir: "runs/cells"}, {Name: "cells", Dir: "runs/cells-2"},
		{Name: "hands", Dir: "runs/x"}, {Name: "cells", Dir: "old/cells"},
	}
	want := []string{"cells", "cells-2", "hands", "cells (2)"}
	if diff := cmp.Diff(want, uniqueNames(runs)); diff != "" {
		t.Error(diff)
	}
}
