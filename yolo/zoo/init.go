package zoo

import (
	"fmt"
	"math"
	"math/rand/v2"

	"yoloprune/yolo/graph"
)

// leakySlope is the slope below zero of Darknet's leaky activation.
const leakySlope = 0.1

// gains has 1/E[f(z)²] of the activations f, z standard normal: the factor by
// which a kernel makes up for what the activation takes from the variance. It is
// 2/(1+a²) for a rectifier with slope a below zero; swish and mish were
// integrated. Logistic stands for a gate or a prediction, whose input should
// have a variance of one.
var gains = map[graph.Activation]float64{
	graph.Linear:   1,
	graph.Logistic: 1,
	graph.Relu:     2,
	graph.Relu6:    2,
	graph.Leaky:    2 / (1 + leakySlope*leakySlope),
	graph.Swish:    2.810761,
	graph.Mish:     2.210716,
}

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
//	std = sqrt(gain/fan_in)    fan_in = (C/groups)·R·S    gain = 1/E[f(z)²]
//
// for the layer's activation f (He et al., Delving Deep into Rectifiers, ICCV
// 2015, arXiv:1502.01852, eq. 10 and 15), those that feed a head with std =
// 0.01. Biases are 0 outside the heads; a batch norm starts as the identity,
// and a shortcut with weights counts all its inputs alike. The numbers of a
// layer depend on the seed, its position and its size only; one that uses another's
// weights gets that one's.
func InitWeights(g *graph.Graph, seed uint64) error {
	if err := g.Infer(); err != nil {
		return fmt.Errorf("initial weights: %w", err)
	}
	for _, n := range g.Nodes {
		c := g.ShapeOf(n.Inputs[0]).C
		switch o := n.Op.(type) {
		case *graph.Conv:
			if !n.Shares() {
				initConv(n, c, g.FeedsHead(n.ID), seed)
			}
		case *graph.Shortcut:
			initShortcut(n, o.ScaleLen(len(n.Inputs), c))
		}
	}
	g.LinkShared()
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
	std := math.Sqrt(gains[o.Activation] / float64(fanIn))
	if feedsHead {
		std = headSpread
	}
	random := rand.New(rand.NewPCG(seed, uint64(n.ID)))
	for i := range n.Weights.Kernel {
		n.Weights.Kernel[i] = float32(std * random.NormFloat64())
	}
}

// initShortcut sets a shortcut's weights, if it has any, to one.
func initShortcut(n *graph.Node, weights int) {
	if weights == 0 {
		return
	}
	n.Weights = &graph.Weights{Scale: make([]float32, weights)}
	for i := range n.Weights.Scale {
		n.Weights.Scale[i] = 1
	}
}

// initHeadBias sets the bias of anchor a's value e at a*(5+classes)+e. It is a
// logit, whether the convolution or the head applies the logistic function.
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
