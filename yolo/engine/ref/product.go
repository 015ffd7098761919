package ref

import "yoloprune/yolo/graph"

// Product multiplies a tensor by a gate and activates the product: SAM when the
// two have equal shapes, scale_channels when the gate has one pixel or one
// channel, whose value then holds for all.
type Product struct{ Activation graph.Activation }

// Forward computes
//
//	y = f(z)      z[n,h,w,c] = gate[n,h,w,c] * x[n,h,w,c]
//
// where a coordinate in which the gate has one value only is ignored.
func (o Product) Forward(gate, x Tensor) Tensor {
	// gate N,H,W,C or N,1,1,C or N,H,W,1; x, y N,H,W,C
	return ActivateForward(o.Activation, multiply(gate, x))
}

// Backward returns the gradients of the gate and of x:
//
//	dgate = sum over what shares a value of dy*f'(z)*x      dx = dy*f'(z)*gate
func (o Product) Backward(gate, x, dy Tensor) (dgate, dx Tensor) {
	// gate, dgate as in Forward; x, dx, dy N,H,W,C
	dz := ActivateBackward(o.Activation, multiply(gate, x), dy)
	dgate, dx = gate.like(), x.like()
	sums := make([]float64, len(gate.Data))
	for i, d := range dz.Data {
		g := under(gate, x, i)
		sums[g] += float64(d) * float64(x.Data[i])
		dx.Data[i] = float32(float64(d) * float64(gate.Data[g]))
	}
	dgate.Data = round(sums)
	return dgate, dx
}

func multiply(gate, x Tensor) Tensor {
	z := x.like()
	for i, v := range x.Data {
		z.Data[i] = float32(float64(v) * float64(gate.Data[under(gate, x, i)]))
	}
	return z
}

// under returns the place of the gate's value for value i of x.
func under(gate, x Tensor, i int) int {
	n, h, w := x.position(i / x.C)
	return gate.pixel(n, h%gate.H, w%gate.W)*gate.C + i%x.C%gate.C
}
