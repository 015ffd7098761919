package darknet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"yoloprune/yolo/graph"
)

// Header opens a weights file: three int32 of the version, then the number of
// images seen in training. That number has 64 bits from version 0.2 on (20
// bytes in all), 32 bits before (16 bytes). All numbers are little-endian.
type Header struct {
	Major, Minor, Revision int32
	Seen                   uint64
}

const (
	shortHeader = 16
	longHeader  = 20
	// maxVersion lies far above every version in use; Darknet itself gives
	// those over 1000 a meaning for fully connected layers.
	maxVersion = 10000
	// leastVariance is below zero, since published files have variances like
	// -7e-44; with every reader's epsilon, 1e-6 or more, such a batch norm
	// still has a root.
	leastVariance = -1e-6
	// chunk is the size in bytes in which floats are converted.
	chunk = 1 << 16
	// trusted is the number of floats that are allocated at once from a reader
	// whose length is not known.
	trusted = 1 << 18
	// maxRest bounds how far a reader of unknown length is read to its end.
	maxRest = 1 << 30
)

// array is one run of floats in a weights file.
type array struct {
	node *graph.Node
	role string
	n    int
}

// arrays lists a network's floats in file order (src/parser.c,
// save_convolutional_weights): for every convolution the biases, which are
// beta under a batch norm; then with one gamma, mean, variance; then the kernel.
func arrays(g *graph.Graph) []array {
	var out []array
	for _, n := range g.Convs() {
		c := n.Conv()
		out = append(out, array{n, "bias", c.Filters})
		if c.BatchNorm {
			out = append(out, array{n, "gamma", c.Filters}, array{n, "mean", c.Filters}, array{n, "variance", c.Filters})
		}
		out = append(out, array{n, "kernel", c.KernelLen(g.ShapeOf(n.Inputs[0]).C)})
	}
	return out
}

func total(list []array) int64 {
	var n int64
	for _, a := range list {
		n += int64(a.n)
	}
	return n
}

// in returns the place of the array in its node's weights.
func (a array) in(w *graph.Weights) *[]float32 {
	switch a.role {
	case "bias":
		return &w.Bias
	case "gamma":
		return &w.Gamma
	case "mean":
		return &w.Mean
	case "variance":
		return &w.Var
	}
	return &w.Kernel
}

// check returns what is impossible about value i of the array, or "".
func (a array) check(i int, v float32) string {
	switch {
	case math.Float32bits(v)&0x7f800000 == 0x7f800000:
		return fmt.Sprintf("%s value %d of %d is %v", a.role, i, a.n, v)
	case v < leastVariance && a.role == "variance":
		return fmt.Sprintf("variance %d of %d is %v, but no variance is negative", i, a.n, v)
	}
	return ""
}

// misfit is the first place where a file does not suit the network.
type misfit struct {
	index int    // in the list of arrays
	what  string // what is wrong there
	end   bool   // the file ends there
}

// weightsReader reads arrays and counts the bytes of the body.
type weightsReader struct {
	file  string
	r     io.Reader
	known bool // the file's length is known and right
	read  int64
	buf   []byte
}

// DecodeWeights reads a weights file into the nodes of g; name is the file's
// name for messages. The file must hold exactly the floats that g needs, all
// of them finite and no variance below -1e-6: Darknet itself ignores a surplus
// and leaves missing weights random. On an error g keeps the weights it had.
func DecodeWeights(name string, r io.Reader, g *graph.Graph) (Header, error) {
	if err := g.Infer(); err != nil {
		return Header{}, err
	}
	size := sizeOf(r)
	d := &weightsReader{file: name, r: r, buf: make([]byte, chunk)}
	h, err := d.header()
	if err != nil {
		return h, err
	}
	if list := arrays(g); size >= 0 && size-h.size() != 4*total(list) {
		return h, d.wrongLength(g, list, size-h.size())
	}
	d.known = size >= 0
	return h, d.body(g)
}

// sizeOf returns the bytes that are left in r, or -1 if it cannot tell.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case interface{ Len() int }:
		return int64(r.Len())
	case interface {
		io.Seeker
		Stat() (fs.FileInfo, error)
	}:
		info, err := r.Stat()
		at, err2 := r.Seek(0, io.SeekCurrent)
		if err == nil && err2 == nil && info.Mode().IsRegular() {
			return info.Size() - at
		}
	}
	return -1
}

func (h Header) size() int64 {
	if h.isLong() {
		return longHeader
	}
	return shortHeader
}

func (h Header) isLong() bool { return int64(h.Major)*10+int64(h.Minor) >= 2 }

func (d *weightsReader) header() (h Header, err error) {
	b := d.buf[:longHeader]
	if err := d.headerBytes(b[:12]); err != nil {
		return h, err
	}
	h.Major = int32(binary.LittleEndian.Uint32(b))
	h.Minor = int32(binary.LittleEndian.Uint32(b[4:]))
	h.Revision = int32(binary.LittleEndian.Uint32(b[8:]))
	for _, v := range []int32{h.Major, h.Minor, h.Revision} {
		if v < 0 || v > maxVersion {
			return h, d.errorf("has version %d.%d.%d in its header: this is not a Darknet weights file", h.Major, h.Minor, h.Revision)
		}
	}
	seen := b[12:h.size()]
	if err := d.headerBytes(seen); err != nil {
		return h, err
	}
	if h.isLong() {
		h.Seen = binary.LittleEndian.Uint64(seen)
	} else {
		h.Seen = uint64(binary.LittleEndian.Uint32(seen))
	}
	return h, nil
}

func (d *weightsReader) headerBytes(b []byte) error {
	_, err := io.ReadFull(d.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return d.errorf("ends within its header: this is not a Darknet weights file")
	}
	return d.wrap(err)
}

func (d *weightsReader) errorf(format string, args ...any) error {
	return &FormatError{d.file, 0, fmt.Sprintf(format, args...)}
}

func (d *weightsReader) wrap(err error) error {
	var format *FormatError
	var path *fs.PathError
	if err == nil || errors.As(err, &format) || errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("%s: %w", d.file, err)
}

// body reads the floats and hands them to the nodes once all is well.
func (d *weightsReader) body(g *graph.Graph) error {
	list := arrays(g)
	weights, bad, err := d.arrays(list, true)
	if err != nil {
		return err
	}
	rest, err := d.drain()
	if err != nil {
		return err
	}
	if found := d.read + rest; found != 4*total(list) {
		return d.describe(g, list, bad, found)
	}
	if bad != nil {
		return d.damaged(list[bad.index], bad)
	}
	for n, w := range weights {
		n.Weights = w
	}
	return nil
}

// arrays reads the arrays up to the first misfit; unless keep is set it only
// looks for that.
func (d *weightsReader) arrays(list []array, keep bool) (map[*graph.Node]*graph.Weights, *misfit, error) {
	weights := make(map[*graph.Node]*graph.Weights)
	for i, a := range list {
		if weights[a.node] == nil {
			weights[a.node] = &graph.Weights{}
		}
		values, bad, err := d.array(a, keep)
		if bad != nil {
			bad.index = i
		}
		if err != nil || bad != nil {
			return nil, bad, err
		}
		*a.in(weights[a.node]) = values
	}
	return weights, nil, nil
}

// array reads one array in chunks. Only a file of the right length is trusted
// to hold what the cfg promises; else memory grows as the data come in.
func (d *weightsReader) array(a array, keep bool) ([]float32, *misfit, error) {
	var values []float32
	if keep && d.known {
		values = make([]float32, 0, a.n)
	} else if keep {
		values = make([]float32, 0, min(a.n, trusted))
	}
	for done := 0; done < a.n; {
		part, err := d.floats(a.n - done)
		for i := 0; i < len(part); i += 4 {
			v := math.Float32frombits(binary.LittleEndian.Uint32(part[i:]))
			if what := a.check(done+i/4, v); what != "" {
				return nil, &misfit{what: "its " + what}, nil
			}
			if keep {
				values = append(values, v)
			}
		}
		done += len(part) / 4
		if err == io.EOF {
			return nil, &misfit{what: fmt.Sprintf("the file ends after %d of its %d %s values", done, a.n, a.role), end: true}, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return values, nil, nil
}

// floats reads up to n floats as bytes; io.EOF comes with the whole floats
// that were left. The bytes hold until the next call.
func (d *weightsReader) floats(n int) ([]byte, error) {
	got, err := io.ReadFull(d.r, d.buf[:min(4*n, len(d.buf))])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	d.read += int64(got)
	if err != nil && err != io.EOF {
		err = d.wrap(err)
	}
	return d.buf[:got/4*4], err
}

// drain counts the bytes that are left.
func (d *weightsReader) drain() (int64, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(d.r, maxRest))
	if err == nil && n == maxRest {
		err = d.errorf("goes on for more than %d bytes after what the network needs", maxRest)
	}
	return n, d.wrap(err)
}

// EncodeWeights writes g's weights with the header 0.2.5. It refuses what
// DecodeWeights would refuse.
func EncodeWeights(w io.Writer, g *graph.Graph, seen uint64) error {
	if err := g.CheckWeights(); err != nil {
		return err
	}
	buf := make([]byte, 0, chunk)
	for _, v := range []uint32{0, 2, 5} {
		buf = binary.LittleEndian.AppendUint32(buf, v)
	}
	buf = binary.LittleEndian.AppendUint64(buf, seen)
	for _, a := range arrays(g) {
		for i, v := range *a.in(a.node.Weights) {
			if what := a.check(i, v); what != "" {
				return &FormatError{Msg: fmt.Sprintf("%v: its %s: it is not written", a.node, what)}
			}
			if len(buf) == cap(buf) {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
	}
	_, err := w.Write(buf)
	return err
}
