package coco

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Pointers tell a key that is absent or null from a zero.
type (
	rawImage struct {
		ID       *int64  `json:"id"`
		FileName *string `json:"file_name"`
		Width    *int64  `json:"width"`
		Height   *int64  `json:"height"`
	}
	rawAnnotation struct {
		ID       *int64     `json:"id"`
		Image    *int64     `json:"image_id"`
		Category *int64     `json:"category_id"`
		Box      []*float64 `json:"bbox"`
		Area     *float64   `json:"area"`
		Crowd    flag       `json:"iscrowd"`

		Difficult flag `json:"difficult"`
		Truncated flag `json:"truncated"`
	}
	rawCategory struct {
		ID   *int64  `json:"id"`
		Name *string `json:"name"`
	}
)

// flag is iscrowd or the like: 0 or 1, and some writers' false or true.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "0", "false", "null":
		*f = false
	case "1", "true":
		*f = true
	default:
		return fmt.Errorf("a flag such as iscrowd: found %.40s; expected 0 or 1", data)
	}
	return nil
}

// item is an element of one of the file's lists, with its first byte's offset.
// One that is broken has a wrong type somewhere, which is among the faults.
type item[T any] struct {
	raw    T
	at     int64
	broken bool
}

// document is the file as it stands, checked for JSON's rules and types only.
type document struct {
	name        string
	data        []byte
	images      []item[rawImage]
	annotations []item[rawAnnotation]
	categories  []item[rawCategory]
	faults      []*FormatError // of single images and annotations
	lines       []int          // made for the first error
}

// errorAt places an error at a byte of the file.
func (d *document) errorAt(offset int64, format string, args ...any) error {
	return d.place(offset, fmt.Sprintf(format, args...))
}

func (d *document) place(offset int64, msg string) *FormatError {
	if d.lines == nil {
		d.lines = lineStarts(d.data)
	}
	at := int(min(max(offset, 0), int64(len(d.data))))
	line, exact := slices.BinarySearch(d.lines, at)
	if !exact {
		line--
	}
	return &FormatError{File: d.name, Line: line + 1, Col: at - d.lines[line] + 1, Msg: msg}
}

// lineStarts returns the offset of every line's first byte.
func lineStarts(data []byte) []int {
	out := []int{0}
	for i, c := range data {
		if c == '\n' {
			out = append(out, i+1)
		}
	}
	return out
}

func (d *document) error(format string, args ...any) error {
	return &FormatError{File: d.name, Msg: fmt.Sprintf(format, args...)}
}

const wantObject = `expected an object with the lists "images", "annotations" and "categories"`

func parse(name string, data []byte) (*document, error) {
	d := &document{name: name, data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))}
	if err := d.checkText(); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(d.data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, d.errorAt(0, "the file holds no JSON object; %s (a file of detections is a list)", wantObject)
	}
	seen := map[string]bool{}
	for dec.More() {
		at := d.skip(dec.InputOffset())
		key, err := dec.Token()
		if err != nil {
			return nil, d.errorAt(at, "%v", err)
		}
		if k := key.(string); seen[k] {
			return nil, d.errorAt(at, "the key %q stands twice at the top level", k)
		}
		seen[key.(string)] = true
		if err := d.value(dec, key.(string)); err != nil {
			return nil, err
		}
	}
	for _, k := range []string{"images", "annotations", "categories"} {
		if !seen[k] {
			return nil, d.error("the list %q is missing; %s", k, wantObject)
		}
	}
	return d, nil
}

// checkText finds what is no JSON. Afterwards only types can be wrong.
func (d *document) checkText() error {
	if bytes.HasPrefix(d.data, []byte("\xff\xfe")) || bytes.HasPrefix(d.data, []byte("\xfe\xff")) {
		return d.error("the file is UTF-16; expected UTF-8; save it again as UTF-8")
	}
	if len(bytes.TrimSpace(d.data)) == 0 {
		return d.error("the file is empty; %s", wantObject)
	}
	err := json.Unmarshal(d.data, new(skipped))
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return d.error("%v", err)
	}
	at := syntax.Offset - 1
	if syntax.Offset >= int64(len(d.data)) && strings.Contains(err.Error(), "unexpected end") {
		return d.errorAt(at, "the JSON ends too early: the file was cut short; fetch it again")
	}
	if word := notANumber(d.data, at); word != "" {
		return d.errorAt(at, "%s is not a number in JSON; expected a finite number; mend or remove that entry", word)
	}
	return d.errorAt(at, "not valid JSON: %v", err)
}

// skipped takes any JSON value and keeps nothing of it.
type skipped struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// notANumber recognises what programs write for non-finite values. The scanner
// stops at the second letter of nan, which begins like null.
func notANumber(data []byte, at int64) string {
	for _, w := range []string{"NaN", "Infinity"} {
		if bytes.HasPrefix(data[at:], []byte(w)) {
			return w
		}
	}
	if at > 0 && bytes.HasPrefix(data[at-1:], []byte("nan")) {
		return "nan"
	}
	return ""
}

func (d *document) value(dec *json.Decoder, key string) (err error) {
	switch key {
	case "images":
		d.images, err = list[rawImage](d, dec, key)
	case "annotations":
		d.annotations, err = list[rawAnnotation](d, dec, key)
	case "categories":
		d.categories, err = list[rawCategory](d, dec, key)
	default:
		err = dec.Decode(new(skipped))
	}
	return err
}

func list[T any](d *document, dec *json.Decoder, key string) ([]item[T], error) {
	at := d.skip(dec.InputOffset())
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, d.errorAt(at, "%s: found no list; %s", key, wantObject)
	}
	var out []item[T]
	for dec.More() {
		at := d.skip(dec.InputOffset())
		if d.data[at] != '{' {
			return nil, d.errorAt(at, "%s[%d]: found no object; expected {...}", key, len(out))
		}
		var v T
		err := dec.Decode(&v)
		if err != nil {
			e := d.typeError(err, at, fmt.Sprintf("%s[%d]", key, len(out)))
			if key == "categories" {
				return nil, e
			}
			d.faults = append(d.faults, e)
		}
		out = append(out, item[T]{v, at, err != nil})
	}
	_, err := dec.Token() // the closing bracket, which checkText has seen
	return out, err
}

// skip passes over what may stand before a value.
func (d *document) skip(offset int64) int64 {
	rest := bytes.TrimLeft(d.data[offset:], " \t\r\n,:")
	return int64(len(d.data) - len(rest))
}

func (d *document) typeError(err error, at int64, where string) *FormatError {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return d.place(at, fmt.Sprintf("%s: %v", where, err))
	}
	want := "a whole number"
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Float64:
		want = "a finite number"
	case reflect.Slice:
		want = "a list [x, y, width, height]"
	}
	return d.place(at, fmt.Sprintf("%s.%s: found %s; expected %s", where, wrong.Field, wrong.Value, want))
}

// ids writes category ids for an error, shortened.
func ids(m map[int64]int) string {
	all := make([]int64, 0, len(m))
	for id := range m {
		all = append(all, id)
	}
	slices.Sort(all)
	if len(all) > 10 {
		return fmt.Sprintf("%d ids from %d to %d", len(all), all[0], all[len(all)-1])
	}
	return strings.Trim(fmt.Sprint(all), "[]")
}
