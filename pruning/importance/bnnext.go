package importance

import (
	"math"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// bnScaleNext values filter k by its batch norm's scale times the L2 norms of
// the kernel slices that read what it makes:
//
//	s_k = |gamma_k| * sum_v sqrt(sum_(j,r,s) W_v[j,c_v,r,s]^2)
//
// v runs over the convolutions that read the filter's output as their channel
// c_v, directly or through layers without kernels; one that reads it several
// times counts as often.
//
// A network computes the same when gamma_k and beta_k are divided by f > 0 and
// the slices that read the channel multiplied by it (with linear, leaky and
// relu activations). |gamma_k| alone changes with f, this product does not. Ye
// et al., Rethinking the Smaller-Norm-Less-Informative Assumption in Channel
// Pruning of Convolution Layers, ICLR 2018, arXiv:1802.00124, section 3, show
// how scales are thus driven to zero without any effect.
//
// A depthwise convolution is read as any other: by the channel's own kernel,
// so that in front of it the product is |gamma_k| * ||W_c||, and the depthwise
// filter's own is its gamma times the slices behind it. The rows of a consumer
// count all; a rule hears only of removed input channels, and in the order of
// layers, what consumers lose is not decided yet. A shortcut's weights count
// as factors. A consumer's own batch norm makes the size of its whole kernel
// meaningless: that is left to the normalisation of groups.
func bnScaleNext(g *graph.Graph) rule {
	read := readNorms(g)
	return func(n *graph.Node, _ []bool) ([]float64, string) {
		if n.Weights.Gamma == nil {
			return nil, noScale
		}
		s := make([]float64, len(n.Weights.Gamma))
		for k, v := range n.Weights.Gamma {
			s[k] = math.Abs(float64(v)) * read[n.ID][k]
		}
		return s, ""
	}
}

// readNorms returns, by node and output channel, the sum of the L2 norms of
// the slices that read it.
func readNorms(g *graph.Graph) map[graph.NodeID][]float64 {
	squares := newSlices(g, sumSquares)
	read := map[graph.NodeID][]float64{graph.Input: make([]float64, g.Net.Channels)}
	for _, n := range g.Nodes {
		read[n.ID] = make([]float64, n.Out.C)
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if n.Conv() == nil {
			passBack(g, n, read)
			continue
		}
		for c, v := range squares.inputs(n) {
			read[n.Inputs[0]][c] += math.Sqrt(v)
		}
	}
	return read
}

// passBack adds what reads a layer without kernels to what it reads itself.
func passBack(g *graph.Graph, n *graph.Node, read map[graph.NodeID][]float64) {
	switch op := n.Op.(type) {
	case *graph.Shortcut:
		for i, in := range n.Inputs {
			for c := range min(n.Out.C, len(read[in])) {
				read[in][c] += math.Abs(op.Factor(n.Weights, i, c, len(n.Inputs))) * read[n.ID][c]
			}
		}
	case *graph.SAM, *graph.ScaleChannels:
		for _, in := range n.Inputs {
			for c := range min(n.Out.C, len(read[in])) {
				read[in][c] += read[n.ID][c]
			}
		}
	default:
		for c, from := range depgraph.Sources(g, n) {
			for _, src := range from {
				read[src.Node][src.Channel] += read[n.ID][c]
			}
		}
	}
}
