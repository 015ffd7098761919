package importance

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"yoloprune/yolo/graph"
)

// fpgm values filter k by its distances to the layer's other filters, as
// vectors of C x R x S weights over the input channels that are live:
//
//	s_k = sum_j sqrt(sum_(c live) sum_(r,s) (W[k,c,r,s] - W[j,c,r,s])^2)
//
// A filter near the geometric median is what the others can stand in for,
// whatever its norm. He et al., Filter Pruning via Geometric Median, CVPR
// 2019, arXiv:1811.00250, section 3. Torch-Pruning takes
// distances of |W|^p, which is not the paper's.
//
// Batch norm is ignored, as in the paper. Filters of a grouped convolution are
// compared with those that read the same channels only, for others cannot
// stand in for them; so a depthwise filter has nothing to be compared with and
// no say. Time is K^2 C R S, for a layer again whenever its live channels
// change.
func fpgm(g *graph.Graph) rule {
	return func(n *graph.Node, live []bool) ([]float64, string) {
		groups := n.Conv().Groups
		rows := n.Conv().Filters / groups
		if groups > 1 && rows == 1 {
			return nil, "no two filters read the same channels, so there is no distance to score by"
		}
		var s []float64
		for q := range groups {
			s = append(s, distanceSums(liveRows(g, n, q, live), rows)...)
		}
		return s, ""
	}
}

// liveRows returns the filters of group q as rows, without the channels that
// are not live.
func liveRows(g *graph.Graph, n *graph.Node, q int, live []bool) []float32 {
	size := len(n.Weights.Kernel) / n.Conv().Groups
	kernel := n.Weights.Kernel[q*size : (q+1)*size]
	in := g.ShapeOf(n.Inputs[0]).C / n.Conv().Groups
	if live == nil || !slices.Contains(live[q*in:(q+1)*in], false) {
		return kernel
	}
	rs := n.Conv().Size * n.Conv().Size
	var out []float32
	for i := range len(kernel) / rs {
		if live[q*in+i%in] {
			out = append(out, kernel[i*rs:(i+1)*rs]...)
		}
	}
	return out
}

// gramRows is how many rows of the Gram matrix are held at a time, and
// cancelled the share of ||a||^2 + ||b||^2 below which a squared distance is no
// longer taken from it: single precision would leave too few digits.
const (
	gramRows  = 64
	cancelled = 1e-2
)

// distanceSums returns for every row of x the sum of its Euclidean distances
// to the others, with ||a-b||^2 = ||a||^2 + ||b||^2 - 2ab.
func distanceSums(x []float32, rows int) []float64 {
	sums, dim := make([]float64, rows), len(x)/rows
	if dim == 0 {
		return sums
	}
	row := func(i int) []float32 { return x[i*dim : (i+1)*dim] }
	norms := make([]float64, rows)
	for i := range norms {
		norms[i] = sumSquares(row(i))
	}
	for first := 0; first < rows; first += gramRows {
		dots := gram(x[first*dim:], min(gramRows, rows-first), rows-first, dim)
		for i := first; i < min(first+gramRows, rows); i++ {
			for j := i + 1; j < rows; j++ {
				d := norms[i] + norms[j] - 2*float64(dots[(i-first)*(rows-first)+j-first])
				if !(d > cancelled*(norms[i]+norms[j])) {
					d = squaredDistance(row(i), row(j))
				}
				d = math.Sqrt(d)
				sums[i] += d
				sums[j] += d
			}
		}
	}
	return sums
}

// gram returns the products of the first m of x's n rows with all of them,
// m x n.
func gram(x []float32, m, n, dim int) []float32 {
	c := blas32.General{Rows: m, Cols: n, Stride: n, Data: make([]float32, m*n)}
	a := blas32.General{Rows: m, Cols: dim, Stride: dim, Data: x}
	b := blas32.General{Rows: n, Cols: dim, Stride: dim, Data: x}
	blas32.Gemm(blas.NoTrans, blas.Trans, 1, a, b, 0, c)
	return c.Data
}

// squaredDistance returns ||a-b||^2.
func squaredDistance(a, b []float32) float64 {
	sum := 0.0
	for i, v := range a {
		d := float64(v) - float64(b[i])
		sum += d * d
	}
	return sum
}
