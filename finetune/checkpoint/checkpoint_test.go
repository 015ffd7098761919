package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The parts of a small file, written out from the format's description.
const (
	header  = `{"epoch":3}`
	start   = "\x89YPC\r\n\x1a\n" + "\x01\x00\x00\x00" + "\x03\x00\x00\x00" + "\x0b\x00\x00\x00" + header
	floats  = "\x01\x00\x01\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" + "w" + "\x00\x00\x80\x3f" + "\x00\x00\x00\xc0" // 1, -2
	numbers = "\x03\x00\x02\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "rng" + "\x08\x07\x06\x05\x04\x03\x02\x01"
	empty   = "\x04\x00\x03\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "none"
)

// summed is a part and its checksum.
func summed(part string) string {
	return part + string(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(part))))
}

func smallFile() string { return summed(start) + summed(floats) + summed(numbers) + summed(empty) }

func small() *Checkpoint {
	c := &Checkpoint{Header: []byte(header)}
	c.AddFloat32("w", []float32{1, -2})
	c.AddUint64("rng", []uint64{0x0102030405060708})
	c.AddBytes("none", []byte{})
	return c
}

func decode(s string) (*Checkpoint, error) {
	return Decode("f.ckpt", strings.NewReader(s), int64(len(s)))
}

func encode(t interface{ Fatal(...any) }, c *Checkpoint) []byte {
	var b bytes.Buffer
	if err := Encode(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFormat(t *testing.T) {
	if got := encode(t, small()); string(got) != smallFile() {
		t.Errorf("encoded\n%q, want\n%q", got, smallFile())
	}
	got, err := decode(smallFile())
	if err != nil || !reflect.DeepEqual(got, small()) {
		t.Errorf("decoded %+v, %v; want %+v", got, err, small())
	}
}

// The CRC-32 of "123456789" is the algorithm's published check value.
func TestChecksumAlgorithm(t *testing.T) {
	e := &encoder{w: bufio.NewWriter(io.Discard)}
	e.write([]byte("12345"))
	e.write([]byte("6789"))
	if e.err != nil || e.sum != 0xcbf43926 {
		t.Errorf("checksum %08x, want cbf43926", e.sum)
	}
}

func TestBadFiles(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(smallFile(), old, new, 1) }
	huge := func(kind string) string {
		return "\x01\x00" + kind + "\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff" + "w"
	}
	head := func(s string) string { return summed(s) }
	one := "\x89YPC\r\n\x1a\n\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00{}"
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "byte 0: the file ends within the magic number"},
		{"a weights file", "\x00\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00", "byte 0: starts with 00 00 00 00 02 00 00 00; want 89 59 50 43"},
		{"text mode", replace("\r\n", "\n"), "changed as text on its way"},
		{"version 0", replace("\n\x01\x00", "\n\x00\x00"), "byte 8: version 0; want 1"},
		{"too many sections", replace("\x03\x00\x00\x00\x0b", "\x03\x00\x20\x00\x0b"), "2097155 sections"},
		{"huge header", replace("\x0b\x00\x00\x00{", "\x0b\x00\x00\x7f{"), "a header of 2130706443 bytes"},
		{"header over the file", replace("\x0b\x00\x00\x00{", "\x0b\x10\x00\x00{"), "ends within the header: 4107 bytes wanted"},
		{"header is text", head("\x89YPC\r\n\x1a\n\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00hi"), "byte 20: the header is no JSON object"},
		{"header is a list", head("\x89YPC\r\n\x1a\n\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00[]"), "no JSON object"},
		{"damaged header", replace("epoch", "epocj"), "byte 31: checksum of the header is"},
		{"damaged float", replace("\x80\x3f", "\x80\x3e"), `checksum of section 0 ("w") is`},
		{"damaged name", replace("rng", "rnf"), `checksum of section 1 ("rnf") is`},
		{"damaged number", replace("\x08\x07", "\x08\x06"), `checksum of section 1 ("rng") is`},
		{"unknown kind", head(one) + summed("\x01\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00w"), "section 0: unknown kind 7; want 1 (float32)"},
		{"huge float32", head(one) + huge("\x01"), `section 0 ("w"): declares 18446744073709551615 float32 values, but only 0 bytes are left`},
		{"huge uint64", head(one) + huge("\x02"), "uint64 values, but only 0 bytes"},
		{"huge bytes", head(one) + huge("\x03"), "bytes values, but only 0 bytes"},
		{"no name", head(one) + summed("\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"), `section 0: name ""`},
		{"name not UTF-8", head(one) + summed("\x01\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff"), "bytes of UTF-8"},
		{"name twice", summed(start) + summed(floats) + summed(numbers) + summed(numbers), `section 2: name "rng" is taken`},
		{"trailing bytes", smallFile() + "x", "1 bytes follow the last section"},
		{"section missing", summed(start) + summed(floats), "the file ends within section 1: 12 bytes wanted, 0 left"},
	} {
		got, err := decode(c.file)
		var bad *FormatError
		if got != nil || !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "f.ckpt: byte ") {
			t.Errorf("%s: got %v, error %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestVersionFromTheFuture(t *testing.T) {
	_, err := decode(strings.Replace(smallFile(), "\n\x01\x00", "\n\x02\x00", 1))
	var bad *UnsupportedError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "f.ckpt: checkpoint version 2; this program reads version 1") {
		t.Errorf("error %v", err)
	}
}

// Every proper beginning of a file is an error that names the part it ends in.
func TestTruncation(t *testing.T) {
	file := smallFile()
	ends := []struct {
		end  int
		part string
	}{
		{8, "magic number"}, {12, "version"}, {20, "header's length"}, {31, "the header"}, {35, "checksum of the header"},
		{47, "section 0"}, {48, "section 0: the name"}, {56, `section 0 ("w")`}, {60, `checksum of section 0 ("w")`},
		{72, "section 1"}, {75, "section 1: the name"}, {83, `section 1 ("rng")`}, {87, `checksum of section 1 ("rng")`},
		{99, "section 2"}, {103, "section 2: the name"}, {107, `checksum of section 2 ("none")`},
	}
	if last := ends[len(ends)-1].end; last != len(file) {
		t.Fatalf("the file has %d bytes, the table %d", len(file), last)
	}
	part := 0
	for n := range file {
		if n == ends[part].end {
			part++
		}
		_, err := decode(file[:n])
		if err == nil || !strings.Contains(err.Error(), ends[part].part) {
			t.Errorf("first %d bytes: error %v, want %q", n, err, ends[part].part)
		}
		// The same when the reader ends before the size says so.
		_, err = Decode("f.ckpt", strings.NewReader(file[:n]), int64(len(file)))
		if err == nil || !strings.Contains(err.Error(), ends[part].part) {
			t.Errorf("first %d bytes, full size: error %v, want %q", n, err, ends[part].part)
		}
	}
}

// No single changed bit goes unnoticed.
func TestFlippedBits(t *testing.T) {
	file := smallFile()
	for i := range len(file) * 8 {
		b := []byte(file)
		b[i/8] ^= 1 << (i % 8)
		if c, err := decode(string(b)); err == nil {
			t.Errorf("bit %d of byte %d: decoded %+v", i%8, i/8, c)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestReadError(t *testing.T) {
	r := io.MultiReader(strings.NewReader(smallFile()[:40]), brokenReader{})
	_, err := Decode("f.ckpt", r, int64(len(smallFile())))
	var bad *FormatError
	if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), "f.ckpt: section 0: disk on fire") {
		t.Errorf("error %v", err)
	}
}

// Every bit of every number survives, over block boundaries too.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Checkpoint{Header: []byte("{}")}
		for i, n := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 3, block - 1, block, block + 1, 3*block + 7}), 0, 5).Draw(t, "sizes") {
			name := fmt.Sprintf("%d ü", i)
			seed := rapid.Uint64().Draw(t, "seed")
			switch i % 3 {
			case 0:
				c.AddFloat32(name, make([]float32, n))
			case 1:
				c.AddUint64(name, make([]uint64, n))
			case 2:
				c.AddBytes(name, make([]byte, n))
			}
			fill(&c.Sections[i], seed)
		}
		first := encode(t, c)
		got, err := decode(string(first))
		if err != nil {
			t.Fatal(err)
		}
		if second := encode(t, got); !bytes.Equal(first, second) {
			t.Fatal("decoding and encoding changed the file")
		}
		for i := range c.Sections {
			if !sameBits(&c.Sections[i], &got.Sections[i]) {
				t.Fatalf("section %d changed", i)
			}
		}
	})
}

// fill makes values out of a multiplicative sequence; as float32 bits they
// include NaNs, infinities and denormals.
func fill(s *Section, seed uint64) {
	for i := range s.Len() {
		seed = seed*6364136223846793005 + 1442695040888963407
		switch s.Kind {
		case Float32:
			s.Float32[i] = math.Float32frombits(uint32(seed >> 32))
		case Uint64:
			s.Uint64[i] = seed
		case Bytes:
			s.Bytes[i] = byte(seed >> 56)
		}
	}
}

func sameBits(a, b *Section) bool {
	if a.Name != b.Name || a.Kind != b.Kind || a.Len() != b.Len() {
		return false
	}
	for i, v := range a.Float32 {
		if math.Float32bits(v) != math.Float32bits(b.Float32[i]) {
			return false
		}
	}
	return reflect.DeepEqual(a.Uint64, b.Uint64) && reflect.DeepEqual(a.Bytes, b.Bytes)
}

type scalars struct {
	Epoch  int
	BestAP float64
	RNG    []byte
	Seed   uint64
}

func TestHeader(t *testing.T) {
	want := scalars{Epoch: 7, BestAP: 0.1 + 0.2, RNG: []byte{0, 255}, Seed: math.MaxUint64}
	c := &Checkpoint{}
	if err := c.SetHeader(want); err != nil {
		t.Fatal(err)
	}
	back, err := decode(string(encode(t, c)))
	if err != nil {
		t.Fatal(err)
	}
	var got scalars
	if err := back.ReadHeader(&got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	var other struct{ Epoch int }
	if err := back.ReadHeader(&other); err == nil || !strings.Contains(err.Error(), `unknown field "BestAP"`) {
		t.Errorf("into a struct without the field: error %v", err)
	}
	for _, bad := range []any{3, []int{1}, math.NaN(), map[string]float64{"ap": math.Inf(1)}} {
		if err := c.SetHeader(bad); err == nil || !strings.Contains(err.Error(), "checkpoint: header") {
			t.Errorf("header %v: error %v", bad, err)
		}
	}
}

func TestFind(t *testing.T) {
	c := small()
	s, err := c.Find("w", Float32)
	if err != nil || s.Len() != 2 || s.Float32[1] != -2 {
		t.Errorf("found %+v, %v", s, err)
	}
	if _, err := c.Find("w", Uint64); err == nil || !strings.Contains(err.Error(), `section "w" is float32; want uint64`) {
		t.Errorf("of another kind: error %v", err)
	}
	if _, err := c.Find("v", Float32); err == nil || !strings.Contains(err.Error(), `no section "v"`) {
		t.Errorf("missing: error %v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	sections := func(s ...Section) *Checkpoint { return &Checkpoint{Sections: s} }
	for _, c := range []struct {
		c    *Checkpoint
		want string
	}{
		{&Checkpoint{Header: []byte("3")}, "no JSON object"},
		{&Checkpoint{Header: []byte("{")}, "no JSON object"},
		{&Checkpoint{Header: []byte("{" + strings.Repeat(" ", maxHeader) + "}")}, "no JSON object or over"},
		{sections(Section{Kind: Bytes}), `section 0: name ""`},
		{sections(Section{Name: "a\xff", Kind: Bytes}), "UTF-8"},
		{sections(Section{Name: strings.Repeat("a", maxName+1), Kind: Bytes}), "1 to 65535 bytes"},
		{sections(Section{Name: "a", Kind: Bytes}, Section{Name: "a", Kind: Uint64}), `section 1: name "a" is taken`},
		{sections(Section{Name: "a"}), `section "a": unknown kind 0`},
		{&Checkpoint{Sections: make([]Section, maxSections+1)}, "1048577 sections"},
	} {
		if err := Encode(io.Discard, c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last.ckpt")
	if err := Save(path, &Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, small()); err != nil { // over the old one
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, small()) {
		t.Errorf("loaded %+v, %v; want %+v", got, err, small())
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != smallFile() {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

// A failed save leaves the old file and nothing else.
func TestFailedSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "last.ckpt")
	if err := Save(path, small()); err != nil {
		t.Fatal(err)
	}
	bad := small()
	bad.AddBytes("w", nil)
	if err := Save(path, bad); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("error %v", err)
	}
	if got, err := Load(path); err != nil || !reflect.DeepEqual(got, small()) {
		t.Errorf("the old file became %+v, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v; want 1", len(entries), err)
	}
	if err := Save(filepath.Join(dir, "none", "last.ckpt"), small()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a missing folder: error %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.ckpt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: error %v", err)
	}
}

// FuzzDecode takes the input as a whole file and, with a good header before it
// and a good checksum after it, as a section.
func FuzzDecode(f *testing.F) {
	const one = "\x89YPC\r\n\x1a\n\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00{}"
	f.Add([]byte(smallFile()))
	f.Add([]byte(smallFile()[:60]))
	f.Add([]byte(floats))
	f.Add([]byte(numbers))
	f.Add([]byte(empty))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecode(t, string(data))
		checkDecode(t, summed(one)+summed(string(data)))
	})
}

// checkDecode: no panic, no more memory than the file is long, and what decodes
// encodes to the same bytes.
func checkDecode(t *testing.T, file string) {
	c, err := decode(file)
	if err != nil {
		if c != nil {
			t.Fatal("a checkpoint and an error")
		}
		return
	}
	total := 0
	for i := range c.Sections {
		total += c.Sections[i].Len() * c.Sections[i].Kind.width()
	}
	if total > len(file) {
		t.Fatalf("%d bytes of numbers from a file of %d", total, len(file))
	}
	if again := encode(t, c); string(again) != file {
		t.Fatalf("encoded %q, was %q", again, file)
	}
}
