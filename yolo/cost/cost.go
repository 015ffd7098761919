// Package cost counts what a detector takes: parameters, multiply-adds,
// floating-point operations and activation memory, all for one image at the
// graph's input size.
//
// MACs are the multiply-adds of the convolutions; batch norms, activations,
// sums, gates and pooling are left out, as is usual. FLOPs are 2 x MACs, which
// is Darknet's BFLOPs x 1e9 up to the little that Darknet adds for pooling,
// shortcuts and gates.
package cost

import "yoloprune/yolo/graph"

// Row is the cost of one layer.
type Row struct {
	Index int
	Type  string
	// In is the shape of what the layer reads. The inputs of a route are taken
	// as joined; of a shortcut it is the first, and of a scale_channels or a sam
	// what is multiplied, not the gate.
	In, Out graph.Shape
	// Params counts what is trained: kernel and bias, or kernel, gamma and beta,
	// or a shortcut's weights. What a layer uses of another's weights counts there,
	// once; the MACs count wherever they are done.
	Params int64
	MACs   int64
	// ActivationBytes is the size of the output as float32.
	ActivationBytes int64
	// RunningStats counts the batch norm's means and variances, which are
	// stored like parameters, but not trained.
	RunningStats int64
}

// Table is the cost of every layer, for one input size.
type Table struct {
	Rows           []Row
	InputW, InputH int
}

// Of counts the cost of a graph whose shapes have been inferred. It needs no
// weights.
func Of(g *graph.Graph) Table {
	t := Table{InputW: g.Net.Width, InputH: g.Net.Height}
	for _, n := range g.Nodes {
		t.Rows = append(t.Rows, row(g, n))
	}
	return t
}

func row(g *graph.Graph, n *graph.Node) Row {
	r := Row{
		Index: int(n.ID), Type: n.Op.Kind(), In: input(g, n), Out: n.Out,
		ActivationBytes: 4 * int64(n.Out.Size()),
	}
	for _, a := range g.Arrays(n) {
		r.count(a)
	}
	if n.Shares() {
		r.Params, r.RunningStats = 0, 0
	}
	return r
}

func input(g *graph.Graph, n *graph.Node) graph.Shape {
	in := g.ShapeOf(n.Inputs[0])
	switch n.Op.(type) {
	case *graph.ScaleChannels, *graph.SAM:
		return g.ShapeOf(n.Inputs[1])
	case *graph.Route:
		for _, id := range n.Inputs[1:] {
			in.C += g.ShapeOf(id).C
		}
	}
	return in
}

// count adds one array of the layer's weights. A kernel of K·(C/G)·R·S weights
// (K filters, R x S windows over C/G channels) is applied at H x W places:
//
//	MACs = K·(C/G)·R·S·H·W
func (r *Row) count(a graph.Array) {
	switch a.Role {
	case "mean", "variance":
		r.RunningStats += int64(a.Len)
		return
	case "kernel":
		r.MACs = int64(a.Len) * int64(r.Out.H) * int64(r.Out.W)
	}
	r.Params += int64(a.Len)
}

func (t Table) sum(of func(Row) int64) int64 {
	var n int64
	for _, r := range t.Rows {
		n += of(r)
	}
	return n
}

// Params returns the number of trained parameters.
func (t Table) Params() int64 { return t.sum(func(r Row) int64 { return r.Params }) }

// MACs returns the number of multiply-adds.
func (t Table) MACs() int64 { return t.sum(func(r Row) int64 { return r.MACs }) }

// FLOPs returns the number of floating-point operations, 2 x MACs.
func (t Table) FLOPs() int64 { return 2 * t.MACs() }

// ActivationBytes returns the size of all layers' outputs together, as if none
// shared or reused memory.
func (t Table) ActivationBytes() int64 {
	return t.sum(func(r Row) int64 { return r.ActivationBytes })
}

// weightsHeader is the size of the header of a .weights file.
const weightsHeader = 20

// WeightsFileBytes returns the size of the Darknet .weights file: the header,
// then four bytes for each parameter and running statistic.
func (t Table) WeightsFileBytes() int64 {
	return weightsHeader + 4*(t.Params()+t.sum(func(r Row) int64 { return r.RunningStats }))
}
