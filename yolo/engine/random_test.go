package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
)

// padded adds a 1x1 convolution with a batch norm.
func (n network) padded(in graph.NodeID, filters, stride, pad int) graph.NodeID {
	return n.Add(&graph.Conv{Filters: filters, Size: 1, Stride: stride, Pad: pad, Groups: 1, BatchNorm: true, Activation: graph.Mish}, in).ID
}

// everything has every operation that can be trained, each within reach of a
// gradient, with widths that do not fill a block.
func everything() *graph.Graph {
	n := newNetwork(3, 12, 8)
	add := func(op graph.Op, in ...graph.NodeID) graph.NodeID { return n.Add(op, in...).ID }
	a := n.conv(graph.Input, 12, 3, 1, 1, true, graph.Mish)
	deep := add(&graph.Reorg3D{Stride: 2}, n.conv(a, 5, 3, 1, 1, true, graph.Swish))
	mixed := n.route(2, 1, deep, add(&graph.Reorg{Stride: 2}, a))
	b := n.conv(mixed, 20, 5, 1, 2, true, graph.Swish)
	b = n.gate(graph.Linear, n.conv(b, 20, 3, 1, 20, true, graph.Mish))
	b = n.shortcut(graph.Mish, b, add(&graph.LocalAvgPool{Size: 2, Stride: 2}, a))
	b = n.sam(graph.Linear, n.conv(b, 20, 1, 1, 1, true, graph.Logistic), b)
	b = add(&graph.Dropout{Probability: 0.2}, b)
	n.head(add(&graph.Silence{}, b))
	flat := add(&graph.Reorg3D{Stride: 2, Reverse: true}, n.pool(b, 3, 1))
	c := n.route(1, 0, flat, a, add(&graph.Upsample{Stride: 2}, n.padded(b, 7, 1, 0)))
	gate := n.conv(c, 1, 1, 1, 1, true, graph.Logistic)
	n.head(add(&graph.ScaleChannels{Activation: graph.Leaky, ScaleWH: true}, gate, c))
	return randomWeights(n.Graph, 11)
}

func TestEverything(t *testing.T) {
	g := everything()
	for _, batch := range []int{1, 3} {
		sameInference(t, "everything", g, batch)
		sameTraining(t, "everything", g, batch, 1e-3)
	}
}

// drawing is a network that grows by operations drawn at random.
type drawing struct {
	network
	rng *rand.Rand
}

// smooth are the activations without kinks, near which rounding would decide. A
// linear convolution is left out: a batch norm behind it takes the gradient of
// its bias away.
var smooth = []graph.Activation{graph.Logistic, graph.Mish, graph.Swish}

func pick[T any](d drawing, from []T) T { return from[d.rng.IntN(len(from))] }

// add appends an operation and learns its shape.
func (d drawing) add(op graph.Op, in ...graph.NodeID) graph.NodeID {
	n := d.Add(op, in...)
	if err := d.Infer(); err != nil {
		panic(err)
	}
	return n.ID
}

// any is one of the nodes, or the input, that fits.
func (d drawing) any(fits func(s graph.Shape) bool) (graph.NodeID, bool) {
	var out []graph.NodeID
	for id := graph.Input; int(id) < len(d.Nodes); id++ {
		if fits(d.ShapeOf(id)) {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return 0, false
	}
	return pick(d, out), true
}

// like is a node of the same height and width.
func (d drawing) like(id graph.NodeID) graph.NodeID {
	s := d.ShapeOf(id)
	out, _ := d.any(func(o graph.Shape) bool { return o.H == s.H && o.W == s.W })
	return out
}

// conv draws a convolution. A batch norm over few values would magnify rounding,
// and one over a kernel of one weight takes its gradient away.
func (d drawing) conv(in graph.NodeID, filters int, act graph.Activation) graph.NodeID {
	s := d.ShapeOf(in)
	o := &graph.Conv{Filters: filters, Size: pick(d, []int{1, 1, 2, 3, 3, 5}), Stride: 1, Groups: 1, Activation: act}
	if d.rng.IntN(4) == 0 {
		o.Dilation = 1 + d.rng.IntN(4)
	}
	o.Pad = (o.Extent() - 1) / 2
	if o.Size == 2 {
		o.Pad++
	}
	for _, groups := range []int{s.C, 2, 3} {
		if d.rng.IntN(3) == 0 && s.C%groups == 0 && filters%groups == 0 {
			o.Groups = groups
		}
	}
	o.BatchNorm = s.H*s.W >= 12 && s.C/o.Groups*o.Size > 1
	return d.add(o, in)
}

// sharer draws a convolution that uses the weights of an earlier one, with another
// dilation and activation.
func (d drawing) sharer() bool {
	owner := pick(d, d.Owners())
	c := d.ShapeOf(owner.Inputs[0]).C
	in, _ := d.any(func(s graph.Shape) bool { return s.C == c && (s.H*s.W >= 12 || !owner.Conv().BatchNorm) })
	if owner.Conv().Size%2 == 0 || d.ShapeOf(in).C != c {
		return false
	}
	o := *owner.Conv()
	o.Dilation, o.Stride, o.Activation = 1+d.rng.IntN(3), 1, pick(d, smooth)
	o.Pad, o.Back = (o.Extent()-1)/2, len(d.Nodes)-int(owner.ID)
	d.add(&o, in)
	return true
}

// kinds is the number of kinds of steps.
const kinds = 17

// step adds operations of a kind over a node drawn at random, and returns whether
// they fit.
func (d drawing) step(kind int) bool {
	a, _ := d.any(func(graph.Shape) bool { return true })
	s := d.ShapeOf(a)
	even, blocks := s.H%2 == 0 && s.W%2 == 0, s.C%4 == 0
	switch kind {
	case 0:
		d.conv(a, s.C*(1+d.rng.IntN(2)), pick(d, smooth))
	case 1:
		d.conv(a, 1+d.rng.IntN(20), pick(d, smooth))
	case 2:
		if s.H*s.W < 20 {
			return false
		}
		d.add(&graph.Conv{Filters: 1 + d.rng.IntN(20), Size: pick(d, []int{1, 3, 4}), Stride: 2, Pad: d.rng.IntN(2) + 1, Groups: 1, BatchNorm: true, Activation: graph.Mish}, a)
	case 3:
		size := 1 + d.rng.IntN(5)
		d.add(&graph.MaxPool{Size: size, Stride: 1 + d.rng.IntN(2), Padding: size - 1}, a)
	case 4:
		size := 1 + d.rng.IntN(4)
		d.add(&graph.LocalAvgPool{Size: size, Stride: 1 + d.rng.IntN(2), Padding: size - 1}, a)
	case 5:
		if s.H*s.W > 100 {
			return false
		}
		d.add(&graph.Upsample{Stride: 1 + d.rng.IntN(3)}, a)
	case 6:
		d.add(&graph.Shortcut{Activation: graph.Linear}, a, d.like(a))
	case 7:
		d.add(&graph.Shortcut{Activation: pick(d, smooth)}, a, d.like(a), d.like(a))
	case 8:
		if s.C > 60 {
			return false
		}
		d.add(&graph.Route{Groups: 1}, a, d.like(a), d.like(a))
	case 9:
		if s.C%2 != 0 {
			return false
		}
		d.add(&graph.Route{Groups: 2, GroupID: d.rng.IntN(2)}, a)
	case 10:
		gate := d.conv(d.add(&graph.AvgPool{}, a), s.C, graph.Logistic)
		if d.ShapeOf(gate).H > 1 { // an even kernel with padding
			return false
		}
		d.add(&graph.ScaleChannels{Activation: pick(d, []graph.Activation{graph.Linear, graph.Logistic})}, gate, a)
	case 11:
		gate := d.add(&graph.Conv{Filters: 1, Size: 3, Stride: 1, Pad: 1, Groups: 1, Activation: graph.Logistic}, a)
		d.add(&graph.ScaleChannels{Activation: graph.Linear, ScaleWH: true}, gate, a)
	case 12:
		gate := d.add(&graph.Conv{Filters: s.C, Size: 1, Stride: 1, Groups: 1, Activation: graph.Logistic}, a)
		d.add(&graph.SAM{Activation: graph.Linear}, gate, a)
	case 13:
		d.add(pick(d, []graph.Op{&graph.Dropout{Probability: 0.3}, &graph.Dropout{}, &graph.Silence{}}), a)
	case 14:
		if !even && !blocks {
			return false
		}
		d.add(&graph.Reorg3D{Stride: 2, Reverse: !even || blocks && d.rng.IntN(2) == 0}, a)
	case 15:
		if !even || !blocks {
			return false
		}
		d.add(&graph.Reorg{Stride: 2}, a)
	case 16:
		return d.sharer()
	}
	return true
}

// draw makes a network of steps operations, one head on the last layer and two on
// others. The seed chooses the last operation's kind, if it fits.
func draw(seed uint64, steps int) *graph.Graph {
	d := drawing{rng: rand.New(rand.NewPCG(seed, 12))}
	d.network = newNetwork(1+d.rng.IntN(4), 5+d.rng.IntN(6), 5+d.rng.IntN(6))
	d.conv(graph.Input, 12, graph.Mish)
	for range steps {
		d.step(d.rng.IntN(kinds))
	}
	for range 30 {
		if d.step(int(seed % kinds)) {
			break
		}
	}
	ends := []graph.NodeID{graph.NodeID(len(d.Nodes) - 1)}
	for range 2 {
		ends = append(ends, graph.NodeID(d.rng.IntN(len(d.Nodes))))
	}
	for _, e := range ends {
		d.head(e)
	}
	return randomWeights(d.Graph, seed)
}

// Random networks give what the reference gives: outputs, loss and every gradient.
// Where a batch norm sees values that hardly vary, digits are lost.
func TestRandomNetworks(t *testing.T) {
	seen := map[string]bool{}
	dilated, shared := 0, 0
	for seed := range uint64(2 * kinds) {
		g := draw(seed, 2+int(seed%7))
		live := leadToHead(g)
		for _, n := range g.Nodes {
			if live[n.ID] {
				seen[n.Op.Kind()] = true
				if n.Shares() {
					shared++
				}
				if c := n.Conv(); c != nil && c.Extent() > c.Size {
					dilated++
				}
			}
		}
		batch := []int{1, 3}[seed%2]
		what := fmt.Sprintf("seed %d", seed)
		sameInference(t, what, g, batch)
		sameTraining(t, what, g, batch, 5e-3)
		if t.Failed() {
			t.Fatalf("%s is %v", what, describe(g))
		}
	}
	if dilated < 4 || shared < 4 {
		t.Errorf("%d dilated convolutions and %d with another's weights are too few", dilated, shared)
	}
	want := []string{"avgpool", "convolutional", "dropout", "local_avgpool", "maxpool", "reorg", "reorg3d", "route", "sam", "scale_channels", "shortcut", "silence", "upsample", "yolo"}
	for _, k := range want {
		if !seen[k] {
			t.Errorf("no network has %s", k)
		}
	}
	if n := onednn.Live(); n != 0 {
		t.Errorf("%d oneDNN objects live after closing", n)
	}
}

// describe lists a network's layers.
func describe(g *graph.Graph) string {
	var lines []string
	for _, n := range g.Nodes {
		lines = append(lines, fmt.Sprintf("\n%d %s %+v reads %v makes %v", n.ID, n.Op.Kind(), n.Op, n.Inputs, n.Out))
	}
	return strings.Join(lines, "")
}
