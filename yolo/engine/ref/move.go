package ref

import (
	"math"

	"yoloprune/yolo/graph"
)

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

// Shortcut adds tensors of equal heights and widths and activates the sum. The
// first gives the shape; of another one with more channels the first ones are
// added, and one with fewer adds to the first ones only.
type Shortcut struct{ Activation graph.Activation }

// Forward computes
//
//	y = f(z)      z[n,p,q,c] = sum over k with c < C_k of x[k][n,p,q,c]
func (o Shortcut) Forward(xs []Tensor) Tensor {
	// xs N,H,W,C_k; y N,H,W,C_0
	return ActivateForward(o.Activation, sum(xs))
}

// Backward returns the gradient of every source: that of the sum for the
// channels that were added, zero for the others.
//
//	dx[k] = dy * f'(z)
func (o Shortcut) Backward(xs []Tensor, dy Tensor) []Tensor {
	// xs, dxs N,H,W,C_k; dy N,H,W,C_0
	dz := ActivateBackward(o.Activation, sum(xs), dy)
	dxs := make([]Tensor, len(xs))
	for k, x := range xs {
		dxs[k] = x.like()
		for i := range x.pixels() {
			copy(dxs[k].channels(i), dz.channels(i))
		}
	}
	return dxs
}

func sum(xs []Tensor) Tensor {
	z := xs[0].like()
	for i := range z.pixels() {
		for c := range z.C {
			total := 0.0
			for _, x := range xs {
				if c < x.C {
					total += float64(x.channels(i)[c])
				}
			}
			z.channels(i)[c] = float32(total)
		}
	}
	return z
}

// Weigh multiplies the sources of a shortcut with weights, as graph.Shortcut
// describes it, so that Shortcut can add them.
//
//	y[k][n,p,q,c] = w'[k][c] * x[k][n,p,q,c]      for c < C_0
//
// scale is one run of weights for each source, of one or of C_0 values.
func Weigh(xs []Tensor, norm graph.Normalization, scale []float32) []Tensor {
	// xs, ys N,H,W,C_k
	per := len(scale) / len(xs)
	weights := normalized(norm, scale, per)
	ys := make([]Tensor, len(xs))
	for k, x := range xs {
		ys[k] = x.like()
		for i, v := range x.Data {
			if c := i % x.C; c < xs[0].C {
				ys[k].Data[i] = float32(float64(v) * weights[k*per+c%per])
			}
		}
	}
	return ys
}

// normalized brings the weights of every channel to a sum of one.
func normalized(norm graph.Normalization, scale []float32, per int) []float64 {
	const eps = 1e-4
	out := make([]float64, len(scale))
	for c := range per {
		highest, total := math.Inf(-1), eps
		for i := c; i < len(scale); i += per {
			highest = math.Max(highest, float64(scale[i]))
		}
		for i := c; i < len(scale); i += per {
			out[i] = math.Max(float64(scale[i]), 0.001)
			if norm == graph.NormSoftmax {
				out[i] = math.Exp(float64(scale[i]) - highest)
			}
			total += out[i]
		}
		for i := c; i < len(scale); i += per {
			out[i] /= total
		}
	}
	return out
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
