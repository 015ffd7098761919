package graph

import "fmt"

// LayerError is a fault of one node.
type LayerError struct {
	Node *Node
	Err  error
}

func (e *LayerError) Error() string {
	if e.Node.Line > 0 {
		return fmt.Sprintf("line %d: %v: %v", e.Node.Line, e.Node, e.Err)
	}
	return fmt.Sprintf("%v: %v", e.Node, e.Err)
}

func (e *LayerError) Unwrap() error { return e.Err }

// MaxActivation bounds the values of one layer's output for one image, and
// MaxKernel those of one kernel, so that a hostile cfg cannot take all memory.
const (
	MaxActivation = 1 << 30
	MaxKernel     = 1 << 28
)

// Infer computes every node's output shape from the input size and checks the
// structure; the error is a *LayerError for the first node that does not fit.
func (g *Graph) Infer() error {
	in := g.InputShape()
	if err := checkSize(in); err != nil {
		return fmt.Errorf("network input: %w", err)
	}
	if len(g.Nodes) == 0 {
		return fmt.Errorf("network has no layers")
	}
	for i, n := range g.Nodes {
		if err := g.inferNode(i, n); err != nil {
			return &LayerError{n, err}
		}
	}
	return nil
}

func (g *Graph) inferNode(i int, n *Node) error {
	if n.ID != NodeID(i) {
		return fmt.Errorf("stands at position %d", i)
	}
	var in []Shape
	for _, id := range n.Inputs {
		if id < Input || id >= n.ID {
			return fmt.Errorf("reads layer %d: only earlier layers can be read", id)
		}
		in = append(in, g.ShapeOf(id))
	}
	for _, m := range n.Mentions {
		if m.Layer < 0 || m.Layer >= NodeID(len(g.Nodes)) {
			return fmt.Errorf("%s names layer %d, but there are %d", m.Key, m.Layer, len(g.Nodes))
		}
	}
	out, err := n.Op.infer(in)
	if err != nil {
		return err
	}
	if err := checkSize(out); err != nil {
		return err
	}
	if c := n.Conv(); c != nil {
		if k := float64(c.Filters) * float64(in[0].C/c.Groups) * float64(c.Size) * float64(c.Size); k > MaxKernel {
			return fmt.Errorf("kernel of %.3g weights is over the limit of %d", k, MaxKernel)
		}
		if err := g.checkOwner(n, c); err != nil {
			return err
		}
	}
	n.Out = out
	return nil
}

func checkSize(s Shape) error {
	if s.C < 1 || s.H < 1 || s.W < 1 {
		return fmt.Errorf("shape %v: every side must be at least 1", s)
	}
	if float64(s.C)*float64(s.H)*float64(s.W) > MaxActivation {
		return fmt.Errorf("shape %v has more than %d values", s, MaxActivation)
	}
	return nil
}

// CheckWeights says whether every convolution and every shortcut with weights
// has those of the right sizes.
func (g *Graph) CheckWeights() error {
	for _, n := range g.Nodes {
		if err := g.checkWeights(n); err != nil {
			return &LayerError{n, err}
		}
	}
	return nil
}

func (g *Graph) checkWeights(n *Node) error {
	arrays := g.Arrays(n)
	if len(arrays) > 0 && n.Weights == nil {
		return fmt.Errorf("has no weights")
	}
	sum := 0
	for _, a := range arrays {
		if got := len(*a.In(n.Weights)); got != a.Len {
			return fmt.Errorf("%s has %d values, want %d", a.Role, got, a.Len)
		}
		sum += a.Len
	}
	if n.Weights.Len() != sum {
		return fmt.Errorf("has %d weights, want %d", n.Weights.Len(), sum)
	}
	if o := g.Owner(n); o.Weights != n.Weights {
		return fmt.Errorf("has weights of its own instead of those of %v", o)
	}
	return nil
}

// Array is one of the vectors of a node's weights.
type Array struct {
	Role string // bias, gamma, mean, variance, kernel or scale
	Len  int
}

// In returns the place of the array in its node's weights.
func (a Array) In(w *Weights) *[]float32 {
	switch a.Role {
	case "bias":
		return &w.Bias
	case "gamma":
		return &w.Gamma
	case "mean":
		return &w.Mean
	case "variance":
		return &w.Var
	case "scale":
		return &w.Scale
	}
	return &w.Kernel
}

// Arrays lists what a node's weights consist of, in the order of Darknet's
// weights files: for a convolution the biases, then with batch norm gamma, mean
// and variance, then the kernel. For one that uses another's weights they are
// that one's. The shapes must be known.
func (g *Graph) Arrays(n *Node) []Array {
	switch o := n.Op.(type) {
	case *Conv:
		kernel := Array{"kernel", o.KernelLen(g.ShapeOf(n.Inputs[0]).C)}
		if !o.BatchNorm {
			return []Array{{"bias", o.Filters}, kernel}
		}
		return []Array{{"bias", o.Filters}, {"gamma", o.Filters}, {"mean", o.Filters}, {"variance", o.Filters}, kernel}
	case *Shortcut:
		if o.Scaling != NoScaling {
			return []Array{{"scale", o.ScaleLen(len(n.Inputs), g.ShapeOf(n.Inputs[0]).C)}}
		}
	}
	return nil
}

// NewWeights returns zeroed weights for a convolution over c input channels;
// gamma and variance are one, so that the batch norm starts as the identity.
func (o *Conv) NewWeights(c int) *Weights {
	w := &Weights{Kernel: make([]float32, o.KernelLen(c)), Bias: make([]float32, o.Filters)}
	if !o.BatchNorm {
		return w
	}
	w.Gamma, w.Mean, w.Var = make([]float32, o.Filters), make([]float32, o.Filters), make([]float32, o.Filters)
	for i := range w.Gamma {
		w.Gamma[i], w.Var[i] = 1, 1
	}
	return w
}
