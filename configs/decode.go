package configs

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is the YAML tree that an experiment is read from, overrides
// included.
type document struct {
	file    string
	source  []byte
	root    *yaml.Node
	origins map[*yaml.Node]string // of the nodes that are not from the file
	written map[string]*yaml.Node // the value at each path that is given
}

func (doc *document) has(path string) bool { return doc.written[path] != nil }

// at makes a diagnostic that points to a node; nil stands for the whole file.
func (doc *document) at(n *yaml.Node, path, format string, args ...any) Diagnostic {
	d := Diagnostic{File: doc.file, Key: path, Msg: fmt.Sprintf(format, args...)}
	if n == nil {
		return d
	}
	if origin, ok := doc.origins[n]; ok {
		d.File = origin
		return d
	}
	d.Line, d.Col = n.Line, n.Column
	return d
}

// nodeDecoder is a value that can be written in several forms.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

// decoder reads a document into an experiment and collects what is wrong.
type decoder struct {
	doc     *document
	exp     *Experiment
	diags   []Diagnostic
	unknown bool // an unknown key was met
}

func (d *decoder) report(n *yaml.Node, path, format string, args ...any) {
	d.diags = append(d.diags, d.doc.at(n, path, format, args...))
}

// decode reads a node into v. tag holds the limits of a value.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	d.doc.written[path] = n
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.report(n, path, "has no value; give one%s, or leave the key out", emptyForm(v.Type()))
		return
	}
	if u, ok := v.Addr().Interface().(nodeDecoder); ok {
		u.decodeNode(d, n, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.exp.setDefaults(p.Interface())
		d.decode(n, p.Elem(), path, tag)
		v.Set(p)
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, tag)
	case reflect.Array:
		d.array(n, v, path, tag)
	default:
		d.scalar(n, v, path, tag)
	}
}

func emptyForm(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return " ({} for the defaults)"
	}
	return ""
}

// mapping reads fields in the order of the type, so that a section finds those
// that it inherits from.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n, path, "%s is not a mapping of keys to values", describe(n))
		return
	}
	values := d.pairs(n, v.Type(), path)
	for _, f := range fieldsOf(v.Type()) {
		if value, ok := values[f.key]; ok {
			d.decode(value, v.FieldByIndex(f.index), join(path, f.key), f.tag)
		}
	}
}

// pairs returns a mapping's values by key and reports keys that are unknown or
// stand twice.
func (d *decoder) pairs(n *yaml.Node, t reflect.Type, path string) map[string]*yaml.Node {
	known := keysOf(t)
	values, first := map[string]*yaml.Node{}, map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		if before, ok := first[key.Value]; ok {
			d.report(key, at, "given twice, first on line %d", before.Line)
			continue
		}
		first[key.Value] = key
		if key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value) {
			d.unknownKey(key, t, path, known)
			continue
		}
		values[key.Value] = n.Content[i+1]
	}
	return values
}

func (d *decoder) unknownKey(key *yaml.Node, t reflect.Type, path string, known []string) {
	d.unknown = true
	switch {
	case key.Kind != yaml.ScalarNode:
		d.report(key, path, "%s as a key; keys here are %s", describe(key), strings.Join(known, ", "))
	case key.ShortTag() == "!!merge":
		d.report(key, path, "merge keys (<<) are not read; sparsify and finetune take what they leave out from train")
	default:
		hint := didYouMean(suggestKey(t, path, key.Value))
		if hint == "" {
			hint = "; keys here are " + strings.Join(known, ", ")
		}
		d.report(key, join(path, key.Value), "unknown key%s", hint)
	}
}

// list reads a sequence. A list of sections may be written as one mapping.
func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	sections := v.Type().Elem().Kind() == reflect.Struct
	items := n.Content
	if sections && n.Kind == yaml.MappingNode {
		items = []*yaml.Node{n}
	} else if n.Kind != yaml.SequenceNode {
		d.report(n, path, "%s is not a list [..]", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		at := path
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		if sections {
			d.exp.setDefaults(out.Index(i).Addr().Interface())
		}
		d.decode(item, out.Index(i), at, tag)
	}
	v.Set(out)
}

func (d *decoder) array(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode || len(n.Content) != v.Len() {
		d.report(n, path, "%s is not a list of %d values", describe(n), v.Len())
		return
	}
	for i, item := range n.Content {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i), tag)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	want := ""
	switch v.Kind() {
	case reflect.String:
		want = setString(n, v)
	case reflect.Bool:
		want = setBool(n, v)
	case reflect.Int, reflect.Uint64:
		want = setInteger(n, v)
	case reflect.Float64:
		want = setFloat(n, v)
	}
	if want != "" {
		d.report(n, path, "%s is not %s", describe(n), want)
		return
	}
	if fault := limitFault(n, v, tag); fault != "" {
		d.report(n, path, "%s", fault)
	}
}

func setString(n *yaml.Node, v reflect.Value) string {
	if n.Kind != yaml.ScalarNode {
		return "a text"
	}
	v.SetString(n.Value)
	return ""
}

func setBool(n *yaml.Node, v reflect.Value) string {
	if tagOf(n) != "!!bool" {
		return "true or false"
	}
	return decodeScalar(n, v, "true or false")
}

// setInteger takes 1e3 too, but no 1.5.
func setInteger(n *yaml.Node, v reflect.Value) string {
	want := "a whole number"
	if v.Kind() == reflect.Uint64 {
		want = "a whole number from 0 on"
	}
	if tagOf(n) == "!!int" {
		return decodeScalar(n, v, want)
	}
	var f float64
	if setFloat(n, reflect.ValueOf(&f).Elem()) != "" || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return want
	}
	if v.Kind() == reflect.Int {
		v.SetInt(int64(f))
		return ""
	}
	if f < 0 {
		return want
	}
	v.SetUint(uint64(f))
	return ""
}

func setFloat(n *yaml.Node, v reflect.Value) string {
	if tag := tagOf(n); tag != "!!int" && tag != "!!float" {
		return "a number"
	}
	if want := decodeScalar(n, v, "a number"); want != "" {
		return want
	}
	if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
		return "a finite number"
	}
	return ""
}

// tagOf is the type that YAML gives a scalar, or "" for a list or a mapping.
func tagOf(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.ShortTag()
}

func decodeScalar(n *yaml.Node, v reflect.Value, want string) string {
	if n.Decode(v.Addr().Interface()) != nil {
		return want
	}
	return ""
}

func limitFault(n *yaml.Node, v reflect.Value, tag reflect.StructTag) string {
	if v.Kind() == reflect.String {
		return choiceFault(v.String(), tag)
	}
	limits := tag.Get("in")
	if limits == "" {
		return ""
	}
	r, err := parseInterval(limits)
	if err != nil {
		return err.Error()
	}
	x := v.Convert(reflect.TypeFor[float64]()).Float()
	return r.fault(x, n.Value)
}

// describe names a node's value in a message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return fmt.Sprintf("a list of %d", len(n.Content))
	case yaml.ScalarNode:
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" {
			return shorten(n.Value)
		}
		return fmt.Sprintf("%q", shorten(n.Value))
	}
	return "this"
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}
