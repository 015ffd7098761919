package engine

import (
	"fmt"
	"hash"
	"hash/fnv"
	"sync/atomic"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"yoloprune/yolo/engine/onednn"
)

// op is a Gorgonia operation over flat float32 vectors. It owns its output,
// which is made once and returned by every Do: the tape machine drops its
// registers after a run, so a fresh output would be allocated every step.
type op struct {
	name string
	id   uint64 // part of the hash: the tape merges operations of equal hash
	in   []hm.Type
	out  *tensor.Dense // nil for a scalar output
	loss *G.F32        // the scalar output

	forward  func(in []G.Value) error
	gradient func(in G.Nodes, y, dy *G.Node) (G.Nodes, error)
	diff     []bool // which inputs have a gradient
	failure  *error // of the builder: what went wrong first in a run
}

var opCount atomic.Uint64

var vector = G.TensorType{Dims: 1, Of: tensor.Float32}

// apply adds the operation to the expression graph.
func (b *builder) apply(o *op, in ...*G.Node) (*G.Node, error) {
	o.id, o.failure = opCount.Add(1), &b.failure
	for _, n := range in {
		o.in = append(o.in, n.Type())
	}
	n, err := G.ApplyOp(o, in...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	return n, nil
}

// newVector returns a flat tensor over data.
func newVector(data []float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(len(data)), tensor.WithBacking(data))
}

func floats(v G.Value) []float32 { return v.Data().([]float32) }

// Do implements gorgonia.Op. An error is noted in the builder, because the tape
// machine hides it behind one of its own.
func (o *op) Do(in ...G.Value) (G.Value, error) {
	var err error
	onednn.On(func() {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("engine: %s: %v", o.name, r)
			}
		}()
		if err = o.forward(in); err != nil && o.loss == nil {
			err = fmt.Errorf("engine: %s: %w", o.name, err)
		}
	})
	if err != nil {
		*o.failure = err
		return nil, err
	}
	if o.loss != nil {
		return o.loss, nil
	}
	return o.out, nil
}

// Arity implements gorgonia.Op.
func (o *op) Arity() int { return len(o.in) }

// Type implements gorgonia.Op.
func (o *op) Type() hm.Type {
	var out hm.Type = vector
	if o.loss != nil {
		out = tensor.Float32
	}
	return hm.NewFnType(append(append([]hm.Type{}, o.in...), out)...)
}

// InferShape implements gorgonia.Op.
func (o *op) InferShape(...G.DimSizer) (tensor.Shape, error) {
	if o.loss != nil {
		return tensor.ScalarShape(), nil
	}
	return o.out.Shape().Clone(), nil
}

// DiffWRT implements gorgonia.SDOp.
func (o *op) DiffWRT(n int) []bool {
	if o.gradient == nil {
		return make([]bool, n)
	}
	return o.diff
}

// SymDiff implements gorgonia.SDOp.
func (o *op) SymDiff(in G.Nodes, y, dy *G.Node) (G.Nodes, error) {
	if o.gradient == nil {
		return nil, fmt.Errorf("%s has no gradient", o.name)
	}
	return o.gradient(in, y, dy)
}

// ReturnsPtr implements gorgonia.Op.
func (o *op) ReturnsPtr() bool { return true }

// CallsExtern implements gorgonia.Op. Saying true would only add an allocation.
func (o *op) CallsExtern() bool { return false }

// OverwritesInput implements gorgonia.Op.
func (o *op) OverwritesInput() int { return -1 }

// WriteHash implements gorgonia.Op.
func (o *op) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s#%d", o.name, o.id) }

// Hashcode implements gorgonia.Op.
func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

func (o *op) String() string { return o.name }

// take returns a further result of the operation behind from, which has
// written it to data by the time this one runs.
func (b *builder) take(name string, from *G.Node, data []float32) (*G.Node, error) {
	return b.apply(&op{name: name, out: newVector(data), forward: func([]G.Value) error { return nil }}, from)
}
