// Package ref is the engine in plain Go: every operation's forward beside its
// backward, written to be read. The fast engine is tested against it.
//
// Activations are N x H x W x C (images, height, width, channels last) of
// float32; every sum is taken in float64 and rounded once. Kernels keep the
// graph's order, K x C/groups x R x S. A backward takes dy, the gradient of
// the loss by the output, and returns dx, dw, ..., those by the inputs; they
// have their inputs' shapes.
//
// The operations trust the shapes that they are given. Net, which runs a whole
// graph, checks them and returns errors.
package ref

// Tensor is a batch of activations. Value n, h, w, c stands at
// Data[((n*H+h)*W+w)*C+c].
type Tensor struct {
	N, H, W, C int
	Data       []float32
}

// New returns a tensor of zeros.
func New(n, h, w, c int) Tensor {
	return Tensor{n, h, w, c, make([]float32, n*h*w*c)}
}

// like returns a tensor of zeros with t's shape.
func (t Tensor) like() Tensor { return New(t.N, t.H, t.W, t.C) }

// pixel numbers the pixels of a batch; pixel i owns Data[i*C : (i+1)*C].
func (t Tensor) pixel(n, h, w int) int { return (n*t.H+h)*t.W + w }

// position is the inverse of pixel.
func (t Tensor) position(i int) (n, h, w int) { return i / (t.H * t.W), i / t.W % t.H, i % t.W }

// contains says whether pixel h, w lies on the image.
func (t Tensor) contains(h, w int) bool { return h >= 0 && h < t.H && w >= 0 && w < t.W }

// pixels returns how many there are, which is also how many values a channel
// has.
func (t Tensor) pixels() int { return t.N * t.H * t.W }

// channels returns the values of pixel i.
func (t Tensor) channels(i int) []float32 { return t.Data[i*t.C : (i+1)*t.C] }

// add adds u, of the same shape, to t in place.
func (t Tensor) add(u Tensor) {
	for i, v := range u.Data {
		t.Data[i] += v
	}
}

// round returns the sums as float32.
func round(sums []float64) []float32 {
	out := make([]float32, len(sums))
	for i, v := range sums {
		out[i] = float32(v)
	}
	return out
}

// widen returns values as float64.
func widen(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}
