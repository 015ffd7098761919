package ref

// Dropout multiplies values by factors that were drawn for them, 0 or 1/(1-p),
// see package mask. It is for training; at inference dropout is the identity.
type Dropout struct{ Mask []float32 }

// Forward computes
//
//	y[n,h,w,c] = x[n,h,w,c] * mask[n,h,w,c]
func (o Dropout) Forward(x Tensor) Tensor {
	// x, mask, y N,H,W,C
	y := x.like()
	for i, v := range x.Data {
		y.Data[i] = v * o.Mask[i]
	}
	return y
}

// Backward returns dx = dy * mask.
func (o Dropout) Backward(dy Tensor) Tensor { return o.Forward(dy) }
