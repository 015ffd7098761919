package darknet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

// dump prints a graph as text, one layer a line.
func dump(g *graph.Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "net %v%s\n", g.InputShape(), dumpOptions(g.Net.Options))
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%d line %d %v %v %s%s", n.ID, n.Line, n.Inputs, n.Out, n.Op.Kind(), dumpOp(n.Op))
		if n.Mentions != nil {
			fmt.Fprintf(&b, " %v", n.Mentions)
		}
		fmt.Fprintf(&b, "%s\n", dumpOptions(n.Options))
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
	case *graph.LocalAvgPool:
		return fmt.Sprintf(" size=%d stride=%d padding=%d", o.Size, o.Stride, o.Padding)
	case *graph.Reorg3D:
		return fmt.Sprintf(" stride=%d reverse=%v", o.Stride, o.Reverse)
	case *graph.Reorg:
		return fmt.Sprintf(" stride=%d", o.Stride)
	case *graph.Dropout:
		return fmt.Sprintf(" probability=%v", o.Probability)
	case *graph.Contrastive:
		return fmt.Sprintf(" classes=%d", o.Classes)
	case *graph.SAM:
		return fmt.Sprintf(" %s", o.Activation)
	case *graph.ScaleChannels:
		return fmt.Sprintf(" %s scale_wh=%v", o.Activation, o.ScaleWH)
	case *graph.AvgPool, *graph.Silence:
		return ""
	case *graph.Shortcut:
		if o.Scaling != graph.NoScaling {
			return fmt.Sprintf(" %s %s %s", o.Activation, o.Scaling, o.Normalization)
		}
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
			checkSame(t, "written anew", encoded(t, EncodeCanonical, g), readFile(t, base+".written"))
			checkSame(t, "written back", encoded(t, Encode, g), readFile(t, file))
		})
	}
}

func encoded(t testing.TB, encode func(io.Writer, *graph.Graph) error, g *graph.Graph) string {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func checkSame(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n%s\nwant\n%s", what, got, want)
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

// Three layers of 6, 4 and 6 channels.
const threeConv = netOnly + "[convolutional]\nfilters=6\nactivation=relu\n" + // lines 5 to 7
	"[convolutional]\nfilters=4\nactivation=relu\n" + // lines 8 to 10
	"[convolutional]\nfilters=6\nactivation=relu\n" // lines 11 to 13

func TestDecodeWarnings(t *testing.T) {
	const unequal = ": the channels that both have are added, as in Darknet and OpenCV; other readers refuse that"
	for _, c := range []struct {
		name, cfg string
		want      []string
	}{
		{"byte order mark", byteOrderMark + oneConv, []string{"1: starts with a byte order mark, which is skipped: Darknet crashes on it: save the file without one"}},
		{"carriage returns", crlf(oneConv), nil},
		{"comment behind a value", netOnly + "[convolutional]\nactivation=relu\nfilters=4 # four, or so\n",
			[]string{"7: filters: the text after '#' is ignored: give a comment its own line, for some readers take it as part of the value"}},
		{"comment behind a list", twoConv + "[route]\nlayers=-1,0 # both\n",
			[]string{"12: layers: the text after '#' is ignored: give a comment its own line, for some readers take it as part of the value"}},
		{"key that stands twice", oneConv + "filters=8\n",
			[]string{`8: filters stands twice: the first value, "4" in line 6, is used, as in Darknet; other readers take the last: delete one of them`}},
		{"unknown key", oneConv + "filter=8\n", []string{"8: filter is no key of [convolutional]: it is carried along without effect"}},
		{"no value", oneConv + "wide=\n", []string{`8: "wide=" is dropped: an option is written key=value in plain ASCII`}},
		{"no activation", netOnly + "[convolutional]\n", []string{"5: has no activation: Darknet's default, logistic, is used; OpenCV's is linear"}},
		{"frame of a single tap", oneConv + "padding=1\n", []string{"5: size=1 with padding=1: the frame is computed as for larger kernels; Darknet's CPU code leaves it out and is wrong"}},
		{"frame of a single tap, larger stride", oneConv + "padding=1\nstride=2\n", nil},
		{"flag pad of a single tap", oneConv + "padding=1\npad=1\n", nil},
		{"normalization without weights", oneConv + "[shortcut]\nfrom=0\nweights_normalization=relu\n",
			[]string{"10: weights_normalization=relu has no effect without weights_type"}},

		{"more channels", twoConv + "[convolutional]\nfilters=4\nactivation=relu\n[shortcut]\nactivation=linear\nfrom=-2\n", []string{"16: adds 6 channels to 4" + unequal}},
		{"fewer channels, those of the input differ", twoConv + "[shortcut]\nfrom=0\n", []string{"12: adds 4 channels to 6" + unequal}},
		{"fewer channels, those of the input do not", threeConv + "[shortcut]\nfrom=-2\n", []string{
			"15: adds 4 channels to 6" + unequal,
			"15: Darknet's CPU code reads past the end of layer 1 (convolutional) here, since that reads as many channels as the layer before has: make the channel counts equal",
		}},
		{"fewer channels of a route", oneConv + "[route]\nlayers=0\ngroups=2\n[convolutional]\nfilters=4\nactivation=relu\n[shortcut]\nfrom=-2\n", []string{"15: adds 2 channels to 4" + unequal}},
		{"several sources", threeConv + "[shortcut]\nfrom=-2,0\n", []string{"15: adds 4 channels to 6" + unequal}},
		{"weights", threeConv + "[shortcut]\nfrom=-2\nweights_type=per_feature\nweights_normalization=relu\n", []string{"15: adds 4 channels to 6" + unequal}},

		{"steps without scales", strings.Replace(oneConv, "[conv", "policy=steps\nsteps=1,2\n[conv", 1), []string{"5: policy=steps needs both steps and scales: Darknet stops without"}},
		{"steps and scales", strings.Replace(oneConv, "[conv", "policy=steps\nsteps=1,2\nscales=.1\n[conv", 1),
			[]string{"7: scales has 1 numbers, steps 2: make them equal, for Darknet reads past the end of the shorter"}},
		{"steps of another policy", strings.Replace(oneConv, "[conv", "policy=poly\nsteps=1,2\nscales=.1\n[conv", 1), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, warnings, err := Decode("x.cfg", strings.NewReader(c.cfg))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, strings.TrimPrefix(w.String(), "x.cfg:"))
			}
			if diff := cmp.Diff(got, c.want); diff != "" {
				t.Errorf("got -, want +:\n%s", diff)
			}
			checkSame(t, "written back", encoded(t, Encode, g), c.cfg)
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

func TestReadsHead(t *testing.T) {
	_, warnings, err := Decode("x.cfg", strings.NewReader(oneYolo+"anchors=1,2\n[silence]\n"))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), "x.cfg:11: layer 2 (silence) reads layer 1, a [yolo]") {
		t.Errorf("warnings %v, error %v", warnings, err)
	}
}
