package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

const (
	magic   = "\x89YPC\r\n\x1a\n"
	version = 1
)

// block is the number of elements that are converted at once.
const block = 4096

// Encode writes the checkpoint.
func Encode(w io.Writer, c *Checkpoint) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	e := &encoder{w: bufio.NewWriterSize(w, 1<<16)}
	e.header(c)
	for i := range c.Sections {
		e.section(&c.Sections[i])
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}

// encoder writes and sums; it keeps the first error.
type encoder struct {
	w   *bufio.Writer
	sum uint32
	err error
	buf [8 * block]byte
}

func (e *encoder) header(c *Checkpoint) {
	h := c.header()
	e.write([]byte(magic))
	e.uint32(version)
	e.uint32(uint32(len(c.Sections)))
	e.uint32(uint32(len(h)))
	e.write(h)
	e.checksum()
}

func (e *encoder) section(s *Section) {
	b := binary.LittleEndian.AppendUint16(e.buf[:0], uint16(len(s.Name)))
	b = binary.LittleEndian.AppendUint16(b, uint16(s.Kind))
	e.write(binary.LittleEndian.AppendUint64(b, uint64(s.Len())))
	e.write([]byte(s.Name))
	switch s.Kind {
	case Float32:
		e.float32s(s.Float32)
	case Uint64:
		e.uint64s(s.Uint64)
	case Bytes:
		e.write(s.Bytes)
	}
	e.checksum()
}

func (e *encoder) float32s(data []float32) {
	for len(data) > 0 {
		n := min(block, len(data))
		b := e.buf[:0]
		for _, v := range data[:n] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		e.write(b)
		data = data[n:]
	}
}

func (e *encoder) uint64s(data []uint64) {
	for len(data) > 0 {
		n := min(block, len(data))
		b := e.buf[:0]
		for _, v := range data[:n] {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		e.write(b)
		data = data[n:]
	}
}

func (e *encoder) uint32(v uint32) { e.write(binary.LittleEndian.AppendUint32(e.buf[:0], v)) }

func (e *encoder) write(b []byte) {
	if e.err != nil {
		return
	}
	e.sum = crc32.Update(e.sum, crc32.IEEETable, b)
	_, e.err = e.w.Write(b)
}

// checksum writes the sum of what was written since the last one.
func (e *encoder) checksum() {
	e.uint32(e.sum)
	e.sum = 0
}
