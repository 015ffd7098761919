// Package loss computes the training loss of YOLO heads and its gradient with
// respect to the heads' raw values. There are four kinds (Options.Kind):
//
//	yolov4      the loss of YOLOv4 with true gradients, the default
//	darknet     Darknet's own backward pass, quirks included
//	yolov7      the plain loss of YOLOv7
//	yolov7-ota  the same with its optimal-transport assignment
//
// A slot is one anchor of one cell of one head of one image. Raw values are
// N x H x W x C, channels last, with C = anchors·(5+classes) in the order
// x, y, w, h, objectness, classes, so slot number
// ((n·H + row)·W + col)·anchors + a starts at value slot·(5+classes). Boxes are
// in pixels of the network's input, centre form. Heads are linear, or with
// new_coords hold values that have passed a logistic.
package loss

import (
	"errors"
	"fmt"
	"slices"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

// Head is a [yolo] layer and the shape of the values that it reads.
type Head struct {
	Yolo  *graph.Yolo
	Shape graph.Shape
}

// Loss is the loss of one network at one batch size. It is not safe for
// concurrent use.
type Loss interface {
	// SetTruths sets the labels of the next batches, one list per image. A batch
	// may have fewer lists than images: the images after them are padding, which
	// adds no loss and gets zero gradients. The lists are copied. A fault in them
	// is kept and returned by Compute.
	SetTruths(truths [][]datasets.Truth)

	// Compute returns the loss of the batch and fills grads with its gradient by
	// the raw values. outs and grads hold one slice per head, N x H x W x C.
	// Every gradient is written, zeros included. A non-finite raw value is a
	// *NonFiniteError, and a value outside [0, 1] in a head with new_coords is a
	// *RangeError; grads are then untouched.
	Compute(outs, grads [][]float32) (Parts, error)
}

// New makes the loss of o.Kind for heads of a network with a netW x netH input.
func New(heads []Head, netW, netH, batch int, o Options) (l Loss, err error) {
	switch o = o.Complete(); o.Kind {
	case KindDarknet:
		l, err = NewDarknet(heads, netW, netH, batch, o)
	case KindYOLOv7, KindYOLOv7OTA:
		l, err = NewYOLOv7(heads, netW, netH, batch, o)
	default:
		l, err = NewYOLOv4(heads, netW, netH, batch, o)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Parts are the terms of the loss, gains and divisions included; Total is their
// sum.
type Parts struct {
	Total, Box, Obj, Class float64
	Positives              int

	// Divisor is what the sums over this batch were divided by, 0 for nothing.
	// Batches of one step join to one as
	//
	//	g = Σ max(Divisor_i, 1)·g_i / max(Σ Divisor_i, 1)
	Divisor int `json:"-"`
}

// network is what every kind of loss holds: the heads and a batch's truths.
type network struct {
	netW, netH float64
	batch      int
	classes    int
	heads      []head

	truths []truth // of the whole batch, in order of images
	first  []int   // index of every image's first truth, and their number at the end
	images int     // images that have truths set; the rest of the batch is padding
	err    error   // of SetTruths, reported by Compute
}

// newNetwork checks the options against the kinds that the caller makes.
func newNetwork(heads []Head, netW, netH, batch int, o Options, kinds ...string) (network, error) {
	if err := o.check(); err != nil {
		return network{}, err
	}
	if !slices.Contains(kinds, o.Kind) {
		return network{}, fmt.Errorf("kind: %q is not made here; use New", o.Kind)
	}
	if len(heads) == 0 || netW < 1 || netH < 1 || batch < 1 {
		return network{}, fmt.Errorf("%d heads, input %dx%d, batch %d: all must be at least 1", len(heads), netW, netH, batch)
	}
	l := network{
		netW: float64(netW), netH: float64(netH), batch: batch,
		err: errors.New("loss: truths are not set; call SetTruths before Compute"),
	}
	for i, h := range heads {
		if err := l.addHead(h); err != nil {
			return network{}, fmt.Errorf("head %d: %w", i, err)
		}
	}
	return l, o.checkSizes(l.classes, len(l.heads))
}

func (l *network) addHead(h Head) error {
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
