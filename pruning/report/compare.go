package report

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/plot"
)

// comparison is several runs side by side.
type comparison struct {
	runs  []*Run
	names []string // unique
}

// Compare writes several runs into one report: report.html, report.json
// ({runs: [...]}, each as in a single report), report.csv (the columns of a
// single report after one named run), report.md and map_vs_flops.png.
func Compare(runs []*Run, outDir string) error {
	if len(runs) == 0 {
		return errors.New("no run to compare")
	}
	c := &comparison{runs, uniqueNames(runs)}
	return writeAll(outDir, []output{
		{"map_vs_flops.png", func() ([]byte, error) { return flopsPNG(&light, c.panel) }},
		{"report.json", func() ([]byte, error) { return indented(c.summary()) }},
		{"report.csv", c.csv},
		{"report.md", func() ([]byte, error) { return []byte(c.markdown()), nil }},
		{"report.html", c.html},
	})
}

// uniqueNames calls runs by their experiment, or by their folder where
// experiments repeat, and numbers what is still the same.
func uniqueNames(runs []*Run) []string {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.Name
	}
	for i, r := range runs {
		if repeated(runs, r.Name) {
			names[i] = folderName(r.Dir)
		}
	}
	seen := map[string]bool{}
	for i, name := range names {
		for n := 2; seen[names[i]]; n++ {
			names[i] = fmt.Sprintf("%s (%d)", name, n)
		}
		seen[names[i]] = true
	}
	return names
}

func repeated(runs []*Run, name string) bool {
	n := 0
	for _, r := range runs {
		if r.Name == name {
			n++
		}
	}
	return n > 1
}

// panel shows every run as a trail that carries the run's name at its end.
// Steps between the baseline and the result are small markers.
func (c *comparison) panel(t *theme, i int) *plot.Plot {
	var trails []trail
	var inputs []string
	for j, r := range c.runs {
		name, end := c.names[j], r.end()
		color := t.lines[j%len(t.lines)]
		trails = append(trails, r.trail(metrics[i], color, color, func(s *Stage, _ float64) string {
			if s == end {
				return name
			}
			return ""
		}))
		for _, s := range r.Stages {
			inputs = append(inputs, s.Val.inputSize())
		}
	}
	input := ""
	if inputs = slices.Compact(inputs); len(inputs) == 1 {
		input = inputs[0]
	}
	return flopsPlot(t, metrics[i].name, input, trails)
}

// end is the stage that stands for the run's result, or nil.
func (r *Run) end() *Stage {
	if s := r.Final(); s != nil {
		return s
	}
	if len(r.Stages) == 0 {
		return nil
	}
	return &r.Stages[0]
}

func (c *comparison) test() bool {
	return slices.ContainsFunc(c.runs, func(r *Run) bool { return hasTest(r.Stages) })
}

// table has the rows of every run, each compared with its own baseline.
func (c *comparison) table() table {
	var t table
	for i, r := range c.runs {
		one := r.stageTable(c.test())
		for j := range one.Rows {
			one.Rows[j].Group = c.names[i]
		}
		t.Head = one.Head
		t.Rows = append(t.Rows, one.Rows...)
	}
	return t
}

// headlines says for each run what it did.
func (c *comparison) headlines() []pair {
	list := make([]pair, len(c.runs))
	for i, r := range c.runs {
		list[i] = pair{c.names[i], r.Headline()}
	}
	return list
}

// notes names how each run's latencies were taken.
func (c *comparison) notes() []pair {
	list := make([]pair, len(c.runs))
	for i, r := range c.runs {
		list[i] = pair{c.names[i], r.latencyNote()}
	}
	return list
}

// warnings lists what keeps runs from being compared.
func (c *comparison) warnings() []string {
	var list []string
	first := -1
	for i, r := range c.runs {
		for _, w := range r.warnings() {
			list = append(list, c.names[i]+": "+w)
		}
		if len(r.Stages) == 0 {
			list = append(list, c.names[i]+": no stage was measured.")
			continue
		}
		if first < 0 {
			first = i
			continue
		}
		list = append(list, c.differences(first, i)...)
	}
	return list
}

func (c *comparison) differences(i, j int) []string {
	a, b := &c.runs[i].Stages[0].Val, &c.runs[j].Stages[0].Val
	var list []string
	say := func(differ bool, what string) {
		if differ {
			list = append(list, fmt.Sprintf("%s and %s %s", c.names[i], c.names[j], what))
		}
	}
	say(!sameJSON(a.Protocol, b.Protocol), "were evaluated under different protocols: their precisions do not compare.")
	say(a.Images != b.Images, "were measured on different numbers of images: their precisions do not compare.")
	say(a.Input != b.Input, "have different input sizes: a precision at one cost is not one at the other.")
	say(c.runs[i].processor() != c.runs[j].processor(), "ran on different processors: their latencies do not compare.")
	return list
}

// processor is "" where env.json names none.
func (r *Run) processor() string {
	for _, p := range facts(r.Machine) {
		if p.Key == "cpu" {
			return p.Value
		}
	}
	return ""
}

func (c *comparison) summary() any {
	list := make([]summary, len(c.runs))
	for i, r := range c.runs {
		list[i] = r.summary()
	}
	return struct {
		Runs []summary `json:"runs"`
	}{list}
}

func (c *comparison) csv() ([]byte, error) {
	rows := [][]string{append([]string{"run"}, csvHeader...)}
	for i, r := range c.runs {
		for j := range r.Stages {
			rows = append(rows, append([]string{c.names[i]}, r.Stages[j].csvRow()...))
		}
	}
	return encodeCSV(rows)
}

func (c *comparison) markdown() string {
	out := "# Comparison of runs\n\n"
	for _, h := range c.headlines() {
		out += fmt.Sprintf("- %s: %s\n", markdownText(h.Key), h.Value)
	}
	out += "\n" + c.table().markdown()
	out += "\nIn brackets: change against the run's own baseline. FLOPs = 2 x MACs.\n\n"
	for _, n := range c.notes() {
		out += fmt.Sprintf("- %s: %s\n", markdownText(n.Key), markdownText(n.Value))
	}
	for _, w := range c.warnings() {
		out += fmt.Sprintf("\n**%s**\n", markdownText(w))
	}
	return out + "\n![AP50 and AP against GFLOPs](map_vs_flops.png)\n"
}

func (c *comparison) html() ([]byte, error) {
	pictures, err := flopsPictures(c.panel)
	if err != nil {
		return nil, err
	}
	return render("compare.tmpl", struct {
		Headlines, Notes []pair
		Warnings         []string
		Stages           table
		Figures          []themed
	}{c.headlines(), c.notes(), c.warnings(), c.table(), themedPictures(pictures)})
}
