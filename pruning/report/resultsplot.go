package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// PlotResults draws the curves of a results.csv as a PNG: the losses, the
// precisions, the learning rate and, where it was counted, the share of gammas
// near zero. It is made to be called after every epoch; the PNG is replaced in
// one step.
func PlotResults(csvPath, pngPath string) error {
	epochs, err := readResults(csvPath)
	if err != nil {
		return err
	}
	data, err := resultsPNG(epochs)
	if err != nil {
		return err
	}
	return writeFile(pngPath, data)
}

func resultsPNG(epochs []Epoch) ([]byte, error) {
	rows := [][]*plot.Plot{{nil, nil}, {nil, nil}}
	for i, p := range panels(epochs) {
		drawn, err := light.curvesPlot(p)
		if err != nil {
			return nil, err
		}
		rows[i/2][i%2] = drawn
	}
	return renderPNG(&light, 9*vg.Inch, 6*vg.Inch, 110, rows)
}

// curvesPlot draws one panel, its ordinate starting at zero.
func (t *theme) curvesPlot(p panel) (*plot.Plot, error) {
	out := t.newPlot(p.title, "epoch", "")
	out.Legend.Top = !p.rising
	out.Legend.Padding = 2
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = t.grid, t.grid
	out.Add(grid)
	for i, c := range p.curves {
		if err := t.addCurve(out, c, i, len(p.curves) > 1); err != nil {
			return nil, err
		}
	}
	out.Y.Min = 0
	if out.Y.Max <= 0 {
		out.Y.Max = 1
	}
	out.Y.Max *= 1.05
	if out.X.Min == out.X.Max {
		out.X.Min, out.X.Max = out.X.Min-1, out.X.Max+1
	}
	return out, nil
}

// addCurve draws a line, and a dot where a line needs a second point.
func (t *theme) addCurve(p *plot.Plot, c curve, i int, named bool) error {
	points := make(plotter.XYs, len(c.points))
	for j, v := range c.points {
		points[j] = plotter.XY{X: v.x, Y: v.y}
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	col := t.lines[i%len(t.lines)]
	line.LineStyle = draw.LineStyle{Color: col, Width: 1.4}
	p.Add(line)
	if len(points) == 1 {
		dots.GlyphStyle = draw.GlyphStyle{Color: col, Radius: 3, Shape: draw.CircleGlyph{}}
		p.Add(dots)
	}
	if named {
		p.Legend.Add(c.name, line)
	}
	return nil
}
