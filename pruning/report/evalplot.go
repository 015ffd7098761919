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

	"yoloprune/yolo/eval"
)

// namedCurves is up to how many classes each get a colour and a name.
const namedCurves = 6

// PlotPR draws precision over recall as a PNG, a line for every class with
// truths and a bold one for their mean, and F1 over the score.
func PlotPR(c *eval.Curves, path string) error {
	pr, err := light.prPlot(c)
	if err != nil {
		return err
	}
	f1, err := light.f1Plot(c)
	if err != nil {
		return err
	}
	data, err := renderPNG(&light, 2*panelWidth, panelHeight, plotDPI, [][]*plot.Plot{{pr, f1}})
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

func (t *theme) prPlot(c *eval.Curves) (*plot.Plot, error) {
	lines := classLines(c, prLine)
	mean := curve{name: "mean of classes", points: meanPrecision(c)}
	return t.unitPlot(fmt.Sprintf("Precision over recall, IoU %g", c.IoU), "recall", "precision", lines, mean)
}

func (t *theme) f1Plot(c *eval.Curves) (*plot.Plot, error) {
	lines := classLines(c, f1Line)
	best := c.All.Best()
	title := fmt.Sprintf("F1 over score, at best %.3f from %.3g on", best.F1, best.Score)
	return t.unitPlot(title, "score", "F1", lines, curve{"all classes", f1Line(c.All)})
}

// classLines lists the lines of the classes with truths.
func classLines(c *eval.Curves, line func(eval.Curve) []xy) []curve {
	var out []curve
	for _, k := range c.Classes {
		if k.Truths > 0 {
			out = append(out, curve{name: k.Category.Name, points: line(k)})
		}
	}
	return out
}

// prLine starts at recall 0 and makes precision fall.
func prLine(c eval.Curve) []xy {
	best := 0.0
	var out []xy
	for _, p := range slices.Backward(c.Points) {
		best = max(best, p.Precision)
		out = append(out, xy{p.Recall, best})
	}
	out = append(out, xy{0, best})
	slices.Reverse(out)
	return out
}

// f1Line runs by rising score.
func f1Line(c eval.Curve) []xy {
	var out []xy
	for _, p := range slices.Backward(c.Points) {
		out = append(out, xy{p.Score, p.F1})
	}
	return out
}

// meanPrecision is the mean over classes of the best precision at no less than
// each of 101 recalls.
func meanPrecision(c *eval.Curves) []xy {
	out := make([]xy, 101)
	lines := classLines(c, prLine)
	for i := range out {
		out[i].x = float64(i) / 100
		for _, l := range lines {
			at, _ := slices.BinarySearchFunc(l.points, out[i].x, func(p xy, x float64) int { return cmp.Compare(p.x, x) })
			if at < len(l.points) {
				out[i].y += l.points[at].y / float64(len(lines))
			}
		}
	}
	return out
}

// unitPlot draws thin lines and a bold one within the unit square. Many lines
// share one pale colour.
func (t *theme) unitPlot(title, x, y string, lines []curve, bold curve) (*plot.Plot, error) {
	p := t.newPlot(title, x, y)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = t.grid, t.grid
	p.Add(grid)
	p.Legend.Top, p.Legend.Left = false, true
	p.Legend.Padding = 2
	for i, l := range lines {
		style := draw.LineStyle{Color: blend(t.paper, t.muted, .5), Width: 0.4}
		if len(lines) <= namedCurves {
			style = draw.LineStyle{Color: t.lines[i%len(t.lines)], Width: 1}
		}
		if err := addLine(p, l, style, len(lines) <= namedCurves); err != nil {
			return nil, err
		}
	}
	if err := addLine(p, bold, draw.LineStyle{Color: t.ink, Width: 2}, true); err != nil {
		return nil, err
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1.02
	return p, nil
}

// addLine adds a line, and a dot where a line needs a second point. A curve
// without points adds nothing.
func addLine(p *plot.Plot, c curve, style draw.LineStyle, named bool) error {
	if len(c.points) == 0 {
		return nil
	}
	points := thin(c.points)
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.LineStyle = style
	p.Add(line)
	if len(points) == 1 {
		dots.GlyphStyle = draw.GlyphStyle{Color: style.Color, Radius: 2, Shape: draw.CircleGlyph{}}
		p.Add(dots)
	}
	if named {
		p.Legend.Add(c.name, line)
	}
	return nil
}

// thin leaves out points nearer to the last than a printed dot; the first and the
// last stay.
func thin(points []xy) plotter.XYs {
	const dot = 0.001
	var out plotter.XYs
	for i, v := range points {
		last := len(out) - 1
		if i > 0 && i < len(points)-1 && math.Abs(v.x-out[last].X) < dot && math.Abs(v.y-out[last].Y) < dot {
			continue
		}
		out = append(out, plotter.XY{X: v.x, Y: v.y})
	}
	return out
}

// rowHeight is that of a row of a large matrix.
const rowHeight = 0.13 * vg.Inch

// PlotConfusion draws a confusion matrix as a PNG: each row, a truth's class,
// shaded by the share of its truths, with the counts where there is room.
func PlotConfusion(c *eval.Confusion, path string) error {
	p := light.newPlot(fmt.Sprintf("Truths and what they were taken for (score over %g, IoU over %g)", c.Score, c.IoU), "detected", "truth")
	labels := c.Labels()
	m := &matrix{&light, c.Counts}
	p.Add(m)
	n := float64(len(labels))
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, n, 0, n
	p.X.Tick.Marker, p.Y.Tick.Marker = labelTicks(labels, false), labelTicks(labels, true)
	p.X.Tick.Label.Rotation = 1.2
	p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
	side, dpi := min(max(6*vg.Inch, vg.Length(n)*rowHeight+2*vg.Inch), 40*vg.Inch), plotDPI
	font := sans(min(8.5, .9*(side-2*vg.Inch)/vg.Length(n)))
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = font, font
	if side > 6*vg.Inch {
		dpi = 100
		p.X.Tick.Label.Rotation = math.Pi / 2
	}
	data, err := renderPNG(&light, side+vg.Inch/2, side, dpi, [][]*plot.Plot{{p}})
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// labelTicks puts a label at the middle of every row or column.
func labelTicks(labels []string, down bool) plot.ConstantTicks {
	var out plot.ConstantTicks
	for i, l := range labels {
		at := float64(i) + .5
		if down {
			at = float64(len(labels)) - at
		}
		out = append(out, plot.Tick{Value: at, Label: l})
	}
	return out
}

// matrix draws the cells of a confusion matrix, the first row on top. It is a
// plot.Plotter.
type matrix struct {
	*theme
	counts [][]int
}

// numberedClasses is up to how many rows a cell has room for its count.
const numberedClasses = 25

// Plot implements plot.Plotter.
func (m *matrix) Plot(canvas draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&canvas)
	n := len(m.counts)
	style := draw.TextStyle{Font: sans(vg.Length(min(8.5, 120/float64(n)))), XAlign: draw.XCenter, YAlign: draw.YCenter, Handler: p.TextHandler}
	for row, counts := range m.counts {
		total := 0
		for _, v := range counts {
			total += v
		}
		for col, v := range counts {
			if v == 0 {
				continue
			}
			share := float64(v) / float64(total)
			x0, x1 := toX(float64(col)), toX(float64(col+1))
			y0, y1 := toY(float64(n-row-1)), toY(float64(n-row))
			canvas.FillPolygon(blend(m.paper, m.lines[0], 0.08+0.92*share), []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
			if n > numberedClasses {
				continue
			}
			style.Color = m.ink
			if share > .5 {
				style.Color = m.paper
			}
			canvas.FillText(style, vg.Point{X: (x0 + x1) / 2, Y: (y0 + y1) / 2}, strconv.Itoa(v))
		}
	}
}

// blend mixes two opaque colours; share 1 is the second.
func blend(a, b color.Color, share float64) color.Color {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	mix := func(x, y uint32) uint8 { return uint8((float64(x)*(1-share) + float64(y)*share) / 257) }
	return color.RGBA{mix(ar, br), mix(ag, bg), mix(ab, bb), 255}
}
