package darknet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"unsafe"

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
	// chunk is the number of floats that are read and checked at once.
	chunk = 1 << 16
	// untrusted is the number of floats that are allocated at once from a reader
	// whose length is not known.
	untrusted = 1 << 18
	// maxRest bounds how far a reader of unknown length is read to its end.
	maxRest = 1 << 30
)

// array is one run of floats in a weights file.
type array struct {
	node *graph.Node
	graph.Array
}

// arrays lists a network's floats in file order (src/parser.c, save_weights_upto):
// layer by layer, each in the order of graph.Arrays. A layer that uses another's
// weights has none there.
func arrays(g *graph.Graph) []array {
	var out []array
	for _, n := range g.Nodes {
		if n.Shares() {
			continue
		}
		for _, a := range g.Arrays(n) {
			out = append(out, array{n, a})
		}
	}
	return out
}

// before returns the arrays of the layers before number layers.
func before(list []array, layers int) []array {
	i := slices.IndexFunc(list, func(a array) bool { return int(a.node.ID) >= layers })
	if i < 0 {
		return list
	}
	return list[:i]
}

func total(list []array) int64 {
	var n int64
	for _, a := range list {
		n += int64(a.Len)
	}
	return n
}

// fault returns the first impossible value of a part of the array that starts
// at value first, and what it is; -1 if all are possible.
func (a array) fault(first int, part []float32) (i int, what string) {
	negative := func(v float32) bool { return v < leastVariance }
	if finite(part) && !(a.Role == "variance" && slices.ContainsFunc(part, negative)) {
		return -1, ""
	}
	for i, v := range part {
		switch {
		case math.Float32bits(v)&0x7f800000 == 0x7f800000:
			return i, fmt.Sprintf("%s value %d of %d is %v", a.Role, first+i, a.Len, v)
		case v < leastVariance && a.Role == "variance":
			return i, fmt.Sprintf("variance %d of %d is %v, but no variance is negative", first+i, a.Len, v)
		}
	}
	return -1, ""
}

// finite says whether no value is NaN or infinite: those have all bits of the
// exponent set, so that one more there carries into the sign's place,
//
//	(bits & 0x7fffffff) + 0x00800000 >= 0x80000000
//
// The four sums do not wait for each other, and nothing branches on a value.
func finite(part []float32) bool {
	sum := func(v float32) uint32 { return math.Float32bits(v)&0x7fffffff + 0x00800000 }
	var a, b, c, d uint32
	for ; len(part) >= 4; part = part[4:] {
		a |= sum(part[0])
		b |= sum(part[1])
		c |= sum(part[2])
		d |= sum(part[3])
	}
	for _, v := range part {
		a |= sum(v)
	}
	return (a|b|c|d)>>31 == 0
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

	scratch []float32 // for what is not kept
}

// DecodeWeights reads a weights file into the nodes of g; name is the file's
// name for messages. The file must hold exactly the floats that g needs, all
// of them finite and no variance below -1e-6: Darknet itself ignores a surplus
// and leaves missing weights random. On an error g keeps the weights it had.
//
// Beside the weights themselves next to no memory is needed.
func DecodeWeights(name string, r io.Reader, g *graph.Graph) (Header, error) {
	d, h, size, err := open(name, r, g)
	if err != nil {
		return h, err
	}
	list := arrays(g)
	if size >= 0 && size != 4*total(list) {
		return h, d.wrongLength(g, list, size)
	}
	d.known = size >= 0
	return h, d.body(g, list)
}

// DecodePartialWeights reads a file of the weights of g's first layers, such as
// yolov4.conv.137, and returns how many layers those are; the other nodes keep
// the weights they had. The file must end with a layer.
func DecodePartialWeights(name string, r io.Reader, g *graph.Graph) (Header, int, error) {
	d, h, size, err := open(name, r, g)
	if err != nil {
		return h, 0, err
	}
	if size < 0 {
		return h, 0, d.errorf("its length is not known: a partial file is read from a file only")
	}
	all := arrays(g)
	layers, exact := layersIn(all, size)
	if !exact {
		return h, 0, d.errorf("holds %s, which is no whole number of layers: it stops in %v; %s", floatsIn(size), g.Nodes[layers], otherNetwork)
	}
	d.known = true
	return h, layers, d.body(g, before(all, layers))
}

// layersIn returns how many of the first layers take size bytes; if none do
// exactly, the layer in which they end.
func layersIn(list []array, size int64) (layers int, exact bool) {
	sum := int64(0)
	for i, a := range list {
		if sum += 4 * int64(a.Len); sum > size {
			return int(a.node.ID), false
		}
		if last := i+1 == len(list) || list[i+1].node != a.node; sum == size && last {
			return int(a.node.ID) + 1, true
		}
	}
	if len(list) == 0 {
		return 0, false
	}
	return int(list[len(list)-1].node.ID), false
}

// open reads the header and finds out the size of the body, -1 if it can not
// be known.
func open(name string, r io.Reader, g *graph.Graph) (*weightsReader, Header, int64, error) {
	d := &weightsReader{file: name, r: r}
	if err := g.Infer(); err != nil {
		return d, Header{}, 0, err
	}
	size := sizeOf(r)
	h, err := d.header()
	if size >= 0 {
		size -= h.size()
	}
	d.scratch = make([]float32, chunk)
	return d, h, size, err
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
	b := make([]byte, longHeader)
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
func (d *weightsReader) body(g *graph.Graph, list []array) error {
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
	g.LinkShared()
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
		*a.In(weights[a.node]) = values
	}
	return weights, nil, nil
}

// array reads one array in parts, straight into the memory where it stays. Only
// a file of the right length is trusted to hold what the cfg promises; else
// memory grows as the data come in.
func (d *weightsReader) array(a array, keep bool) ([]float32, *misfit, error) {
	var values []float32
	if keep {
		values = make([]float32, 0, min(a.Len, d.trusted()))
	}
	for done := 0; done < a.Len; {
		part := d.scratch[:min(a.Len-done, len(d.scratch))]
		if keep {
			values = slices.Grow(values, len(part))
			part = values[done : done+len(part)]
			values = values[:done+len(part)]
		}
		n, err := d.floats(part)
		if _, what := a.fault(done, part[:n]); what != "" {
			return nil, &misfit{what: "its " + what}, nil
		}
		done += n
		if err == io.EOF {
			return nil, &misfit{what: fmt.Sprintf("the file ends after %d of its %d %s values", done, a.Len, a.Role), end: true}, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return values, nil, nil
}

// trusted is the number of floats that are allocated at once.
func (d *weightsReader) trusted() int {
	if d.known {
		return graph.MaxKernel
	}
	return untrusted
}

// floats fills part and returns how many floats it got; io.EOF comes with the
// whole floats that were left.
func (d *weightsReader) floats(part []float32) (int, error) {
	raw := bytesOf(part)
	got, err := io.ReadFull(d.r, raw)
	d.read += int64(got)
	swap(raw)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	if err != nil && err != io.EOF {
		err = d.wrap(err)
	}
	return got / 4, err
}

// bytesOf returns the memory of v.
func bytesOf(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// swap turns little-endian floats into the machine's, or back.
func swap(raw []byte) {
	if littleEndian {
		return
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// drain counts the bytes that are left.
func (d *weightsReader) drain() (int64, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(d.r, maxRest))
	if err == nil && n == maxRest {
		err = d.errorf("goes on for more than %d bytes after what the network needs", maxRest)
	}
	return n, d.wrap(err)
}

// EncodeWeights writes g's weights with the header 0.2.5. It refuses what
// DecodeWeights would refuse, before it has written anything.
func EncodeWeights(w io.Writer, g *graph.Graph, seen uint64) error {
	return EncodePartialWeights(w, g, len(g.Nodes), seen)
}

// EncodePartialWeights writes the weights of the layers before number layers,
// as Darknet's "partial" command does: what a file like yolov4.conv.137 holds.
func EncodePartialWeights(w io.Writer, g *graph.Graph, layers int, seen uint64) error {
	if err := checkEncode(g, layers); err != nil {
		return err
	}
	head := make([]byte, 0, longHeader)
	for _, v := range []uint32{0, 2, 5} {
		head = binary.LittleEndian.AppendUint32(head, v)
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(head, seen)); err != nil {
		return err
	}
	for _, a := range before(arrays(g), layers) {
		if err := writeFloats(w, *a.In(a.node.Weights)); err != nil {
			return err
		}
	}
	return nil
}

func checkEncode(g *graph.Graph, layers int) error {
	if layers < 1 || layers > len(g.Nodes) {
		return &UnsupportedError{Msg: fmt.Sprintf("%d layers of a network of %d: want 1 to %d", layers, len(g.Nodes), len(g.Nodes))}
	}
	first := &graph.Graph{Net: g.Net, Nodes: g.Nodes[:layers]}
	if err := first.CheckWeights(); err != nil {
		return err
	}
	for _, a := range arrays(first) {
		if _, what := a.fault(0, *a.In(a.node.Weights)); what != "" {
			return &FormatError{Msg: fmt.Sprintf("%v: its %s: it is not written", a.node, what)}
		}
	}
	return nil
}

// writeFloats writes v as it lies in memory, or in pieces where the machine has
// another byte order.
func writeFloats(w io.Writer, v []float32) error {
	if littleEndian {
		_, err := w.Write(bytesOf(v))
		return err
	}
	for part := range slices.Chunk(v, chunk) {
		part = slices.Clone(part)
		swap(bytesOf(part))
		if _, err := w.Write(bytesOf(part)); err != nil {
			return err
		}
	}
	return nil
}
