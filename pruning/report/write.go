package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Write makes outDir and in it report.html, report.json, report.csv, report.md
// and map_vs_flops.png. Every file is replaced in one step.
func (r *Run) Write(outDir string) error {
	return writeAll(outDir, []output{
		{"map_vs_flops.png", func() ([]byte, error) { return flopsPNG(&light, r.stagePanel) }},
		{"report.json", func() ([]byte, error) { return indented(r.summary()) }},
		{"report.csv", r.csv},
		{"report.md", func() ([]byte, error) { return []byte(r.Markdown()), nil }},
		{"report.html", r.html},
	})
}

type output struct {
	name string
	make func() ([]byte, error)
}

func writeAll(dir string, outputs []output) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, o := range outputs {
		data, err := o.make()
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		if err := writeFile(filepath.Join(dir, o.name), data); err != nil {
			return err
		}
	}
	return nil
}

func indented(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// summary is report.json; its keys are a contract. A precision of -1 is
// undefined; a latency of null was not measured.
type summary struct {
	Experiment string          `json:"experiment"`
	Stages     []stageSummary  `json:"stages"`
	Protocol   json.RawMessage `json:"protocol"`
	Machine    json.RawMessage `json:"machine"`
}

type stageSummary struct {
	Name      string   `json:"name"`
	Params    int64    `json:"params"`
	MACs      int64    `json:"macs"`
	FLOPs     int64    `json:"flops"`
	Bytes     int64    `json:"bytes"`
	AP        float64  `json:"AP"`
	AP50      float64  `json:"AP50"`
	TestAP    *float64 `json:"test_AP,omitempty"`
	TestAP50  *float64 `json:"test_AP50,omitempty"`
	LatencyMS *float64 `json:"latency_ms"`
}

func (r *Run) summary() summary {
	s := summary{Experiment: r.Name, Stages: []stageSummary{}, Machine: r.Machine}
	for i := range r.Stages {
		s.Stages = append(s.Stages, r.Stages[i].summary())
	}
	if len(r.Stages) > 0 {
		s.Protocol = r.Stages[0].Val.Protocol
	}
	return s
}

func (s *Stage) summary() stageSummary {
	out := stageSummary{
		Name: s.Name, Params: s.Val.Params, MACs: s.Val.MACs, FLOPs: s.Val.FLOPs, Bytes: s.Val.Bytes,
		AP: s.Val.AP, AP50: s.Val.AP50,
	}
	if s.Test != nil {
		out.TestAP, out.TestAP50 = &s.Test.AP, &s.Test.AP50
	}
	if s.Val.LatencyMS > 0 {
		out.LatencyMS = &s.Val.LatencyMS
	}
	return out
}

var csvHeader = []string{"stage", "params", "macs", "flops", "bytes", "ap", "ap50", "test_ap", "test_ap50", "latency_ms"}

// csv is report.csv. A precision of -1 is undefined; an empty cell was not
// measured.
func (r *Run) csv() ([]byte, error) {
	rows := [][]string{csvHeader}
	for i := range r.Stages {
		rows = append(rows, r.Stages[i].csvRow())
	}
	return encodeCSV(rows)
}

func (s *Stage) csvRow() []string {
	v := s.summary()
	return []string{
		v.Name, strconv.FormatInt(v.Params, 10), strconv.FormatInt(v.MACs, 10), strconv.FormatInt(v.FLOPs, 10),
		strconv.FormatInt(v.Bytes, 10), decimal(&v.AP), decimal(&v.AP50), decimal(v.TestAP), decimal(v.TestAP50), decimal(v.LatencyMS),
	}
}

func decimal(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

func encodeCSV(rows [][]string) ([]byte, error) {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	err := w.WriteAll(rows)
	return buf.Bytes(), err
}

// Markdown is report.md: the headline, the stage table and how it was
// measured. The figure is linked, not held.
func (r *Run) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", markdownText(r.Name), r.Headline())
	b.WriteString(r.stageTable(hasTest(r.Stages)).markdown())
	fmt.Fprintf(&b, "\nIn brackets: change against the baseline. FLOPs = 2 x MACs. %s\n", r.latencyNote())
	if note := r.imagesNote(); note != "" {
		fmt.Fprintf(&b, "Images: %s.\n", note)
	}
	for _, w := range r.warnings() {
		fmt.Fprintf(&b, "\n**%s**\n", markdownText(w))
	}
	for _, p := range r.reached() {
		fmt.Fprintf(&b, "\nTarget %s: %s.\n", p.Key, p.Value)
	}
	b.WriteString("\n![AP50 and AP against GFLOPs](map_vs_flops.png)\n")
	if len(r.Stages) > 0 {
		writeFacts(&b, "Protocol", facts(r.Stages[0].Val.Protocol, protocolOrder...))
	}
	writeFacts(&b, "Machine", facts(r.Machine, machineOrder...))
	return b.String()
}

func writeFacts(b *strings.Builder, title string, list []pair) {
	if len(list) == 0 {
		return
	}
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = markdownText(p.Key + " " + p.Value)
	}
	fmt.Fprintf(b, "\n%s: %s.\n", title, strings.Join(words, ", "))
}

// markdown writes the table with figures to the right.
func (t table) markdown() string {
	var b strings.Builder
	b.WriteString("| Stage |")
	for _, h := range t.Head {
		fmt.Fprintf(&b, " %s |", strings.TrimSpace(h.Name+" "+h.Unit))
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(t.Head)) + "\n")
	for _, row := range t.Rows {
		name := row.Name
		if row.Group != "" {
			name = row.Group + ": " + name
		}
		fmt.Fprintf(&b, "| %s |", markdownText(name))
		for _, c := range row.Cells {
			b.WriteString(" " + c.Value)
			if c.Change != "" {
				fmt.Fprintf(&b, " (%s)", c.Change)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// markdownText keeps text from being read as markup.
func markdownText(s string) string {
	return strings.NewReplacer(
		"\\", "\\\\", "|", "\\|", "<", "&lt;", "&", "&amp;", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "\n", " ",
	).Replace(s)
}
