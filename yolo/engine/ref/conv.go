package ref

// Conv is a convolution (cross-correlation) without batch norm and activation:
// K filters (Filters) of R x S pixels (Size x Size). With groups, filter k
// reads only the C/groups channels of its own group, k/(K/groups). Dilation is
// the distance between taps; 0 means 1.
type Conv struct{ Filters, Size, Stride, Pad, Groups, Dilation int }

func (o Conv) spacing() int { return max(1, o.Dilation) }

// Forward computes
//
//	y[n,p,q,k] = b[k] + sum over r,s,c of x[n, p*stride-pad+r*d, q*stride-pad+s*d, first(k)+c] * w[k,c,r,s]
//	first(k) = k/(K/groups) * C/groups
//
// with d the dilation, where x is zero outside the image. A nil b adds nothing.
func (o Conv) Forward(x Tensor, w, b []float32) Tensor {
	// x N,H,W,C; w K,C/groups,R,S; b K; y N,P,Q,K
	y := o.output(x)
	sums := make([]float64, len(y.Data))
	if b != nil {
		for i := range sums {
			sums[i] = float64(b[i%o.Filters])
		}
	}
	o.products(x, y, func(xi, wi, yi int) {
		sums[yi] += float64(x.Data[xi]) * float64(w[wi])
	})
	y.Data = round(sums)
	return y
}

// BackwardData returns the gradient by an input of x's shape; x's values are
// not read. Every product x*w of Forward gives
//
//	dx += dy * w
func (o Conv) BackwardData(x Tensor, w []float32, dy Tensor) Tensor {
	// x, dx N,H,W,C; w K,C/groups,R,S; dy N,P,Q,K
	dx := x
	sums := make([]float64, x.pixels()*x.C)
	o.products(x, dy, func(xi, wi, yi int) {
		sums[xi] += float64(dy.Data[yi]) * float64(w[wi])
	})
	dx.Data = round(sums)
	return dx
}

// BackwardWeights returns the gradients by kernel and bias. Every product x*w
// of Forward gives
//
//	dw += dy * x      db[k] = sum over n,p,q of dy[n,p,q,k]
func (o Conv) BackwardWeights(x, dy Tensor) (dw, db []float32) {
	// x N,H,W,C; dy N,P,Q,K; dw K,C/groups,R,S; db K
	wsums := make([]float64, o.Filters*(x.C/o.Groups)*o.Size*o.Size)
	o.products(x, dy, func(xi, wi, yi int) {
		wsums[wi] += float64(dy.Data[yi]) * float64(x.Data[xi])
	})
	bsums := make([]float64, o.Filters)
	for i, v := range dy.Data {
		bsums[i%o.Filters] += float64(v)
	}
	return round(wsums), round(bsums)
}

// products calls f for every product x[xi]*w[wi] that y[yi] sums. Kernel
// pixels that fall outside the image would read zeros and are left out.
func (o Conv) products(x, y Tensor, f func(xi, wi, yi int)) {
	channels, filters := x.C/o.Groups, o.Filters/o.Groups // of one group
	o.windows(x, y, func(xpixel, rs, ypixel int) {
		for k := range o.Filters {
			first := k / filters * channels
			for c := range channels {
				f(xpixel*x.C+first+c, (k*channels+c)*o.Size*o.Size+rs, ypixel*o.Filters+k)
			}
		}
	})
}

// windows calls f for every output pixel n,p,q and every kernel pixel
// rs = r*S+s that falls on the image, there on the input pixel
// n, p*stride-pad+r*d, q*stride-pad+s*d.
func (o Conv) windows(x, y Tensor, f func(xpixel, rs, ypixel int)) {
	for ypixel := range y.pixels() {
		n, p, q := y.position(ypixel)
		for rs := range o.Size * o.Size {
			h := p*o.Stride - o.Pad + rs/o.Size*o.spacing()
			w := q*o.Stride - o.Pad + rs%o.Size*o.spacing()
			if x.contains(h, w) {
				f(x.pixel(n, h, w), rs, ypixel)
			}
		}
	}
}

// output returns a tensor of zeros with the shape of the output:
// P = (H + 2*pad - (R-1)*d - 1)/stride + 1, rounded down, and Q likewise.
func (o Conv) output(x Tensor) Tensor {
	side := func(n int) int { return (n+2*o.Pad-(o.Size-1)*o.spacing()-1)/o.Stride + 1 }
	return New(x.N, side(x.H), side(x.W), o.Filters)
}
