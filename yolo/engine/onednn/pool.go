package onednn

// #include "shim.h"
import "C"

import (
	"unsafe"

	"yoloprune/yolo/graph"
)

// MaxPool is max pooling.
type MaxPool struct {
	Src, Dst Desc
	Op       *graph.MaxPool
	Training bool     // Backward is wanted, for which Forward keeps where each maximum stood
	where    []uint16 // the place in its window, the first in row order among equals
}

// MaxPoolSize is the largest window in training: a place in it is kept in 16
// bits.
const MaxPoolSize = 255

// Forward computes y.
func (p *MaxPool) Forward(x, y []float32) {
	if p.Training && p.where == nil {
		p.where = make([]uint16, p.Dst.Len())
	}
	C.yp_maxpool_forward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(x), ptr(y), p.places())
}

// Backward gives the gradient of y to the values that were the maxima.
func (p *MaxPool) Backward(dy, dx []float32) {
	C.yp_maxpool_backward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(dy), p.places(), ptr(dx))
}

func (p *MaxPool) places() *C.uint16_t {
	if p.where == nil {
		return nil
	}
	return (*C.uint16_t)(unsafe.Pointer(&p.where[0]))
}

// AvgPoolForward takes the mean over all pixels; y has 1 x 1.
func AvgPoolForward(src Desc, x, y []float32) { C.yp_avgpool_forward(src.c(), ptr(x), ptr(y)) }

// AvgPoolBackward gives every pixel its share of dy.
func AvgPoolBackward(src Desc, dy, dx []float32) { C.yp_avgpool_backward(src.c(), ptr(dy), ptr(dx)) }

// LocalAvgPool takes the mean over the pixels of a window that exist.
type LocalAvgPool struct {
	Src, Dst Desc
	Op       *graph.LocalAvgPool
}

// Forward computes y.
func (p LocalAvgPool) Forward(x, y []float32) {
	C.yp_local_avgpool_forward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(x), ptr(y))
}

// Backward spreads dy over the windows.
func (p LocalAvgPool) Backward(dy, dx []float32) {
	C.yp_local_avgpool_backward(p.Src.c(), p.Dst.c(), C.int(p.Op.Size), C.int(p.Op.Stride), C.int(p.Op.Padding/2), ptr(dy), ptr(dx))
}
