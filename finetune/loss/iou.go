package loss

import "math"

// box is a box in centre form, or a gradient with respect to its four numbers.
type box struct{ x, y, w, h float64 }

func (b box) add(o box) box       { return box{b.x + o.x, b.y + o.y, b.w + o.w, b.h + o.h} }
func (b box) scale(k float64) box { return box{b.x * k, b.y * k, b.w * k, b.h * k} }
func (b box) area() float64       { return b.w * b.h }

// similarity returns how well the prediction p fits the truth g, at most 1,
// and its gradient with respect to p.
type similarity func(p, g box) (value float64, dp box)

// similarities are the box losses by Darknet's names. With I the intersection,
// U the union, C the smallest box around both, ρ the distance of the centres
// and c the diagonal of C:
//
//	IoU  = I/U
//	GIoU = IoU − (C−U)/C         Rezatofighi et al., CVPR 2019, arXiv:1902.09630
//	DIoU = IoU − ρ²/c²           Zheng et al., AAAI 2020, arXiv:1911.08287, eq. 7
//	CIoU = IoU − ρ²/c² − α·v     same, eq. 10
var similarities = map[string]similarity{"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}

func iou(p, g box) (float64, box) {
	o := overlap(p, g)
	return o.ratio(), o.ratioBackward()
}

func giou(p, g box) (float64, box) {
	o := overlap(p, g)
	return o.ratio() - o.gap(), o.ratioBackward().add(o.gapBackward().scale(-1))
}

func diou(p, g box) (float64, box) {
	o := overlap(p, g)
	return o.ratio() - o.offset(), o.ratioBackward().add(o.offsetBackward().scale(-1))
}

func ciou(p, g box) (float64, box) {
	o := overlap(p, g)
	v := o.aspect()
	alpha := aspectWeight(o.ratio(), v)
	dp := o.ratioBackward().add(o.offsetBackward().scale(-1)).add(o.aspectBackward().scale(-alpha))
	return o.ratio() - o.offset() - alpha*v, dp
}

// pair holds what the terms share: per axis the length of the intersection
// (below zero for a gap) and of the hull, and both areas.
type pair struct {
	p, g         box
	x, y         axis
	inter, union float64
	eps          float64 // added to the squared diagonal of the hull
}

func overlap(p, g box) pair {
	o := pair{p: p, g: g, x: axisX(p, g), y: axisY(p, g)}
	if o.overlaps() {
		o.inter = o.x.common() * o.y.common()
	}
	o.union = p.area() + g.area() - o.inter
	return o
}

func (o *pair) overlaps() bool { return o.x.common() > 0 && o.y.common() > 0 }

// ratio is IoU = I/U, with I = Iw·Ih and U = Ap + Ag − I.
func (o *pair) ratio() float64 { return o.inter / o.union }

// ratioBackward: dU = dAp − dI, so
//
//	dIoU = ((U + I)·dI − I·dAp)/U²    dI = Ih·dIw + Iw·dIh    dAp = (0, 0, h, w)
func (o *pair) ratioBackward() box {
	if !o.overlaps() {
		return box{}
	}
	dI, dA := o.interBackward(), box{w: o.p.h, h: o.p.w}
	u2 := o.union * o.union
	return dI.scale((o.union + o.inter) / u2).add(dA.scale(-o.inter / u2))
}

func (o *pair) interBackward() box {
	dx, dw := o.x.commonBackward()
	dy, dh := o.y.commonBackward()
	iw, ih := o.x.common(), o.y.common()
	return box{ih * dx, iw * dy, ih * dw, iw * dh}
}

// gap is (C−U)/C, GIoU's penalty: the part of the hull that neither box covers.
func (o *pair) gap() float64 { return 1 - o.union/(o.x.hull()*o.y.hull()) }

// gapBackward: d(1 − U/C) = (U·dC − C·dU)/C²    dC = Ch·dCw + Cw·dCh    dU = dAp − dI
func (o *pair) gapBackward() box {
	dx, dw := o.x.hullBackward()
	dy, dh := o.y.hullBackward()
	cw, ch := o.x.hull(), o.y.hull()
	dC, dU := box{ch * dx, cw * dy, ch * dw, cw * dh}, box{w: o.p.h, h: o.p.w}
	if o.overlaps() {
		dU = dU.add(o.interBackward().scale(-1))
	}
	c := cw * ch
	return dC.scale(o.union / (c * c)).add(dU.scale(-1 / c))
}

// offset is ρ²/c², DIoU's penalty: ρ² = (xp−xg)² + (yp−yg)², c² = Cw² + Ch².
func (o *pair) offset() float64 {
	rho2, c2 := o.distances()
	return rho2 / c2
}

// offsetBackward: d(ρ²/c²) = dρ²/c² − ρ²·dc²/c⁴
//
//	dρ²/dx = 2(xp−xg)    dc²/dx = 2·Cw·dCw/dx    dc²/dw = 2·Cw·dCw/dw
func (o *pair) offsetBackward() box {
	rho2, c2 := o.distances()
	dx, dw := o.x.hullBackward()
	dy, dh := o.y.hullBackward()
	cw, ch := o.x.hull(), o.y.hull()
	dRho2 := box{x: 2 * (o.p.x - o.g.x), y: 2 * (o.p.y - o.g.y)}
	dC2 := box{2 * cw * dx, 2 * ch * dy, 2 * cw * dw, 2 * ch * dh}
	return dRho2.scale(1 / c2).add(dC2.scale(-rho2 / (c2 * c2)))
}

func (o *pair) distances() (rho2, c2 float64) {
	dx, dy := o.p.x-o.g.x, o.p.y-o.g.y
	cw, ch := o.x.hull(), o.y.hull()
	return dx*dx + dy*dy, cw*cw + ch*ch + o.eps
}

// aspect is v = 4/π²·(atan(wg/hg) − atan(wp/hp))², in [0, 1).
func (o *pair) aspect() float64 {
	d := o.angle()
	return 4 / (math.Pi * math.Pi) * d * d
}

func (o *pair) angle() float64 { return math.Atan2(o.g.w, o.g.h) - math.Atan2(o.p.w, o.p.h) }

// aspectBackward, with Δ the difference of the two angles:
//
//	dv/dw = −8/π²·Δ·h/(w²+h²)    dv/dh = 8/π²·Δ·w/(w²+h²)
//
// The paper's code and Darknet leave out 1/(w²+h²) to keep the step from
// growing for small boxes; here boxes are in pixels and it stays.
func (o *pair) aspectBackward() box {
	r2 := o.p.w*o.p.w + o.p.h*o.p.h
	if r2 == 0 {
		return box{}
	}
	k := 8 / (math.Pi * math.Pi) * o.angle() / r2
	return box{w: -k * o.p.h, h: k * o.p.w}
}

// aspectWeight is α = v/(1 − IoU + v), a constant for the gradient (the paper,
// eq. 11 and after); 0 for a perfect fit, where it would be 0/0.
func aspectWeight(iou, v float64) float64 {
	if v == 0 {
		return 0
	}
	return v / (max(0, 1-iou) + v)
}

// axis holds the extents of both boxes along one axis.
type axis struct{ p, g span }

type span struct{ lo, hi float64 }

func axisX(p, g box) axis { return axis{interval(p.x, p.w), interval(g.x, g.w)} }
func axisY(p, g box) axis { return axis{interval(p.y, p.h), interval(g.y, g.h)} }

func interval(centre, size float64) span { return span{centre - size/2, centre + size/2} }

// common is min(p.hi, g.hi) − max(p.lo, g.lo).
func (a axis) common() float64 { return min(a.p.hi, a.g.hi) - max(a.p.lo, a.g.lo) }

// commonBackward returns the slopes by the prediction's centre and size. The
// upper end moves with both (1 and ½) where it is the prediction's, the lower
// end with 1 and −½.
func (a axis) commonBackward() (centre, size float64) {
	hi, lo := below(a.p.hi, a.g.hi), below(a.g.lo, a.p.lo)
	return hi - lo, (hi + lo) / 2
}

// hull is max(p.hi, g.hi) − min(p.lo, g.lo).
func (a axis) hull() float64 { return max(a.p.hi, a.g.hi) - min(a.p.lo, a.g.lo) }

func (a axis) hullBackward() (centre, size float64) {
	hi, lo := below(a.g.hi, a.p.hi), below(a.p.lo, a.g.lo)
	return hi - lo, (hi + lo) / 2
}

// below is 1 for a < b, 0 for a > b, and ½ for a tie, as PyTorch's minimum and
// maximum share a gradient; a perfect fit so has gradient zero.
func below(a, b float64) float64 {
	switch {
	case a < b:
		return 1
	case a > b:
		return 0
	}
	return .5
}
