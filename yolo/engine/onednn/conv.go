package onednn

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"

	"yoloprune/yolo/graph"
)

// ConvSpec describes a convolution. Dst follows from Src and Op.
type ConvSpec struct {
	Src, Dst Desc
	Op       *graph.Conv
	Training bool // forward without bias and activation, and both gradients
	NeedDX   bool // training: the gradient of the input is wanted

	direct bool // oneDNN is not asked
}

// Conv is a convolution with its primitives built. Close frees it.
type Conv struct {
	spec   ConvSpec
	h      *C.yp_conv
	frozen bool
}

// NewConv builds the primitives. Where oneDNN has only its reference code, which
// is hundreds of times slower, our own kernels take its place.
//
// A 1x1 kernel over a stride is refused: there oneDNN 2.6.3 writes past its
// buffers. Subsample the input and use a stride of 1.
func NewConv(s ConvSpec) (*Conv, error) {
	if s.Op.Size == 1 && s.Op.Stride > 1 {
		return nil, fmt.Errorf("a 1x1 convolution of stride %d: subsample its input first", s.Op.Stride)
	}
	if want := s.out(); s.Dst.Shape != want || s.Dst.N != s.Src.N {
		return nil, fmt.Errorf("the output is %d images of %v, want %d of %v", s.Dst.N, s.Dst.Shape, s.Src.N, want)
	}
	cs := C.yp_conv_spec{
		src: s.Src.c(), dst: s.Dst.c(),
		groups: C.int(s.Op.Groups), size: C.int(s.Op.Size), stride: C.int(s.Op.Stride), pad: C.int(s.Op.Pad), dilation: C.int(s.Op.Spacing()),
		training: flag(s.Training), need_dx: flag(s.NeedDX), act: activations[s.Op.Activation],
		direct: flag(s.direct),
	}
	h := C.yp_conv_new(&cs)
	if h == nil {
		return nil, errors.New(C.GoString(C.yp_error()))
	}
	return &Conv{spec: s, h: h}, nil
}

// out is the output's shape: P = (H + 2*pad - extent)/stride + 1, rounded down.
func (s ConvSpec) out() graph.Shape {
	side := func(n int) int { return (n+2*s.Op.Pad-s.Op.Extent())/s.Op.Stride + 1 }
	return graph.Shape{C: s.Op.Filters, H: side(s.Src.Shape.H), W: side(s.Src.Shape.W)}
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// Close frees the primitives.
func (c *Conv) Close() {
	C.yp_conv_free(c.h)
	c.h = nil
}

// Info names oneDNN's kernel for every pass, or says direct for our own.
func (c *Conv) Info() string {
	var b [512]C.char
	C.yp_conv_info(c.h, &b[0], C.size_t(len(b)))
	return C.GoString(&b[0])
}

// Freeze copies kernel and bias for Infer.
func (c *Conv) Freeze(w, b []float32) error {
	if err := c.ready(false); err != nil {
		return err
	}
	if len(w) < c.kernelLen() || len(b) < c.spec.Op.Filters {
		return errLength
	}
	c.frozen = true
	return status(C.yp_conv_freeze(c.h, ptr(w), ptr(b)), "convolution weights")
}

// Infer computes y = act(w*x + b) with the frozen weights.
func (c *Conv) Infer(x, y []float32) error {
	if err := c.ready(false); err != nil {
		return err
	}
	if !c.frozen {
		return errors.New("convolution has no weights: call Freeze first")
	}
	if len(x) < c.spec.Src.Len() || len(y) < c.spec.Dst.Len() {
		return errLength
	}
	return status(C.yp_conv_infer(c.h, ptr(x), ptr(y)), "convolution")
}

// Forward computes y = w*x.
func (c *Conv) Forward(x, w, y []float32) error {
	if err := c.fits(x, w, y); err != nil {
		return err
	}
	return status(C.yp_conv_forward(c.h, ptr(x), ptr(w), ptr(y)), "convolution")
}

// BackwardData computes dx from dy.
func (c *Conv) BackwardData(dy, w, dx []float32) error {
	if err := c.fits(dx, w, dy); err != nil {
		return err
	}
	if !c.spec.NeedDX {
		return errors.New("convolution is built without a data gradient")
	}
	return status(C.yp_conv_backward_data(c.h, ptr(dy), ptr(w), ptr(dx)), "convolution data gradient")
}

// BackwardWeights computes dw from x and dy.
func (c *Conv) BackwardWeights(x, dy, dw []float32) error {
	if err := c.fits(x, dw, dy); err != nil {
		return err
	}
	return status(C.yp_conv_backward_weights(c.h, ptr(x), ptr(dy), ptr(dw)), "convolution weight gradient")
}

func (c *Conv) kernelLen() int { return c.spec.Op.KernelLen(c.spec.Src.Shape.C) }

// ready says whether there are primitives for training or for inference.
func (c *Conv) ready(training bool) error {
	switch {
	case c.h == nil:
		return errors.New("convolution is closed")
	case c.spec.Training && !training:
		return errors.New("convolution is built for training, not for inference")
	case training && !c.spec.Training:
		return errors.New("convolution is built for inference, not for training")
	}
	return nil
}

// fits says whether a training pass over x, w and y, or their gradients, can run.
func (c *Conv) fits(x, w, y []float32) error {
	if err := c.ready(true); err != nil {
		return err
	}
	if len(x) < c.spec.Src.Len() || len(w) < c.kernelLen() || len(y) < c.spec.Dst.Len() {
		return errLength
	}
	return nil
}
