package configs

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Default is the experiment on the toy image set, toy.yaml. It needs no data
// of the user's.
//
//go:embed toy.yaml
var Default []byte

// Load reads an experiment file, lays the environment and the key=value
// overrides over it and checks the whole. What is wrong with the content comes
// as an *Error.
func Load(path string, overrides []string) (*Experiment, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, src, overrides)
}

// Parse is Load for a file that has been read; name stands in messages.
func Parse(name string, src []byte, overrides []string) (*Experiment, error) {
	doc, diags := parseDocument(name, src)
	if diags != nil {
		return nil, asError(diags)
	}
	d := &decoder{doc: doc, exp: &Experiment{doc: doc}, diags: doc.layer(overrides)}
	d.exp.setDefaults(d.exp)
	d.mapping(doc.root, reflect.ValueOf(d.exp).Elem(), "")
	d.exp.settle()
	if !d.unknown {
		d.exp.check(d)
	}
	if err := asError(d.diags); err != nil {
		return nil, err
	}
	return d.exp, nil
}

// Source returns the file as it was given, without environment and overrides.
func (e *Experiment) Source() []byte { return e.doc.source }

// Errorf makes an error that points to where the value at a dotted path was
// given, or to the nearest section around it.
func (e *Experiment) Errorf(path, format string, args ...any) error {
	return &Error{[]Diagnostic{e.doc.at(e.doc.nearestNode(path), path, format, args...)}}
}

func (doc *document) nearestNode(path string) *yaml.Node {
	for path != "" {
		if n := doc.written[path]; n != nil {
			return n
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return nil
}

// maxSource bounds the file: an experiment is a page of text.
const maxSource = 1 << 20

func parseDocument(file string, src []byte) (*document, []Diagnostic) {
	doc := &document{
		file: file, source: src,
		origins: map[*yaml.Node]string{},
		written: map[string]*yaml.Node{},
	}
	fail := func(line int, format string, args ...any) (*document, []Diagnostic) {
		return nil, []Diagnostic{{File: file, Line: line, Msg: fmt.Sprintf(format, args...)}}
	}
	if len(src) > maxSource {
		return fail(0, "%d bytes are too many for an experiment; at most %d are read", len(src), maxSource)
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var n, second yaml.Node
	err := dec.Decode(&n)
	switch {
	case errors.Is(err, io.EOF) || err == nil && n.Content[0].ShortTag() == "!!null":
		return fail(0, "is empty; an experiment needs model and data at least")
	case err != nil:
		line, msg := syntaxError(err)
		return fail(line, "not YAML: %s", msg)
	case n.Content[0].Kind != yaml.MappingNode:
		return fail(n.Content[0].Line, "%s is not a mapping of keys to values", describe(n.Content[0]))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return fail(second.Line, "a second document; one file is one experiment")
	}
	doc.root = n.Content[0]
	if loop := unalias(doc.root); loop != nil {
		return fail(loop.Line, "anchor %q contains itself", loop.Anchor)
	}
	return doc, nil
}

var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// syntaxError takes the line out of the YAML package's message.
func syntaxError(err error) (line int, msg string) {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, _ = strconv.Atoi(m[1])
	if line > 0 && strings.HasPrefix(m[2], "did not find expected") {
		line++ // the parser counts from 0, the scanner from 1
	}
	return line, m[2]
}

// unalias puts the anchored node in the place of every alias and returns one
// that contains itself, or nil. The node is shared, not copied, so that nested
// aliases cannot fill the memory.
func unalias(n *yaml.Node) (loop *yaml.Node) {
	const open, done = 1, 2
	state := map[*yaml.Node]int{}
	var visit func(n *yaml.Node) *yaml.Node
	visit = func(n *yaml.Node) *yaml.Node {
		switch state[n] {
		case open:
			return n
		case done:
			return nil
		}
		state[n] = open
		for i, c := range n.Content {
			if c.Kind == yaml.AliasNode {
				c = c.Alias
				n.Content[i] = c
			}
			if loop := visit(c); loop != nil {
				return loop
			}
		}
		state[n] = done
		return nil
	}
	return visit(n)
}
