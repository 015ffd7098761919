package pipeline

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"gocv.io/x/gocv"

	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// published returns the cfgs in the folder of published files beside the
// repository, and skips the test when there is none.
func published(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "..", "shared")
	}
	cfgs, err := filepath.Glob(filepath.Join(root, "cfg", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) == 0 {
		t.Skipf("no published cfgs in %s", root)
	}
	return cfgs
}

// notInOpenCV are the cfgs with sections that OpenCV 4.6 does not know.
var notInOpenCV = map[string]bool{
	"yolov4-sam-mish-csp-reorg-bfm.cfg": true, // reorg3d
	"yolov4-tiny_contrastive.cfg":       true, // local_avgpool, contrastive
}

// quick are the cfgs of a short test: small ones, which have every kind of layer.
var quick = map[string]bool{
	"enet-coco.cfg": true, "yolov3-tiny.cfg": true, "yolov3-tiny-prn.cfg": true, "yolov4-csp-s-mish.cfg": true,
	"yolov4-tiny.cfg": true, "yolov4-tiny-3l.cfg": true, "yolov4-tiny_contrastive.cfg": true, "yolov7-tiny.cfg": true,
	"yolov4-sam-mish-csp-reorg-bfm.cfg": true,
}

// TestPublishedCfgsForward runs every published cfg with random weights at a
// small input, as files that were written and read again, and compares the
// heads' raw values with OpenCV's, or, where OpenCV does not load the network,
// with the reference engine's.
func TestPublishedCfgsForward(t *testing.T) {
	cfgs := published(t)
	if len(cfgs) != 25 {
		t.Errorf("%d cfgs, want 25", len(cfgs))
	}
	for _, cfg := range cfgs {
		t.Run(filepath.Base(cfg), func(t *testing.T) {
			if testing.Short() && !quick[filepath.Base(cfg)] {
				t.Skip("takes seconds")
			}
			compareCfg(t, cfg)
		})
	}
}

func compareCfg(t *testing.T, cfg string) {
	g := randomModel(t, cfg, 128, 64)
	img := noise(g.Net.Width, g.Net.Height)
	defer img.Close()
	makeVisible(t, g, img)
	dir := t.TempDir()
	toCfg, toWeights := filepath.Join(dir, "m.cfg"), filepath.Join(dir, "m.weights")
	known := !notInOpenCV[filepath.Base(cfg)]
	if err := saveFor(known, g, toCfg, toWeights); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(toWeights)
	if want := cost.Of(g).WeightsFileBytes(); err != nil || info.Size() != want {
		t.Fatalf("weights file of %d bytes (%v), want %d", info.Size(), err, want)
	}
	if g, _, err = darknet.Load(toCfg, toWeights); err != nil {
		t.Fatal(err)
	}
	ours := run(t, g, img)
	peer, worst := "OpenCV", 0.0
	if known {
		worst, err = compareHeads(g, toCfg, toWeights, img, ours)
	} else {
		peer, worst = "the reference", apart(ours, reference(t, g, img))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d heads differ from %s by at most %.1e", len(ours), peer, worst)
	if !(worst <= MaxDifference) {
		t.Errorf("differs from %s by %.2g", peer, worst)
	}
}

// saveFor writes files for OpenCV, which make up for its other epsilon, or
// plain ones.
func saveFor(openCV bool, g *graph.Graph, cfg, weights string) error {
	if openCV {
		_, err := ExportDarknet(g, darknet.ForAny, cfg, weights)
		return err
	}
	return darknet.Save(cfg, weights, g)
}

func run(t *testing.T, g *graph.Graph, img gocv.Mat) []engine.Output {
	t.Helper()
	out, err := forward(g, img)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// makeVisible scales the batch norms so that the image can be seen at every
// head, but hardly more: with larger factors the values grow from layer to
// layer, and rounding errors with them. It comes from below, for far above
// every head is saturated and sees nothing either.
func makeVisible(t *testing.T, g *graph.Graph, img gocv.Mat) {
	t.Helper()
	gray := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(128, 128, 128, 0), g.Net.Height, g.Net.Width, gocv.MatTypeCV8UC3)
	defer gray.Close()
	now, low, high := 1.0, .4, math.Inf(1)
	for range 20 {
		next := min(1.1*low, math.Sqrt(low*high))
		scaleGammas(g, float32(next/now))
		now = next
		seen := furthest(run(t, g, img), run(t, g, gray))
		switch {
		case seen < .002:
			low = now
		case seen <= .02:
			t.Logf("batch norms times %.2f: the heads of noise and of gray differ by %.2g", now, seen)
			return
		default: // NaN too, after an overflow
			high = now
		}
	}
	t.Fatalf("with batch norms times %.2f the heads see too little or too much of the image", now)
}

func scaleGammas(g *graph.Graph, by float32) {
	for _, n := range g.Convs() {
		for i := range n.Weights.Gamma {
			n.Weights.Gamma[i] *= by
		}
	}
}

// randomModel reads a cfg, changes its input size and draws weights.
func randomModel(t *testing.T, cfg string, w, h int) *graph.Graph {
	t.Helper()
	g, _, err := darknet.Load(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	g.Net.Width, g.Net.Height = w, h
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range g.Nodes {
		n.Weights = randomWeights(rng, g.Arrays(n))
	}
	return g
}

// randomWeights draws kernels of variance 2 over the fan-in (He et al., ICCV
// 2015, arXiv:1502.01852) and batch norms near the identity.
func randomWeights(rng *rand.Rand, arrays []graph.Array) *graph.Weights {
	if arrays == nil {
		return nil
	}
	w := &graph.Weights{}
	filters := arrays[0].Len
	for _, a := range arrays {
		mean, spread := float32(0), float32(.2)
		switch a.Role {
		case "kernel":
			spread = float32(math.Sqrt(6 * float64(filters) / float64(a.Len)))
		case "gamma", "variance":
			mean = 1
		}
		values := make([]float32, a.Len)
		for i := range values {
			values[i] = mean + spread*(2*rng.Float32()-1)
		}
		*a.In(w) = values
	}
	return w
}

func noise(w, h int) gocv.Mat {
	rng := rand.New(rand.NewPCG(3, 4))
	pixels := make([]byte, 3*w*h)
	for i := range pixels {
		pixels[i] = byte(rng.Uint32())
	}
	img, err := gocv.NewMatFromBytes(h, w, gocv.MatTypeCV8UC3, pixels)
	if err != nil {
		panic(err)
	}
	return img
}

// reference runs a network in plain Go, which adds in one order whatever the
// shapes are.
func reference(t *testing.T, g *graph.Graph, img gocv.Mat) []engine.Output {
	t.Helper()
	net, err := ref.NewNet(g)
	if err != nil {
		t.Fatal(err)
	}
	x := ref.New(1, g.Net.Height, g.Net.Width, 3)
	for i, b := range img.ToBytes() {
		x.Data[i-i%3+2-i%3] = float32(b) / 255
	}
	heads, _, err := net.Forward(x, false)
	if err != nil {
		t.Fatal(err)
	}
	var out []engine.Output
	for i, h := range g.Heads() {
		out = append(out, engine.Output{Node: h.ID, Shape: h.Out, Data: heads[i].Data})
	}
	return out
}

// furthest returns, of the largest differences of the heads' values, the
// smallest.
func furthest(a, b []engine.Output) float64 {
	least := math.Inf(1)
	for i := range a {
		worst := 0.0
		for j, v := range a[i].Data {
			worst = max(worst, math.Abs(float64(v)-float64(b[i].Data[j])))
		}
		least = min(least, worst)
	}
	return least
}
