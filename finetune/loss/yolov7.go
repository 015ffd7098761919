package loss

import (
	"cmp"
	"fmt"
	"slices"

	"yoloprune/datasets"
)

// YOLOv7 is the loss of YOLOv7's PyTorch code (utils/loss.py, ComputeLoss and
// ComputeLossOTA; Wang et al., CVPR 2023, arXiv:2207.02696). Per head, with
// means over its positives and over all its slots:
//
//	L = N·Σ_heads ( Box·mean(1 − CIoU) + Class·mean BCE(class) + Obj·balance·mean BCE(objectness, max(CIoU, 0)) )
//
// N is the number of images. The objectness target of a positive is its CIoU, a
// constant for the gradient, and 0 elsewhere; of several on one slot the largest
// counts (PyTorch leaves open which). A head without positives adds nothing to
// the first two terms. Gains are scaled by the number n of heads, the classes
// and the input's size:
//
//	Box·3/n    Class·classes/80·3/n    Obj·Wn·Hn/640²·3/n
//
// The sides of an anchor and a truth may differ by Options.AnchorRatio; cells
// says which cells a truth is assigned to, matcher which of those slots remain
// with yolov7-ota. Balance goes from the smallest stride up, whatever the order
// of the heads in the cfg.
//
// Differences: boxes are decoded as the head decodes them, so a head with
// new_coords and scale_x_y=2, which is what YOLOv7 uses, has PyTorch's values,
// and linear heads have exp and their own scale. The class is trained with one
// class too: PyTorch then scores by objectness alone, but a [yolo] layer
// multiplies by the class. Not here: autobalance and auxiliary heads.
type YOLOv7 struct {
	network
	o       Options
	balance []float64 // of every head
	matcher *matcher  // nil for the plain assignment
}

// NewYOLOv7 makes the loss for heads of a network with a netW x netH input.
func NewYOLOv7(heads []Head, netW, netH, batch int, o Options) (*YOLOv7, error) {
	o = o.Complete()
	n, err := newNetwork(heads, netW, netH, batch, o, KindYOLOv7, KindYOLOv7OTA)
	if err != nil {
		return nil, fmt.Errorf("loss: %w", err)
	}
	l := &YOLOv7{network: n, o: o}
	if l.balance, err = l.byStride(o.Balance); err != nil {
		return nil, fmt.Errorf("loss: %w", err)
	}
	for i := range l.heads {
		l.heads[i].value = make([]float64, len(l.heads[i].state))
	}
	if o.Kind == KindYOLOv7OTA {
		l.matcher = &matcher{}
	}
	k := 3 / float64(len(heads))
	l.o.Box *= k
	l.o.Obj *= k * l.netW * l.netH / (640 * 640)
	l.o.Class *= k * float64(l.classes) / 80
	return l, nil
}

// byStride hands the balance, which goes from the smallest stride up, to the
// heads.
func (l *network) byStride(balance []float64) ([]float64, error) {
	if balance == nil {
		balance = []float64{4, 1, .25, .06, .02}
		if len(l.heads) == 3 {
			balance = []float64{4, 1, .4}
		}
	}
	if len(balance) < len(l.heads) {
		return nil, fmt.Errorf("balance: %d heads, the default is for up to %d; give one value for each", len(l.heads), len(balance))
	}
	order := make([]int, len(l.heads))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.heads[a].strideX, l.heads[b].strideX) })
	out := make([]float64, len(order))
	for level, i := range order {
		out[i] = balance[level]
	}
	return out, nil
}

// SetTruths implements Loss.
func (l *YOLOv7) SetTruths(truths [][]datasets.Truth) {
	l.setTruths(truths)
	for t := range l.truths {
		for i := range l.heads {
			l.heads[i].assignCells(&l.truths[t], t, l.o.AnchorRatio)
		}
	}
	if l.matcher != nil {
		l.matcher.collect(&l.network)
	}
}

// Compute implements Loss. The gradient is that of Parts.Total.
func (l *YOLOv7) Compute(outs, grads [][]float32) (Parts, error) {
	if err := l.check(outs, grads); err != nil {
		return Parts{}, err
	}
	if l.matcher != nil {
		l.matcher.match(&l.network, outs)
	}
	var p Parts
	for i := range l.heads {
		h := &l.heads[i]
		clear(grads[i])
		clear(h.value)
		p.Positives += len(h.positives)
		p.Box += l.boxTerm(h, outs[i], grads[i])
		p.Obj += l.objTerm(h, outs[i], grads[i], l.balance[i])
		p.Class += l.classTerm(h, outs[i], grads[i])
	}
	p.Total = p.Box + p.Obj + p.Class
	return p, nil
}

// mean returns gain·N/count.
func (l *YOLOv7) mean(gain float64, count int) float64 {
	return gain * float64(l.images) / float64(max(count, 1))
}

// boxTerm returns Box·N·mean(1 − CIoU) over the head's positives, adds its
// gradient and notes the objectness targets. Boxes are in cells.
func (l *YOLOv7) boxTerm(h *head, out, grad []float32) float64 {
	k, sum := l.mean(l.o.Box, len(h.positives)), 0.0
	for _, s := range h.positives {
		v, dv := h.boxValues(out, s.slot), h.boxValues(grad, s.slot)
		p := h.decode(v, s.row, s.col, s.anchor)
		value, dp := ciouOfCells(h.inCells(p), h.inCells(l.truths[s.truth].box))
		sum += 1 - value
		h.value[s.slot] = max(h.value[s.slot], value)
		h.decodeBackward(v, p, h.inCells(dp.scale(-k)), s.anchor, dv)
	}
	return k * sum
}

// inCells divides by the strides: a box, or its gradient by the chain rule.
func (h *head) inCells(b box) box {
	return box{b.x / h.strideX, b.y / h.strideY, b.w / h.strideX, b.h / h.strideY}
}

// objTerm returns Obj·balance·N·mean BCE(objectness, target) over all slots of
// the images and writes its gradient.
func (l *YOLOv7) objTerm(h *head, out, grad []float32, balance float64) float64 {
	slots := l.images * h.slotsPerImage()
	k, sum := l.mean(l.o.Obj*balance, slots), 0.0
	for slot, y := range h.value[:slots] {
		at := slot*h.per + 4
		value, d := l.o.crossEntropy(h, float64(out[at]), y)
		sum += value
		grad[at] = float32(k * d)
	}
	return k * sum
}

// classTerm returns Class·N·mean BCE(class) over the head's positives and their
// classes and adds its gradient.
func (l *YOLOv7) classTerm(h *head, out, grad []float32) float64 {
	k, sum := l.mean(l.o.Class, len(h.positives)*l.classes), 0.0
	off, on := l.o.LabelSmooth/2, 1-l.o.LabelSmooth/2
	for _, s := range h.positives {
		at := s.slot*h.per + 5
		for c := range l.classes {
			y := off
			if c == l.truths[s.truth].class {
				y = on
			}
			value, d := l.o.crossEntropy(h, float64(out[at+c]), y)
			sum += value
			grad[at+c] += float32(k * d)
		}
	}
	return k * sum
}

// ciouOfCells is CIoU as YOLOv7's bbox_iou computes it (utils/general.py):
// heights, the union and the diagonal have ε = 1e−7 added, so that nothing is
// divided by zero. With h for height + ε:
//
//	CIoU = I/(U+ε) − ρ²/(c²+ε) − α·v    α = v/(1 − IoU + v + ε), constant for the gradient
//	U    = w·h + w'·h' − I              v = 4/π²·(atan(w'/h') − atan(w/h))²
func ciouOfCells(p, g box) (float64, box) {
	const eps = 1e-7
	o := overlap(p, g)
	o.p.h += eps
	o.g.h += eps
	o.union = o.p.area() + o.g.area() - o.inter + eps
	o.eps = eps
	iou, v := o.ratio(), o.aspect()
	alpha := v / (1 - iou + v + eps)
	dp := o.ratioBackward().add(o.offsetBackward().scale(-1)).add(o.aspectBackward().scale(-alpha))
	return iou - o.offset() - alpha*v, dp
}
