package importance

import (
	"math"

	"yoloprune/yolo/graph"
)

const noScale = "no batch norm, so no scale to score by"

// bnScale values filter k by its batch norm's scale:
//
//	y = gamma*(x-mean)/sqrt(var+eps) + beta        s_k = |gamma_k|
//
// Liu et al., Learning Efficient Convolutional Networks through Network
// Slimming, ICCV 2017, arXiv:1708.06519, section 3. The paper has one filter a
// channel; where a shortcut ties several, all their outputs go when the
// channel goes, so all their scales count, and so does that of a depthwise
// filter behind them. Other tools protect such groups, take the scale of the
// first convolution, or keep a channel as soon as one scale is large (which is
// combine max). A convolution without batch norm has no say.
func bnScale(*graph.Graph) rule {
	return func(n *graph.Node, _ []bool) ([]float64, string) {
		if n.Weights.Gamma == nil {
			return nil, noScale
		}
		s := make([]float64, len(n.Weights.Gamma))
		for k, v := range n.Weights.Gamma {
			s[k] = math.Abs(float64(v))
		}
		return s, ""
	}
}

// bnScaleFilter values filter k by its batch norm's scale times the L1 norm of
// its kernel over the input channels that are live:
//
//	s_k = |gamma_k| * sum_(c live) sum_(r,s) |W[k,c,r,s]|
//
// The norm is that of l1. Li et al. have no batch norm in the formula; behind
// one, a filter's effect is gamma times its normalised response. The product
// is found as gamma*L1 in FZI's iterative-yolo-pruning. A convolution without
// batch norm counts with gamma = 1.
func bnScaleFilter(g *graph.Graph) rule {
	norms := newSlices(g, sumAbs)
	return func(n *graph.Node, live []bool) ([]float64, string) {
		s := norms.filters(n, live)
		for k, v := range n.Weights.Gamma {
			s[k] *= math.Abs(float64(v))
		}
		return s, ""
	}
}
