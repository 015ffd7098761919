package onednn

// #include "shim.h"
import "C"

import "unsafe"

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

// SubsampleForward takes every stride-th pixel of every stride-th row of x with
// pad zeros on every side.
func SubsampleForward(src, dst Desc, stride, pad int, x, y []float32) {
	C.yp_subsample_forward(src.c(), dst.c(), C.int(stride), C.int(pad), ptr(x), ptr(y))
}

// SubsampleBackward puts the gradients back to where the pixels came from.
func SubsampleBackward(src, dst Desc, stride, pad int, dy, dx []float32) {
	C.yp_subsample_backward(src.c(), dst.c(), C.int(stride), C.int(pad), ptr(dy), ptr(dx))
}

// Permutation moves every value of an image to another place.
type Permutation struct {
	src, dst Desc
	from, to []int32
}

// NewPermutation asks source where every value of the destination comes from,
// both counted as C x H x W.
func NewPermutation(src, dst Desc, source func(to int) (from int)) *Permutation {
	n := dst.Shape.Size()
	p := &Permutation{src: src, dst: dst, from: make([]int32, n), to: make([]int32, n)}
	for i := range n {
		p.from[i], p.to[i] = src.place(source(i)), dst.place(i)
	}
	return p
}

// place returns where value i of an image, counted as C x H x W, is kept.
func (d Desc) place(i int) int32 {
	px, b := d.Shape.H*d.Shape.W, d.Block()
	c, p := i/px, i%px
	return int32((c/b*px+p)*b + c%b)
}

// Forward computes y from x.
func (p *Permutation) Forward(x, y []float32) { permute(p.src, p.dst, p.from, p.to, x, y) }

// Backward computes dx from dy.
func (p *Permutation) Backward(dy, dx []float32) { permute(p.dst, p.src, p.to, p.from, dy, dx) }

func permute(src, dst Desc, from, to []int32, x, y []float32) {
	index := func(v []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(&v[0])) }
	C.yp_permute(C.int(src.N), C.long(src.Len()/src.N), C.long(dst.Len()/dst.N), C.long(len(from)), index(from), index(to), ptr(x), ptr(y))
}
