package statistics

import (
	"errors"
	"math"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// Gradient holds, by convolution and filter, means over B mini-batches b of what
// the gradients of the loss L_b say:
//
//	Gate     1/B sum_b (dL_b/dgamma*gamma + dL_b/dbeta*beta)^2
//	Weight   1/B sum_b (sum_w dL_b/dw*w)^2              w in the filter's kernel
//	Hessian  sum_w w^2 * 1/B sum_b (dL_b/dw)^2
//
// The first two are the first-order losses of Molchanov et al., Importance
// Estimation for Neural Network Pruning, CVPR 2019, arXiv:1906.10771, section 3.1,
// for batch norms as gates and for weights; the last is the saliency of LeCun et
// al., Optimal Brain Damage, NIPS 1989, with the squared gradient for the second
// derivative. Squares are taken by mini-batch: near a minimum the mean of the
// gradients is nothing.
//
// Batch norms use their running statistics. With those of the batch a filter's
// response would not change with the size of its kernel, and Weight would be zero.
// Dropout lets everything pass.
// Where there is no batch norm, gamma is the factor one before the activation and
// beta the bias. Layers that share weights are one, under the owner.
type Gradient struct {
	Gate, Weight, Hessian map[graph.NodeID][]float32
	Batches               int
}

// Gradients differentiates the loss of fine-tuning on images that are not
// augmented, in mini-batches of batchSize. g is not changed.
func Gradients(g *graph.Graph, src datasets.Source, lo loss.Options, o Options) (*Gradient, error) {
	if err := validate.CheckClasses(g, src.Names()); err != nil {
		return nil, err
	}
	loader, size, err := open(g, src, o)
	if err != nil {
		return nil, err
	}
	t, err := newGradienter(g, size, lo, o)
	if err != nil {
		return nil, err
	}
	defer t.net.Close()
	batches := 0
	for b, err := range loader.Epoch(0, false) {
		if err != nil {
			return nil, err
		}
		t.loss.SetTruths(truths(b, src, g.Net))
		if _, err := t.net.Step(b.Images); err != nil {
			return nil, err
		}
		t.add()
		batches++
	}
	if batches == 0 {
		return nil, errors.New("statistics: no full batch of images could be read")
	}
	return t.gradient(batches)
}

// truths returns the batch's boxes relative to the network's input. In a
// letterboxed image they lie where head.LetterboxSize puts the image.
func truths(b *batch.Batch, src datasets.Source, n graph.Net) [][]datasets.Truth {
	if !head.Letterboxed(n) {
		return b.Truths
	}
	out := make([][]datasets.Truth, len(b.Truths))
	netW, netH := float64(n.Width), float64(n.Height)
	for i, s := range b.Samples {
		image := src.Sample(s)
		w, h, x, y := head.LetterboxSize(image.Width, image.Height, n.Width, n.Height)
		for _, t := range b.Truths[i] {
			out[i] = append(out[i], datasets.Truth{
				Class: t.Class,
				X:     (float64(x) + t.X*float64(w)) / netW, W: t.W * float64(w) / netW,
				Y: (float64(y) + t.Y*float64(h)) / netH, H: t.H * float64(h) / netH,
			})
		}
	}
	return out
}

// gradienter trains, without a step, the equivalent network whose batch norms are
// folded into kernels and biases.
type gradienter struct {
	g      *graph.Graph
	net    *engine.Training
	loss   *loss.YOLOv4
	layers []*layer
}

// layer are the sums of one convolution. kernel and bias are the folded
// network's.
type layer struct {
	n             *graph.Node // of the network as it is
	kernel, bias  engine.Param
	gate, weight  []float64
	squares       []float64 // of dL/dw, by weight
	scale, shift  []float64 // W' = scale*W, b' = beta - shift*gamma
	batchNormless bool
}

func newGradienter(g *graph.Graph, size int, lo loss.Options, o Options) (*gradienter, error) {
	t := &gradienter{g: g}
	folded := foldedTwin(g)
	var heads []loss.Head
	for _, h := range folded.Heads() {
		heads = append(heads, loss.Head{Yolo: h.Yolo(), Shape: h.Out})
	}
	var err error
	if t.loss, err = loss.NewYOLOv4(heads, g.Net.Width, g.Net.Height, size, lo); err != nil {
		return nil, err
	}
	t.net, err = engine.NewTraining(folded, t.compute, engine.Options{Batch: size, Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	params := map[graph.NodeID]*layer{}
	for _, p := range t.net.Params() {
		if params[p.Node] == nil {
			params[p.Node] = newLayer(g.Nodes[p.Node])
			t.layers = append(t.layers, params[p.Node])
		}
		if p.Role == engine.Kernel {
			params[p.Node].kernel = p
		} else {
			params[p.Node].bias = p
		}
	}
	return t, nil
}

func (t *gradienter) compute(heads []engine.Output, grads [][]float32) (float64, error) {
	outs := make([][]float32, len(heads))
	for i, h := range heads {
		outs[i] = h.Data
	}
	parts, err := t.loss.Compute(outs, grads)
	return parts.Total, err
}

// foldedTwin computes what g does with its running statistics, without a batch
// norm and without dropout.
func foldedTwin(g *graph.Graph) *graph.Graph {
	f := g.Clone()
	for _, n := range f.Owners() {
		kernel, bias := engine.Fold(n.Weights)
		n.Weights = &graph.Weights{Kernel: kernel, Bias: bias}
	}
	f.LinkShared()
	for _, n := range f.Convs() {
		n.Conv().BatchNorm = false
	}
	for _, n := range f.Nodes {
		if d, ok := n.Op.(*graph.Dropout); ok {
			d.Probability = 0
		}
	}
	return f
}

func newLayer(n *graph.Node) *layer {
	w, filters := n.Weights, n.Conv().Filters
	l := &layer{
		n: n, gate: make([]float64, filters), weight: make([]float64, filters), squares: make([]float64, len(w.Kernel)),
		scale: make([]float64, filters), shift: make([]float64, filters), batchNormless: w.Gamma == nil,
	}
	for k := range filters {
		l.scale[k] = 1
		if w.Gamma != nil {
			inverse := 1 / math.Sqrt(float64(w.Var[k])+graph.BatchNormEps)
			l.scale[k], l.shift[k] = float64(w.Gamma[k])*inverse, float64(w.Mean[k])*inverse
		}
	}
	return l
}

// add takes the gradients of one mini-batch. With W' = s*W and s = gamma/sigma,
//
//	dL/dW*W = dL/dW'*W'      dL/dgamma*gamma = sum_w dL/dW'*W' - dL/db'*gamma*mean/sigma
func (t *gradienter) add() {
	for _, l := range t.layers {
		per := len(l.kernel.Value) / len(l.gate)
		for k := range l.gate {
			product := 0.0
			for i := k * per; i < (k+1)*per; i++ {
				d := float64(l.kernel.Grad[i])
				product += d * float64(l.kernel.Value[i])
				d *= l.scale[k]
				l.squares[i] += d * d
			}
			l.weight[k] += product * product
			gate := product + float64(l.bias.Grad[k])*l.offset(k)
			l.gate[k] += gate * gate
		}
	}
}

// offset is the share of a filter's gates in the folded bias: beta -
// gamma*mean/sigma, or the bias itself.
func (l *layer) offset(k int) float64 {
	if l.batchNormless {
		return float64(l.n.Weights.Bias[k])
	}
	return float64(l.n.Weights.Bias[k]) - float64(l.n.Weights.Gamma[k])*l.shift[k]
}

func (t *gradienter) gradient(batches int) (*Gradient, error) {
	out := &Gradient{map[graph.NodeID][]float32{}, map[graph.NodeID][]float32{}, map[graph.NodeID][]float32{}, batches}
	for _, n := range t.g.Owners() { // those that lead to no head stay at zero
		for _, m := range []map[graph.NodeID][]float32{out.Gate, out.Weight, out.Hessian} {
			m[n.ID] = make([]float32, n.Conv().Filters)
		}
	}
	b := float64(batches)
	for _, l := range t.layers {
		per := len(l.squares) / len(l.gate)
		hessian := make([]float64, len(l.gate))
		for i, s := range l.squares {
			w := float64(l.n.Weights.Kernel[i])
			hessian[i/per] += w * w * s
		}
		out.Gate[l.n.ID], out.Weight[l.n.ID], out.Hessian[l.n.ID] = over(l.gate, b), over(l.weight, b), over(hessian, b)
	}
	for _, n := range t.g.Owners() {
		for _, v := range [][]float32{out.Gate[n.ID], out.Weight[n.ID], out.Hessian[n.ID]} {
			if err := finite(n, "gradient", v); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
