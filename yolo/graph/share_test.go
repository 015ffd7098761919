package graph

import (
	"errors"
	"strings"
	"testing"
)

// pair is a convolution and, behind a route, another that uses its weights with a
// dilation of two.
func pair() *Graph {
	g := &Graph{Net: Net{Channels: 3, Height: 8, Width: 12}}
	g.Add(&Conv{Filters: 3, Size: 3, Stride: 1, Pad: 1, Groups: 1, BatchNorm: true, Activation: Leaky}, Input)
	g.Add(&Route{Groups: 1}, 0)
	g.Add(&Conv{Filters: 3, Size: 3, Stride: 2, Pad: 2, Groups: 1, BatchNorm: true, Activation: Mish, Dilation: 2, Back: 2}, 1)
	return g
}

func TestSharedWeights(t *testing.T) {
	g := pair()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if s := g.Nodes[2].Out; s != (Shape{3, 4, 6}) {
		t.Errorf("shape %v, want 3x4x6", s)
	}
	if g.Owner(g.Nodes[2]) != g.Nodes[0] || g.Owner(g.Nodes[0]) != g.Nodes[0] || g.Owner(g.Nodes[1]) != g.Nodes[1] {
		t.Error("wrong owners")
	}
	if s := g.Sharers(); len(s) != 1 || len(s[0]) != 1 || s[0][0] != g.Nodes[2] || len(g.Owners()) != 1 {
		t.Errorf("sharers %v, owners %v", s, g.Owners())
	}
	g.Nodes[0].Weights = g.Nodes[0].Conv().NewWeights(3)
	g.Nodes[2].Weights = g.Nodes[0].Weights.Clone()
	if err := g.CheckWeights(); err == nil || err.Error() != "layer 2 (convolutional): has weights of its own instead of those of layer 0 (convolutional)" {
		t.Errorf("error %v", err)
	}
	g.LinkShared()
	if err := g.CheckWeights(); err != nil {
		t.Error(err)
	}
	c := g.Clone()
	if c.Nodes[2].Weights != c.Nodes[0].Weights || c.Nodes[0].Weights == g.Nodes[0].Weights {
		t.Error("a copy has to share its own weights")
	}
	if c.Nodes[2].Conv().Filters = 4; g.Nodes[2].Conv().Filters != 3 {
		t.Error("the copy's operations are those of the network")
	}
}

func TestSharedWeightsMisfit(t *testing.T) {
	for _, c := range []struct {
		change func(g *Graph, c *Conv)
		want   string
	}{
		{func(_ *Graph, c *Conv) { c.Back = 1 }, "uses the weights of layer 1 (route), which is no convolution"},
		{func(_ *Graph, c *Conv) { c.Back = 3 }, "uses the weights of layer -1: only those of an earlier layer can be shared"},
		{func(_ *Graph, c *Conv) { c.Back = -1 }, "uses the weights of layer 3: only those of an earlier layer can be shared"},
		{func(_ *Graph, c *Conv) { c.Filters = 6 }, "has filters 6 where that has 3"},
		{func(_ *Graph, c *Conv) { c.Size = 5 }, "has size 5 where that has 3"},
		{func(_ *Graph, c *Conv) { c.Groups = 3 }, "has groups 3 where that has 1"},
		{func(_ *Graph, c *Conv) { c.BatchNorm = false }, "has batch norm 0 where that has 1"},
		{func(g *Graph, _ *Conv) { g.Net.Channels = 4 }, "has input channels 3 where that has 4"},
		{func(_ *Graph, c *Conv) { c.Dilation = -1 }, "dilation -1: must be in 1 to 1024"},
		{func(_ *Graph, c *Conv) { c.Dilation = 8 }, "window of 13 pixels does not fit 8x12"},
		{func(g *Graph, c *Conv) {
			one := *c
			one.Back = 1
			g.Add(&one, 2)
		}, "uses the weights of layer 2 (convolutional), which itself uses those of layer 0: name that one"},
	} {
		g := pair()
		c.change(g, g.Nodes[2].Conv())
		err := g.Infer()
		var layer *LayerError
		if !errors.As(err, &layer) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
		g.Clone() // of what does not fit together does not panic
	}
	g := pair()
	g.Nodes[0].Line, g.Nodes[2].Line, g.Nodes[2].Conv().Filters = 5, 9, 6
	want := "line 9: layer 2 (convolutional): uses the weights of layer 0 (convolutional) of line 5, but has filters 6 where that has 3: make the two alike"
	if err := g.Infer(); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
