package surgery

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"yoloprune/yolo/graph"
)

// Sparsity says how many kernels (the R x S slices that join one filter to one
// input channel) of a network are zero.
type Sparsity struct {
	Ratio   float64       `json:"ratio"` // asked for, of every layer that is not kept whole
	Kernels int           `json:"kernels"`
	Zero    int           `json:"zero"`
	Before  int           `json:"zero_before"` // how many of Zero were zero in the weights given
	Layers  []LayerKernel `json:"layers"`      // the convolutions with weights of their own, in order
}

// LayerKernel is one convolution's share of a Sparsity.
type LayerKernel struct {
	Index   int    `json:"index"`
	Kernels int    `json:"kernels"`
	Zero    int    `json:"zero"`
	Whole   string `json:"whole,omitempty"` // why no kernel was taken, "" otherwise
}

// Of returns the fraction of the kernels that are zero.
func (s *Sparsity) Of() float64 { return float64(s.Zero) / float64(s.Kernels) }

// ZeroKernels returns a copy of g, of the same shapes, in which every layer's
// kernels with the lowest L1 norms are zero: those of filter k and input channel
// c with the lowest
//
//	s[k,c] = sum_(r,s) |W[k,c,r,s]|
//
// as in the kernel-level pruning of Mao et al., Exploring the Granularity of
// Sparsity in Convolutional Neural Networks, CVPR workshops 2017,
// arXiv:1705.08922. ratio is the fraction of a layer's kernels, rounded to the
// nearest number, that are zero; at least one stays. Equal norms go in the order
// of filter and channel. The convolutions that a head reads, and those of skip,
// are kept whole, also where they use another's weights. Biases and batch norms stay, so that a filter without any
// kernel is constant.
func ZeroKernels(g *graph.Graph, ratio float64, skip ...graph.NodeID) (*graph.Graph, *Sparsity, error) {
	if !(ratio > 0 && ratio < 1) {
		return nil, nil, fmt.Errorf("ratio: %v is not in (0, 1): it is the fraction of the kernels to zero", ratio)
	}
	if err := g.CheckWeights(); err != nil {
		return nil, nil, err
	}
	heads, users := headConvs(g), usersOfWeights(g)
	out, s, taken := g.Clone(), &Sparsity{Ratio: ratio, Layers: []LayerKernel{}}, 0
	for _, n := range out.Owners() {
		kernels := slices.Collect(slices.Chunk(n.Weights.Kernel, n.Conv().Size*n.Conv().Size))
		row := LayerKernel{Index: int(n.ID), Kernels: len(kernels)}
		s.Before += countZero(kernels)
		switch {
		case slices.ContainsFunc(users[n.ID], func(u *graph.Node) bool { return heads[u.ID] }):
			row.Whole = "head"
		case slices.ContainsFunc(users[n.ID], func(u *graph.Node) bool { return slices.Contains(skip, u.ID) }):
			row.Whole = "skip"
		default:
			lowest, err := lowestNorms(n, kernels, ratio)
			if err != nil {
				return nil, nil, err
			}
			for _, k := range lowest {
				clear(kernels[k])
			}
			taken += len(lowest)
		}
		row.Zero = countZero(kernels)
		s.Kernels, s.Zero = s.Kernels+row.Kernels, s.Zero+row.Zero
		s.Layers = append(s.Layers, row)
	}
	if taken == 0 {
		return nil, nil, fmt.Errorf("ratio: %v of every layer's kernels is none that may go: ask for more, or skip fewer layers", ratio)
	}
	return out, s, nil
}

// headConvs finds the convolutions whose output reaches a head with no other
// convolution between.
func headConvs(g *graph.Graph) map[graph.NodeID]bool {
	found, seen := map[graph.NodeID]bool{}, map[graph.NodeID]bool{graph.Input: true}
	var follow func(graph.NodeID)
	follow = func(id graph.NodeID) {
		if seen[id] {
			return
		}
		seen[id] = true
		if g.Nodes[id].Conv() != nil {
			found[id] = true
			return
		}
		for _, in := range g.Nodes[id].Inputs {
			follow(in)
		}
	}
	for _, h := range g.Heads() {
		follow(h.ID)
	}
	return found
}

// lowestNorms returns the indices of the kernels to take.
func lowestNorms(n *graph.Node, kernels [][]float32, ratio float64) ([]int, error) {
	norm, order := make([]float64, len(kernels)), make([]int, len(kernels))
	for i, k := range kernels {
		order[i] = i
		for _, w := range k {
			norm[i] += math.Abs(float64(w))
		}
		if math.IsNaN(norm[i]) || math.IsInf(norm[i], 0) {
			return nil, fmt.Errorf("%v: the norm of kernel %d is %v: the weights hold NaN or infinity", n, i, norm[i])
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(norm[a], norm[b]) })
	return order[:min(int(math.Round(ratio*float64(len(kernels)))), len(kernels)-1)], nil
}

func countZero(kernels [][]float32) int {
	zero := 0
	for _, k := range kernels {
		if !slices.ContainsFunc(k, func(w float32) bool { return w != 0 }) {
			zero++
		}
	}
	return zero
}
