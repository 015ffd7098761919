package labels

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// MaxText bounds a text file other than COCO's JSON.
const MaxText = 1 << 28

// ReadFile reads a text file of at most limit bytes. A byte order mark is
// removed; UTF-16 and other files with zero bytes are refused.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{File: path, Msg: "is not a regular file; expected a text file"}
	}
	return readAll(path, f, limit)
}

func readAll(name string, r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &FormatError{File: name, Msg: fmt.Sprintf("the file has more than %d bytes; split it", limit)}
	}
	return Text(name, data)
}

// Text removes a byte order mark and refuses what is no UTF-8 text.
func Text(name string, data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &FormatError{File: name, Msg: "the file is UTF-16; expected UTF-8; save it again as UTF-8"}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if i := bytes.IndexByte(data, 0); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, &FormatError{File: name, Line: line, Msg: "the file has a zero byte; expected text; fetch it again"}
	}
	return data, nil
}

// Lines splits a text at line ends, which may be CRLF or, in old files, CR.
func Lines(text []byte) []string {
	s := strings.ReplaceAll(string(text), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(s, "\r", "\n"), "\n")
}

// ReadNames reads a names file: one class a line. Blank lines at the end are
// not classes; one in between is an error, since it would shift the others.
func ReadNames(path string) ([]string, error) {
	text, err := ReadFile(path, MaxText)
	if err != nil {
		return nil, err
	}
	return ParseNames(path, text)
}

// ParseNames is ReadNames for a text in memory.
func ParseNames(name string, text []byte) ([]string, error) {
	lines := Lines(text)
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return nil, &FormatError{File: name, Msg: "the file names no class; expected one name a line"}
	}
	first := map[string]int{}
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
		if lines[i] == "" {
			return nil, &FormatError{File: name, Line: i + 1, Msg: "found an empty line between class names; expected one name a line; remove it"}
		}
		if at, twice := first[lines[i]]; twice {
			return nil, &FormatError{File: name, Line: i + 1, Msg: fmt.Sprintf("the name %q stands on line %d, too; give each class its own", lines[i], at)}
		}
		first[lines[i]] = i + 1
	}
	return lines, nil
}
