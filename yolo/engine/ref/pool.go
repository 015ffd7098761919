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

func (o MaxPool) window(x, y Tensor, ypixel int) []int {
	return window(o.Size, o.Stride, o.Padding, x, y, ypixel)
}

// window lists the input pixels under output pixel n,p,q in row-major order.
func window(size, stride, padding int, x, y Tensor, ypixel int) []int {
	n, p, q := y.position(ypixel)
	var inside []int
	for rs := range size * size {
		h := p*stride - padding/2 + rs/size
		w := q*stride - padding/2 + rs%size
		if x.contains(h, w) {
			inside = append(inside, x.pixel(n, h, w))
		}
	}
	return inside
}

// output returns a tensor of zeros with the shape of the output:
// P = (H + padding - size)/stride + 1, rounded down, and Q likewise.
func (o MaxPool) output(x Tensor) Tensor { return pooled(o.Size, o.Stride, o.Padding, x) }

func pooled(size, stride, padding int, x Tensor) Tensor {
	side := func(n int) int { return (n+padding-size)/stride + 1 }
	return New(x.N, side(x.H), side(x.W), x.C)
}

// LocalAvgPool takes the mean of every window, with MaxPool's geometry, over
// the pixels that lie on the image.
type LocalAvgPool struct{ Size, Stride, Padding int }

// Forward computes
//
//	y[n,p,q,c] = mean over r,s of x[n, p*stride-padding/2+r, q*stride-padding/2+s, c]
func (o LocalAvgPool) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,P,Q,C
	y := pooled(o.Size, o.Stride, o.Padding, x)
	for i := range y.pixels() {
		inside := window(o.Size, o.Stride, o.Padding, x, y, i)
		for c := range y.C {
			total := 0.0
			for _, p := range inside {
				total += float64(x.channels(p)[c])
			}
			y.channels(i)[c] = float32(total / float64(len(inside)))
		}
	}
	return y
}

// Backward spreads dy evenly over the window.
func (o LocalAvgPool) Backward(x, dy Tensor) Tensor {
	// x, dx N,H,W,C; dy N,P,Q,C
	dx := x.like()
	sums := make([]float64, len(x.Data))
	for i := range dy.pixels() {
		inside := window(o.Size, o.Stride, o.Padding, x, dy, i)
		for _, p := range inside {
			for c, v := range dy.channels(i) {
				sums[p*x.C+c] += float64(v) / float64(len(inside))
			}
		}
	}
	dx.Data = round(sums)
	return dx
}

// AvgPool takes the mean over all pixels of an image.
type AvgPool struct{}

// Forward computes
//
//	y[n,c] = 1/(H*W) * sum over h,w of x[n,h,w,c]
func (o AvgPool) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,1,1,C
	y := New(x.N, 1, 1, x.C)
	sums := make([]float64, len(y.Data))
	for i := range x.pixels() {
		n, _, _ := x.position(i)
		for c, v := range x.channels(i) {
			sums[n*x.C+c] += float64(v) / float64(x.H*x.W)
		}
	}
	y.Data = round(sums)
	return y
}

// Backward gives every pixel its share:
//
//	dx[n,h,w,c] = dy[n,c]/(H*W)
func (o AvgPool) Backward(x, dy Tensor) Tensor {
	// x, dx N,H,W,C; dy N,1,1,C
	dx := x.like()
	for i := range dx.pixels() {
		n, _, _ := x.position(i)
		for c, v := range dy.channels(n) {
			dx.channels(i)[c] = float32(float64(v) / float64(x.H*x.W))
		}
	}
	return dx
}
