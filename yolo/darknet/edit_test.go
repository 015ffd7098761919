package darknet

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/graph"
)

// messy has about everything that a cfg of its own kind may have: comments of
// all sorts, odd spacing, an exponent, a duplicate, unknown keys, references of
// both forms and no final newline.
const messy = `; a network
[net]
width = 32
	height=32   # the same
channels=3
inputs=3072
decay=4e-5
steps=1e3, 2000
mine=1

# first
[convolutional]
filters = 8 # eight
filters=16
size=3
pad=1
stride=1
activation=leaky

# the pool, which halves
# everything
[maxpool]
stride=2
# its size is that of its stride

### end of the stem ###

[dropout]
# kept in training only
probability=.5
# nothing more

[convolutional]
filters=8
activation=linear
[shortcut]
from= -3 , 1
activation=linear
[convolutional]
batch_normalize=1
size=3
padding=1
filters=12
activation=linear
[yolo]
mask = 0, 1
anchors = 1, 2.50, 3,4.0
num=2
classes=1
mine=2`

// edits change a graph that was read from a cfg; want lists the lines that the
// written text has in place of others, or after others.
var edits = []struct {
	name   string
	cfg    string
	change func(*graph.Graph)
	want   []string // pairs: a part of the text that stands there once, and what it becomes
}{
	{"nothing", messy, func(*graph.Graph) {}, nil},
	{"byte order mark", "\ufeff" + messy, func(g *graph.Graph) { g.Net.Options[1].Value = "1000,3000" }, []string{"1e3, 2000", "1e3, 3000"}},
	{"carriage returns", crlf(messy), func(g *graph.Graph) { g.Nodes[0].Conv().Activation = graph.Mish }, []string{"stride=1\r\nactivation=leaky", "stride=1\r\nactivation=mish"}},
	{"key that stands twice", messy, func(g *graph.Graph) {
		g.Nodes[0].Conv().Filters, g.Nodes[3].Conv().Filters = 6, 6
	}, []string{"filters = 8 # eight\nfilters=16", "filters = 6 # eight\nfilters=6", "[convolutional]\nfilters=8", "[convolutional]\nfilters=6"}},
	{"absent key", messy, func(g *graph.Graph) { g.Nodes[5].Conv().Groups = 4 }, []string{"activation=linear\n[yolo]", "activation=linear\ngroups=4\n[yolo]"}},
	{"absent key, carriage returns", crlf(messy), func(g *graph.Graph) { g.Nodes[5].Conv().Groups = 4 }, []string{"activation=linear\r\n[yolo]", "activation=linear\r\ngroups=4\r\n[yolo]"}},
	{"absent keys in the last line", messy, func(g *graph.Graph) { g.Nodes[6].Yolo().NewCoords, g.Nodes[6].Yolo().ScaleXY = true, 2 },
		[]string{"mine=2", "mine=2\nscale_x_y=2\nnew_coords=1"}},
	{"folded batch norm", messy, func(g *graph.Graph) { g.Nodes[5].Conv().BatchNorm = false }, []string{"batch_normalize=1", "batch_normalize=0"}},
	{"new batch norm", messy, func(g *graph.Graph) { g.Nodes[3].Conv().BatchNorm = true }, []string{"activation=linear\n[shortcut]", "activation=linear\nbatch_normalize=1\n[shortcut]"}},
	{"kernel with the flag pad", messy, func(g *graph.Graph) { c := g.Nodes[0].Conv(); c.Size, c.Pad = 5, 2 }, []string{"size=3\npad=1", "size=5\npad=1"}},
	{"padding with the flag pad", messy, func(g *graph.Graph) { c := g.Nodes[0].Conv(); c.Size, c.Pad = 1, 1; c.Stride = 1 },
		[]string{"size=3\npad=1\nstride=1\nactivation=leaky", "size=1\npad=0\nstride=1\nactivation=leaky\npadding=1"}},
	{"padding without the flag", messy, func(g *graph.Graph) { c := g.Nodes[5].Conv(); c.Size, c.Pad = 5, 2 }, []string{"size=3\npadding=1", "size=5\npadding=2"}},
	{"size that was the stride", messy, func(g *graph.Graph) { o := g.Nodes[1].Op.(*graph.MaxPool); o.Stride = 1 },
		[]string{"stride=2\n# its", "stride=1\nsize=2\n# its"}},
	{"input", messy, func(g *graph.Graph) { g.Net.Width = 64 }, []string{"width = 32", "width = 64", "inputs=3072", "inputs=6144"}},
	{"input with a comment", messy, func(g *graph.Graph) { g.Net.Height = 64 }, []string{"	height=32   # the same", "	height=64   # the same", "inputs=3072", "inputs=6144"}},
	{"option changed", messy, func(g *graph.Graph) { g.Net.Options[0].Value = "1e-3" }, []string{"decay=4e-5", "decay=0.001"}},
	{"option added", messy, func(g *graph.Graph) {
		g.Net.Options = append(g.Net.Options, graph.Option{Key: "batch", Value: "2"}, graph.Option{Key: "batch", Value: "3"}, graph.Option{Key: "width", Value: "7"})
	}, []string{"mine=1\n", "mine=1\nbatch=2\n"}},
	{"option removed", messy, func(g *graph.Graph) { g.Net.Options = g.Net.Options[1:] }, []string{"decay=4e-5\n", ""}},
	{"last option removed and another added", messy, func(g *graph.Graph) { g.Net.Options[2] = graph.Option{Key: "batch", Value: "2"} }, []string{"mine=1\n", "batch=2\n"}},
	{"options in another order", messy, func(g *graph.Graph) { slices.Reverse(g.Net.Options) }, nil},
	{"one anchor", messy, func(g *graph.Graph) { g.Nodes[6].Yolo().Anchors[1][1] = 5 }, []string{"1, 2.50, 3,4.0", "1, 2.50, 3,5"}},
	{"fewer anchors", messy, func(g *graph.Graph) {
		o := g.Nodes[6].Yolo()
		o.Anchors, o.Mask, o.Classes = o.Anchors[:1], o.Mask[:1], 7
	}, []string{"mask = 0, 1\nanchors = 1, 2.50, 3,4.0\nnum=2\nclasses=1", "mask = 0\nanchors = 1,2.5\nnum=1\nclasses=7"}},
	{"reference", messy, func(g *graph.Graph) { g.Nodes[4].Inputs[2] = 2 }, []string{"-3 , 1", "-3 , 2"}},
	{"relative reference", messy, func(g *graph.Graph) { g.Nodes[4].Inputs[1] = 2 }, []string{"-3 , 1", "-2 , 1"}},
	{"fewer references", messy, func(g *graph.Graph) { g.Nodes[4].Inputs = g.Nodes[4].Inputs[:2] }, []string{"-3 , 1", "-3"}},
	{"more references", messy, func(g *graph.Graph) { g.Nodes[4].Inputs = append(g.Nodes[4].Inputs, 2) }, []string{"-3 , 1", "-3,1,2"}},
	{"new option names a layer", messy, func(g *graph.Graph) {
		g.Nodes[6].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 3}}
	}, []string{"mine=2", "mine=2\nembedding_layer=-3"}},
	{"layer removed", messy, func(g *graph.Graph) { remove(g, 2) }, []string{
		"[dropout]\n# kept in training only\nprobability=.5\n# nothing more\n\n", "", "-3 , 1", "-2 , 1",
	}},
	{"layer with comments above removed", messy, func(g *graph.Graph) { remove(g, 1) }, []string{
		"# the pool, which halves\n# everything\n[maxpool]\nstride=2\n# its size is that of its stride\n\n", "", "-3 , 1", "-3 , 0",
	}},
	{"last layer removed", messy, func(g *graph.Graph) { remove(g, 6) }, []string{
		"[yolo]\nmask = 0, 1\nanchors = 1, 2.50, 3,4.0\nnum=2\nclasses=1\nmine=2", "",
	}},
	{"layer inserted", messy, func(g *graph.Graph) { insert(g, 1, &graph.Dropout{Probability: .25}) }, []string{
		"activation=leaky\n\n# the", "activation=leaky\n\n[dropout]\nprobability=0.25\n\n# the", "-3 , 1", "-3 , 2",
	}},
	{"layer inserted between lines", messy, func(g *graph.Graph) { insert(g, 4, &graph.Silence{}) }, []string{
		"activation=linear\n[shortcut]", "activation=linear\n\n[silence]\n\n[shortcut]", "-3 , 1", "-4 , 1",
	}},
	{"layers appended", crlf(messy), func(g *graph.Graph) { g.Add(&graph.Silence{}, 6); g.Add(&graph.Silence{}, 7) }, []string{
		"mine=2", "mine=2\r\n\r\n[silence]\r\n\r\n[silence]\r\n",
	}},
	{"layer of another kind", messy, func(g *graph.Graph) { g.Nodes[2].Op, g.Nodes[2].Options = &graph.Silence{}, nil }, []string{
		"[dropout]\n# kept in training only\nprobability=.5\n# nothing more\n\n", "[silence]\n\n",
	}},
	{"weights of a shortcut under their other names", netOnly + "[conv]\nactivation=relu\n[shortcut]\nfrom=0\nweights_type=per_layer\nweights_normalization=avg_relu\n",
		func(g *graph.Graph) { g.Nodes[1].Op.(*graph.Shortcut).Normalization = graph.NormSoftmax }, []string{"avg_relu", "softmax"}},
	{"no more weights of a shortcut", netOnly + "[conv]\nactivation=relu\n[shortcut]\nfrom=0\nweights_type=per_layer\nweights_normalization=relu\n",
		func(g *graph.Graph) { g.Nodes[1].Op = &graph.Shortcut{Activation: graph.Linear} }, []string{"per_layer", "none"}},
	{"default activation", netOnly + "[conv]\n", func(g *graph.Graph) { g.Nodes[0].Conv().Activation = graph.Relu }, []string{"[conv]\n", "[conv]\nactivation=relu\n"}},
	{"strides of two directions", netOnly + "[conv]\nactivation=relu\nstride_x=2\nstride_y=2\n", func(g *graph.Graph) { g.Nodes[0].Conv().Stride = 4 },
		[]string{"stride_x=2\nstride_y=2\n", "stride_x=4\nstride_y=4\nstride=4\n"}},
	{"mention removed", oneHead + "embedding_layer = 0\nx=1", func(g *graph.Graph) { g.Nodes[1].Mentions = nil }, []string{"embedding_layer = 0\n", ""}},
	{"mention shifted", oneHead + "embedding_layer = 0", func(g *graph.Graph) {
		insert(g, 0, &graph.Silence{})
	}, []string{"channels=3\n", "channels=3\n\n[silence]\n\n", "embedding_layer = 0", "embedding_layer = 1"}},
	{"comment between two sections", netOnly + "[conv]\nactivation=relu\n# whose?\n[max]\n[empty]\n", func(g *graph.Graph) { remove(g, 1) }, []string{"[max]\n", ""}},
	{"comment after the one that goes", netOnly + "[conv]\nactivation=relu\n# whose?\n[max]\n", func(g *graph.Graph) { remove(g, 0) }, []string{"[conv]\nactivation=relu\n", ""}},
	{"dilation", netOnly + "[conv]\nactivation=relu\nsize=3\npad=1\ndilation=4\n", func(g *graph.Graph) { g.Nodes[0].Conv().Dilation, g.Nodes[0].Conv().Pad = 2, 2 },
		[]string{"dilation=4", "dilation=2"}},
	{"dilation added", netOnly + "[conv]\nactivation=relu\nsize=5\npadding=2\n", func(g *graph.Graph) { g.Nodes[0].Conv().Dilation, g.Nodes[0].Conv().Pad = 3, 6 },
		[]string{"padding=2\n", "padding=2\ndilation=3\n"}},
	{"no more dilation", netOnly + "[conv]\nactivation=relu\nsize=3\npad=1\ndilation=4 # far\n", func(g *graph.Graph) { g.Nodes[0].Conv().Dilation, g.Nodes[0].Conv().Pad = 0, 1 },
		[]string{"dilation=4 # far", "dilation=1 # far"}},
	{"shared weights, a layer between goes", sharing, func(g *graph.Graph) { remove(g, 1) }, []string{"[route]\nlayers=0\n", ""}},
	{"shared weights, a layer before comes", sharing, func(g *graph.Graph) { insert(g, 0, &graph.Silence{}) },
		[]string{"channels=3\n", "channels=3\n\n[silence]\n\n", "layers=0", "layers=1", "share_index=0", "share_index=1"}},
	{"shared weights, relative, a layer between goes", strings.Replace(sharing, "share_index=0", "share_index = -2", 1), func(g *graph.Graph) { remove(g, 1) },
		[]string{"[route]\nlayers=0\n", "", "share_index = -2", "share_index = -1"}},
	{"weights no more shared", sharing, func(g *graph.Graph) { g.Nodes[2].Conv().Back = 0 }, []string{"share_index=0\n", ""}},
	{"dilation of a single tap", netOnly + "[conv]\nactivation=relu\ndilation=3\n", func(g *graph.Graph) { g.Nodes[0].Conv().Filters = 2 }, []string{"dilation=3\n", "dilation=3\nfilters=2\n"}},
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// remove takes node i out of g; its readers read its first input instead.
func remove(g *graph.Graph, i graph.NodeID) {
	input := g.Nodes[i].Inputs[0]
	g.Nodes = slices.Delete(g.Nodes, int(i), int(i)+1)
	renumber(g, func(id graph.NodeID) graph.NodeID {
		switch {
		case id == i:
			return input
		case id > i:
			return id - 1
		}
		return id
	})
}

// insert puts a node before node i, whose input passes through it.
func insert(g *graph.Graph, i graph.NodeID, op graph.Op) {
	n := &graph.Node{ID: i, Op: op, Inputs: []graph.NodeID{i - 1}}
	g.Nodes = slices.Insert(g.Nodes, int(i), n)
	renumber(g, func(id graph.NodeID) graph.NodeID {
		if id >= i {
			return id + 1
		}
		return id
	})
	n.Inputs[0], g.Nodes[i+1].Inputs[0] = i-1, i
}

func renumber(g *graph.Graph, to func(graph.NodeID) graph.NodeID) {
	for i, n := range g.Nodes {
		if n.Shares() {
			n.Conv().Back = i - int(to(n.ID-graph.NodeID(n.Conv().Back)))
		}
		n.ID = graph.NodeID(i)
		for j, id := range n.Inputs {
			n.Inputs[j] = to(id)
		}
		for j, m := range n.Mentions {
			n.Mentions[j].Layer = to(m.Layer)
		}
	}
}

func TestEdit(t *testing.T) {
	for _, c := range edits {
		t.Run(c.name, func(t *testing.T) {
			g := decode(t, c.cfg)
			c.change(g)
			want := c.cfg
			for i := 0; i < len(c.want); i += 2 {
				if strings.Count(want, c.want[i]) != 1 {
					t.Fatalf("%q stands %d times in the text", c.want[i], strings.Count(want, c.want[i]))
				}
				want = strings.Replace(want, c.want[i], c.want[i+1], 1)
			}
			got := encoded(t, Encode, g)
			if got != want {
				t.Errorf("got -, want +:\n%s", cmp.Diff(got, want))
			}
			if err := g.Infer(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tidy(g), tidy(decode(t, got)), ignoreText); diff != "" {
				t.Errorf("reads back as another graph:\n%s", diff)
			}
		})
	}
}

// tidy is a copy of g with the carried options as they are written, in order of
// their keys: the first of each, and none that the section has a value for.
func tidy(g *graph.Graph) *graph.Graph {
	c := g.Clone()
	c.Net.Options = tidyOptions(c.Net.Options)
	for _, n := range c.Nodes {
		n.Options = tidyOptions(n.Options)
	}
	return c
}

func tidyOptions(options []graph.Option) []graph.Option {
	var out []graph.Option
	for _, o := range options {
		if _, ok := graph.Lookup(out, o.Key); !ok && o.Key != "width" {
			out = append(out, graph.Option{Key: o.Key, Value: plain(o.Value)})
		}
	}
	slices.SortFunc(out, func(a, b graph.Option) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func TestEditErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*graph.Graph)
		want   string
	}{
		{"broken source", func(g *graph.Graph) { g.Source = "[net]\n" }, "the text that the network was read from: line 1: [net] has width 0"},
		{"unsafe option", func(g *graph.Graph) { g.Nodes[0].Options = []graph.Option{{Key: "a", Value: "b c"}} }, `layer 0 (convolutional): option "a"="b c" cannot be written`},
		{"skipped layer", func(g *graph.Graph) { g.Nodes[2].Inputs[0] = 0 }, "layer 2 (dropout): reads layer 0, but in a cfg it reads layer 1"},
		{"input in a list", func(g *graph.Graph) { g.Nodes[4].Inputs[1] = graph.Input }, "layer 4 (shortcut): reads the network's input, which from cannot name"},
		{"bad channels", func(g *graph.Graph) { g.Nodes[5].Conv().Filters = 13 }, "the cfg to be written cannot be read: line 45: layer 6 (yolo): 1 classes and 2 anchors need 12 channels"},
		{"new node", func(g *graph.Graph) { g.Add(&graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1}, 6) }, `layer 7 (convolutional): activation "" cannot be written`},
		{"wrong number", func(g *graph.Graph) { g.Nodes = slices.Delete(g.Nodes, 2, 3) }, "layer 3 (convolutional): stands at position 2: number the layers in order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := decode(t, messy)
			c.change(g)
			if err := Encode(io.Discard, g); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A change that the text cannot say must not be written, whatever the reason.
func TestEncodeChecks(t *testing.T) {
	g := decode(t, messy)
	var b bytes.Buffer
	for _, change := range []func(*graph.Graph){
		func(g *graph.Graph) { g.Net.Width = 33 },
		func(g *graph.Graph) { g.Nodes = g.Nodes[:6] },
		func(g *graph.Graph) { g.Nodes[0].Conv().Filters = 9 },
		func(g *graph.Graph) { g.Nodes[4].Inputs[1] = 0 },
		func(g *graph.Graph) { g.Nodes[6].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 0}} },
		func(g *graph.Graph) { g.Nodes[6].Options = nil },
		func(g *graph.Graph) { g.Net.Options[0].Value = "1" },
	} {
		other := g.Clone()
		change(other)
		if err := writeChecked(&b, messy, other, other.Net.Options); err == nil || !strings.Contains(err.Error(), "reads back as another network") || b.Len() > 0 {
			t.Errorf("got %v and %d bytes", err, b.Len())
		}
	}
	if err := writeChecked(&b, messy, g, g.Net.Options); err != nil || b.String() != messy {
		t.Errorf("got %v", err)
	}
}

var (
	filtersLine = regexp.MustCompile(`^filters *= *[0-9]+`)
	groupsLine  = regexp.MustCompile(`^groups *= *[0-9]+`)
)

// A pruned network's text differs from the published one in the lines of the
// channels that were cut, and in no other.
func TestPrunedText(t *testing.T) {
	var files []string
	for _, c := range publishedCfgs {
		files = append(files, "cfg/"+c.name+".cfg")
	}
	for _, name := range publishedModels {
		files = append(files, fmt.Sprintf("models/%s/%s.cfg", name, name))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text := readFile(t, shared(t, file))
			g := decode(t, text)
			lines := strings.Split(text, "\n")
			cut := cutThin(g, func(n *graph.Node) {
				setLine(lines, n.Line, filtersLine, fmt.Sprintf("filters=%d", n.Conv().Filters))
				if n.Conv().Groups > 1 {
					setLine(lines, n.Line, groupsLine, fmt.Sprintf("groups=%d", n.Conv().Groups))
				}
			})
			if cut == 0 {
				t.Fatal("nothing was cut")
			}
			if got := encoded(t, Encode, g); withoutSpaces(got) != withoutSpaces(strings.Join(lines, "\n")) {
				t.Errorf("got -, want +:\n%s", cmp.Diff(strings.Split(got, "\n"), lines))
			}
		})
	}
}

// withoutSpaces is for keys that the expected lines are written without.
func withoutSpaces(text string) string { return strings.ReplaceAll(text, " ", "") }

// cutThin takes one filter off every convolution that only a plain convolution
// reads, perhaps through pools, or a depthwise one that only a plain one reads,
// which is cut too.
func cutThin(g *graph.Graph, changed func(*graph.Node)) int {
	consumers, cuts := g.Consumers(), 0
	only := func(n *graph.Node) *graph.Node {
		for len(consumers[n.ID]) == 1 {
			n = g.Nodes[consumers[n.ID][0]]
			if _, pool := n.Op.(*graph.MaxPool); !pool {
				return n
			}
		}
		return nil
	}
	for _, n := range g.Convs() {
		if n.Conv().Groups > 1 || n.Conv().Filters < 2 {
			continue
		}
		cut := []*graph.Node{n}
		reader := only(n)
		if reader != nil && reader.Conv() != nil && reader.Conv().Groups == n.Conv().Filters {
			cut = append(cut, reader)
			reader = only(reader)
		}
		if reader == nil || reader.Conv() == nil || reader.Conv().Groups > 1 {
			continue
		}
		for _, c := range cut {
			c.Conv().Filters--
			if c.Conv().Groups > 1 {
				c.Conv().Groups--
			}
			changed(c)
			cuts++
		}
	}
	return cuts
}

// setLine replaces what matches in the section that starts in a line.
func setLine(lines []string, section int, match *regexp.Regexp, text string) {
	for i := section; !strings.HasPrefix(lines[i], "["); i++ {
		if match.MatchString(lines[i]) {
			lines[i] = match.ReplaceAllLiteralString(lines[i], text)
			return
		}
	}
}

func TestWithValue(t *testing.T) {
	for _, c := range []struct{ line, value, want string }{
		{"a=1\n", "2", "a=2\n"},
		{"a=1", "2", "a=2"},
		{"\t a = 1 \r\n", "2", "\t a = 2 \r\n"},
		{"a=1 # one, two\n", "2", "a=2 # one, two\n"},
		{"a= 1 0\n", "20", "a= 20\n"},
		{"a=1, 2.0 ,3\n", "1,2,4", "a=1, 2.0 ,4\n"},
		{"a=1,2\n", "1,2,3", "a=1,2,3\n"},
		{"a=\n", "1", "a=1\n"},
		{"a \n", "1", "a=1 \n"},
		{"a=b=c\n", "d", "a=d\n"},
	} {
		if got := withValue(c.line, c.value); got != c.want {
			t.Errorf("withValue(%q, %q) = %q, want %q", c.line, c.value, got, c.want)
		}
	}
}
