package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

// The numbers are the formulas of src/box.c evaluated in float64 by another
// program.
func TestDarknetSimilarityGolden(t *testing.T) {
	p, g := box{.50, .50, .30, .20}, box{.55, .48, .24, .26}
	for kind, want := range map[string]float64{"iou": .5612244898, "giou": .5035321821, "diou": .4742945367, "ciou": .5430359279} {
		near(t, kind, darknetSimilarity(kind, p, g), want, 1e-7)
	}
	p2, g2 := box{.2, .2, .1, .1}, box{.7, .6, .2, .1}
	for kind, want := range map[string]float64{"iou": 0, "giou": -.9076923077, "ciou": -.6113548884} {
		near(t, "disjoint "+kind, darknetSimilarity(kind, p2, g2), want, 1e-7)
	}
	nearBox(t, "d iou", darknetGradient("iou", p, g), box{3.982716, 0, 1.119325, 4.466889}, 1e-6)
	nearBox(t, "d ciou", darknetGradient("ciou", p, g), box{4.635172, -.235294, 1.149532, 4.469744}, 1e-6)
}

// cfgHead is oneCell with the settings of a cfg.
func cfgHead(change func(*graph.Yolo)) []Head {
	heads := oneCell(2)
	y := heads[0].Yolo
	y.IoULoss, y.IoUNormalizer, y.ObjNormalizer, y.ClsNormalizer = "ciou", .07, 1, 1
	y.IgnoreThresh, y.TruthThresh, y.IoUThresh = .7, 1, 1
	if change != nil {
		change(y)
	}
	return heads
}

func mustDarknet(t testing.TB, heads []Head, w, h, batch int, o Options) *Darknet {
	t.Helper()
	o.Kind = KindDarknet
	l, err := NewDarknet(heads, w, h, batch, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Raw zeros are p = ½ and the box (.5, .5, .5, .25), I = U = 1/8. For a truth
// that fits, Darknet's gradient is dw = −2·h/U = −4 and dh = −2·w/U = −8; the
// truth of twice the size has I = 1/8, U = 1/2 and so, with all edges the
// prediction's, dw = 2·((U+I)·h − I·h)/U² = 2·h/U = 1 and dh = 2·w/U = 2.
func TestDarknetByHand(t *testing.T) {
	fit, large := tr(1, .5, .5, .5, .25), tr(0, .5, .5, 1, .5)
	zeros, unsure := make([]float32, 7), []float32{0, 0, 0, 0, 0, -3, -3}
	p := float32(logistic(-3))
	for _, c := range []struct {
		name   string
		heads  []Head
		o      Options
		out    []float32
		truths []datasets.Truth
		want   []float32 // deltas: the gradient is −want
	}{
		{"fit", cfgHead(nil), Options{}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, .5, -.5, .5}},
		{"no truth", cfgHead(nil), Options{}, zeros, nil, []float32{0, 0, 0, 0, -.5, 0, 0}},
		{"gains of the options", cfgHead(nil), Options{Box: .14, Obj: 2}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.56, -1.12, 1, -.5, .5}},
		{"max_delta", cfgHead(func(y *graph.Yolo) { y.MaxDelta = .4 }), Options{}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.28, -.4, .5, -.5, .5}},
		{"new_coords has no exp and no chain rule", cfgHead(func(y *graph.Yolo) { y.NewCoords, y.ScaleXY = true, 2 }), Options{},
			[]float32{.5, .5, .5, .5, .5, .5, .5}, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, .5, -.5, .5}},
		{"objectness_smooth", cfgHead(nil), Options{ObjSmooth: []bool{true}}, zeros, []datasets.Truth{large}, []float32{0, 0, .07, .14, -.5, .5, -.5}},
		{"objectness_smooth, no sure class", cfgHead(nil), Options{ObjSmooth: []bool{true}}, unsure, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, -.5, -p, 1 - p}},
		{"objectness_smooth, over ignore_thresh", cfgHead(func(y *graph.Yolo) { y.IgnoreThresh = .2 }), Options{ObjSmooth: []bool{true}}, zeros,
			[]datasets.Truth{large}, []float32{0, 0, .07, .14, -.25, .5, -.5}}, // IoU ¼ less p
		{"two truths", cfgHead(nil), Options{}, zeros, []datasets.Truth{fit, large}, []float32{0, 0, -.21, -.42, .5, .5, .5}},
		{"two truths, mean", cfgHead(func(y *graph.Yolo) { y.IoUThresh = .9 }), Options{}, zeros, []datasets.Truth{fit, large}, []float32{0, 0, -.105, -.21, .5, .5, .5}},
		{"label_smooth_eps", cfgHead(func(y *graph.Yolo) { y.LabelSmooth = .1 }), Options{}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, .5, -.45, .45}},
		{"class counts", cfgHead(func(y *graph.Yolo) { y.ClsNormalizer = .5 }), Options{ClassCounts: []float64{10, 2}}, zeros,
			[]datasets.Truth{fit}, []float32{0, 0, -1.4, -2.8, 2.5, -.5, 1.25}},
		{"class counts, limit", cfgHead(nil), Options{ClassCounts: []float64{10, 2}, MaxWeight: 2}, zeros,
			[]datasets.Truth{fit}, []float32{0, 0, -.56, -1.12, 1, -.5, 1}},
		{"cls_normalizer without counts", cfgHead(func(y *graph.Yolo) { y.ClsNormalizer = .5 }), Options{}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, .5, -.5, .5}},
		// ½·½·(½)(ln 2 + ½)
		{"focal", cfgHead(nil), Options{Focal: 2}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.28, -.56, .5, -.14914340, .14914340}},
		{"truth_thresh trains the box twice", cfgHead(func(y *graph.Yolo) { y.TruthThresh = .9 }), Options{}, zeros, []datasets.Truth{fit}, []float32{0, 0, -.56, -1.12, .5, -.5, .5}},
		{"x = 0 ends the list", cfgHead(nil), Options{}, zeros, []datasets.Truth{tr(0, 0, .5, .5, .25), fit}, []float32{0, 0, 0, 0, -.5, 0, 0}},
		{"x = 1 is in the last cell", cfgHead(nil), Options{IoULoss: "mse", Box: 1}, zeros, []datasets.Truth{tr(1, 1, .5, .5, .25)}, []float32{.9375, 0, 0, 0, .5, -.5, .5}},
		// (2 − 1·½)·ln 2 in both sides
		{"mse", cfgHead(nil), Options{IoULoss: "mse", Box: 1}, zeros, []datasets.Truth{tr(1, .75, .5, 1, .5)}, []float32{.375, 0, 1.03972077, 1.03972077, .5, -.5, .5}},
		// √(1/½/4) − ½ of w, twice the anchor
		{"mse, new_coords", cfgHead(func(y *graph.Yolo) { y.NewCoords, y.ScaleXY = true, 2 }), Options{IoULoss: "mse", Box: 1},
			[]float32{.5, .5, .5, .5, .5, .5, .5}, []datasets.Truth{tr(1, .5, .5, 1, .5)}, []float32{0, 0, 1.5 * (math.Sqrt2/2 - .5), 1.5 * (math.Sqrt2/2 - .5), .5, -.5, .5}},
	} {
		l := mustDarknet(t, c.heads, 32, 32, 1, c.o)
		l.SetTruths([][]datasets.Truth{c.truths})
		_, grads := mustLoss(t, l, [][]float32{c.out})
		for i, g := range grads[0] {
			if math.Abs(float64(-g-c.want[i])) > 1e-6 {
				t.Errorf("%s: delta %d is %g, want %g", c.name, i, -g, c.want[i])
			}
		}
	}
}

// A padded batch of three: two images, mean over both. The monitor is
// .07·(1−¼), Σ delta² of objectness ½² + ½² and of the classes ½² + ½².
func TestDarknetMonitor(t *testing.T) {
	l := mustDarknet(t, cfgHead(nil), 32, 32, 3, Options{})
	l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, 1, .5)}, {}})
	p, grads := mustLoss(t, l, [][]float32{make([]float32, 21)})
	near(t, "box", p.Box, .07*.75/2, 1e-9)
	near(t, "obj", p.Obj, .25, 1e-9)
	near(t, "class", p.Class, .25, 1e-9)
	near(t, "d obj", float64(grads[0][4]), -.25, 1e-9)
	near(t, "d obj of the empty image", float64(grads[0][11]), .25, 1e-9)
	near(t, "d obj of padding", float64(grads[0][18]), 0, 0)
	if p.Positives != 1 || p.Divisor != 2 {
		t.Errorf("%d positives, divisor %d, want 1 and 2", p.Positives, p.Divisor)
	}
}

// darknetNaive is the pass written once more, edge by edge as src/box.c has it,
// for one head: the deltas of every slot.
type darknetNaive struct {
	h                Head
	netW, netH       float64
	ignore, assign   float64
	kind             string
	norm, limit, eps float64
	smooth           bool
	values, delta    []float64
	classes, anchors int
	truths           [][]datasets.Truth
	rows, cols       int
}

func (n *darknetNaive) prob(v float64) float64 {
	if n.h.Yolo.NewCoords {
		return v
	}
	return sigmoid(v)
}

func (n *darknetNaive) at(image, row, col, a int) int {
	return (((image*n.rows+row)*n.cols+col)*n.anchors + a) * (5 + n.classes)
}

func (n *darknetNaive) box(at, row, col, a int) (x, y, w, h float64) {
	v, s, anchor := n.values[at:], n.h.Yolo.ScaleXY, n.h.Yolo.Anchors[n.h.Yolo.Mask[a]]
	w, h = math.Exp(v[2]), math.Exp(v[3])
	if n.h.Yolo.NewCoords {
		w, h = 4*v[2]*v[2], 4*v[3]*v[3]
	}
	return (float64(col) + n.prob(v[0])*s - .5*(s-1)) / float64(n.cols), (float64(row) + n.prob(v[1])*s - .5*(s-1)) / float64(n.rows),
		w * anchor[0] / n.netW, h * anchor[1] / n.netH
}

func (n *darknetNaive) run() []float64 {
	n.delta = make([]float64, len(n.values))
	for image, truths := range n.truths {
		for row := range n.rows {
			for col := range n.cols {
				for a := range n.anchors {
					n.background(image, row, col, a, truths)
				}
			}
		}
		for _, t := range truths {
			n.truth(image, t)
		}
		if n.assign < 1 {
			n.average(image)
		}
	}
	return n.delta
}

func (n *darknetNaive) background(image, row, col, a int, truths []datasets.Truth) {
	at := n.at(image, row, col, a)
	x, y, w, h := n.box(at, row, col, a)
	best, sure, p := 0., false, n.prob(n.values[at+4])
	for c := range n.classes {
		sure = sure || n.prob(n.values[at+5+c]) > .25
	}
	for _, t := range truths {
		if sure {
			best = math.Max(best, naiveIoU(toCorners(x, y, w, h), toCorners(t.X, t.Y, t.W, t.H)))
		}
	}
	n.delta[at+4] = -p
	if best > n.ignore && n.smooth {
		n.delta[at+4] = math.Max(n.delta[at+4], best-p)
	} else if best > n.ignore {
		n.delta[at+4] = 0
	}
}

func (n *darknetNaive) truth(image int, t datasets.Truth) {
	row, col := min(int(t.Y*float64(n.rows)), n.rows-1), min(int(t.X*float64(n.cols)), n.cols-1)
	y, best, bestIoU := n.h.Yolo, 0, 0.
	for k, anchor := range y.Anchors {
		if v := naiveShapeIoU(t.W*n.netW, t.H*n.netH, anchor); v > bestIoU {
			best, bestIoU = k, v
		}
	}
	for a, k := range y.Mask {
		if k == best || naiveShapeIoU(t.W*n.netW, t.H*n.netH, y.Anchors[k]) > n.assign {
			n.train(n.at(image, row, col, a), row, col, a, t)
		}
	}
}

func (n *darknetNaive) train(at, row, col, a int, t datasets.Truth) {
	d := n.gradient(at, row, col, a, t)
	for i := range d {
		if i > 1 && !n.h.Yolo.NewCoords {
			d[i] *= math.Exp(n.values[at+i])
		}
		n.delta[at+i] += math.Max(-n.limit, math.Min(n.limit, n.norm*d[i]))
	}
	if !n.smooth || n.delta[at+4] == 0 {
		n.delta[at+4] = 1 - n.prob(n.values[at+4])
	}
	only := n.delta[at+5+t.Class] != 0
	for c := range n.classes {
		y := n.eps / 2
		if c == t.Class {
			y = 1 - n.eps/2
		}
		if !only || c == t.Class {
			n.delta[at+5+c] = y - n.prob(n.values[at+5+c])
		}
	}
}

func (n *darknetNaive) average(image int) {
	per := 5 + n.classes
	for at := n.at(image, 0, 0, 0); at < n.at(image+1, 0, 0, 0); at += per {
		count := 0.
		for _, v := range n.delta[at+5 : at+per] {
			if v > 0 {
				count++
			}
		}
		for i := 0; i < 4 && n.delta[at+4] != 0 && count > 0; i++ {
			n.delta[at+i] /= count
		}
	}
}

func (n *darknetNaive) gradient(at, row, col, a int, t datasets.Truth) [4]float64 {
	x, y, w, h := n.box(at, row, col, a)
	pl, pr, pt, pb := x-w/2, x+w/2, y-h/2, y+h/2
	gl, gr, gt, gb := t.X-t.W/2, t.X+t.W/2, t.Y-t.H/2, t.Y+t.H/2
	iw, ih := math.Min(pr, gr)-math.Max(pl, gl), math.Min(pb, gb)-math.Max(pt, gt)
	i, cw, ch := iw*ih, math.Max(pr, gr)-math.Min(pl, gl), math.Max(pb, gb)-math.Min(pt, gt)
	u := w*h + t.W*t.H - i
	if1 := func(cond bool) float64 {
		if cond {
			return 1
		}
		return 0
	}
	// By the edges l, r, t, b: of the prediction's area, of I, and of C = cw·ch.
	dX := [4]float64{-h, h, -w, w}
	dI := [4]float64{-ih * if1(pl > gl), ih * if1(pr < gr), -iw * if1(pt > gt), iw * if1(pb < gb)}
	dC := [4]float64{-ch * if1(pl < gl), ch * if1(pr > gr), -cw * if1(pt < gt), cw * if1(pb > gb)}
	var e [4]float64
	for k := range e {
		dU, c := dX[k]-dI[k], cw*ch
		e[k] = (u*dI[k] - i*dU) / (u * u)
		if apart := iw <= 0 || ih <= 0; apart && n.kind != "iou" || u <= 0 {
			e[k] = 0
		}
		if n.kind == "giou" {
			e[k] += (c*dU - u*dC[k]) / (c * c)
		}
	}
	d := [4]float64{e[0] + e[1], e[2] + e[3], e[1] - e[0], e[3] - e[2]}
	if n.kind == "iou" || n.kind == "giou" {
		return d
	}
	c, s := cw*cw+ch*ch, (x-t.X)*(x-t.X)+(y-t.Y)*(y-t.Y)
	d[0] += (2*(t.X-x)*c - 2*cw*(if1(pr > gr)-if1(pl < gl))*s) / (c * c)
	d[1] += (2*(t.Y-y)*c - 2*ch*(if1(pb > gb)-if1(pt < gt))*s) / (c * c)
	d[2] += cw * (if1(pr > gr) + if1(pl < gl)) * s / (c * c)
	d[3] += ch * (if1(pb > gb) + if1(pt < gt)) * s / (c * c)
	if n.kind == "ciou" {
		turn := math.Atan(t.W/t.H) - math.Atan(w/h)
		v := 4 / math.Pi / math.Pi * turn * turn
		k := v / (1 - i/u + v + 1e-6) * 8 / math.Pi / math.Pi * turn
		d[2] += k * h
		d[3] -= k * w
	}
	return d
}

func TestDarknetAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newCoords := rapid.Bool().Draw(t, "new_coords")
		s := newScene(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), newCoords, Options{})
		n := darknetNaive{
			netW: sceneW, netH: sceneH, truths: s.truths, classes: 2,
			ignore: rapid.Float64Range(.1, .9).Draw(t, "ignore"), assign: rapid.SampledFrom([]float64{.05, .2, 1}).Draw(t, "assign"),
			kind: rapid.SampledFrom([]string{"iou", "giou", "diou", "ciou"}).Draw(t, "kind"), norm: rapid.Float64Range(.01, 1).Draw(t, "norm"),
			limit: rapid.SampledFrom([]float64{.1, 5}).Draw(t, "limit"), eps: rapid.SampledFrom([]float64{0, .1}).Draw(t, "eps"), smooth: rapid.Bool().Draw(t, "smooth"),
		}
		for _, h := range s.heads {
			y := h.Yolo
			y.IoULoss, y.IoUNormalizer, y.ObjNormalizer, y.MaxDelta, y.LabelSmooth = n.kind, n.norm, 1, n.limit, n.eps
			y.IgnoreThresh, y.IoUThresh, y.TruthThresh = n.ignore, n.assign, 1
		}
		l, err := NewDarknet(s.heads, sceneW, sceneH, sceneBatch, Options{Kind: KindDarknet, ObjSmooth: []bool{n.smooth}})
		if err != nil {
			t.Fatal(err)
		}
		l.SetTruths(s.truths)
		grads := zerosLike(s.outs)
		if _, err := l.Compute(s.outs, grads); err != nil {
			t.Fatal(err)
		}
		for i, h := range s.heads {
			n.h, n.rows, n.cols, n.anchors, n.values = h, h.Shape.H, h.Shape.W, len(h.Yolo.Mask), toFloat64(s.outs[i])
			for j, d := range n.run() {
				if got := -sceneBatch * float64(grads[i][j]); math.Abs(got-d) > 1e-5*(1+math.Abs(d)) {
					t.Fatalf("head %d, value %d (entry %d): delta %g, naive %g", i, j, j%7, got, d)
				}
			}
		}
	})
}

// What Darknet's objectness and class deltas are the gradient of: BCE for a
// linear head, with all targets held.
func TestDarknetBCE(t *testing.T) {
	s := newScene(rand.New(rand.NewPCG(4, 4)), false, Options{})
	for _, h := range s.heads {
		h.Yolo.IoULoss, h.Yolo.ObjNormalizer, h.Yolo.IgnoreThresh, h.Yolo.IoUThresh, h.Yolo.TruthThresh = "ciou", 1, .7, 1, 1
	}
	l := mustDarknet(t, s.heads, sceneW, sceneH, sceneBatch, Options{})
	l.SetTruths(s.truths)
	_, grads := mustLoss(t, l, s.outs)
	targets := map[float64]int{}
	for i, list := range grads {
		for j, g := range list {
			if j%7 < 4 || g == 0 {
				continue
			}
			v, slope := float64(s.outs[i][j]), sceneBatch*float64(g)
			y := math.Round(logistic(v) - slope)
			targets[y]++
			const eps = 1e-5
			up, _ := bceLogit(v+eps, y)
			down, _ := bceLogit(v-eps, y)
			near(t, fmt.Sprintf("head %d, value %d, target %g", i, j, y), slope, (up-down)/(2*eps), 1e-6)
		}
	}
	if len(targets) != 2 || targets[0] == 0 || targets[1] == 0 {
		t.Errorf("targets and their number: %v; want 0 and 1", targets)
	}
}

func TestDarknetSettings(t *testing.T) {
	for _, c := range []struct {
		change func(*graph.Yolo)
		o      Options
		want   string
	}{
		{func(y *graph.Yolo) { y.IoULoss = "" }, Options{}, `head 0: iou_loss: unknown kind ""`},
		{func(y *graph.Yolo) { y.IoUNormalizer = -1 }, Options{}, "iou_normalizer: -1"},
		{func(y *graph.Yolo) { y.MaxDelta = math.NaN() }, Options{}, "max_delta: NaN"},
		{nil, Options{ObjSmooth: []bool{true, false}}, "objectness smoothing: 2 values for 1 heads"},
		{nil, Options{AssignKind: "l2"}, `assign kind: unknown "l2"`},
		{nil, Options{Focal: 1}, "Darknet's exponent is 2"},
	} {
		c.o.Kind = KindDarknet
		if _, err := New(cfgHead(c.change), 32, 32, 1, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// The truth of 20 x 20 pixels fits anchor 1 best; anchor 2 of 40 x 40 has the
// shape IoU and GIoU ¼ (concentric: the hull is the union) and DIoU ¼.
func TestDarknetAssignKind(t *testing.T) {
	for kind, want := range map[string]int{"iou": 3, "giou": 3, "diou": 3, "ciou": 3} {
		for thresh, want := range map[float64]int{.24: want, .26: want - 1, 1: want - 1} {
			l := mustDarknet(t, assignDarknet(thresh), 64, 64, 1, Options{AssignKind: kind})
			l.SetTruths([][]datasets.Truth{{tr(0, .6, .3, 20./64, 20./64)}})
			p, _ := mustLoss(t, l, [][]float32{make([]float32, 48), make([]float32, 96)})
			if p.Positives != want {
				t.Errorf("%s over %g: %d positives, want %d", kind, thresh, p.Positives, want)
			}
		}
	}
	// A truth of 40 x 10 and the anchor of 20 x 20: IoU 200/600, GIoU that less 200/800.
	for kind, want := range map[string]int{"iou": 1, "giou": 0} {
		y := &graph.Yolo{Classes: 1, Mask: []int{1}, Anchors: [][2]float64{{40, 10}, {20, 20}}, ScaleXY: 1, IoULoss: "ciou", IoUThresh: .3}
		l := mustDarknet(t, []Head{{y, graph.Shape{C: 6, H: 1, W: 1}}}, 64, 64, 1, Options{AssignKind: kind})
		l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, 40./64, 10./64)}})
		if p, _ := mustLoss(t, l, [][]float32{make([]float32, 6)}); p.Positives != want {
			t.Errorf("%s: %d positives, want %d", kind, p.Positives, want)
		}
	}
}

func assignDarknet(thresh float64) []Head {
	heads := assignHeads()
	for _, h := range heads {
		h.Yolo.IoULoss, h.Yolo.IoUThresh, h.Yolo.TruthThresh = "ciou", thresh, 1
	}
	return heads
}
