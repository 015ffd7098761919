// Package report reads a run folder and writes what a person wants to see of
// it: report.html (one self-contained page), report.json, report.csv,
// report.md and map_vs_flops.png.
//
// It reads files only and never a model. A file that is not there is a stage
// that was not run, and the page says so; a file that is there and broken is a
// FormatError.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Run is what a run folder tells.
type Run struct {
	Dir      string
	Name     string          // the experiment's name, or the folder's
	Config   string          // resolved.yaml as it was written
	Targets  []Target        // what the cuts were asked for
	Machine  json.RawMessage // env.json as it was written, nil when absent
	Stages   []Stage         // measured stages: known ones in their order, then others by name
	Training []Training      // the training stages that have a results.csv
	Layers   []Layer         // prune/layers.json; of several cuts, from before the first to after the last
	Gammas   *Gammas         // sparsify/gammas.json
	Missing  []string        // files of stages that were not run
}

// Target is a quantity that a cut was asked to reduce. Asked is the fraction to
// remove of what there was before that cut.
type Target struct {
	Cut      int    // 1 for the first
	Quantity string // "flops" or "params"
	Asked    float64
}

// Training is the record of one training stage, an epoch a row.
type Training struct {
	Stage  string // the folder's name
	Epochs []Epoch
}

// Layer is a row of prune/layers.json: one layer before and after the cut.
type Layer struct {
	Index        int    `json:"index"`
	Type         string `json:"type"`
	Before       int    `json:"before"` // output channels
	After        int    `json:"after"`
	MACsBefore   int64  `json:"macs_before"`
	MACsAfter    int64  `json:"macs_after"`
	ParamsBefore int64  `json:"params_before"`
	ParamsAfter  int64  `json:"params_after"`
	Protected    string `json:"protected"` // why it may not be cut, "" when it may
}

// Gammas holds the batch-norm scales of every layer before and after the
// sparsity stage.
type Gammas struct {
	Before []LayerGamma `json:"before"`
	After  []LayerGamma `json:"after"`
}

// LayerGamma holds one layer's batch-norm scales.
type LayerGamma struct {
	Layer int       `json:"layer"`
	Gamma []float64 `json:"gamma"`
}

// Load reads a run folder. Files that are not there are listed in Missing.
func Load(runDir string) (*Run, error) {
	info, err := os.Stat(runDir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: a file; expected a run folder", runDir)
	}
	r := &Run{Dir: runDir, Name: folderName(runDir)}
	for _, read := range []func() error{
		r.readConfig, r.readMachine, r.readTraining, r.readGammas, r.readLayers, r.readStages,
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if len(r.Stages) == 0 && len(r.Training) == 0 {
		return nil, fmt.Errorf("%s: holds neither val/<stage>/metrics.json nor <stage>/results.csv; expected a run folder", runDir)
	}
	return r, nil
}

func folderName(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Base(dir)
}

func (r *Run) missing(parts ...string) {
	r.Missing = append(r.Missing, strings.Join(parts, "/"))
}

// readConfig keeps resolved.yaml as text and takes from it the experiment's
// name and the targets of the cuts.
func (r *Run) readConfig() error {
	path := filepath.Join(r.Dir, "resolved.yaml")
	data, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		r.missing("resolved.yaml")
		return nil
	}
	if err != nil {
		return err
	}
	var c struct {
		Name  string    `yaml:"name"`
		Prune yaml.Node `yaml:"prune"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return &FormatError{File: path, Msg: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	r.Config = string(data)
	if c.Name != "" {
		r.Name = c.Name
	}
	r.Targets = targets(&c.Prune)
	return nil
}

// targets reads the targets of one cut or of a list of cuts; a target of zero
// is one that was not set.
func targets(prune *yaml.Node) []Target {
	cuts := []*yaml.Node{prune}
	if prune.Kind == yaml.SequenceNode {
		cuts = prune.Content
	}
	var list []Target
	for i, node := range cuts {
		var cut struct {
			Target map[string]any `yaml:"target"`
		}
		if node.Kind != yaml.MappingNode || node.Decode(&cut) != nil {
			continue
		}
		for _, quantity := range []string{"flops", "params"} {
			if v, ok := cut.Target[quantity].(float64); ok && v > 0 && v < 1 {
				list = append(list, Target{i + 1, quantity, v})
			}
		}
	}
	return list
}

func (r *Run) readMachine() error {
	data, err := readJSON(filepath.Join(r.Dir, "env.json"), &map[string]any{})
	if data == nil && err == nil {
		r.missing("env.json")
	}
	r.Machine = data
	return err
}

// readTraining reads the results.csv of every training stage in the order of
// the work. Later rounds and the scratch control are asked for rarely, so
// their absence is not worth a line.
func (r *Run) readTraining() error {
	for _, stage := range []string{"train", "sparsify", "finetune"} {
		found, err := r.readResults(stage)
		if err != nil {
			return err
		}
		if !found {
			r.missing(stage, "results.csv")
		}
	}
	for round := 2; round < maxRounds; round++ {
		if found, err := r.readResults(roundName("finetune", round)); err != nil || !found {
			if err != nil {
				return err
			}
			break
		}
	}
	_, err := r.readResults(control)
	return err
}

func (r *Run) readResults(stage string) (found bool, err error) {
	epochs, err := readResults(filepath.Join(r.Dir, stage, "results.csv"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		r.Training = append(r.Training, Training{stage, epochs})
	}
	return true, err
}

func (r *Run) readGammas() error {
	path := filepath.Join(r.Dir, "sparsify", "gammas.json")
	var g Gammas
	data, err := readJSON(path, &g)
	if err != nil {
		return err
	}
	if data == nil {
		r.missing("sparsify", "gammas.json")
		return nil
	}
	r.Gammas = &g
	return nil
}

// readLayers joins the cuts: the first one's layers before, the last one's
// after.
func (r *Run) readLayers() error {
	for round := 1; round < maxRounds; round++ {
		path := filepath.Join(r.Dir, roundName("prune", round), "layers.json")
		data, err := readFile(path)
		if errors.Is(err, os.ErrNotExist) {
			if round == 1 {
				r.missing("prune", "layers.json")
			}
			return nil
		}
		if err != nil {
			return err
		}
		layers, err := parseLayers(path, data)
		if err != nil {
			return err
		}
		if r.Layers, err = joinCuts(path, r.Layers, layers); err != nil {
			return err
		}
	}
	return nil
}

// joinCuts takes the state before from the earlier cuts, if there were any.
// Layers that an earlier cut removed as a whole, which then have no channels,
// are not among the later ones; there may be routes in their place.
func joinCuts(path string, earlier, later []Layer) ([]Layer, error) {
	if earlier == nil {
		return later, nil
	}
	gone := func(l Layer) bool { return l.After == 0 }
	left := len(slices.DeleteFunc(slices.Clone(earlier), gone))
	more := len(later) - left // the routes that stand for removed layers
	if more < 0 || left == len(earlier) && more > 0 {
		return nil, &FormatError{File: path, Msg: fmt.Sprintf("%d layers; expected %d as in the cut before it", len(later), left)}
	}
	joined := slices.Clone(earlier)
	for i, was := range earlier {
		if gone(was) {
			continue
		}
		for more > 0 && later[0].Type == "route" && !later[0].follows(was) {
			later, more = later[1:], more-1
		}
		l := later[0]
		later = later[1:]
		if !l.follows(was) {
			return nil, &FormatError{File: path, Msg: fmt.Sprintf("layer %d: %s with %d channels before the cut; expected %s with %d as the cut before it left",
				l.Index, l.Type, l.Before, was.Type, was.After)}
		}
		l.Index, l.Before, l.MACsBefore, l.ParamsBefore = was.Index, was.Before, was.MACsBefore, was.ParamsBefore
		joined[i] = l
	}
	if len(later) > 0 {
		l := later[0]
		return nil, &FormatError{File: path, Msg: fmt.Sprintf("layer %d: %s; expected no more layers, as the cut before it left", l.Index, l.Type)}
	}
	return joined, nil
}

// follows says whether l can be what an earlier cut left of a layer.
func (l Layer) follows(was Layer) bool { return l.Type == was.Type && l.Before == was.After }

func parseLayers(path string, data []byte) ([]Layer, error) {
	var layers []Layer
	if err := decodeJSON(path, data, &layers); err != nil {
		return nil, err
	}
	for i, l := range layers {
		if l.Before < 0 || l.After < 0 || l.After > l.Before {
			return nil, &FormatError{File: path, Msg: fmt.Sprintf(
				"row %d: layer %d: %d channels before and %d after; expected 0 <= after <= before", i, l.Index, l.Before, l.After)}
		}
	}
	return layers, nil
}

// compareNames orders "2.jpg" before "10.jpg".
func compareNames(a, b string) int {
	na, ea := strconv.Atoi(strings.TrimSuffix(a, filepath.Ext(a)))
	nb, eb := strconv.Atoi(strings.TrimSuffix(b, filepath.Ext(b)))
	if ea == nil && eb == nil && na != nb {
		return na - nb
	}
	return strings.Compare(a, b)
}

// sameJSON compares two values whatever their spacing and key order.
func sameJSON(a, b json.RawMessage) bool {
	return bytes.Equal(canonical(a), canonical(b))
}

func canonical(raw json.RawMessage) []byte {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	data, _ := json.Marshal(v)
	return data
}

// Stage returns the measured stage of that name, or nil.
func (r *Run) Stage(name string) *Stage {
	i := slices.IndexFunc(r.Stages, func(s Stage) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Stages[i]
}
