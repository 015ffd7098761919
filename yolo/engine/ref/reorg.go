package ref

// Reorg3D moves blocks of Stride x Stride pixels into channels; with Reverse,
// channels back into blocks.
type Reorg3D struct {
	Stride  int
	Reverse bool
}

// Forward computes, with s the stride,
//
//	y[n,p,q,(dy*s+dx)*C + c] = x[n, p*s+dy, q*s+dx, c]
//
// and with Reverse the inverse.
func (o Reorg3D) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,H/s,W/s,C*s*s, or N,H*s,W*s,C/(s*s)
	s := o.Stride
	if o.Reverse {
		y := New(x.N, x.H*s, x.W*s, x.C/(s*s))
		o.pairs(y, x, func(deep, flat int) { y.Data[flat] = x.Data[deep] })
		return y
	}
	y := New(x.N, x.H/s, x.W/s, x.C*s*s)
	o.pairs(x, y, func(deep, flat int) { y.Data[deep] = x.Data[flat] })
	return y
}

// Backward undoes the move, which is a permutation.
func (o Reorg3D) Backward(dy Tensor) Tensor { return Reorg3D{o.Stride, !o.Reverse}.Forward(dy) }

// pairs calls f with the places of each value in the deep tensor, that of many
// channels, and in the flat one.
func (o Reorg3D) pairs(flat, deep Tensor, f func(deep, flat int)) {
	s := o.Stride
	for i := range flat.Data {
		n, h, w := flat.position(i / flat.C)
		channel := (h%s*s+w%s)*flat.C + i%flat.C
		f(deep.pixel(n, h/s, w/s)*deep.C+channel, i)
	}
}

// Reorg is YOLOv2's, whose output has Reorg3D's shape but another order; see
// graph.Reorg for the formula, in which an image is C x H x W.
type Reorg struct{ Stride int }

// Forward permutes the values of every image.
func (o Reorg) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,H/s,W/s,C*s*s
	y := New(x.N, x.H/o.Stride, x.W/o.Stride, x.C*o.Stride*o.Stride)
	o.pairs(x, y, func(from, to int) { y.Data[to] = x.Data[from] })
	return y
}

// Backward undoes the permutation. Of x only the shape is read.
func (o Reorg) Backward(x, dy Tensor) Tensor {
	// x, dx N,H,W,C; dy N,H/s,W/s,C*s*s
	dx := x.like()
	o.pairs(x, dy, func(from, to int) { dx.Data[from] = dy.Data[to] })
	return dx
}

// pairs calls f with the places of every value before and after.
func (o Reorg) pairs(x, y Tensor, f func(from, to int)) {
	s, few := o.Stride, x.C/(o.Stride*o.Stride)
	for n := range x.N {
		for out := range x.C * x.H * x.W {
			k, j, i := out/(x.H*x.W), out/x.W%x.H, out%x.W
			c2, off := k%few, k/few
			in := (c2*x.H*s+j*s+off/s)*x.W*s + i*s + off%s
			f(x.planar(n, in), y.planar(n, out))
		}
	}
}

// planar returns the place of value i of image n, counted as C x H x W.
func (t Tensor) planar(n, i int) int {
	return t.pixel(n, i/t.W%t.H, i%t.W)*t.C + i/(t.H*t.W)
}
