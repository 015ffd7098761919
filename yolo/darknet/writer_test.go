package darknet

import (
	"bytes"
	"errors"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/yolo/graph"
)

// small is a graph made in memory: a convolution and a head.
func small() *graph.Graph {
	g := &graph.Graph{Net: graph.Net{Channels: 3, Height: 32, Width: 64}}
	g.Add(&graph.Conv{Filters: 6, Size: 3, Stride: 1, Pad: 1, Groups: 1, Activation: graph.Linear}, graph.Input)
	g.Add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{1, 2}}, ScaleXY: 1, IoUThresh: 1, TruthThresh: 1,
		IgnoreThresh: .5, IoUNormalizer: .75, ObjNormalizer: 1, ClsNormalizer: 1, BetaNMS: .6}, 0)
	return g
}

func TestEncodeGraphFromMemory(t *testing.T) {
	g := small()
	g.Nodes[0].Options = []graph.Option{{Key: "filters", Value: "99"}, {Key: "stopbackward", Value: "1"}, {Key: "stopbackward", Value: "2"}}
	const want = `[net]
width=64
height=32
channels=3
batch=1
subdivisions=1

[convolutional]
filters=6
size=3
stride=1
pad=1
activation=linear
stopbackward=1

[yolo]
mask=0
anchors=1,2
classes=1
num=1
scale_x_y=1
`
	var got bytes.Buffer
	if err := Encode(&got, g); err != nil || got.String() != want {
		t.Errorf("got (%v)\n%s\nwant\n%s", err, got.String(), want)
	}
}

func TestEncodeErrors(t *testing.T) {
	yolo := func(change func(*graph.Yolo)) func(*graph.Graph) {
		return func(g *graph.Graph) { change(g.Nodes[1].Yolo()) }
	}
	option := func(key, value string) func(*graph.Graph) {
		return func(g *graph.Graph) { g.Net.Options = []graph.Option{{Key: key, Value: value}} }
	}
	for _, c := range []struct {
		name   string
		change func(g *graph.Graph)
		want   string
	}{
		{"skips a layer", func(g *graph.Graph) { g.Nodes[1].Inputs[0] = graph.Input }, "layer 1 (yolo): reads layer -1, but in a cfg it reads layer 0: put a route before it"},
		{"reads two", func(g *graph.Graph) { g.Nodes[1].Inputs = []graph.NodeID{0, 0} }, "layer 1 (yolo): reads 2 layers, want 1"},
		{"reads none", func(g *graph.Graph) { g.Nodes[0].Inputs = nil }, "layer 0 (convolutional): reads 0 layers, want 1"},
		{"route from the input", func(g *graph.Graph) { g.Add(&graph.Route{Groups: 1}, graph.Input) }, "layer 2 (route): reads the network's input, which layers cannot name"},
		{"route from nowhere", func(g *graph.Graph) { g.Add(&graph.Route{Groups: 1}) }, "layer 2 (route): reads no layer"},
		{"short shortcut", func(g *graph.Graph) { g.Add(&graph.Shortcut{Activation: graph.Linear}, 1) }, "layer 2 (shortcut): reads 1 layers, want 2 or more"},
		{"short product", func(g *graph.Graph) { g.Add(&graph.SAM{Activation: graph.Linear}, 1) }, "layer 2 (sam): reads 1 layers, want 2"},
		{"long product", func(g *graph.Graph) { g.Add(&graph.ScaleChannels{Activation: graph.Linear}, 1, 0, 0) }, "layer 2 (scale_channels): reads 3 layers, want 2"},
		{"route to the future", func(g *graph.Graph) { g.Add(&graph.Route{Groups: 1}, 5) }, "layer 2 (route): layers names layer 5, but only earlier ones can be named"},
		{"mention of the future", func(g *graph.Graph) { g.Nodes[1].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 1}} },
			"layer 1 (yolo): embedding_layer names layer 1, but only earlier ones can be named"},
		{"mention twice", func(g *graph.Graph) {
			g.Nodes[1].Mentions = []graph.Mention{{Key: "embedding_layer", Layer: 0}, {Key: "embedding_layer", Layer: 0}}
		}, "layer 1 (yolo): embedding_layer=0 cannot be written"},
		{"mention by another key", func(g *graph.Graph) { g.Nodes[1].Mentions = []graph.Mention{{Key: "yolo_layer", Layer: 0}} }, "layer 1 (yolo): yolo_layer=0 cannot be written"},
		{"contrastive without a head", func(g *graph.Graph) { g.Add(&graph.Contrastive{Classes: 1}, 1) },
			"the cfg to be written cannot be read: line 22: [contrastive] has no yolo_layer"},
		{"no filters", func(g *graph.Graph) { g.Nodes[0].Conv().Filters = 0 }, "the cfg to be written cannot be read: line 8: layer 0 (convolutional): filters 0"},
		{"shortcut from afar", func(g *graph.Graph) { g.Add(&graph.Shortcut{Activation: graph.Linear}, 0, 1) }, "layer 2 (shortcut): reads layer 0, but in a cfg it reads layer 1"},
		{"no activation", func(g *graph.Graph) { g.Nodes[0].Conv().Activation = "" }, `layer 0 (convolutional): activation "" cannot be written`},
		{"no mask", yolo(func(o *graph.Yolo) { o.Mask = nil }), "layer 1 (yolo): mask is empty"},
		{"nan", yolo(func(o *graph.Yolo) { o.IgnoreThresh = math.NaN() }), "layer 1 (yolo): ignore_thresh is NaN"},
		{"inf", yolo(func(o *graph.Yolo) { o.Anchors[0][1] = math.Inf(1) }), "layer 1 (yolo): anchors is +Inf"},
		{"anchor", yolo(func(o *graph.Yolo) { o.Anchors[0][0] = 0 }), "layer 1 (yolo): anchor 0 is 0x2"},
		{"scale", yolo(func(o *graph.Yolo) { o.ScaleXY = 0 }), "layer 1 (yolo): scale_x_y=0"},
		{"iou loss", yolo(func(o *graph.Yolo) { o.IoULoss = "l2" }), "layer 1 (yolo): iou_loss=l2: use one of mse"},
		{"space", option("policy", "a b"), `network: option "policy"="a b" cannot be written`},
		{"line", option("policy", "a\nwidth=1"), "cannot be written"},
		{"comment", option("policy", "a#b"), "cannot be written"},
		{"no value", option("policy", ""), "cannot be written"},
		{"section as key", option("[net]", "1"), "cannot be written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := small()
			c.change(g)
			err := Encode(io.Discard, g)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var u *UnsupportedError
			if invalid := strings.Contains(c.want, "cannot be read"); !invalid && !errors.As(err, &u) {
				t.Errorf("error is a %T", err)
			}
			path := filepath.Join(t.TempDir(), "x.cfg")
			if err := Save(path, "", g); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("save: got %v", err)
			}
		})
	}
}

// A cfg that was written and read is the same graph, for graphs of all
// operations with any numbers.
func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := randomGraph(t)
		if err := g.Infer(); err != nil {
			t.Fatalf("the generator made a bad graph: %v", err)
		}
		checkRoundTrip(t, g)
	})
}

func randomGraph(t *rapid.T) *graph.Graph {
	g := &graph.Graph{Net: graph.Net{
		Channels: rapid.IntRange(1, 4).Draw(t, "channels"), Height: 4 * rapid.IntRange(2, 10).Draw(t, "height"), Width: 4 * rapid.IntRange(2, 10).Draw(t, "width"),
		Options: append([]graph.Option{{Key: "batch", Value: "4"}}, randomOptions(t)...),
	}}
	randomConv(t, g)
	for range rapid.IntRange(0, 8).Draw(t, "layers") {
		rapid.SampledFrom(randomLayers).Draw(t, "op")(t, g)
		g.Nodes[len(g.Nodes)-1].Options = randomOptions(t)
	}
	randomHead(t, g)
	return g
}

func last(g *graph.Graph) graph.NodeID { return graph.NodeID(len(g.Nodes)) - 1 }

// randomLayers add one or several layers that fit any layer before them.
var randomLayers = []func(*rapid.T, *graph.Graph){
	randomConv,
	func(t *rapid.T, g *graph.Graph) { o := graph.MaxPool(randomPool(t)); g.Add(&o, last(g)) },
	func(t *rapid.T, g *graph.Graph) { o := randomPool(t); g.Add(&o, last(g)) },
	func(t *rapid.T, g *graph.Graph) {
		g.Add(&graph.Upsample{Stride: rapid.IntRange(1, 2).Draw(t, "stride")}, last(g))
	},
	func(t *rapid.T, g *graph.Graph) {
		o := &graph.Shortcut{Activation: randomActivation(t), Scaling: rapid.SampledFrom([]graph.Scaling{"", graph.PerFeature, graph.PerChannel}).Draw(t, "scaling")}
		if o.Scaling != graph.NoScaling {
			o.Normalization = rapid.SampledFrom([]graph.Normalization{graph.NormRelu, graph.NormSoftmax}).Draw(t, "normalization")
		}
		g.Add(o, last(g), last(g))
	},
	func(t *rapid.T, g *graph.Graph) {
		id := graph.NodeID(rapid.IntRange(0, int(last(g))).Draw(t, "source"))
		g.Add(&graph.Route{Groups: 1}, id, id)
		g.Add(&graph.Route{Groups: 2, GroupID: rapid.IntRange(0, 1).Draw(t, "group")}, last(g))
	},
	func(t *rapid.T, g *graph.Graph) {
		source := last(g)
		g.Add(&graph.AvgPool{}, source)
		g.Add(&graph.ScaleChannels{Activation: randomProduct(t)}, last(g), source)
	},
	func(t *rapid.T, g *graph.Graph) {
		source := last(g)
		g.Add(&graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: graph.Logistic}, source)
		g.Add(&graph.ScaleChannels{Activation: randomProduct(t), ScaleWH: true}, last(g), source)
	},
	func(t *rapid.T, g *graph.Graph) { g.Add(&graph.SAM{Activation: randomProduct(t)}, last(g), last(g)) },
	func(t *rapid.T, g *graph.Graph) {
		g.Add(&graph.Dropout{Probability: rapid.Float64Range(0, .99).Draw(t, "probability")}, last(g))
	},
	func(_ *rapid.T, g *graph.Graph) {
		g.Add(&graph.Upsample{Stride: 2}, last(g))
		g.Add(&graph.Reorg3D{Stride: 2}, last(g))
		g.Add(&graph.Reorg{Stride: 1}, last(g))
		g.Add(&graph.Reorg3D{Stride: 2, Reverse: true}, last(g))
		g.Add(&graph.Reorg3D{Stride: 2}, last(g))
	},
	func(_ *rapid.T, g *graph.Graph) { g.Add(&graph.Silence{}, last(g)) },
}

func randomPool(t *rapid.T) graph.LocalAvgPool {
	size := rapid.IntRange(1, 4).Draw(t, "size")
	return graph.LocalAvgPool{Size: size, Stride: rapid.IntRange(1, 2).Draw(t, "stride"), Padding: rapid.IntRange(size-1, 2*(size-1)).Draw(t, "padding")}
}

func randomProduct(t *rapid.T) graph.Activation {
	return rapid.SampledFrom([]graph.Activation{graph.Linear, graph.Leaky, graph.Relu, graph.Logistic}).Draw(t, "activation")
}

func randomConv(t *rapid.T, g *graph.Graph) {
	size := rapid.IntRange(1, 5).Draw(t, "size")
	g.Add(&graph.Conv{
		Filters: rapid.IntRange(1, 9).Draw(t, "filters"), Size: size, Stride: rapid.IntRange(1, 2).Draw(t, "stride"),
		Pad: rapid.IntRange(size/2, size).Draw(t, "pad"), Groups: 1, BatchNorm: rapid.Bool().Draw(t, "bn"), Activation: randomActivation(t),
	}, graph.NodeID(len(g.Nodes)-1))
}

func randomActivation(t *rapid.T) graph.Activation {
	return rapid.SampledFrom(graph.Activations).Draw(t, "activation")
}

func randomHead(t *rapid.T, g *graph.Graph) {
	positive := rapid.Float64Range(1e-9, 1e9)
	any := rapid.Float64Range(-1e30, 1e30)
	o := &graph.Yolo{
		Classes: rapid.IntRange(1, 9).Draw(t, "classes"), Mask: []int{1, 0}, ScaleXY: positive.Draw(t, "scale"), NewCoords: rapid.Bool().Draw(t, "new"),
		Anchors:      [][2]float64{{positive.Draw(t, "w0"), positive.Draw(t, "h0")}, {positive.Draw(t, "w1"), positive.Draw(t, "h1")}},
		IgnoreThresh: any.Draw(t, "ignore"), TruthThresh: any.Draw(t, "truth"), IoUThresh: any.Draw(t, "iou"), IoUNormalizer: any.Draw(t, "in"),
		ObjNormalizer: any.Draw(t, "on"), ClsNormalizer: any.Draw(t, "cn"), MaxDelta: any.Draw(t, "delta"), LabelSmooth: any.Draw(t, "smooth"),
		BetaNMS: any.Draw(t, "beta"), IoULoss: rapid.SampledFrom(iouLosses).Draw(t, "loss"), NMSKind: rapid.SampledFrom(nmsKinds).Draw(t, "nms"),
	}
	g.Add(&graph.Conv{Filters: 2 * o.PerAnchor(), Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear}, graph.NodeID(len(g.Nodes)-1))
	head := g.Add(o, last(g))
	if rapid.Bool().Draw(t, "embedding") {
		head.Mentions = []graph.Mention{{Key: "embedding_layer", Layer: graph.NodeID(rapid.IntRange(0, int(head.ID)-1).Draw(t, "layer"))}}
		g.Add(&graph.Contrastive{Classes: rapid.IntRange(1, 9).Draw(t, "contrastive")}, head.ID).Mentions = []graph.Mention{{Key: "yolo_layer", Layer: head.ID}}
	}
}

// randomOptions are options that no section reads, with any plain text.
func randomOptions(t *rapid.T) []graph.Option {
	keys := rapid.SliceOfNDistinct(rapid.StringMatching(`x_[0-9A-Za-z_.-]{0,6}`), 0, 3, rapid.ID).Draw(t, "keys")
	var out []graph.Option
	for _, k := range keys {
		// Numbers with an exponent are written in plain decimals, hence no e, E, +.
		out = append(out, graph.Option{Key: k, Value: rapid.StringMatching(`[!-"$-*,-DF-df-~]{1,9}`).Draw(t, "value")})
	}
	return out
}
