package eval

import (
	"errors"
	"fmt"
	"slices"
)

// file reads the lists of a COCO file item by item.
type file struct {
	*scanner
	at map[string][]position // where the items of each list start
}

// members reads the object to come.
func (f *file) members(member func(key []byte) error) error {
	c, err := f.next()
	if err != nil {
		return err
	}
	if c != '{' {
		return f.mismatch("", "an object")
	}
	return f.object(member)
}

// list is a list in the file and what reads an item of it.
type list struct {
	key  string
	read func() error
}

// lists reads the whole file as an object that has these lists, and maybe more.
func (f *file) lists(lists []list) error {
	if err := f.open('{', "an object with the lists images, categories and annotations", "a COCO annotation file (is this a list of detections?)"); err != nil {
		return err
	}
	err := f.object(func(key []byte) error {
		i := slices.IndexFunc(lists, func(l list) bool { return l.key == string(key) })
		if i < 0 {
			name := clip(string(key))
			return in(name, f.skip())
		}
		return f.items(lists[i], true)
	})
	if err != nil {
		return err
	}
	for _, l := range lists {
		if _, ok := f.at[l.key]; !ok {
			return &FormatError{File: f.name, Where: l.key, Msg: "missing; expected a list, which may be empty; give a COCO annotation file"}
		}
	}
	return f.close()
}

// items reads a list; keep remembers where each item starts.
func (f *file) items(l list, keep bool) error {
	c, err := f.next()
	if err != nil {
		return err
	}
	if _, again := f.at[l.key]; again {
		return f.fault(f.here(), l.key, "the key appears a second time; merge the two lists")
	}
	if c != '[' {
		return f.fault(f.here(), "", fmt.Sprintf("found %s; expected a list; give a COCO annotation file", kind(c)))
	}
	f.at[l.key] = []position{}
	last := 0
	err = f.scanner.list(func(i int) error {
		last = i
		if _, err := f.next(); err != nil {
			return err
		}
		start := f.here()
		if keep {
			f.at[l.key] = append(f.at[l.key], start)
		}
		err := l.read()
		if err == nil {
			last = i + 1
			return nil
		}
		if wrong := (*fieldError)(nil); errors.As(err, &wrong) {
			return f.fault(start, item(l.key, i, wrong.field), wrong.msg)
		}
		return err
	})
	if err != nil {
		return in(item(l.key, last, ""), err)
	}
	return nil
}

// in names the item in an error that does not.
func in(where string, err error) error {
	var e *FormatError
	if errors.As(err, &e) && e.Where == "" {
		e.Where = where
	}
	return err
}

// open makes sure that the file starts with the bracket.
func (f *file) open(bracket byte, want, mend string) error {
	if !f.space() && f.err == nil {
		return f.fault(position{1, 1}, "", fmt.Sprintf("the file is empty; expected %s; give %s", want, mend))
	}
	c, err := f.next()
	if err != nil || c == bracket {
		return err
	}
	start := f.here()
	if err := f.skip(); err != nil {
		return err
	}
	return f.fault(start, "", fmt.Sprintf("found %s; expected %s; give %s", kind(c), want, mend))
}

// close makes sure that nothing follows.
func (f *file) close() error {
	if f.space() {
		return f.fault(f.here(), "", "text follows the end of the JSON value; remove it")
	}
	if f.err != nil {
		return f.early()
	}
	return nil
}

// locate is the locator of the file.
func (f *file) locate(list string, i int, field, msg string) *FormatError {
	return f.fault(f.at[list][i], item(list, i, field), msg)
}

// fieldError is a fault within one item of a list.
type fieldError struct{ field, msg string }

func (e *fieldError) Error() string { return e.field + ": " + e.msg }

func missing(field, want string) error {
	return &fieldError{field, fmt.Sprintf("missing; expected %s; add it or remove the item", want)}
}

// field is a value that may be missing; null is as if it were.
type field[T any] struct {
	v  T
	ok bool
}

func (f *file) integer(name string, to *field[int64]) error {
	c, err := f.next()
	switch {
	case err != nil:
		return err
	case c == 'n':
		*to = field[int64]{}
		return f.literal("null")
	case !startsNumber(c):
		return f.mismatch(name, "an integer")
	}
	n, text, err := f.number()
	if err != nil {
		return err
	}
	if to.v, to.ok = n.integer(text); !to.ok {
		return &fieldError{name, fmt.Sprintf("found %s; expected an integer", clip(string(text)))}
	}
	return nil
}

func (f *file) float(name string, to *field[float64]) error {
	c, err := f.next()
	switch {
	case err != nil:
		return err
	case c == 'n':
		*to = field[float64]{}
		return f.literal("null")
	case !startsNumber(c):
		return f.mismatch(name, "a number")
	}
	n, text, err := f.number()
	if err != nil {
		return err
	}
	if to.v, to.ok = n.float(text); !to.ok {
		return &fieldError{name, fmt.Sprintf("found %s; expected a number that a double can hold", clip(string(text)))}
	}
	return nil
}

const fourNumbers = "four numbers [x, y, width, height]"

// box reads a bbox: exactly four numbers, none of them null.
func (f *file) box(name string, to *field[[4]float64]) error {
	c, err := f.next()
	switch {
	case err != nil:
		return err
	case c == 'n':
		*to = field[[4]float64]{}
		return f.literal("null")
	case c != '[':
		return f.mismatch(name, fourNumbers)
	}
	f.scanner.at++
	for i := range to.v {
		if err := f.coordinate(name, i, &to.v[i]); err != nil {
			return err
		}
	}
	to.ok = true
	return nil
}

// coordinate reads number i of a box and what follows it.
func (f *file) coordinate(name string, i int, to *float64) error {
	c, err := f.next()
	if err != nil {
		return err
	}
	if c == ']' && i == 0 {
		return &fieldError{name, "no numbers; expected " + fourNumbers}
	}
	if !startsNumber(c) {
		return f.mismatchOf(name, i)
	}
	n, text, err := f.number()
	if err != nil {
		return err
	}
	v, ok := n.float(text)
	if !ok {
		return &fieldError{name, fmt.Sprintf("found %s; expected a number that a double can hold", clip(string(text)))}
	}
	*to = v
	return f.separator(name, i)
}

// separator takes what follows number i of a box.
func (f *file) separator(name string, i int) error {
	c, err := f.next()
	if err != nil {
		return err
	}
	last := i == 3
	switch {
	case c == ']' && !last:
		return &fieldError{name, fmt.Sprintf("%d numbers; expected %s", i+1, fourNumbers)}
	case c == ',' && last:
		return &fieldError{name, "more than 4 numbers; expected " + fourNumbers}
	case c != ']' && c != ',':
		return f.unexpected("after array element")
	}
	f.scanner.at++
	return nil
}

// mismatchOf is the error for number i of a box.
func (f *file) mismatchOf(name string, i int) error {
	found, err := f.raw()
	if err != nil {
		return err
	}
	return &fieldError{name, fmt.Sprintf("found %s as number %d; expected %s", found, i+1, fourNumbers)}
}

// flag reads a mark: 0 or 1, and some writers' false or true.
func (f *file) flag(name string, to *bool) error {
	text, err := f.raw()
	if err != nil {
		return err
	}
	switch text {
	case "0", "false", "null":
		*to = false
	case "1", "true":
		*to = true
	default:
		return &fieldError{name, fmt.Sprintf("found %s; expected 0 or 1", text)}
	}
	return nil
}

// string reads a text; null is the empty one.
func (f *file) string(name string, to *string) error {
	c, err := f.next()
	switch {
	case err != nil:
		return err
	case c == 'n':
		*to = ""
		return f.literal("null")
	case c != '"':
		return f.mismatch(name, "a string")
	}
	text, err := f.text()
	if err == nil {
		*to = unquote(text)
	}
	return err
}

// clip shortens a text for an error.
func clip(text string) string {
	if len(text) > maxQuoted {
		return text[:maxQuoted] + "..."
	}
	return text
}
