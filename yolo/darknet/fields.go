package darknet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"yoloprune/yolo/graph"
)

// field is a key of a section with the value that a node gives it.
type field struct {
	key   string
	value string // "" when the key has no effect beside the others

	// standard is what Darknet takes when the key is absent, given the values of
	// the other keys; "" when it has to stand there.
	standard string

	always bool           // written anew with the standard value too, for other readers have another one
	layers []graph.NodeID // those that a reference names; value is "" then
}

func whole(key string, v, standard int) field {
	return field{key: key, value: strconv.Itoa(v), standard: strconv.Itoa(standard)}
}

func flag(key string, on bool) field {
	if on {
		return whole(key, 1, 0)
	}
	return whole(key, 0, 0)
}

// always marks the fields that are always written.
func always(fields ...field) []field {
	for i := range fields {
		fields[i].always = true
	}
	return fields
}

func netFields(n graph.Net) []field {
	fields := always(whole("width", n.Width, 0), whole("height", n.Height, 0), whole("channels", n.Channels, 0))
	inputs := n.Width * n.Height * n.Channels
	return append(fields, whole("inputs", inputs, inputs))
}

// checkInputs refuses what a section cannot say: all but route read the layer
// before them.
func (e *encoder) checkInputs(n *graph.Node) {
	want, fits := "1", len(n.Inputs) == 1
	switch n.Op.(type) {
	case *graph.Route:
		return
	case *graph.Shortcut:
		want, fits = "2 or more", len(n.Inputs) >= 2
	case *graph.ScaleChannels, *graph.SAM:
		want, fits = "2", len(n.Inputs) == 2
	}
	if !fits {
		e.fail(n.String(), "reads %d layers, want %s", len(n.Inputs), want)
	} else if want := n.ID - 1; n.Inputs[0] != want {
		e.fail(n.String(), "reads layer %d, but in a cfg it reads layer %d: put a route before it", n.Inputs[0], want)
	}
}

// fields lists the keys of a node's section in the order of writing. The
// section is that of the text which is edited, or nil.
func (e *encoder) fields(n *graph.Node, s *section) []field {
	if e.checkInputs(n); e.err != nil {
		return nil
	}
	return append(e.opFields(n, s), e.mentions(n)...)
}

func (e *encoder) opFields(n *graph.Node, s *section) []field {
	where := n.String()
	switch o := n.Op.(type) {
	case *graph.Conv:
		return append(e.conv(where, o, s), e.shareIndex(n)...)
	case *graph.MaxPool:
		return pool(graph.LocalAvgPool(*o))
	case *graph.LocalAvgPool:
		return pool(*o)
	case *graph.Upsample:
		return always(whole("stride", o.Stride, 2))
	case *graph.Reorg:
		return always(whole("stride", o.Stride, 1))
	case *graph.Reorg3D:
		return append(always(whole("stride", o.Stride, 1)), flag("reverse", o.Reverse))
	case *graph.AvgPool, *graph.Silence:
		return nil
	case *graph.Dropout:
		return always(e.number(where, "probability", o.Probability, .2))
	case *graph.ScaleChannels:
		return append(e.product(n, o.Activation), flag("scale_wh", o.ScaleWH))
	case *graph.SAM:
		return e.product(n, o.Activation)
	case *graph.Contrastive:
		return always(whole("classes", o.Classes, 1000))
	case *graph.Shortcut:
		return e.shortcut(n, o)
	case *graph.Route:
		return e.route(n, o)
	case *graph.Yolo:
		return e.yolo(where, o)
	}
	e.fail(where, "cannot be written as Darknet")
	return nil
}

func (e *encoder) conv(where string, o *graph.Conv, s *section) []field {
	fields := []field{flag("batch_normalize", o.BatchNorm)}
	fields = append(fields, always(whole("filters", o.Filters, 1), whole("size", o.Size, 1), whole("stride", o.Stride, 1))...)
	fields = append(fields, padding(e.undilated(where, o), s)...)
	fields = append(fields, whole("groups", o.Groups, 1), e.activation(where, o.Activation, graph.Logistic),
		whole("stride_x", o.Stride, o.Stride), whole("stride_y", o.Stride, o.Stride))
	if o.Size == 1 {
		return append(fields, field{key: "dilation"})
	}
	return append(fields, whole("dilation", o.Spacing(), 1))
}

// undilated returns a convolution with the padding that the section names, which
// Darknet multiplies by the dilation.
func (e *encoder) undilated(where string, o *graph.Conv) *graph.Conv {
	c := *o
	if o.Size == 1 || o.Spacing() == 1 {
		return &c
	}
	if c.Pad = o.Pad / o.Dilation; 2*c.Pad != o.Size-1 || c.Pad*o.Dilation != o.Pad {
		e.fail(where, "dilation %d with size %d and padding %d cannot be written: Darknet has it for odd sizes only, with a padding of dilation*(size-1)/2", o.Dilation, o.Size, o.Pad)
	}
	return &c
}

// shareIndex names the convolution whose weights n uses.
func (e *encoder) shareIndex(n *graph.Node) []field {
	if !n.Shares() {
		return nil
	}
	return []field{e.references(n, "share_index", []graph.NodeID{n.ID - graph.NodeID(n.Conv().Back)})}
}

// padding writes the padding as the flag pad, which stands for half the
// kernel, if that is right and the section does not do without the flag; else
// in pixels.
func padding(o *graph.Conv, s *section) []field {
	flagged := o.Pad == o.Size/2
	if s != nil {
		flagged = flagged && s.peek("pad") != nil && s.flag("pad")
	}
	if flagged {
		return append(always(flag("pad", true)), field{key: "padding"})
	}
	return append(always(flag("pad", false)), whole("padding", o.Pad, 0))
}

func pool(o graph.LocalAvgPool) []field {
	return append(always(whole("size", o.Size, o.Stride), whole("stride", o.Stride, 1)),
		whole("padding", o.Padding, o.Size-1), whole("stride_x", o.Stride, o.Stride), whole("stride_y", o.Stride, o.Stride))
}

func (e *encoder) activation(where string, a, standard graph.Activation) field {
	if !slices.Contains(graph.Activations, a) {
		e.fail(where, "activation %q cannot be written: use one of %v", a, graph.Activations)
	}
	return field{key: "activation", value: string(a), standard: string(standard), always: true}
}

// product is for sections that name the layers after the first in from.
func (e *encoder) product(n *graph.Node, a graph.Activation) []field {
	return []field{e.references(n, "from", n.Inputs[1:]), e.activation(n.String(), a, graph.Linear)}
}

func (e *encoder) shortcut(n *graph.Node, o *graph.Shortcut) []field {
	fields := e.product(n, o.Activation)
	if o.Scaling == graph.NoScaling {
		return append(fields, field{key: "weights_type", value: "none", standard: "none"}, field{key: "weights_normalization"})
	}
	return append(fields, field{key: "weights_type", value: string(o.Scaling), standard: "none"},
		field{key: "weights_normalization", value: string(o.Normalization), standard: "none"})
}

func (e *encoder) route(n *graph.Node, o *graph.Route) []field {
	groups := []field{whole("groups", o.Groups, 1), whole("group_id", o.GroupID, 0)}
	if o.Groups != 1 {
		always(groups...)
	}
	return append([]field{e.references(n, "layers", n.Inputs)}, groups...)
}

func (e *encoder) references(n *graph.Node, key string, layers []graph.NodeID) field {
	if len(layers) == 0 {
		e.fail(n.String(), "reads no layer")
	}
	for _, id := range layers {
		if id == graph.Input {
			e.fail(n.String(), "reads the network's input, which %s cannot name", key)
		} else if id < 0 || id >= n.ID {
			e.fail(n.String(), "%s names layer %d, but only earlier ones can be named", key, id)
		}
	}
	return field{key: key, layers: layers}
}

// mentions are read back for one key of a section at most.
func (e *encoder) mentions(n *graph.Node) []field {
	var fields []field
	for i, m := range n.Mentions {
		if i > 0 || m.Key != mentioned[n.Op.Kind()] {
			e.fail(n.String(), "%s=%d cannot be written: a section names one layer at most for training, in %v", m.Key, m.Layer, mentioned)
		}
		fields = append(fields, e.references(n, m.Key, []graph.NodeID{m.Layer}))
	}
	return fields
}

func (e *encoder) yolo(where string, o *graph.Yolo) []field {
	var all []int
	var anchors []string
	for i, a := range o.Anchors {
		if float32(a[0]) <= 0 || float32(a[1]) <= 0 {
			e.fail(where, "anchor %d is %vx%v: both sides must be positive", i, a[0], a[1])
		}
		all = append(all, i)
		anchors = append(anchors, e.float(where, "anchors", a[0]), e.float(where, "anchors", a[1]))
	}
	fields := always(
		field{key: "mask", value: joined(o.Mask), standard: joined(all)}, field{key: "anchors", value: strings.Join(anchors, ",")},
		whole("classes", o.Classes, 20), whole("num", len(o.Anchors), 1),
	)
	for _, n := range yoloNumbers {
		f := e.number(where, n.key, *n.field(o), n.standard)
		f.always = n.key == "scale_x_y"
		fields = append(fields, f)
	}
	if o.ScaleXY <= 0 {
		e.fail(where, "scale_x_y=%v: must be positive", o.ScaleXY)
	}
	return append(fields, flag("new_coords", o.NewCoords),
		e.choice(where, "iou_loss", o.IoULoss, iouLosses), e.choice(where, "nms_kind", o.NMSKind, nmsKinds))
}

func joined(list []int) string {
	var out []string
	for _, v := range list {
		out = append(out, strconv.Itoa(v))
	}
	return strings.Join(out, ",")
}

// choice takes a name among several, of which the first is the standard; ""
// stands for it too.
func (e *encoder) choice(where, key, v string, among []string) field {
	if v == "" {
		v = among[0]
	}
	if !slices.Contains(among, v) {
		e.fail(where, "%s=%s: use one of %s", key, v, strings.Join(among, ", "))
	}
	return field{key: key, value: v, standard: among[0]}
}

func (e *encoder) number(where, key string, v, standard float64) field {
	return field{key: key, value: e.float(where, key, v), standard: formatFloat(standard)}
}

func (e *encoder) float(where, key string, v float64) string {
	text := formatFloat(v)
	if _, err := parseFloat(text); err != nil {
		e.fail(where, "%s is %v: only finite numbers in the range of float32 can be written", key, v)
	}
	return text
}

func (e *encoder) fail(where, format string, args ...any) {
	if e.err == nil {
		e.err = &UnsupportedError{Msg: where + ": " + fmt.Sprintf(format, args...)}
	}
}
