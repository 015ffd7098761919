package ref

import (
	"errors"
	"fmt"

	"yoloprune/yolo/engine/mask"
	"yoloprune/yolo/graph"
)

// DefaultMomentum is the weight of the newest batch in the running statistics,
// YOLOv7's choice (its PyTorch code sets 0.03; PyTorch's own default is 0.1).
const DefaultMomentum = 0.03

// Net runs a whole graph, layer by layer. It reads the graph's weights where
// they are, so a change to them takes effect in the next Forward.
type Net struct {
	// Momentum is used by UpdateRunning in a training Forward.
	Momentum float64
	// Seed and Iteration choose the masks of dropout layers in training.
	Seed, Iteration uint64

	graph    *graph.Graph
	images   Tensor
	nodes    []Tensor         // outputs, by node
	saved    []ConvBNActSaved // by node; set for convolutions only
	masks    []Dropout        // by node; set for dropout layers in training only
	training bool             // the last Forward was one
}

// Gradients are those of the loss by everything that a Forward read or made.
// Slices are indexed by node.
type Gradients struct {
	Images Tensor
	Nodes  []Tensor    // by the node's output
	Params []ConvGrads // by the node's own weights, wherever they are used; empty for a node without
}

// ConvGrads are the gradients of one convolution's graph.Weights. Bias is
// beta's with a batch norm; Gamma is nil without one.
type ConvGrads struct{ Kernel, Bias, Gamma []float32 }

// add adds the gradients of another use of the same weights.
func (g *ConvGrads) add(o ConvGrads) {
	if g.Kernel == nil {
		*g = o
		return
	}
	for _, v := range [][2][]float32{{g.Kernel, o.Kernel}, {g.Bias, o.Bias}, {g.Gamma, o.Gamma}} {
		for i := range v[0] {
			v[0][i] += v[1][i]
		}
	}
}

// NewNet checks the graph and its weights. It calls g.Infer.
func NewNet(g *graph.Graph) (*Net, error) {
	if err := g.Infer(); err != nil {
		return nil, err
	}
	if err := g.CheckWeights(); err != nil {
		return nil, err
	}
	for _, node := range g.Nodes {
		if !supported(node.Op) {
			return nil, &graph.LayerError{Node: node, Err: errors.New("the reference engine does not run this operation")}
		}
	}
	return &Net{Momentum: DefaultMomentum, graph: g}, nil
}

// supported says whether forward and backward know the operation.
func supported(op graph.Op) bool {
	switch op.(type) {
	case *graph.Conv, *graph.MaxPool, *graph.AvgPool, *graph.LocalAvgPool, *graph.Upsample, *graph.Shortcut, *graph.Route,
		*graph.ScaleChannels, *graph.SAM, *graph.Dropout, *graph.Reorg, *graph.Reorg3D, *graph.Silence, *graph.Contrastive, *graph.Yolo:
		return true
	}
	return false
}

// Forward runs the images, N x H x W x C of the network's input, through every
// node. It returns the inputs of the [yolo] nodes in order, raw (before
// decoding), and all nodes' outputs. A [yolo] node's output is its input.
//
// In training, batch norm uses the batch's moments and moves the graph's
// running mean and variance; otherwise it uses those. Every Forward makes new
// tensors, so earlier results stay as they are.
func (n *Net) Forward(images Tensor, training bool) (heads, nodes []Tensor, err error) {
	n.nodes, n.training = nil, false
	if err := n.checkImages(images, training); err != nil {
		return nil, nil, err
	}
	n.images, n.training = images, training
	n.saved, n.masks = make([]ConvBNActSaved, len(n.graph.Nodes)), make([]Dropout, len(n.graph.Nodes))
	for _, node := range n.graph.Nodes {
		n.nodes = append(n.nodes, n.forward(node))
	}
	for _, head := range n.graph.Heads() {
		heads = append(heads, n.nodes[head.ID])
	}
	return heads, n.nodes, nil
}

// Backward returns the gradients of the last Forward, which must have been a
// training one, given those at the heads in its order and shapes. It reads the
// weights again: update them after it, not before.
func (n *Net) Backward(dheads []Tensor) (*Gradients, error) {
	if err := n.checkHeads(dheads); err != nil {
		return nil, err
	}
	g := &Gradients{Images: n.images.like(), Params: make([]ConvGrads, len(n.nodes))}
	for _, y := range n.nodes {
		g.Nodes = append(g.Nodes, y.like())
	}
	for i, head := range n.graph.Heads() {
		g.Nodes[head.ID].add(dheads[i])
	}
	for id := len(n.nodes) - 1; id >= 0; id-- {
		node := n.graph.Nodes[id]
		for i, dx := range n.backward(node, g) {
			g.by(node.Inputs[i]).add(dx)
		}
	}
	return g, nil
}

// by returns the gradient by a node's output, or by the images.
func (g *Gradients) by(id graph.NodeID) Tensor {
	if id == graph.Input {
		return g.Images
	}
	return g.Nodes[id]
}

// forward returns a node's output.
func (n *Net) forward(node *graph.Node) Tensor {
	xs := n.inputs(node)
	switch o := node.Op.(type) {
	case *graph.Conv:
		return n.forwardConv(node, o, xs[0])
	case *graph.MaxPool:
		return MaxPool(*o).Forward(xs[0])
	case *graph.AvgPool:
		return AvgPool{}.Forward(xs[0])
	case *graph.LocalAvgPool:
		return LocalAvgPool(*o).Forward(xs[0])
	case *graph.Upsample:
		return Upsample(*o).Forward(xs[0])
	case *graph.Shortcut:
		if o.Scaling != graph.NoScaling {
			xs = Weigh(xs, o.Normalization, node.Weights.Scale)
		}
		return Shortcut{o.Activation}.Forward(xs)
	case *graph.Route:
		return Route(*o).Forward(xs)
	case *graph.ScaleChannels:
		return Product{o.Activation}.Forward(xs[0], xs[1])
	case *graph.SAM:
		return Product{o.Activation}.Forward(xs[0], xs[1])
	case *graph.Reorg:
		return Reorg(*o).Forward(xs[0])
	case *graph.Reorg3D:
		return Reorg3D(*o).Forward(xs[0])
	case *graph.Dropout:
		return n.forwardDropout(node, o, xs[0])
	}
	return xs[0] // yolo, silence, contrastive
}

// forwardDropout draws the mask of the iteration in training and keeps it for
// backward.
func (n *Net) forwardDropout(node *graph.Node, o *graph.Dropout, x Tensor) Tensor {
	if !n.training {
		return x
	}
	drawn := x.like()
	mask.Keep(n.Seed, uint64(node.ID), n.Iteration, o.Probability, drawn.Data)
	n.masks[node.ID] = Dropout{drawn.Data}
	return n.masks[node.ID].Forward(x)
}

// backward returns the gradients by a node's inputs, in order.
func (n *Net) backward(node *graph.Node, g *Gradients) []Tensor {
	xs, dy := n.inputs(node), g.Nodes[node.ID]
	switch o := node.Op.(type) {
	case *graph.Conv:
		dx, grads := n.backwardConv(node, o, dy)
		g.Params[n.graph.Owner(node).ID].add(grads)
		return []Tensor{dx}
	case *graph.MaxPool:
		return []Tensor{MaxPool(*o).Backward(xs[0], dy)}
	case *graph.AvgPool:
		return []Tensor{AvgPool{}.Backward(xs[0], dy)}
	case *graph.LocalAvgPool:
		return []Tensor{LocalAvgPool(*o).Backward(xs[0], dy)}
	case *graph.Upsample:
		return []Tensor{Upsample(*o).Backward(dy)}
	case *graph.Shortcut:
		return Shortcut{o.Activation}.Backward(xs, dy)
	case *graph.Route:
		return Route(*o).Backward(xs, dy)
	case *graph.ScaleChannels:
		dgate, dx := Product{o.Activation}.Backward(xs[0], xs[1], dy)
		return []Tensor{dgate, dx}
	case *graph.SAM:
		dgate, dx := Product{o.Activation}.Backward(xs[0], xs[1], dy)
		return []Tensor{dgate, dx}
	case *graph.Reorg:
		return []Tensor{Reorg(*o).Backward(xs[0], dy)}
	case *graph.Reorg3D:
		return []Tensor{Reorg3D(*o).Backward(dy)}
	case *graph.Dropout:
		return []Tensor{n.masks[node.ID].Backward(dy)}
	}
	return []Tensor{dy} // yolo, silence, contrastive
}

// forwardConv runs a convolutional section.
//
//	training    ConvBNAct
//	inference   y = f(batchnorm(conv(x, w))), with the running statistics
//	without BN  y = f(conv(x, w, b)) in both
func (n *Net) forwardConv(node *graph.Node, o *graph.Conv, x Tensor) Tensor {
	section, w := sectionOf(o), node.Weights
	switch {
	case !o.BatchNorm:
		z := section.Conv.Forward(x, w.Kernel, w.Bias)
		n.saved[node.ID] = ConvBNActSaved{X: x, U: z}
		return ActivateForward(o.Activation, z)
	case n.training:
		y, saved := section.Forward(x, w.Kernel, w.Gamma, w.Bias)
		UpdateRunning(w.Mean, w.Var, saved.Moments, saved.Z.pixels(), n.Momentum)
		n.saved[node.ID] = saved
		return y
	}
	z := section.Conv.Forward(x, w.Kernel, nil)
	return ActivateForward(o.Activation, BatchNormInference(z, w.Gamma, w.Bias, w.Mean, w.Var))
}

func (n *Net) backwardConv(node *graph.Node, o *graph.Conv, dy Tensor) (Tensor, ConvGrads) {
	section, w, s := sectionOf(o), node.Weights, n.saved[node.ID]
	if o.BatchNorm {
		dx, dw, dgamma, dbeta := section.Backward(s, w.Kernel, w.Gamma, dy)
		return dx, ConvGrads{Kernel: dw, Bias: dbeta, Gamma: dgamma}
	}
	dz := ActivateBackward(o.Activation, s.U, dy)
	dw, db := section.Conv.BackwardWeights(s.X, dz)
	return section.Conv.BackwardData(s.X, w.Kernel, dz), ConvGrads{Kernel: dw, Bias: db}
}

func sectionOf(o *graph.Conv) ConvBNAct {
	return ConvBNAct{Conv{o.Filters, o.Size, o.Stride, o.Pad, o.Groups, o.Spacing()}, o.Activation}
}

// inputs returns the tensors that a node reads.
func (n *Net) inputs(node *graph.Node) []Tensor {
	var xs []Tensor
	for _, id := range node.Inputs {
		if id == graph.Input {
			xs = append(xs, n.images)
		} else {
			xs = append(xs, n.nodes[id])
		}
	}
	return xs
}

func (n *Net) checkImages(images Tensor, training bool) error {
	in := n.graph.InputShape()
	if images.N < 1 || images.N > graph.MaxActivation {
		return fmt.Errorf("%d images: want 1 to %d", images.N, graph.MaxActivation)
	}
	if err := checkTensor("images", images, images.N, in); err != nil {
		return err
	}
	for _, node := range n.graph.Nodes {
		if err := checkBatch(node, images.N, training); err != nil {
			return &graph.LayerError{Node: node, Err: err}
		}
	}
	return nil
}

// checkBatch says whether a node can run a batch of that many images.
func checkBatch(node *graph.Node, images int, training bool) error {
	if node.Out.Size() > graph.MaxActivation/images {
		return fmt.Errorf("output %v of %d images has more than %d values", node.Out, images, graph.MaxActivation)
	}
	if o, ok := node.Op.(*graph.Shortcut); ok && training && o.Scaling != graph.NoScaling {
		return errors.New("a shortcut with weights cannot be trained yet")
	}
	conv := node.Conv()
	if training && conv != nil && conv.BatchNorm && images*node.Out.H*node.Out.W == 1 {
		return errors.New("batch norm sees one value per channel, which has no variance: train with a larger batch or input")
	}
	return nil
}

func (n *Net) checkHeads(dheads []Tensor) error {
	if !n.training {
		return errors.New("backward needs a training forward before it")
	}
	heads := n.graph.Heads()
	if len(dheads) != len(heads) {
		return fmt.Errorf("%d head gradients, want %d", len(dheads), len(heads))
	}
	for i, head := range heads {
		if err := checkTensor("head gradient", dheads[i], n.images.N, head.Out); err != nil {
			return &graph.LayerError{Node: head, Err: err}
		}
	}
	return nil
}

// checkTensor says whether a tensor holds n images of a shape.
func checkTensor(what string, t Tensor, n int, s graph.Shape) error {
	if t.N != n || t.H != s.H || t.W != s.W || t.C != s.C {
		return fmt.Errorf("%s %dx%dx%dx%d, want %dx%dx%dx%d (N x H x W x C)", what, t.N, t.H, t.W, t.C, n, s.H, s.W, s.C)
	}
	if len(t.Data) != n*s.Size() {
		return fmt.Errorf("%s %d values, want %d", what, len(t.Data), n*s.Size())
	}
	return nil
}
