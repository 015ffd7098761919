package head

import "math"

// CentreBox is a box by its centre and size, in any unit. Sizes are not
// negative.
type CentreBox struct{ X, Y, W, H float64 }

// corners is a box by its edges, which overlaps are computed from.
type corners struct{ x1, y1, x2, y2, area float64 }

func (b CentreBox) corners() corners {
	return corners{b.X - b.W/2, b.Y - b.H/2, b.X + b.W/2, b.Y + b.H/2, b.W * b.H}
}

// IoU is the intersection I of two boxes over their union U, and 0 if either
// is empty:
//
//	IoU = I/U,   U = |p| + |g| - I
func IoU(p, g CentreBox) float64 {
	a, b := p.corners(), g.corners()
	return a.iou(&b)
}

func (a *corners) iou(b *corners) float64 {
	w := min(a.x2, b.x2) - max(a.x1, b.x1)
	h := min(a.y2, b.y2) - max(a.y1, b.y1)
	if w <= 0 || h <= 0 {
		return 0
	}
	inter := w * h
	union := a.area + b.area - inter
	if !(union > 0) {
		return 0
	}
	return inter / union
}

// GIoU also measures how far apart disjoint boxes are, by the smallest box C
// around both; it lies in [-1, 1]:
//
//	GIoU = IoU - (C-U)/C
//
// Rezatofighi et al., Generalized Intersection over Union, CVPR 2019,
// arXiv:1902.09630, algorithm 1. Where C is empty it is the IoU.
func GIoU(p, g CentreBox) float64 {
	a, b := p.corners(), g.corners()
	iou := a.iou(&b)
	hull := (max(a.x2, b.x2) - min(a.x1, b.x1)) * (max(a.y2, b.y2) - min(a.y1, b.y1))
	if !(hull > 0) {
		return iou
	}
	union := (a.area + b.area) / (1 + iou) // I = IoU*U
	return iou - (hull-union)/hull
}

// DIoU takes off the squared distance d2 of the centres over the squared
// diagonal c2 of the smallest box around both:
//
//	DIoU = IoU - d2/c2
//
// Zheng et al., Distance-IoU Loss, AAAI 2020, arXiv:1911.08287, section 3.2.
// Where c2 is 0 it is the IoU.
func DIoU(p, g CentreBox) float64 {
	a, b := p.corners(), g.corners()
	return a.iou(&b) - a.distance(&b)
}

// distance is d2/c2.
func (a *corners) distance(b *corners) float64 {
	dx, dy := (a.x1+a.x2-b.x1-b.x2)/2, (a.y1+a.y2-b.y1-b.y2)/2
	cx, cy := max(a.x2, b.x2)-min(a.x1, b.x1), max(a.y2, b.y2)-min(a.y1, b.y1)
	c2 := cx*cx + cy*cy
	if !(c2 > 0) {
		return 0
	}
	return (dx*dx + dy*dy) / c2
}

// CIoU also compares the aspect ratios of p, the prediction, and g, the truth:
//
//	CIoU = DIoU - alpha*v
//	v = 4/pi^2 * (atan(wg/hg) - atan(wp/hp))^2,   alpha = v/(1 - IoU + v)
//
// Zheng et al., as DIoU, section 3.3. Darknet adds 1e-6 to the denominator of
// alpha, which changes the ninth digit.
func CIoU(p, g CentreBox) float64 {
	d := math.Atan2(g.W, g.H) - math.Atan2(p.W, p.H)
	v := 4 / (math.Pi * math.Pi) * d * d
	if v == 0 {
		return DIoU(p, g)
	}
	alpha := v / (1 - IoU(p, g) + v)
	return DIoU(p, g) - alpha*v
}
