package onednn

// #include "shim.h"
import "C"

import "yoloprune/yolo/graph"

// Product multiplies an activation by a gate and activates the product. The
// gate has X's shape (sam), 1 x 1 pixels or one channel (scale_channels).
type Product struct {
	Gate, X Desc
	Act     graph.Activation
}

// Forward computes z = gate*x and y = act(z); y may be z.
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

// ActForward computes y = act(z); y may be z.
func ActForward(d Desc, act graph.Activation, z, y []float32) {
	C.yp_act_forward(d.c(), activations[act], ptr(z), ptr(y))
}
