package graphtest

import (
	"slices"

	"pgregory.net/rapid"

	"yoloprune/yolo/graph"
)

// Random draws a graph in which every layer reaches a head, or the loss of a
// contrastive layer. Its convolutions have kernels of the sizes given, 1 and 3
// if none is.
//
// If all are 1, every layer that is drawn makes constant channels of constant
// ones; what does not do that is left out: padding, a gate that differs from
// pixel to pixel, and several channels that become one.
func Random(t *rapid.T, sizes ...int) *graph.Graph { return random(t, false, sizes) }

// RandomSharing is Random with convolutions that use the weights of others. Where
// only constant channels are drawn, these read what the others read.
func RandomSharing(t *rapid.T, sizes ...int) *graph.Graph { return random(t, true, sizes) }

func random(t *rapid.T, sharing bool, sizes []int) *graph.Graph {
	if len(sizes) == 0 {
		sizes = []int{1, 3}
	}
	size := rapid.IntRange(3, 7).Draw(t, "size")
	s := sketch{New(rapid.IntRange(1, 4).Draw(t, "channels"), size, size), t, sizes, sharing}
	s.Conv(graph.Input, rapid.SampledFrom([]int{4, 8, 16, 24}).Draw(t, "filters"), sizes[len(sizes)-1], 1, graph.Leaky)
	for range rapid.IntRange(2, 14).Draw(t, "layers") {
		s.grow()
	}
	s.finish()
	return s.Fill(rapid.Uint64().Draw(t, "seed"))
}

// sketch is a graph that is being drawn.
type sketch struct {
	Net
	t       *rapid.T
	sizes   []int
	sharing bool // convolutions may use others' weights
}

func (s sketch) constant() bool { return slices.Max(s.sizes) == 1 }

func (s sketch) upTo(name string, most int) int { return rapid.IntRange(0, most).Draw(s.t, name) }

func (s sketch) grow() {
	from := s.Last()
	if s.upTo("jump", 3) == 0 {
		from = graph.NodeID(s.upTo("from", int(from)))
	}
	kinds := []func(graph.NodeID){
		s.conv, s.conv, s.conv, s.conv, s.conv, s.pool, s.upsample, s.sum, s.unequalSum, s.route, s.route, s.squeeze, s.sam, s.reorg, s.passing,
	}
	if !s.constant() {
		kinds = append(kinds, s.gate, s.reverse)
	}
	if s.sharing {
		kinds = append(kinds, s.use, s.use, s.use, s.use)
	}
	kinds[s.upTo("kind", len(kinds)-1)](from)
}

// finish gives every layer that nobody reads a head, some before the last a
// contrastive loss.
func (s sketch) finish() {
	read, last := s.Consumers(), s.Last()
	for id := range last + 1 {
		switch {
		case len(read[id]) > 0:
		case id < last && s.upTo("loss", 7) == 0:
			s.add(&graph.Contrastive{Classes: 1}, id)
		default:
			s.Head(id)
		}
	}
}

func (s sketch) conv(from graph.NodeID) {
	in := s.ShapeOf(from)
	groups := 1
	switch s.upTo("grouping", 5) {
	case 0:
		groups = in.C
	case 1:
		groups = rapid.SampledFrom(divisors(in.C, 4)).Draw(s.t, "groups")
	}
	filters := groups * rapid.IntRange(1, max(1, 24/groups)).Draw(s.t, "filters")
	if groups == 1 && rapid.Bool().Draw(s.t, "same") {
		filters = in.C
	}
	size := rapid.SampledFrom(s.sizes).Draw(s.t, "size")
	act := s.activation()
	if s.upTo("logistic", 9) == 0 {
		act = graph.Logistic
	}
	dilation := 1
	if s.upTo("dilated", 3) == 0 {
		dilation = rapid.IntRange(2, 4).Draw(s.t, "dilation")
	}
	s.ConvOp(from, graph.Conv{Filters: filters, Size: size, Stride: rapid.IntRange(1, 2).Draw(s.t, "stride"), Pad: size / 2 * dilation,
		Groups: groups, BatchNorm: s.upTo("bn", 4) > 0, Activation: act, Dilation: dilation})
}

// use adds a convolution with the weights of another. A mask cannot make a channel
// zero that is behind a logistic for one of them only.
func (s sketch) use(graph.NodeID) {
	owner := rapid.SampledFrom(s.Owners()).Draw(s.t, "owner")
	c := s.ShapeOf(owner.Inputs[0]).C
	from := []graph.NodeID{owner.Inputs[0]}
	for _, n := range s.Nodes {
		if n.Out.C == c && !s.constant() {
			from = append(from, n.ID)
		}
	}
	act := graph.Logistic
	if owner.Conv().Activation != act {
		act = s.activation()
	}
	s.Use(owner.ID, rapid.SampledFrom(from).Draw(s.t, "of"), rapid.IntRange(1, 2).Draw(s.t, "stride"), rapid.IntRange(1, 3).Draw(s.t, "dilation"), act)
}

func (s sketch) pool(from graph.NodeID) {
	s.MaxPool(from, rapid.IntRange(2, 3).Draw(s.t, "window"), rapid.IntRange(1, 2).Draw(s.t, "stride"))
}

func (s sketch) upsample(from graph.NodeID) {
	if s.ShapeOf(from).H <= 4 {
		s.Upsample(from, 2)
	}
}

func (s sketch) sum(from graph.NodeID) {
	shape := s.ShapeOf(from)
	s.add(&graph.Shortcut{Activation: s.activation()}, s.like(from, func(o graph.Shape) bool { return o == shape }, 2)...)
}

// unequalSum adds inputs that may differ in channels, some with weights.
func (s sketch) unequalSum(from graph.NodeID) {
	shape := s.ShapeOf(from)
	in := s.like(from, func(o graph.Shape) bool { return o.H == shape.H && o.W == shape.W }, 2)
	op := &graph.Shortcut{Activation: s.activation()}
	op.Scaling = rapid.SampledFrom([]graph.Scaling{graph.NoScaling, graph.PerFeature, graph.PerChannel}).Draw(s.t, "scaling")
	if op.Scaling != graph.NoScaling {
		op.Normalization = rapid.SampledFrom([]graph.Normalization{graph.NormRelu, graph.NormSoftmax}).Draw(s.t, "normalization")
	}
	s.add(op, in...)
}

func (s sketch) route(from graph.NodeID) {
	shape := s.ShapeOf(from)
	groups := rapid.SampledFrom(divisors(shape.C, 4)).Draw(s.t, "groups")
	in := s.like(from, func(o graph.Shape) bool { return o.H == shape.H && o.W == shape.W && o.C%groups == 0 }, 1)
	s.Slice(groups, s.upTo("group", groups-1), in...)
}

// squeeze adds squeeze and excitation.
func (s sketch) squeeze(from graph.NodeID) {
	few := s.Conv(s.add(&graph.AvgPool{}, from), 4, 1, 1, graph.Relu)
	s.add(&graph.ScaleChannels{Activation: s.ofProduct()}, s.Conv(few, s.ShapeOf(from).C, 1, 1, graph.Logistic), from)
}

// gate adds a factor for every pixel.
func (s sketch) gate(from graph.NodeID) {
	s.add(&graph.ScaleChannels{Activation: s.ofProduct(), ScaleWH: true}, s.Conv(from, 1, 3, 1, graph.Logistic), from)
}

func (s sketch) sam(from graph.NodeID) {
	shape := s.ShapeOf(from)
	in := s.like(from, func(o graph.Shape) bool { return o == shape }, 2)
	s.add(&graph.SAM{Activation: s.ofProduct()}, in[:2]...)
}

func (s sketch) reorg(from graph.NodeID) {
	in := s.ShapeOf(from)
	if in.H%2 != 0 || in.W%2 != 0 || in.C > 24 {
		return
	}
	if in.C%4 == 0 && !s.constant() && rapid.Bool().Draw(s.t, "legacy") {
		s.add(&graph.Reorg{Stride: 2}, from)
		return
	}
	s.add(&graph.Reorg3D{Stride: 2}, from)
}

func (s sketch) reverse(from graph.NodeID) {
	if in := s.ShapeOf(from); in.C%4 == 0 && in.H <= 4 {
		s.add(&graph.Reorg3D{Stride: 2, Reverse: true}, from)
	}
}

// passing adds what passes channels on.
func (s sketch) passing(from graph.NodeID) {
	s.add(rapid.SampledFrom([]graph.Op{
		&graph.Dropout{Probability: .2}, &graph.Silence{}, &graph.AvgPool{}, &graph.LocalAvgPool{Size: 2, Stride: 1, Padding: 1},
	}).Draw(s.t, "passing"), from)
}

// activation draws one that keeps zero, as a mask needs it, or any where
// constants need to stay constant only.
func (s sketch) activation() graph.Activation {
	return s.activationOf(graph.Linear, graph.Leaky, graph.Relu, graph.Relu6, graph.Mish, graph.Swish)
}

// ofProduct draws an activation that a product may have.
func (s sketch) ofProduct() graph.Activation {
	return s.activationOf(graph.Linear, graph.Leaky, graph.Relu)
}

func (s sketch) activationOf(all ...graph.Activation) graph.Activation {
	if s.constant() {
		all = append(all, graph.Logistic)
	}
	return rapid.SampledFrom(all).Draw(s.t, "activation")
}

// like draws from and at least least-1 further nodes that fit, repeats allowed.
func (s sketch) like(from graph.NodeID, fits func(graph.Shape) bool, least int) []graph.NodeID {
	var all []graph.NodeID
	for _, m := range s.Nodes {
		if fits(m.Out) {
			all = append(all, m.ID)
		}
	}
	in := []graph.NodeID{from}
	for range rapid.IntRange(least-1, 3).Draw(s.t, "more") {
		in = append(in, rapid.SampledFrom(all).Draw(s.t, "input"))
	}
	return in
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
