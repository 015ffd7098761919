package darknet

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// maxCfg and maxLayers bound what a cfg can make the reader allocate. The
// largest published cfg has 305 layers in 30 kB.
const (
	maxCfg    = 4 << 20
	maxLayers = 10000
)

// section is one [section] with its options in file order.
type section struct {
	file    string
	name    string // with its brackets
	line    int
	options []*option

	err      error // the first one
	warnings *[]Warning
}

type option struct {
	key, value string
	line       int
	comment    bool // the value was cut at a '#'
	used       bool
}

type lexer struct {
	file     string
	sections []*section
	warnings *[]Warning
}

// lex splits a cfg into sections.
//
// As in Darknet all white space is removed from a line first, a line that
// starts with '#' or ';' is a comment, an option is split at the first '=',
// and of two options with one key the first holds. Darknet crashes on a byte
// order mark, which is skipped here. It has no comment after a value, but its
// number parsing stops there; the text after '#' is dropped with a warning.
func lex(file string, r io.Reader, warnings *[]Warning) ([]*section, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxCfg+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(text) > maxCfg {
		return nil, &FormatError{file, 0, fmt.Sprintf("is over %d bytes long: this is not a cfg", maxCfg)}
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, &FormatError{file, 0, "holds binary data: this is not a cfg (are the cfg and the weights exchanged?)"}
	}
	l := &lexer{file: file, warnings: warnings}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if err := l.add(strip(string(line)), number); err != nil {
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
	l.addOption(line, number)
	return nil
}

func (l *lexer) addSection(line string, number int) error {
	if strings.IndexByte(line, ']') != len(line)-1 {
		return &FormatError{l.file, number, fmt.Sprintf("section %.40q does not end with ']': put the name, its brackets and nothing else on the line", line)}
	}
	if len(l.sections) > maxLayers {
		return &FormatError{l.file, number, fmt.Sprintf("has more than %d layers", maxLayers)}
	}
	l.sections = append(l.sections, &section{file: l.file, name: line, line: number, warnings: l.warnings})
	return nil
}

func (l *lexer) addOption(line string, number int) {
	s := l.sections[len(l.sections)-1]
	key, value, _ := strings.Cut(line, "=")
	value, _, comment := strings.Cut(value, "#")
	if comment {
		s.warn(number, "%s: the text after '#' is ignored: give a comment its own line, for some readers take it as part of the value", key)
	}
	if first := s.peek(key); first != nil {
		s.warn(number, "%s stands twice: the first value, %q in line %d, is used, as in Darknet; other readers take the last", key, first.value, first.line)
		return
	}
	s.options = append(s.options, &option{key: key, value: value, line: number, comment: comment})
}

// peek returns the option with a key without using it up, or nil.
func (s *section) peek(key string) *option {
	for _, o := range s.options {
		if o.key == key {
			return o
		}
	}
	return nil
}

func (s *section) warn(line int, format string, args ...any) {
	*s.warnings = append(*s.warnings, Warning{s.file, line, fmt.Sprintf(format, args...)})
}
