package importance

import (
	"fmt"
	"math"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// measurement is a criterion that reads its values from evidence.
type measurement struct {
	values    func(*Evidence) map[graph.NodeID][]float32
	gradients bool
	gate      bool // speaks of batch norms only
	score     func(float64) float64
}

// measured has the criteria that need images. With L the loss, g a gradient
// and E the mean over mini-batches, filter k scores
//
//	taylor          E[(g_gamma*gamma_k + g_beta*beta_k)^2]
//
// the squared change of the loss, to first order, when the batch norm's output
// becomes 0, the batch norm being a gate. Molchanov et al., Importance
// Estimation for Neural Network Pruning, CVPR 2019, arXiv:1906.10771, section
// 3. Squaring comes before the mean: near a minimum the mean gradient is
// almost nothing. The paper's gates are a batch norm's two parameters; a
// convolution without batch norm has no say.
//
//	taylor-weights  E[(sum_w g_w*w)^2]
//
// the same with the filter's kernel w, C x R x S, as a set of parameters, also
// there. Torch-Pruning takes |sum_w g_w*w| or sum_w |g_w*w| of one gradient.
// Behind a batch norm of the batch's own statistics the output does not change
// with the size of the kernel, so that this sum is zero but for eps: the
// gradients have to be those of running statistics.
//
//	hessian         sum_w w^2 * E[g_w^2]
//
// twice the saliency of LeCun et al., Optimal Brain Damage, NIPS 1989, section
// 2, for a diagonal Hessian that is approximated by the squared gradients
// (the diagonal of the empirical Fisher matrix), summed over the filter.
//
//	response        E[|a_k|]
//
// the mean over pixels, too, of what the layer puts out. Molchanov et al.
// 2017, arXiv:1611.06440, section 2.2, mean activation; the magnitude, since
// leaky, mish and swish are negative as well.
//
//	apoz            1 - P(|a_k| < tau)
//
// Hu et al., Network Trimming, 2016, arXiv:1607.03250, section 3: the average
// percentage of zeros, of which this is the complement, so that more is better.
// The paper counts zeros behind relu; other activations are almost never zero,
// so what is smaller than tau counts as zero.
//
// All are taken at the convolutions, each with its own activation, not behind
// the sums that tie them. None looks at live channels. Of a convolution that
// uses another's weights, the gradients may be counted with that one's.
var measured = map[string]measurement{
	"taylor":         {func(e *Evidence) map[graph.NodeID][]float32 { return e.GateTaylor }, true, true, same},
	"taylor-weights": {func(e *Evidence) map[graph.NodeID][]float32 { return e.WeightTaylor }, true, false, same},
	"hessian":        {func(e *Evidence) map[graph.NodeID][]float32 { return e.Hessian }, true, false, same},
	"response":       {func(e *Evidence) map[graph.NodeID][]float32 { return e.MeanAbs }, false, false, same},
	"apoz":           {func(e *Evidence) map[graph.NodeID][]float32 { return e.Small }, false, false, complement},
}

func same(v float64) float64       { return v }
func complement(v float64) float64 { return 1 - v }

func (m measurement) rule(e *Evidence) rule {
	values := m.values(e)
	return func(n *graph.Node, _ []bool) ([]float64, string) {
		if why := m.silent(n, values[n.ID]); why != "" {
			return nil, why
		}
		s := make([]float64, len(values[n.ID]))
		for k, v := range values[n.ID] {
			s[k] = m.score(float64(v))
		}
		return s, ""
	}
}

// silent says why the criterion has no say about a convolution, or "".
func (m measurement) silent(n *graph.Node, values []float32) string {
	switch {
	case m.gate && n.Weights.Gamma == nil:
		return "no batch norm, so no gate to score by"
	case m.gradients && n.Shares() && values == nil:
		return "its weights are another layer's"
	}
	return ""
}

// check refuses evidence that does not have a finite value for every filter
// that the criterion will be asked about.
func (m measurement) check(g *graph.Graph, groups []depgraph.Group, o Options) error {
	if o.Evidence == nil || m.values(o.Evidence) == nil {
		if m.gradients {
			return fmt.Errorf("criterion %s needs gradients: give --images and --annotations", o.Criterion)
		}
		return fmt.Errorf("criterion %s needs activations: give --images", o.Criterion)
	}
	for _, gr := range groups {
		if gr.Protected != "" {
			continue
		}
		for _, id := range gr.Convs() {
			n := g.Nodes[id]
			values := m.values(o.Evidence)[id]
			if m.silent(n, values) != "" {
				continue
			}
			if err := checkValues(n, values); err != nil {
				return fmt.Errorf("criterion %s: %w", o.Criterion, err)
			}
		}
	}
	return nil
}

func checkValues(n *graph.Node, values []float32) error {
	if values == nil {
		return fmt.Errorf("%v was not measured", n)
	}
	if len(values) != n.Conv().Filters {
		return fmt.Errorf("%v was measured with %d channels, it has %d: the evidence is of another network", n, len(values), n.Conv().Filters)
	}
	for k, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%v: channel %d was measured as %v: the weights or the images make values without bounds", n, k, v)
		}
	}
	return nil
}
