package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// decoder reads the lists of a JSON file item by item, so that only one item's
// text is in memory, and knows the line of each.
type decoder struct {
	name  string
	lines *lines
	json  *json.Decoder
	at    map[string][]position // where the items of each list start
}

type position struct{ line, col int }

// list is a list in the file and what takes the text of its items.
type list struct {
	key  string
	read func(json.RawMessage) error
}

func newDecoder(name string, r io.Reader) (*decoder, error) {
	br := bufio.NewReader(r)
	start, _ := br.Peek(3)
	if bytes.HasPrefix(start, []byte{0xff, 0xfe}) || bytes.HasPrefix(start, []byte{0xfe, 0xff}) {
		return nil, &FormatError{File: name, Msg: "the text is UTF-16; expected UTF-8; save it as UTF-8"}
	}
	if bytes.Equal(start, []byte("\xef\xbb\xbf")) {
		br.Discard(len(start))
	}
	l := &lines{r: br, line: 1}
	return &decoder{name, l, json.NewDecoder(l), map[string][]position{}}, nil
}

// object reads the whole file as an object that has these lists, and maybe
// more.
func (d *decoder) object(lists []list) error {
	if err := d.open('{', "an object with the lists images, categories and annotations", "a COCO annotation file (is this a list of detections?)"); err != nil {
		return err
	}
	for d.json.More() {
		if err := d.member(lists); err != nil {
			return err
		}
	}
	if _, err := d.json.Token(); err != nil {
		return d.syntax("", err)
	}
	for _, l := range lists {
		if _, ok := d.at[l.key]; !ok {
			return &FormatError{File: d.name, Where: l.key, Msg: "missing; expected a list, which may be empty; give a COCO annotation file"}
		}
	}
	return d.end()
}

// member reads a key of the object and its value.
func (d *decoder) member(lists []list) error {
	token, err := d.json.Token()
	if err != nil {
		return d.syntax("", err)
	}
	key, _ := token.(string)
	i := slices.IndexFunc(lists, func(l list) bool { return l.key == key })
	if i < 0 {
		var skipped json.RawMessage
		if err := d.json.Decode(&skipped); err != nil {
			return d.syntax(key, err)
		}
		return nil
	}
	if _, again := d.at[key]; again {
		return d.lastToken(key, "the key appears a second time; merge the two lists")
	}
	if err := d.open('[', "a list", "a COCO annotation file"); err != nil {
		return err
	}
	return d.items(lists[i])
}

// list reads the whole file as a list of detections.
func (d *decoder) list(l list) error {
	if err := d.open('[', "a list of detections {image_id, category_id, bbox, score}", "a COCO results file (is this an annotation file?)"); err != nil {
		return err
	}
	if err := d.items(l); err != nil {
		return err
	}
	return d.end()
}

// items reads a list's items up to its closing bracket.
func (d *decoder) items(l list) error {
	d.at[l.key] = []position{}
	var raw json.RawMessage
	for i := 0; d.json.More(); i++ {
		if err := d.json.Decode(&raw); err != nil {
			return d.syntax(item(l.key, i, ""), err)
		}
		d.at[l.key] = append(d.at[l.key], d.lines.position(d.json.InputOffset()-int64(len(raw))))
		if err := l.read(raw); err != nil {
			field, msg := explain(err)
			return d.locate(l.key, i, field, msg)
		}
	}
	if _, err := d.json.Token(); err != nil {
		return d.syntax(l.key, err)
	}
	return nil
}

// open reads the opening bracket of an object or list.
func (d *decoder) open(bracket json.Delim, want, mend string) error {
	token, err := d.json.Token()
	if err == io.EOF {
		return d.fault(0, "", fmt.Sprintf("the file is empty; expected %s; give %s", want, mend))
	}
	if err != nil {
		return d.syntax("", err)
	}
	if token != bracket {
		return d.lastToken("", fmt.Sprintf("found %s; expected %s; give %s", named(token), want, mend))
	}
	return nil
}

// end makes sure that nothing follows.
func (d *decoder) end() error {
	switch _, err := d.json.Token(); err {
	case io.EOF:
		return nil
	case nil:
		return d.lastToken("", "text follows the end of the JSON value; remove it")
	default:
		return d.syntax("", err)
	}
}

// locate is the locator of the file.
func (d *decoder) locate(list string, i int, field, msg string) *FormatError {
	p := d.at[list][i]
	return &FormatError{d.name, p.line, p.col, item(list, i, field), msg}
}

func (d *decoder) fault(offset int64, where, msg string) *FormatError {
	p := d.lines.position(offset)
	return &FormatError{d.name, p.line, p.col, where, msg}
}

// lastToken makes the error for the token read last.
func (d *decoder) lastToken(where, msg string) *FormatError {
	return d.fault(d.json.InputOffset()-1, where, msg)
}

// syntax turns a decoder's error into a FormatError with the place of the
// offending byte; errors of the reader are passed on.
func (d *decoder) syntax(where string, err error) error {
	if d.lines.err != nil {
		return fmt.Errorf("%s: %w", d.name, d.lines.err)
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return d.fault(d.lines.read, where, "the file ends too early; expected the closing bracket; fetch or write it again")
	}
	offset := d.json.InputOffset()
	rest, _ := io.ReadAll(d.json.Buffered())
	var inner *json.SyntaxError
	if errors.As(json.Unmarshal(rest, new(json.RawMessage)), &inner) && inner.Error() == err.Error() {
		offset += max(0, inner.Offset-1)
	}
	return d.fault(offset, where, fmt.Sprintf("not JSON: %v; %s", err, remedy(err)))
}

func remedy(err error) string {
	if s := err.Error(); strings.Contains(s, "'N'") || strings.Contains(s, "'I'") {
		return "NaN and Infinity are not JSON numbers; leave the item out"
	}
	return "mend the text at this place, or write the file again"
}

// explain splits an item's error into the field and what is wrong with it.
func explain(err error) (field, msg string) {
	var f *fieldError
	if errors.As(err, &f) {
		return f.field, f.msg
	}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return t.Field, fmt.Sprintf("found %s; expected %s", t.Value, kindName(t.Type))
	}
	return "", err.Error()
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	default:
		return "an object"
	}
}

func named(token json.Token) string {
	switch v := token.(type) {
	case json.Delim:
		return map[json.Delim]string{'{': "an object", '[': "a list"}[v]
	case string:
		return "a string"
	case float64:
		return "a number"
	case nil:
		return "null"
	default:
		return fmt.Sprint(v)
	}
}

// lines passes a stream on and turns offsets in it into positions. They must be
// asked for in rising order: line breaks before the last one are forgotten.
type lines struct {
	r      io.Reader
	err    error // of r, but for io.EOF
	read   int64
	breaks []int64 // offsets of newlines
	line   int     // of the last offset, from 1
	start  int64   // offset of that line
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			l.breaks = append(l.breaks, l.read+int64(i))
		}
	}
	l.read += int64(n)
	if err != nil && err != io.EOF {
		l.err = err
	}
	return n, err
}

func (l *lines) position(offset int64) position {
	for len(l.breaks) > 0 && l.breaks[0] < offset {
		l.line++
		l.start = l.breaks[0] + 1
		l.breaks = l.breaks[1:]
	}
	return position{l.line, int(offset-l.start) + 1}
}
