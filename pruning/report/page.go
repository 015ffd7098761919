package report

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"regexp"
	"strings"
)

//go:embed templates/*.tmpl
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"typeset": typeset,
	"short":   func(v int64) string { return short(float64(v), 3) },
	"percent": func(part, whole int) string { return at(100 * float64(part) / float64(max(whole, 1))) },
	"chart": func() map[string]int {
		return map[string]int{
			"W": chartWidth, "H": chartHeight, "Left": chartLeft, "Right": chartRight, "Top": chartTop, "Bottom": chartBottom,
			"HistW": histWidth, "HistH": histHeight,
		}
	},
}).ParseFS(templateFiles, "templates/*.tmpl"))

// typeset replaces the ASCII minus sign of a number, and the ASCII arrow, by
// typographic ones.
func typeset(s string) string {
	return minus.ReplaceAllString(strings.ReplaceAll(s, "->", "→"), "$1−$2")
}

var minus = regexp.MustCompile(`(^|[^0-9A-Za-z])-([0-9])`)

// dataURI holds bytes inside the page. The bytes come from our own drawing or
// from a file that was decoded as an image, and base64 needs no escaping.
func dataURI(mime string, data []byte) string {
	return "data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(data)
}

// themed is a picture with a variant for dark pages.
type themed struct {
	Alt   string
	Light template.URL
	Dark  template.Srcset
}

func themedPictures(list []picture) []themed {
	out := make([]themed, len(list))
	for i, p := range list {
		out[i] = themed{
			Alt:   p.alt,
			Light: template.URL(dataURI("image/png", p.light)),
			Dark:  template.Srcset(dataURI("image/png", p.dark)),
		}
	}
	return out
}

// page is what report.html shows.
type page struct {
	Name, Headline string
	Cards          []card
	Warnings       []string
	NotRun         []string
	Stages         table
	HasTest        bool
	Meanings       []pair
	LatencyNote    string
	ImagesNote     string
	Reached        []pair
	Figures        []themed
	Training       []trainingView
	Layers         layersView
	Gammas         *gammasView
	Samples        samplesView
	Classes        []classTable
	Coco           []cocoTable
	Protocol       []pair
	Machine        []pair
	Config         string
}

// card is a number at the top of the page.
type card struct{ Name, From, To, Change, Tone string }

type trainingView struct {
	Stage   string
	Summary string
	Charts  []svgChart
}

type layersView struct {
	Rows          []Layer
	Widest        int
	Before, After int
	Others        int
}

type gammasView struct {
	Overall svgHistogram
	Layers  []svgHistogram
	Bound   string
}

type samplesView struct {
	First, Second string // names of the two stages; Second is "" when there is one
	Rows          []sampleRow
	Skipped       int
}

type sampleRow struct {
	Name   string
	Images []sampleImage
}

type sampleImage struct {
	Stage         string
	Width, Height int
	URI           template.URL
}

// classTable compares the classes over the stages.
type classTable struct {
	Title  string
	Stages []string
	Rows   []row
}

// cocoTable lists COCO's twelve numbers of every stage.
type cocoTable struct {
	Title string
	Head  []string
	Rows  []row
}

var protocolOrder = []string{"evaluator", "conf", "nms", "nms_kind", "max_det", "input", "resize", "letterbox"}
var machineOrder = []string{"cpu", "threads", "os", "go", "versions.opencv", "versions.onednn", "seed", "started"}

// html renders report.html.
func (r *Run) html() ([]byte, error) {
	pictures, err := flopsPictures(r.stagePanel)
	if err != nil {
		return nil, err
	}
	p := page{
		Name: r.Name, Headline: r.Headline(), Cards: r.cards(), Warnings: r.warnings(), NotRun: r.Missing,
		Stages: r.stageTable(hasTest(r.Stages)), HasTest: hasTest(r.Stages), Meanings: r.meanings(),
		LatencyNote: r.latencyNote(), ImagesNote: r.imagesNote(), Reached: r.reached(),
		Training: r.trainingViews(), Layers: newLayersView(r.Layers), Samples: r.samplesView(),
		Classes: r.classTables(), Coco: r.cocoTables(), Machine: facts(r.Machine, machineOrder...), Config: r.Config,
	}
	if len(r.Stages) > 0 {
		p.Figures = themedPictures(pictures)
		p.Protocol = facts(r.Stages[0].Val.Protocol, protocolOrder...)
	}
	if r.Gammas != nil {
		p.Gammas = newGammasView(r.Gammas)
	}
	return render("report.tmpl", p)
}

func render(name string, data any) ([]byte, error) {
	var buf bytes.Buffer
	if err := templates.ExecuteTemplate(&buf, name, data); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// cards puts the quantities that matter most on top.
func (r *Run) cards() []card {
	base, final := r.Baseline(), r.Final()
	if base == nil || final == nil {
		return nil
	}
	var cards []card
	for _, q := range quantities {
		from, ok := q.value(base)
		to, ok2 := q.value(final)
		if !ok || !ok2 || q.head == "MACs" || q.head == "AP" || q.unit == "mean" {
			continue
		}
		c := card{Name: strings.TrimSpace(q.head + " " + q.unit), From: q.text(from), To: q.text(to), Change: q.change(from, to)}
		c.Tone = tone(c.Change, q.higherBetter)
		cards = append(cards, c)
	}
	return cards
}

var meanings = map[string]string{
	"baseline":     "the detector as trained",
	"sparsified":   "after training that drives batch-norm scales to zero; nothing is cut yet",
	"pruned":       "right after the cut, nothing repaired: a low precision here is expected",
	"recalibrated": "batch-norm statistics measured anew on training images",
	"finetuned":    "trained on after the cut",
	control:        "a control: the cut net trained from new weights",
}

func (r *Run) meanings() []pair {
	var list []pair
	for _, s := range r.Stages {
		word, round := splitRound(s.Name)
		if text, ok := meanings[word]; ok && round == 1 {
			list = append(list, pair{s.Name, text})
		}
	}
	return list
}

func (r *Run) imagesNote() string {
	if len(r.Stages) == 0 || r.Stages[0].Val.Images == 0 {
		return ""
	}
	note := fmt.Sprintf("val: %d images", r.Stages[0].Val.Images)
	if t := r.Stages[0].Test; t != nil && t.Images > 0 {
		note += fmt.Sprintf(", test: %d images", t.Images)
	}
	return note
}

func (r *Run) trainingViews() []trainingView {
	var list []trainingView
	for _, t := range r.Training {
		v := trainingView{Stage: t.Stage, Summary: t.summary()}
		for _, p := range panels(t.Epochs) {
			v.Charts = append(v.Charts, newSVGChart(p))
		}
		list = append(list, v)
	}
	return list
}

// summary says how long a stage took and where it was best.
func (t *Training) summary() string {
	parts := []string{fmt.Sprintf("%d %s", len(t.Epochs), plural(len(t.Epochs), "epoch"))}
	var seconds float64
	for _, e := range t.Epochs {
		if !math.IsNaN(e.Seconds) {
			seconds += e.Seconds
		}
	}
	if seconds > 0 {
		parts = append(parts, fmt.Sprintf("%s (%.1f s an epoch)", duration(seconds), seconds/float64(len(t.Epochs))))
	}
	best := xy{y: -1}
	for _, p := range series(t.Epochs, "AP50") {
		if p.y > best.y {
			best = p
		}
	}
	if best.y >= 0 {
		parts = append(parts, fmt.Sprintf("best AP50 %s at epoch %.0f", precision(best.y), best.x))
	}
	return strings.Join(parts, ", ")
}

// newLayersView keeps the layers that own channels, and those that are
// protected; a route or a pooling layer only follows what it reads.
func newLayersView(layers []Layer) layersView {
	var v layersView
	for _, l := range layers {
		if l.Type != "convolutional" && l.Protected == "" {
			v.Others++
			continue
		}
		v.Rows = append(v.Rows, l)
		v.Widest = max(v.Widest, l.Before)
		if l.Type == "convolutional" {
			v.Before += l.Before
			v.After += l.After
		}
	}
	return v
}

func newGammasView(g *Gammas) *gammasView {
	var v gammasView
	v.Overall, v.Layers, v.Bound = gammaHistograms(g)
	return &v
}

// samplesView puts the baseline's images beside the result's.
func (r *Run) samplesView() samplesView {
	var stages []*Stage
	for _, s := range []*Stage{r.Baseline(), r.finalWithSamples()} {
		if s != nil && len(s.Samples) > 0 {
			stages = append(stages, s)
		}
	}
	var v samplesView
	for i, s := range stages {
		if i == 0 {
			v.First = s.Name
		} else {
			v.Second = s.Name
		}
		v.Skipped = max(v.Skipped, s.Skipped)
		for _, sample := range s.Samples {
			v.add(s.Name, sample)
		}
	}
	return v
}

func (r *Run) finalWithSamples() *Stage {
	for i := len(r.Stages) - 1; i >= 0; i-- {
		if s := &r.Stages[i]; s.step() && s.Name != steps[0] && len(s.Samples) > 0 {
			return s
		}
	}
	return nil
}

func (v *samplesView) add(stage string, s Sample) {
	img := sampleImage{stage, s.Width, s.Height, template.URL(dataURI(s.MIME, s.Data))}
	for i := range v.Rows {
		if v.Rows[i].Name == s.Name {
			v.Rows[i].Images = append(v.Rows[i].Images, img)
			return
		}
	}
	v.Rows = append(v.Rows, sampleRow{s.Name, []sampleImage{img}})
}

// classTables has a table for each split and precision that was measured.
func (r *Run) classTables() []classTable {
	var list []classTable
	for _, split := range splits {
		for _, m := range []struct {
			name string
			get  func(*Metrics) map[string]float64
		}{
			{"AP50", func(m *Metrics) map[string]float64 { return m.Classes50 }},
			{"AP", func(m *Metrics) map[string]float64 { return m.Classes }},
		} {
			t := r.classTable(m.name+" on "+split.name, func(s *Stage) map[string]float64 {
				if of := split.of(s); of != nil {
					return m.get(of)
				}
				return nil
			})
			if len(t.Rows) > 0 {
				list = append(list, t)
			}
		}
	}
	return list
}

var splits = []struct {
	name string
	of   func(*Stage) *Metrics
}{
	{"val", func(s *Stage) *Metrics { return &s.Val }},
	{"test", func(s *Stage) *Metrics { return s.Test }},
}

func (r *Run) classTable(title string, get func(*Stage) map[string]float64) classTable {
	t := classTable{Title: title}
	names := map[string]float64{}
	var stages []*Stage
	for i := range r.Stages {
		if values := get(&r.Stages[i]); len(values) > 0 {
			stages = append(stages, &r.Stages[i])
			t.Stages = append(t.Stages, r.Stages[i].Name)
			for name := range values {
				names[name] = 0
			}
		}
	}
	for _, name := range sortedKeys(names) {
		line := row{Name: name}
		for _, s := range stages {
			line.Cells = append(line.Cells, classCell(name, get(s), r.Baseline(), s, get))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// classCell is one class in one stage, with its change from the baseline.
func classCell(name string, values map[string]float64, base, s *Stage, get func(*Stage) map[string]float64) cell {
	v, ok := values[name]
	if !ok || v < 0 {
		return cell{Value: none}
	}
	c := cell{Value: precision(v)}
	if base == nil || base.Name == s.Name {
		return c
	}
	if from, ok := get(base)[name]; ok && from >= 0 {
		c.Change = difference(from, v)
		c.Tone = tone(c.Change, true)
	}
	return c
}

func (r *Run) cocoTables() []cocoTable {
	var list []cocoTable
	for _, split := range splits {
		t := cocoTable{Title: "COCO's twelve numbers on " + split.name}
		for i := range r.Stages {
			m := split.of(&r.Stages[i])
			if m == nil {
				continue
			}
			line := row{Name: r.Stages[i].Name}
			t.Head = t.Head[:0]
			for _, f := range m.figures() {
				t.Head = append(t.Head, f.name)
				line.Cells = append(line.Cells, cell{Value: orNone(f.value)})
			}
			t.Rows = append(t.Rows, line)
		}
		if len(t.Rows) > 0 {
			list = append(list, t)
		}
	}
	return list
}
