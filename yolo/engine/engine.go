// Package engine turns a graph into a Gorgonia expression graph on a tape
// machine and runs it: forward for inference, forward and backward for
// training. Every node of the expression graph is one of our own operations,
// whose Do calls package onednn; Gorgonia's symbolic differentiation joins
// their gradients.
//
// Activations keep one memory order from the image to the heads
// (onednn.BestOrder), convolution + batch norm + activation is one operation
// in training, and in inference the batch norm is folded into the
// convolution. Shapes are static: primitives and buffers are built once, for
// one batch size and one input size, and nothing is allocated in a step but
// the sums of gradients where an activation has several readers.
//
// Images are N x H x W x 3, RGB, 0 to 1. Outputs are the inputs of the [yolo]
// nodes, in order, N x H x W x C, before decoding.
package engine

import (
	"fmt"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// Options are common to training and inference.
type Options struct {
	Batch      int
	Threads    int     // OpenMP threads; 0 keeps the present number
	BNMomentum float64 // weight of the new batch in the running statistics; 0 means DefaultBNMomentum
	Seed       uint64  // of dropout masks in training
	order      onednn.Order
	orderSet   bool
}

// DefaultBNMomentum is YOLOv7's; PyTorch's own default is 0.1, Darknet's GPU
// code uses 0.01.
const DefaultBNMomentum = 0.03

// WithOrder returns the options with a fixed memory order instead of the
// fastest one.
func (o Options) WithOrder(order onednn.Order) Options {
	o.order, o.orderSet = order, true
	return o
}

func (o Options) memoryOrder() onednn.Order {
	if o.orderSet {
		return o.order
	}
	return onednn.BestOrder()
}

// Output is what a [yolo] node reads: N x H x W x C values, valid until the
// next Forward or Step.
type Output struct {
	Node  graph.NodeID // the [yolo] node
	Shape graph.Shape
	Data  []float32
}

// LossFunc computes the loss of a batch from the heads' raw outputs and fills
// grads, one slice per head in the same layout, with its gradient.
type LossFunc func(heads []Output, grads [][]float32) (float64, error)

// Role says which of a convolution's vectors a parameter is.
type Role int

// The roles. Beta is the bias of a convolution with batch norm.
const (
	Kernel Role = iota
	Bias
	Gamma
	Beta
)

func (r Role) String() string { return [...]string{"kernel", "bias", "gamma", "beta"}[r] }

// Param is a trained vector. Value is the graph's own slice, so changing it
// trains the graph in place; Grad is valid after Step.
type Param struct {
	Node        graph.NodeID
	Role        Role
	Value, Grad []float32
}

// Name is unique within a network, such as "12.kernel".
func (p Param) Name() string { return fmt.Sprintf("%d.%v", p.Node, p.Role) }

// UnsupportedError is a layer that the engine cannot run.
type UnsupportedError struct {
	Node *graph.Node
	Msg  string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("engine: %v: %s", e.Node, e.Msg)
}
