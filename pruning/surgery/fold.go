package surgery

import (
	"math"

	"gonum.org/v1/gonum/integrate/quad"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// constantsByNode holds, by node and channel, the constant that stands for a
// removed channel. For a channel that stays it is the expected mean, as far as
// that is known, which the gate of scale_channels needs.
type constantsByNode map[graph.NodeID][]float64

// constants carries the removed channels' constants from the convolutions
// through the other layers; nil for Fold None.
//
// Upsampling, concatenation, reorganisation and pooling (which ignores what lies
// outside) keep a constant as it is, and so do a sum and a product of constants:
// with Beta, for gamma = 0, all of that is exact. Where they vary, these are
// estimates: a linear sum keeps the mean, and so does a product of independent
// inputs; behind another activation than linear, act of the mean is not the
// mean; a maximum lies above the mean; and where several channels become one
// (reorg, reorg3d in reverse), their mean is taken. Recalibrating the batch
// norms repairs that.
func constants(g *graph.Graph, alive channels, o Options) constantsByNode {
	if o.Fold == None {
		return nil
	}
	k := constantsByNode{graph.Input: make([]float64, g.Net.Channels)}
	for _, n := range g.Nodes {
		if m, ok := o.Means[n.ID]; ok && o.Fold == Measured {
			k[n.ID] = widened(m)
			continue
		}
		if n.Conv() == nil {
			k[n.ID] = k.combine(g, n)
			continue
		}
		v := make([]float64, n.Out.C)
		for f, a := range alive[n.ID] {
			v[f] = filterConstant(n, f, o.Fold == Expected || a)
		}
		k[n.ID] = v
	}
	return k
}

func widened(m []float32) []float64 {
	v := make([]float64, len(m))
	for i, x := range m {
		v[i] = float64(x)
	}
	return v
}

// combine returns what a node that is no convolution makes of its inputs'
// constants.
func (k constantsByNode) combine(g *graph.Graph, n *graph.Node) []float64 {
	v := make([]float64, n.Out.C)
	switch op := n.Op.(type) {
	case *graph.Shortcut:
		k.sum(n, op, v)
	case *graph.ScaleChannels, *graph.SAM:
		k.product(n, v)
	default:
		for c, from := range depgraph.Sources(g, n) {
			for _, src := range from {
				v[c] += k[src.Node][src.Channel] / float64(len(from))
			}
		}
	}
	return v
}

func (k constantsByNode) sum(n *graph.Node, op *graph.Shortcut, v []float64) {
	for i, in := range n.Inputs {
		for c := range min(len(v), len(k[in])) {
			v[c] += k[in][c] * op.Factor(n.Weights, i, c, len(n.Inputs))
		}
	}
	for c := range v {
		v[c] = activate(op.Activation, v[c])
	}
}

// product takes the one channel of a gate for pixels for all channels.
func (k constantsByNode) product(n *graph.Node, v []float64) {
	gate, in := k[n.Inputs[0]], k[n.Inputs[1]]
	for c := range v {
		v[c] = activate(activationOf(n), gate[c%len(gate)]*in[c])
	}
}

// filterConstant is act(beta), or E[act(gamma*z + beta)] if spread is set. The
// normalised response z has the variance var/(var + eps), which is 1 unless the
// filter is dead. Without batch norm the spread is not known, and act(bias) is
// taken.
func filterConstant(n *graph.Node, f int, spread bool) float64 {
	w, gamma := n.Weights, 0.0
	if w.Gamma != nil && spread {
		v := max(float64(w.Var[f]), 0)
		gamma = float64(w.Gamma[f]) * math.Sqrt(v/(v+graph.BatchNormEps))
	}
	return expected(n.Conv().Activation, gamma, float64(w.Bias[f]))
}

// contribution is what the removed input channels of filter f add to its
// response, averaged over the output's pixels:
//
//	sum_(c removed) a_c * sum_(r,s) W[f,c,r,s] * area[r,s]
//
// At a zero-padded border fewer taps see the constant than inside. One shift a
// filter can not undo that; the area-weighted mean is the one with the least
// squared error. Without padding, as in a 1 x 1 convolution, it is exact.
func contribution(k *graph.Conv, w *graph.Weights, f, in int, live []bool, constant, area []float64) float64 {
	first, count := inputsOf(k, f, in)
	total := 0.0
	for c := range count {
		if live[first+c] {
			continue
		}
		for t, a := range area {
			total += constant[first+c] * a * float64(w.Kernel[(f*count+c)*len(area)+t])
		}
	}
	return total
}

// tapArea returns, for every tap of an R x S kernel, the share of the output's
// pixels for which it lies inside the input.
func tapArea(k *graph.Conv, in, out graph.Shape) []float64 {
	rows, cols := inside(k, in.H, out.H), inside(k, in.W, out.W)
	var area []float64
	for _, r := range rows {
		for _, c := range cols {
			area = append(area, r*c)
		}
	}
	return area
}

func inside(k *graph.Conv, in, out int) []float64 {
	share := make([]float64, k.Size)
	for tap := range share {
		for o := range out {
			if at := o*k.Stride + tap*k.Spacing() - k.Pad; at >= 0 && at < in {
				share[tap] += 1 / float64(out)
			}
		}
	}
	return share
}

// expected returns E[act(gamma*z + beta)], z ~ N(0, 1). With s = |gamma|, Phi
// and phi the normal distribution and density,
//
//	E[max(x, 0)] = beta*Phi(beta/s) + s*phi(beta/s)
//
// gives the piecewise linear activations; the smooth ones are integrated by
// Gauss-Hermite quadrature:
//
//	E[f(z)] = 1/sqrt(pi) * sum_i w_i f(sqrt(2) x_i)
func expected(a graph.Activation, gamma, beta float64) float64 {
	s := math.Abs(gamma)
	if s == 0 {
		return activate(a, beta)
	}
	switch a {
	case graph.Linear:
		return beta
	case graph.Relu:
		return expectedRelu(s, beta)
	case graph.Leaky:
		return leakySlope*beta + (1-leakySlope)*expectedRelu(s, beta)
	case graph.Relu6:
		return expectedRelu(s, beta) - expectedRelu(s, beta-6)
	}
	sum := 0.0
	for i, x := range hermite.x {
		sum += hermite.w[i] * activate(a, s*math.Sqrt2*x+beta)
	}
	return sum / math.Sqrt(math.Pi)
}

func expectedRelu(s, beta float64) float64 {
	t := beta / s
	cdf := 0.5 * math.Erfc(-t/math.Sqrt2)
	density := math.Exp(-t*t/2) / math.Sqrt(2*math.Pi)
	return beta*cdf + s*density
}

// hermite holds the points and weights of the quadrature.
var hermite = newHermite(64)

func newHermite(n int) (h struct{ x, w []float64 }) {
	h.x, h.w = make([]float64, n), make([]float64, n)
	quad.Hermite{}.FixedLocations(h.x, h.w, math.Inf(-1), math.Inf(1))
	return h
}

// leakySlope is Darknet's slope of leaky below zero.
const leakySlope = 0.1

// activate is the activation function; the sums of mish and swish are written
// so that no argument overflows.
func activate(a graph.Activation, x float64) float64 {
	switch a {
	case graph.Leaky:
		return max(x, leakySlope*x)
	case graph.Relu:
		return max(x, 0)
	case graph.Relu6:
		return min(max(x, 0), 6)
	case graph.Logistic:
		return 1 / (1 + math.Exp(-x))
	case graph.Mish:
		return x * math.Tanh(math.Max(x, 0)+math.Log1p(math.Exp(-math.Abs(x))))
	case graph.Swish:
		return x / (1 + math.Exp(-x))
	}
	return x
}
