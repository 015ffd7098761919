package darknet

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// maxCfg, maxLayers and maxOptions bound what a cfg can make the reader
// allocate. The largest published cfg has 305 layers in 30 kB.
const (
	maxCfg     = 4 << 20
	maxLayers  = 10000
	maxOptions = 1000 // of one section
)

// section is one [section] with its options in file order.
type section struct {
	file    string
	name    string // with its brackets
	line    int
	last    int // line of the last option, or of the header
	options []*option
	byKey   map[string]*option

	err      error // the first one
	warnings *[]Warning
}

type option struct {
	key, value string
	line       int
	repeats    []int  // lines of later options with the same key
	comment    string // what was cut off the value, from '#' on
	used       bool
}

type lexer struct {
	file     string
	sections []*section
	warnings *[]Warning
}

// readText reads a whole cfg.
func readText(file string, r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxCfg+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", file, err)
	case len(text) > maxCfg:
		return "", &FormatError{file, 0, fmt.Sprintf("is over %d bytes long: this is not a cfg", maxCfg)}
	case bytes.IndexByte(text, 0) >= 0:
		return "", &FormatError{file, 0, "holds binary data: this is not a cfg (are the cfg and the weights exchanged?)"}
	}
	return string(text), nil
}

const byteOrderMark = "\ufeff"

// lex splits a cfg into sections.
//
// As in Darknet all white space is removed from a line first, a line that
// starts with '#' or ';' is a comment, an option is split at the first '=',
// and of two options with one key the first holds. Darknet crashes on a byte
// order mark, which is skipped here with a warning. It has no comment after a
// value, but its number parsing stops there; the text after '#' is dropped with
// a warning.
func lex(file, text string, warnings *[]Warning) ([]*section, error) {
	l := &lexer{file: file, warnings: warnings}
	rest, marked := strings.CutPrefix(text, byteOrderMark)
	if marked {
		*warnings = append(*warnings, Warning{file, 1, "starts with a byte order mark, which is skipped: Darknet crashes on it: save the file without one"})
	}
	number := 0
	for line := range strings.Lines(rest) {
		number++
		if err := l.add(strip(line), number); err != nil {
			return nil, err
		}
	}
	return l.sections, nil
}

var strip = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace

func (l *lexer) add(line string, number int) error {
	switch {
	case line == "" || line[0] == '#' || line[0] == ';':
		return nil
	case line[0] == '[':
		return l.addSection(line, number)
	case len(l.sections) == 0:
		return &FormatError{l.file, number, fmt.Sprintf("%.40q stands before the first section: a cfg starts with [net]", line)}
	}
	return l.addOption(line, number)
}

func (l *lexer) addSection(line string, number int) error {
	if strings.IndexByte(line, ']') != len(line)-1 {
		return &FormatError{l.file, number, fmt.Sprintf("section %.40q does not end with ']': put the name, its brackets and nothing else on the line", line)}
	}
	if len(l.sections) > maxLayers {
		return &FormatError{l.file, number, fmt.Sprintf("has more than %d layers", maxLayers)}
	}
	s := &section{file: l.file, name: line, line: number, last: number, byKey: make(map[string]*option), warnings: l.warnings}
	l.sections = append(l.sections, s)
	return nil
}

func (l *lexer) addOption(line string, number int) error {
	s := l.sections[len(l.sections)-1]
	s.last = number
	key, value, _ := strings.Cut(line, "=")
	comment := ""
	if i := strings.IndexByte(value, '#'); i >= 0 {
		value, comment = value[:i], value[i:]
		s.warn(number, "%.40s: the text after '#' is ignored: give a comment its own line, for some readers take it as part of the value", key)
	}
	if first := s.peek(key); first != nil {
		first.repeats = append(first.repeats, number)
		s.warn(number, "%.40s stands twice: the first value, %.40q in line %d, is used, as in Darknet; other readers take the last: delete one of them", key, first.value, first.line)
		return nil
	}
	if len(s.options) == maxOptions {
		return &FormatError{l.file, number, fmt.Sprintf("section %.40s has more than %d options", s.name, maxOptions)}
	}
	o := &option{key: key, value: value, line: number, comment: comment}
	s.options = append(s.options, o)
	s.byKey[key] = o
	return nil
}

// peek returns the option with a key without using it up, or nil.
func (s *section) peek(key string) *option { return s.byKey[key] }

// lineOf returns the line of the option with a key, or that of the section.
func (s *section) lineOf(key string) int {
	if o := s.peek(key); o != nil {
		return o.line
	}
	return s.line
}

func (s *section) warn(line int, format string, args ...any) {
	*s.warnings = append(*s.warnings, Warning{s.file, line, fmt.Sprintf(format, args...)})
}
