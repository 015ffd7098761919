package engine

import (
	"fmt"
	"iter"
	"runtime"

	G "gorgonia.org/gorgonia"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// machine is a built expression graph with its tape.
type machine struct {
	*builder
	tape G.VM
}

// newMachine takes the finalizer off the tape, which Close makes needless: an
// object with a finalizer outlives one more collection, and with it every
// buffer of the network, so the heap would grow by a network each time one is
// replaced.
func newMachine(b *builder) *machine {
	tape := G.NewTapeMachine(b.x)
	runtime.SetFinalizer(tape, nil)
	return &machine{b, tape}
}

// guard turns a panic of Gorgonia, at the engine's edge, into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("engine: %v", r)
	}
}

func (m *machine) run(images []float32) error {
	want := m.image.Data().([]float32)
	if len(images) != len(want) {
		return fmt.Errorf("engine: %d image values, want %d (%d images of %v)", len(images), len(want), m.batch, m.g.InputShape())
	}
	copy(want, images)
	defer m.tape.Reset()
	m.failure = nil
	if err := m.tape.RunAll(); err != nil {
		if m.failure != nil {
			return m.failure
		}
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

// Close frees what oneDNN holds.
func (m *machine) Close() {
	m.close()
	m.tape.Close()
}

// Kernels names oneDNN's implementation of every convolution, in order.
func (m *machine) Kernels() []string { return m.infos }

// Inference runs a network forward.
type Inference struct{ *machine }

// NewInference builds the forward pass with batch norms folded in. Later
// changes of g's weights are not seen.
func NewInference(g *graph.Graph, o Options) (i *Inference, err error) {
	defer guard(&err)
	onednn.SetThreads(o.Threads)
	b, err := build(g, inference, o)
	if err != nil {
		return nil, err
	}
	return &Inference{newMachine(b)}, nil
}

// Forward returns the raw head outputs of a batch of images, in the order of
// the [yolo] nodes.
func (i *Inference) Forward(images []float32) (out []Output, err error) {
	defer guard(&err)
	if err := i.run(images); err != nil {
		return nil, err
	}
	return i.outputs, nil
}

// Training runs a network forward and backward.
type Training struct {
	*machine
	loss     *G.F32
	value    float64 // of the loss, before it became a float32
	momentum float64
	shared   []sharedGrad
}

// sharedGrad is the gradient by one of params from a further layer that uses it.
type sharedGrad struct {
	param int
	grad  []float32
}

// NewTraining builds the training step of g, whose weights it trains in place.
func NewTraining(g *graph.Graph, loss LossFunc, o Options) (t *Training, err error) {
	defer guard(&err)
	if err := checkTrained(g); err != nil {
		return nil, err
	}
	onednn.SetThreads(o.Threads)
	b, err := build(g, training, o)
	if err != nil {
		return nil, err
	}
	t = &Training{loss: new(G.F32), momentum: o.BNMomentum}
	if t.momentum == 0 {
		t.momentum = DefaultBNMomentum
	}
	if err := t.addLoss(b, loss); err != nil {
		b.close()
		return nil, fmt.Errorf("engine: %w", err)
	}
	t.machine = newMachine(b)
	return t, nil
}

// addLoss adds the loss as an operation and has Gorgonia derive the gradients.
func (t *Training) addLoss(b *builder, loss LossFunc) error {
	if len(b.params) == 0 {
		return fmt.Errorf("the network has no weights to train")
	}
	grads := make([][]float32, len(b.outputs))
	var in G.Nodes
	o := &op{name: "loss", loss: t.loss}
	for i, h := range b.heads {
		grads[i] = make([]float32, h.desc.Len())
		in = append(in, h.node)
		o.diff = append(o.diff, true)
	}
	o.forward = func([]G.Value) error {
		v, err := loss(b.outputs, grads)
		*t.loss, t.value = G.F32(v), v
		return err
	}
	o.gradient = func(_ G.Nodes, y, _ *G.Node) (G.Nodes, error) {
		var out G.Nodes
		for i := range grads {
			n, err := b.take(fmt.Sprintf("loss gradient %d", i), y, grads[i])
			if err != nil {
				return nil, err
			}
			out = append(out, n)
		}
		return out, nil
	}
	cost, err := b.apply(o, in...)
	if err != nil {
		return err
	}
	derived, err := G.Grad(cost, b.nodes...)
	if err != nil {
		return err
	}
	for i, n := range derived {
		p, ok := n.Op().(*op)
		if !ok {
			return fmt.Errorf("%s: its gradient is a sum, which the engine does not read", b.params[b.uses[i]].Name())
		}
		if q := &b.params[b.uses[i]]; q.Grad == nil {
			q.Grad = floats(p.out)
		} else {
			t.shared = append(t.shared, sharedGrad{b.uses[i], floats(p.out)})
		}
	}
	return nil
}

// addShared completes the gradients of weights that several layers use: the sum
// over the layers, in their order.
func (t *Training) addShared() {
	for _, s := range t.shared {
		sum := t.params[s.param].Grad
		for i, v := range s.grad {
			sum[i] += v
		}
	}
}

// Step runs a batch forward and backward and returns the loss. Afterwards
// every Param holds its gradient, and the running statistics have moved:
//
//	mean = (1-m)*mean + m*batch mean    var = (1-m)*var + m*batch var (N-1)
//
// The batch is normalised with the biased variance, as in PyTorch; Darknet's
// CPU code uses N-1 for both. Where layers share a batch norm, its statistics
// move once for each of them, in their order, as in Darknet.
func (t *Training) Step(images []float32) (loss float64, err error) {
	defer guard(&err)
	if err := t.run(images); err != nil {
		return 0, err
	}
	t.addShared()
	for _, n := range t.norms {
		n.update(t.momentum)
	}
	t.iteration++
	return t.value, nil
}

// SetIteration says which iteration the next Step is; dropout draws other masks
// for each. Steps count on from there, and from 0 at first.
func (t *Training) SetIteration(n uint64) { t.iteration = n }

// Params lists the trained vectors in network order.
func (t *Training) Params() []Param { return t.params }

func (n *norm) update(m float64) {
	for c := range n.mean {
		n.weights.Mean[c] = float32((1-m)*float64(n.weights.Mean[c]) + m*float64(n.mean[c]))
		n.weights.Var[c] = float32((1-m)*float64(n.weights.Var[c]) + m*n.unbiased(c))
	}
}

// unbiased is the batch variance over N-1; a single value has none.
func (n *norm) unbiased(c int) float64 {
	return float64(n.variance[c]) * float64(n.values) / float64(max(n.values-1, 1))
}

// Recalibrate replaces every running mean and variance of g by its average
// over the batches, each run forward with batch statistics, and over the layers
// that share it. Running statistics lag behind weights that change, such as
// shrinking gammas, and are wrong after a cut.
func Recalibrate(g *graph.Graph, o Options, batches iter.Seq2[[]float32, error]) (err error) {
	defer guard(&err)
	onednn.SetThreads(o.Threads)
	b, err := build(g, statistics, o)
	if err != nil {
		return err
	}
	m := newMachine(b)
	defer m.Close()
	averages := make(map[*graph.Weights]*average)
	for _, n := range m.norms {
		averages[n.weights] = &average{mean: make([]float64, len(n.mean)), variance: make([]float64, len(n.mean))}
	}
	ran := false
	for images, err := range batches {
		if err != nil {
			return err
		}
		if err := m.run(images); err != nil {
			return err
		}
		ran = true
		for _, n := range m.norms {
			averages[n.weights].add(n)
		}
	}
	if !ran {
		return fmt.Errorf("engine: no batch to recalibrate batch norms with")
	}
	for w, a := range averages {
		a.set(w)
	}
	return nil
}

// average sums up statistics of a batch norm.
type average struct {
	mean, variance []float64
	count          int
}

func (a *average) add(n *norm) {
	a.count++
	for c := range n.mean {
		a.mean[c] += float64(n.mean[c])
		a.variance[c] += n.unbiased(c)
	}
}

func (a *average) set(w *graph.Weights) {
	for c := range a.mean {
		w.Mean[c] = float32(a.mean[c] / float64(a.count))
		w.Var[c] = float32(a.variance[c] / float64(a.count))
	}
}
