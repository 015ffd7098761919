package importance

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/graph"
)

// blocks is a random net: 3 x 3, depthwise, grouped and 1 x 1 convolutions,
// and a sum.
func blocks(seed uint64, act graph.Activation) *graph.Graph {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, act)
	n.Conv(0, 6, 1, 1, act)
	n.Conv(1, 6, 3, 6, act)
	n.Conv(2, 8, 1, 1, graph.Linear)
	n.Shortcut(3, 0)
	n.Conv(4, 4, 3, 2, act)
	n.Head(5)
	return n.Fill(seed)
}

// scoresOf scores all groups that may be cut.
func scoresOf(t testing.TB, g *graph.Graph, name string) [][]float64 {
	t.Helper()
	s, err := Score(build(t, g), newCriterion(t, g, Options{Criterion: name}))
	if err != nil {
		t.Fatal(err)
	}
	return s.Values
}

// like compares single-precision sums.
var like = cmpopts.EquateApprox(1e-4, 1e-9)

// TestNextIsScaleConsistent: convolutions 0, 1, 2 and 3 pass on f times less,
// channel by channel, and what reads it takes f times more. The network
// computes the same, which |gamma| does not show.
func TestNextIsScaleConsistent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64Range(0, 1000).Draw(rt, "seed")
		g := blocks(seed, graph.Leaky)
		scaled, r := g.Clone(), rand.New(rand.NewPCG(seed, 9))
		rescale(scaled, r, []graph.NodeID{0, 3}, []graph.NodeID{1, 5})
		rescale(scaled, r, []graph.NodeID{1}, []graph.NodeID{2})
		rescale(scaled, r, []graph.NodeID{2}, []graph.NodeID{3})
		image := graphtest.Image(g, seed)
		a, b := graphtest.Heads(g, image), graphtest.Heads(scaled, image)
		if d := graphtest.MaxDiff(a[0], b[0]); d > 1e-4 {
			rt.Fatalf("outputs differ by %g", d)
		}
		if d := cmp.Diff(scoresOf(t, g, "bn-scale-next"), scoresOf(t, scaled, "bn-scale-next"), like); d != "" {
			rt.Error(d)
		}
		if cmp.Equal(scoresOf(t, g, "bn-scale"), scoresOf(t, scaled, "bn-scale"), like) {
			rt.Error("the scales did not change")
		}
	})
}

// rescale divides the outputs of layers from by a factor of the channel, and
// multiplies by it what layers to read of them.
func rescale(g *graph.Graph, r *rand.Rand, from, to []graph.NodeID) {
	f := make([]float32, g.Nodes[from[0]].Out.C)
	for c := range f {
		f[c] = float32(math.Exp(r.NormFloat64()))
	}
	for _, id := range from {
		for k := range f {
			g.Nodes[id].Weights.Gamma[k] /= f[k]
			g.Nodes[id].Weights.Bias[k] /= f[k]
		}
	}
	for _, id := range to {
		n := g.Nodes[id]
		o := n.Conv()
		in := len(f) / o.Groups
		for i := range n.Weights.Kernel {
			slice := i / (o.Size * o.Size)
			group := slice / in / (o.Filters / o.Groups)
			n.Weights.Kernel[i] *= f[group*in+slice%in]
		}
	}
}

// TestHomogeneous: with all kernels f times as large, norms and distances are,
// and LAMP's shares stay.
func TestHomogeneous(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.Float32Range(0.01, 100).Draw(rt, "f")
		g := blocks(rapid.Uint64Range(0, 1000).Draw(rt, "seed"), graph.Mish)
		scaled := g.Clone()
		for _, n := range scaled.Convs() {
			for i := range n.Weights.Kernel {
				n.Weights.Kernel[i] *= f
			}
		}
		for name, factor := range map[string]float32{
			"l1": f, "l2": f, "fpgm": f, "bn-scale-filter": f, "bn-scale-next": f, "bn-scale": 1, "lamp": 1,
		} {
			want := scoresOf(t, g, name)
			for _, s := range want {
				for i := range s {
					s[i] *= float64(factor)
				}
			}
			if d := cmp.Diff(want, scoresOf(t, scaled, name), like); d != "" {
				rt.Errorf("%s: %s", name, d)
			}
		}
	})
}

// TestDuplicatesAreRedundant: of unit vectors, two of which are the same, those
// two have distances 6*sqrt(2), the others 7*sqrt(2).
func TestDuplicatesAreRedundant(t *testing.T) {
	n := graphtest.New(7, 2, 2)
	n.Conv(graph.Input, 8, 1, 1, graph.Leaky)
	n.Head(0)
	g := n.Fill(1)
	clear(g.Nodes[0].Weights.Kernel)
	for k, c := range []int{0, 1, 2, 3, 4, 5, 6, 3} {
		g.Nodes[0].Weights.Kernel[k*7+c] = 1
	}
	six, seven := 6*math.Sqrt2, 7*math.Sqrt2
	check(t, g, Options{Criterion: "fpgm"}, 0, nil, seven, seven, seven, six, seven, seven, seven, six)
}

// TestDistanceSums against the definition, in double precision: several blocks
// of rows, rows that are nearly the same, and rows far from the origin.
func TestDistanceSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, shift := range []float64{0, 30} {
		const rows, dim = 2*gramRows + 5, 27
		x := make([]float32, rows*dim)
		for i := range x {
			x[i] = float32(r.NormFloat64() + shift)
		}
		for i := range 20 {
			copy(x[(100+i)*dim:][:dim], x[i*dim:])
			x[(100+i)*dim+i] += 1e-4
		}
		want := make([]float64, rows)
		for i := range rows {
			for j := range rows {
				sum := 0.0
				for c := range dim {
					d := float64(x[i*dim+c]) - float64(x[j*dim+c])
					sum += d * d
				}
				want[i] += math.Sqrt(sum)
			}
		}
		if d := cmp.Diff(want, distanceSums(x, rows), cmpopts.EquateApprox(1e-5, 0)); d != "" {
			t.Errorf("shift %v: %s", shift, d)
		}
	}
	if d := cmp.Diff([]float64{0, 0}, distanceSums(nil, 2)); d != "" {
		t.Error("no live channel:", d)
	}
}

// TestLampTies: equal norms score alike, and each counts for the others.
func TestLampTies(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{[]float64{4, 1, 4, 2, 2}, []float64{0.5, 1. / 13, 0.5, 2. / 12, 2. / 12}},
		{[]float64{0, 3}, []float64{0, 1}},
		{[]float64{0, 0}, []float64{0, 0}},
	} {
		if d := cmp.Diff(c.want, lampScores(slices.Clone(c.in)), near); d != "" {
			t.Errorf("%v: %s", c.in, d)
		}
	}
}

// TestNotFinite: weights that are no numbers are refused by every criterion
// that reads them.
func TestNotFinite(t *testing.T) {
	nan := float32(math.NaN())
	for name := range fromWeights {
		g := blocks(1, graph.Leaky)
		g.Nodes[1].Weights.Kernel[3] = nan
		if name == "bn-scale" {
			g.Nodes[1].Weights.Gamma[3] = nan
		}
		for _, combine := range Combines {
			_, err := Score(build(t, g), newCriterion(t, g, Options{Criterion: name, Combine: combine}))
			if err == nil || !strings.Contains(err.Error(), "is NaN: the weights hold NaN or infinity") {
				t.Errorf("%s, %s: error %v", name, combine, err)
			}
		}
	}
}
