package configs

import (
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// encoder is a value that is written in another form than its Go type.
type encoder interface{ encodeForm() any }

// omitter is a section some of whose keys have no effect, and are not written.
type omitter interface{ useless() []string }

// Marshal writes the experiment as YAML with every key, defaults and overrides
// included. Loading it gives the same experiment.
func (e *Experiment) Marshal() ([]byte, error) {
	n, err := encode(reflect.ValueOf(e).Elem())
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(n)
}

func encode(v reflect.Value) (*yaml.Node, error) {
	if f, ok := v.Interface().(encoder); ok {
		return encodePlain(f.encodeForm())
	}
	switch {
	case v.Kind() == reflect.Pointer:
		return encode(v.Elem())
	case v.Kind() == reflect.Struct:
		return encodeStruct(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		return encodeSections(v)
	}
	return encodePlain(v.Interface())
}

func encodePlain(x any) (*yaml.Node, error) {
	n := new(yaml.Node)
	err := n.Encode(x)
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	return n, err
}

func encodeSections(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for i := range v.Len() {
		item, err := encode(v.Index(i))
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	return n, nil
}

func encodeStruct(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	var left []string
	if o, ok := v.Interface().(omitter); ok {
		left = o.useless()
	}
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.index)
		if value.IsZero() && (value.Kind() == reflect.Pointer || strings.HasSuffix(f.tag.Get("yaml"), ",omitempty")) || slices.Contains(left, f.key) {
			continue
		}
		item, err := encode(value)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: f.key}, item)
	}
	return n, nil
}
