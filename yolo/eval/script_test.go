package eval

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type number struct {
	name string
	of   func(*Numbers) float64
}

// numbers are Result's fields in COCO's order.
var numbers = []number{
	{"AP", func(r *Numbers) float64 { return r.AP }},
	{"AP50", func(r *Numbers) float64 { return r.AP50 }},
	{"AP75", func(r *Numbers) float64 { return r.AP75 }},
	{"APs", func(r *Numbers) float64 { return r.APs }},
	{"APm", func(r *Numbers) float64 { return r.APm }},
	{"APl", func(r *Numbers) float64 { return r.APl }},
	{"AR1", func(r *Numbers) float64 { return r.AR1 }},
	{"AR10", func(r *Numbers) float64 { return r.AR10 }},
	{"AR100", func(r *Numbers) float64 { return r.AR100 }},
	{"ARs", func(r *Numbers) float64 { return r.ARs }},
	{"ARm", func(r *Numbers) float64 { return r.ARm }},
	{"ARl", func(r *Numbers) float64 { return r.ARl }},
}

// script is a case of a *.test file; testdata/README.md has the language.
type script struct {
	name      string
	options   Options
	gt        GroundTruth
	dets      []Detection
	want      map[string]float64
	levels    map[string]map[string]float64 // by IoU
	classes   map[int64][2]float64
	counts    []float64 // TP, FP, FN, average IoU
	f1        []float64 // score, F1, TP, FP, FN
	confusion [][]float64
	err       string
}

func TestCOCOScripts(t *testing.T) {
	for _, pattern := range []string{"testdata/*.test", "testdata/mistakes/*.test"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, file := range files {
			for _, s := range parseScripts(t, file) {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".test")+"/"+s.name, s.run)
			}
		}
	}
}

func (s *script) run(t *testing.T) {
	if len(s.want)+len(s.levels)+len(s.classes)+len(s.counts)+len(s.f1)+len(s.confusion) == 0 && s.err == "" {
		t.Fatal("the case expects nothing")
	}
	r, err := Measure(&s.gt, s.dets, s.options)
	if s.err != "" {
		var f *FormatError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), s.err) {
			t.Fatalf("error %v, want a FormatError with %q", err, s.err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.checkNumbers(t, "", &r.Numbers, s.want)
	if want, ok := s.want["mAP"]; ok && !near(r.MeanAP, want) {
		t.Errorf("mAP = %.15g, want %.15g", r.MeanAP, want)
	}
	checked := 0
	for _, level := range r.PerIoU {
		if want, ok := s.levels[fmt.Sprintf("%.2f", level.IoU)]; ok {
			s.checkNumbers(t, fmt.Sprintf("at %.2f: ", level.IoU), &level.Numbers, want)
			checked++
		}
	}
	if checked != len(s.levels) {
		t.Errorf("%d IoU thresholds of %d found", checked, len(s.levels))
	}
	s.checkClasses(t, r)
	s.checkCounts(t, r)
	s.checkF1(t)
	s.checkConfusion(t)
}

func (s *script) checkNumbers(t *testing.T, where string, got *Numbers, all map[string]float64) {
	for _, n := range numbers {
		if want, ok := all[n.name]; ok && !near(n.of(got), want) {
			t.Errorf("%s%s = %.15g, want %.15g", where, n.name, n.of(got), want)
		}
	}
}

func (s *script) checkCounts(t *testing.T, r *Result) {
	if s.counts == nil {
		return
	}
	got := []float64{float64(r.AtScore.TP), float64(r.AtScore.FP), float64(r.AtScore.FN), r.AtScore.AverageIoU}
	if !slices.EqualFunc(got, s.counts, near) {
		t.Errorf("counts %v, want %v", got, s.counts)
	}
}

func (s *script) checkF1(t *testing.T) {
	if s.f1 == nil {
		return
	}
	c, err := TraceCurves(&s.gt, s.dets, .5)
	if err != nil {
		t.Fatal(err)
	}
	b := c.All.Best()
	got := []float64{b.Score, b.F1, float64(b.TP), float64(b.FP), float64(b.FN)}
	if !slices.EqualFunc(got, s.f1, near) {
		t.Errorf("best F1 %v, want %v", got, s.f1)
	}
}

func (s *script) checkConfusion(t *testing.T) {
	if s.confusion == nil {
		return
	}
	c, err := Confuse(&s.gt, s.dets, .25, .45)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range c.Counts {
		var got []float64
		for _, n := range row {
			got = append(got, float64(n))
		}
		if i >= len(s.confusion) || !slices.Equal(got, s.confusion[i]) {
			t.Errorf("row %d: %v; want all of %v", i, got, s.confusion)
		}
	}
}

func (s *script) checkClasses(t *testing.T, r *Result) {
	if len(r.PerClass) != len(s.gt.Categories) {
		t.Errorf("%d classes in the result, want %d", len(r.PerClass), len(s.gt.Categories))
	}
	got := map[int64]ClassAP{}
	for _, c := range r.PerClass {
		got[c.Category.ID] = c
	}
	for _, id := range slices.Sorted(maps.Keys(s.classes)) {
		if want := s.classes[id]; !near(got[id].MeanAP, want[0]) || !near(got[id].AP50, want[1]) {
			t.Errorf("class %d: AP %.15g, AP50 %.15g, want %.15g, %.15g", id, got[id].MeanAP, got[id].AP50, want[0], want[1])
		}
	}
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-12 }

func parseScripts(t *testing.T, file string) []*script {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []*script
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		if verb == "" {
			continue
		}
		if verb == "case" {
			all = append(all, newScript(rest))
			continue
		}
		if err := all[len(all)-1].line(verb, strings.TrimSpace(rest)); err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
	}
	return all
}

func newScript(name string) *script {
	return &script{
		name:    name,
		gt:      GroundTruth{Images: []int64{1}, Categories: []Category{{ID: 1}}},
		want:    map[string]float64{},
		levels:  map[string]map[string]float64{},
		classes: map[int64][2]float64{},
	}
}

func (s *script) line(verb, rest string) error {
	words := strings.Fields(rest)
	switch verb {
	case "images":
		ids, err := parseNumbers(words)
		s.gt.Images = nil
		for _, id := range ids {
			s.gt.Images = append(s.gt.Images, int64(id))
		}
		return err
	case "classes":
		ids, err := parseNumbers(words)
		s.gt.Categories = nil
		for _, id := range ids {
			s.gt.Categories = append(s.gt.Categories, Category{ID: int64(id)})
		}
		return err
	case "gt":
		return s.truth(words)
	case "dt":
		return s.detection(words)
	case "protocol":
		return s.protocol(words)
	case "expect":
		return expect(words, s.want)
	case "at":
		s.levels[words[0]] = map[string]float64{}
		return expect(words[1:], s.levels[words[0]])
	case "counts":
		v, err := wantNumbers(words, 4)
		s.counts = v[:4]
		return err
	case "f1":
		v, err := wantNumbers(words, 5)
		s.f1 = v[:5]
		return err
	case "confusion":
		row, err := parseNumbers(words)
		s.confusion = append(s.confusion, row)
		return err
	case "class":
		v, err := wantNumbers(words, 3)
		s.classes[int64(v[0])] = [2]float64{v[1], v[2]}
		return err
	case "error":
		s.err = rest
		return nil
	}
	return fmt.Errorf("unknown line %q", verb)
}

func (s *script) protocol(words []string) error {
	names, options := splitOptions(words)
	if len(names) != 1 || !slices.Contains(Protocols, names[0]) {
		return fmt.Errorf("protocol %q", names)
	}
	o, err := parseOptions(options, map[string]float64{"exact": 0, "iou": 0, "points": 0, "conf": 0, "limit1": 0, "limit2": 0, "limit3": 0})
	s.options = Options{
		Protocol: names[0], Exact: o["exact"] == 1, IoU: o["iou"], Points: int(o["points"]), Threshold: o["conf"],
		MaxDets: [3]int{int(o["limit1"]), int(o["limit2"]), int(o["limit3"])},
	}
	return err
}

func (s *script) truth(words []string) error {
	words, options := splitOptions(words)
	v, err := wantNumbers(words, 6)
	if err != nil {
		return err
	}
	o, err := parseOptions(options, map[string]float64{"times": 1, "dx": 0, "area": v[4] * v[5], "crowd": 0, "difficult": 0, "id": float64(len(s.gt.Truths))})
	for i := range int(o["times"]) {
		s.gt.Truths = append(s.gt.Truths, Truth{
			ID: int64(o["id"]) + int64(i), Image: int64(v[0]), Category: int64(v[1]),
			Box:  [4]float64{v[2] + float64(i)*o["dx"], v[3], v[4], v[5]},
			Area: o["area"], Crowd: o["crowd"] == 1, Difficult: o["difficult"] == 1,
		})
	}
	return err
}

func (s *script) detection(words []string) error {
	words, options := splitOptions(words)
	v, err := wantNumbers(words, 7)
	if err != nil {
		return err
	}
	o, err := parseOptions(options, map[string]float64{"times": 1, "dx": 0})
	for i := range int(o["times"]) {
		s.dets = append(s.dets, Detection{
			Image: int64(v[0]), Category: int64(v[1]), Score: v[2],
			Box: [4]float64{v[3] + float64(i)*o["dx"], v[4], v[5], v[6]},
		})
	}
	return err
}

func expect(words []string, want map[string]float64) error {
	if !strings.Contains(words[0], "=") {
		v, err := wantNumbers(words, len(numbers))
		for i, n := range numbers {
			want[n.name] = v[i]
		}
		return err
	}
	for _, w := range words {
		name, text, _ := strings.Cut(w, "=")
		if name != "mAP" && !slices.ContainsFunc(numbers, func(n number) bool { return n.name == name }) {
			return fmt.Errorf("unknown number %q", name)
		}
		v, err := parseNumber(text)
		if err != nil {
			return err
		}
		want[name] = v
	}
	return nil
}

// splitOptions parts a line's numbers from its options.
func splitOptions(words []string) (numbers, options []string) {
	i := slices.IndexFunc(words, func(w string) bool {
		return strings.Contains(w, "=") || slices.Contains([]string{"crowd", "difficult", "exact"}, w)
	})
	if i < 0 {
		return words, nil
	}
	return words[:i], words[i:]
}

func parseOptions(words []string, o map[string]float64) (map[string]float64, error) {
	for _, w := range words {
		name, text, ok := strings.Cut(w, "=")
		if !ok {
			text = "1"
		}
		v, err := parseNumber(text)
		if _, known := o[name]; !known || err != nil {
			return o, fmt.Errorf("bad option %q", w)
		}
		o[name] = v
	}
	return o, nil
}

func wantNumbers(words []string, n int) ([]float64, error) {
	v, err := parseNumbers(words)
	if err == nil && len(v) != n {
		err = fmt.Errorf("%d numbers, want %d", len(v), n)
	}
	return append(v, make([]float64, n)...), err
}

func parseNumbers(words []string) ([]float64, error) {
	var v []float64
	for _, w := range words {
		x, err := parseNumber(w)
		if err != nil {
			return v, err
		}
		v = append(v, x)
	}
	return v, nil
}

// parseNumber reads a number or a fraction.
func parseNumber(text string) (float64, error) {
	over, under, ok := strings.Cut(text, "/")
	if !ok {
		under = "1"
	}
	a, err := strconv.ParseFloat(over, 64)
	if err != nil {
		return 0, err
	}
	b, err := strconv.ParseFloat(under, 64)
	return a / b, err
}
