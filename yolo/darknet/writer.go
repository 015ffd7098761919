package darknet

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"yoloprune/yolo/graph"
)

// Encode writes a graph as a cfg that Decode reads back as the same graph.
//
// A graph that was read from a cfg gets its text back, comments and all, with
// only those values changed that differ from what the text says. Any other is
// written as EncodeCanonical does.
func Encode(w io.Writer, g *graph.Graph) error {
	if err := checkNumbers(g); err != nil {
		return err
	}
	if g.Source == "" {
		return EncodeCanonical(w, g)
	}
	text, err := edit(g)
	if err != nil {
		return err
	}
	return writeChecked(w, text, g, g.Net.Options)
}

// EncodeCanonical writes a graph anew, whatever text it was read from, in a
// form that all readers take alike. Where readers have different defaults the
// key is always written, layers are referred to by their distance, and options
// of a node whose key the operation or an earlier option has already written
// are left out.
//
// A graph without [net] options gets batch=1 and subdivisions=1, so that it is
// ready for inference.
func EncodeCanonical(w io.Writer, g *graph.Graph) error {
	if err := checkNumbers(g); err != nil {
		return err
	}
	net := g.Net.Options
	if len(net) == 0 {
		net = []graph.Option{{Key: "batch", Value: "1"}, {Key: "subdivisions", Value: "1"}}
	}
	e := &encoder{}
	e.section("net", "network", netFields(g.Net), net, 0)
	for _, n := range g.Nodes {
		e.text.WriteByte('\n')
		e.node(n)
	}
	if e.err != nil {
		return e.err
	}
	return writeChecked(w, e.text.String(), g, net)
}

func checkNumbers(g *graph.Graph) error {
	for i, n := range g.Nodes {
		if n.ID != graph.NodeID(i) {
			return &UnsupportedError{Msg: fmt.Sprintf("%v: stands at position %d: number the layers in order", n, i)}
		}
	}
	return nil
}

// encoder writes sections; the first fault stays in err.
type encoder struct {
	text bytes.Buffer
	err  error
}

func (e *encoder) node(n *graph.Node) {
	e.section(n.Op.Kind(), n.String(), e.fields(n, nil), n.Options, n.ID)
}

func (e *encoder) section(name, where string, fields []field, options []graph.Option, here graph.NodeID) {
	fmt.Fprintf(&e.text, "[%s]\n", name)
	for _, f := range fields {
		switch {
		case f.layers != nil:
			e.line(f.key, relative(f.layers, here))
		case f.always && f.value == "":
			e.fail(where, "%s is empty", f.key)
		case f.always || f.value != "" && f.value != f.standard:
			e.line(f.key, f.value)
		}
	}
	for _, o := range e.carried(where, options, fields) {
		e.line(o.Key, o.Value)
	}
}

func (e *encoder) line(key, value string) { fmt.Fprintf(&e.text, "%s=%s\n", key, value) }

func relative(layers []graph.NodeID, here graph.NodeID) string {
	var list []string
	for _, id := range layers {
		list = append(list, strconv.Itoa(int(id-here)))
	}
	return strings.Join(list, ",")
}

// carried returns the options to be written beside the fields, with plain
// numbers: the first of each key.
func (e *encoder) carried(where string, options []graph.Option, fields []field) []graph.Option {
	taken := make(map[string]bool)
	for _, f := range fields {
		taken[f.key] = true
	}
	var out []graph.Option
	for _, o := range options {
		if taken[o.Key] {
			continue
		}
		taken[o.Key] = true
		if !isSafe(o.Key, o.Value) {
			e.fail(where, "option %q=%q cannot be written: use plain ASCII without spaces or '#'", o.Key, o.Value)
		}
		out = append(out, graph.Option{Key: o.Key, Value: plain(o.Value)})
	}
	return out
}

// writeChecked writes a cfg if it reads back as g with these [net] options.
func writeChecked(w io.Writer, text string, g *graph.Graph, net []graph.Option) error {
	var ignored []Warning
	back, _, err := decodeText("", text, &ignored)
	if err != nil {
		return fmt.Errorf("the cfg to be written cannot be read: %w", err)
	}
	if err := sameNetwork(g, back, net); err != nil {
		return fmt.Errorf("the cfg to be written reads back as another network: %w", err)
	}
	_, err = io.WriteString(w, text)
	return err
}

// sameNetwork compares all that a cfg holds.
func sameNetwork(g, back *graph.Graph, net []graph.Option) error {
	if g.InputShape() != back.InputShape() {
		return fmt.Errorf("input %v instead of %v", back.InputShape(), g.InputShape())
	}
	if len(g.Nodes) != len(back.Nodes) {
		return fmt.Errorf("%d layers instead of %d", len(back.Nodes), len(g.Nodes))
	}
	e := &encoder{}
	if !sameOptions(e, net, back.Net.Options, netFields(g.Net)) {
		return fmt.Errorf("options of [net] %v instead of %v", back.Net.Options, net)
	}
	for i, n := range g.Nodes {
		b := back.Nodes[i]
		switch {
		case !reflect.DeepEqual(normal(n.Op), normal(b.Op)):
			return fmt.Errorf("%v is %+v instead of %+v", n, b.Op, n.Op)
		case !reflect.DeepEqual(n.Inputs, b.Inputs) || len(n.Mentions)+len(b.Mentions) > 0 && !reflect.DeepEqual(n.Mentions, b.Mentions):
			return fmt.Errorf("%v reads %v and names %v instead of %v and %v", n, b.Inputs, b.Mentions, n.Inputs, n.Mentions)
		case !sameOptions(e, n.Options, b.Options, e.fields(n, nil)):
			return fmt.Errorf("%v has options %v instead of %v", n, b.Options, n.Options)
		}
	}
	return e.err
}

func sameOptions(e *encoder, a, b []graph.Option, fields []field) bool {
	return reflect.DeepEqual(values(e.carried("", a, fields)), values(e.carried("", b, fields)))
}

func values(options []graph.Option) map[string]string {
	m := make(map[string]string, len(options))
	for _, o := range options {
		m[o.Key] = o.Value
	}
	return m
}

// normal replaces the empty names of a head, which stand for the standard, and a
// dilation without effect.
func normal(op graph.Op) graph.Op {
	if c, ok := op.(*graph.Conv); ok && c.Extent() == c.Size && c.Dilation != 0 {
		plain := *c
		plain.Dilation = 0
		return &plain
	}
	o, ok := op.(*graph.Yolo)
	if !ok {
		return op
	}
	c, e := *o, &encoder{}
	c.IoULoss = e.choice("", "", o.IoULoss, iouLosses).value
	c.NMSKind = e.choice("", "", o.NMSKind, nmsKinds).value
	return &c
}
