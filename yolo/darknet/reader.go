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
	"convolutional": (*parser).conv,
	"maxpool":       (*parser).maxPool,
	"upsample":      (*parser).upsample,
	"shortcut":      (*parser).shortcut,
	"route":         (*parser).route,
	"yolo":          (*parser).yolo,
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
	return p.infer()
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
	s.checkNeutral(kind)
	options := s.rest(kind)
	if s.err != nil {
		return s.err
	}
	n := p.g.Add(op, inputs...)
	n.Line, n.Options = s.line, options
	return nil
}

// checkNeutral refuses the options that change inference and are not run.
func (s *section) checkNeutral(kind string) {
	for _, o := range s.options {
		if what, ok := absent[kind][o.key]; ok {
			s.unsupported(o.line, "%s=%.40s is not supported: %s cannot be run", o.key, o.value, what)
		}
		want, ok := neutral[kind][o.key]
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

func (p *parser) conv(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Conv{
		Filters: s.int("filters", 1), Size: s.int("size", 1), Stride: s.stride(1), Pad: s.int("padding", 0),
		Groups: max(1, s.int("groups", 1)), BatchNorm: s.flag("batch_normalize"),
		Activation: s.activation(graph.Logistic),
	}
	if s.flag("pad") {
		o.Pad = o.Size / 2
	}
	if s.peek("activation") == nil {
		s.warn(s.line, "has no activation: Darknet's default, logistic, is used; OpenCV's is linear")
	}
	if o.Size == 1 {
		s.discard("dilation") // Darknet does not dilate a single tap
	}
	return o, p.prev()
}

// stride reads stride with its two directions, which must agree.
func (s *section) stride(standard int) int {
	stride := s.int("stride", standard)
	x, y := s.int("stride_x", 0), s.int("stride_y", 0)
	if x < 1 {
		x = stride
	}
	if y < 1 {
		y = stride
	}
	if x != y {
		s.unsupported(s.line, "stride_x=%d with stride_y=%d is not supported: only equal strides can be run", x, y)
	}
	return x
}

// discard drops an option that has no effect where it stands.
func (s *section) discard(key string) {
	if o := s.peek(key); o != nil {
		o.used = true
	}
}

func (p *parser) maxPool(s *section) (graph.Op, []graph.NodeID) {
	stride := s.stride(1)
	size := s.int("size", stride)
	return &graph.MaxPool{Size: size, Stride: stride, Padding: s.int("padding", size-1)}, p.prev()
}

func (p *parser) upsample(s *section) (graph.Op, []graph.NodeID) {
	stride := s.int("stride", 2)
	if stride < 0 {
		s.unsupported(s.line, "stride=%d is not supported: only enlarging can be run", stride)
	}
	return &graph.Upsample{Stride: stride}, p.prev()
}

func (p *parser) shortcut(s *section) (graph.Op, []graph.NodeID) {
	if w, line := s.word("weights_type", "none"); w != "none" {
		s.unsupported(line, "weights_type=%.40s is not supported: only shortcuts without weights can be run", w)
	}
	o := &graph.Shortcut{Activation: s.activation(graph.Linear)}
	return o, slices.Concat(p.prev(), p.references(s, "from"))
}

func (p *parser) route(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Route{Groups: s.int("groups", 1), GroupID: s.int("group_id", 0)}
	return o, p.references(s, "layers")
}

// references reads a list of layers: counted from this one if negative, else
// from the first.
func (p *parser) references(s *section, key string) []graph.NodeID {
	list := s.ints(key)
	if list == nil {
		s.fail(s.line, "%s has no %s: name the layers that it reads", s.name, key)
		return nil
	}
	here := len(p.g.Nodes)
	var out []graph.NodeID
	for _, v := range list {
		layer := v
		if v < 0 {
			layer = here + v
		}
		if layer < 0 || layer >= here {
			s.fail(s.peek(key).line, "%s: %d is layer %d, but this is layer %d and only earlier ones can be read", key, v, layer, here)
			return nil
		}
		out = append(out, graph.NodeID(layer))
	}
	return out
}

func (p *parser) yolo(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Yolo{
		Classes: s.int("classes", 20), Anchors: s.anchors(), Mask: s.ints("mask"), NewCoords: s.flag("new_coords"),
		IoULoss: s.choice("iou_loss", "mse", iouLosses), NMSKind: s.choice("nms_kind", "default", nmsKinds),
	}
	if o.Mask == nil {
		for i := range o.Anchors {
			o.Mask = append(o.Mask, i)
		}
	}
	for _, n := range yoloNumbers {
		*n.field(o) = s.float(n.key, n.standard)
	}
	if o.ScaleXY <= 0 {
		s.fail(s.line, "scale_x_y=%v: must be positive", o.ScaleXY)
	}
	return o, p.prev()
}

// anchors reads pairs of width and height. Darknet fills missing ones with .5
// and writes surplus ones past the end of its array; here their number must be
// num.
func (s *section) anchors() [][2]float64 {
	num, list := s.int("num", 1), s.floats("anchors")
	line := s.line
	if o := s.peek("anchors"); o != nil {
		line = o.line
	}
	if len(list) != 2*num {
		s.fail(line, "anchors has %d numbers: num=%d needs %d", len(list), num, 2*num)
		return nil
	}
	var out [][2]float64
	for i := 0; i < len(list); i += 2 {
		if list[i] <= 0 || list[i+1] <= 0 {
			s.fail(line, "anchors: anchor %d is %vx%v: both sides must be positive", i/2, list[i], list[i+1])
		}
		out = append(out, [2]float64{list[i], list[i+1]})
	}
	return out
}

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
	n := layer.Node
	msg := fmt.Sprintf("%v: %v", n, layer.Err)
	if _, ok := n.Op.(*graph.Shortcut); ok && p.differInChannels(n.Inputs) {
		return &UnsupportedError{p.file, n.Line, msg + ": shortcuts of unequal channel counts cannot be run"}
	}
	return &FormatError{p.file, n.Line, msg}
}

// differInChannels says whether all inputs have the same pixels, but not the
// same channels.
func (p *parser) differInChannels(inputs []graph.NodeID) bool {
	first := p.g.ShapeOf(inputs[0])
	differ := false
	for _, id := range inputs[1:] {
		s := p.g.ShapeOf(id)
		if s.H != first.H || s.W != first.W {
			return false
		}
		differ = differ || s.C != first.C
	}
	return differ
}
