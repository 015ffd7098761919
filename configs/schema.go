package configs

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is a key of a section. Its Go type and tags are the schema: yaml is
// the key, in the interval of a number, choice the words that a text may be,
// later the words that a later version will know.
type field struct {
	key   string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

// fieldsOf lists the keys of a struct type in order, those of an embedded
// struct first. An embedded field whose key the outer struct uses for
// something else goes by its tag outer.
func fieldsOf(t reflect.Type) []field {
	var own, embedded []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				embedded = append(embedded, in)
			}
		} else if f.IsExported() {
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			own = append(own, field{key, f.Index, f.Type, f.Tag})
		}
	}
	for i, in := range embedded {
		if slices.ContainsFunc(own, func(f field) bool { return f.key == in.key }) {
			embedded[i].key = in.tag.Get("outer")
		}
	}
	return append(embedded, own...)
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.key)
	}
	return keys
}

// leaves lists the paths of all values below t, in order. The cuts of a list
// share one path.
func leaves(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[nodeDecoder]()) {
		return []string{path}
	}
	var all []string
	for _, f := range fieldsOf(t) {
		all = append(all, leaves(f.typ, join(path, f.key))...)
	}
	return all
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggestKey finds what an unknown key of a section was meant to be: a key of
// the same section, else a path elsewhere that ends in it.
func suggestKey(t reflect.Type, path, key string) string {
	if s := nearest(key, keysOf(t)); s != "" {
		return s
	}
	section, _, _ := strings.Cut(path, ".")
	section, _, _ = strings.Cut(section, "[")
	elsewhere := ""
	for _, leaf := range leaves(reflect.TypeFor[Experiment](), "") {
		top, _, _ := strings.Cut(leaf, ".")
		last := leaf[strings.LastIndex(leaf, ".")+1:]
		if top == section && nearest(key, []string{last}) != "" {
			return leaf
		}
		if last == key && elsewhere == "" {
			elsewhere = leaf
		}
	}
	return elsewhere
}

// interval is a range of numbers; hi may be +Inf.
type interval struct {
	lo, hi         float64
	loOpen, hiOpen bool
}

// parseInterval reads "(0,1]": round is open, square is closed.
func parseInterval(s string) (interval, error) {
	lo, hi, ok := strings.Cut(strings.Trim(s, "[]()"), ",")
	a, err1 := strconv.ParseFloat(lo, 64)
	b, err2 := strconv.ParseFloat(hi, 64)
	if !ok || err1 != nil || err2 != nil {
		return interval{}, fmt.Errorf("bad interval %q", s)
	}
	return interval{a, b, strings.HasPrefix(s, "("), strings.HasSuffix(s, ")")}, nil
}

// fault says what is wrong with x, whose text in the file is given, or "".
func (r interval) fault(x float64, text string) string {
	low := x < r.lo || r.loOpen && x == r.lo
	high := x > r.hi || r.hiOpen && x == r.hi
	switch {
	case !low && !high:
		return ""
	case !math.IsInf(r.hi, 1):
		return fmt.Sprintf("%s is not in %v", text, r)
	case r.loOpen:
		return fmt.Sprintf("%s is not above %v", text, r.lo)
	}
	return fmt.Sprintf("%s is below %v", text, r.lo)
}

func (r interval) String() string {
	open, end := "[", "]"
	if r.loOpen {
		open = "("
	}
	if r.hiOpen {
		end = ")"
	}
	return fmt.Sprintf("%s%v, %v%s", open, r.lo, r.hi, end)
}

// choiceFault says what is wrong with a word, or "".
func choiceFault(word string, tag reflect.StructTag) string {
	choices := words(tag.Get("choice"))
	if len(choices) == 0 || slices.Contains(choices, word) {
		return ""
	}
	if slices.Contains(words(tag.Get("later")), word) {
		return fmt.Sprintf("%q is not supported yet; use %s", word, strings.Join(choices, ", "))
	}
	return fmt.Sprintf("%q is not one of %s%s", word, strings.Join(choices, ", "), didYouMean(nearest(word, choices)))
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '|' })
}
