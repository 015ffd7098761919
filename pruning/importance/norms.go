package importance

import (
	"math"

	"yoloprune/yolo/graph"
)

// l1 values filter k by the L1 norm of its kernel, C x R x S, over the input
// channels that are live:
//
//	s_k = sum_(c live) sum_(r,s) |W[k,c,r,s]|
//
// Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017,
// arXiv:1608.08710, section 3.1. Section 3.3 calls it independent when all
// input channels count, and greedy when, layer after layer, those that are
// removed already are left out. Where the paper lets the projection shortcut
// decide for a residual sum, all filters that are tied count here.
//
// A depthwise filter counts like any other; its R x S weights are few, so its
// norm is small beside those of the filters that it is combined with, unless
// Options.Members normalises them first.
func l1(g *graph.Graph) rule {
	norms := newSlices(g, sumAbs)
	return func(n *graph.Node, live []bool) ([]float64, string) { return norms.filters(n, live), "" }
}

// l2 values filter k by the L2 norm of its kernel, as l1 does by the L1 norm:
//
//	s_k = sqrt(sum_(c live) sum_(r,s) W[k,c,r,s]^2)
//
// Li et al. 2017, arXiv:1608.08710, appendix 6.1, which compares the two.
func l2(g *graph.Graph) rule {
	squares := newSlices(g, sumSquares)
	return func(n *graph.Node, live []bool) ([]float64, string) {
		s := squares.filters(n, live)
		for k, v := range s {
			s[k] = math.Sqrt(v)
		}
		return s, ""
	}
}

func sumAbs(w []float32) float64 {
	sum := 0.0
	for _, v := range w {
		sum += math.Abs(float64(v))
	}
	return sum
}

func sumSquares(w []float32) float64 {
	sum := 0.0
	for _, v := range w {
		sum += float64(v) * float64(v)
	}
	return sum
}

// slicesOf has a sum for every R x S slice of every kernel: number k*C + c is
// that of filter k and channel c, C = input channels of one group.
type slicesOf struct {
	g    *graph.Graph
	sums map[graph.NodeID][]float32
}

func newSlices(g *graph.Graph, sum func([]float32) float64) slicesOf {
	s := slicesOf{g, map[graph.NodeID][]float32{}}
	for _, n := range g.Convs() {
		rs := n.Conv().Size * n.Conv().Size
		sums := make([]float32, len(n.Weights.Kernel)/rs)
		for i := range sums {
			sums[i] = float32(sum(n.Weights.Kernel[i*rs : (i+1)*rs]))
		}
		s.sums[n.ID] = sums
	}
	return s
}

// filters sums up the slices of every filter over live input channels.
func (s slicesOf) filters(n *graph.Node, live []bool) []float64 {
	in := s.g.ShapeOf(n.Inputs[0]).C / n.Conv().Groups
	out := make([]float64, n.Conv().Filters)
	for k := range out {
		first := firstInput(n, k, in)
		for c, v := range s.sums[n.ID][k*in : (k+1)*in] {
			if live == nil || live[first+c] {
				out[k] += float64(v)
			}
		}
	}
	return out
}

// inputs sums up, for every input channel, the slices that read it.
func (s slicesOf) inputs(n *graph.Node) []float64 {
	out := make([]float64, s.g.ShapeOf(n.Inputs[0]).C)
	in := len(out) / n.Conv().Groups
	for k := range n.Conv().Filters {
		read := out[firstInput(n, k, in):][:in]
		for c, v := range s.sums[n.ID][k*in : (k+1)*in] {
			read[c] += float64(v)
		}
	}
	return out
}

// firstInput is the first of the in input channels that filter k reads.
func firstInput(n *graph.Node, k, in int) int {
	return k / (n.Conv().Filters / n.Conv().Groups) * in
}
