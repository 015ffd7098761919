// Package importance scores the channels of a group. A larger score means: keep.
//
// Scores are comparable within one criterion only. How a plan follows from
// them is the business of package plan.
package importance

import (
	"fmt"
	"math"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// Live says for every convolution which of its input channels are still there.
// A convolution that is missing has all of them.
type Live map[graph.NodeID][]bool

// Cut marks the input channels as removed that convolutions read from the
// group's channels with keep[channel] false.
func (l Live) Cut(g *graph.Graph, gr depgraph.Group, keep []bool) {
	for _, m := range gr.Members {
		if m.Side != depgraph.In || m.Kind != "convolutional" {
			continue
		}
		in, ok := l[m.Node]
		if !ok {
			in = make([]bool, g.ShapeOf(g.Nodes[m.Node].Inputs[0]).C)
			for i := range in {
				in[i] = true
			}
			l[m.Node] = in
		}
		for ch, c := range m.Map {
			if c >= 0 {
				in[c] = keep[ch]
			}
		}
	}
}

// Criterion scores groups of a graph whose CheckWeights has passed.
type Criterion interface {
	// Name is what plan.json calls it.
	Name() string
	// Score returns one score per channel of the group, given what is live; or
	// nil and why the criterion can not judge this group.
	Score(gr depgraph.Group, live Live) (scores []float64, why string)
}

// Scores holds the scores of all groups, by group ID.
type Scores struct {
	Criterion string      `json:"criterion"`
	Values    [][]float64 `json:"values"`   // nil where the group has no score
	Unscored  []string    `json:"unscored"` // why not, "" where it has
}

// Score scores every group that may be cut, with all inputs live.
func Score(groups []depgraph.Group, c Criterion) (Scores, error) {
	s := Scores{Criterion: c.Name(), Values: make([][]float64, len(groups)), Unscored: make([]string, len(groups))}
	for i, gr := range groups {
		if s.Unscored[i] = gr.Protected; gr.Protected != "" {
			continue
		}
		s.Values[i], s.Unscored[i] = c.Score(gr, nil)
		if err := CheckFinite(gr, s.Values[i]); err != nil {
			return Scores{}, err
		}
	}
	return s, nil
}

// CheckFinite refuses scores that are not finite, which come from weights that
// are not.
func CheckFinite(gr depgraph.Group, scores []float64) error {
	for ch, v := range scores {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: the score of channel %d is %v: the weights hold NaN or infinity", gr.Name(), ch, v)
		}
	}
	return nil
}

// bnScale is the criterion of BNScale.
type bnScale struct{ g *graph.Graph }

// BNScale scores channel i of a group by the batch-norm scales of the filters
// that make it, m running over the group's convolutions:
//
//	y = gamma*(x-mean)/sqrt(var+eps) + beta        s_i = sum_m |gamma_m,i|
//
// Liu et al., Learning Efficient Convolutional Networks through Network
// Slimming, ICCV 2017, arXiv:1708.06519, section 3. The paper has one filter a
// channel; where a shortcut ties several, all their outputs go when the
// channel goes, so their scales add up. A convolution without batch norm adds
// nothing, and a group without any has no score.
func BNScale(g *graph.Graph) Criterion { return bnScale{g} }

func (bnScale) Name() string { return "bn-scale" }

func (b bnScale) Score(gr depgraph.Group, _ Live) ([]float64, string) {
	s := make([]float64, gr.Channels)
	scored := false
	for _, m := range gr.Members {
		if !m.IsFilters() || b.g.Nodes[m.Node].Weights.Gamma == nil {
			continue
		}
		scored = true
		for ch, k := range m.Map {
			if k >= 0 {
				s[ch] += math.Abs(float64(b.g.Nodes[m.Node].Weights.Gamma[k]))
			}
		}
	}
	if !scored {
		return nil, "no batch norm, so no scale to score by"
	}
	return s, ""
}

// filterScale is the criterion of FilterScale. norms[m][k*C+c] is the L1 norm
// of the R x S slice c of filter k, C = input channels of one group.
type filterScale struct {
	g     *graph.Graph
	norms map[graph.NodeID][]float32
}

// FilterScale scores a filter by its batch-norm scale times the L1 norm of its
// kernel over the input channels that are live:
//
//	s_i = sum_m |gamma_m,i| * sum_(c live) sum_(r,s) |W_m[i,c,r,s]|
//
// The norm is that of Li et al., Pruning Filters for Efficient ConvNets, ICLR
// 2017, arXiv:1608.08710, section 3.1; section 3.3 calls it independent when
// all input channels count and greedy when, layer after layer, those removed
// already are left out. The paper scores by the norm alone; the scale joins it
// because behind a batch norm a filter's effect is gamma times its normalised
// response. A convolution without batch norm counts with gamma = 1. Where the
// paper lets the projection shortcut decide for a residual sum, all filters
// that are tied count here.
func FilterScale(g *graph.Graph) Criterion {
	f := filterScale{g, map[graph.NodeID][]float32{}}
	for _, n := range g.Convs() {
		f.norms[n.ID] = sliceNorms(n)
	}
	return f
}

func sliceNorms(n *graph.Node) []float32 {
	rs := n.Conv().Size * n.Conv().Size
	norms := make([]float32, len(n.Weights.Kernel)/rs)
	for i := range norms {
		sum := 0.0
		for _, w := range n.Weights.Kernel[i*rs : (i+1)*rs] {
			sum += math.Abs(float64(w))
		}
		norms[i] = float32(sum)
	}
	return norms
}

func (filterScale) Name() string { return "bn-scale x filter norm" }

func (f filterScale) Score(gr depgraph.Group, live Live) ([]float64, string) {
	s := make([]float64, gr.Channels)
	for _, m := range gr.Members {
		if !m.IsFilters() {
			continue
		}
		gamma := f.g.Nodes[m.Node].Weights.Gamma
		for ch, k := range m.Map {
			if k < 0 {
				continue
			}
			v := f.norm(m.Node, k, live[m.Node])
			if gamma != nil {
				v *= math.Abs(float64(gamma[k]))
			}
			s[ch] += v
		}
	}
	return s, ""
}

// norm sums the slice norms of filter k over live input channels, nil = all.
func (f filterScale) norm(id graph.NodeID, k int, live []bool) float64 {
	n := f.g.Nodes[id]
	in := f.g.ShapeOf(n.Inputs[0]).C / n.Conv().Groups
	first := k / (n.Conv().Filters / n.Conv().Groups) * in
	sum := 0.0
	for c, v := range f.norms[id][k*in : (k+1)*in] {
		if live == nil || live[first+c] {
			sum += float64(v)
		}
	}
	return sum
}

// ByMean divides the scores by their mean, so that those of different layers
// compare: 1 is an average channel of its own group. Scores that are all zero
// stay so.
func ByMean(scores []float64) []float64 {
	sum := 0.0
	for _, v := range scores {
		sum += v
	}
	out := make([]float64, len(scores))
	if sum == 0 {
		return out
	}
	for i, v := range scores {
		out[i] = v / sum * float64(len(scores))
	}
	return out
}
