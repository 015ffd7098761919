package checkpoint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// Decode reads a checkpoint of size bytes from r; name is the file's name for
// errors. No length in the file is believed beyond what size leaves for it, so
// a broken file takes no more memory than its own size. A fault of the content is
// a *FormatError or, for another version, an *UnsupportedError.
func Decode(name string, r io.Reader, size int64) (*Checkpoint, error) {
	d := &decoder{name: name, r: bufio.NewReaderSize(r, 1<<16), size: size}
	c, err := d.file()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// decoder reads and sums. offset counts the bytes read.
type decoder struct {
	name         string
	r            *bufio.Reader
	size, offset int64
	sum          uint32
	buf          [8 * block]byte
}

func (d *decoder) errorf(offset int64, format string, args ...any) error {
	return &FormatError{d.name, offset, fmt.Sprintf(format, args...)}
}

func (d *decoder) file() (*Checkpoint, error) {
	c := &Checkpoint{}
	sections, err := d.header(c)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for i := range sections {
		s, err := d.section(i, seen)
		if err != nil {
			return nil, err
		}
		c.Sections = append(c.Sections, s)
	}
	if left := d.size - d.offset; left != 0 {
		return nil, d.errorf(d.offset, "%d bytes follow the last section; want the end of the file", left)
	}
	return c, nil
}

func (d *decoder) header(c *Checkpoint) (sections int, err error) {
	if err := d.start(); err != nil {
		return 0, err
	}
	b, err := d.read(8, "the header's length")
	if err != nil {
		return 0, err
	}
	count, length := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if count > maxSections || length > maxHeader {
		return 0, d.errorf(d.offset-8, "%d sections and a header of %d bytes; the limits are %d and %d", count, length, maxSections, maxHeader)
	}
	at := d.offset
	if c.Header, err = d.bytes(int64(length), "the header"); err != nil {
		return 0, err
	}
	if err := d.checksum("the header"); err != nil {
		return 0, err
	}
	if !isObject(c.Header) {
		return 0, d.errorf(at, "the header is no JSON object")
	}
	return int(count), nil
}

// start reads magic and version.
func (d *decoder) start() error {
	b, err := d.read(len(magic), "the magic number")
	if err != nil {
		return err
	}
	if string(b) != magic {
		return d.errorf(0, "starts with % x; want % x: no checkpoint of this program, or changed as text on its way", b, magic)
	}
	if b, err = d.read(4, "the version"); err != nil {
		return err
	}
	switch v := binary.LittleEndian.Uint32(b); {
	case v > version:
		return &UnsupportedError{d.name, fmt.Sprintf("checkpoint version %d; this program reads version %d: use the newer program that wrote it", v, version)}
	case v < version:
		return d.errorf(d.offset-4, "version %d; want %d", v, version)
	}
	return nil
}

func (d *decoder) section(index int, seen map[string]bool) (Section, error) {
	at, part := d.offset, fmt.Sprintf("section %d", index)
	b, err := d.read(12, part)
	if err != nil {
		return Section{}, err
	}
	nameLen, count := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint64(b[4:])
	s := Section{Kind: Kind(binary.LittleEndian.Uint16(b[2:]))}
	name, err := d.bytes(int64(nameLen), part+": the name")
	if err != nil {
		return Section{}, err
	}
	s.Name = string(name)
	if s.Kind.width() == 0 {
		return Section{}, d.errorf(at+2, "section %d: unknown %v; want 1 (float32), 2 (uint64) or 3 (bytes)", index, s.Kind)
	}
	part = fmt.Sprintf("section %d (%.40q)", index, s.Name)
	if err := d.data(&s, count, part); err != nil {
		return Section{}, err
	}
	if err := d.checksum(part); err != nil {
		return Section{}, err
	}
	if err := checkName(s.Name, seen); err != nil {
		return Section{}, d.errorf(at, "section %d: %v", index, err)
	}
	return s, nil
}

// data reads count elements after checking that they fit in the file.
func (d *decoder) data(s *Section, count uint64, part string) error {
	width := uint64(s.Kind.width())
	if left := uint64(d.size - d.offset); count > left/width {
		return d.errorf(d.offset, "%s: declares %d %v values, but only %d bytes are left", part, count, s.Kind, left)
	}
	n := int(count)
	var err error
	switch s.Kind {
	case Float32:
		s.Float32 = make([]float32, n)
		err = d.blocks(n, 4, part, func(i int, b []byte) { s.Float32[i] = math.Float32frombits(binary.LittleEndian.Uint32(b)) })
	case Uint64:
		s.Uint64 = make([]uint64, n)
		err = d.blocks(n, 8, part, func(i int, b []byte) { s.Uint64[i] = binary.LittleEndian.Uint64(b) })
	case Bytes:
		s.Bytes, err = d.bytes(int64(n), part)
	}
	return err
}

// blocks reads n elements of width bytes and hands each one over.
func (d *decoder) blocks(n, width int, part string, set func(i int, b []byte)) error {
	for first := 0; first < n; first += block {
		count := min(block, n-first)
		b, err := d.read(count*width, part)
		if err != nil {
			return err
		}
		for i := range count {
			set(first+i, b[i*width:])
		}
	}
	return nil
}

// bytes reads n bytes into memory of their own.
func (d *decoder) bytes(n int64, part string) ([]byte, error) {
	if left := d.size - d.offset; n > left {
		return nil, d.errorf(d.offset, "the file ends within %s: %d bytes wanted, %d left", part, n, left)
	}
	out := make([]byte, n)
	return out, d.fill(out, part)
}

// read reads n bytes, at most len(buf), that are valid until the next read.
func (d *decoder) read(n int, part string) ([]byte, error) {
	b := d.buf[:n]
	return b, d.fill(b, part)
}

func (d *decoder) fill(b []byte, part string) error {
	if left := d.size - d.offset; int64(len(b)) > left {
		return d.errorf(d.offset, "the file ends within %s: %d bytes wanted, %d left", part, len(b), left)
	}
	n, err := io.ReadFull(d.r, b)
	d.offset += int64(n)
	d.sum = crc32.Update(d.sum, crc32.IEEETable, b[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return d.errorf(d.offset, "the file ends within %s", part)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", d.name, part, err)
	}
	return nil
}

// checksum compares the sum of what was read since the last one.
func (d *decoder) checksum(part string) error {
	want := d.sum
	b, err := d.read(4, "the checksum of "+part)
	if err != nil {
		return err
	}
	d.sum = 0
	if got := binary.LittleEndian.Uint32(b); got != want {
		return d.errorf(d.offset-4, "checksum of %s is %08x; its content gives %08x: the file is damaged", part, got, want)
	}
	return nil
}
