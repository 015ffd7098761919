package head

import "math"

// form is how a head's values are read. In the first form the layer applies
// the logistic function s to all but width and height; in the second
// (new_coords) the convolution before has done so to every channel. With raw
// values t, grid W x H, scale_x_y z, anchor aw x ah and network input Wn x Hn:
//
//	                     first form                   second form
//	x            (column + z*s(tx) - (z-1)/2)/W   (column + z*tx - (z-1)/2)/W
//	width        exp(tw)*aw/Wn                    (2*tw)^2*aw/Wn
//	objectness   s(to)                            to
//
// and likewise for y, height and the classes; z = 0 counts as 1. With z = 2 the second form is that
// of YOLOv7 (Wang et al., CVPR 2023, arXiv:2207.02696).
type form struct{ newCoords bool }

func (f form) probability(v float32) float64 {
	if f.newCoords {
		return float64(v)
	}
	return logistic(v)
}

// below returns a raw value whose probability is at most p, to throw away most
// values before computing their probability. The margin covers rounding.
func (f form) below(p float64) float32 {
	if f.newCoords {
		return float32(p - 1e-3)
	}
	return float32(math.Log(p/(1-p)) - 1e-2)
}

func (f form) size(v float32) float64 {
	if f.newCoords {
		return 4 * float64(v) * float64(v)
	}
	return math.Exp(float64(v))
}

func logistic(v float32) float64 { return 1 / (1 + math.Exp(-float64(v))) }

// grid is a head's geometry.
type grid struct {
	form
	w, h   float64
	scale  float64
	anchor [][2]float64 // relative to the network input, in the order of the mask
	view   view
}

func newGrid(r *Raw, o *Options) *grid {
	y := r.Yolo
	g := &grid{form: form{y.NewCoords}, w: float64(r.Shape.W), h: float64(r.Shape.H), scale: y.ScaleXY, view: newView(o)}
	if g.scale == 0 {
		g.scale = 1
	}
	for _, m := range y.Mask {
		a := y.Anchors[m]
		g.anchor = append(g.anchor, [2]float64{a[0] / float64(o.NetW), a[1] / float64(o.NetH)})
	}
	return g
}

// decode adds the predictions of one head whose objectness is above the
// threshold, and of their classes those whose score is.
func (p *predictions) decode(r *Raw, o *Options) {
	g := newGrid(r, o)
	per := r.Yolo.PerAnchor()
	p.classes = max(p.classes, r.Yolo.Classes)
	floor := g.below(o.Conf)
	for cell := range r.Shape.H * r.Shape.W {
		row, col := cell/r.Shape.W, cell%r.Shape.W
		for a := range g.anchor {
			at := cell*r.Shape.C + a*per
			t := r.Data[at : at+per]
			if !(t[4] > floor) {
				continue
			}
			obj := g.probability(t[4])
			if !(obj > o.Conf) || !allFinite(t[:5]) {
				continue
			}
			box, ok := g.box(t, row, col, a)
			if ok {
				p.claim(g.form, box, obj, t[5:], o.Conf)
			}
		}
	}
}

// box decodes a box relative to the image; ok is false when it has no finite,
// positive area.
func (g *grid) box(t []float32, row, col, anchor int) (box corners, ok bool) {
	shift := (g.scale - 1) / 2
	b := g.view.undo(CentreBox{
		X: (float64(col) + g.scale*g.probability(t[0]) - shift) / g.w,
		Y: (float64(row) + g.scale*g.probability(t[1]) - shift) / g.h,
		W: g.size(t[2]) * g.anchor[anchor][0],
		H: g.size(t[3]) * g.anchor[anchor][1],
	})
	box = b.corners()
	return box, box.area > 0 && box.area <= math.MaxFloat64
}

// claim adds a box's classes with a score above conf.
//
//	score = objectness*class
func (p *predictions) claim(f form, box corners, obj float64, classes []float32, conf float64) {
	floor := f.below(conf / obj)
	used := false
	for c, v := range classes {
		if !(v > floor) || v > math.MaxFloat32 {
			continue
		}
		if score := obj * f.probability(v); score > conf {
			p.candidates = append(p.candidates, candidate{len(p.boxes), c, score})
			used = true
		}
	}
	if used {
		p.boxes = append(p.boxes, box)
	}
}

// allFinite is false when a value is NaN or infinite.
func allFinite(v []float32) bool {
	for _, x := range v {
		if !(x >= -math.MaxFloat32 && x <= math.MaxFloat32) {
			return false
		}
	}
	return true
}
