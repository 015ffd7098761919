package report

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Analysis is what is known about a network before it is cut; analysis.json.
type Analysis struct {
	Model  string       `json:"model"`
	Input  [2]int       `json:"input"`
	Scales []LayerScale `json:"scales"`
	// Histogram[i] counts the scales |gamma| in the i-th quarter of a decade from
	// 1e-5 on; the first one those below it too, the last one those above it.
	Histogram [HistogramBins]int `json:"histogram"`
	NearZero  int                `json:"near_zero"` // scales below Below
	Channels  int                `json:"channels"`  // that have a scale
	Below     float64            `json:"below"`

	Images  int      `json:"images,omitempty"`
	AP50    *float64 `json:"AP50,omitempty"` // of the whole network
	MaxDrop float64  `json:"max_drop,omitempty"`
	Curves  []Curve  `json:"curves,omitempty"`
	Best    int      `json:"best"` // the curve that lies highest with batch norms measured again

	Sensitivity   []LayerDrop `json:"sensitivity,omitempty"`
	SensitivityBy string      `json:"sensitivity_by,omitempty"` // the criterion that chose
	Ratios        []float64   `json:"ratios,omitempty"`         // of the sensitivity's columns
	Advice        []string    `json:"advice"`
}

// HistogramBins quarters of decades reach from 1e-5 to 10.
const HistogramBins = 24

// Bin returns the bin of the histogram that a scale falls into.
func Bin(gamma float64) int {
	x := 4 * (math.Log10(math.Abs(gamma)) + 5)
	return int(min(max(math.Floor(x), 0), HistogramBins-1)) // 0 for a gamma of 0, whose logarithm is -Inf
}

// LayerScale sums up the batch-norm scales of one layer.
type LayerScale struct {
	Layer    int     `json:"layer"`
	Channels int     `json:"channels"`
	Least    float64 `json:"least"` // |gamma|
	Median   float64 `json:"median"`
	Greatest float64 `json:"greatest"`
	NearZero int     `json:"near_zero"`
}

// Curve is what one way of choosing channels leaves, by the size of the cut.
type Curve struct {
	Criterion string       `json:"criterion"`
	Strategy  string       `json:"strategy"`
	Normalize string       `json:"normalize,omitempty"`
	Points    []CurvePoint `json:"points"`
	Knee      *float64     `json:"knee,omitempty"` // FLOPs removed
	Safe      *float64     `json:"safe,omitempty"` // FLOPs that can be removed within MaxDrop
}

// Name is short for a curve's choices.
func (c *Curve) Name() string {
	if c.Normalize == "" {
		return c.Criterion + ", " + c.Strategy
	}
	return c.Criterion + ", " + c.Strategy + ", " + c.Normalize
}

// mean is the mean AP50 of the first n points, batch norms measured again.
func (c *Curve) mean(n int) float64 {
	sum := 0.0
	for _, p := range c.Points[:n] {
		sum += p.Recalibrated
	}
	return sum / float64(n)
}

// CurvePoint is one cut: the fraction of the FLOPs that it removed, and AP50
// right after it with removed channels taken as zero, with their constants
// folded in, and then with batch norms measured again.
type CurvePoint struct {
	FLOPs        float64 `json:"flops"`
	Raw          float64 `json:"raw"`
	Folded       float64 `json:"folded"`
	Recalibrated float64 `json:"recalibrated"`
}

// Rank finds every curve's knee and safe cut, and the best curve: that of the
// highest mean over the cuts that all of them reach, the first among equals.
func (a *Analysis) Rank() {
	n := math.MaxInt
	for i := range a.Curves {
		c := &a.Curves[i]
		c.Knee, c.Safe = FindKnee(*a.AP50, c.Points), FindSafe(*a.AP50, c.Points, a.MaxDrop)
		n = min(n, len(c.Points))
	}
	for i := range a.Curves {
		if a.Curves[i].mean(n) > a.Curves[a.Best].mean(n) {
			a.Best = i
		}
	}
}

// LayerDrop is AP50 lost when one group alone is cut, by ratio; NaN-free: a
// ratio that the group does not allow is nil.
type LayerDrop struct {
	ID    int        `json:"id"`
	Group string     `json:"group"`
	Drops []*float64 `json:"drops"`
}

// FindKnee returns the place of the curve through (0, y0) and the points, whose
// x rise, that lies highest above the chord from its first to its last point:
//
//	argmax_i (y_i - y_0) - (x_i - x_0) * (y_n - y_0)/(x_n - x_0)
//
// after Satopaa et al., Finding a "Kneedle" in a Haystack, ICDCS Workshops 2011,
// for a falling concave curve. Nil where no point lies above the chord.
func FindKnee(y0 float64, points []CurvePoint) *float64 {
	if len(points) < 2 {
		return nil
	}
	last := points[len(points)-1]
	slope := (last.Recalibrated - y0) / last.FLOPs
	var knee *float64
	best := 1e-9
	for _, p := range points {
		if d := p.Recalibrated - y0 - slope*p.FLOPs; d > best {
			x := p.FLOPs
			best, knee = d, &x
		}
	}
	return knee
}

// FindSafe returns the largest x up to which the curve, taken as linear between
// its points, never lies more than drop below y0; nil where the first point
// does already and drop is not above zero.
func FindSafe(y0 float64, points []CurvePoint, drop float64) *float64 {
	x, y := 0.0, y0
	for _, p := range points {
		if y0-p.Recalibrated > drop {
			x += (p.FLOPs - x) * (y - (y0 - drop)) / (y - p.Recalibrated)
			break
		}
		x, y = p.FLOPs, p.Recalibrated
	}
	if x == 0 {
		return nil
	}
	return &x
}

// Write writes analysis.json and the pictures that the analysis has data for:
// scales.png, curve.png and sensitivity.png.
func (a *Analysis) Write(dir string) error {
	out := []output{{"analysis.json", func() ([]byte, error) { return indented(a) }}}
	for _, p := range []struct {
		output
		has bool
	}{
		{output{"scales.png", a.scalesPNG}, a.Channels > 0},
		{output{"curve.png", a.curvePNG}, len(a.Curves) > 0},
		{output{"sensitivity.png", a.sensitivityPNG}, len(a.Sensitivity) > 0},
	} {
		if p.has {
			out = append(out, p.output)
		}
	}
	return writeAll(dir, out)
}

// scalesPNG shows, layer by layer, the range of |gamma| with its median, on a
// logarithmic axis, and the line below which a scale counts as near zero.
func (a *Analysis) scalesPNG() ([]byte, error) {
	t := &light
	p := t.newPlot(fmt.Sprintf("batch-norm scales: %d of %d below %g", a.NearZero, a.Channels, a.Below), "layer", "|gamma|: least, median, greatest")
	least, most := math.Log10(a.Below)-2, math.Log10(max(10*a.Below, 1))
	p.X.Min, p.X.Max = -1, 1
	for _, s := range a.Scales {
		most = max(most, math.Log10(1.2*s.Greatest))
		p.X.Max = max(p.X.Max, float64(s.Layer)+1)
	}
	p.Add(&ranges{t, a.Scales, math.Log10(a.Below)})
	p.Y.Tick.Marker = plot.TickerFunc(decades)
	p.Y.Min, p.Y.Max = least, most
	return renderPNG(t, 9*vg.Inch, 6.4*vg.Inch, 110, [][]*plot.Plot{{p}, {a.histogramPlot(t)}})
}

// histogramPlot shows how many scales there are of each size, and the line below
// which they count as near zero.
func (a *Analysis) histogramPlot(t *theme) *plot.Plot {
	p := t.newPlot("how many of each size", "|gamma|", "channels")
	bins := make([]plotter.HistogramBin, HistogramBins)
	for i, n := range a.Histogram {
		bins[i] = plotter.HistogramBin{Min: float64(i)/4 - 5, Max: float64(i+1)/4 - 5, Weight: float64(n)}
	}
	p.Add(&plotter.Histogram{Bins: bins, Width: 0.25, FillColor: t.lines[0], LineStyle: draw.LineStyle{Color: t.paper, Width: 0.5}})
	p.Add(&mark{t, math.Log10(a.Below), "near zero", true})
	p.X.Tick.Marker = plot.TickerFunc(decades)
	p.X.Min, p.X.Max = -5, 1
	return p
}

// decades labels the powers of ten of an axis of logarithms.
func decades(lo, hi float64) []plot.Tick {
	var list []plot.Tick
	for e := math.Ceil(lo); e <= hi; e++ {
		list = append(list, plot.Tick{Value: e, Label: strconv.FormatFloat(math.Pow(10, e), 'g', 3, 64)})
	}
	return list
}

// ranges draws a bar from the least to the greatest scale of every layer and a
// dot at the median, by their logarithms. What lies below the axis is drawn at its
// end.
type ranges struct {
	*theme
	layers []LayerScale
	below  float64 // the logarithm below which a scale is near zero
}

// Plot implements plot.Plotter.
func (r *ranges) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	near := toY(r.below)
	c.StrokeLine2(draw.LineStyle{Color: r.lines[4], Width: 0.8, Dashes: []vg.Length{3, 2}}, c.Min.X, near, c.Max.X, near)
	width := min(6, (c.Max.X-c.Min.X)/vg.Length(p.X.Max-p.X.Min)*0.6)
	for _, l := range r.layers {
		x := toX(float64(l.Layer))
		y := func(v float64) vg.Length { return toY(max(math.Log10(v), p.Y.Min)) }
		c.StrokeLine2(draw.LineStyle{Color: r.lines[0], Width: width}, x, y(l.Least), x, max(y(l.Greatest), y(l.Least)+1))
		c.DrawGlyph(draw.GlyphStyle{Color: r.lines[1], Radius: max(1.5, width/2), Shape: draw.CircleGlyph{}}, vg.Point{X: x, Y: y(l.Median)})
	}
}

// curvePNG shows AP50 over the FLOPs removed: the three stages of the only
// curve, or of several curves the last stage.
func (a *Analysis) curvePNG() ([]byte, error) {
	t := &light
	p := t.newPlot(fmt.Sprintf("AP50 after a cut, nothing trained (%d images)", a.Images), "fraction of the FLOPs removed", "AP50")
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = t.grid, t.grid
	p.Add(grid)
	for i, c := range a.lines() {
		if err := t.addCurve(p, c, i, true); err != nil {
			return nil, err
		}
	}
	p.Y.Min, p.Y.Max = 0, max(1.1**a.AP50, 0.05)
	p.X.Min, p.X.Max = 0, 1
	if knee := a.Curves[a.Best].Knee; knee != nil {
		p.Add(&mark{t, *knee, "knee " + significant(*knee, 2), false})
	}
	return renderPNG(t, 6.6*vg.Inch, 4.2*vg.Inch, 130, [][]*plot.Plot{{p}})
}

func (a *Analysis) lines() []curve {
	if len(a.Curves) == 1 {
		c := &a.Curves[0]
		return []curve{
			a.line("batch norms measured again", c, func(p CurvePoint) float64 { return p.Recalibrated }),
			a.line("right after the cut", c, func(p CurvePoint) float64 { return p.Folded }),
			a.line("without fold", c, func(p CurvePoint) float64 { return p.Raw }),
		}
	}
	var out []curve
	for i := range a.Curves {
		c := &a.Curves[i]
		out = append(out, a.line(c.Name(), c, func(p CurvePoint) float64 { return p.Recalibrated }))
	}
	n := len(a.Curves[0].Points)
	slices.SortStableFunc(out, func(x, y curve) int { return cmp.Compare(y.at(n), x.at(n)) })
	return out[:min(len(out), len(light.lines))]
}

// at is the height of the curve at its n-th point or its last.
func (c curve) at(n int) float64 { return c.points[min(n, len(c.points)-1)].y }

func (a *Analysis) line(name string, c *Curve, y func(CurvePoint) float64) curve {
	out := curve{name: name, points: []xy{{0, *a.AP50}}}
	for _, p := range c.Points {
		out.points = append(out.points, xy{p.FLOPs, y(p)})
	}
	return out
}

// mark is a dashed vertical line with its name.
type mark struct {
	*theme
	x    float64
	text string
	left bool // the name stands at the top left of the line, not at the bottom right
}

// Plot implements plot.Plotter.
func (m *mark) Plot(c draw.Canvas, p *plot.Plot) {
	toX, _ := p.Transforms(&c)
	x := toX(m.x)
	c.StrokeLine2(draw.LineStyle{Color: m.muted, Width: 0.8, Dashes: []vg.Length{3, 2}}, x, c.Min.Y, x, c.Max.Y)
	style := draw.TextStyle{Font: sans(8.5), Color: m.muted, Handler: p.TextHandler}
	at := vg.Point{X: x + 3, Y: c.Min.Y + 4}
	if m.left {
		style.XAlign = draw.XRight
		at = vg.Point{X: x - 3, Y: c.Max.Y - 12}
	}
	c.FillText(style, at, m.text)
}

// Cells of the table of drops, in points.
const (
	cellWidth, cellHeight = vg.Length(52), vg.Length(15)
	nameWidth             = vg.Length(190)
)

// sensitivityPNG is a table of groups and ratios, each cell coloured and
// labelled with the AP50 that is lost.
func (a *Analysis) sensitivityPNG() ([]byte, error) {
	p := light.newPlot("AP50 lost when one group alone is cut by", "", "")
	p.HideAxes()
	p.Add(&drops{&light, a})
	w := nameWidth + cellWidth*vg.Length(len(a.Ratios)) + 24
	h := cellHeight*vg.Length(len(a.Sensitivity)+1) + 46
	return renderPNG(&light, w, h, 130, [][]*plot.Plot{{p}})
}

// drops draws the table.
type drops struct {
	*theme
	a *Analysis
}

// Plot implements plot.Plotter.
func (d *drops) Plot(c draw.Canvas, p *plot.Plot) {
	style := draw.TextStyle{Font: sans(8.5), Color: d.ink, Handler: p.TextHandler, XAlign: draw.XCenter, YAlign: draw.YCenter}
	left := style
	left.XAlign = draw.XLeft
	cell := func(row, col int) vg.Point {
		return vg.Point{X: c.Min.X + nameWidth + (vg.Length(col)+0.5)*cellWidth, Y: c.Max.Y - (vg.Length(row)+0.5)*cellHeight}
	}
	for j, r := range d.a.Ratios {
		c.FillText(style, cell(0, j), strconv.FormatFloat(100*r, 'f', -1, 64)+" %")
	}
	for i, l := range d.a.Sensitivity {
		c.FillText(left, vg.Point{X: c.Min.X, Y: cell(i+1, 0).Y}, shortened(l.Group, 42))
		for j, v := range l.Drops {
			d.drawCell(c, style, cell(i+1, j), v)
		}
	}
}

func (d *drops) drawCell(c draw.Canvas, style draw.TextStyle, at vg.Point, v *float64) {
	if v == nil {
		style.Color = d.muted
		c.FillText(style, at, "-")
		return
	}
	share := 1.0
	if d.a.AP50 != nil && *d.a.AP50 > 0 {
		share = min(1, max(0, *v / *d.a.AP50))
	}
	r := vg.Rectangle{Min: vg.Point{X: at.X - cellWidth/2 + 0.5, Y: at.Y - cellHeight/2 + 0.5}, Max: vg.Point{X: at.X + cellWidth/2 - 0.5, Y: at.Y + cellHeight/2 - 0.5}}
	c.SetColor(heat(share))
	c.Fill(r.Path())
	if share > 0.55 {
		style.Color = d.paper
	}
	c.FillText(style, at, strconv.FormatFloat(*v+0, 'f', 3, 64))
}

// shortened keeps a text within n characters.
func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// heat goes from white over orange to a dark red; the root spreads small drops.
func heat(share float64) color.Color {
	x := math.Sqrt(share)
	at := func(a, b, c float64) uint8 {
		if x < 0.5 {
			return uint8(a + (b-a)*2*x)
		}
		return uint8(b + (c-b)*(2*x-1))
	}
	return color.RGBA{at(255, 247, 150), at(255, 168, 20), at(255, 92, 35), 255}
}
