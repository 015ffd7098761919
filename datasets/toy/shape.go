package toy

import (
	"image"
	"math"
	"math/rand/v2"

	"yoloprune/datasets"
)

// Classes of the drawn shapes.
const (
	circle = iota
	square
	triangle
)

// Names are the class names in order.
var Names = []string{"circle", "square", "triangle"}

// corners is the number of corners that each class is drawn with. 72 is a
// multiple of four, so the drawn circle reaches its full width and height.
var corners = []int{circle: 72, square: 4, triangle: 3}

// super is the factor by which scenes are drawn larger and then shrunk, which
// smooths edges and places corners to a quarter pixel.
const super = 4

// shape is a convex polygon in super-sampled pixels.
type shape struct {
	class   int
	outline []image.Point
	inside  []image.Point // the outline moved inwards by the edge's width
	area    float64       // of the outline, in super-sampled pixels
}

// newShape turns a regular polygon by a random angle, sizes it so that the
// larger side of its box is size pixels, and puts that box's centre at (x, y).
func newShape(rng *rand.Rand, class int, x, y, size float64) shape {
	n := corners[class]
	turn := 2 * math.Pi * rng.Float64()
	if class == circle {
		turn = 0
	}
	px, py := make([]float64, n), make([]float64, n)
	for i := range n {
		py[i], px[i] = math.Sincos(turn + 2*math.Pi*float64(i)/float64(n))
	}
	x0, x1 := extent(px)
	y0, y1 := extent(py)
	scale := size / max(x1-x0, y1-y0)
	x -= scale * (x0 + x1) / 2
	y -= scale * (y0 + y1) / 2
	edge := 1 - min(0.3, 2.5/size)
	s := shape{class: class}
	for i := range n {
		s.outline = append(s.outline, point(x+scale*px[i], y+scale*py[i]))
		s.inside = append(s.inside, point(x+edge*scale*px[i], y+edge*scale*py[i]))
	}
	s.area = area(s.outline)
	return s
}

func point(x, y float64) image.Point {
	return image.Pt(int(math.Round(super*x)), int(math.Round(super*y)))
}

func extent(v []float64) (lo, hi float64) {
	lo, hi = v[0], v[0]
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	return lo, hi
}

// area is the shoelace formula.
func area(p []image.Point) float64 {
	twice := 0
	for i, a := range p {
		b := p[(i+1)%len(p)]
		twice += a.X*b.Y - b.X*a.Y
	}
	return math.Abs(float64(twice)) / 2
}

// toBox turns a rectangle of super-sampled pixels into a box of the picture.
func toBox(class int, r image.Rectangle) datasets.Box {
	b := datasets.Box{
		Class: class,
		X:     float64(r.Min.X) / super,
		Y:     float64(r.Min.Y) / super,
		W:     float64(r.Dx()) / super,
		H:     float64(r.Dy()) / super,
	}
	b.Area = b.W * b.H
	return b
}

// iou is intersection over union.
func iou(a, b datasets.Box) float64 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}
