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

const convKind, headKinds = "convolutional ", "convolutional yolo"

// portableCases have a layer between a convolution and a head, what each reader
// makes of it, and the kinds of the layers that are written for the reader.
var portableCases = []struct {
	name, layer string
	reader      Reader
	kinds       string // of the result
	want        string // in a change, or in the error when kinds is empty
}{
	{"plain", "", ForAny, convKind + headKinds, ""},
	{"sum of three", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-2\nactivation=relu\n", ForAny, convKind + "maxpool shortcut shortcut " + headKinds, "layer 2: a sum of 3 layers is written as 2 sums of two"},
	{"sum of three", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-2\n", ForDarknet, convKind + "maxpool shortcut " + headKinds, ""},
	{"slices", "[route]\nlayers=-1,-1\ngroups=2\n", ForOpenCV, convKind + "route route route " + headKinds, "layer 1: slices of 2 layers"},
	{"slices", "[route]\nlayers=-1,-1\ngroups=2\n", ForDarknet, convKind + "route " + headKinds, ""},
	{"one slice", "[route]\nlayers=-1\ngroups=2\n", ForAny, convKind + "route " + headKinds, ""},
	{"silence", "[silence]\n", ForAny, convKind + "route " + headKinds, "layer 1: [silence] is written as a route"},
	{"reorg3d", "[reorg3d]\nstride=2\n", ForAny, "", "line 11: layer 1 (reorg3d): OpenCV does not know [reorg3d]: export --for darknet"},
	{"reorg3d", "[reorg3d]\nstride=2\n", ForDarknet, convKind + "reorg3d " + headKinds, ""},
	{"local_avgpool", "[local_avgpool]\nsize=2\n", ForOpenCV, "", "layer 1 (local_avgpool): OpenCV does not know"},
	{"pixel gate", "[convolutional]\nactivation=logistic\n[scale_channels]\nfrom=-2\nscale_wh=1\n", ForAny, "", "layer 2 (scale_channels): OpenCV does not run scale_wh=1"},
	{"relu6", "[convolutional]\nactivation=relu6\n", ForAny, "", "layer 1 (convolutional): OpenCV does not know activation=relu6"},
	{"relu6", "[convolutional]\nactivation=relu6\n", ForDarknet, convKind + convKind + headKinds, "layer 1: Darknet's CPU code makes zeros of relu6"},
	{"weights", "[shortcut]\nfrom=-1\nweights_type=per_feature\nweights_normalization=relu\n", ForAny, "", "layer 1 (shortcut): OpenCV does not read the weights of a shortcut"},
	{"overread", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-2\n", ForAny, "", "layer 3 (shortcut): Darknet's CPU code reads past the end of layer 1"},
	{"overread", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-2\n", ForDarknet, "", "layer 3 (shortcut): Darknet's CPU code reads past the end of layer 1"},
	{"overread", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-2\n", ForOpenCV, convKind + convKind + "route shortcut " + headKinds, ""},
	// Darknet sums three layers in another way, but not the sums of two that
	// OpenCV needs.
	{"overread of three", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-3,-2\n", ForAny, "", "layer 3 (shortcut): Darknet's CPU code reads past the end of layer 1"},
	{"overread of three", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-3,-2\n", ForDarknet, convKind + convKind + "route shortcut " + headKinds, "layer 3: adds 4 channels to 8"},
	{"overread of three", "[convolutional]\nfilters=4\nactivation=linear\n[route]\nlayers=-2\n[shortcut]\nfrom=-3,-2\n", ForOpenCV, convKind + convKind + "route shortcut shortcut " + headKinds, "layer 3: a sum of 3 layers"},
	{"unequal", "[convolutional]\nfilters=12\nactivation=linear\n[shortcut]\nfrom=-2\n", ForAny, convKind + convKind + "shortcut " + headKinds, "layer 2: adds 8 channels to 12: Darknet and OpenCV add those that both have, other readers refuse that"},
	{"frame", "[convolutional]\npadding=1\nactivation=linear\n", ForAny, "", "layer 1 (convolutional): Darknet's CPU code ignores the padding of size=1"},
	{"frame", "[convolutional]\npadding=1\nactivation=linear\n", ForDarknet, convKind + convKind + headKinds, "layer 1: Darknet's CPU code ignores the padding of size=1"},
	{"frame", "[convolutional]\npadding=1\nactivation=linear\n", ForOpenCV, convKind + convKind + headKinds, ""},
	{"decoded", portableHead, ForAny, "", "layer 3 (convolutional): reads a [yolo], whose output has another shape in OpenCV"},
	{"decoded", portableHead, ForDarknet, convKind + headKinds + " " + headKinds, "layer 3: reads a [yolo], which hands on decoded values"},
	{"stray activation", "[maxpool]\nsize=3\nactivation=relu\n", ForAny, convKind + "maxpool " + headKinds, "layer 1: activation=relu is left out: Darknet does not read it here, and OpenCV does"},
	{"stray activation", "[maxpool]\nsize=3\nactivation=relu\n", ForDarknet, convKind + "maxpool " + headKinds, ""},
	{"alpha", "[shortcut]\nfrom=-1\nalpha=.5\n", ForOpenCV, convKind + "shortcut " + headKinds, "layer 1: alpha=.5 is left out"},
	{"beta", "[shortcut]\nfrom=-1\nbeta=.5\n", ForAny, convKind + "shortcut " + headKinds, "layer 1: beta=.5 is left out"},
	{"dilation", "[convolutional]\nsize=3\npad=1\ndilation=2\nactivation=linear\n", ForAny, "", "layer 1 (convolutional): OpenCV computes it without the dilation of 2: export --for darknet"},
	{"dilation", "[convolutional]\nsize=3\npad=1\ndilation=2\nactivation=linear\n", ForDarknet, convKind + convKind + headKinds, ""},
	{"shared weights", "[convolutional]\nfilters=8\nactivation=linear\n[convolutional]\nfilters=8\nactivation=mish\nshare_index=-1\n", ForAny, convKind + convKind + convKind + headKinds, "layer 2: gets a copy of the weights of layer 1, which it shares"},
	{"shared weights", "[convolutional]\nfilters=8\nactivation=linear\n[convolutional]\nfilters=8\nactivation=mish\nshare_index=1\n", ForDarknet, convKind + convKind + convKind + headKinds, ""},
	{"new_coords", "[convolutional]\nfilters=6\nactivation=logistic\n[yolo]\nclasses=1\nnum=1\nanchors=4,4\nnew_coords=1\n[route]\nlayers=0\n", ForOpenCV, convKind + headKinds + " route " + headKinds, "layer 2: with new_coords OpenCV 4.6 fills the objectness column"},
}

func TestPortable(t *testing.T) {
	for _, c := range portableCases {
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
			var text strings.Builder
			if err := EncodeCanonical(&text, out); err != nil {
				t.Error(err)
			}
			if c.reader != ForDarknet && strings.Contains(c.want, " is left out") && strings.Contains(text.String(), strings.Fields(c.want)[2]) {
				t.Errorf("what is left out is written:\n%s", text.String())
			}
		})
	}
}

// TestPortablePublished has what is changed or refused in the published cfgs for
// Darknet and OpenCV alike, by the number of lines of the summary and their
// words. Two of them are not for OpenCV.
func TestPortablePublished(t *testing.T) {
	const objectness, letterbox = "fills the objectness column", "letter_box=1 is not heeded"
	for _, c := range publishedCfgs {
		g, _, err := Load(shared(t, "cfg", c.name+".cfg"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Portable(g, ForDarknet); err != nil {
			t.Errorf("%s for Darknet: %v", c.name, err)
		}
		out, changes, err := Portable(g, ForAny)
		refused := map[string]string{"yolov4-sam-mish-csp-reorg-bfm": "[reorg3d]", "yolov4-tiny_contrastive": "[local_avgpool]"}[c.name]
		if refused != "" {
			if err == nil || !strings.Contains(err.Error(), refused) {
				t.Errorf("%s: error %v, want %q", c.name, err, refused)
			}
			continue
		}
		if err != nil || len(out.Nodes) != c.layers {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var want []string
		if g.Heads()[0].Yolo().NewCoords {
			want = append(want, objectness)
		}
		if v, _ := graph.Lookup(g.Net.Options, "letter_box"); v == "1" {
			want = append(want, letterbox)
		}
		for _, w := range c.warnings {
			if _, unequal, ok := strings.Cut(w, ": adds"); ok && !slices.Contains(want, "adds"+unequal) {
				want = append(want, "adds"+unequal)
			}
		}
		got := Summary(changes)
		for _, w := range want {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, w) }) {
				t.Errorf("%s: %q, want a line with %q", c.name, got, w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %q, want %d lines", c.name, got, len(want))
		}
	}
}

func TestSummary(t *testing.T) {
	var changes []Change
	for i := range 7 {
		changes = append(changes, Change{graph.NodeID(3 * i), "is written anew"})
	}
	changes = append(changes, Change{5, "goes"}, Change{graph.Input, "all is well"}, Change{6, "goes"})
	want := []string{"layers 0, 3, 6, 9 and 3 more: is written anew", "layers 5, 6: goes", "all is well"}
	if got := Summary(changes); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Summary(nil); len(got) > 0 {
		t.Errorf("no changes give %q", got)
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
