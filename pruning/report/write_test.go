package report

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write renders a run and returns its files by name.
func write(t *testing.T, r *Run) map[string][]byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report")
	if err := r.Write(out); err != nil {
		t.Fatal(err)
	}
	return readAll(t, out)
}

// fullReport is the report of an unchanged run folder, rendered once.
func fullReport(t *testing.T) map[string][]byte {
	t.Helper()
	if rendered == nil {
		rendered = write(t, load(t, runFolder(t, "bccd")))
	}
	return rendered
}

var rendered map[string][]byte

func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// element is an opening tag with its attributes and the text that stands in
// it, but not in an element inside it.
type element struct {
	name  string
	attrs map[string]string
	text  string
}

// elements reads a page and fails on tags that do not nest.
func elements(t *testing.T, page []byte) []element {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var list []element
	var open []int // indices of the elements around
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the page does not parse: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = append(open, len(list))
			e := element{token.Name.Local, map[string]string{}, ""}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			list = append(list, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				list[open[len(open)-1]].text += string(token)
			}
		}
	}
	if len(open) != 0 {
		t.Fatalf("%d elements are left open", len(open))
	}
	return list
}

// texts collects what elements of a name hold.
func texts(list []element, name string) []string {
	var out []string
	for _, e := range list {
		if e.name == name {
			out = append(out, strings.TrimSpace(e.text))
		}
	}
	return out
}

func has(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

func TestWriteCSV(t *testing.T) {
	want := `stage,params,macs,flops,bytes,ap,ap50,test_ap,test_ap50,latency_ms
baseline,1476096,508500000,1017000000,5913404,0.572,0.866,0.552,0.863,24.31
sparsified,1476096,508500000,1017000000,5913404,0.498,0.852,0.509,0.827,24.12
pruned,352252,147500000,295000000,1418028,0.117,0.304,0.116,0.294,11.74
recalibrated,352252,147500000,295000000,1418028,0.308,0.702,0.26,0.58,11.81
finetuned,352252,147500000,295000000,1418028,0.561,0.861,0.534,0.831,11.69
scratch,352252,147500000,295000000,1418028,0.514,0.843,0.469,0.806,11.72
`
	got := fullReport(t)["report.csv"]
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteCSVWithoutTestLatencyAndPrecision(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	m := exampleStages[0].metrics(-1, -1, 0)
	delete(m, "latency_ms")
	writeJSON(t, filepath.Join(dir, "val", "baseline", "metrics.json"), m)
	want := strings.Join(csvHeader, ",") + "\nbaseline,1476096,508500000,1017000000,5913404,-1,-1,,,\n"
	if got := string(write(t, load(t, dir))["report.csv"]); got != want {
		t.Errorf("report.csv\n%s, want\n%s", got, want)
	}
}

func TestWriteJSON(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal(fullReport(t)["report.json"], &got); err != nil {
		t.Fatal(err)
	}
	if k, want := keys(got), "[experiment machine protocol stages]"; k != want {
		t.Errorf("keys %s, want %s", k, want)
	}
	if got["experiment"] != "bccd" {
		t.Errorf("experiment %v, want bccd", got["experiment"])
	}
	if p := got["protocol"].(map[string]any)["resize"]; p != "stretch" {
		t.Errorf("protocol.resize %v, want stretch", p)
	}
	if m := got["machine"].(map[string]any)["cpu"]; m != "Example CPU @ 2.50GHz" {
		t.Errorf("machine.cpu %v", m)
	}
	stages := got["stages"].([]any)
	if len(stages) != 6 {
		t.Fatalf("%d stages, want 6", len(stages))
	}
	want := map[string]any{
		"name": "finetuned", "params": 352252.0, "macs": 147500000.0, "flops": 295000000.0, "bytes": 1418028.0,
		"AP": .561, "AP50": .861, "test_AP": .534, "test_AP50": .831, "latency_ms": 11.69,
	}
	if diff := cmp.Diff(want, stages[4]); diff != "" {
		t.Error(diff)
	}
}

func TestWriteJSONWithoutTestAndLatency(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	m := exampleStages[0].metrics(.8, -1, 0)
	delete(m, "latency_ms")
	delete(m, "protocol")
	writeJSON(t, filepath.Join(dir, "val", "baseline", "metrics.json"), m)
	want := `{
  "experiment": "run",
  "stages": [
    {
      "name": "baseline",
      "params": 1476096,
      "macs": 508500000,
      "flops": 1017000000,
      "bytes": 5913404,
      "AP": -1,
      "AP50": 0.8,
      "latency_ms": null
    }
  ],
  "protocol": null,
  "machine": null
}
`
	if diff := cmp.Diff(want, string(write(t, load(t, dir))["report.json"])); diff != "" {
		t.Error(diff)
	}
}

func TestWriteMarkdown(t *testing.T) {
	got := string(fullReport(t)["report.md"])
	for _, want := range []string{
		"# bccd\n\n-71 % FLOPs, -76 % parameters, AP50 0.866 -> 0.861, test AP50 0.863 -> 0.831\n",
		"| Stage | Params | MACs | FLOPs | Weights file | AP50 val | AP val | AP50 test | AP test | AP50 mean | AP mean | Latency |\n|---|---:|",
		"| baseline | 1.476 M | 508.5 M | 1.017 G | 5.91 MB | 0.866 | 0.572 | 0.863 | 0.552 | 0.865 | 0.562 | 24.3 ms |\n",
		"| finetuned | 352.3 k (-76 %) | 147.5 M (-71 %) |",
		"Latency: median of 50 forwards of one image (batch 1), 2 threads, input 320 x 320.",
		"Target flops: asked -70.0 %, reached -71.0 %.",
		"![AP50 and AP against GFLOPs](map_vs_flops.png)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("report.md lacks %q:\n%s", want, got)
		}
	}
}

func TestWriteHTMLIsSelfContained(t *testing.T) {
	page := fullReport(t)["report.html"]
	for _, bad := range []string{"http:", "https:", "<script", "@import", "url(", "ZgotmplZ"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	images := 0
	for _, e := range elements(t, page) {
		for _, name := range []string{"src", "srcset", "href"} {
			v, ok := e.attrs[name]
			if ok && !strings.HasPrefix(v, "data:") && !strings.HasPrefix(v, "#") {
				t.Errorf("<%s %s=%q> leaves the page", e.name, name, v)
			}
		}
		if e.name == "img" {
			images++
			checkDataURI(t, e.attrs["src"])
		}
	}
	// Two panels, three samples of two stages.
	if images != 2+3*2 {
		t.Errorf("%d images, want 8", images)
	}
}

func checkDataURI(t *testing.T, uri string) {
	t.Helper()
	mime, data, _ := strings.Cut(uri, ";base64,")
	if _, err := base64.StdEncoding.DecodeString(data); err != nil || !strings.HasPrefix(mime, "data:image/") {
		t.Errorf("%.40s: not an image in base64: %v", uri, err)
	}
}

func TestWriteHTMLShowsTheRun(t *testing.T) {
	list := elements(t, fullReport(t)["report.html"])
	if got := texts(list, "h1"); len(got) != 1 || got[0] != "bccd" {
		t.Errorf("h1 %q, want bccd", got)
	}
	if want := "−71 % FLOPs, −76 % parameters, AP50 0.866 → 0.861, test AP50 0.863 → 0.831"; !has(texts(list, "p"), want) {
		t.Errorf("no headline %q", want)
	}
	for _, c := range []struct{ element, want string }{
		{"dd", "asked −70.0 %, reached −71.0 %"},
		{"dd", "320 x 320"},             // protocol
		{"dd", "Example CPU @ 2.50GHz"}, // machine
		{"dd", "4.6.0"},
		{"td", "feeds a yolo head"},
		{"th", "Platelets"},
		{"td", "24.3 ms"},
		{"td", "0.865"}, // (0.866+0.863)/2 = 0.8645
		{"summary", "AP on test"},
		{"summary", "resolved.yaml"},
		{"b", "All layers"},
		{"b", "Layer 18"},
		{"b", "Share of gammas near zero"},
		{"figcaption", "finetuned, 2.jpg"},
	} {
		if !has(texts(list, c.element), c.want) {
			t.Errorf("no <%s> holding %q", c.element, c.want)
		}
	}
	for _, text := range texts(list, "p") {
		if strings.HasPrefix(text, "Not run") {
			t.Errorf("a full run says %q", text)
		}
	}
}

func TestWriteHTMLEscapes(t *testing.T) {
	const evil = `<b>&"'`
	dir := runFolder(t, "run")
	writeText(t, filepath.Join(dir, "resolved.yaml"), "name: '<i>x'\n# </pre><script>alert(1)</script>\n")
	metrics := filepath.Join(dir, "val", "baseline", "metrics.json")
	edit(t, metrics, func(m map[string]any) {
		m["classes50"] = map[string]float64{evil: .5}
		m["protocol"] = map[string]any{evil: evil}
	})
	edit(t, filepath.Join(dir, "env.json"), func(m map[string]any) { m["cpu"] = evil })
	writeJSON(t, filepath.Join(dir, "prune", "layers.json"), []Layer{{Type: "convolutional", Before: 8, After: 8, Protected: evil}})
	page := write(t, load(t, dir))["report.html"]
	list := elements(t, page)
	for _, c := range []struct{ element, want string }{
		{"h1", "<i>x"}, {"th", evil}, {"td", evil}, {"dt", evil}, {"dd", evil},
		{"pre", "name: '<i>x'\n# </pre><script>alert(1)</script>"},
	} {
		if !has(texts(list, c.element), c.want) {
			t.Errorf("no <%s> holding %q", c.element, c.want)
		}
	}
	for _, bad := range []string{"<i>", "<script", "<b>&"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %q unescaped", bad)
		}
	}
}

func TestWriteOneStageOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "young")
	writeJSON(t, filepath.Join(dir, "val", "baseline", "metrics.json"), exampleStages[0].metrics(.866, .572, 87))
	r := load(t, dir)
	if got, want := r.Headline(), "baseline only: 1.476 M parameters, 1.017 G FLOPs, AP50 0.866"; got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
	list := elements(t, write(t, r)["report.html"])
	p := texts(list, "p")
	for _, want := range []string{
		"Not run: there is no results.csv.",
		"Not run: there is no prune/layers.json.",
		"Not run: there is no sparsify/gammas.json.",
		"Not run: there are no samples.",
		"Not known: there is no env.json.",
		"Not known: there is no resolved.yaml.",
	} {
		if !has(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if has(texts(list, "h3"), "Requested and reached") || has(texts(list, "small"), "test") {
		t.Error("the page compares, or has columns for a test split")
	}
	if want := "val/pruned/metrics.json"; !strings.Contains(strings.Join(p, " "), want) {
		t.Errorf("the list of what was not run lacks %s", want)
	}
}

func TestWriteNoStage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "young")
	writeText(t, filepath.Join(dir, "train", "results.csv"), "epoch,loss\n")
	r := load(t, dir)
	if got := r.Headline(); got != "no stage was measured" {
		t.Errorf("headline %q", got)
	}
	files := write(t, r)
	if p := texts(elements(t, files["report.html"]), "p"); !has(p, "Not run: no stage was measured.") || !has(p, "No epoch has ended yet.") {
		t.Errorf("the page says %q", p)
	}
	if _, err := png.Decode(bytes.NewReader(files["map_vs_flops.png"])); err != nil {
		t.Errorf("map_vs_flops.png: %v", err)
	}
	if want := "\"stages\": []"; !bytes.Contains(files["report.json"], []byte(want)) {
		t.Errorf("report.json lacks %s", want)
	}
}

func TestWriteUndefinedPrecision(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for _, s := range exampleStages[:3] {
		m := s.metrics(-1, -1, 87)
		m["classes50"] = map[string]float64{"RBC": -1}
		writeJSON(t, filepath.Join(dir, "val", s.name, "metrics.json"), m)
	}
	r := load(t, dir)
	if got, want := r.Headline(), "-71 % FLOPs, -76 % parameters, AP50 - -> -"; got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
	for _, row := range r.stageTable(false).Rows {
		if row.Cells[4] != (cell{Value: "-"}) || row.Cells[5] != (cell{Value: "-"}) {
			t.Errorf("%s: AP50 %+v and AP %+v, want - without a change", row.Name, row.Cells[4], row.Cells[5])
		}
	}
	page := write(t, r)["report.html"]
	if bytes.Contains(page, []byte("-1.000")) || !has(texts(elements(t, page), "td"), "-") {
		t.Error("the page does not show an undefined precision as -")
	}
}

func TestWriteWithoutTestSplit(t *testing.T) {
	dir := runFolder(t, "run")
	for _, s := range exampleStages {
		if err := os.Remove(filepath.Join(dir, "val", s.name, "test.json")); err != nil {
			t.Fatal(err)
		}
	}
	files := write(t, load(t, dir))
	list := elements(t, files["report.html"])
	for _, unit := range []string{"test", "mean"} {
		if has(texts(list, "small"), unit) {
			t.Errorf("the stage table has a column for %s", unit)
		}
	}
	if has(texts(list, "summary"), "AP50 on test") {
		t.Error("there is a table of classes on test")
	}
	if strings.Contains(string(files["report.md"]), "test") {
		t.Error("report.md speaks of test")
	}
}

// A stage that alone lacks its test split leaves a gap and no mean.
func TestWriteTestSplitOfSomeStages(t *testing.T) {
	dir := runFolder(t, "run")
	if err := os.Remove(filepath.Join(dir, "val", "pruned", "test.json")); err != nil {
		t.Fatal(err)
	}
	row := load(t, dir).stageTable(true).Rows[2]
	for i, want := range []string{"0.304", "0.117", "-", "-", "-", "-"} {
		if got := row.Cells[4+i].Value; got != want {
			t.Errorf("pruned, column %d: %s, want %s", 4+i, got, want)
		}
	}
}

func TestWriteWithoutSamplesOfTheResult(t *testing.T) {
	dir := runFolder(t, "run")
	for _, s := range exampleStages[1:] {
		if err := os.RemoveAll(filepath.Join(dir, "val", s.name, "samples")); err != nil {
			t.Fatal(err)
		}
	}
	v := load(t, dir).samplesView()
	if v.First != "baseline" || v.Second != "" || len(v.Rows) != 3 || len(v.Rows[0].Images) != 1 {
		t.Errorf("%q and %q in %d rows; want the baseline alone in 3", v.First, v.Second, len(v.Rows))
	}
}

func TestWriteTwiceGivesTheSameBytes(t *testing.T) {
	dir := runFolder(t, "run")
	first, second := write(t, load(t, dir)), write(t, load(t, dir))
	if len(first) != 5 {
		t.Errorf("%d files, want 5", len(first))
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestWriteSaysWhenItCannot(t *testing.T) {
	r := load(t, runFolder(t, "run"))
	file := filepath.Join(t.TempDir(), "file")
	writeText(t, file, "")
	if err := r.Write(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names %s", err, file)
	}
}

func TestFilesAreReadableByAll(t *testing.T) {
	out := filepath.Join(t.TempDir(), "report")
	if err := load(t, runFolder(t, "run")).Write(out); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(out, "report.html"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, error %v; want 0644", info.Mode(), err)
	}
}

func TestWarnings(t *testing.T) {
	dir := runFolder(t, "run")
	edit(t, filepath.Join(dir, "val", "finetuned", "metrics.json"), func(m map[string]any) {
		m["protocol"].(map[string]any)["nms"] = 0.45
		m["input"] = []int{416, 416}
		m["images"] = 80
		m["threads"] = 1
	})
	r := load(t, dir)
	want := []string{
		"baseline and finetuned were evaluated under different protocols: their precisions do not compare.",
		"baseline and finetuned were measured at different input sizes: their costs do not compare.",
		"baseline was measured on 87 images and finetuned on 80.",
	}
	if diff := cmp.Diff(want, r.warnings()); diff != "" {
		t.Error(diff)
	}
	if got := r.latencyNote(); !strings.HasPrefix(got, "Latencies were not taken alike: baseline median of 50") ||
		!strings.Contains(got, "finetuned median of 50 forwards of one image (batch 1), 1 thread, input 416 x 416") {
		t.Errorf("latency note %q", got)
	}
	p := texts(elements(t, write(t, r)["report.html"]), "p")
	for _, w := range want {
		if !has(p, w) {
			t.Errorf("the page does not warn: %s", w)
		}
	}
}

func TestMarkdownText(t *testing.T) {
	if got, want := markdownText("a|b_<c>*"), "a\\|b\\_&lt;c>\\*"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestClassTables(t *testing.T) {
	dir := runFolder(t, "run")
	edit(t, filepath.Join(dir, "val", "finetuned", "metrics.json"), func(m map[string]any) {
		m["classes50"] = map[string]float64{"RBC": .9, "WBC": -1, "new": .25}
	})
	tables := load(t, dir).classTables()
	var titles []string
	for _, c := range tables {
		titles = append(titles, c.Title)
	}
	if got, want := fmt.Sprint(titles), "[AP50 on val AP on val AP50 on test AP on test]"; got != want {
		t.Fatalf("tables %s, want %s", got, want)
	}
	const finetuned = 4
	got := map[string]cell{}
	for _, r := range tables[0].Rows {
		got[r.Name] = r.Cells[finetuned]
	}
	want := map[string]cell{
		"Platelets": {Value: "-"},
		"RBC":       {Value: "0.900", Change: "+0.034", Tone: "good"}, // 0.9 - 0.866
		"WBC":       {Value: "-"},
		"new":       {Value: "0.250"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
