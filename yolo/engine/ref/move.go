package ref

import "yoloprune/yolo/graph"

// Upsample repeats every pixel Stride x Stride times (nearest neighbour).
type Upsample struct{ Stride int }

// Forward computes
//
//	y[n,p,q,c] = x[n, p/stride, q/stride, c]
func (o Upsample) Forward(x Tensor) Tensor {
	// x N,H,W,C; y N,H*stride,W*stride,C
	y := New(x.N, x.H*o.Stride, x.W*o.Stride, x.C)
	for i := range y.pixels() {
		n, p, q := y.position(i)
		copy(y.channels(i), x.channels(x.pixel(n, p/o.Stride, q/o.Stride)))
	}
	return y
}

// Backward sums dy over the copies of every pixel:
//
//	dx[n, p/stride, q/stride, c] += dy[n,p,q,c]
func (o Upsample) Backward(dy Tensor) Tensor {
	// dy N,H*stride,W*stride,C; dx N,H,W,C
	dx := New(dy.N, dy.H/o.Stride, dy.W/o.Stride, dy.C)
	sums := make([]float64, len(dx.Data))
	for i := range dy.pixels() {
		n, p, q := dy.position(i)
		first := dx.pixel(n, p/o.Stride, q/o.Stride) * dx.C
		for c, v := range dy.channels(i) {
			sums[first+c] += float64(v)
		}
	}
	dx.Data = round(sums)
	return dx
}

// Shortcut adds tensors of equal shapes and activates the sum.
type Shortcut struct{ Activation graph.Activation }

// Forward computes
//
//	y = f(z)      z = x[0] + x[1] + ...
func (o Shortcut) Forward(xs []Tensor) Tensor {
	// xs, y N,H,W,C
	return ActivateForward(o.Activation, sum(xs))
}

// Backward returns the one gradient that every source gets:
//
//	dx = dy * f'(z)
func (o Shortcut) Backward(xs []Tensor, dy Tensor) Tensor {
	// xs, dy, dx N,H,W,C
	return ActivateBackward(o.Activation, sum(xs), dy)
}

func sum(xs []Tensor) Tensor {
	z := xs[0].like()
	for i := range z.Data {
		total := 0.0
		for _, x := range xs {
			total += float64(x.Data[i])
		}
		z.Data[i] = float32(total)
	}
	return z
}

// Route joins tensors along channels. With Groups > 1 every source is cut into
// that many slices, of which it gives number GroupID only.
type Route struct{ Groups, GroupID int }

// Forward computes, pixel by pixel,
//
//	y = x[0][slice 0], x[1][slice 1], ...
//	slice k = GroupID*C_k/Groups .. (GroupID+1)*C_k/Groups
func (o Route) Forward(xs []Tensor) Tensor {
	// xs N,H,W,C_k; y N,H,W,sum of C_k/Groups
	width := 0
	for _, x := range xs {
		width += x.C / o.Groups
	}
	y := New(xs[0].N, xs[0].H, xs[0].W, width)
	for i := range y.pixels() {
		rest := y.channels(i)
		for _, x := range xs {
			rest = rest[copy(rest, o.slice(x, i)):]
		}
	}
	return y
}

// Backward cuts dy apart: source k gets its piece in its slice and zeros
// elsewhere. Of the sources only the shapes are read.
func (o Route) Backward(xs []Tensor, dy Tensor) []Tensor {
	// xs, dxs N,H,W,C_k; dy N,H,W,sum of C_k/Groups
	dxs := make([]Tensor, len(xs))
	for k, x := range xs {
		dxs[k] = x.like()
	}
	for i := range dy.pixels() {
		rest := dy.channels(i)
		for _, dx := range dxs {
			rest = rest[copy(o.slice(dx, i), rest):]
		}
	}
	return dxs
}

// slice returns the channels of pixel i that the route takes.
func (o Route) slice(x Tensor, i int) []float32 {
	n := x.C / o.Groups
	return x.channels(i)[o.GroupID*n : (o.GroupID+1)*n]
}
