package loss

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

// oneCell is a head of one cell and one anchor over a 32 x 32 input.
func oneCell(classes int) []Head {
	y := &graph.Yolo{Classes: classes, Mask: []int{0}, Anchors: [][2]float64{{16, 8}}, ScaleXY: 1}
	return []Head{{y, graph.Shape{C: 5 + classes, H: 1, W: 1}}}
}

func mustNew(t testing.TB, heads []Head, w, h, batch int, o Options) *YOLOv4 {
	t.Helper()
	l, err := NewYOLOv4(heads, w, h, batch, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustCompute(t testing.TB, l *YOLOv4, outs [][]float32) (Parts, [][]float32) {
	t.Helper()
	grads := zerosLike(outs)
	for _, g := range grads {
		for i := range g {
			g[i] = float32(math.NaN())
		}
	}
	p, err := l.Compute(outs, grads)
	if err != nil {
		t.Fatal(err)
	}
	return p, grads
}

// Raw zeros decode to the cell's middle and the anchor's size, so this
// prediction fits its truth and every logistic is ½.
func TestPerfectBox(t *testing.T) {
	l := mustNew(t, oneCell(2), 32, 32, 1, Options{})
	l.SetTruths([][]datasets.Truth{{tr(1, .5, .5, .5, .25)}})
	p, grads := mustCompute(t, l, [][]float32{make([]float32, 7)})
	near(t, "box", p.Box, 0, 1e-12)
	near(t, "obj", p.Obj, math.Ln2, 1e-12)
	near(t, "class", p.Class, 2*math.Ln2, 1e-12)
	near(t, "total", p.Total, 3*math.Ln2, 1e-12)
	if want := []float32{0, 0, 0, 0, -.5, .5, -.5}; p.Positives != 1 || !slices.Equal(grads[0], want) {
		t.Errorf("%d positives, gradients %v, want 1 and %v", p.Positives, grads[0], want)
	}
}

func TestGains(t *testing.T) {
	l := mustNew(t, oneCell(1), 32, 32, 1, Options{Box: 7, Obj: 2, Class: .25, LabelSmooth: .2})
	// Truth of twice the width and height: IoU ¼, same centre and aspect.
	l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, 1, .5)}})
	p, grads := mustCompute(t, l, [][]float32{make([]float32, 6)})
	near(t, "box", p.Box, 7*.75, 1e-12)
	near(t, "obj", p.Obj, 2*math.Ln2, 1e-12)
	near(t, "class", p.Class, .25*math.Ln2, 1e-12)
	near(t, "d obj", float64(grads[0][4]), 2*-.5, 1e-7)
	near(t, "d class", float64(grads[0][5]), .25*(.5-.9), 1e-7) // smoothed target .9
	near(t, "dw", float64(grads[0][2]), -7*.25, 1e-6)           // IoU = w·h/(32·16): dIoU/dtw = IoU
}

// Two truths on one slot: box and class add up, P is 2, objectness counts once.
func TestSharedSlot(t *testing.T) {
	l := mustNew(t, oneCell(2), 32, 32, 1, Options{})
	l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, .5, .25), tr(1, .5, .5, 1, .5)}})
	p, grads := mustCompute(t, l, [][]float32{make([]float32, 7)})
	near(t, "box", p.Box, 3*.75/2, 1e-12)
	near(t, "obj", p.Obj, math.Ln2/2, 1e-12)
	near(t, "class", p.Class, 4*math.Ln2/2, 1e-12)
	if want := []float32{-.25, 0, 0}; p.Positives != 2 || !slices.Equal(grads[0][4:], want) {
		t.Errorf("%d positives, gradients of objectness and classes %v, want 2 and %v", p.Positives, grads[0][4:], want)
	}
}

// Without truths every slot is background: ln 2 each at zero, P = 1.
func TestNoTruths(t *testing.T) {
	for name, truths := range map[string][][]datasets.Truth{"empty images": {{}, {}}, "nil images": {nil, nil}} {
		l := mustNew(t, torchHeads(), 64, 64, 2, Options{})
		l.SetTruths(truths)
		outs := [][]float32{make([]float32, 2*4*24), make([]float32, 2*16*24)}
		p, grads := mustCompute(t, l, outs)
		if want := 2 * 20 * 3 * math.Ln2; p.Positives != 0 || p.Box != 0 || p.Class != 0 || math.Abs(p.Obj-want) > 1e-9 {
			t.Errorf("%s: %+v, want only objectness %g", name, p, want)
		}
		for i, g := range grads[1] {
			if want := map[bool]float32{true: .5}[i%8 == 4]; g != want {
				t.Fatalf("%s: gradient %d is %g, want %g", name, i, g, want)
			}
		}
	}
}

func TestPaddingImages(t *testing.T) {
	l := mustNew(t, oneCell(1), 32, 32, 3, Options{})
	l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, .5, .25)}, {}})
	p, grads := mustCompute(t, l, [][]float32{make([]float32, 18)})
	near(t, "obj", p.Obj, 2*math.Ln2, 1e-12)
	if want := []float32{0, 0, 0, 0, -.5, -.5, 0, 0, 0, 0, .5, 0, 0, 0, 0, 0, 0, 0}; !slices.Equal(grads[0], want) {
		t.Errorf("gradients %v, want %v", grads[0], want)
	}
}

// slots lists the positives as "head image row col anchor truth".
func slots(l *YOLOv4) string {
	var out []string
	for i := range l.heads {
		for _, s := range l.heads[i].positives {
			out = append(out, fmt.Sprint(i, l.truths[s.truth].image, s.row, s.col, s.anchor, s.truth))
		}
	}
	return strings.Join(out, "; ")
}

// Two heads, 2 x 2 and 4 x 4 cells over 64 x 64 pixels; anchors 10, 20 and 40
// pixels square, 20 is in both heads.
func assignHeads() []Head {
	anchors := [][2]float64{{10, 10}, {20, 20}, {40, 40}}
	return []Head{
		{&graph.Yolo{Classes: 1, Mask: []int{1, 2}, Anchors: anchors, ScaleXY: 1}, graph.Shape{C: 12, H: 2, W: 2}},
		{&graph.Yolo{Classes: 1, Mask: []int{1}, Anchors: anchors, ScaleXY: 1}, graph.Shape{C: 6, H: 4, W: 4}},
	}
}

func TestAssignment(t *testing.T) {
	const px = 1. / 64
	for _, c := range []struct {
		name   string
		assign float64
		truth  datasets.Truth
		want   string
	}{
		{"best anchor in both heads", 1, tr(0, 40*px, 20*px, 20*px, 20*px), "0 0 0 1 0 0; 1 0 1 2 0 0"},
		{"best anchor in one head", 1, tr(0, 40*px, 20*px, 40*px, 40*px), "0 0 0 1 1 0"},
		{"best anchor in no head", 1, tr(0, 40*px, 20*px, 10*px, 10*px), ""},
		{"no head has the best, another is over the threshold", .2, tr(0, 40*px, 20*px, 10*px, 10*px), "0 0 0 1 0 0; 1 0 1 2 0 0"},
		{"threshold is strict: 20 and 40 have exactly ¼", .25, tr(0, 40*px, 20*px, 20*px, 20*px), "0 0 0 1 0 0; 1 0 1 2 0 0"},
		{"just below it", .249, tr(0, 40*px, 20*px, 20*px, 20*px), "0 0 0 1 0 0; 0 0 0 1 1 0; 1 0 1 2 0 0"},
		{"a tie goes to the first anchor", 1, tr(0, 40*px, 20*px, 20*px, 40*px), "0 0 0 1 0 0; 1 0 1 2 0 0"},
		{"right and bottom border", 1, tr(0, 1, 1, 20*px, 20*px), "0 0 1 1 0 0; 1 0 3 3 0 0"},
		{"left and top border", 1, tr(0, 0, 0, 20*px, 20*px), "0 0 0 0 0 0; 1 0 0 0 0 0"},
		{"on a cell's edge", 1, tr(0, .5, .25, 20*px, 20*px), "0 0 0 1 0 0; 1 0 1 2 0 0"},
	} {
		l := mustNew(t, assignHeads(), 64, 64, 1, Options{AssignIoU: c.assign})
		l.SetTruths([][]datasets.Truth{{c.truth}})
		if got := slots(l); got != c.want {
			t.Errorf("%s: positives %q, want %q", c.name, got, c.want)
		}
	}
}

// A 4 x 4 head with one anchor of 32 pixels over 64 x 64. The truth's own slot
// is (1, 1); slot (1, 2) predicts a box shifted by dx from it.
func TestIgnore(t *testing.T) {
	y := &graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{32, 32}}, ScaleXY: 2}
	for _, c := range []struct {
		name   string
		thresh float64
		tx, tw float32
		truths []datasets.Truth
		want   bool
	}{
		// Centre of (1, 2) with s = 2: 16·(2 + 2σ − ½) = 24 + 32σ; truth at 24.
		{"far", .7, 0, 0, []datasets.Truth{tr(0, .375, .375, .5, .5)}, false},                          // dx 16: IoU ⅓
		{"near", .7, -3, 0, []datasets.Truth{tr(0, .375, .375, .5, .5)}, true},                         // dx 1.5: IoU .91
		{"near, higher threshold", .95, -3, 0, []datasets.Truth{tr(0, .375, .375, .5, .5)}, false},     //
		{"near, switched off", 1, -30, 0, []datasets.Truth{tr(0, .375, .375, .5, .5)}, false},          //
		{"near, wrong width", .7, -3, .5, []datasets.Truth{tr(0, .375, .375, .5, .5)}, false},          // width ratio .61
		{"exactly at the threshold", .5, -100, 0, []datasets.Truth{tr(0, .375, .375, .25, .5)}, false}, // half as wide
		{"just over it", .499, -100, 0, []datasets.Truth{tr(0, .375, .375, .25, .5)}, true},
		{"any truth counts", .7, -3, 0, []datasets.Truth{tr(0, .9, .9, .1, .1), tr(0, .375, .375, .5, .5)}, true},
		{"far, low threshold", .3, 0, 0, []datasets.Truth{tr(0, .375, .375, .5, .5)}, true},
	} {
		l := mustNew(t, []Head{{y, graph.Shape{C: 6, H: 4, W: 4}}}, 64, 64, 1, Options{IgnoreThresh: c.thresh})
		l.SetTruths([][]datasets.Truth{c.truths})
		out := make([]float32, 96)
		at := (1*4 + 2) * 6
		out[at], out[at+1], out[at+2] = c.tx, 0, c.tw
		_, grads := mustCompute(t, l, [][]float32{out})
		if got := grads[0][at+4] == 0; got != c.want {
			t.Errorf("%s: objectness gradient %g; ignored is %v, want %v", c.name, grads[0][at+4], got, c.want)
		}
		if own := grads[0][(1*4+1)*6+4]; own != -.5/float32(l.positives) {
			t.Errorf("%s: the truth's own slot has objectness gradient %g; a positive is never ignored", c.name, own)
		}
	}
}

func TestClampedSizeHasNoGradient(t *testing.T) {
	l := mustNew(t, oneCell(1), 32, 32, 1, Options{})
	l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, .5, .5)}})
	for _, c := range []struct {
		tw, th       float32
		zeroW, zeroH bool
	}{{4.01, 0, true, false}, {0, -6.01, false, true}, {3.9, -5.9, false, false}} {
		_, grads := mustCompute(t, l, [][]float32{{0, 0, c.tw, c.th, 0, 0}})
		if g := grads[0]; (g[2] == 0) != c.zeroW || (g[3] == 0) != c.zeroH {
			t.Errorf("tw %g, th %g: gradients %g and %g", c.tw, c.th, g[2], g[3])
		}
	}
}

// With new_coords and a value that float32 rounded to 0 or 1, loss and
// gradient stay finite.
func TestSaturatedProbabilities(t *testing.T) {
	heads := oneCell(1)
	heads[0].Yolo.NewCoords = true
	l := mustNew(t, heads, 32, 32, 1, Options{})
	for _, truths := range [][]datasets.Truth{{}, {tr(0, .5, .5, .5, .5)}} {
		l.SetTruths([][]datasets.Truth{truths})
		for _, v := range []float32{0, 1} {
			p, grads := mustCompute(t, l, [][]float32{{v, v, v, v, v, v}})
			for i, g := range grads[0] {
				if math.IsNaN(p.Total) || math.IsInf(p.Total, 0) || math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
					t.Errorf("all values %g, %d truths: loss %g, gradient %d %g", v, len(truths), p.Total, i, g)
				}
			}
		}
	}
}

func TestBadValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		head, index int
		value       float32
		want        Position
		text        string
	}{
		// 24 values per cell of 3 anchors; image 1 of head 0 starts at 96, of head 1 at 384.
		{0, 0, nan, Position{0, 0, 0, 0, 0, 0}, "head 0, image 0, row 0, column 0, anchor 0: x is NaN"},
		{0, 96 + 48 + 8 + 4, inf, Position{0, 1, 1, 0, 1, 4}, "image 1, row 1, column 0, anchor 1: objectness is +Inf"},
		{1, 384 + 24*7 + 16 + 7, -inf, Position{1, 1, 1, 3, 2, 7}, "head 1, image 1, row 1, column 3, anchor 2: class 2 is -Inf"},
	} {
		l := mustNew(t, torchHeads(), 64, 64, 2, Options{})
		l.SetTruths([][]datasets.Truth{{}, {}})
		outs := [][]float32{make([]float32, 192), make([]float32, 768)}
		outs[c.head][c.index] = c.value
		_, err := l.Compute(outs, zerosLike(outs))
		var bad *NonFiniteError
		if !errors.As(err, &bad) || bad.Position != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("head %d, value %d: error %v, want %q", c.head, c.index, err, c.text)
		}
	}
}

func TestNewCoordsRange(t *testing.T) {
	heads := oneCell(1)
	heads[0].Yolo.NewCoords = true
	l := mustNew(t, heads, 32, 32, 1, Options{})
	l.SetTruths([][]datasets.Truth{{}})
	_, err := l.Compute([][]float32{{.5, .5, 1.5, .5, .5, .5}}, [][]float32{make([]float32, 6)})
	var bad *RangeError
	if !errors.As(err, &bad) || bad.Position.Entry != 2 || !strings.Contains(err.Error(), "activation=logistic") {
		t.Errorf("error %v, want a range error for w", err)
	}
}

func TestBadTruths(t *testing.T) {
	good := tr(0, .5, .5, .5, .5)
	nan := math.NaN()
	for _, c := range []struct {
		truths [][]datasets.Truth
		want   string
	}{
		{[][]datasets.Truth{{}, {}, {good}}, "truths of 3 images for a batch of 2"},
		{[][]datasets.Truth{{}, {good, tr(2, .5, .5, .5, .5)}}, "image 1 of the batch: truth 1: class 2; the heads have 2 classes"},
		{[][]datasets.Truth{{tr(-1, .5, .5, .5, .5)}}, "class -1"},
		{[][]datasets.Truth{{tr(0, 1.2, .5, .5, .5)}}, "centre 1.2, 0.5"},
		{[][]datasets.Truth{{tr(0, .5, -.1, .5, .5)}}, "centre 0.5, -0.1"},
		{[][]datasets.Truth{{tr(0, nan, .5, .5, .5)}}, "centre NaN, 0.5"},
		{[][]datasets.Truth{{tr(0, .5, .5, 0, .5)}}, "size 0 x 0.5"},
		{[][]datasets.Truth{{tr(0, .5, .5, .5, -.5)}}, "size 0.5 x -0.5"},
		{[][]datasets.Truth{{tr(0, .5, .5, .5, nan)}}, "size 0.5 x NaN"},
		{[][]datasets.Truth{{tr(0, .5, .5, math.Inf(1), .5)}}, "size +Inf x 0.5"},
	} {
		l := mustNew(t, oneCell(2), 32, 32, 2, Options{})
		l.SetTruths(c.truths)
		outs := [][]float32{make([]float32, 14)}
		if _, err := l.Compute(outs, zerosLike(outs)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		l.SetTruths([][]datasets.Truth{{good}, {}})
		if _, err := l.Compute(outs, zerosLike(outs)); err != nil {
			t.Errorf("after %q: good truths still give %v", c.want, err)
		}
	}
}

func TestBadCalls(t *testing.T) {
	l := mustNew(t, oneCell(1), 32, 32, 2, Options{})
	six, twelve := [][]float32{make([]float32, 6)}, [][]float32{make([]float32, 12)}
	if _, err := l.Compute(twelve, twelve); err == nil || !strings.Contains(err.Error(), "call SetTruths") {
		t.Errorf("without truths: error %v", err)
	}
	l.SetTruths(nil)
	for _, c := range []struct {
		outs, grads [][]float32
		want        string
	}{
		{nil, nil, "0 outputs and 0 gradients for 1 heads"},
		{twelve, nil, "1 outputs and 0 gradients for 1 heads"},
		{six, twelve, "head 0: 6 outputs and 12 gradients; want 12"},
		{twelve, six, "head 0: 12 outputs and 6 gradients; want 12"},
	} {
		if _, err := l.Compute(c.outs, c.grads); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestNewErrors(t *testing.T) {
	head := func(change func(*Head)) []Head {
		h := oneCell(2)
		change(&h[0])
		return h
	}
	good := oneCell(2)
	for _, c := range []struct {
		heads       []Head
		w, h, batch int
		o           Options
		want        string
	}{
		{nil, 32, 32, 1, Options{}, "0 heads"},
		{good, 0, 32, 1, Options{}, "input 0x32"},
		{good, 32, 32, 0, Options{}, "batch 0"},
		{good, 32, 32, 1, Options{IoULoss: "eiou"}, `unknown kind "eiou"; use ciou, diou, giou or iou`},
		{good, 32, 32, 1, Options{Box: -1}, "box gain: -1"},
		{good, 32, 32, 1, Options{Obj: math.NaN()}, "obj gain: NaN"},
		{good, 32, 32, 1, Options{Class: math.Inf(1)}, "class gain: +Inf"},
		{good, 32, 32, 1, Options{AssignIoU: 1.5}, "assign iou: 1.5 is not in (0, 1]"},
		{good, 32, 32, 1, Options{IgnoreThresh: -.5}, "ignore threshold: -0.5"},
		{good, 32, 32, 1, Options{LabelSmooth: 1}, "label smoothing: 1 is not in [0, 1)"},
		{head(func(h *Head) { h.Yolo = nil }), 32, 32, 1, Options{}, "head 0: no [yolo] layer"},
		{head(func(h *Head) { h.Shape.C = 8 }), 32, 32, 1, Options{}, "shape 8x1x1 does not fit 1 anchors of 2 classes"},
		{head(func(h *Head) { h.Shape.H = 0 }), 32, 32, 1, Options{}, "shape 7x0x1"},
		{head(func(h *Head) { h.Yolo.ScaleXY = 0 }), 32, 32, 1, Options{}, "scale_x_y: 0"},
		{head(func(h *Head) { h.Yolo.Mask = []int{1} }), 32, 32, 1, Options{}, "mask names anchor 1, but there are 1"},
		{head(func(h *Head) { h.Yolo.Anchors = [][2]float64{{16, 0}} }), 32, 32, 1, Options{}, "anchor 0 is 16x0 pixels"},
		{head(func(h *Head) { h.Shape.H, h.Shape.W = 1<<14, 1<<14 }), 32, 32, 1, Options{}, "values in a batch"},
		{append(oneCell(2), oneCell(3)...), 32, 32, 1, Options{}, "head 1: 3 classes, the first head has 2"},
	} {
		if _, err := NewYOLOv4(c.heads, c.w, c.h, c.batch, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// scene is a random network, prediction and labels.
type scene struct {
	heads  []Head
	o      Options
	truths [][]datasets.Truth
	outs   [][]float32
}

const sceneW, sceneH, sceneBatch = 96, 80, 2

// newScene draws truths and predictions; every third truth is put where some
// slot predicts, so that there is something to ignore.
func newScene(r *rand.Rand, newCoords bool, o Options) *scene {
	anchors := [][2]float64{{9, 13}, {20, 16}, {30, 40}, {60, 50}}
	head := func(rows, cols int, scale float64, mask ...int) Head {
		y := &graph.Yolo{Classes: 2, Mask: mask, Anchors: anchors, ScaleXY: scale, NewCoords: newCoords}
		return Head{y, graph.Shape{C: 7 * len(mask), H: rows, W: cols}}
	}
	s := &scene{heads: []Head{head(2, 3, 1.05, 2, 3), head(4, 6, 2, 0, 1, 2)}, o: o.Complete()}
	for _, h := range s.heads {
		s.outs = append(s.outs, randomRaw(r, sceneBatch*h.Shape.Size(), newCoords))
	}
	s.truths = make([][]datasets.Truth, sceneBatch)
	for i := range 2 + r.IntN(12) {
		image := r.IntN(sceneBatch)
		s.truths[image] = append(s.truths[image], s.randomTruth(r, image, i%3 == 0))
	}
	return s
}

func randomRaw(r *rand.Rand, n int, newCoords bool) []float32 {
	out := make([]float32, n)
	for i := range out {
		switch e := i % 7; {
		case newCoords && e < 2:
			out[i] = float32(min(max(.5+.5*r.NormFloat64(), 0), 1))
		case newCoords:
			out[i] = float32(.02 + .96*r.Float64())
		case e < 2:
			out[i] = float32(4 * r.NormFloat64())
		case e == 2 || e == 3:
			out[i] = float32(.4 * r.NormFloat64())
			if r.IntN(20) == 0 {
				out[i] *= 30 // over the size limits
			}
		default:
			out[i] = float32(2 * r.NormFloat64())
		}
	}
	return out
}

func (s *scene) randomTruth(r *rand.Rand, image int, fit bool) datasets.Truth {
	t := tr(r.IntN(2), r.Float64(), r.Float64(), .05+.9*r.Float64(), .05+.9*r.Float64())
	if !fit {
		return t
	}
	i := r.IntN(2)
	h := s.heads[i]
	row, col, a := r.IntN(h.Shape.H), r.IntN(h.Shape.W), r.IntN(len(h.Yolo.Mask))
	at := (((image*h.Shape.H+row)*h.Shape.W+col)*len(h.Yolo.Mask) + a) * 7
	b := s.naive().decode(h, toFloat64(s.outs[i][at:at+7]), row, col, a)
	jitter := func(v float64) float64 { return min(max(v*(.97+.06*r.Float64()), .02), 1) }
	return tr(t.Class, jitter((b[0]+b[2])/2/sceneW), jitter((b[1]+b[3])/2/sceneH), jitter(b.w()/sceneW), jitter(b.h()/sceneH))
}

func (s *scene) naive() *naive {
	return &naive{heads: s.heads, netW: sceneW, netH: sceneH, o: s.o, truths: s.truths}
}

func toFloat64(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func (s *scene) raws() [][]float64 {
	var out [][]float64
	for _, v := range s.outs {
		out = append(out, toFloat64(v))
	}
	return out
}

// TestGradient holds a third of the gradients of every term against central differences
// of the naive loss: with equal gains, and with one gain far above the others,
// so that each term is seen alone.
func TestGradient(t *testing.T) {
	terms := []Options{{}, {Box: 1e3, Obj: 1e-3, Class: 1e-3}, {Box: 1e-3, Obj: 1e3, Class: 1e-3}, {Box: 1e-3, Obj: 1e-3, Class: 1e3, LabelSmooth: .1}}
	for _, newCoords := range []bool{false, true} {
		for i, o := range terms {
			s := newScene(rand.New(rand.NewPCG(uint64(i), 5)), newCoords, o)
			checkGradient(t, fmt.Sprintf("ciou, new_coords %v, options %d", newCoords, i), s)
		}
		for i, kind := range []string{"diou", "giou", "iou"} {
			s := newScene(rand.New(rand.NewPCG(uint64(i), 6)), newCoords, Options{IoULoss: kind})
			checkGradient(t, fmt.Sprintf("%s, new_coords %v", kind, newCoords), s)
		}
	}
}

func checkGradient(t *testing.T, name string, s *scene) {
	t.Helper()
	l := mustNew(t, s.heads, sceneW, sceneH, sceneBatch, s.o)
	l.SetTruths(s.truths)
	p, grads := mustCompute(t, l, s.outs)
	if p.Positives < 2 {
		t.Fatalf("%s: the scene has %d positives", name, p.Positives)
	}
	n, raws, errs := s.naive(), s.raws(), 0
	n.eval(raws)
	const eps = 1e-6
	for i := range raws {
		for j := i; j < len(raws[i]); j += 3 { // 3 and the 7 entries share no factor: all kinds are met
			v := raws[i][j]
			raws[i][j] = v + eps
			up := n.eval(raws).Total
			raws[i][j] = v - eps
			down := n.eval(raws).Total
			raws[i][j] = v
			got, want := float64(grads[i][j]), (up-down)/(2*eps)
			if math.Abs(got-want) > 1e-6*(1+p.Total)+1e-4*math.Abs(want) && errs < 5 {
				errs++
				t.Errorf("%s: head %d, value %d (entry %d): gradient %g, central difference %g", name, i, j, j%7, got, want)
			}
		}
	}
}

// TestAgainstNaive compares the loss with the naive one on random scenes; the
// ignore test's shortcuts must never change what is ignored.
func TestAgainstNaive(t *testing.T) {
	ignoredSlots := 0
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			IoULoss:      rapid.SampledFrom([]string{"ciou", "diou", "giou", "iou"}).Draw(t, "kind"),
			IgnoreThresh: rapid.Float64Range(.05, 1).Draw(t, "ignore"),
			AssignIoU:    rapid.Float64Range(.05, 1).Draw(t, "assign"),
			LabelSmooth:  rapid.Float64Range(0, .5).Draw(t, "smooth"),
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := newScene(r, rapid.Bool().Draw(t, "new_coords"), o)
		l, err := NewYOLOv4(s.heads, sceneW, sceneH, sceneBatch, s.o)
		if err != nil {
			t.Fatal(err)
		}
		l.SetTruths(s.truths)
		got, err := l.Compute(s.outs, zerosLike(s.outs))
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.heads {
			for _, st := range l.heads[i].state {
				if st == ignored {
					ignoredSlots++
				}
			}
		}
		want := s.naive().eval(s.raws())
		for _, c := range [][2]float64{{got.Box, want.Box}, {got.Obj, want.Obj}, {got.Class, want.Class}, {got.Total, want.Total}} {
			if math.Abs(c[0]-c[1]) > 1e-9*(1+math.Abs(c[1])) || got.Positives != want.Positives {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
	if ignoredSlots == 0 {
		t.Error("no slot was ignored in any scene: the test shows nothing")
	}
}

// With the raw values as free parameters the gradient must lead to the truths.
func TestDescent(t *testing.T) {
	for _, newCoords := range []bool{false, true} {
		y := &graph.Yolo{Classes: 2, Mask: []int{0}, Anchors: [][2]float64{{16, 16}}, ScaleXY: 1.5, NewCoords: newCoords}
		l := mustNew(t, []Head{{y, graph.Shape{C: 7, H: 4, W: 4}}}, 64, 64, 1, Options{})
		truths := []datasets.Truth{tr(0, .2, .3, .3, .2), tr(1, .7, .6, .35, .5)}
		l.SetTruths([][]datasets.Truth{truths})
		out, logits := [][]float32{make([]float32, 112)}, make([]float32, 112)
		var p Parts
		for k := range 3000 {
			for i, v := range logits {
				out[0][i] = v
				if newCoords {
					out[0][i] = float32(logistic(float64(v)))
				}
			}
			var grads [][]float32
			p, grads = mustCompute(t, l, out)
			for i, g := range grads[0] {
				if v := out[0][i]; newCoords {
					g *= v * (1 - v) // the logistic before the head
				}
				logits[i] -= .3 * float32(3000-k) / 3000 * g // IoU has a kink at the fit: the step must shrink
			}
		}
		if p.Total > .05 {
			t.Errorf("new_coords %v: the loss stays at %+v", newCoords, p)
		}
		for _, s := range l.heads[0].positives {
			got, want := l.heads[0].decode(l.heads[0].boxValues(out[0], s.slot), s.row, s.col, s.anchor), l.truths[s.truth].box
			nearBox(t, fmt.Sprintf("new_coords %v: box", newCoords), got, want, .2)
		}
	}
}

func TestDeterministicAndWithoutAllocation(t *testing.T) {
	s := newScene(rand.New(rand.NewPCG(3, 3)), false, Options{})
	l := mustNew(t, s.heads, sceneW, sceneH, sceneBatch, s.o)
	l.SetTruths(s.truths)
	p, first := mustCompute(t, l, s.outs)
	grads := zerosLike(s.outs)
	allocs := testing.AllocsPerRun(10, func() {
		l.SetTruths(s.truths)
		if q, err := l.Compute(s.outs, grads); err != nil || q != p {
			t.Fatalf("second run: %+v, %v; the first gave %+v", q, err, p)
		}
	})
	if allocs != 0 {
		t.Errorf("%g allocations a step, want 0", allocs)
	}
	for i := range grads {
		if !slices.Equal(grads[i], first[i]) {
			t.Errorf("head %d: gradients differ between runs", i)
		}
	}
}

// BenchmarkCompute is yolov4-tiny at 416 x 416, batch 8, 80 classes, with 20
// truths an image.
func BenchmarkCompute(b *testing.B) {
	anchors := [][2]float64{{10, 14}, {23, 27}, {37, 58}, {81, 82}, {135, 169}, {344, 319}}
	heads := []Head{
		{&graph.Yolo{Classes: 80, Mask: []int{3, 4, 5}, Anchors: anchors, ScaleXY: 1.05}, graph.Shape{C: 255, H: 13, W: 13}},
		{&graph.Yolo{Classes: 80, Mask: []int{0, 1, 2}, Anchors: anchors, ScaleXY: 1.05}, graph.Shape{C: 255, H: 26, W: 26}},
	}
	r := rand.New(rand.NewPCG(1, 1))
	var outs [][]float32
	for _, h := range heads {
		v := make([]float32, 8*h.Shape.Size())
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		outs = append(outs, v)
	}
	truths := make([][]datasets.Truth, 8)
	for i := range truths {
		for range 20 {
			truths[i] = append(truths[i], tr(r.IntN(80), r.Float64(), r.Float64(), .05+.9*r.Float64(), .05+.9*r.Float64()))
		}
	}
	l, grads := mustNew(b, heads, 416, 416, 8, Options{}), zerosLike(outs)
	for b.Loop() {
		l.SetTruths(truths)
		if _, err := l.Compute(outs, grads); err != nil {
			b.Fatal(err)
		}
	}
}
