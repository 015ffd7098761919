package report

import (
	"fmt"
	"slices"
	"strings"
)

// Baseline returns the stage that changes are measured against, or nil.
func (r *Run) Baseline() *Stage { return r.Stage(steps[0]) }

// Final returns the last step that was measured after the baseline, or nil.
func (r *Run) Final() *Stage {
	for i := len(r.Stages) - 1; i >= 0; i-- {
		if s := &r.Stages[i]; s.step() && s.Name != steps[0] {
			return s
		}
	}
	return nil
}

// Headline says in one line what the run did: from the baseline to the last
// measured step.
func (r *Run) Headline() string {
	base, final := r.Baseline(), r.Final()
	switch {
	case len(r.Stages) == 0:
		return "no stage was measured"
	case base == nil && final == nil:
		return r.Stages[0].describe()
	case base == nil:
		return final.describe()
	case final == nil:
		return base.describe()
	}
	parts := []string{
		orSame(relative(float64(base.Val.FLOPs), float64(final.Val.FLOPs))) + " FLOPs",
		orSame(relative(float64(base.Val.Params), float64(final.Val.Params))) + " parameters",
		fmt.Sprintf("AP50 %s -> %s", orNone(base.Val.AP50), orNone(final.Val.AP50)),
	}
	if base.Test != nil && final.Test != nil {
		parts = append(parts, fmt.Sprintf("test AP50 %s -> %s", orNone(base.Test.AP50), orNone(final.Test.AP50)))
	}
	return strings.Join(parts, ", ")
}

func orSame(change string) string {
	if change == "" {
		return none
	}
	return change
}

func orNone(ap float64) string {
	if ap < 0 {
		return none
	}
	return precision(ap)
}

// describe names a stage that stands alone.
func (s *Stage) describe() string {
	return fmt.Sprintf("%s only: %s parameters, %s FLOPs, AP50 %s",
		s.Name, count(float64(s.Val.Params)), count(float64(s.Val.FLOPs)), orNone(s.Val.AP50))
}

// hasTest tells whether any stage was measured on the test split.
func hasTest(stages []Stage) bool {
	return slices.ContainsFunc(stages, func(s Stage) bool { return s.Test != nil })
}

// quantity is a column of the stage table. value reports false where nothing
// was measured.
type quantity struct {
	head, unit   string
	value        func(*Stage) (float64, bool)
	text         func(float64) string
	change       func(from, to float64) string
	higherBetter bool
	testOnly     bool
}

func cost(head string, text func(float64) string, get func(*Metrics) int64) quantity {
	return quantity{head: head, text: text, change: relative, value: func(s *Stage) (float64, bool) {
		return float64(get(&s.Val)), true
	}}
}

func accuracy(head, unit string, get func(*Stage) float64) quantity {
	return quantity{head: head, unit: unit, text: precision, change: difference, higherBetter: true, testOnly: unit != "val",
		value: func(s *Stage) (float64, bool) {
			v := get(s)
			return v, v >= 0
		}}
}

// both averages the precision of the two splits where both are defined.
func both(get func(*Metrics) float64) func(*Stage) float64 {
	return func(s *Stage) float64 {
		if s.Test == nil || get(&s.Val) < 0 || get(s.Test) < 0 {
			return -1
		}
		return (get(&s.Val) + get(s.Test)) / 2
	}
}

func onTest(get func(*Metrics) float64) func(*Stage) float64 {
	return func(s *Stage) float64 {
		if s.Test == nil {
			return -1
		}
		return get(s.Test)
	}
}

func ap(m *Metrics) float64   { return m.AP }
func ap50(m *Metrics) float64 { return m.AP50 }

// quantities are the columns of the stage table.
var quantities = []quantity{
	cost("Params", count, func(m *Metrics) int64 { return m.Params }),
	cost("MACs", count, func(m *Metrics) int64 { return m.MACs }),
	cost("FLOPs", count, func(m *Metrics) int64 { return m.FLOPs }),
	cost("Weights file", size, func(m *Metrics) int64 { return m.Bytes }),
	accuracy("AP50", "val", func(s *Stage) float64 { return s.Val.AP50 }),
	accuracy("AP", "val", func(s *Stage) float64 { return s.Val.AP }),
	accuracy("AP50", "test", onTest(ap50)),
	accuracy("AP", "test", onTest(ap)),
	accuracy("AP50", "mean", both(ap50)),
	accuracy("AP", "mean", both(ap)),
	{head: "Latency", text: milliseconds, change: relative, value: func(s *Stage) (float64, bool) {
		return s.Val.LatencyMS, s.Val.LatencyMS > 0
	}},
}

// table is a table of the page and of report.md.
type table struct {
	Head []heading
	Rows []row
}

type heading struct{ Name, Unit string }

type row struct {
	Group string // the run, where several are compared
	Name  string
	Cells []cell
}

// cell is a value with its change. Exact is the value in full where Value is
// rounded; Tone is "good", "bad" or "".
type cell struct{ Value, Change, Exact, Tone string }

// stageTable has a row per stage, each compared with the run's baseline.
func (r *Run) stageTable(test bool) table {
	var t table
	for _, q := range quantities {
		if !q.testOnly || test {
			t.Head = append(t.Head, heading{q.head, q.unit})
		}
	}
	for i := range r.Stages {
		t.Rows = append(t.Rows, row{Name: r.Stages[i].Name, Cells: stageCells(&r.Stages[i], r.Baseline(), test)})
	}
	return t
}

func stageCells(s, base *Stage, test bool) []cell {
	var cells []cell
	for _, q := range quantities {
		if !q.testOnly || test {
			cells = append(cells, q.cell(s, base))
		}
	}
	return cells
}

func (q quantity) cell(s, base *Stage) cell {
	v, ok := q.value(s)
	if !ok {
		return cell{Value: none}
	}
	c := cell{Value: q.text(v), Exact: fmt.Sprintf("%.10g", v)}
	if base == nil || base.Name == s.Name {
		return c
	}
	if from, ok := q.value(base); ok {
		c.Change = q.change(from, v)
		c.Tone = tone(c.Change, q.higherBetter)
	}
	return c
}

// tone tells whether a printed change is for the better.
func tone(change string, higherBetter bool) string {
	up, down := strings.HasPrefix(change, "+"), strings.HasPrefix(change, "-")
	switch {
	case !up && !down:
		return ""
	case up == higherBetter:
		return "good"
	}
	return "bad"
}

// reached compares what every cut was asked for with what it did: the stage
// right after it against the step before.
func (r *Run) reached() []pair {
	var list []pair
	for _, t := range r.Targets {
		name := roundName("pruned", t.Cut)
		i := slices.IndexFunc(r.Stages, func(s Stage) bool { return s.Name == name })
		if i < 1 {
			continue
		}
		from, to := r.Stages[i-1].Val.FLOPs, r.Stages[i].Val.FLOPs
		if t.Quantity == "params" {
			from, to = r.Stages[i-1].Val.Params, r.Stages[i].Val.Params
		}
		if from == 0 {
			continue
		}
		key := t.Quantity
		if r.Targets[len(r.Targets)-1].Cut > 1 {
			key = fmt.Sprintf("cut %d, %s", t.Cut, key)
		}
		list = append(list, pair{key, fmt.Sprintf("asked -%.1f %%, reached %+.1f %%",
			100*t.Asked, 100*float64(to-from)/float64(from))})
	}
	return list
}

// latencyNote names how the latencies were taken. Where stages differ it
// names each of them, for then they do not compare.
func (r *Run) latencyNote() string {
	var notes, stages []string
	for _, s := range r.Stages {
		if s.Val.LatencyMS > 0 {
			notes = append(notes, s.Val.latencyNote())
			stages = append(stages, s.Name)
		}
	}
	if len(notes) == 0 {
		return "Latency was not measured."
	}
	if len(slices.Compact(slices.Clone(notes))) == 1 {
		return "Latency: " + notes[0] + "."
	}
	for i, name := range stages {
		notes[i] = name + " " + notes[i]
	}
	return "Latencies were not taken alike: " + strings.Join(notes, "; ") + "."
}

func (m *Metrics) latencyNote() string {
	note := "median"
	if m.LatencyRuns > 0 {
		note += fmt.Sprintf(" of %d forwards", m.LatencyRuns)
	}
	note += " of one image (batch 1)"
	if m.Threads > 0 {
		note += fmt.Sprintf(", %d %s", m.Threads, plural(m.Threads, "thread"))
	}
	if s := m.inputSize(); s != "" {
		note += ", input " + s
	}
	return note
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// inputSize is "" when the file names none.
func (m *Metrics) inputSize() string {
	if m.Input[0] == 0 {
		return ""
	}
	return fmt.Sprintf("%d x %d", m.Input[0], m.Input[1])
}

// warnings lists what keeps the stages from being compared.
func (r *Run) warnings() []string {
	var list []string
	for i := 1; i < len(r.Stages); i++ {
		a, b := &r.Stages[0], &r.Stages[i]
		if !sameJSON(a.Val.Protocol, b.Val.Protocol) {
			list = append(list, fmt.Sprintf("%s and %s were evaluated under different protocols: their precisions do not compare.", a.Name, b.Name))
		}
		if a.Val.Input != b.Val.Input {
			list = append(list, fmt.Sprintf("%s and %s were measured at different input sizes: their costs do not compare.", a.Name, b.Name))
		}
		if a.Val.Images != b.Val.Images {
			list = append(list, fmt.Sprintf("%s was measured on %d images and %s on %d.", a.Name, a.Val.Images, b.Name, b.Val.Images))
		}
	}
	return list
}
