package darknet

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"yoloprune/yolo/graph"
)

// encoder writes sections; the first fault stays in err.
type encoder struct {
	text bytes.Buffer
	err  error
}

// pair is one key=value line.
type pair struct{ key, value string }

func whole(key string, v int) pair { return pair{key, strconv.Itoa(v)} }

// Encode writes a graph as a cfg that Decode reads back as the same graph.
// Where readers have different defaults the key is always written, layers are
// referred to by their distance, and options of a node whose key the operation
// or an earlier option has already written are left out.
//
// A graph without [net] options gets batch=1 and subdivisions=1, so that it is
// ready for inference.
func Encode(w io.Writer, g *graph.Graph) error {
	e := &encoder{}
	e.net(g.Net)
	for _, n := range g.Nodes {
		e.node(n)
	}
	if e.err != nil {
		return e.err
	}
	_, err := w.Write(e.text.Bytes())
	return err
}

func (e *encoder) fail(where, format string, args ...any) {
	if e.err == nil {
		e.err = &UnsupportedError{Msg: where + ": " + fmt.Sprintf(format, args...)}
	}
}

func (e *encoder) net(n graph.Net) {
	options := n.Options
	if len(options) == 0 {
		options = []graph.Option{{Key: "batch", Value: "1"}, {Key: "subdivisions", Value: "1"}}
	}
	size := []pair{whole("width", n.Width), whole("height", n.Height), whole("channels", n.Channels)}
	e.section("net", "network", size, options)
}

func (e *encoder) node(n *graph.Node) {
	switch reads := n.Inputs; n.Op.(type) {
	case *graph.Route:
	case *graph.Shortcut:
		if len(reads) < 2 {
			e.fail(n.String(), "reads %d layers: a shortcut adds at least two", len(reads))
			return
		}
		e.readsPrevious(n)
	case *graph.ScaleChannels, *graph.SAM:
		if len(reads) != 2 {
			e.fail(n.String(), "reads %d layers: it multiplies two", len(reads))
			return
		}
		e.readsPrevious(n)
	default:
		if len(reads) != 1 {
			e.fail(n.String(), "reads %d layers: it can read only the one before it", len(reads))
			return
		}
		e.readsPrevious(n)
	}
	pairs := e.pairs(n)
	for _, m := range n.Mentions {
		pairs = append(pairs, whole(m.Key, int(m.Layer-n.ID)))
	}
	e.section(n.Op.Kind(), n.String(), pairs, n.Options)
}

// readsPrevious checks that a node's first input is the layer before it, which
// a section reads without naming it.
func (e *encoder) readsPrevious(n *graph.Node) {
	if want := n.ID - 1; n.Inputs[0] != want {
		e.fail(n.String(), "reads layer %d, but in a cfg it reads layer %d: put a route before it", n.Inputs[0], want)
	}
}

func (e *encoder) pairs(n *graph.Node) []pair {
	where := n.String()
	switch o := n.Op.(type) {
	case *graph.Conv:
		return e.conv(where, o)
	case *graph.MaxPool:
		return poolPairs(o.Size, o.Stride, o.Padding)
	case *graph.LocalAvgPool:
		return poolPairs(o.Size, o.Stride, o.Padding)
	case *graph.Upsample:
		return []pair{whole("stride", o.Stride)}
	case *graph.Reorg:
		return []pair{whole("stride", o.Stride)}
	case *graph.Reorg3D:
		return flagged([]pair{whole("stride", o.Stride)}, "reverse", o.Reverse)
	case *graph.AvgPool, *graph.Silence:
		return nil
	case *graph.Dropout:
		return []pair{{"probability", e.float(where, "probability", o.Probability)}}
	case *graph.ScaleChannels:
		return flagged(e.product(n, o.Activation), "scale_wh", o.ScaleWH)
	case *graph.SAM:
		return e.product(n, o.Activation)
	case *graph.Contrastive:
		return []pair{whole("classes", o.Classes)}
	case *graph.Shortcut:
		return e.shortcut(n, o)
	case *graph.Route:
		return append([]pair{e.references(n, "layers", n.Inputs)}, routeGroups(o)...)
	case *graph.Yolo:
		return e.yolo(where, o)
	}
	e.fail(where, "cannot be written as Darknet")
	return nil
}

func (e *encoder) references(n *graph.Node, key string, inputs []graph.NodeID) pair {
	if len(inputs) == 0 {
		e.fail(n.String(), "reads no layer")
	}
	var list []string
	for _, id := range inputs {
		if id == graph.Input {
			e.fail(n.String(), "reads the network's input, which %s cannot name", key)
		}
		list = append(list, strconv.Itoa(int(id-n.ID)))
	}
	return pair{key, strings.Join(list, ",")}
}

func (e *encoder) conv(where string, o *graph.Conv) []pair {
	var pairs []pair
	if o.BatchNorm {
		pairs = append(pairs, whole("batch_normalize", 1))
	}
	pairs = append(pairs, whole("filters", o.Filters), whole("size", o.Size), whole("stride", o.Stride))
	switch o.Pad {
	case o.Size / 2:
		pairs = append(pairs, whole("pad", 1))
	case 0:
		pairs = append(pairs, whole("pad", 0))
	default:
		pairs = append(pairs, whole("pad", 0), whole("padding", o.Pad))
	}
	if o.Groups != 1 {
		pairs = append(pairs, whole("groups", o.Groups))
	}
	return append(pairs, e.activation(where, o.Activation))
}

func (e *encoder) activation(where string, a graph.Activation) pair {
	if !slices.Contains(graph.Activations, a) {
		e.fail(where, "activation %q cannot be written: use one of %v", a, graph.Activations)
	}
	return pair{"activation", string(a)}
}

func poolPairs(size, stride, padding int) []pair {
	pairs := []pair{whole("size", size), whole("stride", stride)}
	if padding != size-1 {
		pairs = append(pairs, whole("padding", padding))
	}
	return pairs
}

func flagged(pairs []pair, key string, on bool) []pair {
	if on {
		pairs = append(pairs, whole(key, 1))
	}
	return pairs
}

func (e *encoder) product(n *graph.Node, a graph.Activation) []pair {
	return []pair{e.references(n, "from", n.Inputs[1:]), e.activation(n.String(), a)}
}

func (e *encoder) shortcut(n *graph.Node, o *graph.Shortcut) []pair {
	pairs := e.product(n, o.Activation)
	if o.Scaling != graph.NoScaling {
		pairs = append(pairs, pair{"weights_type", string(o.Scaling)}, pair{"weights_normalization", string(o.Normalization)})
	}
	return pairs
}

func routeGroups(o *graph.Route) []pair {
	if o.Groups == 1 && o.GroupID == 0 {
		return nil
	}
	return []pair{whole("groups", o.Groups), whole("group_id", o.GroupID)}
}

func (e *encoder) yolo(where string, o *graph.Yolo) []pair {
	var mask, anchors []string
	for _, m := range o.Mask {
		mask = append(mask, strconv.Itoa(m))
	}
	for i, a := range o.Anchors {
		if a[0] <= 0 || a[1] <= 0 {
			e.fail(where, "anchor %d is %vx%v: both sides must be positive", i, a[0], a[1])
		}
		anchors = append(anchors, e.float(where, "anchors", a[0]), e.float(where, "anchors", a[1]))
	}
	pairs := []pair{
		{"mask", strings.Join(mask, ",")}, {"anchors", strings.Join(anchors, ",")},
		whole("classes", o.Classes), whole("num", len(o.Anchors)),
	}
	for _, n := range yoloNumbers {
		v := *n.field(o)
		if n.key == "scale_x_y" || v != n.standard {
			pairs = append(pairs, pair{n.key, e.float(where, n.key, v)})
		}
	}
	if o.ScaleXY <= 0 {
		e.fail(where, "scale_x_y=%v: must be positive", o.ScaleXY)
	}
	if o.NewCoords {
		pairs = append(pairs, whole("new_coords", 1))
	}
	pairs = e.choice(pairs, where, "iou_loss", o.IoULoss, iouLosses)
	return e.choice(pairs, where, "nms_kind", o.NMSKind, nmsKinds)
}

// choice appends a name unless it is the standard one, which stands first
// among the names; "" stands for it too.
func (e *encoder) choice(pairs []pair, where, key, v string, among []string) []pair {
	if v == "" || v == among[0] {
		return pairs
	}
	if !slices.Contains(among, v) {
		e.fail(where, "%s=%s: use one of %s", key, v, strings.Join(among, ", "))
	}
	return append(pairs, pair{key, v})
}

func (e *encoder) float(where, key string, v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		e.fail(where, "%s is %v: only finite numbers can be written", key, v)
	}
	return formatFloat(v)
}

func (e *encoder) section(name, where string, pairs []pair, options []graph.Option) {
	if e.text.Len() > 0 {
		e.text.WriteByte('\n')
	}
	fmt.Fprintf(&e.text, "[%s]\n", name)
	written := make(map[string]bool)
	for _, p := range pairs {
		if p.value == "" {
			e.fail(where, "%s is empty", p.key)
		}
		written[p.key] = true
		fmt.Fprintf(&e.text, "%s=%s\n", p.key, p.value)
	}
	for _, o := range options {
		if written[o.Key] {
			continue
		}
		if !isSafe(o.Key, o.Value) {
			e.fail(where, "option %q=%q cannot be written: use plain ASCII without spaces or '#'", o.Key, o.Value)
		}
		written[o.Key] = true
		fmt.Fprintf(&e.text, "%s=%s\n", o.Key, plain(o.Value))
	}
}
