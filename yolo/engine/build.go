package engine

import (
	"errors"
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// mode is what an expression graph is built for.
type mode int

const (
	inference  mode = iota // batch norm folded
	statistics             // batch norm over the batch, no gradients
	training               // batch norm over the batch, gradients
)

// value is an activation in the expression graph.
type value struct {
	node *G.Node
	desc onednn.Desc
}

// builder turns a graph into an expression graph.
type builder struct {
	g     *graph.Graph
	x     *G.ExprGraph
	mode  mode
	batch int
	order onednn.Order

	image  *tensor.Dense
	input  value
	values []value

	blockedInput value // what layers other than convolutions read of the image

	heads   []value // converted to N x H x W x C
	outputs []Output

	params    []Param
	nodes     G.Nodes // of params, one for each layer that uses them
	uses      []int   // by node: which of params
	norms     []*norm
	convs     []*onednn.Conv
	infos     []string
	seed      uint64     // of dropout masks
	iteration uint64     // of the next step
	scratch   *[]float32 // shared by the backward operations: one runs at a time
	live      []bool     // which nodes lead to a head
	failure   error      // of an operation, in the run under way
}

// norm is a batch norm of the training graph with the statistics of the last batch.
type norm struct {
	weights        *graph.Weights
	mean, variance []float32
	values         int // N*H*W
}

func build(g *graph.Graph, m mode, o Options) (*builder, error) {
	if o.Batch < 1 {
		return nil, fmt.Errorf("engine: batch %d: must be at least 1", o.Batch)
	}
	if err := g.CheckWeights(); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	b := &builder{g: g, x: G.NewGraph(), mode: m, batch: o.Batch, order: o.memoryOrder(), seed: o.Seed, scratch: new([]float32)}
	b.values = make([]value, len(g.Nodes))
	b.live = leadToHead(g)
	if err := b.checkSizes(); err != nil {
		return nil, err
	}
	if err := b.addInput(); err != nil {
		return nil, err
	}
	if err := b.readImage(); err != nil {
		return nil, err
	}
	for _, n := range g.Nodes {
		if !b.live[n.ID] {
			continue
		}
		v, err := b.add(n)
		if err != nil {
			b.close()
			return nil, located(n, err)
		}
		b.values[n.ID] = v
	}
	if len(b.heads) == 0 {
		return nil, fmt.Errorf("engine: the network has no [yolo] layer, so it has no output")
	}
	return b, nil
}

// leadToHead says which nodes a [yolo] depends on; the others are not run.
func leadToHead(g *graph.Graph) []bool {
	live := make([]bool, len(g.Nodes))
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if n.Yolo() != nil {
			live[i] = true
		}
		if !live[i] {
			continue
		}
		for _, in := range n.Inputs {
			if in != graph.Input {
				live[in] = true
			}
		}
	}
	return live
}

// located puts the layer before an error that does not name it yet.
func located(n *graph.Node, err error) error {
	var u *UnsupportedError
	if errors.As(err, &u) {
		return err
	}
	return fmt.Errorf("engine: %v: %w", n, err)
}

// checkTrained refuses what has a loss of its own, which would be left out.
func checkTrained(g *graph.Graph) error {
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*graph.Contrastive); ok {
			return &UnsupportedError{n, "its loss cannot be trained yet: take the section out of the cfg to train without it"}
		}
	}
	return nil
}

// checkSizes bounds the values of every activation, before memory is taken: an
// allocation that fails ends the process.
func (b *builder) checkSizes() error {
	if err := b.checkSize(b.g.InputShape(), onednn.NHWC); err != nil {
		return fmt.Errorf("engine: network input: %w", err)
	}
	for _, n := range b.g.Nodes {
		if !b.live[n.ID] {
			continue
		}
		if err := b.checkSize(n.Out, b.order); err != nil {
			return located(n, err)
		}
	}
	return nil
}

func (b *builder) checkSize(s graph.Shape, order onednn.Order) error {
	if s.Size() == 0 {
		return fmt.Errorf("has no shape: call Infer first")
	}
	image := onednn.Desc{N: 1, Shape: s, Order: order}
	if b.batch > graph.MaxActivation/image.Len() {
		return fmt.Errorf("%d images of %v have more than %d values: use a smaller batch or input", b.batch, s, graph.MaxActivation)
	}
	return nil
}

func (b *builder) desc(s graph.Shape) onednn.Desc {
	return onednn.Desc{N: b.batch, Shape: s, Order: b.order}
}

// addInput makes the image node. Beside blocked activations the image is NCHW,
// which the first convolution reads directly.
func (b *builder) addInput() error {
	from := onednn.Desc{N: b.batch, Shape: b.g.InputShape(), Order: onednn.NHWC}
	b.image = newVector(make([]float32, from.Len()))
	image := G.NewVector(b.x, tensor.Float32, G.WithShape(from.Len()), G.WithName("image"), G.WithValue(b.image))
	b.input = value{image, from}
	if b.order == onednn.NHWC {
		return nil
	}
	to := from
	to.Order = onednn.NCHW
	v, err := b.convert(b.input, to)
	b.input = v
	return err
}

// in returns what a node reads.
func (b *builder) in(n *graph.Node, i int) value {
	switch {
	case n.Inputs[i] != graph.Input:
		return b.values[n.Inputs[i]]
	case n.Conv() != nil:
		return b.input
	}
	return b.blockedInput
}

// readImage brings the image into the order of the activations for the layers
// other than convolutions that read it, if there are any.
func (b *builder) readImage() (err error) {
	b.blockedInput = b.input
	if b.order == onednn.NHWC {
		return nil
	}
	for _, n := range b.g.Nodes {
		if n.Conv() == nil && b.live[n.ID] && slices.Contains(n.Inputs, graph.Input) {
			b.blockedInput, err = b.convert(b.input, b.desc(b.g.InputShape()))
			return err
		}
	}
	return nil
}

func (b *builder) add(n *graph.Node) (value, error) {
	switch o := n.Op.(type) {
	case *graph.Conv:
		return b.conv(n, o)
	case *graph.MaxPool:
		return b.maxpool(n, o)
	case *graph.AvgPool:
		return b.avgpool(n)
	case *graph.LocalAvgPool:
		return b.localAvgPool(n, o)
	case *graph.Upsample:
		return b.upsample(n, o)
	case *graph.Shortcut:
		return b.shortcut(n, o)
	case *graph.Route:
		return b.route(n, o)
	case *graph.ScaleChannels:
		return b.product(n, o.Activation)
	case *graph.SAM:
		return b.product(n, o.Activation)
	case *graph.Dropout:
		return b.dropout(n, o)
	case *graph.Reorg3D:
		return b.reorg3D(n, o)
	case *graph.Reorg:
		return b.permute(n, scrambled(b.in(n, 0).desc.Shape, o.Stride))
	case *graph.Silence, *graph.Contrastive:
		return b.in(n, 0), nil
	case *graph.Yolo:
		return b.head(n)
	}
	return value{}, &UnsupportedError{n, "cannot be run yet"}
}

// head converts a head's input to N x H x W x C.
func (b *builder) head(n *graph.Node) (value, error) {
	v := b.in(n, 0)
	to := v.desc
	to.Order = onednn.NHWC
	out, err := b.convert(v, to)
	if err != nil {
		return v, err
	}
	b.heads = append(b.heads, out)
	data := out.node.Op().(*op).out.Data().([]float32)
	b.outputs = append(b.outputs, Output{Node: n.ID, Shape: n.Out, Data: data})
	return v, nil
}

// param makes the node of a vector that n trains. One that it uses of another
// layer's weights gets a node of its own, so that its gradient can be read.
func (b *builder) param(n *graph.Node, r Role, data []float32) *G.Node {
	p := Param{Node: b.g.Owner(n).ID, Role: r, Value: data}
	at := slices.IndexFunc(b.params, func(o Param) bool { return o.Node == p.Node && o.Role == r })
	if at < 0 {
		at = len(b.params)
		b.params = append(b.params, p)
	}
	use := Param{Node: n.ID, Role: r}
	x := G.NewVector(b.x, tensor.Float32, G.WithShape(len(data)), G.WithName(use.Name()), G.WithValue(newVector(data)))
	b.nodes, b.uses = append(b.nodes, x), append(b.uses, at)
	return x
}

// kept returns the place of what goes into the activation that makes y: memory
// of its own where a gradient will read it, else y itself.
func (b *builder) kept(y []float32) []float32 {
	if b.mode == training {
		return make([]float32, len(y))
	}
	return y
}

// temp returns n values that the next operation may overwrite.
func (b *builder) temp(n int) []float32 {
	if len(*b.scratch) < n {
		*b.scratch = make([]float32, n)
	}
	return (*b.scratch)[:n]
}

func (b *builder) close() {
	onednn.On(func() {
		for _, c := range b.convs {
			c.Close()
		}
	})
	b.convs = nil
}
