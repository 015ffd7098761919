package darknet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

// twoLayers has a batch norm of 2 filters over 1 channel of 1x1 (10 floats
// with its statistics), then a plain convolution of 1 filter over those 2 (3
// floats).
func twoLayers(t testing.TB) *graph.Graph {
	return decode(t, "[net]\nwidth=4\nheight=4\nchannels=1\n"+
		"[convolutional]\nbatch_normalize=1\nfilters=2\nactivation=leaky\n"+
		"[convolutional]\nactivation=linear\n")
}

func decode(t testing.TB, cfg string) *graph.Graph {
	t.Helper()
	g, _, err := Decode("x.cfg", strings.NewReader(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// file makes a weights file: three version numbers, the images seen as 4 or 8
// bytes, and floats.
func file(version [3]int32, seen any, floats ...float32) []byte {
	var b bytes.Buffer
	for _, v := range []any{version, seen, floats} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

var current = [3]int32{0, 2, 5}

func upTo(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(i + 1)
	}
	return out
}

func TestDecodeWeights(t *testing.T) {
	want := []*graph.Weights{
		{Bias: []float32{1, 2}, Gamma: []float32{3, 4}, Mean: []float32{5, 6}, Var: []float32{7, 8}, Kernel: []float32{9, 10}},
		{Bias: []float32{11}, Kernel: []float32{12, 13}},
	}
	for _, c := range []struct {
		name   string
		data   []byte
		header Header
	}{
		{"0.2.5", file(current, uint64(1)<<40, upTo(13)...), Header{0, 2, 5, 1 << 40}},
		{"all images seen", file(current, uint64(math.MaxUint64), upTo(13)...), Header{0, 2, 5, math.MaxUint64}},
		{"all images seen, in 32 bits", file([3]int32{0, 1, 0}, uint32(math.MaxUint32), upTo(13)...), Header{0, 1, 0, math.MaxUint32}},
		{"0.2.0", file([3]int32{0, 2, 0}, uint64(3), upTo(13)...), Header{0, 2, 0, 3}},
		{"1.0.0", file([3]int32{1, 0, 0}, uint64(3), upTo(13)...), Header{1, 0, 0, 3}},
		{"0.1.0", file([3]int32{0, 1, 0}, uint32(7), upTo(13)...), Header{0, 1, 0, 7}},
	} {
		for kind, r := range map[string]io.Reader{
			"file": bytes.NewReader(c.data), "stream": struct{ io.Reader }{bytes.NewReader(c.data)},
			"slow stream": iotest.OneByteReader(bytes.NewReader(c.data)),
		} {
			g := twoLayers(t)
			h, err := DecodeWeights("x.weights", r, g)
			if err != nil || h != c.header {
				t.Errorf("%s, %s: header %v, error %v; want %v", c.name, kind, h, err, c.header)
				continue
			}
			if diff := cmp.Diff(want, []*graph.Weights{g.Nodes[0].Weights, g.Nodes[1].Weights}); diff != "" {
				t.Errorf("%s, %s:\n%s", c.name, kind, diff)
			}
		}
	}
}

func TestDecodeWeightsErrors(t *testing.T) {
	with := func(i int, v float32) []byte {
		f := upTo(13)
		f[i] = v
		return file(current, uint64(0), f...)
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	good := file(current, uint64(0), upTo(13)...)
	shifted := upTo(12)
	shifted[6] = -1 // the first variance
	for _, c := range []struct {
		name string
		data []byte
		want []string
	}{
		{"empty", nil, []string{"x.weights: ends within its header"}},
		{"cut in version", good[:11], []string{"ends within its header"}},
		{"cut in seen", good[:19], []string{"ends within its header"}},
		{"a picture", []byte("\xff\xd8\xff\xe0 and so on, for more than twenty bytes"), []string{"this is not a Darknet weights file"}},
		{"text", []byte("version https://host/spec/v1 and so on"), []string{"this is not a Darknet weights file"}},
		{"negative version", file([3]int32{0, -2, 5}, uint64(0), upTo(13)...), []string{"has version 0.-2.5 in its header: this is not a Darknet weights file"}},
		{"far version", file([3]int32{0, 20000, 0}, uint64(0), upTo(13)...), []string{"has version 0.20000.0 in its header"}},
		{"long header said to be short", file([3]int32{0, 1, 0}, uint64(0), upTo(13)...), []string{"holds 14 floats, the network needs 13"}},
		{"short header said to be long", file(current, uint32(0), upTo(13)...), []string{"holds 12 floats, the network needs 13"}},
		{"short header only", file([3]int32{0, 1, 0}, uint32(0)), []string{"holds 0 floats, the network needs 13"}},
		{"cut in short seen", file([3]int32{0, 1, 0}, uint32(0))[:15], []string{"ends within its header"}},
		{"header only", good[:20], []string{"holds 0 floats, the network needs 13: layer 0 (convolutional) is the first layer that does not fit", "after 0 of its 2 bias values"}},
		{"ends in layer 0", good[:20+4*9], []string{"holds 9 floats, the network needs 13: layer 0 (convolutional)", "after 1 of its 2 kernel values"}},
		{"ends after layer 0", good[:20+4*10], []string{"holds 10 floats", "layer 1 (convolutional)", "after 0 of its 1 bias values; it is probably a partial file of the layers up to layer 0 (convolutional), which only start a training: name it as model.backbone"}},
		{"ends after layer 0, with some bytes", good[:20+4*10+3], []string{"holds 10 floats and 3 bytes", "after 0 of its 1 bias values; copy the file again if it was cut short"}},
		{"ends in a float", good[:len(good)-1], []string{"holds 12 floats and 3 bytes, the network needs 13: layer 1 (convolutional)", "after 1 of its 2 kernel values"}},
		{"one more", file(current, uint64(0), upTo(14)...), []string{"holds 14 floats, the network needs 13: all layers are read, and the file goes on after layer 1 (convolutional)", "another network"}},
		{"a byte more", append(slices.Clone(good), 0), []string{"holds 13 floats and 1 bytes, the network needs 13"}},
		{"out of step", file(current, uint64(0), shifted...), []string{"holds 12 floats, the network needs 13: layer 0 (convolutional) is the first layer that does not fit: its variance 0 of 2 is -1", "another network"}},
		{"negative variance", with(7, -.5), []string{"x.weights: layer 0 (convolutional) does not fit: its variance 1 of 2 is -0.5", "another network"}},
		{"nan", with(12, nan), []string{"layer 1 (convolutional) does not fit: its kernel value 1 of 2 is NaN", "diverged"}},
		{"nan variance", with(6, nan), []string{"layer 0 (convolutional) does not fit: its variance value 0 of 2 is NaN"}},
		{"infinite variance", with(7, inf), []string{"layer 0 (convolutional) does not fit: its variance value 1 of 2 is +Inf"}},
		{"minus inf", with(0, -inf), []string{"layer 0 (convolutional) does not fit: its bias value 0 of 2 is -Inf"}},
		{"inf", with(2, inf), []string{"layer 0 (convolutional) does not fit: its gamma value 0 of 2 is +Inf"}},
	} {
		for kind, r := range map[string]io.Reader{
			"file": bytes.NewReader(c.data), "stream": struct{ io.Reader }{bytes.NewReader(c.data)},
		} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				g := twoLayers(t)
				_, err := DecodeWeights("x.weights", r, g)
				var f *FormatError
				if !errors.As(err, &f) || f.File != "x.weights" {
					t.Fatalf("got %T %v", err, err)
				}
				for _, w := range c.want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error %q, want %q", err, w)
					}
				}
				if g.Nodes[0].Weights != nil || g.Nodes[1].Weights != nil {
					t.Error("weights were set")
				}
			})
		}
	}
}

// A file may be out of step long before a variance shows it; the message must
// then name the layer before too.
func TestDecodeWeightsOfWiderNetwork(t *testing.T) {
	const cfg = netOnly + "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nactivation=leaky\n" +
		"[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nactivation=leaky\n"
	wide := decode(t, strings.Replace(cfg, "filters=4", "filters=8", 1))
	fill(wide)
	var data bytes.Buffer
	if err := EncodeWeights(&data, wide, 0); err != nil {
		t.Fatal(err)
	}
	_, err := DecodeWeights("wide.weights", &data, decode(t, cfg))
	// 8·4+8·27 + 4·4+4·8·9 floats against 4·4+4·27 + 4·4+4·4·9.
	const want = "wide.weights: holds 552 floats, the network needs 284: layer 1 (convolutional) is the first layer that does not fit: its variance "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "unless it is layer 0 (convolutional) already") {
		t.Errorf("got %v", err)
	}
}

// fill gives all convolutions weights as they may come out of training:
// gamma and variances positive, the rest of both signs.
func fill(g *graph.Graph) {
	x := uint32(1)
	next := func() float32 {
		x = x*1664525 + 1013904223
		return float32(x>>8)/(1<<23) - 1
	}
	for _, n := range g.Convs() {
		n.Weights = n.Conv().NewWeights(g.ShapeOf(n.Inputs[0]).C)
		for _, values := range [][]float32{n.Weights.Kernel, n.Weights.Bias, n.Weights.Mean} {
			for i := range values {
				values[i] = next()
			}
		}
		for i := range n.Weights.Var {
			n.Weights.Gamma[i], n.Weights.Var[i] = 1.5+next(), 1.5+next()
		}
	}
}

// headed has one batch norm layer, then a head of 2 anchors for n classes.
func headed(classes string, filters string) string {
	return netOnly + "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nactivation=leaky\n" +
		"[convolutional]\nfilters=" + filters + "\nactivation=linear\n" +
		"[yolo]\nclasses=" + classes + "\nnum=2\nanchors=1,2,3,4\n" +
		"[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nactivation=leaky\n"
}

func TestDecodeWeightsOfOtherClasses(t *testing.T) {
	for _, c := range []struct{ have, haveFilters, want, wantFilters string }{
		{"80", "170", "3", "16"}, {"1", "12", "20", "50"},
	} {
		theirs := decode(t, headed(c.have, c.haveFilters))
		fill(theirs)
		// The layer behind the head reads its channels, so it is left out to
		// have the head alone differ.
		theirs.Nodes = theirs.Nodes[:3]
		ours := decode(t, headed(c.want, c.wantFilters))
		ours.Nodes = ours.Nodes[:3]
		var data bytes.Buffer
		if err := EncodeWeights(&data, theirs, 0); err != nil {
			t.Fatal(err)
		}
		_, err := DecodeWeights("x.weights", &data, ours)
		want := "layer 1 (convolutional) is the first layer that does not fit: the file has heads for " + c.have +
			" classes (" + c.haveFilters + " filters), the cfg for " + c.want + " (" + c.wantFilters + " filters)"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A length that is not known must not make the reader allocate what the cfg
// asks for: this one asks for a gigabyte and gets 64 kilobytes.
func TestDecodeWeightsAllocatesAsItReads(t *testing.T) {
	const cfg = "[net]\nwidth=1\nheight=1\nchannels=16384\n[convolutional]\nfilters=16384\nactivation=linear\n"
	g := decode(t, cfg)
	data := file(current, uint64(0), upTo(16384+5)...) // the biases and the start of the kernel
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := DecodeWeights("x.weights", struct{ io.Reader }{bytes.NewReader(data)}, g)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "holds 16389 floats, the network needs 268451840") {
		t.Error(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", got, len(data))
	}
}

func TestDecodeWeightsEndlessStream(t *testing.T) {
	g := decode(t, oneConv)
	_, err := DecodeWeights("zero", io.MultiReader(bytes.NewReader(file(current, uint64(0))), zeros{}), g)
	if err == nil || !strings.Contains(err.Error(), "zero: goes on for more than 1073741824 bytes") {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestDecodeWeightsReadError(t *testing.T) {
	for _, n := range []int{0, 12, 20, 24} {
		r := io.MultiReader(bytes.NewReader(file(current, uint64(0), 1)[:n]), failingReader{})
		if _, err := DecodeWeights("x.weights", r, twoLayers(t)); !errors.Is(err, errDisk) || !strings.HasPrefix(err.Error(), "x.weights: ") {
			t.Errorf("after %d bytes: got %v", n, err)
		}
	}
}

func TestDecodeWeightsKeepsOldOnes(t *testing.T) {
	g := twoLayers(t)
	fill(g)
	before := g.Nodes[0].Weights.Clone()
	if _, err := DecodeWeights("x.weights", bytes.NewReader(file(current, uint64(0), upTo(12)...)), g); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(before, g.Nodes[0].Weights); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeWeights(t *testing.T) {
	g := twoLayers(t)
	want := file(current, uint64(640), upTo(13)...)
	if _, err := DecodeWeights("x.weights", bytes.NewReader(want), g); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := EncodeWeights(&got, g, 640); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got % x (%v)\nwant % x", got.Bytes(), err, want)
	}
}

// The kernel of 256·128·3·3 floats is larger than several chunks.
func TestWeightsAcrossChunks(t *testing.T) {
	g := decode(t, "[net]\nwidth=8\nheight=8\nchannels=128\n[convolutional]\nbatch_normalize=1\nfilters=256\nsize=3\npad=1\nactivation=leaky\n")
	fill(g)
	var data bytes.Buffer
	if err := EncodeWeights(&data, g, 0); err != nil {
		t.Fatal(err)
	}
	if want := 20 + 4*(4*256+256*128*9); data.Len() != want {
		t.Errorf("%d bytes, want %d", data.Len(), want)
	}
	for kind, r := range map[string]io.Reader{"file": bytes.NewReader(data.Bytes()), "stream": iotest.HalfReader(bytes.NewReader(data.Bytes()))} {
		back := g.Clone()
		back.Nodes[0].Weights = nil
		if _, err := DecodeWeights("x.weights", r, back); err != nil {
			t.Fatal(kind, err)
		}
		want, got := g.Nodes[0].Weights, back.Nodes[0].Weights
		if !slices.Equal(got.Kernel, want.Kernel) || !slices.Equal(got.Bias, want.Bias) || !slices.Equal(got.Var, want.Var) {
			t.Errorf("%s: values changed", kind)
		}
	}
}

func TestEncodeWeightsErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(g *graph.Graph)
		want   string
	}{
		{"none", func(g *graph.Graph) { g.Nodes[1].Weights = nil }, "layer 1 (convolutional): has no weights"},
		{"short", func(g *graph.Graph) { g.Nodes[0].Weights.Mean = nil }, "layer 0 (convolutional): mean has 0 values, want 2"},
		{"nan", func(g *graph.Graph) { g.Nodes[1].Weights.Kernel[1] = float32(math.NaN()) }, "layer 1 (convolutional): its kernel value 1 of 2 is NaN"},
		{"variance", func(g *graph.Graph) { g.Nodes[0].Weights.Var[0] = -1 }, "layer 0 (convolutional): its variance 0 of 2 is -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := twoLayers(t)
			fill(g)
			c.change(g)
			if err := EncodeWeights(io.Discard, g, 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			dir := t.TempDir()
			cfg := filepath.Join(dir, "x.cfg")
			if err := Save(cfg, filepath.Join(dir, "x.weights"), g); err == nil || !strings.Contains(err.Error(), "x.weights: ") {
				t.Errorf("save: got %v", err)
			}
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("a failed save left %v", entries)
			}
		})
	}
}

// TestFinite puts values at the ends of every float's range at every place of
// parts around the length of four.
func TestFinite(t *testing.T) {
	good := []uint32{0, 0x80000000, 1, 0x807fffff, 0x00800000, 0x3f800000, 0x7f7fffff, 0xff7fffff}
	bad := []uint32{0x7f800000, 0xff800000, 0x7f800001, 0xffc00000, 0x7fffffff, 0xffffffff}
	for n := range 10 {
		for at := range n {
			part := upTo(n)
			for _, bits := range good {
				if part[at] = math.Float32frombits(bits); !finite(part) {
					t.Errorf("%08x at %d of %d is taken for no number", bits, at, n)
				}
			}
			for _, bits := range bad {
				if part[at] = math.Float32frombits(bits); finite(part) {
					t.Errorf("%08x at %d of %d is taken for a number", bits, at, n)
				}
			}
		}
	}
	if !finite(nil) {
		t.Error("nothing is not finite")
	}
}

type fullWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *fullWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return 0, errFull
	}
	w.left -= len(b)
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	g := decode(t, "[net]\nwidth=8\nheight=8\nchannels=128\n[convolutional]\nfilters=256\nsize=3\npad=1\nactivation=leaky\n")
	fill(g)
	for _, left := range []int{0, chunk, 3 * chunk} {
		if err := EncodeWeights(&fullWriter{left}, g, 0); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: got %v", left, err)
		}
	}
	if err := Encode(&fullWriter{0}, g); !errors.Is(err, errFull) {
		t.Errorf("cfg: got %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	cfg, weights := filepath.Join(dir, "x.cfg"), filepath.Join(dir, "x.weights")
	g := twoLayers(t)
	fill(g)
	if err := os.WriteFile(weights, []byte("an older file"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Save(cfg, weights, g); err != nil {
		t.Fatal(err)
	}
	back, warnings, err := Load(cfg, weights)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for i, n := range g.Nodes {
		if diff := cmp.Diff(n.Weights, back.Nodes[i].Weights); diff != "" {
			t.Error(diff)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left over files: %v", entries)
	}
	raw, _ := os.ReadFile(weights)
	if want := 20 + 4*13; len(raw) != want || binary.LittleEndian.Uint64(raw[12:]) != 0 {
		t.Errorf("weights file has %d bytes, want %d and no images seen", len(raw), want)
	}
}

func TestSaveOnlyOne(t *testing.T) {
	dir := t.TempDir()
	g := twoLayers(t)
	if err := Save(filepath.Join(dir, "only.cfg"), "", g); err != nil {
		t.Errorf("cfg alone, without weights: %v", err)
	}
	fill(g)
	if err := Save("", filepath.Join(dir, "only.weights"), g); err != nil {
		t.Errorf("weights alone: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("files: %v", entries)
	}
}

func TestFilesThatFail(t *testing.T) {
	dir := t.TempDir()
	g := twoLayers(t)
	fill(g)
	cfg, weights := filepath.Join(dir, "x.cfg"), filepath.Join(dir, "x.weights")
	if err := Save(cfg, weights, g); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(weights, 40); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no cfg", loadError(missing, ""), missing},
		{"no weights", loadError(cfg, missing), missing},
		{"folder for weights", loadError(cfg, dir), dir},
		{"folder for cfg", loadError(dir, ""), dir},
		{"short weights", loadError(cfg, weights), weights + ": holds 5 floats, the network needs 13"},
		{"exchanged", loadError(weights, cfg), weights + ": holds binary data"},
		{"cfg as weights", loadError(cfg, cfg), cfg + ": has version"},
		{"cfg into nowhere", Save(filepath.Join(missing, "x.cfg"), "", g), filepath.Join(missing, "x.cfg")},
		{"weights into nowhere", Save("", filepath.Join(missing, "x.weights"), g), filepath.Join(missing, "x.weights")},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, c.err, c.want)
		}
	}
}

func loadError(cfg, weights string) error {
	_, _, err := Load(cfg, weights)
	return err
}

// TestSaveTouchesBothOrNone: a file that cannot be written leaves the other one
// as it was.
func TestSaveTouchesBothOrNone(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	g := twoLayers(t)
	fill(g)
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte("an older file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(dir, "missing", "x"), folder} {
		for _, paths := range [][2]string{{old, bad}, {bad, old}} {
			if err := Save(paths[0], paths[1], g); err == nil || !strings.Contains(err.Error(), bad+": ") {
				t.Errorf("%v: error %v, want one about %s", paths, err, bad)
			}
			if text, err := os.ReadFile(old); err != nil || string(text) != "an older file" {
				t.Errorf("%v: the other file is now %q (%v)", paths, text, err)
			}
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("files: %v", entries)
	}
	if err := Save("", old, g); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file that was replaced has mode %v (%v), want 0600", info.Mode(), err)
	}
}

// TestPartialWeights writes the first layers of a network and reads them into
// another one, which keeps its other weights.
func TestPartialWeights(t *testing.T) {
	g := twoLayers(t)
	if _, err := DecodeWeights("x.weights", bytes.NewReader(file(current, uint64(5), upTo(13)...)), g); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := EncodePartialWeights(&out, g, 1, 0); err != nil {
		t.Fatal(err)
	}
	if want := file(current, uint64(0), upTo(10)...); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("wrote %v, want %v", out.Bytes(), want)
	}
	to := twoLayers(t)
	to.Nodes[1].Weights = &graph.Weights{Bias: []float32{7}, Kernel: []float32{8, 9}}
	h, layers, err := DecodePartialWeights("x.conv.1", bytes.NewReader(out.Bytes()), to)
	if err != nil || layers != 1 || h != (Header{0, 2, 5, 0}) {
		t.Fatalf("%d layers, header %v, error %v; want 1", layers, h, err)
	}
	if diff := cmp.Diff(g.Nodes[0].Weights, to.Nodes[0].Weights); diff != "" {
		t.Error(diff)
	}
	if to.Nodes[1].Weights.Bias[0] != 7 {
		t.Error("the second layer lost its weights")
	}
	if _, layers, err := DecodePartialWeights("x.weights", bytes.NewReader(file(current, uint64(0), upTo(13)...)), to); err != nil || layers != 2 {
		t.Errorf("a whole file: %d layers, %v; want 2", layers, err)
	}
}

func TestPartialWeightsErrors(t *testing.T) {
	nan := upTo(10)
	nan[9] = float32(math.NaN())
	for _, c := range []struct {
		data []byte
		want string
	}{
		{file(current, uint64(0), upTo(9)...), "x.conv: holds 9 floats, which is no whole number of layers: it stops in layer 0 (convolutional); "},
		{file(current, uint64(0), upTo(12)...), "holds 12 floats, which is no whole number of layers: it stops in layer 1 (convolutional)"},
		{file(current, uint64(0), upTo(14)...), "holds 14 floats, which is no whole number of layers: it stops in layer 1 (convolutional)"},
		{file(current, uint64(0), upTo(10)...)[:59], "holds 9 floats and 3 bytes"},
		{file(current, uint64(0)), "holds 0 floats, which is no whole number"},
		{file(current, uint64(0), nan...), "layer 0 (convolutional) does not fit: its kernel value 1 of 2 is NaN"},
		{nil, "ends within its header"},
	} {
		_, _, err := DecodePartialWeights("x.conv", bytes.NewReader(c.data), twoLayers(t))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, _, err := DecodePartialWeights("x.conv", struct{ io.Reader }{bytes.NewReader(file(current, uint64(0), upTo(10)...))}, twoLayers(t)); err == nil {
		t.Error("a partial file of unknown length is read")
	}
	for _, layers := range []int{0, 3, -1} {
		if err := EncodePartialWeights(io.Discard, twoLayers(t), layers, 0); err == nil {
			t.Errorf("%d layers of 2 are written", layers)
		}
	}
}

// TestShortcutWeights: a shortcut's weights stand at its place in the file.
func TestShortcutWeights(t *testing.T) {
	g := decode(t, "[net]\nwidth=4\nheight=4\nchannels=1\n"+
		"[convolutional]\nactivation=linear\n[convolutional]\nactivation=linear\n"+
		"[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=relu\n[convolutional]\nactivation=linear\n")
	raw := file(current, uint64(0), upTo(8)...)
	if _, err := DecodeWeights("x.weights", bytes.NewReader(raw), g); err != nil {
		t.Fatal(err)
	}
	if got := g.Nodes[2].Weights.Scale; !slices.Equal(got, []float32{5, 6}) {
		t.Errorf("scale %v, want 5 and 6", got)
	}
	var out bytes.Buffer
	if err := EncodeWeights(&out, g, 0); err != nil || !bytes.Equal(out.Bytes(), raw) {
		t.Errorf("wrote %v (%v), want %v", out.Bytes(), err, raw)
	}
}
