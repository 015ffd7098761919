package ref

import "yoloprune/yolo/graph"

// ConvBNAct is a convolutional section with batch norm in training, one
// operation in the fast engine:
//
//	z = conv(x, w)      u = batchnorm(z, gamma, beta)      y = f(u)
type ConvBNAct struct {
	Conv       Conv
	Activation graph.Activation
}

// ConvBNActSaved is what Forward leaves for Backward: x, z, u, and z's moments.
type ConvBNActSaved struct {
	X, Z, U Tensor
	Moments Moments
}

// Forward returns y and what Backward needs.
func (o ConvBNAct) Forward(x Tensor, w, gamma, beta []float32) (Tensor, ConvBNActSaved) {
	// x N,H,W,C; w K,C/groups,R,S; gamma, beta K; y N,P,Q,K
	z := o.Conv.Forward(x, w, nil)
	u, m := BatchNormForward(z, gamma, beta)
	return ActivateForward(o.Activation, u), ConvBNActSaved{x, z, u, m}
}

// Backward runs the three backwards in turn: du, dz, then dx and dw.
func (o ConvBNAct) Backward(s ConvBNActSaved, w, gamma []float32, dy Tensor) (dx Tensor, dw, dgamma, dbeta []float32) {
	// dy N,P,Q,K; dx N,H,W,C; dw K,C/groups,R,S; dgamma, dbeta K
	du := ActivateBackward(o.Activation, s.U, dy)
	dz, dgamma, dbeta := BatchNormBackward(s.Z, gamma, s.Moments, du)
	dw, _ = o.Conv.BackwardWeights(s.X, dz)
	return o.Conv.BackwardData(s.X, w, dz), dw, dgamma, dbeta
}
