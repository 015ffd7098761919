package graphtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"yoloprune/yolo/graph"
)

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
		return shortcut(op, n, in)
	case *graph.ScaleChannels:
		return product(op.Activation, in[0], in[1], func(i int) int {
			if op.ScaleWH {
				return i % (n.Out.H * n.Out.W)
			}
			return i / (n.Out.H * n.Out.W)
		})
	case *graph.SAM:
		return product(op.Activation, in[0], in[1], func(i int) int { return i })
	case *graph.AvgPool:
		return avgPool(in[0], s)
	case *graph.LocalAvgPool:
		return localAvgPool(op, in[0], s, n.Out)
	case *graph.Reorg3D:
		return reorg3D(op, in[0], s, n.Out)
	case *graph.Reorg:
		return reorg(op, in[0], s)
	case *graph.Route:
		var y []float64
		for _, x := range in {
			size := len(x) / op.Groups
			y = append(y, x[op.GroupID*size:(op.GroupID+1)*size]...)
		}
		return y
	case *graph.Dropout, *graph.Silence, *graph.Contrastive, *graph.Yolo:
		return slices.Clone(in[0])
	}
	panic(fmt.Sprintf("%v is not run here", n))
}

// shortcut adds the channels that an input shares with the first one; a plane
// of in[k] is as large as one of in[0].
func shortcut(op *graph.Shortcut, n *graph.Node, in [][]float64) []float64 {
	y := make([]float64, len(in[0]))
	for k, x := range in {
		for i := range min(len(x), len(y)) {
			y[i] += x[i] * op.Factor(n.Weights, k, i/(n.Out.H*n.Out.W), len(in))
		}
	}
	for i := range y {
		y[i] = Activate(op.Activation, y[i])
	}
	return y
}

func product(a graph.Activation, gate, x []float64, at func(i int) int) []float64 {
	y := make([]float64, len(x))
	for i := range y {
		y[i] = Activate(a, gate[at(i)]*x[i])
	}
	return y
}

func avgPool(x []float64, in graph.Shape) []float64 {
	y := make([]float64, in.C)
	for i, v := range x {
		y[i/(in.H*in.W)] += v / float64(in.H*in.W)
	}
	return y
}

func localAvgPool(op *graph.LocalAvgPool, x []float64, in, out graph.Shape) []float64 {
	y := make([]float64, out.Size())
	for i := range y {
		c, oy, ox, count := i/(out.H*out.W), i/out.W%out.H, i%out.W, 0
		for j := range op.Size * op.Size {
			r, s := oy*op.Stride-op.Padding/2+j/op.Size, ox*op.Stride-op.Padding/2+j%op.Size
			if r >= 0 && r < in.H && s >= 0 && s < in.W {
				y[i] += x[(c*in.H+r)*in.W+s]
				count++
			}
		}
		y[i] /= float64(count)
	}
	return y
}

func reorg3D(op *graph.Reorg3D, x []float64, in, out graph.Shape) []float64 {
	y, k := make([]float64, out.Size()), op.Stride
	flat, deep := in, out
	if op.Reverse {
		flat, deep = out, in
	}
	for i := range y {
		c, row, col := i/(flat.H*flat.W), i/flat.W%flat.H, i%flat.W
		j := (((row%k*k+col%k)*flat.C+c)*deep.H+row/k)*deep.W + col/k
		if op.Reverse {
			y[i] = x[j]
		} else {
			y[j] = x[i]
		}
	}
	return y
}

// reorg is the formula of graph.Reorg.
func reorg(op *graph.Reorg, x []float64, in graph.Shape) []float64 {
	y, s := make([]float64, len(x)), op.Stride
	for o := range y {
		k, j, i := o/(in.H*in.W), o/in.W%in.H, o%in.W
		c2, off := k%(in.C/(s*s)), k/(in.C/(s*s))
		y[o] = x[(c2*in.H*s+j*s+off/s)*in.W*s+i*s+off%s]
	}
	return y
}

func conv(op *graph.Conv, w *graph.Weights, x []float64, in, out graph.Shape) []float64 {
	y := make([]float64, out.Size())
	channels, taps := in.C/op.Groups, op.Size*op.Size
	for k := range op.Filters {
		plane := y[k*out.H*out.W:][:out.H*out.W]
		first := k / (op.Filters / op.Groups) * channels
		for c := range channels {
			for tap := range taps {
				weight := float64(w.Kernel[(k*channels+c)*taps+tap])
				addTap(op, plane, x[(first+c)*in.H*in.W:], in, out, tap, weight)
			}
		}
		for i, v := range plane {
			if op.BatchNorm {
				v = float64(w.Gamma[k]) * (v - float64(w.Mean[k])) / math.Sqrt(float64(w.Var[k])+graph.BatchNormEps)
			}
			plane[i] = Activate(op.Activation, v+float64(w.Bias[k]))
		}
	}
	return y
}

// addTap adds one weight's products to a filter's response.
func addTap(op *graph.Conv, y, x []float64, in, out graph.Shape, tap int, weight float64) {
	r, s := tap/op.Size*op.Spacing()-op.Pad, tap%op.Size*op.Spacing()-op.Pad
	top, bottom := seen(r, op.Stride, in.H, out.H)
	left, right := seen(s, op.Stride, in.W, out.W)
	for oy := top; oy < bottom; oy++ {
		row := x[(oy*op.Stride+r)*in.W:]
		to := y[oy*out.W:]
		for ox := left; ox < right; ox++ {
			to[ox] += weight * row[ox*op.Stride+s]
		}
	}
}

// seen returns the outputs o in [first, end) for which o*stride + shift lies in
// the input.
func seen(shift, stride, in, out int) (first, end int) {
	for first < out && first*stride+shift < 0 {
		first++
	}
	for end = out; end > first && (end-1)*stride+shift >= in; end-- {
	}
	return first, end
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
