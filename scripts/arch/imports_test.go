package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// may says what the packages of a folder and of those below it may import from
// this module. The longest folder that fits a package holds. Everything stands
// on yolo/graph; a package imports only what stands left of it in
//
//	graph < {darknet, zoo, onnx, cost, head, eval}
//	graph < depgraph < importance < plan < surgery
//	graph, engine/mask < engine/ref, engine/onednn < engine
//	head, eval < datasets
//	engine, head, eval, datasets < finetune
//	cost, eval, plan < report
//
// and only cmd imports configs. A package of no folder here is an error: say
// where it stands.
var may = map[string][]string{
	"yolo/graph":         {},
	"yolo/darknet":       {"yolo/graph"},
	"yolo/zoo":           {"yolo/graph"},
	"yolo/onnx":          {"yolo/graph"},
	"yolo/cost":          {"yolo/graph"},
	"yolo/head":          {"yolo/graph"},
	"yolo/eval":          {"yolo/graph"},
	"yolo/engine":        {"yolo/graph", "yolo/engine"},
	"yolo/engine/mask":   {},
	"yolo/engine/ref":    {"yolo/graph", "yolo/engine/mask"},
	"yolo/engine/onednn": {"yolo/graph"},
	"pruning/depgraph":   {"yolo/graph"},
	"pruning/importance": {"yolo/graph", "pruning/depgraph"},
	"pruning/plan":       {"yolo/graph", "pruning/depgraph", "pruning/importance"},
	"pruning/surgery":    {"yolo/graph", "pruning/depgraph", "pruning/importance", "pruning/plan"},
	"pruning/compress":   {"yolo/graph"},
	"pruning/report":     {"yolo/graph", "yolo/cost", "yolo/eval", "pruning/plan"},
	"pruning/internal":   {"yolo/graph", "yolo/zoo"},
	"datasets":           {"yolo/head", "yolo/eval", "datasets"},
	"finetune":           {"yolo/graph", "yolo/engine", "yolo/head", "yolo/eval", "datasets", "finetune"},
	"configs":            {},
	"cmd":                {"cmd", "configs", "datasets", "finetune", "pruning", "yolo"},
	"scripts":            {"datasets", "finetune", "pruning", "yolo"},
}

// within says in which folders alone a module, or a package of this one, may
// be imported, because the others must not know of it.
var within = map[string][]string{
	"gorgonia.org":                 {"yolo/engine"},
	"github.com/vbauerster":        {"cmd/yoloprune/internal/term"},
	"github.com/spf13/cobra":       {"cmd"},
	"github.com/spf13/viper":       {"configs"},
	"yoloprune/yolo/engine/ref":    {"yolo/engine"},
	"yoloprune/yolo/engine/onednn": {"yolo/engine", "cmd", "scripts"},
}

const module = "yoloprune/"

type pkg struct {
	ImportPath, Dir   string
	GoFiles, CgoFiles []string
	Imports, Deps     []string
	Error             *struct{ Err string }
}

func (p *pkg) path() string { return strings.TrimPrefix(p.ImportPath, module) }

// packages lists the module's packages as go list sees them, tests left out.
func packages(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports,Deps,Error", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		all = append(all, p)
	}
}

// under says whether a path is a folder or lies below it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// rule returns the longest folder of the table that holds a path.
func rule(path string) (folder string, ok bool) {
	for f := range may {
		if under(path, f) && len(f) > len(folder) {
			folder, ok = f, true
		}
	}
	return folder, ok
}

func TestImportOrder(t *testing.T) {
	for _, p := range packages(t) {
		folder, ok := rule(p.path())
		if !ok {
			t.Errorf("%s: no rule says what it may import; add its folder to the table", p.path())
			continue
		}
		for _, imported := range p.Imports {
			other, inModule := strings.CutPrefix(imported, module)
			if inModule && !slices.ContainsFunc(may[folder], func(f string) bool { return under(other, f) }) {
				t.Errorf("%s imports %s; %s may import %v of this module", p.path(), other, folder, may[folder])
			}
		}
	}
}

func TestImportedOnlyWithin(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			for _, what := range slices.Sorted(maps.Keys(within)) {
				if under(imported, what) && !slices.ContainsFunc(within[what], func(f string) bool { return under(p.path(), f) }) {
					t.Errorf("%s imports %s, which is for %v alone", p.path(), imported, within[what])
				}
			}
		}
	}
}

// The graph needs the standard library only, and pruning works without any
// engine, through other packages too.
func TestReach(t *testing.T) {
	for _, p := range packages(t) {
		for _, dep := range p.Deps {
			first, _, _ := strings.Cut(dep, "/")
			if p.path() == "yolo/graph" && strings.Contains(first, ".") {
				t.Errorf("yolo/graph reaches %s", dep)
			}
			if under(p.path(), "pruning") && (under(dep, module+"yolo/engine") || under(dep, "gorgonia.org")) {
				t.Errorf("%s reaches %s", p.path(), dep)
			}
		}
	}
}
