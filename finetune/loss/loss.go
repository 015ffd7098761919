// Package loss computes the training loss of YOLO heads and its gradient with
// respect to the heads' raw values.
//
//	L = ( Box·Σ (1 − CIoU) + Obj·Σ BCE(objectness) + Class·Σ BCE(class) ) / P
//
// P is the number of positives of the batch, at least 1. The first and the
// third sum run over the positives, the second over all slots that are not
// ignored. It is the loss of YOLOv4 (Bochkovskiy et al. 2020, arXiv:2004.10934)
// with the true gradient of CIoU (Zheng et al., AAAI 2020, arXiv:1911.08287);
// docs/ciou-gradient.md derives that gradient. Darknet's own backward pass
// differs from it: see there.
//
// A slot is one anchor of one cell of one head of one image. Raw values are
// N x H x W x C, channels last, with C = anchors·(5+classes) in the order
// x, y, w, h, objectness, classes, so slot number
// ((n·H + row)·W + col)·anchors + a starts at value slot·(5+classes). Boxes are
// in pixels of the network's input, centre form.
package loss

import (
	"errors"
	"fmt"

	"yoloprune/yolo/graph"
)

// Head is a [yolo] layer and the shape of the values that it reads.
type Head struct {
	Yolo  *graph.Yolo
	Shape graph.Shape
}

// Options set the loss. A field left zero takes the default named beside it.
type Options struct {
	Box, Obj, Class float64 // gains of the three terms: 3, 1, 1

	IoULoss      string  // box term: ciou (default), diou, giou or iou
	LabelSmooth  float64 // e in y(1−e) + e/2 for class targets: 0
	AssignIoU    float64 // anchors above it are assigned beside the best one: 0.213; 1 switches that off
	IgnoreThresh float64 // background above this IoU with a truth adds no objectness loss: 0.7; 1 switches that off
}

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		field *float64
		value float64
	}{{&o.Box, 3}, {&o.Obj, 1}, {&o.Class, 1}, {&o.AssignIoU, .213}, {&o.IgnoreThresh, .7}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.IoULoss == "" {
		o.IoULoss = "ciou"
	}
	return o
}

func (o Options) check() error {
	for _, f := range []struct {
		name       string
		value, max float64
	}{{"box gain", o.Box, 1e6}, {"obj gain", o.Obj, 1e6}, {"class gain", o.Class, 1e6}, {"assign iou", o.AssignIoU, 1}, {"ignore threshold", o.IgnoreThresh, 1}} {
		if !(f.value > 0 && f.value <= f.max) {
			return fmt.Errorf("%s: %g is not in (0, %g]", f.name, f.value, f.max)
		}
	}
	if !(o.LabelSmooth >= 0 && o.LabelSmooth < 1) {
		return fmt.Errorf("label smoothing: %g is not in [0, 1)", o.LabelSmooth)
	}
	if similarities[o.IoULoss] == nil {
		return fmt.Errorf("iou loss: unknown kind %q; use ciou, diou, giou or iou", o.IoULoss)
	}
	return nil
}

// YOLOv4 is the loss of one network at one batch size. It is not safe for
// concurrent use.
type YOLOv4 struct {
	o          Options
	similarity similarity
	netW, netH float64
	batch      int
	classes    int
	heads      []head

	truths    []truth // of the whole batch, in order of images
	images    int     // images that have truths set; the rest of the batch is padding
	positives int
	err       error // of SetTruths, reported by Compute
}

// Parts are the terms of the loss, gains and division by P included;
// Total is their sum.
type Parts struct {
	Total, Box, Obj, Class float64
	Positives              int
}

// NewYOLOv4 makes the loss for heads of a network with a netW x netH input.
func NewYOLOv4(heads []Head, netW, netH, batch int, o Options) (*YOLOv4, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("loss: %w", err)
	}
	if len(heads) == 0 || netW < 1 || netH < 1 || batch < 1 {
		return nil, fmt.Errorf("loss: %d heads, input %dx%d, batch %d: all must be at least 1", len(heads), netW, netH, batch)
	}
	l := &YOLOv4{
		o: o, similarity: similarities[o.IoULoss],
		netW: float64(netW), netH: float64(netH), batch: batch,
		err: errors.New("loss: truths are not set; call SetTruths before Compute"),
	}
	for i, h := range heads {
		if err := l.addHead(h); err != nil {
			return nil, fmt.Errorf("loss: head %d: %w", i, err)
		}
	}
	return l, nil
}

func (l *YOLOv4) addHead(h Head) error {
	if err := checkHead(h); err != nil {
		return err
	}
	if len(l.heads) > 0 && h.Yolo.Classes != l.classes {
		return fmt.Errorf("%d classes, the first head has %d; all heads must agree", h.Yolo.Classes, l.classes)
	}
	if values := float64(h.Shape.Size()) * float64(l.batch); values > graph.MaxActivation {
		return fmt.Errorf("%.3g values in a batch; the limit is %d", values, graph.MaxActivation)
	}
	l.classes = h.Yolo.Classes
	l.heads = append(l.heads, newHead(h, l.netW, l.netH, l.batch))
	return nil
}

func checkHead(h Head) error {
	y, s := h.Yolo, h.Shape
	if y == nil {
		return errors.New("no [yolo] layer")
	}
	if y.Classes < 1 || len(y.Mask) == 0 || s.H < 1 || s.W < 1 || s.C != len(y.Mask)*y.PerAnchor() {
		return fmt.Errorf("shape %v does not fit %d anchors of %d classes; want (classes+5)*anchors channels", s, len(y.Mask), y.Classes)
	}
	if !(y.ScaleXY > 0 && y.ScaleXY <= 10) {
		return fmt.Errorf("scale_x_y: %g is not in (0, 10]", y.ScaleXY)
	}
	for _, m := range y.Mask {
		if m < 0 || m >= len(y.Anchors) {
			return fmt.Errorf("mask names anchor %d, but there are %d", m, len(y.Anchors))
		}
	}
	for i, a := range y.Anchors {
		if !(a[0] > 0 && a[1] > 0 && a[0] < 1e9 && a[1] < 1e9) {
			return fmt.Errorf("anchor %d is %gx%g pixels; both sides must be positive", i, a[0], a[1])
		}
	}
	return nil
}

// Compute returns the loss of the batch and fills grads with dL/d(raw value).
// outs and grads hold one slice per head, N x H x W x C. Every gradient is
// written, zeros included. A non-finite raw value is a *NonFiniteError, and a
// value outside [0, 1] in a head with new_coords is a *RangeError; grads are
// then untouched.
func (l *YOLOv4) Compute(outs, grads [][]float32) (Parts, error) {
	if err := l.check(outs, grads); err != nil {
		return Parts{}, err
	}
	p := Parts{Positives: l.positives}
	for i := range l.heads {
		h, out, grad := &l.heads[i], outs[i], grads[i]
		clear(grad)
		h.mark(out, l.truths, l.o.IgnoreThresh)
		p.Box += l.boxTerm(h, out, grad)
		p.Obj += l.objTerm(h, out, grad)
		p.Class += l.classTerm(h, out, grad)
	}
	p.Total = p.Box + p.Obj + p.Class
	return p, nil
}

// perPositive returns gain/P.
func (l *YOLOv4) perPositive(gain float64) float64 { return gain / float64(max(1, l.positives)) }

// boxTerm returns k·Σ (1 − CIoU) over the head's positives and adds its
// gradient, k = Box/P. Truths that share a slot add up.
func (l *YOLOv4) boxTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Box), 0.0
	for _, s := range h.positives {
		v, dv := h.boxValues(out, s.slot), h.boxValues(grad, s.slot)
		p := h.decode(v, s.row, s.col, s.anchor)
		value, dp := l.similarity(p, l.truths[s.truth].box)
		sum += 1 - value
		h.decodeBackward(v, p, dp.scale(-k), s.anchor, dv)
	}
	return k * sum
}

// objTerm returns k·Σ BCE(objectness, y) over all slots and writes its
// gradient, k = Obj/P; y is 1 for a positive, once for however many truths,
// and 0 for background. Ignored slots and padding images add nothing.
func (l *YOLOv4) objTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Obj), 0.0
	for slot, state := range h.state[:l.images*h.slotsPerImage()] {
		if state == ignored {
			continue
		}
		y := 0.0
		if state == positive {
			y = 1
		}
		at := slot*h.per + 4
		value, d := h.bce(float64(out[at]), y)
		sum += value
		grad[at] = float32(k * d)
	}
	return k * sum
}

// classTerm returns k·Σ BCE(class) over the head's positives and their
// classes and adds its gradient, k = Class/P. Truths that share a slot add up.
func (l *YOLOv4) classTerm(h *head, out, grad []float32) float64 {
	k, sum := l.perPositive(l.o.Class), 0.0
	off, on := l.o.LabelSmooth/2, 1-l.o.LabelSmooth/2
	for _, s := range h.positives {
		at := s.slot*h.per + 5
		for c := range l.classes {
			y := off
			if c == l.truths[s.truth].class {
				y = on
			}
			value, d := h.bce(float64(out[at+c]), y)
			sum += value
			grad[at+c] += float32(k * d)
		}
	}
	return k * sum
}
