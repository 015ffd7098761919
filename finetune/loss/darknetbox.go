package loss

import "math"

// boxDelta adds a truth's box deltas to a slot and returns the IoU of the two
// boxes, GIoU for iou_loss=giou. With g the gradient below, n =
// iou_normalizer·class weight and tw the raw size:
//
//	linear       (n·g.x, n·g.y, n·g.w·e^tw, n·g.h·e^th)
//	new_coords   (n·g.x, n·g.y, n·g.w, n·g.h)
//
// A delta that is not finite becomes 0, and each is cut to ±max_delta. The
// factors of the chain rule, σ', scale_x_y, 1/W and the anchor over the input's
// side, are left out: the learning rate and the normalisers were tuned without
// them. For iou_loss=mse see squareDelta.
func (d *darknetPass) boxDelta(slot, row, col, anchor int, t *truth) float64 {
	p, g := d.relative(slot, row, col, anchor), d.fraction(t.box)
	v, delta := d.boxValues(d.out, slot), d.boxValues(d.delta, slot)
	kind := "iou"
	if d.iou == "giou" {
		kind = "giou"
	}
	value := finite(darknetSimilarity(kind, p, g))
	n := d.box * weightOf(d.weights, t.class)
	if d.iou == "mse" {
		d.squareDelta(v, delta, row, col, anchor, g, n)
		return value
	}
	p.w, p.h = orElse(p.w, 1), orElse(p.h, 1) // keeps the gradient finite
	dp := darknetGradient(d.iou, p, g)
	if !d.yolo.NewCoords {
		dp.w *= math.Exp(float64(v[2]))
		dp.h *= math.Exp(float64(v[3]))
	}
	for i, s := range []float64{dp.x, dp.y, dp.w, dp.h} {
		delta[i] += float32(d.cut(finite(n * s)))
	}
	return value
}

// squareDelta adds YOLOv3's deltas, the differences of what the head outputs,
// with n = (2 − w·h)·iou_normalizer·class weight:
//
//	n·(x·W − col − ox)    n·(ln(w·Wn/aw) − tw)    or with new_coords n·(√(w·Wn/(4·aw)) − vw)
func (d *darknetPass) squareDelta(v, delta []float32, row, col, anchor int, g box, n float64) {
	n *= 2 - g.w*g.h
	s, a := d.yolo.ScaleXY, d.anchors[anchor]
	w, h := math.Log(g.w*d.netW/a[0]), math.Log(g.h*d.netH/a[1])
	if d.yolo.NewCoords {
		w, h = math.Sqrt(g.w*d.netW/(4*a[0])), math.Sqrt(g.h*d.netH/(4*a[1]))
	}
	delta[0] += float32(n * (g.x*float64(d.cols) - float64(col) - (s*d.probability(v[0]) - (s-1)/2)))
	delta[1] += float32(n * (g.y*float64(d.rows) - float64(row) - (s*d.probability(v[1]) - (s-1)/2)))
	delta[2] += float32(n * (w - float64(v[2])))
	delta[3] += float32(n * (h - float64(v[3])))
}

// finite turns NaN and the infinities into 0.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func (d *darknetPass) cut(v float64) float64 {
	if d.limit == 0 {
		return v
	}
	return min(max(v, -d.limit), d.limit)
}

// darknetIoU is I/U, 0 where either is 0.
func darknetIoU(p, g box) float64 {
	o := overlap(p, g)
	if o.inter == 0 || o.union == 0 {
		return 0
	}
	return o.ratio()
}

// darknetSimilarity is box_iou, box_giou, box_diou or box_ciou of src/box.c, as
// Darknet reports and compares them: DIoU has the exponent 0.6 on ρ²/c², which
// its gradient does not have, and α a 1e−6 in the denominator.
func darknetSimilarity(kind string, p, g box) float64 {
	o, iou := overlap(p, g), darknetIoU(p, g)
	hull, c2 := o.x.hull()*o.y.hull(), o.x.hull()*o.x.hull()+o.y.hull()*o.y.hull()
	switch {
	case kind == "giou" && hull > 0:
		return iou - (hull-o.union)/hull
	case kind == "diou" && c2 > 0:
		return iou - math.Pow(o.offset(), .6)
	case kind == "ciou" && c2 > 0:
		return iou - o.offset() - darknetAlpha(iou, o.aspect())*o.aspect()
	}
	return iou
}

func darknetAlpha(iou, v float64) float64 { return v / (1 - iou + v + 1e-6) }

// darknetGradient is dx_box_iou of src/box.c: what Darknet takes for the
// gradient of a similarity with respect to p, boxes in fractions of the input.
//
//	(dx, dy, dw, dh) = IoU or GIoU part + centre part + aspect part
//
// Against the true gradient (docs/ciou-gradient.md): dw and dh of the first
// part are twice the derivative; x and y of the centre part have the wrong sign
// where the hull moves; the aspect part lacks 1/(w²+h²). The first part is
// dropped for boxes that do not overlap, but not with iou_loss=iou, where the
// product of two gaps then counts as an intersection, as it does in α.
func darknetGradient(kind string, p, g box) box {
	o := pair{p: p, g: g, x: axisX(p, g), y: axisY(p, g)}
	o.inter = o.x.common() * o.y.common()
	o.union = p.area() + g.area() - o.inter
	var out box
	switch {
	case kind == "giou":
		out = o.edgesGIoU()
	case kind == "iou" || o.overlaps():
		out = o.edgesIoU()
	}
	if kind == "diou" || kind == "ciou" {
		out = out.add(o.darknetOffset())
	}
	if kind == "ciou" {
		k := darknetAlpha(o.ratio(), o.aspect()) * 8 / (math.Pi * math.Pi) * o.angle()
		out = out.add(box{w: k * p.h, h: -k * p.w})
	}
	return out
}

// edges holds the slopes by the prediction's left, right, top and bottom edge.
type edges struct{ l, r, t, b float64 }

// toBox turns slopes by the edges into slopes by centre and size. The sizes
// miss a factor of ½.
func (e edges) toBox() box { return box{e.l + e.r, e.t + e.b, e.r - e.l, e.b - e.t} }

// edgesIoU: dIoU = (U·dI − I·dU)/U²
func (o *pair) edgesIoU() box {
	if o.union <= 0 {
		return box{}
	}
	dI, dU := o.edgesInter(), o.edgesUnion()
	f := func(i, u float64) float64 { return (o.union*i - o.inter*u) / (o.union * o.union) }
	return edges{f(dI.l, dU.l), f(dI.r, dU.r), f(dI.t, dU.t), f(dI.b, dU.b)}.toBox()
}

// edgesGIoU: dGIoU = dIoU + (C·dU − U·dC)/C², without dIoU for boxes that do
// not overlap.
func (o *pair) edgesGIoU() box {
	dU, dC, c := o.edgesUnion(), o.edgesHull(), o.x.hull()*o.y.hull()
	f := func(u, h float64) float64 { return (c*u - o.union*h) / (c * c) }
	out := edges{f(dU.l, dC.l), f(dU.r, dC.r), f(dU.t, dC.t), f(dU.b, dC.b)}.toBox()
	if o.overlaps() {
		out = out.add(o.edgesIoU())
	}
	return out
}

func (o *pair) edgesInter() edges {
	iw, ih := o.x.common(), o.y.common()
	return edges{
		-ih * isBelow(o.x.g.lo, o.x.p.lo), ih * isBelow(o.x.p.hi, o.x.g.hi),
		-iw * isBelow(o.y.g.lo, o.y.p.lo), iw * isBelow(o.y.p.hi, o.y.g.hi),
	}
}

// edgesUnion: dU = dAp − dI
func (o *pair) edgesUnion() edges {
	dI := o.edgesInter()
	return edges{-o.p.h - dI.l, o.p.h - dI.r, -o.p.w - dI.t, o.p.w - dI.b}
}

func (o *pair) edgesHull() edges {
	cw, ch := o.x.hull(), o.y.hull()
	return edges{
		-ch * isBelow(o.x.p.lo, o.x.g.lo), ch * isBelow(o.x.g.hi, o.x.p.hi),
		-cw * isBelow(o.y.p.lo, o.y.g.lo), cw * isBelow(o.y.g.hi, o.y.p.hi),
	}
}

// darknetOffset is the centre part. With S = ρ², C = c² and Cw the hull's
// width, where the true derivative of −S/C has + in the first line:
//
//	dx = (2(xg−xp)·C − 2·Cw·∂Cw/∂x·S)/C²
//	dw = 2·Cw·∂Cw/∂w·S/C²
func (o *pair) darknetOffset() box {
	s, c := o.distances()
	dx, dw := o.x.darknetHullBackward()
	dy, dh := o.y.darknetHullBackward()
	cw, ch := o.x.hull(), o.y.hull()
	return box{
		(2*(o.g.x-o.p.x)*c - 2*cw*dx*s) / (c * c), (2*(o.g.y-o.p.y)*c - 2*ch*dy*s) / (c * c),
		2 * cw * dw * s / (c * c), 2 * ch * dh * s / (c * c),
	}
}

// darknetHullBackward is hullBackward with nothing at a tie.
func (a axis) darknetHullBackward() (centre, size float64) {
	hi, lo := isBelow(a.g.hi, a.p.hi), isBelow(a.p.lo, a.g.lo)
	return hi - lo, (hi + lo) / 2
}

// isBelow is 1 for a < b, else 0.
func isBelow(a, b float64) float64 {
	if a < b {
		return 1
	}
	return 0
}
