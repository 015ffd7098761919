package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"yoloprune/yolo/graph"
)

// FormatError says that a plan file is broken.
type FormatError struct {
	File      string
	Line, Col int // 0 when not known
	Msg       string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// maxFile bounds a plan file; the largest YOLO needs a few hundred kilobytes.
const maxFile = 64 << 20

// Decode reads a plan. Whether it fits a network is for Validate to say. All but
// keep may be left out, so that a plan is easily written by hand:
//
//	{"keep": {"2": [0, 1, 5], "4": [0, 1, 5]}}
func Decode(name string, r io.Reader) (*Plan, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, &FormatError{File: name, Msg: fmt.Sprintf("longer than %d bytes: not a plan", maxFile)}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	p := &Plan{Version: Version}
	if err := d.Decode(p); err != nil {
		return nil, formatError(name, data, d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, formatError(name, data, d.InputOffset(), errors.New("text after the plan's closing brace"))
	}
	if p.Version != Version {
		return nil, &FormatError{File: name, Msg: fmt.Sprintf("version %d: want %d", p.Version, Version)}
	}
	if p.Keep == nil {
		return nil, &FormatError{File: name, Msg: `no "keep": it lists the filters that each layer keeps`}
	}
	return p, nil
}

func formatError(name string, data []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	before := data[:min(max(offset, 0), int64(len(data)))]
	msg := strings.TrimPrefix(err.Error(), "json: ")
	column := max(1, len(before)-bytes.LastIndexByte(before, '\n')-1)
	return &FormatError{name, 1 + bytes.Count(before, []byte("\n")), column, msg}
}

// Read reads a plan file.
func Read(path string) (*Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Decode(path, f)
}

// Write writes a plan file, whole or not at all.
func Write(path string, p *Plan) error {
	var b bytes.Buffer
	if err := Encode(&b, p); err != nil {
		return err
	}
	return renameio.WriteFile(path, b.Bytes(), 0o666)
}

// Encode writes the plan, one line a layer, in the order of the layers.
func Encode(w io.Writer, p *Plan) error {
	head := *p
	head.Filters, head.Removed, head.Keep = nil, nil, nil
	text, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(text, []byte("\"keep\": null\n}")))
	if len(p.Filters) > 0 {
		b.WriteString("\"filters\": {" + joinLines(p.Filters, func(n int) string { return strconv.Itoa(n) }, " ") + "},\n  ")
	}
	if len(p.Removed) > 0 {
		b.WriteString("\"removed\": " + listText(p.Removed) + ",\n  ")
	}
	keep := "{}"
	if len(p.Keep) > 0 {
		keep = "{\n    " + joinLines(p.Keep, listText[int], "\n    ") + "\n  }"
	}
	b.WriteString("\"keep\": " + keep + "\n}\n")
	_, err = w.Write(b.Bytes())
	return err
}

func listText[N ~int](v []N) string {
	words := make([]string, len(v))
	for i, n := range v {
		words[i] = strconv.Itoa(int(n))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// joinLines writes `"layer": value` pairs in the order of the layers.
func joinLines[V any](m map[graph.NodeID]V, text func(V) string, sep string) string {
	var words []string
	for _, id := range slices.Sorted(maps.Keys(m)) {
		words = append(words, fmt.Sprintf("%q: %s", strconv.Itoa(int(id)), text(m[id])))
	}
	return strings.Join(words, ","+sep)
}

func (k Keep) layers() []graph.NodeID { return slices.Sorted(maps.Keys(k)) }

// UnmarshalJSON refuses a layer that stands twice, which encoding/json would
// settle in favour of the last.
func (k *Keep) UnmarshalJSON(b []byte) error {
	m, err := decodeLayers[[]int]("keep", b)
	*k = m
	return err
}

// UnmarshalJSON refuses a layer that stands twice.
func (f *Filters) UnmarshalJSON(b []byte) error {
	m, err := decodeLayers[int]("filters", b)
	*f = m
	return err
}

func decodeLayers[V any](name string, b []byte) (map[graph.NodeID]V, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%s: want an object of layers", name)
	}
	m := map[graph.NodeID]V{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		id, err := strconv.Atoi(fmt.Sprint(t))
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%s: %q is not a layer number", name, t)
		}
		if _, ok := m[graph.NodeID(id)]; ok {
			return nil, fmt.Errorf("%s: layer %d stands twice", name, id)
		}
		var v V
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("%s: layer %d: %s", name, id, strings.TrimPrefix(err.Error(), "json: "))
		}
		m[graph.NodeID(id)] = v
	}
	return m, nil
}
