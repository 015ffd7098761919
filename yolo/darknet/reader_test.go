package darknet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/yolo/graph"
)

// dump prints a graph as text, one layer a line.
func dump(g *graph.Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "net %v%s\n", g.InputShape(), dumpOptions(g.Net.Options))
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%d line %d %v %v %s%s%s\n", n.ID, n.Line, n.Inputs, n.Out, n.Op.Kind(), dumpOp(n.Op), dumpOptions(n.Options))
	}
	return b.String()
}

func dumpOptions(options []graph.Option) string {
	s := ""
	for _, o := range options {
		s += " " + o.Key + "=" + o.Value
	}
	return s
}

func dumpOp(op graph.Op) string {
	switch o := op.(type) {
	case *graph.Conv:
		return fmt.Sprintf(" filters=%d size=%d stride=%d pad=%d groups=%d bn=%v %s", o.Filters, o.Size, o.Stride, o.Pad, o.Groups, o.BatchNorm, o.Activation)
	case *graph.MaxPool:
		return fmt.Sprintf(" size=%d stride=%d padding=%d", o.Size, o.Stride, o.Padding)
	case *graph.Upsample:
		return fmt.Sprintf(" stride=%d", o.Stride)
	case *graph.Shortcut:
		return fmt.Sprintf(" %s", o.Activation)
	case *graph.Route:
		return fmt.Sprintf(" groups=%d group_id=%d", o.Groups, o.GroupID)
	case *graph.Yolo:
		return fmt.Sprintf(" classes=%d mask=%v anchors=%v scale_x_y=%v new_coords=%v ignore=%v truth=%v iou=%v %s %v obj=%v cls=%v max_delta=%v smooth=%v %s %v",
			o.Classes, o.Mask, o.Anchors, o.ScaleXY, o.NewCoords, o.IgnoreThresh, o.TruthThresh, o.IoUThresh, o.IoULoss, o.IoUNormalizer,
			o.ObjNormalizer, o.ClsNormalizer, o.MaxDelta, o.LabelSmooth, o.NMSKind, o.BetaNMS)
	}
	return fmt.Sprintf(" %T", op)
}

// splitDump takes a .dump file apart: the starts of the warnings, in any
// order, and the dump of the graph.
func splitDump(text string) (warnings []string, g string) {
	for line := range strings.Lines(text) {
		if w, ok := strings.CutPrefix(line, "warning "); ok {
			warnings = append(warnings, strings.TrimSpace(w))
		} else {
			g += line
		}
	}
	return warnings, g
}

func TestDecodeGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata has no cfg (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g, warnings, err := Load(file, "")
			if err != nil {
				t.Fatal(err)
			}
			base := strings.TrimSuffix(file, ".cfg")
			wantWarnings, want := splitDump(readFile(t, base+".dump"))
			if got := dump(g); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			checkWarnings(t, file, warnings, wantWarnings)
			var written bytes.Buffer
			if err := Encode(&written, g); err != nil {
				t.Fatal(err)
			}
			if want := readFile(t, base+".written"); written.String() != want {
				t.Errorf("written\n%s\nwant\n%s", written.String(), want)
			}
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func checkWarnings(t *testing.T, file string, got []Warning, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d warnings, want %d: %v", len(got), len(want), got)
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || strings.HasPrefix(g.String(), file+":"+w)
		}
		if !found {
			t.Errorf("no warning %q among %v", w, got)
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i].Line < got[i-1].Line {
			t.Errorf("warnings are out of order: %v", got)
		}
	}
}

const (
	netOnly = "[net]\nwidth=32\nheight=32\nchannels=3\n"
	oneConv = netOnly + "[convolutional]\nfilters=4\nactivation=leaky\n" // lines 5 to 7
	twoConv = oneConv + "[convolutional]\nfilters=6\nactivation=leaky\n" // lines 8 to 10
	oneYolo = netOnly + "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\n"
)

func TestDecodeErrors(t *testing.T) {
	const format, unsupported = false, true
	for _, c := range []struct {
		name, cfg string
		kind      bool
		want      string
	}{
		{"empty", "", format, "x.cfg: has no sections"},
		{"comments only", "# nothing\n;\n", format, "x.cfg: has no sections"},
		{"binary", "[net]\x00", format, "x.cfg: holds binary data"},
		{"huge", strings.Repeat("#", maxCfg+1), format, "is over 4194304 bytes long"},
		{"too many layers", netOnly + strings.Repeat("[convolutional]\n", maxLayers+1), format, "has more than 10000 layers"},
		{"option first", "width=3\n[net]\n", format, `x.cfg:1: "width=3" stands before the first section`},
		{"no net", "[convolutional]\n", format, "x.cfg:1: the first section is [convolutional]"},
		{"net twice", oneConv + "[net]\n", format, "x.cfg:8: a second [net]"},
		{"net without size", "[net]\nchannels=3\n", format, "x.cfg:1: [net] has width 0, height 0, channels 3"},
		{"net negative", "[net]\nwidth=-1\nheight=1\nchannels=3\n", format, "x.cfg:1: [net] has width -1"},
		{"net alone", netOnly, format, "network has no layers"},
		{"net too large", "[net]\nwidth=99999\nheight=99999\nchannels=3\n[convolutional]\nactivation=linear", format, "network input: shape 3x99999x99999"},
		{"inputs", netOnly + "inputs=7\n", format, "x.cfg:5: inputs=7 is not width*height*channels"},
		{"time steps", netOnly + "time_steps=3\n", unsupported, "x.cfg:5: time_steps=3 is not supported"},
		{"open section", netOnly + "[convolutional\n", format, `x.cfg:5: section "[convolutional" does not end with ']'`},
		{"comment at section", netOnly + "[convolutional] # first\n", format, `x.cfg:5: section "[convolutional]#first"`},
		{"section kept", netOnly + "[crnn]\n", unsupported, "x.cfg:5: section [crnn] is not supported: supported are [avgpool contrastive convolutional dropout local_avgpool maxpool reorg reorg3d route sam scale_channels shortcut silence upsample yolo]"},
		{"gaussian", netOnly + "[Gaussian_yolo]\n", unsupported, "section [Gaussian_yolo] is not supported"},
		{"case of section", netOnly + "[Convolutional]\n", unsupported, "section [Convolutional] is not supported"},

		{"number", oneConv + "stride=3abc\n", format, `x.cfg:8: stride: "3abc" is not a number: want a whole number`},
		{"word for number", oneConv + "size=big\n", format, `x.cfg:8: size: "big" is not a number`},
		{"fraction", oneConv + "size=1.5\n", format, `x.cfg:8: size: "1.5" is not a whole number`},
		{"exponent", oneConv + "size=1e0\n", format, `x.cfg:8: size: "1e0" is not a whole number`},
		{"range", oneConv + "size=3000000000\n", format, `x.cfg:8: size: "3000000000" is out of range`},
		{"no value", oneConv + "size=\n", format, "x.cfg:8: size has no value"},
		{"no equals sign", oneConv + "size\n", format, "x.cfg:8: size has no value"},
		{"only a comment", oneConv + "size=#3\n", format, "x.cfg:8: size has no value"},

		{"activation", netOnly + "[convolutional]\nactivation=leeky\n", format, `x.cfg:6: activation: "leeky" is unknown: use one of [linear leaky`},
		{"activation kept", netOnly + "[convolutional]\nactivation=hard_mish\n", unsupported, "x.cfg:6: activation=hard_mish is not supported"},
		{"activation comment", netOnly + "[convolutional]\nactivation=leaky # x\n", format, `x.cfg:6: activation: a comment stands behind "leaky"`},
		{"stride 0", oneConv + "stride=0\n", format, "x.cfg:5: layer 0 (convolutional): filters 4, size 1, stride 0"},
		{"strides", oneConv + "stride_x=2\n", unsupported, "x.cfg:5: stride_x=2 with stride_y=1 is not supported"},
		{"dilation", oneConv + "size=3\ndilation=2\n", unsupported, "x.cfg:9: dilation=2 is not supported: only dilation=1 can be run"},
		{"dilation word", oneConv + "size=3\ndilation=x\n", format, `x.cfg:9: dilation: "x" is not a number`},
		{"antialiasing", oneConv + "antialiasing=1\n", unsupported, "x.cfg:8: antialiasing=1"},
		{"share_index", oneConv + "share_index=-1\n", unsupported, "x.cfg:8: share_index=-1 is not supported: weights shared between layers"},
		{"binary", oneConv + "binary=1\n", unsupported, "x.cfg:8: binary=1"},
		{"xnor", oneConv + "xnor=1\n", unsupported, "x.cfg:8: xnor=1"},
		{"dontload", oneConv + "dontload=1\n", unsupported, "x.cfg:8: dontload=1"},
		{"groups", oneConv + "groups=2\n", format, "x.cfg:5: layer 0 (convolutional): groups 2 must divide both the 3 input channels"},
		{"window", oneConv + "size=33\n", format, "x.cfg:5: layer 0 (convolutional): window of 33 pixels does not fit 32x32"},
		{"kernel too large", oneConv + "size=31\nfilters=1\n[convolutional]\nfilters=1000000\nsize=31\npad=1\nactivation=linear\n", format, "layer 1 (convolutional): kernel of 3.84e+09 weights is over the limit"},

		{"pool depth", oneConv + "[maxpool]\nmaxpool_depth=1\nout_channels=2\n", unsupported, "x.cfg:9: maxpool_depth=1"},
		{"pool antialiasing", oneConv + "[maxpool]\nantialiasing=1\n", unsupported, "x.cfg:9: antialiasing=1"},
		{"pool padding", oneConv + "[maxpool]\nsize=2\npadding=3\n", format, "x.cfg:8: layer 1 (maxpool): size 2, stride 1, padding 3"},
		{"upsample scale", oneConv + "[upsample]\nscale=2\n", unsupported, "x.cfg:9: scale=2"},
		{"downsample", oneConv + "[upsample]\nstride=-2\n", unsupported, "x.cfg:8: stride=-2 is not supported"},

		{"no from", oneConv + "[shortcut]\nactivation=linear\n", format, "x.cfg:8: [shortcut] has no from"},
		{"from itself", twoConv + "[shortcut]\nfrom=2\n", format, "x.cfg:12: from: 2 is layer 2, but this is layer 2 and only earlier ones can be read"},
		{"from before the first", twoConv + "[shortcut]\nfrom=-3\n", format, "x.cfg:12: from: -3 is layer -1"},
		{"weights without normalization", twoConv + "[shortcut]\nfrom=-2\nweights_type=per_feature\n", format, "x.cfg:11: weights_type=per_feature has no weights_normalization"},
		{"unequal pixels", twoConv + "stride=2\n[shortcut]\nfrom=-2\n", format, "x.cfg:12: layer 2 (shortcut): adds shapes 6x16x16 and 4x32x32"},
		{"no layers", oneConv + "[route]\ngroups=2\n", format, "x.cfg:8: [route] has no layers"},
		{"route gap", oneConv + "[route]\nlayers=-1,\n", format, `x.cfg:9: layers: number 2 of the list: "" is not a number`},
		{"route pixels", twoConv + "stride=2\n[route]\nlayers=0,1\n", format, "x.cfg:12: layer 2 (route): joins 32x32 and 16x16 pixels"},
		{"route groups", twoConv + "[route]\nlayers=-1\ngroups=4\n", format, "x.cfg:11: layer 2 (route): groups 4 does not divide 6 channels"},
		{"route group", twoConv + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", format, "groups 2, group_id 2: want 0 <= group_id < groups"},

		{"no anchors", oneYolo, format, "x.cfg:8: anchors has 0 numbers: num=1 needs 2"},
		{"odd anchors", oneYolo + "anchors=1,2,3\nnum=2\n", format, "x.cfg:10: anchors has 3 numbers: num=2 needs 4"},
		{"surplus anchors", oneYolo + "anchors=1,2,3,4\n", format, "x.cfg:10: anchors has 4 numbers: num=1 needs 2"},
		{"zero anchor", oneYolo + "anchors=1,0\n", format, "x.cfg:10: anchors: anchor 0 is 1x0"},
		{"infinite anchor", oneYolo + "anchors=1,inf\n", format, `x.cfg:10: anchors: number 2 of the list: "inf" is not a number`},
		{"mask", oneYolo + "anchors=1,2\nmask=1\n", format, "x.cfg:8: layer 1 (yolo): mask names anchor 1, but there are 1"},
		{"channels", oneYolo + "anchors=1,2,3,4\nnum=2\n", format, "layer 1 (yolo): 1 classes and 2 anchors need 12 channels, the layer before has 6"},
		{"scale_x_y", oneYolo + "anchors=1,2\nscale_x_y=0\n", format, "scale_x_y=0: must be positive"},
		{"iou_loss", oneYolo + "anchors=1,2\niou_loss=siou\n", format, `x.cfg:11: iou_loss: "siou" is unknown: use one of mse, iou, giou, diou, ciou`},
		{"nms_kind", oneYolo + "anchors=1,2\nnms_kind=soft\n", format, `x.cfg:11: nms_kind: "soft" is unknown`},
		{"class map", oneYolo + "anchors=1,2\nmap=9k.map\n", unsupported, "x.cfg:11: map=9k.map is not supported"},
		{"embedding", oneYolo + "anchors=1,2\nembedding_layer=-4\n", format, "x.cfg:11: embedding_layer: -4 is layer -3, but this is layer 1 and only earlier ones can be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, _, err := Decode("x.cfg", strings.NewReader(c.cfg))
			if g != nil || err == nil {
				t.Fatalf("decoded without an error, want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q", err, c.want)
			}
			var f *FormatError
			var u *UnsupportedError
			if errors.As(err, &f) == c.kind || errors.As(err, &u) != c.kind {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

func TestDecodeDefaults(t *testing.T) {
	const cfg = netOnly + "[convolutional]\nactivation=relu\nsize=1\ndilation=3\ngroups=0\n[maxpool]\n[upsample]\n" +
		"[route]\nlayers=0\n[convolutional]\nfilters=50\nactivation=linear\n[yolo]\nnum=2\nanchors=1,2,3,4\n"
	g, warnings, err := Decode("x.cfg", strings.NewReader(cfg))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	const want = `net 3x32x32
0 line 5 [-1] 1x32x32 convolutional filters=1 size=1 stride=1 pad=0 groups=1 bn=false relu
1 line 10 [0] 1x32x32 maxpool size=1 stride=1 padding=0
2 line 11 [1] 1x64x64 upsample stride=2
3 line 12 [0] 1x32x32 route groups=1 group_id=0
4 line 14 [3] 50x32x32 convolutional filters=50 size=1 stride=1 pad=0 groups=1 bn=false linear
5 line 17 [4] 50x32x32 yolo classes=20 mask=[0 1] anchors=[[1 2] [3 4]] scale_x_y=1 new_coords=false ignore=0.5 truth=1 iou=1 mse 0.75 obj=1 cls=1 max_delta=0 smooth=0 default 0.6
`
	if got := dump(g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestParseNumbers(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"0", 0, true}, {"-12", -12, true}, {"+3", 3, true}, {".5", .5, true}, {"5.", 5, true}, {"-.25", -.25, true},
		{"4e-5", 4e-5, true}, {"1E+2", 100, true},
		{"", 0, false}, {".", 0, false}, {"-", 0, false}, {"1e", 0, false}, {"e1", 0, false}, {"0x10", 0, false},
		{"1_000", 0, false}, {"inf", 0, false}, {"nan", 0, false}, {"1e999", 0, false}, {"1;2", 0, false}, {"3abc", 0, false},
	} {
		v, err := parseFloat(c.text)
		if (err == nil) != c.ok || v != c.want {
			t.Errorf("parseFloat(%q) = %v, %v; want %v, ok %v", c.text, v, err, c.want, c.ok)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"4e-5": "0.00004", "+3": "3", "1e3,2.5E2,.1": "1000,250,.1", "steps": "steps", "leaky": "leaky",
		"0.0005": "0.0005", "e": "e", "exp": "exp", "": "", "1e999": "1e999",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

type failingReader struct{}

var errDisk = errors.New("disk on fire")

func (failingReader) Read([]byte) (int, error) { return 0, errDisk }

func TestDecodeReadError(t *testing.T) {
	if _, _, err := Decode("x.cfg", failingReader{}); !errors.Is(err, errDisk) || !strings.HasPrefix(err.Error(), "x.cfg: ") {
		t.Errorf("got %v", err)
	}
}

func TestPosition(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&FormatError{"a.cfg", 7, "bad"}, "a.cfg:7: bad"},
		{&FormatError{"a.cfg", 0, "bad"}, "a.cfg: bad"},
		{&UnsupportedError{"", 7, "bad"}, "line 7: bad"},
		{&UnsupportedError{"", 0, "bad"}, "bad"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
