package darknet

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"yoloprune/yolo/graph"
)

// seeds are the cfgs that the fuzz targets start from.
func seeds(f *testing.F) []string {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) == 0 {
		f.Fatalf("testdata has no cfg (%v)", err)
	}
	texts := []string{messy, crlf(messy), sharing, towers, oneHead + "embedding_layer=0\n[route]\nlayers=-2\n[contrastive]\nyolo_layer=1\nclasses=3"}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// FuzzDecode holds that a cfg is either refused or a graph that is written back
// with the same bytes, and written anew as the same graph.
func FuzzDecode(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	for _, c := range badCfgs {
		if len(c.cfg) < 1000 {
			f.Add(c.cfg)
		}
	}
	f.Add("\ufeff[network]\r\n width = 8 # c\nheight=8\nchannels=1\nbatch=1e2\n[conv]\n[max]\nsize=2\n[shortcut]\nfrom=0,-2\n")
	f.Fuzz(func(t *testing.T, cfg string) {
		g, _, err := Decode("x.cfg", strings.NewReader(cfg))
		if err != nil {
			var format *FormatError
			var unsupported *UnsupportedError
			if g != nil || !errors.As(err, &format) && !errors.As(err, &unsupported) {
				t.Fatalf("graph %v with a %T: %v", g, err, err)
			}
			return
		}
		checkRoundTrip(t, g)
	})
}

// FuzzEdit holds that a change of a graph is either refused by the graph or the
// writer's rules, or written so that it is read back.
func FuzzEdit(f *testing.F) {
	for i, text := range seeds(f) {
		for what := range changes {
			f.Add(text, uint16(i), uint8(what), uint8(2*i+1))
		}
	}
	f.Fuzz(func(t *testing.T, cfg string, layer uint16, what, value uint8) {
		g, _, err := Decode("x.cfg", strings.NewReader(cfg))
		if err != nil {
			return
		}
		changes[int(what)%len(changes)](g, g.Nodes[int(layer)%len(g.Nodes)], int(value))
		checkEdit(t, g)
	})
}

// changes change a graph or one of its nodes in many ways, some of which no
// cfg can say or make a network that does not fit together.
var changes = []func(g *graph.Graph, n *graph.Node, value int){
	func(g *graph.Graph, _ *graph.Node, value int) { g.Net.Width = value },
	func(g *graph.Graph, _ *graph.Node, value int) {
		for _, n := range g.Convs() {
			if n.Conv().Groups == 1 && !g.FeedsHead(n.ID) {
				n.Conv().Filters = max(1, n.Conv().Filters*value/128)
			}
		}
	},
	func(_ *graph.Graph, n *graph.Node, value int) {
		if c := n.Conv(); c != nil {
			c.Size, c.Pad, c.BatchNorm = value%5+1, value%7, value%2 == 0
			c.Activation = graph.Activations[value%len(graph.Activations)]
		}
	},
	func(_ *graph.Graph, n *graph.Node, value int) {
		switch o := n.Op.(type) {
		case *graph.Conv:
			o.Stride, o.Groups = value%3+1, value%4+1
		case *graph.MaxPool:
			o.Stride, o.Size, o.Padding = value%2+1, value%3+1, value%3
		case *graph.Upsample:
			o.Stride = value%3 + 1
		case *graph.Shortcut:
			o.Scaling, o.Normalization = graph.PerFeature, graph.NormSoftmax
		case *graph.Route:
			o.Groups, o.GroupID = value%3+1, value%2
		case *graph.Yolo:
			o.ScaleXY, o.NewCoords, o.NMSKind = float64(value)/100, value%2 == 0, nmsKinds[value%len(nmsKinds)]
		case *graph.Dropout:
			o.Probability = float64(value) / 256
		}
	},
	func(_ *graph.Graph, n *graph.Node, value int) {
		if _, shortcut := n.Op.(*graph.Shortcut); shortcut || len(n.Inputs) > 1 {
			n.Inputs = append(n.Inputs, graph.NodeID(value%int(n.ID+1)))
		} else if _, route := n.Op.(*graph.Route); route {
			n.Inputs[0] = graph.NodeID(value % int(n.ID+1))
		}
	},
	func(_ *graph.Graph, n *graph.Node, value int) {
		if value%2 == 0 && len(n.Options) > 0 {
			n.Options = n.Options[1:]
		}
		n.Options = append(n.Options, graph.Option{Key: "burnin_update", Value: "1"}, graph.Option{Key: "x-y", Value: strings.Repeat("1e2,", value%3) + "z"})
	},
	func(_ *graph.Graph, n *graph.Node, value int) {
		if c := n.Conv(); c != nil {
			c.Dilation, c.Back = value%4, value%int(n.ID+2)
			if value%3 > 0 {
				c.Pad = (c.Extent() - 1) / 2
			}
		}
	},
	func(g *graph.Graph, n *graph.Node, _ int) {
		if len(g.Nodes) > 1 && !mentionedBy(g, n.ID) {
			remove(g, n.ID)
		}
	},
	func(g *graph.Graph, n *graph.Node, value int) {
		insert(g, n.ID, []graph.Op{&graph.Silence{}, &graph.Dropout{Probability: .5}, &graph.MaxPool{Size: 1, Stride: 1}}[value%3])
	},
	func(g *graph.Graph, n *graph.Node, _ int) { n.Mentions = nil },
	func(g *graph.Graph, n *graph.Node, value int) { n.Op = &graph.MaxPool{Size: value%4 + 1, Stride: 1} },
}

func mentionedBy(g *graph.Graph, id graph.NodeID) bool {
	for _, n := range g.Nodes {
		for _, m := range n.Mentions {
			if m.Layer == id {
				return true
			}
		}
	}
	return false
}

// checkEdit writes a graph that was changed: if it is sound it must come back.
func checkEdit(t fataler, g *graph.Graph) {
	t.Helper()
	var text bytes.Buffer
	err := Encode(&text, g)
	var unsupported *UnsupportedError
	if err != nil {
		if said := errors.As(err, &unsupported) && !strings.Contains(err.Error(), "to be written"); !said && sound(g) {
			t.Fatalf("a sound graph is not written: %v", err)
		}
		return
	}
	back, _, err := Decode("back.cfg", &text)
	if err != nil {
		t.Fatalf("decode what was encoded: %v", err)
	}
	g.Infer()
	if diff := cmp.Diff(tidy(g), tidy(back), ignoreText); diff != "" {
		t.Fatalf("graph changed:\n%s", diff)
	}
}

// sound says whether a graph is one that a cfg can hold.
func sound(g *graph.Graph) bool {
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*graph.Contrastive); ok && (n.Mentions == nil || g.Nodes[n.Mentions[0].Layer].Yolo() == nil) {
			return false
		}
	}
	return g.Infer() == nil
}

// A graph from a messy text is written back with the same bytes, and so that
// any change of it is read back.
func TestEditProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text bytes.Buffer
		if err := EncodeCanonical(&text, randomGraph(t)); err != nil {
			t.Fatal(err)
		}
		cfg := messUp(t, text.String())
		g, _, err := Decode("x.cfg", strings.NewReader(cfg))
		if err != nil {
			t.Fatalf("%v:\n%s", err, cfg)
		}
		checkRoundTrip(t, g)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			n := g.Nodes[rapid.IntRange(0, len(g.Nodes)-1).Draw(t, "layer")]
			rapid.SampledFrom(changes).Draw(t, "change")(g, n, rapid.IntRange(0, 255).Draw(t, "value"))
		}
		checkEdit(t, g)
	})
}

// messUp adds spacing, comments, later duplicates and other line ends.
func messUp(t *rapid.T, text string) string {
	end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", byteOrderMark, "# a comment" + end + end}).Draw(t, "start"))
	for line := range strings.Lines(strings.TrimSuffix(text, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		key, value, option := strings.Cut(line, "=")
		switch rapid.IntRange(0, 9).Draw(t, "mess") {
		case 0:
			b.WriteString("# " + line + end)
		case 1:
			line = "\t" + strings.ReplaceAll(line, "=", " = ") + " "
		case 2:
			line = strings.ReplaceAll(line, ",", " , ")
		case 3:
			if option && value != "" && strings.Trim(value, "0123456789.-") == "" {
				line += " # " + value
			}
		case 4:
			if option {
				line += end + key + "=" + value
			}
		}
		b.WriteString(line + end)
	}
	return strings.TrimSuffix(b.String(), rapid.SampledFrom([]string{"", end}).Draw(t, "end"))
}
