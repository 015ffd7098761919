package darknet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"yoloprune/yolo/graph"
)

func (p *parser) conv(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Conv{
		Filters: s.int("filters", 1), Size: s.int("size", 1), Stride: s.convStride(), Pad: s.int("padding", 0),
		Groups: max(1, s.int("groups", 1)), BatchNorm: s.flag("batch_normalize"),
		Activation: s.activation(graph.Logistic),
	}
	if s.flag("pad") {
		o.Pad = o.Size / 2
	}
	if s.peek("activation") == nil {
		s.warn(s.line, "has no activation: Darknet's default, logistic, is used; OpenCV's is linear")
	}
	s.dilate(o)
	o.Back = p.shareIndex(s)
	return o, p.prev()
}

// dilate reads the dilation and widens the padding by it, as Darknet does. A
// single tap is never dilated.
//
// Darknet takes the output's size from the kernel as if it were not dilated,
// (H + 2*padding - size)/stride + 1 (src/convolutional_layer.c,
// convolutional_out_height), and computes with a padding of padding*dilation.
// The two agree if size-1 = 2*padding only.
func (s *section) dilate(o *graph.Conv) {
	if given := s.peek("dilation"); given != nil && o.Size == 1 {
		given.used = true
		return
	}
	d := s.int("dilation", 1)
	switch {
	case d < 1:
		s.fail(s.lineOf("dilation"), "dilation=%d: must be at least 1", d)
	case d == 1:
	case o.Size-1 != 2*o.Pad:
		s.unsupported(s.lineOf("dilation"), "dilation=%d with size=%d and padding=%d is not supported: Darknet takes the output's size from the kernel without dilation, which fits an odd size with padding=(size-1)/2 only: write pad=1 and an odd size",
			d, o.Size, o.Pad)
	default:
		o.Dilation, o.Pad = d, o.Pad*d
	}
}

// shareIndex returns how many layers before this one the convolution stands
// whose weights it uses, 0 without share_index.
func (p *parser) shareIndex(s *section) int {
	if s.peek("share_index") == nil {
		return 0
	}
	list := p.reference(s, "share_index")
	if len(list) == 0 {
		return 0
	}
	n := p.g.Nodes[list[0]]
	if n.Shares() {
		s.unsupported(s.lineOf("share_index"), "share_index names layer %d, which itself uses the weights of layer %d: name that one", n.ID, p.g.Owner(n).ID)
	}
	return len(p.g.Nodes) - int(n.ID)
}

// convStride reads stride with its two directions, where less than 1 stands for
// stride.
func (s *section) convStride() int {
	stride := s.int("stride", 1)
	x, y := s.int("stride_x", 0), s.int("stride_y", 0)
	if x < 1 {
		x = stride
	}
	if y < 1 {
		y = stride
	}
	return s.equalStrides(x, y)
}

func (s *section) equalStrides(x, y int) int {
	if x != y {
		key := "stride_x"
		if s.peek(key) == nil {
			key = "stride_y"
		}
		s.unsupported(s.lineOf(key), "stride_x=%d with stride_y=%d is not supported: only equal strides can be run: change them and train anew", x, y)
	}
	return x
}

func (p *parser) maxPool(s *section) (graph.Op, []graph.NodeID) {
	o := graph.MaxPool(s.pool())
	return &o, p.prev()
}

// pool reads a pooling window.
func (s *section) pool() graph.LocalAvgPool {
	stride := s.int("stride", 1)
	size := s.int("size", stride)
	return graph.LocalAvgPool{
		Size: size, Stride: s.equalStrides(s.int("stride_x", stride), s.int("stride_y", stride)), Padding: s.int("padding", size-1),
	}
}

func (p *parser) upsample(s *section) (graph.Op, []graph.NodeID) {
	stride := s.int("stride", 2)
	if stride < 0 {
		s.unsupported(s.lineOf("stride"), "stride=%d is not supported in %s: only enlarging can be run: use a positive stride", stride, s.name)
	}
	return &graph.Upsample{Stride: stride}, p.prev()
}

func (p *parser) avgPool(*section) (graph.Op, []graph.NodeID) { return &graph.AvgPool{}, p.prev() }

func (p *parser) localAvgPool(s *section) (graph.Op, []graph.NodeID) {
	o := s.pool()
	return &o, p.prev()
}

// scalings and normalizations have the other names that Darknet takes.
var (
	scalings = map[string]graph.Scaling{
		"none": graph.NoScaling, "per_feature": graph.PerFeature, "per_layer": graph.PerFeature, "per_channel": graph.PerChannel,
	}
	normalizations = map[string]graph.Normalization{
		"none": "", "relu": graph.NormRelu, "avg_relu": graph.NormRelu, "softmax": graph.NormSoftmax,
	}
)

func (p *parser) shortcut(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Shortcut{Activation: s.activation(graph.Linear)}
	weights := s.choice("weights_type", "none", slices.Sorted(maps.Keys(scalings)))
	norm := s.choice("weights_normalization", "none", slices.Sorted(maps.Keys(normalizations)))
	o.Scaling, o.Normalization = scalings[weights], normalizations[norm]
	switch {
	case o.Scaling != graph.NoScaling && o.Normalization == "":
		s.fail(s.lineOf("weights_type"), "weights_type=%s has no weights_normalization, and Darknet stops at that too: add weights_normalization=relu or softmax, as it was trained", weights)
	case o.Scaling == graph.NoScaling && o.Normalization != "":
		s.warn(s.lineOf("weights_normalization"), "weights_normalization=%s has no effect without weights_type", norm)
		o.Normalization = ""
	}
	return o, slices.Concat(p.prev(), p.sources(s, "from"))
}

func (p *parser) scaleChannels(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.ScaleChannels{Activation: s.productActivation(), ScaleWH: s.flag("scale_wh")}
	return o, slices.Concat(p.prev(), p.reference(s, "from"))
}

func (p *parser) sam(s *section) (graph.Op, []graph.NodeID) {
	return &graph.SAM{Activation: s.productActivation()}, slices.Concat(p.prev(), p.reference(s, "from"))
}

func (p *parser) dropout(s *section) (graph.Op, []graph.NodeID) {
	return &graph.Dropout{Probability: s.within("probability", .2, 0, 1)}, p.prev()
}

func (p *parser) reorg3D(s *section) (graph.Op, []graph.NodeID) {
	return &graph.Reorg3D{Stride: s.int("stride", 1), Reverse: s.flag("reverse")}, p.prev()
}

func (p *parser) reorg(s *section) (graph.Op, []graph.NodeID) {
	for _, key := range []string{"reverse", "flatten", "extra"} {
		if s.int(key, 0) != 0 {
			s.unsupported(s.lineOf(key), "%s is not supported in [reorg]: only the form without it can be run: use reorg3d, or delete the line", key)
		}
	}
	return &graph.Reorg{Stride: s.int("stride", 1)}, p.prev()
}

func (p *parser) silence(*section) (graph.Op, []graph.NodeID) { return &graph.Silence{}, p.prev() }

func (p *parser) contrastive(s *section) (graph.Op, []graph.NodeID) {
	return &graph.Contrastive{Classes: s.int("classes", 1000)}, p.prev()
}

func (p *parser) route(s *section) (graph.Op, []graph.NodeID) {
	o := &graph.Route{Groups: s.int("groups", 1), GroupID: s.int("group_id", 0)}
	return o, p.sources(s, "layers")
}

// mentioned are the options that name a layer for training only.
var mentioned = map[string]string{"yolo": "embedding_layer", "contrastive": "yolo_layer"}

func (p *parser) mentions(s *section, kind string) []graph.Mention {
	key := mentioned[kind]
	if key == "" || s.peek(key) == nil && kind != "contrastive" {
		return nil
	}
	var out []graph.Mention
	for _, id := range p.reference(s, key) {
		out = append(out, graph.Mention{Key: key, Layer: id})
		if n := p.g.Nodes[id]; kind == "contrastive" && n.Yolo() == nil {
			s.fail(s.lineOf(key), "%s names %v: Darknet stops unless it is a [yolo]", key, n)
		}
	}
	return out
}

// reference reads a list that has to name one layer.
func (p *parser) reference(s *section, key string) []graph.NodeID {
	list := p.references(s, key)
	if len(list) > 1 {
		s.fail(s.lineOf(key), "%s names %d layers: want one", key, len(list))
		return nil
	}
	return list
}

// sources reads a list of several layers. Darknet counts the commas of the
// whole line, so that one in a comment brings in another layer, number 0 as a
// rule.
func (p *parser) sources(s *section, key string) []graph.NodeID {
	if o := s.peek(key); o != nil && strings.Contains(o.comment, ",") {
		s.fail(o.line, "%s: a comment with a comma stands behind the list, and Darknet counts that as one more layer: give the comment its own line", key)
	}
	return p.references(s, key)
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
		id := resolve(v, here)
		if id < 0 || int(id) >= here {
			s.fail(s.lineOf(key), "%s: %d is layer %d, but this is layer %d and only earlier ones can be read%s", key, v, id, here, allowed(here))
			return nil
		}
		out = append(out, id)
	}
	return out
}

// resolve returns the layer that a reference in layer here means.
func resolve(reference, here int) graph.NodeID {
	if reference < 0 {
		return graph.NodeID(here + reference)
	}
	return graph.NodeID(reference)
}

func allowed(here int) string {
	if here == 0 {
		return ": put a layer before it"
	}
	return fmt.Sprintf(": write -%d to -1, counted from here, or 0 to %d", here, here-1)
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
	for _, m := range o.Mask {
		if m < 0 || m >= len(o.Anchors) {
			s.fail(s.lineOf("mask"), "mask names anchor %d, but num=%d: anchors are counted from 0 to %d", m, len(o.Anchors), len(o.Anchors)-1)
		}
	}
	for _, n := range yoloNumbers {
		*n.field(o) = s.float(n.key, n.standard)
	}
	if o.ScaleXY <= 0 {
		s.fail(s.lineOf("scale_x_y"), "scale_x_y=%v: must be positive: 1 is the standard", o.ScaleXY)
	}
	return o, p.prev()
}

// anchors reads pairs of width and height. Darknet fills missing ones with .5
// and writes surplus ones past the end of its array; here their number must be
// num.
func (s *section) anchors() [][2]float64 {
	num, list := s.int("num", 1), s.floats("anchors")
	line := s.lineOf("anchors")
	if len(list) != 2*num {
		s.fail(line, "anchors has %d numbers: num=%d needs %d, a width and a height for each", len(list), num, 2*num)
		return nil
	}
	var out [][2]float64
	for i := 0; i < len(list); i += 2 {
		if float32(list[i]) <= 0 || float32(list[i+1]) <= 0 {
			s.fail(line, "anchors: anchor %d is %vx%v: both sides must be positive", i/2, list[i], list[i+1])
		}
		out = append(out, [2]float64{list[i], list[i+1]})
	}
	return out
}
