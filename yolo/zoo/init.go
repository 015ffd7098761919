package zoo

import (
	"fmt"
	"math"
	"math/rand/v2"

	"yoloprune/yolo/graph"
)

// leakySlope is the slope below zero of Darknet's leaky activation.
const leakySlope = 0.1

// A head starts out sure that there is nothing anywhere and unsure of the
// class: with logistic(-4) = 0.018 and logistic(-1) = 0.27 the many empty cells
// do not swamp the first steps (the prior of Lin et al., Focal Loss, ICCV 2017,
// arXiv:1708.02002, section 4.1).
const (
	headSpread      = 0.01
	objectnessStart = -4
	classStart      = -1
)

// InitWeights gives every convolution fresh weights. Kernels are normal with
//
//	std = sqrt( 2 / ((1+a²)·fan_in) )    fan_in = (C/groups)·R·S    a = 0.1
//
// (He et al., Delving Deep into Rectifiers, ICCV 2015, arXiv:1502.01852,
// eq. 15), those that feed a head with std = 0.01. Biases are 0 outside the
// heads; a batch norm starts as the identity. The numbers of a layer depend on
// the seed, its position and its size only.
func InitWeights(g *graph.Graph, seed uint64) error {
	if err := g.Infer(); err != nil {
		return fmt.Errorf("initial weights: %w", err)
	}
	for _, n := range g.Convs() {
		initConv(n, g.ShapeOf(n.Inputs[0]).C, g.FeedsHead(n.ID), seed)
	}
	for _, h := range g.Heads() {
		if id := h.Inputs[0]; id != graph.Input && g.Nodes[id].Conv() != nil {
			initHeadBias(g.Nodes[id].Weights.Bias, h.Yolo())
		}
	}
	return nil
}

// initConv draws the kernel of a convolution over c channels.
func initConv(n *graph.Node, c int, feedsHead bool, seed uint64) {
	o := n.Conv()
	n.Weights = o.NewWeights(c)
	fanIn := len(n.Weights.Kernel) / o.Filters
	std := math.Sqrt(2 / ((1 + leakySlope*leakySlope) * float64(fanIn)))
	if feedsHead {
		std = headSpread
	}
	random := rand.New(rand.NewPCG(seed, uint64(n.ID)))
	for i := range n.Weights.Kernel {
		n.Weights.Kernel[i] = float32(std * random.NormFloat64())
	}
}

// initHeadBias sets the bias of anchor a's value e at a*(5+classes)+e.
func initHeadBias(bias []float32, y *graph.Yolo) {
	for i := range bias {
		switch e := i % y.PerAnchor(); {
		case e == 4:
			bias[i] = objectnessStart
		case e > 4:
			bias[i] = classStart
		}
	}
}
