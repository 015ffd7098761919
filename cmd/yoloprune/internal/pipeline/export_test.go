package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

const exportedStart = `[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=leaky
`

const exportedEnd = `[convolutional]
filters=6
size=1
activation=linear
[yolo]
mask=0
classes=1
num=1
anchors=4,4
`

// exported returns a network of random weights with some layers between a
// convolution and a head.
func exported(t *testing.T, layers string) *graph.Graph {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.cfg")
	if err := os.WriteFile(path, []byte(exportedStart+layers+exportedEnd), 0o666); err != nil {
		t.Fatal(err)
	}
	return randomModel(t, path, 32, 32)
}

// save writes g's files by one of the ways to do that.
type save func(g *graph.Graph, cfg, weights string) error

func unchanged(g *graph.Graph, cfg, weights string) error {
	return darknet.SaveCanonical(cfg, weights, g)
}

func exportFor(reader darknet.Reader) save {
	return func(g *graph.Graph, cfg, weights string) error {
		_, err := ExportDarknet(g, reader, cfg, weights)
		return err
	}
}

// openCVDiffers saves g and returns how far OpenCV, with the files, is from the
// forward pass of g itself, relative to values above one.
func openCVDiffers(t *testing.T, g *graph.Graph, write save) float64 {
	t.Helper()
	dir := t.TempDir()
	cfg, weights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
	if err := write(g, cfg, weights); err != nil {
		t.Fatal(err)
	}
	img := noise(g.Net.Width, g.Net.Height)
	defer img.Close()
	read, _, err := darknet.Load(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	diff, err := compareHeads(read, cfg, weights, img, run(t, g, img))
	if err != nil {
		t.Fatal(err)
	}
	return diff
}

// TestExportVariances: a channel of tiny variance is multiplied by up to the
// root of ten more in OpenCV, which adds 1e-6 to it and not 1e-5, unless the
// file makes up for that: but for 9e-6/2 of every batch norm's output, or but
// for rounding. The factors gamma are such that outputs are near one.
func TestExportVariances(t *testing.T) {
	g := exported(t, "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=mish\n[shortcut]\nfrom=-2\nactivation=linear\n[route]\nlayers=-1\ngroups=2\ngroup_id=1\n")
	for _, n := range g.Convs()[:2] {
		copy(n.Weights.Var, []float32{0, 1e-7, .5, 1e-5, 0, 1e-7, 3, -7e-44})
		for k, v := range n.Weights.Var {
			if v < 1e-4 {
				n.Weights.Gamma[k] = .002
			}
		}
	}
	for reader, most := range map[darknet.Reader]float64{darknet.ForAny: 1e-5, darknet.ForOpenCV: 2e-6} {
		if diff := openCVDiffers(t, g, exportFor(reader)); !(diff <= most) {
			t.Errorf("--for %s: OpenCV differs by %.2g, want at most %g", reader, diff, most)
		}
	}
	for name, write := range map[string]save{"darknet": exportFor(darknet.ForDarknet), "unchanged": unchanged} {
		if diff := openCVDiffers(t, g, write); !(diff > .1) {
			t.Errorf("%s: OpenCV differs by %.2g only: the variances are not tiny enough for this test", name, diff)
		}
	}
}

// TestExportRewritten has what OpenCV reads differently, but without an error,
// when it is written as it is.
func TestExportRewritten(t *testing.T) {
	for _, c := range []struct {
		name, layers string
	}{
		{"a sum of three", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-1\nactivation=relu\n"},
		{"a sum of four, unequal", "[convolutional]\nfilters=5\nactivation=linear\n[convolutional]\nfilters=11\nactivation=mish\n" +
			"[shortcut]\nfrom=-3,-2,-2\nactivation=leaky\n[convolutional]\nfilters=4\nactivation=swish\n[shortcut]\nfrom=-2\nactivation=linear\n"},
		{"an activation that is no key of maxpool", "[maxpool]\nsize=3\nactivation=logistic\n"},
		{"an activation that is no key of route", "[route]\nlayers=-1\nactivation=logistic\n"},
		{"a factor that is no key of shortcut", "[maxpool]\nsize=3\n[shortcut]\nfrom=-2\nactivation=linear\nalpha=.25\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := exported(t, c.layers)
			for _, reader := range []darknet.Reader{darknet.ForAny, darknet.ForOpenCV} {
				if diff := openCVDiffers(t, g, exportFor(reader)); !(diff <= 2e-5) {
					t.Errorf("--for %s: OpenCV differs by %.2g", reader, diff)
				}
			}
			if diff := openCVDiffers(t, g, unchanged); !(diff > 1e-2) {
				t.Errorf("written as it is, OpenCV differs by %.2g only", diff)
			}
		})
	}
}

// TestExportSlices has slices of several layers, after which OpenCV's numbers of
// layers would be wrong: later layers are referred to from both ends.
func TestExportSlices(t *testing.T) {
	g := exported(t, "[convolutional]\nfilters=12\nsize=3\npad=1\nactivation=mish\n[route]\nlayers=-1,0\ngroups=2\ngroup_id=1\n"+
		"[convolutional]\nfilters=10\nactivation=leaky\n[route]\nlayers=-1,2\n[maxpool]\nsize=3\n[shortcut]\nfrom=4\nactivation=linear\n")
	for _, reader := range []darknet.Reader{darknet.ForAny, darknet.ForOpenCV} {
		if diff := openCVDiffers(t, g, exportFor(reader)); !(diff <= 2e-5) {
			t.Errorf("--for %s: OpenCV differs by %.2g", reader, diff)
		}
	}
}

// TestExportKeepsFunction: for each reader the files, read by this program with
// Darknet's rules, are the network that was exported; those for OpenCV are not,
// by the epsilon that they make up for.
func TestExportKeepsFunction(t *testing.T) {
	g := exported(t, "[maxpool]\nsize=3\n[shortcut]\nfrom=-2,-1\nactivation=relu\n[convolutional]\nfilters=8\nactivation=linear\n"+
		"[route]\nlayers=-1,-2\ngroups=2\ngroup_id=1\n[silence]\n")
	w := g.Nodes[0].Weights
	copy(w.Var, []float32{0, 1e-7})
	w.Gamma[0], w.Gamma[1] = .01, .01
	img := noise(32, 32)
	defer img.Close()
	want := run(t, g, img)
	for _, reader := range darknet.Readers {
		dir := t.TempDir()
		cfg, weights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
		if err := exportFor(reader)(g, cfg, weights); err != nil {
			t.Fatal(err)
		}
		back, _, err := darknet.Load(cfg, weights)
		if err != nil {
			t.Fatal(err)
		}
		diff := furthest(want, run(t, back, img))
		if same := diff <= 1e-5; same != (reader != darknet.ForOpenCV) {
			t.Errorf("--for %s: read back, the heads differ by %.2g", reader, diff)
		}
		shiftBack(back)
		if diff := furthest(want, run(t, back, img)); reader == darknet.ForOpenCV && !(diff <= 1e-5) {
			t.Errorf("--for opencv: without the shift the heads differ by %.2g", diff)
		}
	}
}
