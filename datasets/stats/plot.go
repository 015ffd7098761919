package stats

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"yoloprune/datasets/labels"
)

var ink = color.RGBA{0x2b, 0x6c, 0xb0, 0xff}

// Plot writes classes.png, areas.png, aspects.png and sizes.png into dir and
// returns their names.
func (s *Stats) Plot(dir string) ([]string, error) {
	var names []string
	for _, f := range []struct {
		name string
		draw func() (*plot.Plot, error)
	}{{"classes.png", s.classes}, {"areas.png", s.areas}, {"aspects.png", s.aspects}, {"sizes.png", s.sizes}} {
		p, err := f.draw()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		width := vg.Length(6 * vg.Inch)
		if f.name == "classes.png" {
			width = min(max(width, vg.Length(len(s.Classes))*12), 40*vg.Inch)
		}
		if err := write(p, filepath.Join(dir, f.name), width); err != nil {
			return nil, err
		}
		names = append(names, f.name)
	}
	return names, nil
}

func write(p *plot.Plot, file string, width vg.Length) error {
	w, err := p.WriterTo(width, 4*vg.Inch, "png")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return err
	}
	return labels.Replace(file, b.Bytes())
}

// maxLabelled is the number of classes up to which their names fit.
const maxLabelled = 200

func (s *Stats) classes() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "boxes of each class"
	values := make(plotter.Values, len(s.Classes))
	names := make([]string, len(s.Classes))
	for i, c := range s.Classes {
		values[i], names[i] = float64(c.Boxes), c.Name
	}
	bars, err := plotter.NewBarChart(values, 8)
	if err != nil {
		return nil, err
	}
	bars.Color, bars.LineStyle.Width = ink, 0
	p.Add(bars)
	if len(names) <= maxLabelled {
		p.NominalX(names...)
		p.X.Tick.Label.Rotation = math.Pi / 2
		p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
	}
	p.Y.Min = 0
	return p, nil
}

func (s *Stats) areas() (*plot.Plot, error) {
	values := make(plotter.Values, len(s.widths))
	for i, w := range s.widths {
		values[i] = math.Sqrt(w * s.heights[i])
	}
	return histogram("box sizes", "square root of the area in pixels", values)
}

func (s *Stats) aspects() (*plot.Plot, error) {
	values := make(plotter.Values, len(s.widths))
	for i, w := range s.widths {
		values[i] = math.Log2(w / s.heights[i])
	}
	return histogram("box aspects", "log2 of width / height", values)
}

func histogram(title, x string, values plotter.Values) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, "boxes"
	if len(values) == 0 {
		return p, nil
	}
	h, err := plotter.NewHist(values, 40)
	if err != nil {
		return nil, err
	}
	h.FillColor = ink
	p.Add(h)
	return p, nil
}

func (s *Stats) sizes() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "widths and heights", "width in pixels", "height in pixels"
	points := make(plotter.XYs, len(s.widths))
	for i := range points {
		points[i] = plotter.XY{X: s.widths[i], Y: s.heights[i]}
	}
	if len(points) == 0 {
		return p, nil
	}
	dots, err := plotter.NewScatter(points)
	if err != nil {
		return nil, err
	}
	dots.Color, dots.Radius, dots.Shape = ink, 1, draw.CircleGlyph{}
	p.Add(dots)
	return p, nil
}
