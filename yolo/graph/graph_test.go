package graph

import (
	"strings"
	"testing"
)

// small is conv 8 -> route half -> maxpool -> upsample -> shortcut -> head.
func small() *Graph {
	g := &Graph{Net: Net{Channels: 3, Height: 8, Width: 12, Options: []Option{{Key: "batch", Value: "8"}, {Key: "batch", Value: "9"}}}}
	g.Add(&Conv{Filters: 8, Size: 3, Stride: 2, Pad: 1, Groups: 1, BatchNorm: true, Activation: Leaky}, Input)
	g.Add(&Route{Groups: 2, GroupID: 1}, 0)
	g.Add(&MaxPool{Size: 2, Stride: 2, Padding: 1}, 1)
	g.Add(&Upsample{Stride: 2}, 2)
	g.Add(&Shortcut{Activation: Linear}, 3, 1)
	g.Add(&Conv{Filters: 12, Size: 1, Stride: 1, Groups: 1, Activation: Linear}, 4)
	g.Add(&Yolo{Classes: 1, Mask: []int{0, 1}, Anchors: [][2]float64{{1, 1}, {2, 2}}}, 5)
	return g
}

func TestInfer(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	want := []Shape{{8, 4, 6}, {4, 4, 6}, {4, 2, 3}, {4, 4, 6}, {4, 4, 6}, {12, 4, 6}, {12, 4, 6}}
	for i, s := range want {
		if g.Nodes[i].Out != s {
			t.Errorf("%v: shape %v, want %v", g.Nodes[i], g.Nodes[i].Out, s)
		}
	}
	if len(g.Convs()) != 2 || len(g.Heads()) != 1 || !g.FeedsHead(5) || g.FeedsHead(4) {
		t.Errorf("%d convolutions, %d heads, layer 5 feeds one %v, layer 4 %v", len(g.Convs()), len(g.Heads()), g.FeedsHead(5), g.FeedsHead(4))
	}
	if c := g.Consumers(); len(c[1]) != 2 || c[1][0] != 2 || c[1][1] != 4 || len(c[Input]) != 1 {
		t.Errorf("consumers %v", c)
	}
	if v, ok := Lookup(g.Net.Options, "batch"); !ok || v != "8" {
		t.Errorf("batch is %q, want the first, 8", v)
	}
}

// TestOtherShapes has the operations that small does not.
func TestOtherShapes(t *testing.T) {
	for _, c := range []struct {
		op   Op
		in   []Shape
		want Shape
		bad  string
	}{
		{&AvgPool{}, []Shape{{5, 3, 4}}, Shape{5, 1, 1}, ""},
		{&LocalAvgPool{4, 4, 3}, []Shape{{5, 8, 9}}, Shape{5, 2, 3}, ""},
		{&LocalAvgPool{4, 4, 9}, []Shape{{5, 8, 8}}, Shape{}, "padding at most"},
		{&ScaleChannels{Activation: Linear}, []Shape{{5, 1, 1}, {5, 3, 4}}, Shape{5, 3, 4}, ""},
		{&ScaleChannels{Activation: Linear}, []Shape{{4, 1, 1}, {5, 3, 4}}, Shape{}, "it must be 5x1x1"},
		{&ScaleChannels{Linear, true}, []Shape{{1, 3, 4}, {5, 3, 4}}, Shape{5, 3, 4}, ""},
		{&ScaleChannels{Linear, true}, []Shape{{5, 1, 1}, {5, 3, 4}}, Shape{}, "it must be 1x3x4"},
		{&ScaleChannels{Activation: Mish}, []Shape{{5, 1, 1}, {5, 3, 4}}, Shape{}, `"mish" is not computed after a product`},
		{&SAM{Logistic}, []Shape{{5, 3, 4}, {5, 3, 4}}, Shape{5, 3, 4}, ""},
		{&SAM{Linear}, []Shape{{5, 1, 1}, {5, 3, 4}}, Shape{}, "they must be equal"},
		{&Dropout{0.2}, []Shape{{5, 3, 4}}, Shape{5, 3, 4}, ""},
		{&Dropout{1}, []Shape{{5, 3, 4}}, Shape{}, "must be in [0, 1)"},
		{&Reorg3D{Stride: 2}, []Shape{{5, 4, 6}}, Shape{20, 2, 3}, ""},
		{&Reorg3D{Stride: 2}, []Shape{{5, 3, 6}}, Shape{}, "divide height and width of 3x6"},
		{&Reorg3D{2, true}, []Shape{{20, 2, 3}}, Shape{5, 4, 6}, ""},
		{&Reorg3D{2, true}, []Shape{{5, 2, 3}}, Shape{}, "divide the 5 channels"},
		{&Reorg{2}, []Shape{{8, 4, 6}}, Shape{32, 2, 3}, ""},
		{&Reorg{2}, []Shape{{5, 4, 6}}, Shape{}, "divide the 5 channels"},
		{&Silence{}, []Shape{{5, 4, 6}}, Shape{5, 4, 6}, ""},
		{&Contrastive{80}, []Shape{{5, 4, 6}}, Shape{5, 4, 6}, ""},
		{&Contrastive{}, []Shape{{5, 4, 6}}, Shape{}, "classes 0"},
		{&Shortcut{Activation: Linear}, []Shape{{5, 4, 6}, {3, 4, 6}}, Shape{5, 4, 6}, ""},
		{&Shortcut{Activation: Linear}, []Shape{{3, 4, 6}, {5, 4, 6}, {1, 4, 6}}, Shape{3, 4, 6}, ""},
	} {
		got, err := c.op.infer(c.in)
		if c.bad == "" && (err != nil || got != c.want) {
			t.Errorf("%s %+v of %v: %v (%v), want %v", c.op.Kind(), c.op, c.in, got, err, c.want)
		}
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s %+v of %v: error %v, want one with %q", c.op.Kind(), c.op, c.in, err, c.bad)
		}
	}
}

// TestShortcutWeights: one weight for each input, or for each of its channels.
func TestShortcutWeights(t *testing.T) {
	for _, c := range []struct {
		scaling Scaling
		want    int
	}{{NoScaling, 0}, {PerFeature, 2}, {PerChannel, 8}} {
		g := small()
		o := g.Nodes[4].Op.(*Shortcut)
		if o.Scaling = c.scaling; c.scaling != NoScaling {
			o.Normalization = NormSoftmax
		}
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		if got := o.ScaleLen(2, 4); got != c.want {
			t.Errorf("%q: %d weights, want %d", c.scaling, got, c.want)
		}
		g.Nodes[4].Weights = &Weights{Scale: make([]float32, c.want)}
		if err := g.checkWeights(g.Nodes[4]); err != nil {
			t.Error(err)
		}
		g.Nodes[4].Weights.Scale = make([]float32, 3)
		if err := g.checkWeights(g.Nodes[4]); err == nil || !strings.Contains(err.Error(), "3") {
			t.Errorf("%q: error %v, want one about 3 weights", c.scaling, err)
		}
	}
}

// TestConvSizes: out = (in + 2*pad - size)/stride + 1, rounded down.
func TestConvSizes(t *testing.T) {
	for _, c := range []struct{ in, size, stride, pad, out int }{
		{13, 3, 1, 1, 13}, {13, 3, 2, 1, 7}, {14, 3, 2, 1, 7}, {5, 5, 1, 0, 1}, {6, 2, 2, 1, 4}, {1, 3, 1, 1, 1},
	} {
		g := &Graph{Net: Net{Channels: 1, Height: c.in, Width: c.in}}
		g.Add(&Conv{Filters: 1, Size: c.size, Stride: c.stride, Pad: c.pad, Groups: 1, Activation: Linear}, Input)
		if err := g.Infer(); err != nil || g.Nodes[0].Out.H != c.out {
			t.Errorf("%+v: height %d (%v)", c, g.Nodes[0].Out.H, err)
		}
	}
}

func TestInferErrors(t *testing.T) {
	conv := func(g *Graph) *Conv { return g.Nodes[0].Conv() }
	for _, c := range []struct {
		name  string
		spoil func(*Graph)
		want  string
	}{
		{"no layers", func(g *Graph) { g.Nodes = nil }, "no layers"},
		{"empty input", func(g *Graph) { g.Net.Width = 0 }, "network input"},
		{"huge input", func(g *Graph) { g.Net.Width, g.Net.Height = 1<<20, 1<<20 }, "network input"},
		{"no filters", func(g *Graph) { conv(g).Filters = 0 }, "layer 0 (convolutional): filters 0"},
		{"huge kernel", func(g *Graph) { conv(g).Filters, conv(g).Size, conv(g).Pad = 1<<22, 9, 4 }, "kernel of"},
		{"groups", func(g *Graph) { conv(g).Groups = 2 }, "groups 2 must divide both the 3 input channels"},
		{"activation", func(g *Graph) { conv(g).Activation = "tanh" }, `unknown activation "tanh"`},
		{"window", func(g *Graph) { conv(g).Size, conv(g).Pad = 11, 0 }, "window of 11 pixels does not fit 8x12"},
		{"slices", func(g *Graph) { g.Nodes[1].Op.(*Route).Groups = 3 }, "groups 3 does not divide 8"},
		{"slice number", func(g *Graph) { g.Nodes[1].Op.(*Route).GroupID = 2 }, "0 <= group_id < groups"},
		{"pool padding", func(g *Graph) { g.Nodes[2].Op.(*MaxPool).Padding = 3 }, "padding at most"},
		{"upsample", func(g *Graph) { g.Nodes[3].Op.(*Upsample).Stride = 0 }, "stride 0"},
		{"shortcut", func(g *Graph) { g.Nodes[4].Inputs[1] = 2 }, "adds shapes 4x4x6 and 4x2x3"},
		{"shortcut weights", func(g *Graph) { g.Nodes[4].Op = &Shortcut{Activation: Linear, Scaling: PerFeature} }, `weights_normalization "": must be relu or softmax`},
		{"shortcut scaling", func(g *Graph) { g.Nodes[4].Op = &Shortcut{Activation: Linear, Scaling: "x"} }, `weights_type "x"`},
		{"mention", func(g *Graph) { g.Nodes[6].Mentions = []Mention{{"embedding_layer", 9}} }, "embedding_layer names layer 9"},
		{"shortcut of one", func(g *Graph) { g.Nodes[4].Inputs = []NodeID{3} }, "adds at least two"},
		{"head", func(g *Graph) { g.Nodes[6].Yolo().Classes = 2 }, "need 14 channels, the layer before has 12"},
		{"mask", func(g *Graph) { g.Nodes[6].Yolo().Mask[1] = 2 }, "mask names anchor 2, but there are 2"},
		{"forward reference", func(g *Graph) { g.Nodes[1].Inputs[0] = 5 }, "only earlier layers"},
		{"before the input", func(g *Graph) { g.Nodes[1].Inputs[0] = -2 }, "only earlier layers"},
		{"number", func(g *Graph) { g.Nodes[1].ID = 4 }, "stands at position 1"},
	} {
		g := small()
		c.spoil(g)
		if err := g.Infer(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestWeights(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if err := g.CheckWeights(); err == nil || !strings.Contains(err.Error(), "layer 0 (convolutional): has no weights") {
		t.Errorf("error %v, want one about missing weights", err)
	}
	for _, n := range g.Convs() {
		n.Weights = n.Conv().NewWeights(g.ShapeOf(n.Inputs[0]).C)
	}
	if err := g.CheckWeights(); err != nil {
		t.Error(err)
	}
	// 8*3*3*3 + 4*8 with batch norm, 12*4 + 12 without.
	if a, b := g.Nodes[0].Weights.Len(), g.Nodes[5].Weights.Len(); a != 248 || b != 60 {
		t.Errorf("%d and %d floats, want 248 and 60", a, b)
	}
	g.Nodes[0].Weights.Gamma = g.Nodes[0].Weights.Gamma[1:]
	if err := g.CheckWeights(); err == nil || !strings.Contains(err.Error(), "gamma has 7 values, want 8") {
		t.Errorf("error %v, want one about gamma", err)
	}
}

// TestCloneSharesNothing changes a clone in every way and looks at the original.
func TestCloneSharesNothing(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	g.Nodes[0].Weights = g.Nodes[0].Conv().NewWeights(3)
	g.Nodes[0].Options = []Option{{Key: "stopbackward", Value: "1"}}
	c := g.Clone()
	c.Net.Options[0].Value = "1"
	c.Nodes[0].Conv().Filters = 1
	c.Nodes[0].Weights.Kernel[0], c.Nodes[0].Weights.Gamma[0] = 5, 5
	c.Nodes[0].Options[0].Value = "2"
	c.Nodes[4].Inputs[0] = 1
	c.Nodes[6].Yolo().Mask[0] = 1
	c.Nodes[6].Yolo().Anchors[0][0] = 7
	w, y := g.Nodes[0].Weights, g.Nodes[6].Yolo()
	if g.Net.Options[0].Value != "8" || g.Nodes[0].Conv().Filters != 8 || w.Kernel[0] != 0 || w.Gamma[0] != 1 ||
		g.Nodes[0].Options[0].Value != "1" || g.Nodes[4].Inputs[0] != 3 || y.Mask[0] != 0 || y.Anchors[0][0] != 1 {
		t.Error("a change of the clone is seen in the original")
	}
}
