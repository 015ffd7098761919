package loss

import (
	"fmt"

	"yoloprune/datasets"
)

// YOLOv4 is the default loss.
//
//	L = ( Box·Σ w·(1 − CIoU) + Obj·Σ w·BCE(objectness) + Class·Σ w·BCE(class) ) / P
//
// P is the number of positives of the batch, at least 1. The first and the
// third sum run over the positives, the second over all slots that are not
// ignored. w is the weight of the truth's class (classWeights), 1 without class
// counts and for background; a slot of several truths takes the largest for its
// objectness. With Options.Focal the focal loss stands in for BCE.
//
// It is the loss of YOLOv4 (Bochkovskiy et al. 2020, arXiv:2004.10934) with the
// true gradient of CIoU (Zheng et al., AAAI 2020, arXiv:1911.08287);
// docs/ciou-gradient.md derives that gradient. Darknet's own backward pass
// differs from it, see there and Darknet. That weights scale all three terms
// follows Darknet.
type YOLOv4 struct {
	network
	o          Options
	similarity similarity
	weights    []float64 // of the classes; nil: all 1
	positives  int
}

// NewYOLOv4 makes the loss for heads of a network with a netW x netH input.
func NewYOLOv4(heads []Head, netW, netH, batch int, o Options) (*YOLOv4, error) {
	o = o.Complete()
	n, err := newNetwork(heads, netW, netH, batch, o, KindYOLOv4)
	if err != nil {
		return nil, fmt.Errorf("loss: %w", err)
	}
	l := &YOLOv4{network: n, o: o, similarity: similarities[o.IoULoss], weights: classWeights(o.ClassCounts, o.MaxWeight)}
	if l.weights != nil {
		for i := range l.heads {
			l.heads[i].value = make([]float64, len(l.heads[i].state))
		}
	}
	return l, nil
}

// SetTruths implements Loss.
//
// A truth becomes a positive of the cell that its centre lies in (the last cell
// for a coordinate of exactly 1), in every head, at the anchor whose shape fits
// it best among all anchors, if the head has that one, and at each further
// anchor of the head whose shape IoU is over Options.AssignIoU. Every pair of
// truth and slot counts as one positive in P. A slot may so belong to several
// truths: their box and class terms add up, its objectness counts once.
func (l *YOLOv4) SetTruths(truths [][]datasets.Truth) {
	l.setTruths(truths)
	l.positives = 0
	for t := range l.truths {
		for i := range l.heads {
			l.positives += l.heads[i].assign(&l.truths[t], t, l.o.AssignIoU)
		}
	}
}

// Compute implements Loss. The gradient is that of Parts.Total.
func (l *YOLOv4) Compute(outs, grads [][]float32) (Parts, error) {
	if err := l.check(outs, grads); err != nil {
		return Parts{}, err
	}
	p := Parts{Positives: l.positives, Divisor: l.positives}
	for i := range l.heads {
		h, out, grad := &l.heads[i], outs[i], grads[i]
		clear(grad)
		h.mark(out, l.truths, l.o.IgnoreThresh)
		l.weigh(h)
		p.Box += l.boxTerm(h, out, grad)
		p.Obj += l.objTerm(h, out, grad)
		p.Class += l.classTerm(h, out, grad)
	}
	p.Total = p.Box + p.Obj + p.Class
	return p, nil
}

// perPositive returns gain/P.
func (l *YOLOv4) perPositive(gain float64) float64 { return gain / float64(max(1, l.positives)) }

// boxTerm returns k·Σ w·(1 − CIoU) over the head's positives and adds its
// gradient, k = Box/P. Truths that share a slot add up.
func (l *YOLOv4) boxTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Box), 0.0
	for _, s := range h.positives {
		v, dv := h.boxValues(out, s.slot), h.boxValues(grad, s.slot)
		p := h.decode(v, s.row, s.col, s.anchor)
		value, dp := l.similarity(p, l.truths[s.truth].box)
		w := weightOf(l.weights, l.truths[s.truth].class)
		sum += w * (1 - value)
		h.decodeBackward(v, p, dp.scale(-k*w), s.anchor, dv)
	}
	return k * sum
}

// objTerm returns k·Σ w·BCE(objectness, y) over all slots and writes its
// gradient, k = Obj/P; y is 1 for a positive, once for however many truths,
// and 0 for background. Ignored slots and padding images add nothing.
func (l *YOLOv4) objTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Obj), 0.0
	for slot, state := range h.state[:l.images*h.slotsPerImage()] {
		if state == ignored {
			continue
		}
		y, w := 0., 1.
		if state == positive {
			y = 1
			if l.weights != nil {
				w = h.value[slot]
			}
		}
		at := slot*h.per + 4
		value, d := l.o.crossEntropy(h, float64(out[at]), y)
		sum += w * value
		grad[at] = float32(k * w * d)
	}
	return k * sum
}

// classTerm returns k·Σ w·BCE(class) over the head's positives and their
// classes and adds its gradient, k = Class/P. Truths that share a slot add up.
func (l *YOLOv4) classTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Class), 0.0
	off, on := l.o.LabelSmooth/2, 1-l.o.LabelSmooth/2
	for _, s := range h.positives {
		at := s.slot*h.per + 5
		w := weightOf(l.weights, l.truths[s.truth].class)
		for c := range l.classes {
			y := off
			if c == l.truths[s.truth].class {
				y = on
			}
			value, d := l.o.crossEntropy(h, float64(out[at+c]), y)
			sum += w * value
			grad[at+c] += float32(k * w * d)
		}
	}
	return k * sum
}

// weigh sets the objectness weight of every positive slot.
func (l *YOLOv4) weigh(h *head) {
	if l.weights == nil {
		return
	}
	clear(h.value)
	for _, s := range h.positives {
		h.value[s.slot] = max(h.value[s.slot], l.weights[l.truths[s.truth].class])
	}
}
