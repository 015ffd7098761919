package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // sample images
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Stage is one measured stage: val/<stage>/ in the run folder.
type Stage struct {
	Name    string
	Val     Metrics
	Test    *Metrics // nil when the test split was not measured
	Samples []Sample // drawn detections, in the order of their numbers
	Skipped int      // samples that were left out, or are no images
}

// Metrics is a metrics.json or a test.json. An average precision of -1 is
// undefined, as in COCO.
type Metrics struct {
	Params int64 `json:"params"`
	MACs   int64 `json:"macs"`
	FLOPs  int64 `json:"flops"`
	Bytes  int64 `json:"bytes"`

	AP    float64 `json:"AP"`
	AP50  float64 `json:"AP50"`
	AP75  float64 `json:"AP75"`
	APs   float64 `json:"APs"`
	APm   float64 `json:"APm"`
	APl   float64 `json:"APl"`
	AR1   float64 `json:"AR1"`
	AR10  float64 `json:"AR10"`
	AR100 float64 `json:"AR100"`
	ARs   float64 `json:"ARs"`
	ARm   float64 `json:"ARm"`
	ARl   float64 `json:"ARl"`

	Classes   map[string]float64 `json:"classes"`   // AP
	Classes50 map[string]float64 `json:"classes50"` // AP50
	Protocol  json.RawMessage    `json:"protocol"`

	LatencyMS   float64 `json:"latency_ms,omitempty"` // median of one image's forward, 0 when not measured
	LatencyRuns int     `json:"latency_runs,omitempty"`
	Threads     int     `json:"threads,omitempty"`
	Input       [2]int  `json:"input"` // width, height
	Images      int     `json:"images"`
}

// Sample is an image with the stage's detections drawn on it.
type Sample struct {
	Name          string // file name, the same for every stage
	MIME          string
	Width, Height int
	Data          []byte
}

// steps are the stages of the work in their order. Of several cuts, the second
// one's stages are called pruned-2, recalibrated-2 and finetuned-2, and so on.
// The control, the cut net trained from new weights, is no step.
var steps = []string{"baseline", "sparsified", "pruned", "recalibrated", "finetuned"}

const (
	control   = "scratch"
	firstCut  = 2 // the place in steps from which on stages repeat
	maxRounds = 1000
)

// rank orders stages: steps, then the control, then all others.
func rank(stage string) int {
	word, round := splitRound(stage)
	place := slices.Index(steps, word)
	switch {
	case stage == control:
		return maxRounds * len(steps)
	case place < 0 || round > 1 && place < firstCut:
		return maxRounds*len(steps) + 1
	}
	return (round-1)*len(steps) + place
}

// splitRound takes "pruned-2" for the second round of pruned.
func splitRound(stage string) (word string, round int) {
	word, number, _ := strings.Cut(stage, "-")
	if n, err := strconv.Atoi(number); err == nil && n > 1 && n < maxRounds && strconv.Itoa(n) == number {
		return word, n
	}
	return stage, 1
}

// roundName is splitRound's inverse.
func roundName(word string, round int) string {
	if round == 1 {
		return word
	}
	return fmt.Sprintf("%s-%d", word, round)
}

// step tells whether a stage is a step from the baseline to the result.
func (s Stage) step() bool { return rank(s.Name) < rank(control) }

func (r *Run) readStages() error {
	entries, err := os.ReadDir(filepath.Join(r.Dir, "val"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		s, err := readStage(filepath.Join(r.Dir, "val", e.Name()), e.Name())
		if err != nil {
			return err
		}
		if s != nil {
			r.Stages = append(r.Stages, *s)
		}
	}
	slices.SortStableFunc(r.Stages, func(a, b Stage) int {
		if d := rank(a.Name) - rank(b.Name); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, name := range steps {
		if r.Stage(name) == nil {
			r.missing("val", name, "metrics.json")
		}
	}
	return nil
}

// readStage returns nil for a folder without metrics.json.
func readStage(dir, name string) (*Stage, error) {
	val, err := readMetrics(filepath.Join(dir, "metrics.json"), name, "params", "macs", "flops", "bytes", "AP", "AP50")
	if val == nil || err != nil {
		return nil, err
	}
	s := &Stage{Name: name, Val: *val}
	if s.Test, err = readMetrics(filepath.Join(dir, "test.json"), name, "AP", "AP50"); err != nil {
		return nil, err
	}
	s.Samples, s.Skipped, err = readSamples(filepath.Join(dir, "samples"))
	return s, err
}

// readMetrics returns nil when there is no such file.
func readMetrics(path, stage string, required ...string) (*Metrics, error) {
	data, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseMetrics(path, data, stage, required...)
}

func parseMetrics(path string, data []byte, stage string, required ...string) (*Metrics, error) {
	var keys map[string]json.RawMessage
	if err := decodeJSON(path, data, &keys); err != nil {
		return nil, err
	}
	for _, key := range required {
		if _, ok := keys[key]; !ok {
			return nil, &FormatError{File: path, Msg: key + ": missing; expected a number"}
		}
	}
	m := undefinedMetrics()
	named := struct {
		Stage string `json:"stage"`
		*Metrics
	}{stage, m}
	if err := decodeJSON(path, data, &named); err != nil {
		return nil, err
	}
	if named.Stage != stage {
		return nil, &FormatError{File: path, Msg: fmt.Sprintf("stage: %q; expected %q, the folder's name", named.Stage, stage)}
	}
	if msg := m.check(); msg != "" {
		return nil, &FormatError{File: path, Msg: msg}
	}
	return m, nil
}

// undefinedMetrics has every precision undefined, so that one that a file does
// not hold is not mistaken for zero.
func undefinedMetrics() *Metrics {
	return &Metrics{AP: -1, AP50: -1, AP75: -1, APs: -1, APm: -1, APl: -1,
		AR1: -1, AR10: -1, AR100: -1, ARs: -1, ARm: -1, ARl: -1}
}

type figure struct {
	name  string
	value float64
}

// figures lists COCO's twelve numbers.
func (m *Metrics) figures() []figure {
	return []figure{
		{"AP", m.AP}, {"AP50", m.AP50}, {"AP75", m.AP75}, {"APs", m.APs}, {"APm", m.APm}, {"APl", m.APl},
		{"AR1", m.AR1}, {"AR10", m.AR10}, {"AR100", m.AR100}, {"ARs", m.ARs}, {"ARm", m.ARm}, {"ARl", m.ARl},
	}
}

// check returns what is out of range, "" when nothing is.
func (m *Metrics) check() string {
	for _, n := range []struct {
		key   string
		value int64
	}{{"params", m.Params}, {"macs", m.MACs}, {"flops", m.FLOPs}, {"bytes", m.Bytes},
		{"latency_runs", int64(m.LatencyRuns)}, {"threads", int64(m.Threads)}, {"images", int64(m.Images)}} {
		if n.value < 0 {
			return fmt.Sprintf("%s: %d; expected 0 or more", n.key, n.value)
		}
	}
	if m.MACs > math.MaxInt64/2 || m.FLOPs != 2*m.MACs {
		return fmt.Sprintf("flops: %d; expected 2 x macs = 2 x %d", m.FLOPs, m.MACs)
	}
	if m.LatencyMS < 0 {
		return fmt.Sprintf("latency_ms: %v; expected 0 or more", m.LatencyMS)
	}
	return m.checkPrecisions()
}

func (m *Metrics) checkPrecisions() string {
	all := m.figures()
	for _, group := range []struct {
		key    string
		values map[string]float64
	}{{"classes", m.Classes}, {"classes50", m.Classes50}} {
		for _, name := range sortedKeys(group.values) {
			all = append(all, figure{group.key + "." + name, group.values[name]})
		}
	}
	for _, f := range all {
		if f.value != -1 && (f.value < 0 || f.value > 1) {
			return fmt.Sprintf("%s: %v; expected 0 to 1, or -1 for undefined", f.name, f.value)
		}
	}
	return ""
}

func sortedKeys(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A page holds its images inside it, so their number and size are bounded.
const (
	maxSamples     = 12
	maxSampleBytes = 2 << 20
)

// readSamples returns the first images of a folder and the number of files
// that were left out.
func readSamples(dir string) (samples []Sample, skipped int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return nil, 0, err
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return compareNames(a.Name(), b.Name()) })
	for _, e := range entries {
		s, ok := readSample(dir, e)
		if !ok || len(samples) == maxSamples {
			skipped++
			continue
		}
		samples = append(samples, s)
	}
	return samples, skipped, nil
}

// readSample refuses what is no JPEG or PNG image of a reasonable size.
func readSample(dir string, e os.DirEntry) (Sample, bool) {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSampleBytes {
		return Sample{}, false
	}
	data, err := os.ReadFile(filepath.Join(dir, e.Name()))
	if err != nil {
		return Sample{}, false
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Sample{}, false
	}
	return Sample{e.Name(), "image/" + format, c.Width, c.Height, data}, true
}
