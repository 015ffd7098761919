package darknet

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"yoloprune/yolo/graph"
)

// Reader is who is to read an exported network.
type Reader string

// The readers. ForAny is what AlexeyAB's Darknet and OpenCV 4.6 compute alike.
const (
	ForAny     Reader = "any"
	ForDarknet Reader = "darknet"
	ForOpenCV  Reader = "opencv"
)

// Readers lists them.
var Readers = []Reader{ForAny, ForDarknet, ForOpenCV}

// Change says what Portable did, or what the reader will do, in words.
type Change struct {
	Layer graph.NodeID // of the network that was given; graph.Input for all of it
	What  string
}

func (c Change) String() string {
	if c.Layer == graph.Input {
		return c.What
	}
	return fmt.Sprintf("layer %d: %s", c.Layer, c.What)
}

// Summary has a line for each kind of change, with the layers that it is made
// in.
func Summary(changes []Change) []string {
	var kinds []string
	layers := make(map[string][]graph.NodeID)
	for _, c := range changes {
		if layers[c.What] == nil {
			kinds = append(kinds, c.What)
		}
		layers[c.What] = append(layers[c.What], c.Layer)
	}
	var lines []string
	for _, what := range kinds {
		lines = append(lines, summaryLine(layers[what], what))
	}
	return lines
}

func summaryLine(layers []graph.NodeID, what string) string {
	if len(layers) == 1 {
		return Change{layers[0], what}.String()
	}
	const named = 4
	list := strings.Trim(fmt.Sprint(layers[:min(named, len(layers))]), "[]")
	list = strings.ReplaceAll(list, " ", ", ")
	if more := len(layers) - named; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("layers %s: %s", list, what)
}

// Portable returns a network that the reader computes as this program does, to
// be written by EncodeCanonical. g stays as it is; the result shares with it the
// weights that need no change. What the reader gets wrong without a word
// is rewritten where that can be done without changing the function, with a
// Change, and is an *UnsupportedError where not. Weights may be missing.
//
// OpenCV reads only the first layer of a sum's list, breaks on slices of several
// layers (modules/dnn/src/darknet/darknet_io.cpp), and adds 1e-6 to variances
// where Darknet adds 1e-5.
func Portable(g *graph.Graph, reader Reader) (*graph.Graph, []Change, error) {
	if !slices.Contains(Readers, reader) {
		return nil, nil, fmt.Errorf("reader %q: use one of %v", reader, Readers)
	}
	if err := g.Infer(); err != nil {
		return nil, nil, err
	}
	p := &porter{from: g, to: &graph.Graph{Net: g.Net}, reader: reader, openCV: reader != ForDarknet, at: map[graph.NodeID]graph.NodeID{graph.Input: graph.Input}}
	p.to.Net.Options = slices.Clone(g.Net.Options)
	for _, n := range p.wanted() {
		if err := p.add(n); err != nil {
			return nil, nil, err
		}
	}
	if err := p.to.Infer(); err != nil {
		return nil, nil, err
	}
	p.noteNet()
	switch reader {
	case ForAny:
		p.unitVariance()
	case ForOpenCV:
		p.shiftVariance()
	}
	return p.to, p.changes, nil
}

// porter copies a graph node by node.
type porter struct {
	from, to *graph.Graph
	reader   Reader
	openCV   bool                          // it has to suit OpenCV
	at       map[graph.NodeID]graph.NodeID // from old numbers to new ones
	changes  []Change
}

func (p *porter) note(n *graph.Node, format string, args ...any) {
	layer := graph.Input
	if n != nil {
		layer = n.ID
	}
	p.changes = append(p.changes, Change{layer, fmt.Sprintf(format, args...)})
}

func refuse(n *graph.Node, format string, args ...any) error {
	return &UnsupportedError{Line: n.Line, Msg: fmt.Sprintf("%v: %s", n, fmt.Sprintf(format, args...))}
}

// wanted returns the nodes to copy: for OpenCV those up to the last head, since
// no detection depends on the others, such as [contrastive], and OpenCV would
// make outputs of them.
func (p *porter) wanted() []*graph.Node {
	heads := p.from.Heads()
	if !p.openCV || len(heads) == 0 {
		return p.from.Nodes
	}
	last := heads[len(heads)-1].ID
	if after := p.from.Nodes[last+1:]; len(after) > 0 {
		p.note(after[0], "%d layers after the last [yolo] are left out: no detection depends on them", len(after))
	}
	return p.from.Nodes[:last+1]
}

func (p *porter) add(n *graph.Node) error {
	if err := p.checkDarknet(n); err != nil {
		return err
	}
	if p.openCV {
		if err := p.checkOpenCV(n); err != nil {
			return err
		}
		n = p.withoutMisread(n)
		switch o := n.Op.(type) {
		case *graph.Shortcut:
			if len(n.Inputs) > 2 {
				p.chain(n, o)
				return nil
			}
		case *graph.Route:
			if len(n.Inputs) > 1 && o.Groups > 1 {
				p.slices(n, o)
				return nil
			}
		case *graph.Silence:
			p.note(n, "[%s] is written as a route to the layer before it: OpenCV does not know it", n.Op.Kind())
			p.copy(n).Op = &graph.Route{Groups: 1}
			return nil
		}
	}
	p.copy(n)
	return nil
}

// copy adds a copy of n that reads the copies of what n reads. The vectors of
// the weights are n's own.
func (p *porter) copy(n *graph.Node) *graph.Node {
	bare := *n
	bare.Weights = nil
	c := bare.Clone()
	if n.Weights != nil {
		w := *n.Weights
		c.Weights = &w
	}
	c.ID = graph.NodeID(len(p.to.Nodes))
	if n.Shares() {
		p.share(n, c)
	}
	for i, in := range c.Inputs {
		c.Inputs[i] = p.at[in]
	}
	for i, m := range c.Mentions {
		c.Mentions[i].Layer = p.at[m.Layer]
	}
	p.to.Nodes = append(p.to.Nodes, c)
	p.at[n.ID] = c.ID
	return c
}

// share has c, the copy of n, use the weights of the copy of n's owner. For
// OpenCV it gets them as its own.
func (p *porter) share(n, c *graph.Node) {
	owner := p.from.Owner(n).ID
	if p.openCV {
		p.note(n, "gets a copy of the weights of layer %d, which it shares: OpenCV does not know share_index", owner)
		c.Conv().Back = 0
		return
	}
	c.Conv().Back = int(c.ID - p.at[owner])
	c.Weights = p.to.Nodes[p.at[owner]].Weights
}

// chain writes a sum of several layers as sums of two, of which the last has the
// activation.
func (p *porter) chain(n *graph.Node, o *graph.Shortcut) {
	p.note(n, "a sum of %d layers is written as %d sums of two: OpenCV reads only the first of a list", len(n.Inputs), len(n.Inputs)-1)
	last := p.at[n.Inputs[0]]
	for i, in := range n.Inputs[1:] {
		c := p.copy(n)
		c.Inputs = []graph.NodeID{last, p.at[in]}
		if i < len(n.Inputs)-2 {
			c.Op = &graph.Shortcut{Activation: graph.Linear}
		} else {
			c.Op = &graph.Shortcut{Activation: o.Activation}
		}
		last = c.ID
	}
}

// slices writes a route that takes a slice of several layers as a route for
// each, and one that joins them.
func (p *porter) slices(n *graph.Node, o *graph.Route) {
	p.note(n, "slices of %d layers are taken one by one and joined: OpenCV misreads a list with groups", len(n.Inputs))
	var parts []graph.NodeID
	for _, in := range n.Inputs {
		c := p.copy(n)
		c.Inputs = []graph.NodeID{p.at[in]}
		parts = append(parts, c.ID)
	}
	joined := p.copy(n)
	joined.Op, joined.Inputs = &graph.Route{Groups: 1}, parts
}

// checkDarknet refuses what Darknet gets wrong, or notes what it does where its
// code for GPUs is right.
func (p *porter) checkDarknet(n *graph.Node) error {
	if p.reader == ForOpenCV {
		return nil
	}
	if o := n.Conv(); o != nil && o.Size == 1 && o.Stride == 1 && o.Pad > 0 {
		const what = "Darknet's CPU code ignores the padding of size=1 (its GPU code does not)"
		if p.reader == ForAny {
			return refuse(n, what+": export --for darknet or opencv")
		}
		p.note(n, what)
	}
	if p.reader == ForDarknet {
		p.noteDarknet(n)
	}
	if _, ok := n.Op.(*graph.Shortcut); ok {
		return p.checkUnequal(n)
	}
	return nil
}

func (p *porter) noteDarknet(n *graph.Node) {
	if activation(n) == graph.Relu6 {
		p.note(n, "Darknet's CPU code makes zeros of relu6 (its GPU code does not)")
	}
	if _, loss := n.Op.(*graph.Contrastive); !loss && p.readsHead(n) {
		p.note(n, "reads a [yolo], which hands on decoded values in Darknet, but what it reads in this program: the two differ")
	}
}

func (p *porter) readsHead(n *graph.Node) bool {
	return slices.ContainsFunc(n.Inputs, func(id graph.NodeID) bool { return id != graph.Input && p.from.Nodes[id].Yolo() != nil })
}

// checkUnequal refuses the sums that Darknet's CPU code gets wrong. Where they
// are to be written as sums of two, any of their sources may be the case.
func (p *porter) checkUnequal(n *graph.Node) error {
	for _, in := range n.Inputs[1:] {
		two := *n
		if p.openCV {
			two.Inputs = []graph.NodeID{n.Inputs[0], in}
		}
		if overreads(p.from, &two) {
			return refuse(n, "Darknet's CPU code reads past the end of layer %d here, which has fewer channels than its input and this sum: give the two layers equal channels", in)
		}
		if c := p.from.ShapeOf(in).C; c != n.Out.C {
			p.note(n, "adds %d channels to %d: Darknet and OpenCV add those that both have, other readers refuse that", c, n.Out.C)
		}
	}
	return nil
}

// checkOpenCV refuses what OpenCV does not run or misreads.
func (p *porter) checkOpenCV(n *graph.Node) error {
	switch o := n.Op.(type) {
	case *graph.Conv:
		if o.Extent() != o.Size {
			return refuse(n, "OpenCV computes it without the dilation of %d: export --for darknet", o.Dilation)
		}
	case *graph.LocalAvgPool, *graph.Reorg3D, *graph.Contrastive:
		return refuse(n, "OpenCV does not know [%s]: export --for darknet", n.Op.Kind())
	case *graph.ScaleChannels:
		if o.ScaleWH {
			return refuse(n, "OpenCV does not run scale_wh=1: export --for darknet")
		}
	case *graph.Shortcut:
		if o.Scaling != graph.NoScaling {
			return refuse(n, "OpenCV does not read the weights of a shortcut, and misreads all that follow: export --for darknet")
		}
	case *graph.Yolo:
		if o.NewCoords {
			p.note(n, "with new_coords OpenCV 4.6 fills the objectness column with garbage: read boxes and class scores, which are right")
		}
	}
	if activation(n) == graph.Relu6 {
		return refuse(n, "OpenCV does not know activation=relu6: export --for darknet")
	}
	if p.readsHead(n) {
		return refuse(n, "reads a [yolo], whose output has another shape in OpenCV: read the layer before the [yolo]")
	}
	return nil
}

// withoutMisread returns n without the options that Darknet does not read and
// OpenCV does.
func (p *porter) withoutMisread(n *graph.Node) *graph.Node {
	_, sum := n.Op.(*graph.Shortcut)
	c := *n
	c.Options = nil
	for _, o := range n.Options {
		if o.Key == "activation" || sum && (o.Key == "alpha" || o.Key == "beta") {
			p.note(n, "%s=%s is left out: Darknet does not read it here, and OpenCV does", o.Key, o.Value)
			continue
		}
		c.Options = append(c.Options, o)
	}
	return &c
}

func activation(n *graph.Node) graph.Activation {
	switch o := n.Op.(type) {
	case *graph.Conv:
		return o.Activation
	case *graph.Shortcut:
		return o.Activation
	case *graph.ScaleChannels:
		return o.Activation
	case *graph.SAM:
		return o.Activation
	}
	return graph.Linear
}

// noteNet points out what a reader does not do with the image.
func (p *porter) noteNet() {
	if v, ok := graph.Lookup(p.from.Net.Options, "letter_box"); ok && v != "0" && p.openCV {
		p.note(nil, "letter_box=1 is not heeded by OpenCV: fit the image with its aspect kept, gray around it, before you hand it over")
	}
}

// unitVariance scales every filter whose running variance is below one so that
// the variance becomes one, which changes nothing for Darknet:
//
//	s = 1/sqrt(var+eps)   W' = s*W   mean' = s*mean   var' = 1-eps
//
// Channels of tiny variance, which sparsity training leaves, would differ by a
// factor of up to three in OpenCV; with var' near one the two agree to 5e-6.
func (p *porter) unitVariance() {
	filters, layers := 0, 0
	for _, n := range p.to.Convs() {
		if n.Weights == nil {
			continue
		}
		if k := scaleFilters(n.Weights); k > 0 {
			filters, layers = filters+k, layers+1
		}
	}
	if filters > 0 {
		p.note(nil, "the kernels of %d filters in %d layers are scaled to a variance of one: OpenCV adds another epsilon to variances", filters, layers)
	}
}

// scaleFilters returns how many filters it scaled.
func scaleFilters(w *graph.Weights) int {
	if !slices.ContainsFunc(w.Var, func(v float32) bool { return float64(v)+graph.BatchNormEps < 1 }) {
		return 0
	}
	w.Kernel, w.Mean, w.Var = slices.Clone(w.Kernel), slices.Clone(w.Mean), slices.Clone(w.Var)
	per, count := len(w.Kernel)/len(w.Bias), 0
	for k := range w.Var {
		v := float64(w.Var[k]) + graph.BatchNormEps
		if v >= 1 {
			continue
		}
		s := 1 / math.Sqrt(v)
		for i := k * per; i < (k+1)*per; i++ {
			w.Kernel[i] = float32(float64(w.Kernel[i]) * s)
		}
		w.Mean[k] = float32(float64(w.Mean[k]) * s)
		w.Var[k] = 1 - graph.BatchNormEps
		count++
	}
	return count
}

// VarianceShift is what a network for OpenCV has more in its variances: Darknet
// adds 1e-5 to them in a batch norm, OpenCV 4.6 adds 1e-6.
const VarianceShift = graph.BatchNormEps - 1e-6

// shiftVariance makes OpenCV's batch norms Darknet's.
func (p *porter) shiftVariance() {
	shifted := false
	for _, n := range p.to.Convs() {
		if n.Weights == nil {
			continue
		}
		n.Weights.Var = slices.Clone(n.Weights.Var)
		for k, v := range n.Weights.Var {
			n.Weights.Var[k] = float32(float64(v) + VarianceShift)
			shifted = true
		}
	}
	if shifted {
		p.note(nil, "variances are raised by 9e-6, the difference between Darknet's epsilon and OpenCV's: these weights are for OpenCV only")
	}
}
