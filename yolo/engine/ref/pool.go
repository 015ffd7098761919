package ref

// MaxPool takes the maximum of every Size x Size window with Darknet's
// geometry: Padding is the total padding, so that a window of size 2 and
// padding 1 reaches out on the right and below only.
type MaxPool struct{ Size, Stride, Padding int }

// Forward computes
//
//	y[n,p,q,c] = max over r,s of x[n, p*stride-padding/2+r, q*stride-padding/2+s, c]
//
// with padding/2 rounded down. Pixels outside the image are ignored. A padding
// of at most 2*(size-1), which is what graph.Infer accepts, leaves every window
// at least one that is not.
func (o MaxPool) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,P,Q,C
	y := o.output(x)
	o.maxima(x, y, func(xi, yi int) { y.Data[yi] = x.Data[xi] })
	return y
}

// Backward gives dy to the window's maximum, to the first one in row-major
// order where several are equal. Windows may overlap:
//
//	dx[argmax(n,p,q,c)] += dy[n,p,q,c]
func (o MaxPool) Backward(x, dy Tensor) Tensor {
	// x, dx N,H,W,C; dy N,P,Q,C
	dx := x.like()
	sums := make([]float64, len(x.Data))
	o.maxima(x, dy, func(xi, yi int) { sums[xi] += float64(dy.Data[yi]) })
	dx.Data = round(sums)
	return dx
}

// maxima calls f for every output value yi with the place xi of the first
// maximum in its window.
func (o MaxPool) maxima(x, y Tensor, f func(xi, yi int)) {
	for ypixel := range y.pixels() {
		window := o.window(x, y, ypixel)
		for c := range y.C {
			best := window[0]*x.C + c
			for _, xpixel := range window[1:] {
				if i := xpixel*x.C + c; x.Data[i] > x.Data[best] {
					best = i
				}
			}
			f(best, ypixel*y.C+c)
		}
	}
}

// window lists the input pixels under output pixel n,p,q in row-major order.
func (o MaxPool) window(x, y Tensor, ypixel int) []int {
	n, p, q := y.position(ypixel)
	var inside []int
	for rs := range o.Size * o.Size {
		h := p*o.Stride - o.Padding/2 + rs/o.Size
		w := q*o.Stride - o.Padding/2 + rs%o.Size
		if x.contains(h, w) {
			inside = append(inside, x.pixel(n, h, w))
		}
	}
	return inside
}

// output returns a tensor of zeros with the shape of the output:
// P = (H + padding - size)/stride + 1, rounded down, and Q likewise.
func (o MaxPool) output(x Tensor) Tensor {
	side := func(n int) int { return (n+o.Padding-o.Size)/o.Stride + 1 }
	return New(x.N, side(x.H), side(x.W), x.C)
}
