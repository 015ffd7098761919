package depgraph

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

func ids(v ...graph.NodeID) []graph.NodeID { return v }

// bottleneck is layers 0-5: conv, conv 1 x 1 to half, conv 3 x 3 back, sum, head.
func bottleneck(act graph.Activation) graphtest.Net {
	n := graphtest.New(3, 8, 8)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 4, 1, 1, graph.Leaky)
	n.Conv(1, 8, 3, 1, graph.Leaky)
	n.Add(&graph.Shortcut{Activation: act}, 2, 0)
	if err := n.Infer(); err != nil {
		panic(err)
	}
	n.Head(3)
	return n
}

// elan is a block of yolov7, shorter: layers 1 and 3 read layer 0, 4 and 5 follow
// layer 3, and layers 5, 4, 3 and 1 are joined.
func elan() graphtest.Net {
	n := graphtest.New(3, 8, 8)
	n.Conv(graph.Input, 16, 3, 1, graph.Swish)
	n.Conv(0, 8, 1, 1, graph.Swish)
	n.Route(0)
	n.Conv(2, 8, 1, 1, graph.Swish)
	n.Conv(3, 8, 3, 1, graph.Swish)
	n.Conv(4, 8, 3, 1, graph.Swish)
	n.Route(5, 4, 3, 1)
	n.Head(n.Conv(6, 12, 1, 1, graph.Swish))
	return n
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		name string
		net  func() graphtest.Net
		want []Block
	}{
		{"residual", func() graphtest.Net { return bottleneck(graph.Linear) }, []Block{{Kind: Residual, Layers: ids(1, 2, 3), Entry: 0}}},
		{"residual, leaky", func() graphtest.Net { return bottleneck(graph.Leaky) },
			[]Block{{Kind: Residual, Layers: ids(1, 2, 3), Entry: 0, Note: "the leaky behind the sum goes too"}}},
		{"somebody else reads the branch", func() graphtest.Net {
			n := bottleneck(graph.Linear)
			n.Head(1)
			return n
		}, nil},
		{"the branch reads something else", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 4, 3, 1, graph.Leaky)
			n.Conv(0, 8, 3, 1, graph.Leaky)
			n.Conv(1, 6, 1, 1, graph.Leaky)
			n.Shortcut(n.Conv(n.Route(2, 0), 8, 3, 1, graph.Leaky), 1)
			n.Head(n.Conv(n.Last(), 6, 3, 1, graph.Leaky))
			return n
		}, nil},
		{"unequal sum", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Conv(0, 4, 1, 1, graph.Leaky)
			n.Shortcut(1, 0)
			n.Head(n.Conv(n.Last(), 6, 3, 1, graph.Leaky))
			return n
		}, nil},
		{"a head reads the sum as it is", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 6, 3, 1, graph.Leaky)
			n.Conv(0, 6, 3, 1, graph.Leaky)
			n.Shortcut(1, 0)
			n.Add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 1}, 2)
			if err := n.Infer(); err != nil {
				panic(err)
			}
			return n
		}, nil},
		{"no convolution in the branch", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Conv(n.Shortcut(n.MaxPool(0, 3, 1), 0), 6, 3, 1, graph.Leaky)
			n.Head(3)
			return n
		}, nil},
		{"squeeze and excitation in the branch", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Conv(0, 16, 1, 1, graph.Leaky)
			n.Add(&graph.AvgPool{}, 1)
			n.Infer()
			n.Conv(2, 16, 1, 1, graph.Logistic)
			n.Add(&graph.ScaleChannels{Activation: graph.Linear}, 3, 1)
			n.Infer()
			n.Conv(4, 8, 1, 1, graph.Linear)
			n.Add(&graph.Dropout{}, 5)
			n.Infer()
			n.Shortcut(6, 0)
			n.Head(7)
			return n
		}, []Block{{Kind: Residual, Layers: ids(1, 2, 3, 4, 5, 6, 7), Entry: 0}}},
		{"elan", elan, []Block{{Kind: Run, Layers: ids(4), Entry: 3}, {Kind: Run, Layers: ids(5), Entry: 4}}},
		{"wide and narrow by turns", func() graphtest.Net {
			n := graphtest.New(3, 8, 8)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Conv(0, 4, 1, 1, graph.Leaky)
			n.Conv(1, 8, 3, 1, graph.Leaky)
			n.Conv(2, 4, 1, 1, graph.Leaky)
			n.Head(3)
			return n
		}, []Block{{Kind: Run, Layers: ids(1, 2), Entry: 0}, {Kind: Run, Layers: ids(2, 3), Entry: 1}}},
		{"stride, and what stands for the image", func() graphtest.Net {
			n := graphtest.New(8, 8, 8)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.ConvOp(0, graph.Conv{Filters: 8, Size: 3, Stride: 2, Pad: 1, Groups: 1, Activation: graph.Leaky})
			n.Head(1)
			return n
		}, nil},
		{"an option names it", func() graphtest.Net {
			n := elan()
			n.Nodes[n.Last()].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 5}}
			return n
		}, []Block{{Kind: Run, Layers: ids(4), Entry: 3}}},
	} {
		if d := cmp.Diff(c.want, Blocks(c.net().Graph)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// Every shortcut of the published networks ends a block, but for those that add
// unequal layers (not listed here) and a few whose branch others read (layer 16
// of yolov3-tiny-prn, 134 of enet) or which read another layer on the way (layers
// 24 and 142).
func TestBlocksOfPublishedNetworks(t *testing.T) {
	others := map[string][]graph.NodeID{"yolov3-tiny-prn.cfg": {16, 24}, "enet-coco.cfg": {134, 142}}
	files, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "cfg"), "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "models"), "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, models...) {
		name := filepath.Base(file)
		g, _, err := darknet.Load(file, "")
		if err != nil {
			t.Fatal(err)
		}
		ends := map[graph.NodeID]BlockKind{}
		for _, b := range Blocks(g) {
			ends[b.Exit()] = b.Kind
		}
		for _, n := range g.Nodes {
			_, sum := n.Op.(*graph.Shortcut)
			want := sum && g.ShapeOf(n.Inputs[1]) == n.Out && !slices.Contains(others[name], n.ID)
			if got := ends[n.ID] == Residual; got != want {
				t.Errorf("%s: %v ends a residual block: %v, want %v", name, n, got, want)
			}
		}
	}
}

// The first ELAN block of yolov7, read off its cfg: layers 7-10 are 3 x 3
// convolutions of 64 filters in a row. No shortcut is there at all.
func TestBlocksOfYOLOv7(t *testing.T) {
	g, _, err := darknet.Load(graphtest.Shared(t, "cfg", "yolov7.cfg"), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []graph.NodeID
	for _, b := range Blocks(g) {
		if b.Kind != Run || len(b.Layers) != 1 || b.Entry != b.Exit()-1 {
			t.Errorf("%v", b)
		}
		if b.Exit() > 3 && b.Exit() < 12 {
			got = append(got, b.Exit())
		}
	}
	if d := cmp.Diff(ids(7, 8, 9, 10), got); d != "" {
		t.Error(d)
	}
}

func TestCover(t *testing.T) {
	n := bottleneck(graph.Linear) // blocks 1-3; the head is 4, 5
	n.Conv(3, 8, 3, 1, graph.Leaky)
	n.Conv(6, 8, 3, 1, graph.Leaky)
	n.Head(7)
	for _, c := range []struct {
		layers []graph.NodeID
		want   string // the blocks' exits, or the error
	}{
		{ids(6), "[6]"},
		{ids(1, 2, 3, 6, 7), "[3 6 7]"},
		{ids(1, 2), "layer 1 (convolutional) can not be taken out with the others that are listed: list a whole block, such as the residual of layers 1-3, for which layer 0 stands"},
		{ids(4), "layer 4 (convolutional) can not be taken out with the others that are listed: no block has it"},
		{ids(7, 6), "layer 6 after 7: list them in ascending order"},
		{ids(6, 6), "layer 6 after 6"},
		{ids(10), "layer 10: the network has layers 0-9"},
		{ids(-1), "layer -1: the network has layers 0-9"},
	} {
		blocks, err := Cover(n.Graph, c.layers)
		got := fmt.Sprint(err)
		if err == nil {
			var exits []graph.NodeID
			for _, b := range blocks {
				exits = append(exits, b.Exit())
			}
			got = fmt.Sprint(exits)
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: got %s, want %s", c.layers, got, c.want)
		}
	}
}

// Layers 4 and 5 of elan go: layer 3 stands for both, and is joined three times.
func TestTakeOutOfELAN(t *testing.T) {
	g := elan().Fill(1)
	g.Nodes[8].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 6}}
	got, to, err := TakeOut(g, Blocks(g))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ids(3, 3, 3, 1), got.Nodes[4].Inputs); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[graph.NodeID]graph.NodeID{0: 0, 1: 1, 2: 2, 3: 3, 6: 4, 7: 5, 8: 6, 9: 7}, to); d != "" {
		t.Error(d)
	}
	if m := got.Nodes[6].Mentions[0].Layer; m != 4 {
		t.Errorf("the option names layer %d, want 4", m)
	}
	if g.Nodes[8].Mentions[0].Layer != 6 || len(g.Nodes) != 10 || len(g.Nodes[6].Inputs) != 4 || g.Nodes[6].Inputs[0] != 5 {
		t.Error("the network was edited in place")
	}
}

// The branch starts with a route, so that what comes after the sum no longer
// follows the layer that it reads: a route has to lead there.
func TestTakeOutPutsARouteIn(t *testing.T) {
	n := graphtest.New(3, 8, 8)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 4, 1, 1, graph.Leaky)
	n.Conv(n.Route(0), 8, 3, 1, graph.Leaky)
	n.Conv(n.Shortcut(3, 0), 6, 3, 1, graph.Leaky)
	n.Head(n.Route(5, 1))
	got, to, err := TakeOut(n.Graph, Blocks(n.Graph))
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := got.Nodes[2].Op.(*graph.Route); !ok || r.Groups != 1 || !slices.Equal(got.Nodes[2].Inputs, ids(0)) {
		t.Errorf("layer 2 is %v of %v, want a route of layer 0", got.Nodes[2], got.Nodes[2].Inputs)
	}
	if to[5] != 3 || !slices.Equal(got.Nodes[3].Inputs, ids(2)) || !slices.Equal(got.Nodes[4].Inputs, ids(3, 1)) {
		t.Errorf("layer 5 is %d and reads %v; the route reads %v", to[5], got.Nodes[3].Inputs, got.Nodes[4].Inputs)
	}
}

func TestTakeOutRefuses(t *testing.T) {
	g := bottleneck(graph.Linear).Graph
	whole := Blocks(g)[0]
	for _, c := range []struct {
		blocks []Block
		want   string
	}{
		{[]Block{whole, whole}, "layer 1 stands in two of the blocks"},
		{[]Block{{Layers: ids(1, 3), Entry: 0}}, "layer 2 (convolutional) reads layer 1, which would be gone"},
	} {
		_, _, err := TakeOut(g, c.blocks)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
