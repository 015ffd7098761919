package report

import (
	"math"

	"gonum.org/v1/plot/vg"
)

// segment is a straight piece of a drawn line.
type segment struct{ from, to vg.Point }

// scene is what labels must keep clear of.
type scene struct {
	bounds   vg.Rectangle
	markers  []vg.Point // labels must not cover a marker
	radius   vg.Length  // of a marker
	segments []segment  // labels should not cross a line
}

// label is a text box that belongs to a marker.
type label struct {
	anchor vg.Point
	size   vg.Point
	box    vg.Rectangle // where it was put
	placed bool         // false where there was no room: it is not drawn
}

// place puts every label on the free spot nearest to its marker, one after
// another. No two labels overlap, none covers a marker and none leaves the
// bounds; a label without such a spot is not placed.
func (s *scene) place(labels []label) {
	for i := range labels {
		l := &labels[i]
		best := math.Inf(1)
		for _, min := range s.spots(l) {
			box := vg.Rectangle{Min: min, Max: min.Add(l.size)}
			if !s.free(box, labels[:i]) {
				continue
			}
			if c := s.cost(l, box); c < best {
				best, l.box, l.placed = c, box, true
			}
		}
	}
}

// spots lists lower left corners to try: close ones around the marker first,
// then a grid over the bounds.
func (s *scene) spots(l *label) []vg.Point {
	gap := s.radius + clearance
	w, h := l.size.X, l.size.Y
	x, y := l.anchor.X, l.anchor.Y
	list := []vg.Point{
		{X: x + gap, Y: y - h/2}, {X: x - gap - w, Y: y - h/2},
		{X: x - w/2, Y: y + gap}, {X: x - w/2, Y: y - gap - h},
		{X: x + gap, Y: y + gap/2}, {X: x + gap, Y: y - gap/2 - h},
		{X: x - gap - w, Y: y + gap/2}, {X: x - gap - w, Y: y - gap/2 - h},
	}
	step := max(h/3, 1)
	for v := s.bounds.Min.Y; v+h <= s.bounds.Max.Y; v += step {
		for u := s.bounds.Min.X; u+w <= s.bounds.Max.X; u += step {
			list = append(list, vg.Point{X: u, Y: v})
		}
	}
	return list
}

func (s *scene) free(box vg.Rectangle, others []label) bool {
	if box.Min.X < s.bounds.Min.X || box.Min.Y < s.bounds.Min.Y || box.Max.X > s.bounds.Max.X || box.Max.Y > s.bounds.Max.Y {
		return false
	}
	for _, m := range s.markers {
		if distance(box, m) < s.radius {
			return false
		}
	}
	for _, o := range others {
		if o.placed && overlap(box, o.box) {
			return false
		}
	}
	return true
}

// clearance is the space between a label and a marker or a line.
const clearance = vg.Length(2.5)

// cost grows with the distance from the marker. Touching a line, or standing
// nearer to another marker, costs as much as a few lines of text.
func (s *scene) cost(l *label, box vg.Rectangle) float64 {
	own := max(distance(box, l.anchor), s.radius+clearance)
	c := float64(own)
	for _, m := range s.markers {
		if m != l.anchor && distance(box, m) < own+2 {
			c += 3 * float64(l.size.Y)
		}
	}
	roomy := vg.Rectangle{
		Min: box.Min.Sub(vg.Point{X: clearance, Y: clearance}),
		Max: box.Max.Add(vg.Point{X: clearance, Y: clearance}),
	}
	for _, g := range s.segments {
		if crosses(roomy, g) {
			c += 3 * float64(l.size.Y)
		}
	}
	return c
}

func overlap(a, b vg.Rectangle) bool {
	return a.Min.X < b.Max.X && b.Min.X < a.Max.X && a.Min.Y < b.Max.Y && b.Min.Y < a.Max.Y
}

// nearest returns the box's point that is closest to p.
func nearest(box vg.Rectangle, p vg.Point) vg.Point {
	return vg.Point{
		X: min(max(p.X, box.Min.X), box.Max.X),
		Y: min(max(p.Y, box.Min.Y), box.Max.Y),
	}
}

func distance(box vg.Rectangle, p vg.Point) vg.Length { return length(nearest(box, p).Sub(p)) }

func length(p vg.Point) vg.Length { return vg.Length(math.Hypot(float64(p.X), float64(p.Y))) }

// crosses tells whether a segment meets a box: the segment is clipped against
// the four sides, and something must be left (Liang and Barsky, ACM TOG 3(1),
// 1984).
func crosses(box vg.Rectangle, g segment) bool {
	d := g.to.Sub(g.from)
	enter, leave := 0.0, 1.0
	for _, side := range []struct{ p, q vg.Length }{
		{-d.X, g.from.X - box.Min.X}, {d.X, box.Max.X - g.from.X},
		{-d.Y, g.from.Y - box.Min.Y}, {d.Y, box.Max.Y - g.from.Y},
	} {
		t := float64(side.q / side.p)
		switch {
		case side.p == 0 && side.q < 0:
			return false
		case side.p < 0:
			enter = max(enter, t)
		case side.p > 0:
			leave = min(leave, t)
		}
	}
	return enter <= leave
}
