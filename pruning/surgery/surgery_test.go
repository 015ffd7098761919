package surgery

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/graph"
)

type fataler interface{ Fatal(...any) }

func groupsOf(t fataler, g *graph.Graph) []depgraph.Group {
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// randomPlan keeps, of every balance, a drawn number of channels (a multiple
// of align, or all), and any of them. ok is false when it removes nothing.
func randomPlan(t *rapid.T, g *graph.Graph, align int) (p *plan.Plan, ok bool) {
	groups := groupsOf(t, g)
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	keep := make([][]bool, len(groups))
	for i, gr := range groups {
		keep[i] = make([]bool, gr.Channels)
		for _, b := range gr.Balances {
			n := b.Size()
			if b.Fixed == "" {
				n = min(n, (rapid.IntRange(1, n).Draw(t, "kept")+align-1)/align*align)
			}
			ok = ok || n < b.Size()
			for _, part := range b.Parts {
				for _, at := range r.Perm(len(part))[:n] {
					keep[i][part[at]] = true
				}
			}
		}
	}
	return plan.New(g, groups, keep), ok
}

func drawAlign(t *rapid.T) int { return rapid.SampledFrom([]int{1, 4, 8, 32}).Draw(t, "align") }

// exact is what the order of a sum changes in float64.
const exact = 1e-9

// checkMasking says whether the cut net computes what the masked net does, and
// returns that.
func checkMasking(t fataler, g *graph.Graph, p *plan.Plan) [][]float64 {
	before := fingerprint(g)
	masked, err := Mask(g, p)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := Apply(g, p, Options{Fold: None})
	if err != nil {
		t.Fatal(err)
	}
	if before != fingerprint(g) {
		t.Fatal("the network was edited in place")
	}
	image := graphtest.Image(g, 5)
	want, got := graphtest.Heads(masked, image), graphtest.Heads(cut, image)
	for i := range want {
		if d := graphtest.MaxDiff(want[i], got[i]); !(d < exact) {
			t.Fatal(fmt.Sprintf("head %d: masked and cut differ by %g", i, d))
		}
	}
	if p.Reached != nil {
		ratio := 1 - float64(cost.Of(cut).FLOPs())/float64(cost.Of(g).FLOPs())
		if math.Abs(ratio-p.Reached.FLOPs) > 1e-12 {
			t.Fatal(fmt.Sprintf("removed %v of the operations, the plan says %v", ratio, p.Reached.FLOPs))
		}
	}
	for id, keep := range p.Keep {
		if n := cut.Nodes[id].Conv().Filters; n != len(keep) {
			t.Fatal(fmt.Sprintf("layer %d has %d filters, the plan keeps %d", id, n, len(keep)))
		}
	}
	return want
}

// fingerprint hashes all that surgery might change.
func fingerprint(g *graph.Graph) uint64 {
	h := fnv.New64a()
	for _, n := range g.Nodes {
		fmt.Fprint(h, n.ID, n.Op, n.Inputs, n.Out, n.Options, n.Mentions, n.Line)
		if w := n.Weights; w != nil {
			for _, v := range [][]float32{w.Kernel, w.Bias, w.Gamma, w.Mean, w.Var, w.Scale} {
				sum := uint64(len(v))
				for _, x := range v {
					sum = sum*1099511628211 ^ uint64(math.Float32bits(x))
				}
				fmt.Fprint(h, sum)
			}
		}
	}
	return h.Sum64()
}

func TestMaskingEqualsSurgery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.RandomSharing(t)
		if p, ok := randomPlan(t, g, drawAlign(t)); ok {
			checkMasking(t, g, p)
		}
	})
}

func TestMaskingEqualsSurgeryTiny(t *testing.T) {
	g := graphtest.Tiny(0.25, 32, 11)
	rapid.Check(t, func(t *rapid.T) {
		if p, ok := randomPlan(t, g, drawAlign(t)); ok {
			checkMasking(t, g, p)
		}
	})
}

// Graphs for what a random one seldom has.
func TestMaskingEqualsSurgeryByHand(t *testing.T) {
	nets := map[string]func() graphtest.Net{
		"residual over a concatenation": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 8, 3, 1, graph.Mish)
			n.Conv(graph.Input, 16, 3, 1, graph.Swish)
			n.Conv(n.Route(0, 1), 24, 3, 1, graph.Leaky)
			n.Head(n.Shortcut(3, 2))
			return n
		},
		"slices of a repeated source": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 16, 3, 1, graph.Leaky)
			n.Head(n.Conv(n.Slice(4, 2, n.Route(0, 0), 0), 8, 3, 1, graph.Relu))
			return n
		},
		"slice across a concatenation": func() graphtest.Net {
			n := graphtest.New(3, 5, 5)
			n.Conv(graph.Input, 24, 3, 1, graph.Leaky)
			n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
			n.Head(n.Slice(2, 1, n.Route(0, 1)))
			n.Head(n.Slice(2, 0, 2))
			return n
		},
		"grouped and depthwise": func() graphtest.Net {
			n := graphtest.New(3, 6, 6)
			n.Conv(graph.Input, 16, 3, 1, graph.Logistic)
			n.Conv(0, 32, 3, 4, graph.Relu6)
			n.Conv(1, 64, 3, 32, graph.Leaky)
			n.Head(n.Conv(2, 16, 3, 2, graph.Swish))
			return n
		},
		"spatial pyramid": func() graphtest.Net {
			n := graphtest.New(3, 6, 6)
			x := n.Conv(graph.Input, 16, 3, 1, graph.Leaky)
			n.Head(n.Conv(n.Route(n.MaxPool(x, 5, 1), n.MaxPool(x, 3, 1), x), 8, 1, 1, graph.Leaky))
			return n
		},
	}
	maps.Copy(nets, otherNets(t))
	for name, net := range nets {
		t.Run(name, func(t *testing.T) {
			g := net().Fill(3)
			found := 0
			rapid.Check(t, func(t *rapid.T) {
				if p, ok := randomPlan(t, g, drawAlign(t)); ok {
					found++
					checkMasking(t, g, p)
				}
			})
			if found == 0 {
				t.Error("nothing was cut")
			}
		})
	}
}

// A plan by hand may choose numbers that no choice by balance makes: 3 | 3 of
// the slices, but 2 | 1 and 1 | 2 of the balances.
func TestMaskingEqualsSurgeryUnevenPlan(t *testing.T) {
	n := graphtest.New(3, 5, 5)
	n.Conv(graph.Input, 6, 3, 1, graph.Leaky)
	n.Conv(graph.Input, 2, 3, 1, graph.Leaky)
	n.Head(n.Slice(2, 1, n.Route(0, 1)))
	n.Head(n.Slice(2, 0, 2))
	checkMasking(t, n.Fill(3), &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0, 1, 2, 4}}})
}

// silence makes the filters that the plan removes constant: gamma, or without
// batch norm the kernel, is zero. Beta stays.
func silence(g *graph.Graph, p *plan.Plan) {
	for _, n := range g.Convs() {
		kept, w := p.Kept(n), n.Weights
		size := len(w.Kernel) / n.Conv().Filters
		for f := range n.Conv().Filters {
			switch {
			case slices.Contains(kept, f):
			case w.Gamma != nil:
				w.Gamma[f] = 0
			default:
				clear(w.Kernel[f*size : (f+1)*size])
			}
		}
	}
}

// Where no convolution pads, removing constant channels changes nothing, with
// either fold: through sums, slices, pooling, upsampling, and every activation.
func TestFoldIsExactWithoutPadding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := graphtest.RandomSharing(t, 1)
		p, ok := randomPlan(t, g, drawAlign(t))
		if !ok {
			return
		}
		silence(g, p)
		image := graphtest.Image(g, 6)
		want := graphtest.Heads(g, image)
		for _, fold := range []Fold{Beta, Expected, ""} {
			cut, err := Apply(g, p, Options{Fold: fold})
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range graphtest.Heads(cut, image) {
				if d := graphtest.MaxDiff(want[i], got); !(d < 1e-4*(1+graphtest.MaxDiff(want[i], make([]float64, len(want[i]))))) {
					t.Fatalf("fold %s, head %d: differs by %g", fold, i, d)
				}
			}
		}
	})
}

// By hand: filter 1 of layer 0 is constant: leaky(-3) = -0.3. Layer 1 (batch
// norm) reads it with 2, the head (none) reads nothing of it.
func TestFoldByHand(t *testing.T) {
	n := graphtest.New(1, 1, 1)
	n.Conv(graph.Input, 2, 1, 1, graph.Leaky)
	n.Conv(0, 2, 1, 1, graph.Linear)
	n.ConvOp(0, graph.Conv{Filters: 2, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	g := n.Fill(1)
	g.Nodes[0].Weights.Gamma = []float32{1, 0}
	g.Nodes[0].Weights.Bias = []float32{0, -3}
	g.Nodes[1].Weights.Kernel = []float32{5, 2, 1, 0}
	g.Nodes[1].Weights.Mean = []float32{10, 20}
	g.Nodes[2].Weights.Kernel = []float32{0, 1, 7, -4}
	g.Nodes[2].Weights.Bias = []float32{1, 2}
	p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {0}}}
	for fold, want := range map[Fold]struct{ mean, bias []float32 }{
		None: {[]float32{10, 20}, []float32{1, 2}},
		Beta: {[]float32{10.6, 20}, []float32{0.7, 3.2}},
	} {
		cut, err := Apply(g, p, Options{Fold: fold})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.mean, cut.Nodes[1].Weights.Mean, cmpopts.EquateApprox(0, 1e-6)); d != "" {
			t.Errorf("fold %s: mean %s", fold, d)
		}
		if d := cmp.Diff(want.bias, cut.Nodes[2].Weights.Bias, cmpopts.EquateApprox(0, 1e-6)); d != "" {
			t.Errorf("fold %s: bias %s", fold, d)
		}
		if d := cmp.Diff([]float32{5, 1}, cut.Nodes[1].Weights.Kernel); d != "" {
			t.Errorf("fold %s: kernel %s", fold, d)
		}
	}
}

// With zero padding the fold keeps every output channel's mean over the image,
// for any kernel, stride, padding and dilation.
func TestFoldKeepsTheMeanAtBorders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := graphtest.New(2, rapid.IntRange(3, 8).Draw(t, "h"), rapid.IntRange(3, 8).Draw(t, "w"))
		n.Conv(graph.Input, 4, 1, 1, graph.Swish)
		size := rapid.IntRange(1, 5).Draw(t, "size")
		dilation := rapid.IntRange(1, 3).Draw(t, "dilation")
		extent := (size-1)*dilation + 1
		pad := rapid.IntRange(max(0, (extent-2)/2), extent/2).Draw(t, "pad")
		n.ConvOp(0, graph.Conv{Filters: 3, Size: size, Stride: rapid.IntRange(1, 3).Draw(t, "stride"), Pad: pad, Groups: 1,
			Activation: graph.Linear, Dilation: dilation})
		g := n.Fill(rapid.Uint64().Draw(t, "seed"))
		p := &plan.Plan{Version: plan.Version, Keep: plan.Keep{0: {1, 2}}}
		silence(g, p)
		cut, err := Apply(g, p, Options{Fold: Beta})
		if err != nil {
			t.Fatal(err)
		}
		image := graphtest.Image(g, 7)
		want, got := graphtest.Heads(g, image)[0], graphtest.Heads(cut, image)[0]
		pixels := len(want) / 3
		for k := range 3 {
			a, b := mean(want[k*pixels:(k+1)*pixels]), mean(got[k*pixels:(k+1)*pixels])
			if math.Abs(a-b) > 1e-5*(1+math.Abs(a)) {
				t.Fatalf("filter %d: mean %v before, %v after", k, a, b)
			}
		}
	})
}

func mean(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s / float64(len(v))
}

// The expectation against the midpoint rule over ten deviations, and against
// values known in closed form.
func TestExpected(t *testing.T) {
	for _, a := range graph.Activations {
		for _, gamma := range []float64{-3, -0.7, 0, 0.05, 0.5, 2} {
			for _, beta := range []float64{-4, -0.3, 0, 1.5, 7} {
				const steps = 20000
				want := 0.0
				for i := range steps {
					z := -10 + 20*(float64(i)+0.5)/steps
					want += 20. / steps * math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) * graphtest.Activate(a, gamma*z+beta)
				}
				if got := expected(a, gamma, beta); math.Abs(got-want) > 3e-5 {
					t.Errorf("%s, gamma %v, beta %v: %v, want %v", a, gamma, beta, got, want)
				}
			}
		}
	}
	for _, c := range []struct {
		a                 graph.Activation
		gamma, beta, want float64
	}{
		{graph.Relu, 1, 0, 1 / math.Sqrt(2*math.Pi)},
		{graph.Logistic, 2, 0, 0.5},
		{graph.Linear, 5, -1, -1},
		{graph.Leaky, 0, -2, -0.2},
	} {
		if got := expected(c.a, c.gamma, c.beta); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s, gamma %v, beta %v: %v, want %v", c.a, c.gamma, c.beta, got, c.want)
		}
	}
}

// What Make reports as reached is what the cut network has less of.
func TestReachedIsTrue(t *testing.T) {
	g := graphtest.Tiny(0.5, 64, 3)
	for _, q := range []plan.Quantity{plan.FLOPs, plan.Params, plan.Bytes} {
		p, _, err := plan.Make(g, groupsOf(t, g), plan.Defaults(plan.Target{Quantity: q, Ratio: 0.6}))
		if err != nil {
			t.Fatal(err)
		}
		cut, err := Apply(g, p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		before, after := cost.Of(g), cost.Of(cut)
		want := plan.Ratios{
			FLOPs:    1 - float64(after.FLOPs())/float64(before.FLOPs()),
			Params:   1 - float64(after.Params())/float64(before.Params()),
			Channels: p.Reached.Channels,
			Bytes:    1 - float64(after.WeightsFileBytes())/float64(before.WeightsFileBytes()),
		}
		if d := cmp.Diff(want, *p.Reached, cmpopts.EquateApprox(0, 1e-12)); d != "" {
			t.Error(d)
		}
		checkMasking(t, g, p)
	}
}

func TestErrors(t *testing.T) {
	n := graphtest.New(3, 4, 4)
	n.Conv(graph.Input, 8, 3, 1, graph.Leaky)
	n.Conv(0, 8, 3, 1, graph.Leaky)
	n.ConvOp(1, graph.Conv{Filters: 8, Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear})
	n.Add(&graph.Shortcut{Activation: graph.Logistic}, 2, 1)
	if err := n.Infer(); err != nil {
		t.Fatal(err)
	}
	n.Head(3)
	g := n.Fill(1)
	sum := &plan.Plan{Version: plan.Version, Keep: plan.Keep{1: {0, 1}, 2: {0, 1}}}
	apply := func(p *plan.Plan, f Fold) error { _, err := Apply(g, p, Options{Fold: f}); return err }
	_, masked := Mask(g, sum)
	for _, c := range []struct {
		err  error
		want string
	}{
		{apply(sum, "mean"), `fold: "mean" is not known: use one of [none beta expected measured]`},
		{apply(&plan.Plan{Version: plan.Version, Keep: plan.Keep{1: {0}}}, None), "group 2 (layers 1, 2) is split"},
		{apply(&plan.Plan{Version: plan.Version}, None), "removes no channel"},
		{masked, "layer 3 (shortcut): a channel behind its logistic can not be masked"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", c.err, c.want)
		}
	}
	if err := apply(sum, Beta); err != nil {
		t.Error(err)
	}
	g.Nodes[0].Weights = nil
	if err := apply(sum, None); err == nil || !strings.Contains(err.Error(), "layer 0 (convolutional): has no weights") {
		t.Errorf("got %v", err)
	}
}
