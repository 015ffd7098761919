// Package surgery cuts the channels of a plan out of a network.
//
// Apply makes a new, smaller graph; Mask keeps the shapes and makes the
// plan's channels zero. With Fold None the two compute the same function,
// which is the proof that the cut is right. Behind a logistic sum or product a
// masked channel is 0.5, not zero: there Mask refuses, and only the other folds
// account for it.
package surgery

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/graph"
)

// Fold says what constant stands for a removed channel in the layers that
// read it.
type Fold string

// None drops the channel as if it were zero. Beta takes act(beta), what the
// channel is when its gamma is zero. Expected takes E[act(gamma*z + beta)],
// z ~ N(0, 1), its mean as far as the batch norm's statistics are right and
// its input is normal; for gamma = 0 it equals Beta. Measured takes the mean that
// was measured on images. The empty Fold is Beta.
const (
	None     Fold = "none"
	Beta     Fold = "beta"
	Expected Fold = "expected"
	Measured Fold = "measured"
)

// Folds lists the values of Options.Fold.
var Folds = []Fold{None, Beta, Expected, Measured}

// Options control Apply.
type Options struct {
	Fold Fold
	// Means has, for Measured, the mean of every output channel of every
	// convolution, over images and pixels, in the whole network. Those of other
	// layers are used where they are given, and otherwise follow from what the
	// layer reads.
	Means map[graph.NodeID][]float32
}

// complete fills in the default, and refuses what is not known or missing.
func (o *Options) complete(g *graph.Graph) error {
	if o.Fold == "" {
		o.Fold = Beta
	}
	if !slices.Contains(Folds, o.Fold) {
		return fmt.Errorf("fold: %q is not known: use one of %v", o.Fold, Folds)
	}
	if o.Fold != Measured {
		return nil
	}
	for _, n := range g.Nodes {
		if m, ok := o.Means[n.ID]; ok || n.Conv() != nil {
			if err := checkMeans(n, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkMeans(n *graph.Node, m []float32) error {
	if m == nil {
		return fmt.Errorf("fold: %v has no measured means: measure them on images, or take another fold", n)
	}
	if len(m) != n.Out.C {
		return fmt.Errorf("fold: %v has %d measured means for %d channels", n, len(m), n.Out.C)
	}
	for c, v := range m {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("fold: %v: the measured mean of channel %d is %v", n, c, v)
		}
	}
	return nil
}

// Apply returns g without the layers and channels that the plan removes, the
// layers first. g is not changed, and shares no memory with the result.
func Apply(g *graph.Graph, p *plan.Plan, o Options) (*graph.Graph, error) {
	if err := o.complete(g); err != nil {
		return nil, err
	}
	if len(p.Removed) > 0 {
		return applyRemoved(g, p, o)
	}
	alive, err := check(g, p)
	if err != nil {
		return nil, err
	}
	constant := constants(g, alive, o)
	out := shell(g)
	for owner, users := range usersOfWeights(g) {
		cutConvs(g, out, owner, users, alive, constant)
	}
	out.LinkShared()
	for _, n := range out.Nodes {
		cutScale(g, n, alive)
	}
	if err := out.Infer(); err != nil {
		return nil, fmt.Errorf("the cut network does not fit together: %w", err)
	}
	if err := out.CheckWeights(); err != nil {
		return nil, fmt.Errorf("the cut network does not fit together: %w", err)
	}
	return out, nil
}

// check validates the plan and returns which channels of every layer stay.
func check(g *graph.Graph, p *plan.Plan) (channels, error) {
	if err := g.CheckWeights(); err != nil {
		return nil, err
	}
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	if err := p.Validate(g, groups); err != nil {
		return nil, err
	}
	return aliveChannels(g, p), nil
}

// channels says, by node and channel, whether it stays.
type channels map[graph.NodeID][]bool

// aliveChannels follows the convolutions' filters through the other layers.
func aliveChannels(g *graph.Graph, p *plan.Plan) channels {
	alive := channels{graph.Input: slices.Repeat([]bool{true}, g.Net.Channels)}
	for _, n := range g.Nodes {
		a := make([]bool, n.Out.C)
		switch n.Op.(type) {
		case *graph.Conv:
			for _, k := range p.Kept(n) {
				a[k] = true
			}
		default:
			for c, from := range depgraph.Sources(g, n) {
				a[c] = alive[from[0].Node][from[0].Channel]
			}
		}
		alive[n.ID] = a
	}
	return alive
}

// shell copies g without its weights.
func shell(g *graph.Graph) *graph.Graph {
	bare := &graph.Graph{Net: g.Net, Source: g.Source}
	for _, n := range g.Nodes {
		c := *n
		c.Weights = nil
		bare.Nodes = append(bare.Nodes, &c)
	}
	return bare.Clone()
}

// cutConvs gives the copy of one of g's convolutions, and those of all that use its
// weights, the filters and input channels that stay, and folds what the removed
// inputs contributed.
func cutConvs(g, out *graph.Graph, owner graph.NodeID, users []*graph.Node, alive channels, constant constantsByNode) {
	old := g.Nodes[owner]
	k, w, in := old.Conv(), old.Weights, g.ShapeOf(old.Inputs[0]).C
	stay, liveIn := alive[owner], alive[old.Inputs[0]]
	for _, u := range users {
		op := out.Nodes[u.ID].Conv()
		op.Filters = countTrue(stay)
		if depgraph.Depthwise(k, in) {
			op.Groups = countTrue(liveIn)
		}
	}
	shift := make([]float64, k.Filters)
	if constant != nil {
		shift = contributions(g, users, stay, func(in graph.NodeID) ([]bool, []float64) { return alive[in], constant[in] })
	}
	n := out.Nodes[owner]
	n.Weights = n.Conv().NewWeights(countTrue(liveIn))
	to, kernel := 0, n.Weights.Kernel
	for f := range k.Filters {
		if !stay[f] {
			continue
		}
		kernel = kernel[copyLive(kernel, k, w, f, in, liveIn):]
		copyVectors(n.Weights, to, w, f, shift[f])
		to++
	}
}

// cutScale gives n the weights of the shortcut in g for the channels that stay.
func cutScale(g *graph.Graph, n *graph.Node, alive channels) {
	o, ok := n.Op.(*graph.Shortcut)
	if !ok || o.Scaling == graph.NoScaling {
		return
	}
	old := g.Nodes[n.ID]
	n.Weights = &graph.Weights{}
	for i, w := range old.Weights.Scale {
		if o.Scaling == graph.PerFeature || alive[n.ID][i%old.Out.C] {
			n.Weights.Scale = append(n.Weights.Scale, w)
		}
	}
}

func countTrue(v []bool) int {
	n := 0
	for _, b := range v {
		if b {
			n++
		}
	}
	return n
}

// copyVectors copies filter f of w to filter k of v, shifted by a constant that
// its kernel no longer adds: y = gamma*(x + shift - mean)/sqrt(var + eps) + beta.
func copyVectors(v *graph.Weights, k int, w *graph.Weights, f int, shift float64) {
	v.Bias[k] = w.Bias[f]
	if w.Gamma == nil {
		v.Bias[k] = float32(float64(w.Bias[f]) + shift)
		return
	}
	v.Gamma[k], v.Var[k] = w.Gamma[f], w.Var[f]
	v.Mean[k] = float32(float64(w.Mean[f]) - shift)
}

// inputsOf returns the input channels [first, first+count) that filter f reads.
func inputsOf(k *graph.Conv, f, in int) (first, count int) {
	count = in / k.Groups
	return f / (k.Filters / k.Groups) * count, count
}

// copyLive copies the R x S slices of filter f over input channels that stay,
// and returns how many values they are.
func copyLive(to []float32, k *graph.Conv, w *graph.Weights, f, in int, live []bool) int {
	first, count := inputsOf(k, f, in)
	rs, n := k.Size*k.Size, 0
	for c := range count {
		if live[first+c] {
			n += copy(to[n:n+rs], w.Kernel[(f*count+c)*rs:])
		}
	}
	return n
}

// Mask returns a copy of g, of the same shapes, in which the channels that the
// plan removes are zero: gamma and beta, or kernel and bias. All activations
// but the logistic keep zero; there, beta is so low that the output is.
func Mask(g *graph.Graph, p *plan.Plan) (*graph.Graph, error) {
	if len(p.Removed) > 0 {
		return maskRemoved(g, p)
	}
	alive, err := check(g, p)
	if err != nil {
		return nil, err
	}
	if err := canMask(g, alive); err != nil {
		return nil, err
	}
	out := g.Clone()
	for _, n := range out.Convs() {
		maskFilters(n, alive[n.ID])
	}
	return out, nil
}

func canMask(g *graph.Graph, alive channels) error {
	for _, n := range g.Nodes {
		if o := g.Owner(n); n.Shares() && isLogistic(n) != isLogistic(o) && slices.Contains(alive[n.ID], false) {
			return fmt.Errorf("%v: a channel can not be masked behind its %s and behind the %s of layer %d, whose weights it uses: no weights make both zero",
				n, n.Conv().Activation, o.Conv().Activation, o.ID)
		}
		if activationOf(n) == graph.Logistic && slices.Contains(alive[n.ID], false) {
			return fmt.Errorf("%v: a channel behind its logistic can not be masked: it is never zero", n)
		}
	}
	return nil
}

func isLogistic(n *graph.Node) bool { return n.Conv().Activation == graph.Logistic }

// activationOf returns what a node that combines others does to the result.
func activationOf(n *graph.Node) graph.Activation {
	switch o := n.Op.(type) {
	case *graph.Shortcut:
		return o.Activation
	case *graph.ScaleChannels:
		return o.Activation
	case *graph.SAM:
		return o.Activation
	}
	return graph.Linear
}

// logisticZero is an argument whose logistic is zero in float32.
const logisticZero = -1000

func maskFilter(n *graph.Node, f int) {
	w := n.Weights
	w.Bias[f] = 0
	if n.Conv().Activation == graph.Logistic {
		w.Bias[f] = logisticZero
	}
	if w.Gamma != nil {
		w.Gamma[f] = 0
		return
	}
	size := len(w.Kernel) / n.Conv().Filters
	clear(w.Kernel[f*size : (f+1)*size])
}
