package onednn

// #include "shim.h"
import "C"

import (
	"unsafe"

	"yoloprune/yolo/graph"
)

// CopyChannels copies count channels of x, from channel sc on, to channel dc
// on of y. The two may differ in order and number of channels.
func CopyChannels(s Desc, sc int, d Desc, dc, count int, x, y []float32) {
	C.yp_copy_channels(s.c(), C.int(sc), d.c(), C.int(dc), C.int(count), ptr(x), ptr(y))
}

// Zero clears x.
func Zero(x []float32) { C.yp_zero(ptr(x), C.long(len(x))) }

// UpsampleForward repeats every pixel of x stride x stride times.
func UpsampleForward(src Desc, stride int, x, y []float32) {
	C.yp_upsample_forward(src.c(), C.int(stride), ptr(x), ptr(y))
}

// UpsampleBackward sums the gradients of every pixel's copies.
func UpsampleBackward(src Desc, stride int, dy, dx []float32) {
	C.yp_upsample_backward(src.c(), C.int(stride), ptr(dy), ptr(dx))
}

// SubsampleForward takes every stride-th pixel of every stride-th row of x.
func SubsampleForward(src Desc, stride int, x, y []float32) {
	C.yp_subsample_forward(src.c(), C.int(stride), ptr(x), ptr(y))
}

// SubsampleBackward puts the gradients back to where the pixels came from.
func SubsampleBackward(src Desc, stride int, dy, dx []float32) {
	C.yp_subsample_backward(src.c(), C.int(stride), ptr(dy), ptr(dx))
}

// MaxPool is max pooling; it keeps where each maximum stood, the first in row
// order among equals.
type MaxPool struct {
	Src, Dst Desc
	Op       *graph.MaxPool
	where    []uint8
}

// MaxPoolSize is the largest window: a place in it is kept in one byte.
const MaxPoolSize = 15

// Forward computes y.
func (p *MaxPool) Forward(x, y []float32) {
	if p.where == nil {
		p.where = make([]uint8, p.Dst.Len())
	}
	C.yp_maxpool_forward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(x), ptr(y), p.places())
}

// Backward gives the gradient of y to the values that were the maxima.
func (p *MaxPool) Backward(dy, dx []float32) {
	C.yp_maxpool_backward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(dy), p.places(), ptr(dx))
}

func (p *MaxPool) places() *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(&p.where[0])) }
