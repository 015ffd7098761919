package darknet

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

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
// shapes, but no weights. Warnings may come with an error too.
//
// Options that only matter to training, and unknown ones, are carried in the
// nodes. Options and sections that change inference and that are not run are
// an *UnsupportedError; a cfg that makes no sense is a *FormatError.
func Decode(name string, r io.Reader) (*graph.Graph, []Warning, error) {
	var warnings []Warning
	sections, err := lex(name, r, &warnings)
	if err == nil {
		p := &parser{name, &graph.Graph{}}
		if err = p.parse(sections); err == nil {
			return p.g, inLineOrder(warnings), nil
		}
	}
	return nil, inLineOrder(warnings), err
}

func inLineOrder(w []Warning) []Warning {
	slices.SortStableFunc(w, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return w
}

func (p *parser) parse(sections []*section) error {
	if len(sections) == 0 {
		return &FormatError{p.file, 0, "has no sections: a cfg starts with [net]"}
	}
	if first := sections[0]; first.kind() != "net" {
		return &FormatError{p.file, first.line, fmt.Sprintf("the first section is %.40s: a cfg starts with [net]", first.name)}
	}
	if err := p.net(sections[0]); err != nil {
		return err
	}
	for _, s := range sections[1:] {
		if err := p.layer(s); err != nil {
			return err
		}
	}
	if err := p.infer(); err != nil {
		return err
	}
	p.warnOfUnequal(sections[1:])
	return nil
}

// warnOfUnequal points at shortcuts over unequal channel counts: Darknet and
// OpenCV add the channels that both have, other readers refuse the network.
// With one source whose convolution reads as many channels as the layer before
// has, Darknet's CPU code takes a shortcut of its own and reads past the end
// (src/blas.c, shortcut_multilayer_cpu).
func (p *parser) warnOfUnequal(sections []*section) {
	for i, n := range p.g.Nodes {
		if _, ok := n.Op.(*graph.Shortcut); !ok {
			continue
		}
		for _, in := range n.Inputs[1:] {
			if c := p.g.ShapeOf(in).C; c != n.Out.C {
				sections[i].warn(n.Line, "adds %d channels to %d: the channels that both have are added, as in Darknet and OpenCV; other readers refuse that", c, n.Out.C)
			}
		}
	}
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
	if n.Width < 1 || n.Height < 1 || n.Channels < 1 {
		s.fail(s.line, "[net] has width %d, height %d, channels %d: all three must be given and positive", n.Width, n.Height, n.Channels)
	}
	if inputs := s.int("inputs", 0); inputs != 0 && float64(inputs) != float64(n.Width)*float64(n.Height)*float64(n.Channels) {
		s.fail(s.peek("inputs").line, "inputs=%d is not width*height*channels: delete the line", inputs)
	}
	s.checkNeutral("net")
	n.Options = s.rest("net")
	return s.err
}

func (p *parser) layer(s *section) error {
	kind := s.kind()
	parse, ok := layers[kind]
	if kind == "net" {
		return &FormatError{p.file, s.line, "a second [net]: it may only stand first"}
	}
	if !ok {
		return &UnsupportedError{p.file, s.line, fmt.Sprintf("section %.40s is not supported: supported are %v", s.name, slices.Sorted(maps.Keys(layers)))}
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
			s.unsupported(o.line, "%s=%.40s is not supported: %s cannot be run", o.key, o.value, what)
		}
		want, ok := neutralValue(kind, o.key)
		if !ok || o.used {
			continue
		}
		if v, err := parseFloat(o.value); err != nil {
			s.fail(o.line, "%s: %v: want a number", o.key, err)
		} else if v != want {
			s.unsupported(o.line, "%s=%s is not supported: only %s=%v can be run", o.key, o.value, o.key, want)
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
