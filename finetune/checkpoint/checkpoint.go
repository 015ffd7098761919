// Package checkpoint reads and writes training checkpoints: one file with a
// JSON object of scalars and any number of named sections of raw numbers.
//
// All numbers are little-endian. A file is
//
//	magic      8 bytes    89 'Y' 'P' 'C' 0D 0A 1A 0A
//	version    uint32     1
//	sections   uint32     how many follow the header
//	length     uint32     of the header in bytes
//	header     bytes      a JSON object
//	checksum   uint32     of everything before it
//
// and each section
//
//	length     uint16     of the name in bytes
//	kind       uint16     1 float32, 2 uint64, 3 bytes
//	count      uint64     elements
//	name       bytes      UTF-8
//	data       count x 4, 8 or 1 bytes
//	checksum   uint32     of the section before it
//
// and nothing after the last. Checksums are CRC-32 (IEEE 802.3). The magic's odd
// bytes, PNG's idea, show a file that was changed as text on its way.
package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"unicode/utf8"

	"github.com/google/renameio/v2"
)

// Checkpoint is the content of a file. Sections keep their order and have
// different names.
type Checkpoint struct {
	Header   json.RawMessage // a JSON object; nil is written as {}
	Sections []Section
}

// Kind is the type of a section's numbers.
type Kind uint16

// The kinds of sections.
const (
	Float32 Kind = 1
	Uint64  Kind = 2
	Bytes   Kind = 3
)

func (k Kind) String() string {
	switch k {
	case Float32:
		return "float32"
	case Uint64:
		return "uint64"
	case Bytes:
		return "bytes"
	}
	return fmt.Sprintf("kind %d", uint16(k))
}

// width is the size of an element in bytes, 0 for an unknown kind.
func (k Kind) width() int {
	switch k {
	case Float32:
		return 4
	case Uint64:
		return 8
	case Bytes:
		return 1
	}
	return 0
}

// Section is a named array. Kind says which of the three slices holds it.
type Section struct {
	Name    string
	Kind    Kind
	Float32 []float32
	Uint64  []uint64
	Bytes   []byte
}

// Len returns the number of elements.
func (s *Section) Len() int {
	switch s.Kind {
	case Float32:
		return len(s.Float32)
	case Uint64:
		return len(s.Uint64)
	}
	return len(s.Bytes)
}

// FormatError says that a file is no valid checkpoint.
type FormatError struct {
	File   string
	Offset int64 // of the part that is wrong, in bytes
	Msg    string
}

func (e *FormatError) Error() string { return fmt.Sprintf("%s: byte %d: %s", e.File, e.Offset, e.Msg) }

// UnsupportedError says that a file is a checkpoint of a version that this
// package does not know.
type UnsupportedError struct{ File, Msg string }

func (e *UnsupportedError) Error() string { return e.File + ": " + e.Msg }

// Limits of the parts of a file.
const (
	maxName     = 1<<16 - 1
	maxHeader   = 1 << 24
	maxSections = 1 << 20
)

// AddFloat32 appends a section. The data is not copied.
func (c *Checkpoint) AddFloat32(name string, data []float32) {
	c.Sections = append(c.Sections, Section{Name: name, Kind: Float32, Float32: data})
}

// AddUint64 appends a section. The data is not copied.
func (c *Checkpoint) AddUint64(name string, data []uint64) {
	c.Sections = append(c.Sections, Section{Name: name, Kind: Uint64, Uint64: data})
}

// AddBytes appends a section. The data is not copied.
func (c *Checkpoint) AddBytes(name string, data []byte) {
	c.Sections = append(c.Sections, Section{Name: name, Kind: Bytes, Bytes: data})
}

// SetHeader stores v, a struct or map that JSON can hold, as the header.
// Finite floats and 64-bit integers come back as they were.
func (c *Checkpoint) SetHeader(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("checkpoint: header: %w", err)
	}
	if !isObject(data) {
		return fmt.Errorf("checkpoint: header is %.20s; want a JSON object", data)
	}
	c.Header = data
	return nil
}

// ReadHeader decodes the header into v; a key that v has no field for is an
// error.
func (c *Checkpoint) ReadHeader(v any) error {
	d := json.NewDecoder(bytes.NewReader(c.header()))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("checkpoint: header: %w", err)
	}
	return nil
}

func (c *Checkpoint) header() []byte {
	if c.Header == nil {
		return []byte("{}")
	}
	return c.Header
}

// isObject says whether data is a valid JSON object.
func isObject(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return json.Valid(data) && len(trimmed) > 0 && trimmed[0] == '{'
}

// Find returns the section of that name and kind; the error says what there is
// instead.
func (c *Checkpoint) Find(name string, kind Kind) (*Section, error) {
	for i := range c.Sections {
		s := &c.Sections[i]
		if s.Name != name {
			continue
		}
		if s.Kind != kind {
			return nil, fmt.Errorf("checkpoint: section %q is %v; want %v", name, s.Kind, kind)
		}
		return s, nil
	}
	return nil, fmt.Errorf("checkpoint: no section %q among %d", name, len(c.Sections))
}

// check says whether the checkpoint can be written.
func (c *Checkpoint) check() error {
	if h := c.header(); len(h) > maxHeader || !isObject(h) {
		return fmt.Errorf("header of %d bytes is no JSON object or over %d", len(h), maxHeader)
	}
	if len(c.Sections) > maxSections {
		return fmt.Errorf("%d sections; the limit is %d", len(c.Sections), maxSections)
	}
	seen := make(map[string]bool, len(c.Sections))
	for i := range c.Sections {
		s := &c.Sections[i]
		if err := checkName(s.Name, seen); err != nil {
			return fmt.Errorf("section %d: %w", i, err)
		}
		if s.Kind.width() == 0 {
			return fmt.Errorf("section %q: unknown %v", s.Name, s.Kind)
		}
	}
	return nil
}

func checkName(name string, seen map[string]bool) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("name %.40q; want 1 to %d bytes of UTF-8", name, maxName)
	}
	if seen[name] {
		return fmt.Errorf("name %.40q is taken", name)
	}
	seen[name] = true
	return nil
}

// Save writes the checkpoint to path. The file appears whole or not at all:
// it is written under a temporary name, flushed to the disk, then renamed.
func Save(path string, c *Checkpoint) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o666))
	if err != nil {
		return fmt.Errorf("save checkpoint %s: %w", path, err)
	}
	defer f.Cleanup()
	if err = Encode(f, c); err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("save checkpoint %s: %w", path, err)
	}
	return nil
}

// Load reads the checkpoint at path.
func Load(path string) (*Checkpoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load checkpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("load checkpoint: %w", err)
	}
	return Decode(path, f, info.Size())
}
