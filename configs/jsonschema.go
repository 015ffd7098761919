package configs

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// schema is a JSON Schema (draft 2020-12). A *schema or false stands where the
// draft allows a schema.
type schema struct {
	Dialect string `json:"$schema,omitempty"`
	Title   string `json:"title,omitempty"`
	Type    any    `json:"type,omitempty"` // a type's name or a list of them
	Enum    []any  `json:"enum,omitempty"`
	Const   any    `json:"const,omitempty"`
	limits
	MinLength  int        `json:"minLength,omitempty"`
	Properties properties `json:"properties,omitempty"`
	Other      any        `json:"additionalProperties,omitempty"`
	Required   []string   `json:"required,omitempty"`
	MinKeys    int        `json:"minProperties,omitempty"`
	MaxKeys    int        `json:"maxProperties,omitempty"`
	Items      *schema    `json:"items,omitempty"`
	MinItems   int        `json:"minItems,omitempty"`
	MaxItems   int        `json:"maxItems,omitempty"`
	AnyOf      []*schema  `json:"anyOf,omitempty"`
	OneOf      []*schema  `json:"oneOf,omitempty"`
	Not        *schema    `json:"not,omitempty"`
	Default    any        `json:"default,omitempty"`
}

// limits bound a number; an empty one does not.
type limits struct {
	Min        json.Number `json:"minimum,omitempty"`
	Above      json.Number `json:"exclusiveMinimum,omitempty"`
	Max        json.Number `json:"maximum,omitempty"`
	Below      json.Number `json:"exclusiveMaximum,omitempty"`
	MultipleOf json.Number `json:"multipleOf,omitempty"`
}

// properties are keys in the order of the type.
type properties []property

type property struct {
	key    string
	schema any
}

// MarshalJSON writes an object.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, x := range p {
		key, err := json.Marshal(x.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(x.schema)
		if err != nil {
			return nil, err
		}
		b.WriteByte("{,"[min(i, 1)])
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemaForm is a value that can be written in several forms.
type schemaForm interface{ schemaForm() *schema }

// schemaRules is a section with rules between its keys.
type schemaRules interface{ schemaRules(s *schema) }

// Schema returns the JSON Schema of the experiment file, for editors. It holds
// what a single value may be, and which keys need or exclude each other; the
// other rules between values are Parse's alone. A default that depends on other
// values is left out.
func Schema() ([]byte, error) {
	e := new(Experiment)
	e.setDefaults(e)
	s := schemaOf(reflect.ValueOf(e).Elem(), "", true)
	s.Dialect, s.Title = "https://json-schema.org/draft/2020-12/schema", "yoloprune experiment"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(s)
	return b.Bytes(), err
}

// schemaOf describes what decode reads into v. v holds the defaults, which are
// told when they are known.
func schemaOf(v reflect.Value, tag reflect.StructTag, known bool) *schema {
	if f, ok := v.Interface().(schemaForm); ok {
		return f.schemaForm()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return schemaOf(section(v.Type().Elem()), tag, known)
	case reflect.Struct:
		return sectionSchema(v, known)
	case reflect.Slice:
		return listSchema(v.Type(), tag)
	case reflect.Array:
		items := schemaOf(reflect.New(v.Type().Elem()).Elem(), tag, false)
		return &schema{Type: "array", Items: items, MinItems: v.Len(), MaxItems: v.Len()}
	}
	return scalarSchema(v.Kind(), tag)
}

// section returns a section with its defaults, those without a train stage.
func section(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	new(Experiment).setDefaults(p.Interface())
	return p.Elem()
}

// sectionSchema leaves out the defaults of embedded keys, which come from
// another section.
func sectionSchema(v reflect.Value, known bool) *schema {
	s := &schema{Type: "object", Other: false}
	for _, f := range fieldsOf(v.Type()) {
		value, own := v.FieldByIndex(f.index), known && len(f.index) == 1
		sub := schemaOf(value, f.tag, own)
		if own {
			sub.Default = defaultOf(value, f.tag)
		}
		s.Properties = append(s.Properties, property{f.key, sub})
	}
	if r, ok := v.Interface().(schemaRules); ok {
		r.schemaRules(s)
	}
	return s
}

// defaultOf returns a key's default, or nil where leaving the key out means
// something that no value says.
func defaultOf(v reflect.Value, tag reflect.StructTag) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Struct, reflect.Map:
		return nil
	case reflect.String, reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
	}
	if v.IsZero() && strings.HasSuffix(tag.Get("yaml"), ",omitempty") {
		return nil
	}
	return v.Interface()
}

// listSchema lets a list of sections be one section too.
func listSchema(t reflect.Type, tag reflect.StructTag) *schema {
	if t.Elem().Kind() != reflect.Struct {
		return &schema{Type: "array", Items: schemaOf(reflect.New(t.Elem()).Elem(), tag, false)}
	}
	item := schemaOf(section(t.Elem()), "", true)
	return &schema{AnyOf: []*schema{item, {Type: "array", Items: item}}}
}

// scalarSchema describes a single value. A text may be written without quotes,
// and YAML then takes it for a number or a truth value where it looks like one.
func scalarSchema(k reflect.Kind, tag reflect.StructTag) *schema {
	switch k {
	case reflect.String:
		if choices := words(tag.Get("choice")); len(choices) > 0 {
			return &schema{Type: "string", Enum: enum(choices)}
		}
		return &schema{Type: []string{"string", "number", "boolean"}}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int:
		l := limits{Min: "-9223372036854775808", Max: "9223372036854775807"}
		return &schema{Type: "integer", limits: l.within(tag)}
	case reflect.Uint64:
		l := limits{Min: "0", Max: "18446744073709551615"}
		return &schema{Type: "integer", limits: l.within(tag)}
	}
	return &schema{Type: "number", limits: limits{}.within(tag)}
}

func enum(words []string) []any {
	var all []any
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// within narrows the limits to the interval of a tag, whose infinite end leaves
// the limit as it is.
func (l limits) within(tag reflect.StructTag) limits {
	r, err := parseInterval(tag.Get("in"))
	if err != nil {
		return l
	}
	if !math.IsInf(r.lo, -1) {
		l.Min, l.Above = sides(r.lo, r.loOpen)
	}
	if !math.IsInf(r.hi, 1) {
		l.Max, l.Below = sides(r.hi, r.hiOpen)
	}
	return l
}

func sides(x float64, open bool) (closed, exclusive json.Number) {
	n := json.Number(strconv.FormatFloat(x, 'f', -1, 64))
	if open {
		return "", n
	}
	return n, ""
}

func (Size) schemaForm() *schema {
	side := scalarSchema(reflect.Int, `in:"[32,4096]"`)
	side.MultipleOf = "32"
	return &schema{AnyOf: []*schema{side, {Type: "array", Items: side, MinItems: 2, MaxItems: 2}}}
}

func (Chance) schemaForm() *schema {
	return &schema{Type: []string{"boolean", "number"}, limits: limits{Min: "0", Max: "1"}}
}

func (Anchors) schemaForm() *schema {
	list := listSchema(reflect.TypeFor[[][2]float64](), `in:"(0,4096]"`)
	list.MinItems = 1
	return &schema{AnyOf: []*schema{{Type: "string", Enum: []any{"published", "kmeans"}}, list}}
}

func (LayerRatios) schemaForm() *schema {
	return &schema{Type: "object", Other: scalarSchema(reflect.Float64, `in:"[0,1)"`)}
}

func (Experiment) schemaRules(s *schema) { s.Required = []string{"model", "data"} }

func (Split) schemaRules(s *schema) { s.Required = []string{"annotations"} }

func (Target) schemaRules(s *schema) { s.MinKeys, s.MaxKeys = 1, 1 }

func (Model) schemaRules(s *schema) {
	s.OneOf = []*schema{
		{Required: []string{"arch"}},
		{Required: []string{"cfg"}, Properties: none("width", "anchors")},
	}
}

func (Data) schemaRules(s *schema) {
	s.AnyOf = []*schema{
		{Required: []string{"format"}, Properties: properties{{"format", &schema{Const: "toy"}}}},
		{Required: []string{"val"}, Properties: none("toy")},
	}
}

// schemaRules lists the kinds of cuts: by a plan, of blocks alone, by layer, and
// up to a target.
func (Prune) schemaRules(s *schema) {
	plan := Prune{Plan: "given"}.useless()
	blocks := Prune{Blocks: 1}.useless()
	word := func(w string) *schema { return &schema{Const: w} }
	s.AnyOf = []*schema{
		{Required: []string{"plan"}, Properties: append(none(plan...), property{"plan", &schema{MinLength: 1}})},
		{Required: []string{"blocks"}, Properties: append(none(blocks...),
			property{"blocks", &schema{limits: limits{Min: "1"}}}, property{"plan", word("")})},
		{Required: []string{"strategy", "layers"}, Properties: append(none("target"),
			property{"strategy", word("layers")}, property{"layers", &schema{MinKeys: 1}},
			property{"blocks", &schema{Const: 0}}, property{"plan", word("")})},
		{Required: []string{"target"}, Properties: append(none("layers"),
			property{"strategy", &schema{Not: word("layers")}}, property{"plan", word("")})},
	}
}

// none lists keys that must be left out.
func none(keys ...string) properties {
	var p properties
	for _, key := range keys {
		p = append(p, property{key, false})
	}
	return p
}
