// Package graph is the one representation of a detector: a list of nodes in
// execution order, each with an operation, the nodes it reads, the shape it
// makes and the weights it owns.
//
// Everything else reads or makes a Graph: the Darknet reader and writer, the
// builders, the engine, the pruner and the exporters. The package needs the
// standard library only.
//
// Shapes are written C, H, W (channels, height, width) and stand for one
// image. Kernels are K x C/groups x R x S, stored row by row in that order,
// which is Darknet's order too.
package graph

import (
	"fmt"
	"slices"
)

// NodeID is a node's index in Graph.Nodes; it equals Darknet's layer number.
type NodeID int

// Input stands for the network's input wherever a NodeID is read.
const Input NodeID = -1

// Graph is a detector. Nodes stand in execution order: a node reads only
// nodes before it, or Input.
type Graph struct {
	Net   Net
	Nodes []*Node

	// Source is the text that the graph was read from, for a writer that edits
	// it instead of writing anew; Node.Line leads to a node's section in it. It
	// is empty for a graph built in memory.
	Source string
}

// Net describes the input and carries the options of Darknet's [net] section
// that do not change inference.
type Net struct {
	Channels, Height, Width int
	Options                 []Option
}

// Option is a key of a Darknet section that is carried through unchanged.
type Option struct {
	Key, Value string
	Line       int
}

// Lookup returns the value of the first option with that key, as Darknet does.
func Lookup(options []Option, key string) (string, bool) {
	for _, o := range options {
		if o.Key == key {
			return o.Value, true
		}
	}
	return "", false
}

// Node is one layer.
type Node struct {
	ID      NodeID
	Op      Op
	Inputs  []NodeID // in the order that the operation reads them
	Out     Shape    // filled in by Graph.Infer
	Weights *Weights // nil for an operation that has none, or before loading; of Graph.Owner
	Options []Option // keys that change nothing at inference, in file order

	// Mentions are the layers that options name for training only, such as
	// embedding_layer; inference does not read them.
	Mentions []Mention

	Line int // line of the section in the cfg, 0 when built in memory
}

// Mention is an option that names another layer.
type Mention struct {
	Key   string
	Layer NodeID
}

// Shape is the size of one image's activation.
type Shape struct{ C, H, W int }

// Size returns the number of values.
func (s Shape) Size() int { return s.C * s.H * s.W }

func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.C, s.H, s.W) }

// Weights are a convolution's parameters. Without a batch norm only Kernel and
// Bias are set; with one, Bias is beta, and with gamma, mean and variance
//
//	y = gamma*(x-mean)/sqrt(var+BatchNormEps) + beta
//
// A Shortcut with Scaling has Scale only.
type Weights struct {
	Kernel           []float32 // K x C/groups x R x S
	Bias             []float32 // K
	Gamma, Mean, Var []float32 // K each, nil without batch norm
	Scale            []float32 // a shortcut's, one run for each input
}

// BatchNormEps is Darknet's epsilon, inside the root (src/blas.c). YOLOv7's
// PyTorch code uses 1e-3; a converter must fold the difference into the
// variance.
const BatchNormEps = 1e-5

// Clone returns a deep copy.
func (w *Weights) Clone() *Weights {
	if w == nil {
		return nil
	}
	return &Weights{
		Kernel: slices.Clone(w.Kernel),
		Bias:   slices.Clone(w.Bias),
		Gamma:  slices.Clone(w.Gamma),
		Mean:   slices.Clone(w.Mean),
		Var:    slices.Clone(w.Var),
		Scale:  slices.Clone(w.Scale),
	}
}

// Len returns the number of floats, running statistics included: what a
// .weights file holds for this layer.
func (w *Weights) Len() int {
	if w == nil {
		return 0
	}
	return len(w.Kernel) + len(w.Bias) + len(w.Gamma) + len(w.Mean) + len(w.Var) + len(w.Scale)
}

// Add appends a node that reads inputs and returns it. Its shape is not known
// until Infer runs.
func (g *Graph) Add(op Op, inputs ...NodeID) *Node {
	n := &Node{ID: NodeID(len(g.Nodes)), Op: op, Inputs: inputs}
	g.Nodes = append(g.Nodes, n)
	return n
}

// InputShape returns the shape of one input image.
func (g *Graph) InputShape() Shape {
	return Shape{C: g.Net.Channels, H: g.Net.Height, W: g.Net.Width}
}

// ShapeOf returns the shape of a node's output, or of the network's input.
func (g *Graph) ShapeOf(id NodeID) Shape {
	if id == Input {
		return g.InputShape()
	}
	return g.Nodes[id].Out
}

// Consumers lists, for every node, the nodes that read it, in order. A node
// that reads another twice is listed twice.
func (g *Graph) Consumers() map[NodeID][]NodeID {
	c := make(map[NodeID][]NodeID, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			c[in] = append(c[in], n.ID)
		}
	}
	return c
}

// Convs lists the convolutions in order.
func (g *Graph) Convs() []*Node { return g.ofKind("convolutional") }

// Heads lists the [yolo] nodes in order.
func (g *Graph) Heads() []*Node { return g.ofKind("yolo") }

func (g *Graph) ofKind(kind string) []*Node {
	var out []*Node
	for _, n := range g.Nodes {
		if n.Op.Kind() == kind {
			out = append(out, n)
		}
	}
	return out
}

// Conv returns the node's convolution, or nil if it is something else.
func (n *Node) Conv() *Conv {
	c, _ := n.Op.(*Conv)
	return c
}

// Yolo returns the node's detection head, or nil if it is something else.
func (n *Node) Yolo() *Yolo {
	y, _ := n.Op.(*Yolo)
	return y
}

func (n *Node) String() string { return fmt.Sprintf("layer %d (%s)", n.ID, n.Op.Kind()) }

// FeedsHead says whether a [yolo] reads the node directly. The filters of such
// a convolution are fixed by the head and are never cut.
func (g *Graph) FeedsHead(id NodeID) bool {
	for _, h := range g.Heads() {
		if slices.Contains(h.Inputs, id) {
			return true
		}
	}
	return false
}

// Clone returns a deep copy, weights included. What uses an owner's weights does
// so in the copy.
func (g *Graph) Clone() *Graph {
	out := &Graph{Net: g.Net, Source: g.Source}
	out.Net.Options = slices.Clone(g.Net.Options)
	for _, n := range g.Nodes {
		bare := *n
		if n.Shares() {
			bare.Weights = nil
		}
		out.Nodes = append(out.Nodes, bare.Clone())
	}
	out.LinkShared()
	return out
}

// Clone returns a deep copy, with weights that it shares with no other node.
func (n *Node) Clone() *Node {
	c := *n
	c.Op = n.Op.clone()
	c.Inputs = slices.Clone(n.Inputs)
	c.Weights = n.Weights.Clone()
	c.Options = slices.Clone(n.Options)
	c.Mentions = slices.Clone(n.Mentions)
	return &c
}
