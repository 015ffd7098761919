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
	of   func(*Result) float64
}

// numbers are Result's fields in COCO's order.
var numbers = []number{
	{"AP", func(r *Result) float64 { return r.AP }},
	{"AP50", func(r *Result) float64 { return r.AP50 }},
	{"AP75", func(r *Result) float64 { return r.AP75 }},
	{"APs", func(r *Result) float64 { return r.APs }},
	{"APm", func(r *Result) float64 { return r.APm }},
	{"APl", func(r *Result) float64 { return r.APl }},
	{"AR1", func(r *Result) float64 { return r.AR1 }},
	{"AR10", func(r *Result) float64 { return r.AR10 }},
	{"AR100", func(r *Result) float64 { return r.AR100 }},
	{"ARs", func(r *Result) float64 { return r.ARs }},
	{"ARm", func(r *Result) float64 { return r.ARm }},
	{"ARl", func(r *Result) float64 { return r.ARl }},
}

// script is a case of a *.test file; testdata/README.md has the language.
type script struct {
	name    string
	gt      GroundTruth
	dets    []Detection
	want    map[string]float64
	classes map[int64][2]float64
	err     string
}

func TestCOCOScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata/*.test: %v", err)
	}
	for _, file := range files {
		for _, s := range parseScripts(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".test")+"/"+s.name, s.run)
		}
	}
}

func (s *script) run(t *testing.T) {
	if len(s.want)+len(s.classes) == 0 && s.err == "" {
		t.Fatal("the case expects nothing")
	}
	r, err := COCO(&s.gt, s.dets)
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
	for _, n := range numbers {
		if want, ok := s.want[n.name]; ok && !near(n.of(r), want) {
			t.Errorf("%s = %.15g, want %.15g", n.name, n.of(r), want)
		}
	}
	s.checkClasses(t, r)
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
		if want := s.classes[id]; !near(got[id].AP, want[0]) || !near(got[id].AP50, want[1]) {
			t.Errorf("class %d: AP %.15g, AP50 %.15g, want %.15g, %.15g", id, got[id].AP, got[id].AP50, want[0], want[1])
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
	case "expect":
		return s.expect(words)
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

func (s *script) truth(words []string) error {
	words, options := splitOptions(words)
	v, err := wantNumbers(words, 6)
	if err != nil {
		return err
	}
	o, err := parseOptions(options, map[string]float64{"times": 1, "dx": 0, "area": v[4] * v[5], "crowd": 0, "id": float64(len(s.gt.Truths))})
	for i := range int(o["times"]) {
		s.gt.Truths = append(s.gt.Truths, Truth{
			ID: int64(o["id"]) + int64(i), Image: int64(v[0]), Category: int64(v[1]),
			Box:  [4]float64{v[2] + float64(i)*o["dx"], v[3], v[4], v[5]},
			Area: o["area"], Crowd: o["crowd"] == 1,
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

func (s *script) expect(words []string) error {
	if !strings.Contains(words[0], "=") {
		v, err := wantNumbers(words, len(numbers))
		for i, n := range numbers {
			s.want[n.name] = v[i]
		}
		return err
	}
	for _, w := range words {
		name, text, _ := strings.Cut(w, "=")
		if !slices.ContainsFunc(numbers, func(n number) bool { return n.name == name }) {
			return fmt.Errorf("unknown number %q", name)
		}
		v, err := parseNumber(text)
		if err != nil {
			return err
		}
		s.want[name] = v
	}
	return nil
}

// splitOptions parts a line's numbers from its options.
func splitOptions(words []string) (numbers, options []string) {
	i := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, "=") || w == "crowd" })
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
