package darknet

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

// towers has three convolutions with one set of weights and three dilations, and
// references of both kinds.
const towers = "[net]\nwidth=9\nheight=7\nchannels=2\n" +
	"[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n" + // 0
	"[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n" + // 1
	"[convolutional]\nfilters=4\nsize=3\npadding=1\ndilation=2\nactivation=mish\nshare_index=-1\n" + // 2
	"[shortcut]\nfrom=-2,-3\n" + // 3
	"[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\ndilation=3\nactivation=linear\nshare_index=1\n" + // 4
	"[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=1,2\n" // 5, 6

func TestDecodeTowers(t *testing.T) {
	g := decode(t, towers)
	for id, want := range map[graph.NodeID]graph.Conv{
		1: {Filters: 4, Size: 3, Stride: 1, Pad: 1, Groups: 1, Activation: graph.Leaky},
		2: {Filters: 4, Size: 3, Stride: 1, Pad: 2, Groups: 1, Activation: graph.Mish, Dilation: 2, Back: 1},
		4: {Filters: 4, Size: 3, Stride: 2, Pad: 3, Groups: 1, Activation: graph.Linear, Dilation: 3, Back: 3},
	} {
		if d := cmp.Diff(want, *g.Nodes[id].Conv()); d != "" {
			t.Errorf("layer %d: %s", id, d)
		}
	}
	if s := g.Nodes[4].Out; s != (graph.Shape{C: 4, H: 4, W: 5}) {
		t.Errorf("layer 4 makes %v, want 4x4x5", s)
	}
	checkRoundTrip(t, g)
	const canonical = "[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=linear\ndilation=3\nshare_index=-3\n"
	if text := encoded(t, EncodeCanonical, g); !strings.Contains(text, canonical) {
		t.Errorf("no section\n%sin\n%s", canonical, text)
	}
}

// Shared weights stand in the file once, in their owner's place.
func TestSharedWeightsFile(t *testing.T) {
	g := decode(t, towers)
	const (
		first  = 4*4 + 4*2*9
		second = 4 + 4*4*9
		head   = 6 + 6*4
	)
	body := file([3]int32{0, 2, 5}, uint64(7), upTo(first+second+head)...)
	if _, err := DecodeWeights("x.weights", bytes.NewReader(body), g); err != nil {
		t.Fatal(err)
	}
	if err := g.CheckWeights(); err != nil {
		t.Error(err)
	}
	w := g.Nodes[1].Weights
	if g.Nodes[2].Weights != w || g.Nodes[4].Weights != w {
		t.Error("layers 2 and 4 do not have the weights of layer 1")
	}
	if w.Bias[0] != upTo(first + 1)[first] || g.Nodes[5].Weights.Bias[0] != upTo(first + second + 1)[first+second] {
		t.Errorf("biases start with %v and %v", w.Bias[0], g.Nodes[5].Weights.Bias[0])
	}
	var out bytes.Buffer
	if err := EncodeWeights(&out, g, 7); err != nil || !bytes.Equal(out.Bytes(), body) {
		t.Errorf("%d bytes written that differ from the %d read (%v)", out.Len(), len(body), err)
	}
	var partial bytes.Buffer
	if err := EncodePartialWeights(&partial, g, 4, 0); err != nil || partial.Len() != 20+4*(first+second) {
		t.Errorf("the first 4 layers take %d bytes, want %d (%v)", partial.Len(), 20+4*(first+second), err)
	}
	_, layers, err := DecodePartialWeights("x.conv.2", bytes.NewReader(partial.Bytes()), g)
	if err != nil || layers != 2 || g.Nodes[4].Weights != g.Nodes[1].Weights {
		t.Errorf("%d layers of a partial file, want 2 (%v)", layers, err)
	}
	g.Nodes[4].Weights = g.Nodes[1].Weights.Clone()
	if err := EncodeWeights(&out, g, 0); err == nil || !strings.Contains(err.Error(), "layer 4 (convolutional): has weights of its own instead of those of layer 1 (convolutional)") {
		t.Errorf("weights that are not shared: %v", err)
	}
}

// For Darknet the weights stay shared, also where layers get other numbers; for
// OpenCV they are written once for each layer.
func TestPortableShared(t *testing.T) {
	g := decode(t, strings.NewReplacer("dilation=2\n", "", "dilation=3\n", "").Replace(towers))
	fill(g)
	g.LinkShared()
	floats := func(out *graph.Graph) int {
		var b bytes.Buffer
		if err := EncodeWeights(&b, out, 0); err != nil {
			t.Fatal(err)
		}
		return (b.Len() - longHeader) / 4
	}
	whole := floats(g)
	for reader, want := range map[Reader]int{ForDarknet: whole, ForAny: whole + 2*(4+4*4*9), ForOpenCV: whole + 2*(4+4*4*9)} {
		out, _, err := Portable(g, reader)
		if err != nil {
			t.Fatal(err)
		}
		if got := floats(out); got != want {
			t.Errorf("%s: %d floats, want %d", reader, got, want)
		}
		text := encoded(t, EncodeCanonical, out)
		if n := strings.Count(text, "share_index"); n != map[bool]int{true: 2}[reader == ForDarknet] {
			t.Errorf("%s: %d references in\n%s", reader, n, text)
		}
	}
}
