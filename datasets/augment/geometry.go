package augment

import (
	"math"
	"math/rand/v2"

	"yoloprune/datasets"
)

// Affine maps pixel edges, per axis:
//
//	x' = SX*x + TX        y' = SY*y + TY
//
// A negative scale mirrors. Pixel i covers [i, i+1), so its centre is i + 1/2.
type Affine struct{ SX, TX, SY, TY float64 }

// Rect is an area of an image, in pixel edges.
type Rect struct{ X0, Y0, X1, Y1 float64 }

func rectOf(b datasets.Box) Rect { return Rect{b.X, b.Y, b.X + b.W, b.Y + b.H} }

// Area returns the area, 0 for an empty rectangle.
func (r Rect) Area() float64 { return max(r.X1-r.X0, 0) * max(r.Y1-r.Y0, 0) }

// Intersect returns the common part, which may be empty.
func (r Rect) Intersect(s Rect) Rect {
	return Rect{max(r.X0, s.X0), max(r.Y0, s.Y0), min(r.X1, s.X1), min(r.Y1, s.Y1)}
}

// Apply maps a rectangle. An empty one stays empty, whatever the signs.
func (a Affine) Apply(r Rect) Rect {
	out := Rect{a.SX*r.X0 + a.TX, a.SY*r.Y0 + a.TY, a.SX*r.X1 + a.TX, a.SY*r.Y1 + a.TY}
	if a.SX < 0 {
		out.X0, out.X1 = out.X1, out.X0
	}
	if a.SY < 0 {
		out.Y0, out.Y1 = out.Y1, out.Y0
	}
	return out
}

// indices returns the 2 x 3 matrix of the same map between pixel indices,
// which is what OpenCV's warpAffine takes: with centres at i + 1/2,
//
//	i' = S*(i + 1/2) + T - 1/2
func (a Affine) indices() [2][3]float64 {
	return [2][3]float64{
		{a.SX, 0, a.TX + (a.SX-1)/2},
		{0, a.SY, a.TY + (a.SY-1)/2},
	}
}

// draw picks a random map from a canvas of cw x ch to an image of w x h: the
// canvas's centre goes near the image's centre.
func (o *Options) draw(rng *rand.Rand, cw, ch, w, h int) Affine {
	scale := 1 + o.Scale*signed(rng)
	aspect := 1 + o.Aspect*signed(rng)
	a := Affine{SX: scale * aspect, SY: scale / aspect}
	a.TX = float64(w)/2 - a.SX*float64(cw)/2 + o.Translate*signed(rng)*float64(w)
	a.TY = float64(h)/2 - a.SY*float64(ch)/2 + o.Translate*signed(rng)*float64(h)
	if rng.Float64() < o.FlipX {
		a.SX, a.TX = -a.SX, float64(w)-a.TX
	}
	if rng.Float64() < o.FlipY {
		a.SY, a.TY = -a.SY, float64(h)-a.TY
	}
	return a
}

// signed is uniform in [-1, 1).
func signed(rng *rand.Rand) float64 { return 2*rng.Float64() - 1 }

// place is where one image lies on the canvas: shifted by (dx, dy), and only
// the part inside shown is there to be seen.
type place struct {
	dx, dy float64
	shown  Rect
}

// boxes maps the boxes of an image that lies at p on the canvas to the w x h
// result. What is cut off is cut off the box; a box is kept if more than
// MinVisible of its area is left and both sides are longer than MinSize.
func (o *Options) boxes(in []datasets.Box, p place, a Affine, w, h int) []datasets.Box {
	frame := Rect{0, 0, float64(w), float64(h)}
	var out []datasets.Box
	for _, b := range in {
		b.X, b.Y = b.X+p.dx, b.Y+p.dy
		whole := a.Apply(rectOf(b)).Area()
		seen := a.Apply(rectOf(b).Intersect(p.shown)).Intersect(frame)
		bw, bh := seen.X1-seen.X0, seen.Y1-seen.Y0
		if !(bw > o.MinSize && bh > o.MinSize && seen.Area() > o.MinVisible*whole) {
			continue
		}
		b.Area *= math.Abs(a.SX*a.SY) * seen.Area() / whole
		b.X, b.Y, b.W, b.H = seen.X0, seen.Y0, bw, bh
		out = append(out, b)
	}
	return out
}

// tile returns where image q of four (top left, top right, bottom left, bottom
// right) of w x h lies when they meet at (cx, cy) on a canvas of 2w x 2h.
func tile(q, cx, cy, w, h int) (dx, dy int, shown Rect) {
	dx, dy = cx, cy
	if q%2 == 0 {
		dx -= w
	}
	if q < 2 {
		dy -= h
	}
	shown = Rect{float64(dx), float64(dy), float64(dx + w), float64(dy + h)}
	return dx, dy, shown.Intersect(Rect{0, 0, float64(2 * w), float64(2 * h)})
}
