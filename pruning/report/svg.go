package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The charts of the page are SVG elements that take their colours from the
// page's style sheet, so that they follow its theme. Coordinates are in the
// chart's own units; the y axis points down.
const (
	chartWidth, chartHeight = 320, 178
	chartLeft, chartRight   = 44, 312
	chartTop, chartBottom   = 8, 154
)

// svgChart is a chart of curves over epochs.
type svgChart struct {
	Title  string
	X, Y   []svgTick
	Lines  []svgLine
	Epochs int
}

// svgTick is a labelled position on an axis.
type svgTick struct {
	At   string
	Text string
}

// svgLine is a curve. Dot is set where a single point makes no line.
type svgLine struct {
	Name, Path, Last string
	Dot              *[2]string
}

// newSVGChart draws a panel; its ordinate starts at zero.
func newSVGChart(p panel) svgChart {
	x0, x1, top := math.Inf(1), math.Inf(-1), 0.0
	for _, c := range p.curves {
		for _, v := range c.points {
			x0, x1, top = min(x0, v.x), max(x1, v.x), max(top, v.y)
		}
	}
	if x0 == x1 {
		x0, x1 = x0-1, x1+1
	}
	if top == 0 {
		top = 1
	}
	toX := scale(x0, x1, chartLeft, chartRight)
	toY := scale(0, top*1.05, chartBottom, chartTop)
	c := svgChart{Title: p.title, Y: svgTicks(ticks(0, top*1.05, 4), toY)}
	for _, v := range ticks(x0, x1, 5) {
		if v == math.Trunc(v) {
			c.X = append(c.X, svgTick{at(toX(v)), number(v)})
		}
	}
	for _, line := range p.curves {
		c.Lines = append(c.Lines, newSVGLine(line, toX, toY))
	}
	return c
}

func newSVGLine(c curve, toX, toY func(float64) float64) svgLine {
	var path strings.Builder
	for i, v := range c.points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%s %s", command, at(toX(v.x)), at(toY(max(v.y, 0))))
	}
	last := c.points[len(c.points)-1]
	line := svgLine{Name: c.name, Path: path.String(), Last: strconv.FormatFloat(last.y, 'g', 3, 64)}
	if len(c.points) == 1 {
		line.Dot = &[2]string{at(toX(last.x)), at(toY(max(last.y, 0)))}
	}
	return line
}

// scale maps [a0, a1] onto [b0, b1].
func scale(a0, a1, b0, b1 float64) func(float64) float64 {
	return func(v float64) float64 { return b0 + (v-a0)/(a1-a0)*(b1-b0) }
}

func svgTicks(values []float64, to func(float64) float64) []svgTick {
	list := make([]svgTick, len(values))
	for i, v := range values {
		list[i] = svgTick{at(to(v)), number(v)}
	}
	return list
}

func at(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func number(v float64) string {
	if v != 0 && math.Abs(v) < 1e-4 {
		return strconv.FormatFloat(v, 'e', 0, 64)
	}
	return strconv.FormatFloat(v+0, 'g', 6, 64) // + 0 makes 0 of -0
}

// ticks returns round values in [lo, hi], about n of them: multiples of 1, 2
// or 5 times a power of ten, whichever comes closest.
func ticks(lo, hi float64, n int) []float64 {
	raw := (hi - lo) / float64(n)
	if !(raw > 0) || math.IsInf(raw, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	switch excess := raw / step; {
	case excess >= math.Sqrt(50):
		step *= 10
	case excess >= math.Sqrt(10):
		step *= 5
	case excess >= math.Sqrt(2):
		step *= 2
	}
	var list []float64
	for i := math.Ceil(lo / step); i*step <= hi && len(list) <= 2*n; i++ {
		// Rounding takes away what i*step gains in binary: 0.30000000000000004.
		v, _ := strconv.ParseFloat(strconv.FormatFloat(i*step, 'g', 12, 64), 64)
		list = append(list, v)
	}
	return list
}

// The histograms of gammas share one abscissa, |gamma| from 0 to an upper
// bound that all but a few stay under; the last bin holds those few too.
const (
	histBins                  = 32
	histWidth, histHeight     = 160, 72
	histBaseline, histCeiling = 70, 4
)

// svgHistogram compares |gamma| before and after the sparsity stage.
type svgHistogram struct {
	Title                     string
	Channels                  int
	Before, After             string // outlines
	MedianBefore, MedianAfter string
	X                         []svgTick // where there is room for them
	Height                    int
}

// gammaHistograms returns one histogram over all layers, one for every layer,
// and the upper bound of the abscissa.
func gammaHistograms(g *Gammas) (overall svgHistogram, layers []svgHistogram, bound string) {
	var before, after []float64
	for _, l := range g.Before {
		before = append(before, absolute(l.Gamma)...)
	}
	for _, l := range g.After {
		after = append(after, absolute(l.Gamma)...)
	}
	top := upperBound(append(slices.Clone(before), after...))
	overall = newSVGHistogram("All layers", before, after, top)
	overall.X, overall.Height = svgTicks(ticks(0, top, 5), scale(0, top, 0, histWidth)), histHeight+6
	for _, l := range g.After {
		i := slices.IndexFunc(g.Before, func(b LayerGamma) bool { return b.Layer == l.Layer })
		var first []float64
		if i >= 0 {
			first = absolute(g.Before[i].Gamma)
		}
		layers = append(layers, newSVGHistogram(fmt.Sprintf("Layer %d", l.Layer), first, absolute(l.Gamma), top))
	}
	return overall, layers, number(top)
}

func absolute(v []float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = math.Abs(v[i])
	}
	return out
}

// upperBound is the 99.5th percentile, rounded up to two digits; it stays in
// a range where the rounding is sound.
func upperBound(v []float64) float64 {
	if len(v) == 0 {
		return 1
	}
	slices.Sort(v)
	q := v[min(len(v)-1, int(0.995*float64(len(v))))]
	if q <= 0 {
		return 1
	}
	q = min(max(q, 1e-12), 1e12)
	unit := math.Pow(10, math.Floor(math.Log10(q))-1)
	bound, _ := strconv.ParseFloat(strconv.FormatFloat(math.Ceil(q/unit)*unit, 'g', 6, 64), 64)
	return bound
}

// newSVGHistogram scales both outlines alike, to the higher of the two.
func newSVGHistogram(title string, before, after []float64, top float64) svgHistogram {
	b, a := bins(before, top), bins(after, top)
	peak := 0.0
	for i := range histBins {
		peak = max(peak, b[i], a[i])
	}
	return svgHistogram{
		Title: title, Channels: len(after), Height: histHeight,
		Before: outline(b, peak), After: outline(a, peak),
		MedianBefore: medianText(before), MedianAfter: medianText(after),
	}
}

// bins returns the share of the values in every bin of [0, top].
func bins(v []float64, top float64) [histBins]float64 {
	var h [histBins]float64
	for _, x := range v {
		i := min(int(min(x/top, 1)*histBins), histBins-1)
		h[i] += 1 / float64(len(v))
	}
	return h
}

// outline walks around the bars from the left end of the base line to the
// right one. Without any bar there is none.
func outline(h [histBins]float64, peak float64) string {
	if slices.Max(h[:]) == 0 {
		return ""
	}
	toY := scale(0, peak, histBaseline, histCeiling)
	var path strings.Builder
	fmt.Fprintf(&path, "M0 %d", histBaseline)
	for i, share := range h {
		fmt.Fprintf(&path, "V%sH%s", at(toY(share)), at(float64(i+1)*histWidth/histBins))
	}
	fmt.Fprintf(&path, "V%dZ", histBaseline)
	return path.String()
}

// medianText writes the value in the middle, or the mean of the middle two.
func medianText(v []float64) string {
	if len(v) == 0 {
		return none
	}
	s := slices.Sorted(slices.Values(v))
	m := (s[(len(s)-1)/2] + s[len(s)/2]) / 2
	return strconv.FormatFloat(m, 'g', 3, 64)
}
