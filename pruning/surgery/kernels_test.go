package surgery

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// kernelNet has a layer of two filters with 2 x 2 kernels over two channels, a
// depthwise layer, and two heads; one reads its convolution through an
// upsampling.
func kernelNet(t *testing.T) *graph.Graph {
	n := graphtest.New(2, 4, 4)
	n.ConvOp(graph.Input, graph.Conv{Filters: 2, Size: 2, Stride: 2, Groups: 1, Activation: graph.Leaky})
	n.Conv(0, 2, 1, 2, graph.Leaky)
	n.ConvOp(1, graph.Conv{Filters: 6, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	n.Upsample(2, 2)
	n.Add(&graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 1}, 3)
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	n.Head(1)
	return n.Fill(1)
}

// By hand: the norms of layer 0, filter by filter, are 4, 2, 2 and 8. A quarter
// is one kernel, the first of the two that are equal; a half are both; 0.6 of 4
// is 2.4, and so are both, too; all but one stay in the limit. Of the depthwise
// layer's two kernels the weaker one goes.
func TestZeroKernelsByHand(t *testing.T) {
	kernel := []float32{
		1, -1, 1, -1, 0, 0, -2, 0,
		0.5, 0.5, 0.5, 0.5, 0, 0, 0, 8,
	}
	for _, c := range []struct {
		ratio float64
		skip  []graph.NodeID
		first []int // layer 0's kernels that go
		zero  []int // by layer
	}{
		{0.25, nil, []int{1}, []int{1, 1}},
		{0.5, []graph.NodeID{1}, []int{1, 2}, []int{2, 0}},
		{0.6, nil, []int{1, 2}, []int{2, 1}},
		{0.99, []graph.NodeID{1}, []int{0, 1, 2}, []int{3, 0}},
	} {
		g := kernelNet(t)
		copy(g.Nodes[0].Weights.Kernel, kernel)
		copy(g.Nodes[1].Weights.Kernel, []float32{-3, 1})
		before := fingerprint(g)
		out, s, err := ZeroKernels(g, c.ratio, c.skip...)
		if err != nil {
			t.Fatal(err)
		}
		if before != fingerprint(g) {
			t.Fatal("the network was edited in place")
		}
		want := slices.Clone(kernel)
		for _, k := range c.first {
			clear(want[4*k : 4*k+4])
		}
		if d := cmp.Diff(want, out.Nodes[0].Weights.Kernel); d != "" {
			t.Errorf("ratio %v: %s", c.ratio, d)
		}
		whole := ""
		if len(c.skip) > 0 {
			whole = "skip"
		}
		all := &Sparsity{Ratio: c.ratio, Kernels: 30, Zero: c.zero[0] + c.zero[1], Layers: []LayerKernel{
			{0, 4, c.zero[0], ""}, {1, 2, c.zero[1], whole}, {2, 12, 0, "head"}, {5, 12, 0, "head"},
		}}
		if d := cmp.Diff(all, s); d != "" {
			t.Errorf("ratio %v: %s", c.ratio, d)
		}
	}
}

// Kernels that are zero already go first; those of a head count, too.
func TestZeroKernelsThatWereZero(t *testing.T) {
	g := kernelNet(t)
	clear(g.Nodes[0].Weights.Kernel[8:12])
	clear(g.Nodes[2].Weights.Kernel[:2])
	_, s, err := ZeroKernels(g, 0.25, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.Before != 3 || s.Zero != 3 || s.Kernels != 30 || s.Of() != 0.1 {
		t.Errorf("%+v", s)
	}
}

func TestZeroKernelsErrors(t *testing.T) {
	g := kernelNet(t)
	bad := g.Clone()
	bad.Nodes[1].Weights.Kernel[1] = float32(math.NaN())
	bare := g.Clone()
	bare.Nodes[0].Weights = nil
	for _, c := range []struct {
		g     *graph.Graph
		ratio float64
		want  string
	}{
		{g, 0, "ratio: 0 is not in (0, 1)"},
		{g, 1, "ratio: 1 is not in (0, 1)"},
		{g, math.NaN(), "ratio: NaN is not in (0, 1)"},
		{g, 0.01, "ratio: 0.01 of every layer's kernels is none that may go"},
		{bad, 0.5, "layer 1 (convolutional): the norm of kernel 1 is NaN"},
		{bare, 0.5, "layer 0 (convolutional): has no weights"},
	} {
		if _, _, err := ZeroKernels(c.g, c.ratio); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

// On any graph: shapes, heads and all but kernels stay; a kernel is kept as it
// is or zero; and no kernel that is left is weaker than one that went.
func TestZeroKernelsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.Random(t)
		ratio := rapid.Float64Range(0.05, 0.95).Draw(t, "ratio")
		out, s, err := ZeroKernels(g, ratio)
		if err != nil {
			if !strings.Contains(err.Error(), "none that may go") {
				t.Fatal(err)
			}
			return
		}
		if len(s.Layers) != len(g.Convs()) {
			t.Fatalf("%d rows for %d convolutions", len(s.Layers), len(g.Convs()))
		}
		for _, row := range s.Layers {
			n, old := out.Nodes[row.Index], g.Nodes[row.Index]
			gone, weakest, strongest := compareKernels(t, old, n)
			if gone > row.Zero || gone >= row.Kernels || row.Whole != "" && gone > 0 || weakest < strongest {
				t.Fatalf("layer %d: %+v, but %d are gone; the weakest left has %v, the strongest gone %v", row.Index, row, gone, weakest, strongest)
			}
			if g.FeedsHead(old.ID) && row.Whole != "head" {
				t.Fatalf("head %d is not kept whole", row.Index)
			}
			copy(n.Weights.Kernel, old.Weights.Kernel)
		}
		if fingerprint(g) != fingerprint(out) {
			t.Fatal("more than kernels has changed")
		}
	})
}

// compareKernels counts the kernels that are gone, and returns the lowest norm
// of those left and the highest of those gone.
func compareKernels(t *rapid.T, old, n *graph.Node) (gone int, weakest, strongest float64) {
	size := n.Conv().Size * n.Conv().Size
	weakest = math.Inf(1)
	for i := 0; i < len(n.Weights.Kernel); i += size {
		was, is := old.Weights.Kernel[i:i+size], n.Weights.Kernel[i:i+size]
		norm := 0.0
		for _, w := range was {
			norm += math.Abs(float64(w))
		}
		switch {
		case slices.Equal(was, is):
			weakest = min(weakest, norm)
		case !slices.ContainsFunc(is, func(w float32) bool { return w != 0 }):
			gone, strongest = gone+1, max(strongest, norm)
		default:
			t.Fatalf("%v: kernel %d is neither kept nor zero", n, i/size)
		}
	}
	return gone, weakest, strongest
}
