package darknet

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

const portableNet = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"

const portableHead = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=4,4\n"

// what joins the words of the changes.
func what(changes []Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, c.String())
	}
	return strings.Join(all, "\n")
}

// TestPortable has a layer between a convolution and a head, what each reader
// makes of it, and the kinds of the layers that are written for the reader.
func TestPortable(t *testing.T) {
	const conv, head = "convolutional ", "convolutional yolo"
	for _, c := range []struct {
		name, layer string
		reader      Reader
		kinds       string // of the result
		want        string // in a change, or in the error when kinds is empty
	}{
		{"plain", "", ForAny, conv + head, ""},
		{"sum of three", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-2\nactivation=relu\n", ForAny, conv + "maxpool shortcut shortcut " + head, "layer 2: a sum of 3 layers is written as 2 sums of two"},
		{"sum of three", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-2\n", ForDarknet, conv + "maxpool shortcut " + head, ""},
		{"slices", "[route]\nlayers=-1,-1\ngroups=2\n", ForOpenCV, conv + "route route route " + head, "layer 1: slices of 2 layers"},
		{"slices", "[route]\nlayers=-1,-1\ngroups=2\n", ForDarknet, conv + "route " + head, ""},
		{"one slice", "[route]\nlayers=-1\ngroups=2\n", ForAny, conv + "route " + head, ""},
		{"silence", "[silence]\n", ForAny, conv + "route " + head, "layer 1: [silence] is written as a route"},
		{"reorg3d", "[reorg3d]\nstride=2\n", ForAny, "", "line 11: layer 1 (reorg3d): OpenCV does not know [reorg3d]: export --for darknet"},
		{"reorg3d", "[reorg3d]\nstride=2\n", ForDarknet, conv + "reorg3d " + head, ""},
		{"local_avgpool", "[local_avgpool]\nsize=2\n", ForOpenCV, "", "layer 1 (local_avgpool): OpenCV does not know"},
		{"pixel gate", "[convolutional]\nactivation=logistic\n[scale_channels]\nfrom=-2\nscale_wh=1\n", ForAny, "", "layer 2 (scale_channels): OpenCV does not run scale_wh=1"},
		{"relu6", "[convolutional]\nactivation=relu6\n", ForAny, "", "layer 1 (convolutional): OpenCV does not know activation=relu6"},
		{"relu6", "[convolutional]\nactivation=relu6\n", ForDarknet, conv + conv + head, "layer 1: Darknet's CPU code makes zeros of relu6"},
		{"weights", "[shortcut]\nfrom=-1\nweights_type=per_feature\nweights_normalization=relu\n", ForAny, "", "layer 1 (shortcut): OpenCV does not read the weights of a shortcut"},
		{"overread", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-2\n", ForAny, "", "layer 3 (shortcut): Darknet's CPU code reads past the end of layer 1"},
		{"overread", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-2\n", ForOpenCV, conv + conv + "route shortcut " + head, ""},
	} {
		t.Run(c.name+" "+string(c.reader), func(t *testing.T) {
			g := decode(t, portableNet+c.layer+portableHead)
			out, changes, err := Portable(g, c.reader)
			if c.kinds == "" {
				var u *UnsupportedError
				if !errors.As(err, &u) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, n := range out.Nodes {
				kinds = append(kinds, n.Op.Kind())
			}
			if got := strings.Join(kinds, " "); got != c.kinds {
				t.Errorf("layers %s, want %s", got, c.kinds)
			}
			if got := what(changes); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("changes %q, want %q", got, c.want)
			}
			if err := EncodeCanonical(&strings.Builder{}, out); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPortableChain: the sums have the inputs of the one, the activation stands
// behind the last, and later layers read that.
func TestPortableChain(t *testing.T) {
	g := decode(t, portableNet+"[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-1\nactivation=relu\n"+portableHead+"[route]\nlayers=2\n"+portableHead)
	out, _, err := Portable(g, ForAny)
	if err != nil {
		t.Fatal(err)
	}
	first, second := out.Nodes[2], out.Nodes[3]
	if !slices.Equal(first.Inputs, []graph.NodeID{1, 0}) || !slices.Equal(second.Inputs, []graph.NodeID{2, 1}) {
		t.Errorf("sums of %v and %v, want [1 0] and [2 1]", first.Inputs, second.Inputs)
	}
	if a, b := first.Op.(*graph.Shortcut).Activation, second.Op.(*graph.Shortcut).Activation; a != graph.Linear || b != graph.Relu {
		t.Errorf("activations %s and %s", a, b)
	}
	if in := out.Nodes[6].Inputs; !slices.Equal(in, []graph.NodeID{3}) {
		t.Errorf("the route reads %v, want the last sum, 3", in)
	}
}

// TestPortableTail: what follows the last head is for training only.
func TestPortableTail(t *testing.T) {
	text := portableNet + portableHead + "[route]\nlayers=0\n[contrastive]\nclasses=2\nyolo_layer=-2\n"
	out, changes, err := Portable(decode(t, text), ForAny)
	if err != nil || len(out.Nodes) != 3 || !strings.HasPrefix(what(changes), "layer 3: 2 layers after the last [yolo] are left out") {
		t.Errorf("%d layers, changes %q, error %v", len(out.Nodes), what(changes), err)
	}
	if out, changes, err = Portable(decode(t, text), ForDarknet); err != nil || len(out.Nodes) != 5 || len(changes) > 0 {
		t.Errorf("for Darknet: %d layers, changes %q, error %v", len(out.Nodes), what(changes), err)
	}
}

// TestPortableVariance: a batch norm's factor gamma/sqrt(var+eps) and offset are
// Darknet's with Darknet's epsilon after scaling, and with OpenCV's after
// shifting; g itself stays as it was.
func TestPortableVariance(t *testing.T) {
	g := decode(t, portableNet+portableHead)
	for _, n := range g.Convs() {
		n.Weights = n.Conv().NewWeights(g.ShapeOf(n.Inputs[0]).C)
		for i := range n.Weights.Kernel {
			n.Weights.Kernel[i] = float32(i%7) - 3
		}
	}
	w := g.Nodes[0].Weights
	copy(w.Var, []float32{0, 1e-7, 1e-5, .01, .5, 1, 40, -7e-44})
	copy(w.Mean, []float32{.5, -.5, .5, -.5, .5, -.5, .5, -.5})
	before := w.Clone()
	for reader, eps := range map[Reader]float64{ForAny: 1e-5, ForOpenCV: 1e-6, ForDarknet: 1e-5} {
		out, _, err := Portable(g, reader)
		if err != nil {
			t.Fatal(err)
		}
		v := out.Nodes[0].Weights
		for k := range v.Var {
			factor := func(w *graph.Weights, eps float64) (kernel, mean float64) {
				s := float64(w.Gamma[k]) / math.Sqrt(float64(w.Var[k])+eps)
				return float64(w.Kernel[27*k+1]) * s, float64(w.Mean[k]) * s
			}
			k1, m1 := factor(before, 1e-5)
			k2, m2 := factor(v, eps)
			if math.Abs(k1-k2) > 1e-5*math.Abs(k1) || math.Abs(m1-m2) > 1e-5*math.Abs(m1) {
				t.Errorf("%s: variance %v: kernel %v and mean %v, want %v and %v", reader, before.Var[k], k2, m2, k1, m1)
			}
			if reader == ForAny && math.Abs(float64(v.Var[k])-1) > 1e-4 && before.Var[k] < 1 {
				t.Errorf("variance %v became %v, want 1", before.Var[k], v.Var[k])
			}
		}
		if diff := cmp.Diff(before, g.Nodes[0].Weights); diff != "" {
			t.Errorf("%s: the network that was given changed:\n%s", reader, diff)
		}
	}
	if _, _, err := Portable(g, "tensorrt"); err == nil {
		t.Error("an unknown reader is accepted")
	}
}

func TestPortableLetterbox(t *testing.T) {
	g := decode(t, strings.Replace(portableNet, "channels=3\n", "channels=3\nletter_box=1\n", 1)+portableHead)
	_, changes, err := Portable(g, ForAny)
	if err != nil || !strings.HasPrefix(what(changes), "letter_box=1 is not heeded by OpenCV") {
		t.Errorf("changes %q, error %v", what(changes), err)
	}
}
