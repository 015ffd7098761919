// Package graphtest makes small graphs and runs them, for the tests of the
// pruning packages. Forward is written to be read, in float64.
package graphtest

import (
	"math"
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"

	"yoloprune/yolo/graph"
)

// Net is a graph under construction.
type Net struct{ *graph.Graph }

// New starts a graph over c x h x w images.
func New(c, h, w int) Net {
	return Net{&graph.Graph{Net: graph.Net{Channels: c, Height: h, Width: w}}}
}

// Last is the node added last, or the input.
func (n Net) Last() graph.NodeID { return graph.NodeID(len(n.Nodes) - 1) }

func (n Net) add(op graph.Op, in ...graph.NodeID) graph.NodeID {
	id := n.Add(op, in...).ID
	if err := n.Infer(); err != nil {
		panic(err)
	}
	return id
}

// Conv adds a same-padded convolution with batch norm.
func (n Net) Conv(in graph.NodeID, filters, size, groups int, act graph.Activation) graph.NodeID {
	return n.add(&graph.Conv{Filters: filters, Size: size, Stride: 1, Pad: size / 2, Groups: groups, BatchNorm: true, Activation: act}, in)
}

// ConvOp adds any convolution.
func (n Net) ConvOp(in graph.NodeID, op graph.Conv) graph.NodeID { return n.add(&op, in) }

// Route adds a concatenation.
func (n Net) Route(in ...graph.NodeID) graph.NodeID { return n.Slice(1, 0, in...) }

// Slice adds a route over slice id of groups.
func (n Net) Slice(groups, id int, in ...graph.NodeID) graph.NodeID {
	return n.add(&graph.Route{Groups: groups, GroupID: id}, in...)
}

// Shortcut adds a linear sum.
func (n Net) Shortcut(in ...graph.NodeID) graph.NodeID {
	return n.add(&graph.Shortcut{Activation: graph.Linear}, in...)
}

// MaxPool adds pooling with Darknet's default padding.
func (n Net) MaxPool(in graph.NodeID, size, stride int) graph.NodeID {
	return n.add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, in)
}

// Upsample adds upsampling.
func (n Net) Upsample(in graph.NodeID, stride int) graph.NodeID {
	return n.add(&graph.Upsample{Stride: stride}, in)
}

// Head adds a 1 x 1 convolution without batch norm, and a yolo of one class
// and one anchor that reads it.
func (n Net) Head(in graph.NodeID) graph.NodeID {
	c := n.ConvOp(in, graph.Conv{Filters: 6, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	return n.add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 1}, c)
}

// Fill gives every convolution random weights; the signal keeps its size from
// layer to layer.
func (n Net) Fill(seed uint64) *graph.Graph {
	r := rand.New(rand.NewPCG(seed, 1))
	for _, c := range n.Convs() {
		in := n.ShapeOf(c.Inputs[0]).C
		w := c.Conv().NewWeights(in)
		fan := float64(len(w.Kernel) / c.Conv().Filters)
		for i := range w.Kernel {
			w.Kernel[i] = float32(r.NormFloat64() / math.Sqrt(fan))
		}
		for k := range w.Bias {
			w.Bias[k] = float32(0.5 * r.NormFloat64())
		}
		for k := range w.Gamma {
			w.Gamma[k] = float32(1.5 * r.Float64() * r.NormFloat64())
			w.Mean[k] = float32(0.3 * r.NormFloat64())
			w.Var[k] = float32(0.5 + r.Float64())
		}
		c.Weights = w
	}
	return n.Graph
}

// Random draws a graph in which every layer reaches a head. Its convolutions
// have kernels of the sizes given, 1 and 3 if none is.
func Random(t *rapid.T, sizes ...int) *graph.Graph {
	if len(sizes) == 0 {
		sizes = []int{1, 3}
	}
	size := rapid.IntRange(3, 7).Draw(t, "size")
	n := New(rapid.IntRange(1, 4).Draw(t, "channels"), size, size)
	n.Conv(graph.Input, rapid.SampledFrom([]int{4, 8, 16, 24}).Draw(t, "filters"), sizes[len(sizes)-1], 1, graph.Leaky)
	for range rapid.IntRange(2, 14).Draw(t, "layers") {
		n.grow(t, sizes)
	}
	read := n.Consumers()
	for id := range graph.NodeID(len(n.Nodes)) {
		if len(read[id]) == 0 {
			n.Head(id)
		}
	}
	return n.Fill(rapid.Uint64().Draw(t, "seed"))
}

func (n Net) grow(t *rapid.T, sizes []int) {
	from := n.Last()
	if rapid.IntRange(0, 3).Draw(t, "jump") == 0 {
		from = graph.NodeID(rapid.IntRange(0, int(from)).Draw(t, "from"))
	}
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0:
		n.MaxPool(from, rapid.IntRange(2, 3).Draw(t, "window"), rapid.IntRange(1, 2).Draw(t, "stride"))
	case 1:
		if n.ShapeOf(from).H <= 4 {
			n.Upsample(from, 2)
		}
	case 2:
		n.add(&graph.Shortcut{Activation: drawActivation(t)}, n.like(t, from, func(s graph.Shape) bool { return s == n.ShapeOf(from) }, 2)...)
	case 3, 4:
		n.drawRoute(t, from)
	default:
		n.drawConv(t, from, sizes)
	}
}

func drawActivation(t *rapid.T) graph.Activation {
	return rapid.SampledFrom([]graph.Activation{graph.Linear, graph.Leaky, graph.Relu, graph.Relu6, graph.Mish, graph.Swish}).Draw(t, "activation")
}

// like draws from and at least least-1 further nodes that fit, repeats allowed.
func (n Net) like(t *rapid.T, from graph.NodeID, fits func(graph.Shape) bool, least int) []graph.NodeID {
	var all []graph.NodeID
	for _, m := range n.Nodes {
		if fits(m.Out) {
			all = append(all, m.ID)
		}
	}
	in := []graph.NodeID{from}
	for range rapid.IntRange(least-1, 3).Draw(t, "more") {
		in = append(in, rapid.SampledFrom(all).Draw(t, "input"))
	}
	return in
}

func (n Net) drawRoute(t *rapid.T, from graph.NodeID) {
	s := n.ShapeOf(from)
	groups := rapid.SampledFrom(divisors(s.C, 4)).Draw(t, "groups")
	in := n.like(t, from, func(o graph.Shape) bool { return o.H == s.H && o.W == s.W && o.C%groups == 0 }, 1)
	n.Slice(groups, rapid.IntRange(0, groups-1).Draw(t, "group"), in...)
}

func (n Net) drawConv(t *rapid.T, from graph.NodeID, sizes []int) {
	in := n.ShapeOf(from)
	groups := 1
	switch rapid.IntRange(0, 5).Draw(t, "grouping") {
	case 0:
		groups = in.C
	case 1:
		groups = rapid.SampledFrom(divisors(in.C, 4)).Draw(t, "groups")
	}
	filters := groups * rapid.IntRange(1, max(1, 24/groups)).Draw(t, "filters")
	if groups == 1 && rapid.Bool().Draw(t, "same") {
		filters = in.C
	}
	size := rapid.SampledFrom(sizes).Draw(t, "size")
	act := drawActivation(t)
	if rapid.IntRange(0, 9).Draw(t, "gate") == 0 {
		act = graph.Logistic
	}
	n.ConvOp(from, graph.Conv{Filters: filters, Size: size, Stride: rapid.IntRange(1, 2).Draw(t, "stride"), Pad: size / 2,
		Groups: groups, BatchNorm: rapid.IntRange(0, 4).Draw(t, "bn") > 0, Activation: act})
}

func divisors(n, most int) []int {
	var out []int
	for d := 1; d <= min(n, most); d++ {
		if n%d == 0 {
			out = append(out, d)
		}
	}
	return out
}

// Image draws a random input, C x H x W.
func Image(g *graph.Graph, seed uint64) []float64 {
	r := rand.New(rand.NewPCG(seed, 2))
	x := make([]float64, g.InputShape().Size())
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// MaxDiff returns the largest difference between two activations.
func MaxDiff(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		if e := math.Abs(a[i] - b[i]); e > d || math.IsNaN(e) {
			d = e
		}
	}
	return d
}

// Heads runs the graph and returns what every head reads, or the last output
// when there is none.
func Heads(g *graph.Graph, image []float64) [][]float64 {
	all := Forward(g, image)
	var out [][]float64
	for _, h := range g.Heads() {
		out = append(out, all[h.ID])
	}
	if out == nil {
		return [][]float64{all[len(all)-1]}
	}
	return out
}

// Forward returns every node's output, C x H x W.
func Forward(g *graph.Graph, image []float64) [][]float64 {
	out := make([][]float64, len(g.Nodes))
	for i, n := range g.Nodes {
		in := make([][]float64, len(n.Inputs))
		for j, id := range n.Inputs {
			in[j] = image
			if id != graph.Input {
				in[j] = out[id]
			}
		}
		out[i] = forward(g, n, in)
	}
	return out
}

func forward(g *graph.Graph, n *graph.Node, in [][]float64) []float64 {
	s := g.ShapeOf(n.Inputs[0])
	switch op := n.Op.(type) {
	case *graph.Conv:
		return conv(op, n.Weights, in[0], s, n.Out)
	case *graph.MaxPool:
		return maxPool(op, in[0], s, n.Out)
	case *graph.Upsample:
		return upsample(op, in[0], n.Out)
	case *graph.Shortcut:
		y := slices.Clone(in[0])
		for _, x := range in[1:] {
			for i := range y {
				y[i] += x[i]
			}
		}
		for i := range y {
			y[i] = Activate(op.Activation, y[i])
		}
		return y
	case *graph.Route:
		var y []float64
		for _, x := range in {
			size := len(x) / op.Groups
			y = append(y, x[op.GroupID*size:(op.GroupID+1)*size]...)
		}
		return y
	}
	return slices.Clone(in[0])
}

func conv(op *graph.Conv, w *graph.Weights, x []float64, in, out graph.Shape) []float64 {
	y := make([]float64, out.Size())
	for i := range y {
		k := i / (out.H * out.W)
		v := convAt(op, w, x, in, out, i)
		if op.BatchNorm {
			v = float64(w.Gamma[k]) * (v - float64(w.Mean[k])) / math.Sqrt(float64(w.Var[k])+graph.BatchNormEps)
		}
		y[i] = Activate(op.Activation, v+float64(w.Bias[k]))
	}
	return y
}

// convAt sums the products of output i.
func convAt(op *graph.Conv, w *graph.Weights, x []float64, in, out graph.Shape, i int) float64 {
	k, oy, ox := i/(out.H*out.W), i/out.W%out.H, i%out.W
	channels := in.C / op.Groups
	first := k / (op.Filters / op.Groups) * channels
	kernel, sum := w.Kernel[k*channels*op.Size*op.Size:], 0.0
	for c := range channels {
		plane := x[(first+c)*in.H*in.W:]
		for r := range op.Size {
			for s := range op.Size {
				row, col := oy*op.Stride+r-op.Pad, ox*op.Stride+s-op.Pad
				if row >= 0 && row < in.H && col >= 0 && col < in.W {
					sum += float64(kernel[(c*op.Size+r)*op.Size+s]) * plane[row*in.W+col]
				}
			}
		}
	}
	return sum
}

func maxPool(op *graph.MaxPool, x []float64, in, out graph.Shape) []float64 {
	y := make([]float64, out.Size())
	for i := range y {
		c, oy, ox := i/(out.H*out.W), i/out.W%out.H, i%out.W
		y[i] = math.Inf(-1)
		for j := range op.Size * op.Size {
			r, s := oy*op.Stride-op.Padding/2+j/op.Size, ox*op.Stride-op.Padding/2+j%op.Size
			if r >= 0 && r < in.H && s >= 0 && s < in.W {
				y[i] = max(y[i], x[(c*in.H+r)*in.W+s])
			}
		}
	}
	return y
}

func upsample(op *graph.Upsample, x []float64, out graph.Shape) []float64 {
	y := make([]float64, out.Size())
	for i := range y {
		c, oy, ox := i/(out.H*out.W), i/out.W%out.H, i%out.W
		y[i] = x[(c*out.H/op.Stride+oy/op.Stride)*(out.W/op.Stride)+ox/op.Stride]
	}
	return y
}

// Activate is the activation function.
func Activate(a graph.Activation, x float64) float64 {
	switch a {
	case graph.Leaky:
		return max(x, 0.1*x)
	case graph.Relu:
		return max(x, 0)
	case graph.Relu6:
		return min(max(x, 0), 6)
	case graph.Logistic:
		return 1 / (1 + math.Exp(-x))
	case graph.Mish:
		return x * math.Tanh(math.Log1p(math.Exp(x)))
	case graph.Swish:
		return x / (1 + math.Exp(-x))
	}
	return x
}
