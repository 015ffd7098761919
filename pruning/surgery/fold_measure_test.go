package surgery

import (
	"fmt"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// fifth removes a fifth of the channels of every part that may be cut.
func fifth(t *testing.T, g *graph.Graph) *plan.Plan {
	groups := groupsOf(t, g)
	rng := rand.New(rand.NewPCG(2, 5))
	keep := make([][]bool, len(groups))
	for i, gr := range groups {
		keep[i] = slices.Repeat([]bool{true}, gr.Channels)
		for _, b := range gr.Balances {
			if b.Fixed != "" {
				continue
			}
			for _, part := range b.Parts {
				for _, at := range rng.Perm(len(part))[:(len(part)+2)/5] {
					keep[i][part[at]] = false
				}
			}
		}
	}
	return plan.New(g, groups, keep)
}

// photo reads one that has the network's input size.
func photo(t *testing.T, name string, s graph.Shape) []float64 {
	t.Helper()
	f, err := os.Open(graphtest.Shared(t, "images", "resized", fmt.Sprintf("%s_%dx%d.png", name, s.W, s.H)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	px := s.H * s.W
	x := make([]float64, 3*px)
	for i := range px {
		r, g, b, _ := img.At(i%s.W, i/s.W).RGBA()
		x[i], x[px+i], x[2*px+i] = float64(r)/0xffff, float64(g)/0xffff, float64(b)/0xffff
	}
	return x
}

// apart is how far values of heads are apart, relative to values above one.
type apart []float64

func (a apart) median() float64 {
	v := slices.Sorted(slices.Values(a))
	return v[len(v)/2]
}

func (a apart) String() string { return fmt.Sprintf("%8.1e %8.1e", a.median(), slices.Max(a)) }

// compareHeads returns the differences at the border of the heads' maps and
// inside.
func compareHeads(g *graph.Graph, got, want [][]float64) (border, inside apart) {
	for i, h := range g.Heads() {
		s := h.Out
		for j, v := range want[i] {
			d := math.Abs(got[i][j]-v) / max(1, math.Abs(v))
			if x, y := j%s.W, j/s.W%s.H; x == 0 || y == 0 || x == s.W-1 || y == s.H-1 {
				border = append(border, d)
			} else {
				inside = append(inside, d)
			}
		}
	}
	return border, inside
}

// foldedZeros makes the gammas of a fifth of the channels zero and removes
// these channels, without a fold and with one. It returns the differences at
// the heads.
func foldedZeros(t *testing.T, g *graph.Graph, img []float64) (none, folded apart) {
	t.Helper()
	p := fifth(t, g)
	silence(g, p)
	want := graphtest.Heads(g, img)
	cut := map[Fold]*graph.Graph{}
	for _, fold := range []Fold{None, Beta, Expected} {
		var err error
		if cut[fold], err = Apply(g, p, Options{Fold: fold}); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range cut[Beta].Nodes {
		if d := cmp.Diff(n.Weights, cut[Expected].Nodes[i].Weights); d != "" {
			t.Errorf("%v: beta and expected differ for zero gammas: %s", n, d)
		}
	}
	noneBorder, noneInside := compareHeads(g, graphtest.Heads(cut[None], img), want)
	border, inside := compareHeads(g, graphtest.Heads(cut[Beta], img), want)
	t.Logf("no fold: border %v, inside %v; fold: border %v, inside %v (median and largest)", noneBorder, noneInside, border, inside)
	return slices.Concat(noneBorder, noneInside), slices.Concat(border, inside)
}

// quickModels are measured in the short tests.
var quickModels = map[string]bool{
	"mobilenetv2-yolo-fastest-voc-v2.cfg": true, "yolo-fastest-1.1-body.cfg": true, "yoloface-500k.cfg": true, "yoloface-50k.cfg": true,
}

// In the trained models a kernel larger than 1 x 1 reads the image or is
// depthwise, and removed with what it reads. So nothing meets a border, and the
// fold is exact, through every layer, with leaky, relu and logistic, and with the
// other activations in place of leaky.
func TestFoldOfZeroGammas(t *testing.T) {
	cfgs, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "models"), "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) != 10 {
		t.Errorf("%d models, want 10", len(cfgs))
	}
	for _, cfg := range cfgs {
		name := filepath.Base(cfg)
		activations := []graph.Activation{""}
		if name == "yolo-fastest-1.1-body.cfg" {
			activations = append(activations, graph.Mish, graph.Swish, graph.Relu6)
		}
		for _, act := range activations {
			t.Run(strings.TrimSpace(name+" "+string(act)), func(t *testing.T) {
				if testing.Short() && (!quickModels[name] || act != "") {
					t.Skip("takes seconds")
				}
				g, _, err := darknet.Load(cfg, strings.TrimSuffix(cfg, "cfg")+"weights")
				if err != nil {
					t.Fatal(err)
				}
				t.Log(replaceLeaky(g, act))
				none, folded := foldedZeros(t, g, photo(t, "dog", g.InputShape()))
				if worst := slices.Max(folded); !(worst < 1e-5) {
					t.Errorf("with the fold the heads change by %.1e", worst)
				}
				if none.median() < .05 {
					t.Errorf("without it the heads change by %.1e only, which proves nothing", none.median())
				}
			})
		}
	}
}

// replaceLeaky puts another activation in the place of leaky, "" for none, and
// returns how many convolutions have which.
func replaceLeaky(g *graph.Graph, act graph.Activation) map[graph.Activation]int {
	count := map[graph.Activation]int{}
	for _, n := range g.Convs() {
		if c := n.Conv(); c.Activation == graph.Leaky && act != "" {
			c.Activation = act
		}
		count[n.Conv().Activation]++
	}
	return count
}

// Where 3 x 3 kernels read what is cut, borders are left. The networks are the
// published ones with a quarter of the filters and random weights.
func TestFoldOfZeroGammasAtBorders(t *testing.T) {
	for _, name := range []string{"yolov3-tiny", "yolov4-tiny", "yolov7-tiny", "yolov4", "yolov7"} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "yolov4-tiny" {
				t.Skip("takes seconds")
			}
			g := loadSmall(t, graphtest.Shared(t, "cfg", name+".cfg"), "", 320)
			g, err := graphtest.Narrow(g, 4, 1)
			if err != nil {
				t.Fatal(err)
			}
			none, folded := foldedZeros(t, g, photo(t, "dog", g.InputShape()))
			if !(folded.median() < none.median()/2) {
				t.Errorf("with the fold the heads change by %.1e, without it by %.1e", folded.median(), none.median())
			}
		})
	}
	if pair := os.Getenv("YOLOPRUNE_FOLD"); pair != "" {
		cfg, weights, _ := strings.Cut(pair, ",")
		g, _, err := darknet.Load(cfg, weights)
		if err != nil {
			t.Fatal(err)
		}
		foldedZeros(t, g, photo(t, "dog", g.InputShape()))
	}
}

// What the channels of the trained models put out on two photos, on average,
// is nearer to the expectation than to act(beta).
func TestExpectedIsNearTheMean(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(quickModels)) {
		t.Run(name, func(t *testing.T) {
			cfg := graphtest.Shared(t, "models", strings.TrimSuffix(name, ".cfg"), name)
			g, _, err := darknet.Load(cfg, strings.TrimSuffix(cfg, "cfg")+"weights")
			if err != nil {
				t.Fatal(err)
			}
			dog, person := graphtest.Forward(g, photo(t, "dog", g.InputShape())), graphtest.Forward(g, photo(t, "person", g.InputShape()))
			beta, expectation, channels := 0.0, 0.0, 0.0
			for _, n := range g.Convs() {
				if n.Weights.Gamma == nil || n.Conv().Activation == graph.Linear {
					continue
				}
				for f := range n.Out.C {
					px := n.Out.H * n.Out.W
					m := (mean(dog[n.ID][f*px:(f+1)*px]) + mean(person[n.ID][f*px:(f+1)*px])) / 2
					beta += math.Abs(filterConstant(n, f, false) - m)
					expectation += math.Abs(filterConstant(n, f, true) - m)
					channels++
				}
			}
			t.Logf("act(beta) is %.3f from the mean, the expectation %.3f", beta/channels, expectation/channels)
			if !(expectation < .8*beta) {
				t.Errorf("act(beta) is %.3f from the mean, the expectation %.3f", beta/channels, expectation/channels)
			}
		})
	}
}
