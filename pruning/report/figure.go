package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// theme is a set of colours for plots.
type theme struct {
	paper, ink, muted, grid color.Color
	lines                   []color.Color
}

var light = theme{
	paper: rgb(0xffffff), ink: rgb(0x1c2330), muted: rgb(0x6a7485), grid: rgb(0xe8ebf0),
	lines: []color.Color{rgb(0x2563eb), rgb(0xd9730d), rgb(0x0a8a5f), rgb(0x8b3fd1), rgb(0xc92a3e), rgb(0x0b86a3)},
}

var dark = theme{
	paper: rgb(0x181d27), ink: rgb(0xe6e9ef), muted: rgb(0x98a2b3), grid: rgb(0x2b3240),
	lines: []color.Color{rgb(0x6ea8ff), rgb(0xf2a154), rgb(0x4cc79a), rgb(0xbd8cf5), rgb(0xff7a85), rgb(0x54c7e0)},
}

func rgb(v uint32) color.Color {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// newPlot is a plot without decoration in the theme's colours.
func (t *theme) newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = t.paper
	p.Title.Text = title
	p.Title.Padding = 6
	p.Title.TextStyle.Font = sans(11)
	p.Title.TextStyle.Color = t.ink
	p.Legend.TextStyle.Font = sans(9)
	p.Legend.TextStyle.Color = t.ink
	p.Legend.Top = true
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = sans(9)
		axis.Label.TextStyle.Color = t.ink
		axis.Label.Padding = 3
		axis.Tick.Label.Font = sans(8.5)
		axis.Tick.Label.Color = t.muted
		axis.Tick.LineStyle.Color = t.grid
		axis.LineStyle.Color = t.muted
		axis.LineStyle.Width = 0.5
		axis.Tick.Marker = plot.TickerFunc(roundTicks)
	}
	return p
}

// roundTicks labels the same values as the charts of the page.
func roundTicks(lo, hi float64) []plot.Tick {
	var list []plot.Tick
	for _, v := range ticks(lo, hi, 5) {
		list = append(list, plot.Tick{Value: v, Label: number(v)})
	}
	return list
}

// point is a measured stage in the plane of cost and precision.
type point struct {
	x, y    float64
	text    string // its label, "" for none
	minor   bool   // a small marker
	control bool   // a hollow marker that no arrow leads to
}

// trail is the way of one run through its stages.
type trail struct {
	color, ink color.Color // of the line, of its labels
	points     []point
}

// chart draws trails: markers, the arrows between them and labels that do not
// overlap. It is a plot.Plotter.
type chart struct {
	*theme
	trails []trail
}

const (
	markerRadius = vg.Length(4)
	minorRadius  = vg.Length(2.5)
	labelSize    = vg.Length(8.5)
)

func (p point) radius() vg.Length {
	if p.minor {
		return minorRadius
	}
	return markerRadius
}

// text is a label's words and their colour.
type text struct {
	string
	color color.Color
}

// Plot draws the trails over the whole plane first and the labels on top.
func (c *chart) Plot(canvas draw.Canvas, p *plot.Plot) {
	c.grid(canvas, p)
	toX, toY := p.Transforms(&canvas)
	s := scene{bounds: canvas.Rectangle, radius: markerRadius}
	var labels []label
	var texts []text
	style := draw.TextStyle{Font: sans(labelSize), Handler: p.TextHandler}
	for _, t := range c.trails {
		places := make([]vg.Point, len(t.points))
		for i, pt := range t.points {
			places[i] = vg.Point{X: toX(pt.x), Y: toY(pt.y)}
			if pt.text == "" {
				continue
			}
			size := vg.Point{X: style.Width(pt.text), Y: style.Height(pt.text)}
			labels = append(labels, label{anchor: places[i], size: size})
			texts = append(texts, text{pt.text, t.ink})
		}
		s.markers = append(s.markers, places...)
		s.segments = append(s.segments, c.drawTrail(canvas, t, places)...)
	}
	s.place(labels)
	for _, l := range labels {
		c.drawLeader(canvas, l)
	}
	for i, l := range labels {
		style.Color = texts[i].color
		c.drawLabel(canvas, style, l, texts[i].string)
	}
}

// grid draws a line at each labelled tick.
func (c *chart) grid(canvas draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&canvas)
	style := draw.LineStyle{Color: c.theme.grid, Width: 0.5}
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if !t.IsMinor() {
			canvas.StrokeLine2(style, toX(t.Value), canvas.Min.Y, toX(t.Value), canvas.Max.Y)
		}
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if !t.IsMinor() {
			canvas.StrokeLine2(style, canvas.Min.X, toY(t.Value), canvas.Max.X, toY(t.Value))
		}
	}
}

// drawTrail draws arrows and markers and returns where the arrows run.
func (c *chart) drawTrail(canvas draw.Canvas, t trail, places []vg.Point) []segment {
	var segments []segment
	last := -1
	for i, pt := range t.points {
		if pt.control {
			continue
		}
		if last >= 0 {
			g := segment{places[last], places[i]}
			segments = append(segments, g)
			drawArrow(canvas, t.color, g, t.points[last].radius()+1, pt.radius()+1.5)
		}
		last = i
	}
	for i, pt := range t.points {
		canvas.DrawGlyph(draw.GlyphStyle{Color: t.color, Radius: pt.radius(), Shape: draw.CircleGlyph{}}, places[i])
		if pt.control {
			canvas.DrawGlyph(draw.GlyphStyle{Color: c.paper, Radius: pt.radius() - 1.2, Shape: draw.CircleGlyph{}}, places[i])
		}
	}
	return segments
}

// drawArrow draws from one marker's rim to the other's; markers that touch
// leave no room for one.
func drawArrow(canvas draw.Canvas, col color.Color, g segment, before, after vg.Length) {
	d := g.to.Sub(g.from)
	n := length(d)
	const head = vg.Length(5)
	if n < before+after+1 {
		return
	}
	u := d.Scale(1 / n)
	side := vg.Point{X: -u.Y, Y: u.X}
	from, tip := g.from.Add(u.Scale(before)), g.to.Sub(u.Scale(after))
	base := tip.Sub(u.Scale(min(head, n-before-after)))
	canvas.StrokeLine2(draw.LineStyle{Color: col, Width: 1.1}, from.X, from.Y, base.X, base.Y)
	canvas.FillPolygon(col, []vg.Point{tip, base.Add(side.Scale(head * 0.4)), base.Sub(side.Scale(head * 0.4))})
}

// drawLeader draws a thin line from a marker to a label that could not stand
// beside it.
func (c *chart) drawLeader(canvas draw.Canvas, l label) {
	d := nearest(l.box, l.anchor).Sub(l.anchor)
	if !l.placed || length(d) < 2.5*markerRadius {
		return
	}
	start, end := l.anchor.Add(d.Scale((markerRadius+1)/length(d))), l.anchor.Add(d)
	canvas.StrokeLine2(draw.LineStyle{Color: c.muted, Width: 0.5}, start.X, start.Y, end.X, end.Y)
}

// drawLabel writes a label on a patch of paper, so that no line runs through
// it.
func (c *chart) drawLabel(canvas draw.Canvas, style draw.TextStyle, l label, text string) {
	if !l.placed {
		return
	}
	canvas.FillPolygon(c.paper, []vg.Point{
		l.box.Min, {X: l.box.Max.X, Y: l.box.Min.Y}, l.box.Max, {X: l.box.Min.X, Y: l.box.Max.Y},
	})
	// FillText puts the base line one font size above the point less the
	// ascent; it belongs one descent above the box's lower edge.
	ext := style.FontExtents()
	style.XAlign, style.YAlign = draw.XLeft, draw.YBottom
	canvas.FillText(style, l.box.Min.Add(vg.Point{Y: ext.Descent + ext.Ascent - style.Font.Size}), text)
}

// metric is a precision that a panel of the figure shows.
type metric struct {
	name string
	get  func(*Metrics) float64
}

var metrics = []metric{{"AP50", ap50}, {"AP", ap}}

// trail turns a run's stages into points. Undefined precisions have no place
// in the plane.
func (r *Run) trail(m metric, line, ink color.Color, text func(s *Stage, v float64) string) trail {
	t := trail{color: line, ink: ink}
	for i := range r.Stages {
		s := &r.Stages[i]
		v := m.get(&s.Val)
		if v < 0 {
			continue
		}
		label := text(s, v)
		t.points = append(t.points, point{
			x: float64(s.Val.FLOPs) / 1e9, y: v, text: label, minor: label == "", control: !s.step(),
		})
	}
	return t
}

// stagePanel shows one run: every stage a marker with its name and value.
func (r *Run) stagePanel(t *theme, i int) *plot.Plot {
	m := metrics[i]
	line := r.trail(m, t.lines[i], t.ink, func(s *Stage, v float64) string { return s.Name + " " + precision(v) })
	var input string
	if len(r.Stages) > 0 {
		input = r.Stages[0].Val.inputSize()
	}
	return flopsPlot(t, m.name, input, []trail{line})
}

// flopsPlot is the plane of cost and precision around its trails.
func flopsPlot(t *theme, name, input string, trails []trail) *plot.Plot {
	x := "GFLOPs (2 x MACs)"
	if input != "" {
		x = "GFLOPs (2 x MACs) at " + input
	}
	p := t.newPlot(name+" on val against cost", x, name)
	p.Add(&chart{t, trails})
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = planeRange(trails)
	return p
}

// planeRange starts the cost at zero, so that a saving is seen in proportion,
// and fits the precision with room for labels.
func planeRange(trails []trail) (xmin, xmax, ymin, ymax float64) {
	ymin, ymax = math.Inf(1), math.Inf(-1)
	for _, t := range trails {
		for _, p := range t.points {
			xmax = max(xmax, p.x)
			ymin, ymax = min(ymin, p.y), max(ymax, p.y)
		}
	}
	if xmax == 0 {
		xmax = 1
	}
	if ymin > ymax {
		ymin, ymax = 0, 1
	}
	room := max(0.15*(ymax-ymin), 0.02)
	return 0, 1.12 * xmax, max(ymin-room, 0), min(ymax+room, 1.02)
}

const (
	panelWidth  = 4.4 * vg.Inch
	panelHeight = 3.4 * vg.Inch
	plotDPI     = 180
)

// renderPNG draws plots side by side, in as many rows as given, with their
// axes aligned.
func renderPNG(t *theme, w, h vg.Length, dpi int, plots [][]*plot.Plot) ([]byte, error) {
	img := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(t.paper))
	tiles := draw.Tiles{
		Rows: len(plots), Cols: len(plots[0]), PadX: 14, PadY: 14,
		PadTop: 8, PadBottom: 6, PadLeft: 6, PadRight: 10,
	}
	canvases := plot.Align(plots, tiles, draw.New(img))
	for j, row := range plots {
		for i, p := range row {
			if p != nil {
				p.Draw(canvases[j][i])
			}
		}
	}
	var buf bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("drawing a plot: %w", err)
	}
	return buf.Bytes(), nil
}

// flopsPNG draws map_vs_flops.png: a panel per metric, side by side.
func flopsPNG(t *theme, panel func(t *theme, i int) *plot.Plot) ([]byte, error) {
	row := make([]*plot.Plot, len(metrics))
	for i := range row {
		row[i] = panel(t, i)
	}
	return renderPNG(t, vg.Length(len(row))*panelWidth, panelHeight, plotDPI, [][]*plot.Plot{row})
}

// picture is an image of the page in both themes.
type picture struct {
	light, dark []byte
	alt         string
}

// flopsPictures draws each panel alone and in both themes, for a page that
// stacks them where it is narrow.
func flopsPictures(panel func(t *theme, i int) *plot.Plot) ([]picture, error) {
	list := make([]picture, len(metrics))
	for i, m := range metrics {
		list[i].alt = m.name + " against GFLOPs"
		for _, side := range []struct {
			theme *theme
			data  *[]byte
		}{{&light, &list[i].light}, {&dark, &list[i].dark}} {
			data, err := renderPNG(side.theme, panelWidth, panelHeight, plotDPI, [][]*plot.Plot{{panel(side.theme, i)}})
			if err != nil {
				return nil, err
			}
			*side.data = data
		}
	}
	return list, nil
}
