package eval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// scanner reads a JSON text (RFC 8259) from front to back and checks its grammar;
// only a buffer of the text is in memory. Line breaks stand between tokens alone,
// so that counting them there gives the place of every error.
type scanner struct {
	name string
	r    io.Reader
	buf  []byte // buf[at:] is still to come
	at   int
	keep int   // buf[keep:] must stay when more is read; -1: buf[at:]
	base int64 // offset of buf[0] in the text
	line int
	head int64 // offset of the line's first byte
	err  error // the reader's
	end  bool
}

const (
	bufferBytes = 256 << 10
	maxToken    = 1 << 20 // bytes of a name or number that is needed whole
	maxDepth    = 1000    // of brackets in what is skipped
)

func newScanner(name string, r io.Reader) (*scanner, error) {
	s := &scanner{name: name, r: r, buf: make([]byte, 0, bufferBytes), keep: -1, line: 1}
	for len(s.buf) < 3 && s.fill() {
	}
	if bytes.HasPrefix(s.buf, []byte{0xff, 0xfe}) || bytes.HasPrefix(s.buf, []byte{0xfe, 0xff}) {
		return nil, &FormatError{File: name, Msg: "the text is UTF-16; expected UTF-8; save it as UTF-8"}
	}
	if bytes.HasPrefix(s.buf, []byte("\xef\xbb\xbf")) {
		s.at, s.head = 3, 3
	}
	return s, nil
}

// more says whether there is another byte, buf[at].
func (s *scanner) more() bool { return s.at < len(s.buf) || s.fill() }

// fill reads on, and moves what must stay to the front of the buffer.
func (s *scanner) fill() bool {
	if s.end {
		return false
	}
	from := s.at
	if s.keep >= 0 {
		from = s.keep
		s.keep = 0
	}
	n := copy(s.buf[:cap(s.buf)], s.buf[from:])
	s.base, s.at = s.base+int64(from), s.at-from
	if n == cap(s.buf) {
		s.buf = append(s.buf[:n], make([]byte, n)...)
	}
	got, err := s.read(s.buf[n:cap(s.buf)])
	s.buf = s.buf[:n+got]
	if err != nil {
		s.end = true
		if err != io.EOF {
			s.err = err
		}
	}
	return s.at < len(s.buf)
}

// read returns at least one byte or an error.
func (s *scanner) read(b []byte) (n int, err error) {
	for range 100 {
		if n, err = s.r.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// space skips white space and says whether anything follows.
func (s *scanner) space() bool {
	for s.more() {
		switch s.buf[s.at] {
		case ' ', '\t', '\r':
		case '\n':
			s.line++
			s.head = s.base + int64(s.at) + 1
		default:
			return true
		}
		s.at++
	}
	return false
}

// next skips white space and returns the byte after it without taking it.
func (s *scanner) next() (byte, error) {
	if !s.space() {
		return 0, s.early()
	}
	return s.buf[s.at], nil
}

// here is the place of the byte to come.
func (s *scanner) here() position { return position{s.line, int(s.base+int64(s.at)-s.head) + 1} }

type position struct{ line, col int }

func (s *scanner) fault(p position, where, msg string) *FormatError {
	return &FormatError{s.name, p.line, p.col, where, msg}
}

// early is the error at the end of the text, or that of the reader.
func (s *scanner) early() error {
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return s.fault(s.here(), "", "the file ends too early; expected the closing bracket; fetch or write it again")
}

// unexpected is the error for the byte to come.
func (s *scanner) unexpected(context string) error {
	if !s.more() {
		return s.early()
	}
	r, _ := utf8.DecodeRune(s.buf[s.at:])
	remedy := "mend the text at this place, or write the file again"
	if r == 'N' || r == 'I' {
		remedy = "NaN and Infinity are not JSON numbers; leave the item out"
	}
	return s.fault(s.here(), "", fmt.Sprintf("not JSON: invalid character %q %s; %s", r, context, remedy))
}

// take skips white space and takes the byte c.
func (s *scanner) take(c byte, context string) error {
	got, err := s.next()
	if err != nil {
		return err
	}
	if got != c {
		return s.unexpected(context)
	}
	s.at++
	return nil
}

// list reads a list whose opening bracket is to come, and has item read each
// item.
func (s *scanner) list(item func(i int) error) error {
	s.at++
	c, err := s.next()
	if err != nil {
		return err
	}
	if c == ']' {
		s.at++
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		if c, err = s.next(); err != nil {
			return err
		}
		if c != ',' && c != ']' {
			return s.unexpected("after array element")
		}
		s.at++
		if c == ']' {
			return nil
		}
	}
}

// object reads an object whose opening bracket is to come, and has member read
// each value. The key is good until member reads.
func (s *scanner) object(member func(key []byte) error) error {
	s.at++
	c, err := s.next()
	if err != nil {
		return err
	}
	if c == '}' {
		s.at++
		return nil
	}
	for {
		key, err := s.key()
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if c, err = s.next(); err != nil {
			return err
		}
		if c != ',' && c != '}' {
			return s.unexpected("after object key:value pair")
		}
		s.at++
		if c == '}' {
			return nil
		}
	}
}

// key reads a key and the colon behind it.
func (s *scanner) key() ([]byte, error) {
	c, err := s.next()
	if err != nil {
		return nil, err
	}
	if c != '"' {
		return nil, s.unexpected("looking for beginning of object key string")
	}
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	s.keep = s.at - len(text)
	err = s.take(':', "after object key")
	text = s.buf[s.keep : s.keep+len(text)]
	s.keep = -1
	if err == nil && bytes.IndexByte(text, '\\') >= 0 {
		return []byte(unquote(text)), nil
	}
	return text[1 : len(text)-1], err
}

// text reads a string and returns it as it stands, quotes included.
func (s *scanner) text() ([]byte, error) {
	s.keep = s.at
	defer func() { s.keep = -1 }()
	if err := s.skipText(); err != nil {
		return nil, err
	}
	return s.buf[s.keep:s.at], nil
}

// unquote returns what a string token stands for.
func unquote(token []byte) string {
	var v string
	_ = json.Unmarshal(token, &v) // its grammar has been checked
	return v
}

// plainByte says which bytes stand for themselves in a string.
var plainByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// skipText skips a string.
func (s *scanner) skipText() error {
	for s.at++; s.more(); s.at++ {
		i := s.at
		for i < len(s.buf) && plainByte[s.buf[i]] {
			i++
		}
		s.at = min(i, len(s.buf)-1)
		if s.keep >= 0 && s.at-s.keep > maxToken {
			return s.fault(s.here(), "", fmt.Sprintf("a text of over %d bytes; expected a name; shorten it", maxToken))
		}
		switch c := s.buf[s.at]; {
		case c == '"':
			s.at++
			return nil
		case c < ' ':
			return s.unexpected("in string literal")
		case c == '\\':
			if err := s.skipEscape(); err != nil {
				return err
			}
		}
	}
	return s.early()
}

// skipEscape skips a backslash and moves to the last byte behind it.
func (s *scanner) skipEscape() error {
	s.at++
	if !s.more() {
		return s.early()
	}
	switch s.buf[s.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return s.unexpected("in string escape code")
	}
	for range 4 {
		s.at++
		if !s.more() {
			return s.early()
		}
		c := s.buf[s.at]
		if lower := c | 0x20; (c < '0' || c > '9') && (lower < 'a' || lower > 'f') {
			return s.unexpected("in \\u hexadecimal character escape")
		}
	}
	return nil
}

// skip skips a value.
func (s *scanner) skip() error { return s.skipAt(0) }

func (s *scanner) skipAt(depth int) error {
	c, err := s.next()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return s.fault(s.here(), "", fmt.Sprintf("brackets are nested more than %d deep; flatten or remove the value", maxDepth))
	}
	switch c {
	case '"':
		return s.skipText()
	case '{':
		return s.object(func([]byte) error { return s.skipAt(depth + 1) })
	case '[':
		return s.list(func(int) error { return s.skipAt(depth + 1) })
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, _, err = s.number()
	return err
}

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if !s.more() || s.buf[s.at] != word[i] {
			return s.unexpected("in literal " + word)
		}
		s.at++
	}
	return nil
}

// kind names the value that starts with c.
func kind(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// maxQuoted is how much of a value an error shows.
const maxQuoted = 40

// raw skips a value and returns the beginning of its text.
func (s *scanner) raw() (string, error) {
	if _, err := s.next(); err != nil {
		return "", err
	}
	for len(s.buf)-s.at <= maxQuoted && s.fill() && !s.end {
	}
	text := string(s.buf[s.at:min(s.at+maxQuoted, len(s.buf))])
	start := s.base + int64(s.at)
	if err := s.skip(); err != nil {
		return "", err
	}
	if n := s.base + int64(s.at) - start; n <= int64(len(text)) {
		return text[:n], nil
	}
	return text + "...", nil
}

// mismatch skips a value of the wrong kind and returns the error for it.
func (s *scanner) mismatch(field, want string) error {
	c, err := s.next()
	if err != nil {
		return err
	}
	found := kind(c)
	if found == "a number" {
		found, err = s.raw()
	} else {
		err = s.skip()
	}
	if err != nil {
		return err
	}
	return &fieldError{field, fmt.Sprintf("found %s; expected %s", found, want)}
}
