package importance

import (
	"cmp"
	"slices"

	"yoloprune/yolo/graph"
)

// lamp values filter k by its share of the squared norms that are not smaller
// than its own, over the input channels that are live:
//
//	s_k = ||W_k||^2 / sum_(j: ||W_j|| >= ||W_k||) ||W_j||^2
//
// Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR
// 2021, arXiv:2010.07611, for single weights; filters
// take their place here, as in Torch-Pruning, and all of the layer's, also
// those that are removed already. A layer's scores do not change with its
// scale, and its largest is 1, so that layers compare without normalisation.
//
// The paper breaks ties by index, so that equal weights differ in score; here
// equal filters count each other and score alike, the largest two 1/2 each.
func lamp(g *graph.Graph) rule {
	squares := newSlices(g, sumSquares)
	return func(n *graph.Node, live []bool) ([]float64, string) {
		return lampScores(squares.filters(n, live)), ""
	}
}

// lampScores are the scores of squared norms; zero norms score zero.
func lampScores(squares []float64) []float64 {
	order := make([]int, len(squares))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(squares[b], squares[a]) })
	out := make([]float64, len(squares))
	sum := 0.0
	for first := 0; first < len(order); {
		last := first + 1
		sum += squares[order[first]]
		for last < len(order) && squares[order[last]] == squares[order[first]] {
			sum += squares[order[last]]
			last++
		}
		for _, k := range order[first:last] {
			if sum != 0 {
				out[k] = squares[k] / sum
			}
		}
		first = last
	}
	return out
}
