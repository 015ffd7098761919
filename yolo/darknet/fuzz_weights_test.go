package darknet

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

// fuzzedCfgs are the networks whose weights FuzzDecodeWeights reads: those of
// few floats, and one that asks for 600 MB.
var fuzzedCfgs = []string{
	"[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\nbatch_normalize=1\nfilters=2\nactivation=leaky\n[convolutional]\nactivation=linear\n",
	"[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\nactivation=linear\n[convolutional]\nactivation=linear\n" +
		"[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=softmax\n[convolutional]\nactivation=linear\n",
	"[net]\nwidth=4\nheight=4\nchannels=2\n[convolutional]\ngroups=2\nfilters=2\nactivation=linear\n[maxpool]\n" +
		"[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=1,2\n",
	"[net]\nwidth=4\nheight=4\nchannels=1\n[maxpool]\n",
	"[net]\nwidth=1\nheight=1\nchannels=1048576\n[convolutional]\nfilters=16\nsize=3\npad=1\nactivation=linear\n",
}

// fuzzedBytes is more than reading a small file may take: the buffers of a
// file and of a stream, and what the messages need.
const fuzzedBytes = 16 << 20

// FuzzDecodeWeights holds that a file is refused, or gives weights that are
// written as the same bytes; that a stream of it is taken alike; and that memory
// follows the file and not the cfg.
func FuzzDecodeWeights(f *testing.F) {
	for i, floats := range []int{13, 6 + 2, 24, 0, 16 + 5} {
		f.Add(uint8(i), file(current, uint64(i), upTo(floats)...))
		f.Add(uint8(i), file([3]int32{0, 1, 0}, uint32(i), upTo(max(0, floats-1))...))
		f.Add(uint8(i), file(current, uint64(math.MaxUint64), upTo(floats+1)...))
	}
	f.Add(uint8(0), []byte(fuzzedCfgs[0]))
	f.Fuzz(func(t *testing.T, net uint8, data []byte) {
		cfg := fuzzedCfgs[int(net)%len(fuzzedCfgs)]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		checkWeightsFile(t, cfg, data)
		checkPartialFile(t, cfg, data)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(fuzzedBytes+20*len(data)); got > limit {
			t.Errorf("%d bytes were allocated for a file of %d", got, len(data))
		}
	})
}

func checkWeightsFile(t *testing.T, cfg string, data []byte) {
	g, streamed := decode(t, cfg), decode(t, cfg)
	h, err := DecodeWeights("x.weights", bytes.NewReader(data), g)
	h2, err2 := DecodeWeights("x.weights", struct{ io.Reader }{bytes.NewReader(data)}, streamed)
	if (err == nil) != (err2 == nil) || h != h2 {
		t.Fatalf("as a file %v %v, as a stream %v %v", h, err, h2, err2)
	}
	if diff := cmp.Diff(weightsOf(g), weightsOf(streamed)); diff != "" {
		t.Fatal(diff)
	}
	if err == nil {
		checkWritten(t, g, len(g.Nodes), h, data)
		return
	}
	checkRefused(t, g, err)
}

func checkPartialFile(t *testing.T, cfg string, data []byte) {
	g := decode(t, cfg)
	h, layers, err := DecodePartialWeights("x.conv", bytes.NewReader(data), g)
	if err == nil {
		checkWritten(t, g, layers, h, data)
		return
	}
	checkRefused(t, g, err)
}

func checkRefused(t *testing.T, g *graph.Graph, err error) {
	t.Helper()
	var format *FormatError
	if !errors.As(err, &format) {
		t.Errorf("a %T: %v", err, err)
	}
	if len(weightsOf(g)) > 0 {
		t.Error("weights were set")
	}
}

// checkWritten holds that the weights are written as they were read. A header
// of another version becomes 0.2.5.
func checkWritten(t *testing.T, g *graph.Graph, layers int, h Header, data []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := EncodePartialWeights(&out, g, layers, h.Seen); err != nil {
		t.Fatal(err)
	}
	if h == (Header{0, 2, 5, h.Seen}) && !bytes.Equal(out.Bytes(), data) || !bytes.Equal(out.Bytes()[longHeader:], data[h.size():]) {
		t.Fatalf("read %x, written %x", data, out.Bytes())
	}
}

func weightsOf(g *graph.Graph) map[graph.NodeID]*graph.Weights {
	all := make(map[graph.NodeID]*graph.Weights)
	for _, n := range g.Nodes {
		if n.Weights != nil {
			all[n.ID] = n.Weights
		}
	}
	return all
}
