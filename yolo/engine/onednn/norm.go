package onednn

// #include "shim.h"
import "C"

import "yoloprune/yolo/graph"

// Norm is a batch norm with batch statistics and an activation, fused.
type Norm struct {
	Desc Desc
	Act  graph.Activation
	Eps  float32
}

// Forward computes, over the M = N*H*W values of every channel,
//
//	mean = sum(x)/M   var = sum((x-mean)^2)/M   y = act(gamma*(x-mean)/sqrt(var+eps) + beta)
//
// and writes mean and var (biased). shift is a value near the mean, such as
// the running mean; it keeps the variance accurate in float32.
func (n Norm) Forward(x, gamma, beta, shift, mean, variance, y []float32) error {
	return status(C.yp_norm_forward(n.Desc.c(), activations[n.Act], C.float(n.Eps), ptr(x), ptr(gamma), ptr(beta),
		ptr(shift), ptr(mean), ptr(variance), ptr(y)), "batch norm")
}

// Backward computes the gradients of x, gamma and beta from dy, with the mean
// and variance that Forward wrote.
func (n Norm) Backward(x, gamma, beta, mean, variance, dy, dx, dgamma, dbeta []float32) error {
	return status(C.yp_norm_backward(n.Desc.c(), activations[n.Act], C.float(n.Eps), ptr(x), ptr(gamma), ptr(beta),
		ptr(mean), ptr(variance), ptr(dy), ptr(dx), ptr(dgamma), ptr(dbeta)), "batch norm gradient")
}

// BiasForward computes y = act(x + bias).
func BiasForward(d Desc, act graph.Activation, x, bias, y []float32) error {
	return status(C.yp_bias_forward(d.c(), activations[act], ptr(x), ptr(bias), ptr(y)), "bias")
}

// BiasBackward computes the gradients of x and bias from dy.
func BiasBackward(d Desc, act graph.Activation, x, bias, dy, dx, dbias []float32) error {
	return status(C.yp_bias_backward(d.c(), activations[act], ptr(x), ptr(bias), ptr(dy), ptr(dx), ptr(dbias)), "bias gradient")
}

// Add computes sum = a + b and y = act(sum); y, sum and a may be one.
func Add(d Desc, act graph.Activation, a, b, y, sum []float32) {
	C.yp_add_forward(d.c(), activations[act], ptr(a), ptr(b), ptr(y), ptr(sum))
}

// ActBackward computes dz = dy*act'(z).
func ActBackward(d Desc, act graph.Activation, z, dy, dz []float32) {
	C.yp_act_backward(d.c(), activations[act], ptr(z), ptr(dy), ptr(dz))
}
