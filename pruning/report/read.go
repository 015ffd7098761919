package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/renameio/v2"
)

// FormatError says that a file of the run folder is broken. Line is 0 when
// unknown.
type FormatError struct {
	File string
	Line int
	Msg  string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// maxFileBytes bounds what is read into memory. The largest file, gammas.json
// of a big detector, stays under one megabyte.
const maxFileBytes = 64 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, &FormatError{File: path, Msg: fmt.Sprintf("%d bytes; expected at most %d", info.Size(), maxFileBytes)}
	}
	return os.ReadFile(path)
}

// readJSON decodes a file into v and returns its bytes, nil when there is no
// such file.
func readJSON(path string, v any) (json.RawMessage, error) {
	data, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(path, data, v); err != nil {
		return nil, err
	}
	return data, nil
}

// decodeJSON is json.Unmarshal with the line in the error.
func decodeJSON(path string, data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	e := &FormatError{File: path, Msg: "not valid JSON: " + err.Error()}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		e.Line = lineAt(data, syntax.Offset)
	case errors.As(err, &kind):
		e.Line = lineAt(data, kind.Offset)
		e.Msg = fmt.Sprintf("%s: found a %s; expected %s", orTop(kind.Field), kind.Value, kind.Type)
	}
	return e
}

func orTop(field string) string {
	if field == "" {
		return "top level"
	}
	return field
}

func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// writeFile replaces a file in one step.
func writeFile(path string, data []byte) error { return renameio.WriteFile(path, data, 0o666) }
