package darknet

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"yoloprune/yolo/graph"
)

// parser builds a graph, one section after the other.
type parser struct {
	file string
	g    *graph.Graph
}

// layers has the parser of every kind of section that can be run. It returns
// the operation and the layers that it reads.
var layers = map[string]func(*parser, *section) (graph.Op, []graph.NodeID){
	"convolutional":  (*parser).conv,
	"maxpool":        (*parser).maxPool,
	"local_avgpool":  (*parser).localAvgPool,
	"avgpool":        (*parser).avgPool,
	"upsample":       (*parser).upsample,
	"shortcut":       (*parser).shortcut,
	"route":          (*parser).route,
	"scale_channels": (*parser).scaleChannels,
	"sam":            (*parser).sam,
	"dropout":        (*parser).dropout,
	"reorg3d":        (*parser).reorg3D,
	"reorg":          (*parser).reorg,
	"silence":        (*parser).silence,
	"contrastive":    (*parser).contrastive,
	"yolo":           (*parser).yolo,
}

// Decode reads a cfg; name is its file's name for messages. The graph has
// shapes and the text that it came from, but no weights. Warnings may come with
// an error too.
//
// Options that only matter to training, and unknown ones, are carried in the
// nodes. Options and sections that change inference and that are not run are
// an *UnsupportedError; a cfg that makes no sense is a *FormatError.
func Decode(name string, r io.Reader) (*graph.Graph, []Warning, error) {
	text, err := readText(name, r)
	if err != nil {
		return nil, nil, err
	}
	var warnings []Warning
	g, _, err := decodeText(name, text, &warnings)
	slices.SortStableFunc(warnings, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return g, warnings, err
}

// decodeText also returns the sections, that of [net] first and then one for each
// node.
func decodeText(name, text string, warnings *[]Warning) (*graph.Graph, []*section, error) {
	sections, err := lex(name, text, warnings)
	if err != nil {
		return nil, nil, err
	}
	p := &parser{name, &graph.Graph{Source: text}}
	if err := p.parse(sections); err != nil {
		return nil, nil, err
	}
	return p.g, sections, nil
}

func (p *parser) parse(sections []*section) error {
	if len(sections) == 0 {
		return &FormatError{p.file, 0, "has no sections: a cfg starts with [net]"}
	}
	first := sections[0]
	if first.kind() != "net" {
		return &FormatError{p.file, first.line, fmt.Sprintf("the first section is %.40q: a cfg starts with [net]", first.name)}
	}
	if err := p.net(first); err != nil {
		return err
	}
	if len(sections) == 1 {
		return &FormatError{p.file, first.line, "[net] stands alone: add the sections of the layers"}
	}
	for _, s := range sections[1:] {
		if err := p.layer(s); err != nil {
			return err
		}
	}
	if err := p.infer(); err != nil {
		return err
	}
	for i, n := range p.g.Nodes {
		if err := p.checkShapes(sections[i+1], n); err != nil {
			return err
		}
	}
	return nil
}

// checkShapes looks at what depends on the shapes and the graph allows.
func (p *parser) checkShapes(s *section, n *graph.Node) error {
	p.warnOfDecoded(s, n)
	switch o := n.Op.(type) {
	case *graph.Conv:
		if o.Size == 1 && o.Stride == 1 && o.Pad > 0 {
			s.warn(n.Line, "size=1 with padding=%d: the frame is computed as for larger kernels; Darknet's CPU code leaves it out and is wrong", o.Pad)
		}
	case *graph.Shortcut:
		p.warnOfUnequal(s, n)
		if o.Scaling == graph.PerChannel && len(n.Inputs) > graph.MaxKernel/n.Out.C {
			return &FormatError{p.file, n.Line, fmt.Sprintf("%v: weights of %d layers with %d channels each are over the limit of %d", n, len(n.Inputs), n.Out.C, graph.MaxKernel)}
		}
	}
	return nil
}

// warnOfDecoded points at a layer that goes on from a [yolo], which is its own
// input here; Darknet hands on the decoded values, OpenCV a list of boxes.
func (p *parser) warnOfDecoded(s *section, n *graph.Node) {
	if _, ok := n.Op.(*graph.Contrastive); ok {
		return
	}
	for _, id := range n.Inputs {
		if id != graph.Input && p.g.Nodes[id].Yolo() != nil {
			s.warn(n.Line, "%v reads layer %d, a [yolo]: Darknet hands it the decoded values, here it reads what the [yolo] reads; put a [route] to another layer before it", n, id)
		}
	}
}

// warnOfUnequal points at a shortcut over unequal channel counts.
func (p *parser) warnOfUnequal(s *section, n *graph.Node) {
	for _, in := range n.Inputs[1:] {
		c := p.g.ShapeOf(in).C
		if c != n.Out.C {
			s.warn(s.lineOf("from"), "adds %d channels to %d: the channels that both have are added, as in Darknet and OpenCV; other readers refuse that", c, n.Out.C)
		}
		if overreads(p.g, n) {
			s.warn(s.lineOf("from"), "Darknet's CPU code reads past the end of %v here, since that reads as many channels as the layer before has: make the channel counts equal", p.g.Nodes[in])
		}
	}
}

// overreads says whether Darknet's CPU code takes a shortcut, whose source has
// fewer channels, for one of equal shapes: it compares the source's input with the layer before, not its
// output, if there is one source and no weights (src/shortcut_layer.c,
// forward_shortcut_layer).
func overreads(g *graph.Graph, n *graph.Node) bool {
	if len(n.Inputs) != 2 || n.Op.(*graph.Shortcut).Scaling != graph.NoScaling {
		return false
	}
	source := g.Nodes[n.Inputs[1]]
	return source.Conv() != nil && source.Out.C < n.Out.C && g.ShapeOf(source.Inputs[0]) == n.Out
}

// kind returns a section's long name without the brackets.
func (s *section) kind() string {
	if long, ok := aliases[s.name]; ok {
		return long
	}
	return s.name[1 : len(s.name)-1]
}

func (p *parser) net(s *section) error {
	n := &p.g.Net
	n.Width, n.Height, n.Channels = s.int("width", 0), s.int("height", 0), s.int("channels", 0)
	size := float64(n.Width) * float64(n.Height) * float64(n.Channels)
	switch {
	case n.Width < 1 || n.Height < 1 || n.Channels < 1:
		s.fail(s.line, "[net] has width %d, height %d, channels %d: all three must be given and positive", n.Width, n.Height, n.Channels)
	case size > graph.MaxActivation:
		s.fail(s.line, "[net] has width %d, height %d, channels %d: that is over %d values: lower them", n.Width, n.Height, n.Channels, graph.MaxActivation)
	}
	if inputs := s.int("inputs", 0); inputs != 0 && float64(inputs) != size {
		s.fail(s.lineOf("inputs"), "inputs=%d is not width*height*channels: delete the line", inputs)
	}
	s.checkNeutral("net")
	s.checkSteps()
	n.Options = s.rest("net")
	return s.err
}

// checkSteps warns of a learning rate's schedule on which Darknet stops or
// reads past the end of the list.
func (s *section) checkSteps() {
	policy, steps, scales := s.peek("policy"), s.peek("steps"), s.peek("scales")
	switch {
	case policy == nil || policy.value != "steps":
	case steps == nil || scales == nil:
		s.warn(policy.line, "policy=steps needs both steps and scales: Darknet stops without")
	default:
		if a, b := strings.Count(steps.value, ",")+1, strings.Count(scales.value, ",")+1; a != b {
			s.warn(scales.line, "scales has %d numbers, steps %d: make them equal, for Darknet reads past the end of the shorter", b, a)
		}
	}
}

func (p *parser) layer(s *section) error {
	kind := s.kind()
	parse, ok := layers[kind]
	switch {
	case kind == "net":
		return &FormatError{p.file, s.line, "a second [net]: it may only stand first"}
	case otherSections[kind]:
		return &UnsupportedError{p.file, s.line, fmt.Sprintf("section %s is not supported: supported are %v: use a network of these", s.name, slices.Sorted(maps.Keys(layers)))}
	case !ok:
		return &FormatError{p.file, s.line, fmt.Sprintf("section %.40q is unknown: known are %v, with small and capital letters as here", s.name, slices.Sorted(maps.Keys(layers)))}
	}
	op, inputs := parse(p, s)
	mentions := p.mentions(s, kind)
	s.checkNeutral(kind)
	options := s.rest(kind)
	if s.err != nil {
		return s.err
	}
	n := p.g.Add(op, inputs...)
	n.Line, n.Options, n.Mentions = s.line, options, mentions
	return nil
}

// checkNeutral refuses the options that change inference and are not run.
func (s *section) checkNeutral(kind string) {
	for _, o := range s.options {
		if what, ok := absent[kind][o.key]; ok {
			s.unsupported(o.line, "%s=%.40s is not supported in %s: %s cannot be run: delete the line and train anew", o.key, o.value, s.name, what)
		}
		want, ok := neutralValue(kind, o.key)
		if !ok || o.used {
			continue
		}
		if v, err := parseFloat(o.value); err != nil {
			s.fail(o.line, "%s: %v: write it as in %s=%v", o.key, err, o.key, want)
		} else if v != want {
			s.unsupported(o.line, "%s=%s is not supported in %s: only %s=%v can be run: change it and train anew", o.key, o.value, s.name, o.key, want)
		}
	}
}

func (p *parser) prev() []graph.NodeID { return []graph.NodeID{graph.NodeID(len(p.g.Nodes)) - 1} }

// infer computes the shapes and gives a misfit its position.
func (p *parser) infer() error {
	err := p.g.Infer()
	if err == nil {
		return nil
	}
	var layer *graph.LayerError
	if !errors.As(err, &layer) {
		return &FormatError{p.file, 0, err.Error()}
	}
	return &FormatError{p.file, layer.Node.Line, fmt.Sprintf("%v: %v", layer.Node, layer.Err)}
}
