package onednn

// #include "shim.h"
import "C"

import (
	"unsafe"

	"yoloprune/yolo/graph"
)

// Product multiplies an activation by a gate and activates the product. The
// gate has X's shape (sam), 1 x 1 pixels or one channel (scale_channels).
type Product struct {
	Gate, X Desc
	Act     graph.Activation
}

// Forward computes z = gate*x and y = act(z).
func (p Product) Forward(gate, x, z, y []float32) {
	C.yp_multiply(p.Gate.c(), p.X.c(), ptr(gate), ptr(x), ptr(z))
	C.yp_act_forward(p.X.c(), activations[p.Act], ptr(z), ptr(y))
}

// BackwardX computes dx = dy*act'(z)*gate; dz is overwritten.
func (p Product) BackwardX(gate, z, dy, dz, dx []float32) {
	ActBackward(p.X, p.Act, z, dy, dz)
	C.yp_multiply(p.Gate.c(), p.X.c(), ptr(gate), ptr(dz), ptr(dx))
}

// BackwardGate sums dy*act'(z)*x over what shares a value of the gate; dz is
// overwritten.
func (p Product) BackwardGate(x, z, dy, dz, dgate []float32) {
	ActBackward(p.X, p.Act, z, dy, dz)
	C.yp_multiply_gate(p.Gate.c(), p.X.c(), ptr(x), ptr(dz), ptr(dgate))
}

// AddScaled adds scale*x to z in the first len(scale) channels.
func AddScaled(src, dst Desc, scale, x, z []float32) {
	C.yp_add_scaled(src.c(), dst.c(), C.int(len(scale)), ptr(scale), ptr(x), ptr(z))
}

// ActForward computes y = act(z).
func ActForward(d Desc, act graph.Activation, z, y []float32) {
	C.yp_act_forward(d.c(), activations[act], ptr(z), ptr(y))
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

// Permutation moves every value of an image to another place.
type Permutation struct {
	src, dst Desc
	from, to []int32
}

// NewPermutation asks next for the source of every value of the destination,
// both counted as C x H x W.
func NewPermutation(src, dst Desc, source func(to int) (from int)) *Permutation {
	p := &Permutation{src: src, dst: dst}
	for i := range dst.Shape.Size() {
		p.to = append(p.to, dst.place(i))
		p.from = append(p.from, src.place(source(i)))
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
