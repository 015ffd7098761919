package pipeline

import (
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gocv.io/x/gocv"

	"yoloprune/datasets/imagefile"
	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// maxMasked is how far a head of the cut network may be from the masked one's,
// relative to values above one.
const maxMasked = 1e-4

// maxBetween is how far OpenCV may be off with files that Darknet reads alike.
const maxBetween = 10 * MaxDifference

// subject is a network to cut, and an image to run it on.
type subject struct {
	g         *graph.Graph
	groups    []depgraph.Group
	img, gray gocv.Mat
	openCV    bool // OpenCV knows its sections
}

func newSubject(t *testing.T, g *graph.Graph, img gocv.Mat) subject {
	groups, err := depgraph.Build(g)
	if err != nil {
		t.Fatal(err)
	}
	gray := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(128, 128, 128, 0), g.Net.Height, g.Net.Width, gocv.MatTypeCV8UC3)
	t.Cleanup(func() { img.Close(); gray.Close() })
	return subject{g: g, groups: groups, img: img, gray: gray}
}

// randomSubject reads a cfg with random weights at a small input.
func randomSubject(t *testing.T, cfg string) subject {
	g := randomModel(t, cfg, 128, 64)
	s := newSubject(t, g, noise(g.Net.Width, g.Net.Height))
	makeVisible(t, g, s.img)
	s.openCV = !notInOpenCV[filepath.Base(cfg)]
	return s
}

// trainedSubject reads a trained model, with a photo at its own input size.
func trainedSubject(t *testing.T, cfg string) subject {
	g, _, err := darknet.Load(cfg, strings.TrimSuffix(cfg, "cfg")+"weights")
	if err != nil {
		t.Fatal(err)
	}
	img, err := imagefile.Read(filepath.Join(filepath.Dir(cfg), "..", "..", "images", "dog.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	gocv.Resize(img, &img, image.Pt(g.Net.Width, g.Net.Height), 0, 0, gocv.InterpolationLinear)
	s := newSubject(t, g, img)
	s.openCV = true
	return s
}

// models lists the trained models' cfgs.
func models(t *testing.T) []string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(published(t)[0]), "..", "models", "*", "*.cfg")
	cfgs, err := filepath.Glob(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) != 10 {
		t.Errorf("%d models, want 10", len(cfgs))
	}
	return cfgs
}

// plans returns how many plans a network is cut by: YOLOPRUNE_PLANS, if set. The
// long tests cut by a thousand in all.
func plans(t *testing.T, short, long int) int {
	t.Helper()
	if text := os.Getenv("YOLOPRUNE_PLANS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("YOLOPRUNE_PLANS=%s: want a positive number", text)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return long
}

// quickCuts are the cfgs that a short test cuts.
var quickCuts = map[string]bool{
	"enet-coco.cfg": true, "yolov3-tiny-prn.cfg": true, "yolov4-csp-s-mish.cfg": true, "yolov4-tiny.cfg": true,
	"yolov4-tiny_contrastive.cfg": true, "yolov7-tiny.cfg": true,
}

// The published cfgs with random weights: without channels and blocks that are
// drawn or a strategy's choice, they compute what the masked network does, in
// this engine and in OpenCV.
func TestCutCfgsComputeWhatMaskedOnesDo(t *testing.T) {
	cutAll(t, published(t), func(t *testing.T, cfg string, first kind) counts {
		if testing.Short() && !quickCuts[filepath.Base(cfg)] {
			t.Skip("takes seconds")
		}
		return randomSubject(t, cfg).cutBy(t, plans(t, 1, 16), first)
	})
}

// The trained models with their own weights.
func TestCutModelsComputeWhatMaskedOnesDo(t *testing.T) {
	cutAll(t, models(t), func(t *testing.T, cfg string, first kind) counts {
		return trainedSubject(t, cfg).cutBy(t, plans(t, 1, 60), first)
	})
}

// cutAll cuts networks, each by plans of a kind that is another for the next
// one, so that all occur even if each is cut once.
func cutAll(t *testing.T, cfgs []string, cut func(t *testing.T, cfg string, first kind) counts) {
	var all counts
	ran := 0
	for i, cfg := range cfgs {
		t.Run(filepath.Base(cfg), func(t *testing.T) {
			ran++
			all.add(cut(t, cfg, kind(i)%kinds))
		})
	}
	everything.add(all)
	if ran == len(cfgs) {
		all.allKinds(t)
	}
}

// The networks without shortcuts, which tools for Darknet files do not cut,
// with half of their operations.
func TestHalfOfYOLOv7(t *testing.T) {
	dir := filepath.Dir(published(t)[0])
	for _, name := range []string{"yolov7-tiny.cfg", "yolov7.cfg"} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !quick[name] {
				t.Skip("takes seconds")
			}
			s := randomSubject(t, filepath.Join(dir, name))
			p, _, err := plan.Make(s.g, s.groups, plan.Defaults(plan.Target{Quantity: plan.FLOPs, Ratio: .5}))
			if err != nil {
				t.Fatal(err)
			}
			if r := p.Reached.FLOPs; r < .5 || r > .5+plan.Tolerance {
				t.Errorf("removed %v of the operations", r)
			}
			d, err := s.cut(t, removal{plan: p})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f %% of FLOPs and %.1f %% of parameters removed; %v", 100*p.Reached.FLOPs, 100*p.Reached.Params, d)
		})
	}
}

// cutBy cuts by that many plans, the same ones every time, of one kind after
// the other.
func (s subject) cutBy(t *testing.T, plans int, first kind) counts {
	t.Helper()
	var c counts
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	for seed := range plans {
		want := (first + kind(seed)) % kinds
		r := s.draw(t, rand.New(rand.NewPCG(uint64(seed), name.Sum64())), seed, want)
		c.tried[r.kind]++
		if r.kind != want {
			c.instead++
		}
		d, err := s.cut(t, r)
		if err != nil {
			t.Errorf("plan %d, %v, removed layers %v: %v", seed, r, depgraph.Layers(r.blocks), err)
		} else {
			c.passed[r.kind]++
		}
		t.Logf("plan %d, %v, removes %.2f of FLOPs: %v", seed, r, r.plan.Reached.FLOPs, d)
		c.worst.include(d)
	}
	t.Log(c)
	return c
}

// channels makes a plan of channels: every third by a strategy, the others by
// chance.
func (s subject) channels(t *testing.T, rng *rand.Rand, seed int) (p *plan.Plan, how string) {
	t.Helper()
	align := []int{1, 4, 8, 32}[rng.IntN(4)]
	if seed%3 == 2 {
		if p, how := s.made(t, rng, align); p != nil {
			return p, how
		}
	}
	for {
		if p, how := s.drawn(rng, align); len(p.Keep) > 0 {
			return p, how
		}
		align = max(1, align/2) // the network is too narrow for it
	}
}

// made asks a strategy for less and less until the network allows it.
func (s subject) made(t *testing.T, rng *rand.Rand, align int) (*plan.Plan, string) {
	t.Helper()
	o := plan.Defaults(plan.Target{
		Quantity: []plan.Quantity{plan.FLOPs, plan.Params, plan.Channels, plan.Bytes}[rng.IntN(4)],
		Ratio:    ratio(rng),
	})
	targeted := slices.DeleteFunc(slices.Clone(plan.Strategies), func(s string) bool { return s == "layers" })
	o.Strategy = targeted[rng.IntN(len(targeted))]
	o.Align, o.Floor = align, .05
	if o.Strategy == "regular" {
		o.Align = max(2, align)
	}
	for ; o.Target.Ratio > .01; o.Target.Ratio /= 2 {
		p, _, err := plan.Make(s.g, s.groups, o)
		if err == nil {
			return p, fmt.Sprintf("%s to -%.2f %s, align %d", o.Strategy, o.Target.Ratio, o.Target.Quantity, align)
		}
		if infeasible := (*plan.InfeasibleError)(nil); !errors.As(err, &infeasible) {
			t.Fatal(err)
		}
	}
	return nil, ""
}

// drawn removes any channels, of all groups one ratio or of each its own; what
// a part keeps is a multiple of align, or all.
func (s subject) drawn(rng *rand.Rand, align int) (*plan.Plan, string) {
	one, each := ratio(rng), rng.IntN(2) == 0
	keep := make([][]bool, len(s.groups))
	for i, gr := range s.groups {
		keep[i] = make([]bool, gr.Channels)
		for _, b := range gr.Balances {
			n, r := b.Size(), one
			if each {
				r = ratio(rng)
			}
			if b.Fixed == "" {
				left := max(1, int(math.Round((1-r)*float64(n))))
				n = min(n, (left+align-1)/align*align)
			}
			for _, part := range b.Parts {
				for _, at := range rng.Perm(len(part))[:n] {
					keep[i][part[at]] = true
				}
			}
		}
	}
	how := fmt.Sprintf("-%.2f of all groups", one)
	if each {
		how = "any ratio by group"
	}
	return plan.New(s.g, s.groups, keep), fmt.Sprintf("%s, align %d", how, align)
}

// ratio draws the fraction to remove.
func ratio(rng *rand.Rand) float64 { return .1 + .85*rng.Float64() }

// differences are those of heads' values, relative to values above one.
type differences struct {
	louder         float32 // factor for the batch norms, 0 for none
	masked, openCV float64
	ran            int // networks that OpenCV ran
	refused        int // cuts that are not written for OpenCV and Darknet alike
	unsteady       struct {
		number int // networks whose rounding errors grow so much that only the reference engine can compare them
		worst  float64
	}
	between struct {
		number int // cuts that OpenCV runs right only if they are written for it
		worst  float64
	}
}

func (d *differences) include(o differences) {
	d.masked, d.openCV = max(d.masked, o.masked), max(d.openCV, o.openCV)
	d.ran, d.refused = d.ran+o.ran, d.refused+o.refused
	d.unsteady.number, d.unsteady.worst = d.unsteady.number+o.unsteady.number, max(d.unsteady.worst, o.unsteady.worst)
	d.between.number, d.between.worst = d.between.number+o.between.number, max(d.between.worst, o.between.worst)
}

func (d differences) String() string {
	text := fmt.Sprintf("%.1e from masked", d.masked)
	if d.ran > 0 {
		text += fmt.Sprintf(", %.1e from OpenCV (%d run)", d.openCV, d.ran)
	}
	if d.louder > 0 {
		text += fmt.Sprintf(", batch norms times %.2f", d.louder)
	}
	if d.refused > 0 {
		text += fmt.Sprintf(", %d written for OpenCV only", d.refused)
	}
	if d.between.number > 0 {
		text += fmt.Sprintf(", of which %d up to %.1e where written for Darknet alike", d.between.number, d.between.worst)
	}
	if d.unsteady.number > 0 {
		text += fmt.Sprintf("; %d that rounding moves by up to %.1e, by the reference engine", d.unsteady.number, d.unsteady.worst)
	}
	return text
}

// cut compares the cut network with the masked one, and with OpenCV as files
// that are exported and read again.
func (s subject) cut(t *testing.T, r removal) (d differences, err error) {
	t.Helper()
	g, cut := s.g, s.apply(t, s.g, r)
	if s.sight(t, cut).blind() {
		g = g.Clone()
		d.louder = s.louder(t, cut)
		scaleGammas(g, d.louder)
		cut = s.apply(t, g, r)
	}
	masked, err := s.masked(g, r)
	if err != nil {
		return d, err
	}
	got := run(t, cut, s.img)
	for _, m := range masked {
		a := apart(got, run(t, m, s.img))
		if a > maxMasked { // the fast kernels' sums depend on the shapes, and a hundred random layers can make much of a last digit
			d.unsteady.number, d.unsteady.worst = 1, max(d.unsteady.worst, a)
			a = apart(reference(t, cut, s.img), reference(t, m, s.img))
		}
		if d.masked = max(d.masked, a); !(a <= maxMasked) {
			return d, fmt.Errorf("the cut and the masked network differ by %.2g", a)
		}
	}
	if d.unsteady.number > 0 {
		return d, nil
	}
	if s.openCV {
		err = s.compare(t, cut, got, &d)
	} else {
		err = s.readBack(t, cut, got)
	}
	return d, err
}

// readBack runs what the cut network's files are read as.
func (s subject) readBack(t *testing.T, cut *graph.Graph, got []engine.Output) error {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	cfg, weights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
	if err := darknet.Save(cfg, weights, cut); err != nil {
		return err
	}
	read, _, err := darknet.Load(cfg, weights)
	if err != nil {
		return err
	}
	if d := apart(run(t, read, s.img), got); d != 0 {
		return fmt.Errorf("read again, its files differ by %.2g", d)
	}
	return nil
}

func (s subject) apply(t *testing.T, g *graph.Graph, r removal) *graph.Graph {
	t.Helper()
	cut, err := r.apply(g)
	if err != nil {
		t.Fatal(err)
	}
	return cut
}

// sight is how much of the image the heads see, the one that sees least and the
// one that sees most.
type sight struct{ least, most float64 }

func (s subject) sight(t *testing.T, g *graph.Graph) sight {
	t.Helper()
	v := sight{least: math.Inf(1)}
	a, b := run(t, g, s.img), run(t, g, s.gray)
	for i := range a {
		d := furthest(a[i:i+1], b[i:i+1])
		v.least, v.most = min(v.least, d), max(v.most, d)
	}
	return v
}

// blind says whether a wrong channel could go unnoticed. The coarse heads, which
// have more layers before them, see more.
func (v sight) blind() bool { return v.least < .001 && v.most < .05 }

// louder returns the factor for the batch norms of a blind network that makes up
// for the channels that its sums lack, so that its heads see the image again; g
// is changed. It is no larger than need be: where values grow from layer to
// layer, rounding errors do.
func (s subject) louder(t *testing.T, g *graph.Graph) float32 {
	t.Helper()
	now, low, high := 1.0, 1.0, math.Inf(1)
	for range 60 {
		next := min(1.1*low, math.Sqrt(low*high))
		scaleGammas(g, float32(next/now))
		now = next
		switch v := s.sight(t, g); {
		case v.blind():
			low = now
		case v.most <= .2:
			return float32(now)
		default: // NaN too
			high = now
		}
	}
	t.Fatalf("with batch norms times %.2f the heads see too little or too much of the image", now)
	return 0
}

// compare runs OpenCV on the cut network's files. Those that Darknet reads alike
// lie between the epsilons of both: in a network that makes much of little, they
// may differ by more than those for OpenCV, which then have to agree.
func (s subject) compare(t *testing.T, cut *graph.Graph, got []engine.Output, d *differences) error {
	t.Helper()
	diff, err := s.inOpenCV(t, cut, got, darknet.ForAny)
	switch unsupported := (*darknet.UnsupportedError)(nil); {
	case errors.As(err, &unsupported):
		d.refused++
		diff, err = s.inOpenCV(t, cut, got, darknet.ForOpenCV)
	case err == nil && diff > MaxDifference && diff <= maxBetween:
		d.between.number, d.between.worst = 1, diff
		diff, err = s.inOpenCV(t, cut, got, darknet.ForOpenCV)
	}
	if err != nil {
		return err
	}
	d.ran, d.openCV = 1, diff
	if !(diff <= MaxDifference) {
		return fmt.Errorf("differs from OpenCV by %.2g", diff)
	}
	return nil
}

// inOpenCV writes the cut network for a reader and returns how far OpenCV is off
// with the files.
func (s subject) inOpenCV(t *testing.T, cut *graph.Graph, got []engine.Output, reader darknet.Reader) (float64, error) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	cfg, weights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
	if _, err := ExportDarknet(cut, reader, cfg, weights); err != nil {
		return 0, err
	}
	read, _, err := darknet.Load(cfg, "")
	if err != nil {
		return 0, err
	}
	return compareHeads(read, cfg, weights, s.img, got)
}

// apart returns the largest difference of two networks' heads, relative to
// values above one.
func apart(a, b []engine.Output) float64 {
	worst := 0.0
	for i := range b {
		if a[i].Shape != b[i].Shape {
			return math.Inf(1)
		}
		for j, v := range b[i].Data {
			d := math.Abs(float64(a[i].Data[j])-float64(v)) / max(1, math.Abs(float64(v)))
			if !(d <= worst) {
				worst = d
			}
		}
	}
	return worst
}

// It would notice a block that is taken for the next one, too, be it a residual
// block or a run.
func TestComparisonNoticesOtherBlock(t *testing.T) {
	name := "yolo-fastest-1.1"
	s := trainedSubject(t, filepath.Join(filepath.Dir(published(t)[0]), "..", "models", name, name+".cfg"))
	blocks := depgraph.Blocks(s.g)
	for i := 0; i+1 < len(blocks); i += 4 {
		masked, err := s.masked(s.g, removalOf(blocks[i+1]))
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, s.apply(t, s.g, removalOf(blocks[i])), s.img)
		for _, m := range masked {
			if d := apart(got, run(t, m, s.img)); !(d > maxMasked) {
				t.Errorf("without the %v and the %v the heads differ by %.1e", blocks[i], blocks[i+1], d)
			}
		}
	}
}

func removalOf(b depgraph.Block) removal {
	p := &plan.Plan{Version: plan.Version, Removed: b.Layers, Keep: plan.Keep{}}
	return removal{kind: blocksOnly, plan: p, blocks: []depgraph.Block{b}}
}

// The comparison is worth what it would notice: two input channels of one
// convolution that are swapped.
func TestComparisonNoticesSwappedChannels(t *testing.T) {
	s := randomSubject(t, filepath.Join(filepath.Dir(published(t)[0]), "yolov7-tiny.cfg"))
	for seed := range 2 {
		p, how := s.drawn(rand.New(rand.NewPCG(uint64(seed), 8)), 4)
		cut := s.apply(t, s.g, removal{plan: p})
		if s.sight(t, cut).blind() {
			s.louder(t, cut)
		}
		want := run(t, cut, s.img)
		for i, n := range cut.Convs() {
			c, in := n.Conv(), cut.ShapeOf(n.Inputs[0]).C
			if i%8 != 0 {
				continue
			}
			wrong := cut.Clone()
			swapFirst(wrong.Nodes[n.ID].Weights.Kernel, in, c.Size*c.Size)
			if d := apart(run(t, wrong, s.img), want); !(d > maxMasked) {
				t.Errorf("plan %d, %s: %v with two input channels swapped differs by %.1e", seed, how, n, d)
			}
		}
	}
}

// swapFirst swaps what the filters of a convolution read of channels 0 and 1 of
// in; rs is the area of the kernels.
func swapFirst(kernel []float32, in, rs int) {
	for f := 0; f < len(kernel); f += in * rs {
		for i := range rs {
			kernel[f+i], kernel[f+rs+i] = kernel[f+rs+i], kernel[f+i]
		}
	}
}
