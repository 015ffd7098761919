package loss

import (
	"math"

	"yoloprune/datasets"
)

// naive is the loss written straight from its formulas: every slot against
// every truth, in float64, no shortcuts. The first evaluation notes which slots
// are ignored and every α; later ones hold them fixed, as the gradient does, so
// that central differences of eval are the gradient that Compute must give.
type naive struct {
	heads      []Head
	netW, netH float64
	o          Options // complete
	truths     [][]datasets.Truth

	frozen  bool
	ignored []bool
	alpha   []float64
	nextIgn int
	nextAlf int
}

// corners is a box as left, top, right, bottom.
type corners [4]float64

func toCorners(x, y, w, h float64) corners { return corners{x - w/2, y - h/2, x + w/2, y + h/2} }

func (c corners) w() float64 { return c[2] - c[0] }
func (c corners) h() float64 { return c[3] - c[1] }

func (n *naive) truthBox(t datasets.Truth) corners {
	return toCorners(t.X*n.netW, t.Y*n.netH, t.W*n.netW, t.H*n.netH)
}

func naiveIoU(a, b corners) float64 {
	w := math.Min(a[2], b[2]) - math.Max(a[0], b[0])
	h := math.Min(a[3], b[3]) - math.Max(a[1], b[1])
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.w()*a.h() + b.w()*b.h() - w*h)
}

func naiveShapeIoU(w, h float64, a [2]float64) float64 {
	return naiveIoU(toCorners(0, 0, w, h), toCorners(0, 0, a[0], a[1]))
}

func sigmoid(t float64) float64 { return 1 / (1 + math.Exp(-t)) }

func (n *naive) decode(h Head, v []float64, row, col, a int) corners {
	y := h.Yolo
	anchor, s := y.Anchors[y.Mask[a]], y.ScaleXY
	px, py, w, hh := v[0], v[1], math.Pow(2*v[2], 2), math.Pow(2*v[3], 2)
	if !y.NewCoords {
		px, py = sigmoid(v[0]), sigmoid(v[1])
		w, hh = math.Exp(math.Min(math.Max(v[2], -6), 4)), math.Exp(math.Min(math.Max(v[3], -6), 4))
	}
	return toCorners((float64(col)+s*px-(s-1)/2)*n.netW/float64(h.Shape.W), (float64(row)+s*py-(s-1)/2)*n.netH/float64(h.Shape.H),
		w*anchor[0], hh*anchor[1])
}

func (n *naive) similarity(p, g corners) float64 {
	iou := naiveIoU(p, g)
	cw, ch := math.Max(p[2], g[2])-math.Min(p[0], g[0]), math.Max(p[3], g[3])-math.Min(p[1], g[1])
	inter := iou / (1 + iou) * (p.w()*p.h() + g.w()*g.h())
	union := p.w()*p.h() + g.w()*g.h() - inter
	dx, dy := (p[0]+p[2]-g[0]-g[2])/2, (p[1]+p[3]-g[1]-g[3])/2
	distance := (dx*dx + dy*dy) / (cw*cw + ch*ch)
	switch n.o.IoULoss {
	case "iou":
		return iou
	case "giou":
		return iou - (cw*ch-union)/(cw*ch)
	case "diou":
		return iou - distance
	}
	v := 4 / (math.Pi * math.Pi) * math.Pow(math.Atan(g.w()/g.h())-math.Atan(p.w()/p.h()), 2)
	if !n.frozen {
		n.alpha = append(n.alpha, v/(1-iou+v))
	}
	n.nextAlf++
	return iou - distance - n.alpha[n.nextAlf-1]*v
}

func (n *naive) bce(h Head, v, y float64) float64 {
	if !h.Yolo.NewCoords {
		v = sigmoid(v)
	}
	return -y*math.Max(math.Log(v), -100) - (1-y)*math.Max(math.Log(1-v), -100)
}

// entropy is the focal loss, or BCE for γ = 0.
func (n *naive) entropy(h Head, v, y float64) float64 {
	p := v
	if !h.Yolo.NewCoords {
		p = sigmoid(v)
	}
	if n.o.Focal == 0 {
		return n.bce(h, v, y)
	}
	pt, alpha := y*p+(1-y)*(1-p), y*n.o.FocalAlpha+(1-y)*(1-n.o.FocalAlpha)
	return alpha * math.Pow(1-pt, n.o.Focal) * n.bce(h, v, y)
}

// weight is that of a class with Options.ClassCounts.
func (n *naive) weight(class int) float64 {
	if n.o.ClassCounts == nil {
		return 1
	}
	most := 1.
	for _, c := range n.o.ClassCounts {
		most = math.Max(most, c)
	}
	return math.Min(most/math.Max(1, n.o.ClassCounts[class]), n.o.MaxWeight)
}

func (n *naive) isIgnored(p corners, truths []datasets.Truth) bool {
	if !n.frozen {
		best := 0.0
		for _, t := range truths {
			best = math.Max(best, naiveIoU(p, n.truthBox(t)))
		}
		n.ignored = append(n.ignored, best > n.o.IgnoreThresh)
	}
	n.nextIgn++
	return n.ignored[n.nextIgn-1]
}

func (n *naive) assigned(h Head, t datasets.Truth, row, col, a int) bool {
	if row != min(int(t.Y*float64(h.Shape.H)), h.Shape.H-1) || col != min(int(t.X*float64(h.Shape.W)), h.Shape.W-1) {
		return false
	}
	best := 0
	for i, anchor := range h.Yolo.Anchors {
		if naiveShapeIoU(t.W*n.netW, t.H*n.netH, anchor) > naiveShapeIoU(t.W*n.netW, t.H*n.netH, h.Yolo.Anchors[best]) {
			best = i
		}
	}
	m := h.Yolo.Mask[a]
	return m == best || naiveShapeIoU(t.W*n.netW, t.H*n.netH, h.Yolo.Anchors[m]) > n.o.AssignIoU
}

func (n *naive) eval(raws [][]float64) Parts {
	n.nextIgn, n.nextAlf = 0, 0
	var p Parts
	for i, h := range n.heads {
		per, at := h.Yolo.PerAnchor(), 0
		for _, truths := range n.truths {
			for row := range h.Shape.H {
				for col := range h.Shape.W {
					for a := range h.Yolo.Mask {
						n.slot(&p, h, raws[i][at:at+per], truths, row, col, a)
						at += per
					}
				}
			}
		}
	}
	n.frozen = true
	positives := math.Max(1, float64(p.Positives))
	p.Box *= n.o.Box / positives
	p.Obj *= n.o.Obj / positives
	p.Class *= n.o.Class / positives
	p.Total = p.Box + p.Obj + p.Class
	return p
}

func (n *naive) slot(p *Parts, h Head, v []float64, truths []datasets.Truth, row, col, a int) {
	b := n.decode(h, v, row, col, a)
	ignored, y, most := n.isIgnored(b, truths), 0.0, 0.0
	for _, t := range truths {
		if !n.assigned(h, t, row, col, a) {
			continue
		}
		y = 1
		p.Positives++
		w := n.weight(t.Class)
		most = math.Max(most, w)
		p.Box += w * (1 - n.similarity(b, n.truthBox(t)))
		for c := range h.Yolo.Classes {
			hot := 0.0
			if c == t.Class {
				hot = 1
			}
			p.Class += w * n.entropy(h, v[5+c], hot*(1-n.o.LabelSmooth)+.5*n.o.LabelSmooth)
		}
	}
	if y == 1 {
		p.Obj += most * n.entropy(h, v[4], 1)
	} else if !ignored {
		p.Obj += n.entropy(h, v[4], 0)
	}
}
