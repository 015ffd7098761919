// Package draw paints detections into an image: a box and a label in the
// colour of the class.
package draw

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"yoloprune/yolo/head"

	"gocv.io/x/gocv"
)

const font = gocv.FontHersheySimplex

// Detections paints boxes, class names and scores into an 8-bit BGR image.
// Boxes are in its pixels; detections stand with the best first, as
// head.Detect returns them, and the best is painted last, on top. Line and
// letter sizes follow the image's. A class without a name gets its number; a
// box that is not finite or lies outside is left out.
func Detections(img *gocv.Mat, names []string, dets []head.Detection) {
	if img == nil || img.Ptr() == nil || img.Empty() {
		return
	}
	p := newPainter(img)
	for i := len(dets) - 1; i >= 0; i-- {
		d := dets[i]
		r, ok := p.pixels(d.Box)
		if !ok {
			continue
		}
		c := Colour(d.Class)
		p.frame(r, c)
		p.label(r, text(names, d), c)
	}
}

// Colour returns the colour of a class. Hues go round by the golden angle, so
// that any few neighbours are far apart.
func Colour(class int) color.RGBA {
	const golden = 0.6180339887498949
	hue := math.Mod(float64(class)*golden, 1)
	if hue < 0 {
		hue++
	}
	channel := func(shift float64) uint8 {
		k := math.Mod(shift+6*hue, 6)
		return uint8(math.Round(255 * (1 - 0.85*max(0, min(k, 4-k, 1)))))
	}
	return color.RGBA{channel(5), channel(3), channel(1), 255}
}

func text(names []string, d head.Detection) string {
	if d.Class < 0 || d.Class >= len(names) {
		return fmt.Sprintf("class %d %.2f", d.Class, d.Score)
	}
	return fmt.Sprintf("%s %.2f", names[d.Class], d.Score)
}

// painter knows the sizes that suit one image.
type painter struct {
	img    *gocv.Mat
	bounds image.Rectangle
	line   int
	scale  float64
}

func newPainter(img *gocv.Mat) painter {
	side := float64(min(img.Cols(), img.Rows()))
	return painter{
		img:    img,
		bounds: image.Rect(0, 0, img.Cols(), img.Rows()),
		line:   max(1, int(math.Round(side/250))),
		scale:  min(max(side/900, 0.35), 3),
	}
}

// pixels rounds a box and cuts it at the image's edge.
func (p painter) pixels(b head.Box) (image.Rectangle, bool) {
	edges := [4]int{}
	for i, v := range [4]float64{b.X, b.Y, b.X + b.W, b.Y + b.H} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return image.Rectangle{}, false
		}
		edges[i] = int(math.Round(min(max(v, -1), math.MaxInt32)))
	}
	r := image.Rectangle{image.Pt(edges[0], edges[1]), image.Pt(edges[2], edges[3])}.Intersect(p.bounds)
	return r, !r.Empty()
}

// frame paints a rectangle's border inwards from its edge.
func (p painter) frame(r image.Rectangle, c color.RGBA) {
	in := r.Inset(p.line)
	if in.Empty() {
		p.fill(r, c)
		return
	}
	p.fill(image.Rect(r.Min.X, r.Min.Y, r.Max.X, in.Min.Y), c)
	p.fill(image.Rect(r.Min.X, in.Max.Y, r.Max.X, r.Max.Y), c)
	p.fill(image.Rect(r.Min.X, in.Min.Y, in.Min.X, in.Max.Y), c)
	p.fill(image.Rect(in.Max.X, in.Min.Y, r.Max.X, in.Max.Y), c)
}

// fill paints the pixels of r that lie in the image, and no others: gocv's
// Rectangle smooths its edges and counts the far corner in.
func (p painter) fill(r image.Rectangle, c color.RGBA) {
	if r = r.Intersect(p.bounds); r.Empty() {
		return
	}
	part := p.img.Region(r)
	defer part.Close()
	part.SetTo(gocv.NewScalar(float64(c.B), float64(c.G), float64(c.R), 0))
}

// label writes the text on a plate over the box, or inside its top where there
// is no room over it.
func (p painter) label(box image.Rectangle, s string, c color.RGBA) {
	size, below := gocv.GetTextSizeWithBaseline(s, font, p.scale, 1)
	pad := 1 + p.line
	plate := image.Rect(0, 0, size.X+2*pad, size.Y+below+pad)
	at := image.Pt(box.Min.X, box.Min.Y-plate.Dy())
	if at.Y < 0 {
		at.Y = box.Min.Y
	}
	at.X = max(0, min(at.X, p.bounds.Max.X-plate.Dx()))
	plate = plate.Add(at)
	p.fill(plate, c)
	gocv.PutTextWithParams(p.img, s, at.Add(image.Pt(pad, pad+size.Y)), font, p.scale, ink(c), 1, gocv.LineAA, false)
}

// ink is black on light colours and white on dark ones (Rec. 601 luma).
func ink(c color.RGBA) color.RGBA {
	if 0.299*float64(c.R)+0.587*float64(c.G)+0.114*float64(c.B) > 140 {
		return color.RGBA{A: 255}
	}
	return color.RGBA{255, 255, 255, 255}
}
