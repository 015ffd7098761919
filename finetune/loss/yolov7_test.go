package loss

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

func mustYOLOv7(t testing.TB, heads []Head, w, h, batch int, o Options) *YOLOv7 {
	t.Helper()
	if o.Kind == "" {
		o.Kind = KindYOLOv7
	}
	l, err := NewYOLOv7(heads, w, h, batch, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func torch7Heads() []Head {
	anchors := [][2]float64{{6, 8}, {10, 7}, {12, 14}, {16, 12}, {20, 30}, {28, 22}, {36, 40}, {50, 34}, {44, 60}}
	var heads []Head
	for i, n := range []int{8, 4, 2} {
		y := &graph.Yolo{Classes: 3, Mask: []int{3 * i, 3*i + 1, 3*i + 2}, Anchors: anchors, ScaleXY: 2, NewCoords: true}
		heads = append(heads, Head{y, graph.Shape{C: 24, H: n, W: n}})
	}
	return heads
}

func torch7Truths() [][]datasets.Truth {
	return [][]datasets.Truth{
		{tr(0, .30, .33, .20, .24), tr(2, .31, .35, .22, .20), tr(1, .72, .61, .45, .50), tr(1, .99, .04, .10, .12), tr(2, .55, .80, .6, .3)},
		{tr(0, .52, .47, .70, .80), tr(1, .20, .82, .30, .25), tr(1, .21, .81, .33, .22), tr(0, .9, .9, 1./64, 1./64)},
		{},
	}
}

func torch7Values() [][]float32 {
	var outs [][]float32
	for _, stride := range []int{8, 16, 32} {
		v := make([]float32, 3*64/stride*64/stride*24)
		for k := range v {
			v[k] = float32(logistic(1.3 * math.Sin(1.7*float64(k)+.3*float64(stride))))
		}
		outs = append(outs, v)
	}
	return outs
}

// TestYOLOv7Torch compares with PyTorch's autograd (testdata/yolov7.py): two
// truths in one cell, truths at the border, of one pixel, and an empty image.
func TestYOLOv7Torch(t *testing.T) {
	data, err := os.ReadFile("testdata/yolov7.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]struct {
		Parts [3]float64
		Slots [3][][5]int
		Grads [3][]float64
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"plain":  {},
		"ota":    {Kind: KindYOLOv7OTA},
		"smooth": {Kind: KindYOLOv7OTA, LabelSmooth: .1},
		"focal":  {Focal: 1.5},
	} {
		want := golden[name]
		l := mustYOLOv7(t, torch7Heads(), 64, 64, 3, o)
		l.SetTruths(torch7Truths())
		outs := torch7Values()
		grads := zerosLike(outs)
		p, err := l.Compute(outs, grads)
		if err != nil {
			t.Fatal(err)
		}
		near(t, name+": box", p.Box, want.Parts[0], 1e-7)
		near(t, name+": obj", p.Obj, want.Parts[1], 1e-7)
		near(t, name+": class", p.Class, want.Parts[2], 1e-7)
		var slots []string
		for i, list := range want.Slots {
			for _, s := range list {
				slots = append(slots, fmt.Sprint(i, s[0], s[1], s[2], s[3], s[4]))
			}
		}
		slices.Sort(slots)
		if got := slotList(&l.network); !slices.Equal(got, slots) {
			t.Errorf("%s: positives\n%s\nPyTorch has\n%s", name, strings.Join(got, "; "), strings.Join(slots, "; "))
		}
		for i := range grads {
			for j, g := range grads[i] {
				if w := want.Grads[i][j]; math.Abs(float64(g)-w) > 1e-8+1e-5*math.Abs(w) {
					t.Fatalf("%s: head %d, value %d (entry %d): gradient %g, PyTorch has %g", name, i, j, j%8, g, w)
				}
			}
		}
	}
}

// slotList lists the positives as naive7.list does.
func slotList(l *network) []string {
	var out []string
	for i := range l.heads {
		for _, s := range l.heads[i].positives {
			image := l.truths[s.truth].image
			out = append(out, fmt.Sprint(i, image, s.row, s.col, s.anchor, s.truth-l.first[image]))
		}
	}
	slices.Sort(out)
	return out
}

func TestCells(t *testing.T) {
	for _, c := range []struct {
		x, y, scale float64
		want        string
	}{
		{3.4, 5.7, 2, "[{5 3} {5 2} {6 3}]"},
		{3.6, 5.2, 2, "[{5 3} {5 4} {4 3}]"},
		{3.5, 5.5, 2, "[{5 3}]"},
		{.4, .4, 2, "[{0 0}]"},
		{1, 1, 2, "[{1 1}]"}, // gx > 1 is strict
		{2, 2, 2, "[{2 2} {2 1} {1 2}]"},
		{19, 19, 2, "[{19 19} {19 18} {18 19}]"},
		{19.7, 19.7, 2, "[{19 19}]"},
		{20, 20, 2, "[{19 19}]"},
		{3.4, 5.7, 1.05, "[{5 3}]"},
		{3.02, 5.98, 1.05, "[{5 3} {5 2} {6 3}]"},
		{3.02, 5.98, 1, "[{5 3}]"},
		{3.02, 5.98, 4, "[{5 3} {5 2} {6 3}]"},
		{3.5, 5.6, 4, "[{5 3} {6 3}]"},
	} {
		h := newHead(Head{&graph.Yolo{Mask: []int{0}, Anchors: [][2]float64{{1, 1}}, ScaleXY: c.scale}, graph.Shape{H: 20, W: 20}}, 160, 160, 1)
		list, n := h.cells(box{x: 8 * c.x, y: 8 * c.y})
		if got := fmt.Sprint(list[:n]); got != c.want {
			t.Errorf("centre %g, %g, scale %g: cells %s, want %s", c.x, c.y, c.scale, got, c.want)
		}
	}
}

// The ratio of sides is strict, in both directions and on both sides.
func TestAnchorRatio(t *testing.T) {
	for _, c := range []struct {
		w, h  float64
		ratio float64
		want  int
	}{
		{64, 32, 4, 0}, {63, 31, 4, 1}, {4, 8, 4, 0}, {4.1, 2.1, 4, 1}, {16, 32, 4, 0}, {16, 8, 1.001, 1}, {17, 8, 1.001, 0},
	} {
		l := mustYOLOv7(t, oneCell(1), 64, 64, 1, Options{AnchorRatio: c.ratio})
		l.SetTruths([][]datasets.Truth{{tr(0, .5, .5, c.w/64, c.h/64)}})
		if got := len(l.heads[0].positives); got != c.want {
			t.Errorf("truth of %g x %g at anchor 16 x 8, ratio %g: %d positives, want %d", c.w, c.h, c.ratio, got, c.want)
		}
	}
}

// One cell, one anchor, all values ½: the prediction fits its truth, so CIoU is
// 1 and so is the objectness target.
func TestYOLOv7ByHand(t *testing.T) {
	heads := oneCell(2)
	heads[0].Yolo.NewCoords, heads[0].Yolo.ScaleXY = true, 2
	half := []float32{.5, .5, .5, .5, .5, .5, .5}
	l := mustYOLOv7(t, heads, 32, 32, 2, Options{})
	l.SetTruths([][]datasets.Truth{{tr(1, .5, .5, .5, .25)}, {}})
	p, grads := mustLoss(t, l, [][]float32{append(slices.Clone(half), half...)})
	obj, cls := .7*3*4*32*32/640/640, .3*3*2./80 // one head: gains times 3, balance 4
	near(t, "box", p.Box, 0, 1e-6)
	near(t, "obj", p.Obj, 2*obj*math.Ln2, 1e-9)
	near(t, "class", p.Class, 2*cls*math.Ln2, 1e-9)
	near(t, "d obj", float64(grads[0][4]), 2*obj/2*-2, 1e-6) // mean over two slots, slope (½−1)/¼
	near(t, "d obj of the empty image", float64(grads[0][11]), 2*obj/2*2, 1e-9)
	near(t, "d class", float64(grads[0][6]), 2*cls/2*-2, 1e-8)
	if p.Positives != 1 || p.Divisor != 0 {
		t.Errorf("%d positives, divisor %d, want 1 and 0", p.Positives, p.Divisor)
	}
}

func mustLoss(t testing.TB, l Loss, outs [][]float32) (Parts, [][]float32) {
	t.Helper()
	grads := zerosLike(outs)
	p, err := l.Compute(outs, grads)
	if err != nil {
		t.Fatal(err)
	}
	return p, grads
}

func TestBalanceByStride(t *testing.T) {
	head := func(n int) Head {
		y := &graph.Yolo{Classes: 1, Mask: []int{0}, Anchors: [][2]float64{{8, 8}}, ScaleXY: 2, NewCoords: true}
		return Head{y, graph.Shape{C: 6, H: n, W: n}}
	}
	for _, c := range []struct {
		heads   []Head
		balance []float64
		want    []float64
	}{
		{[]Head{head(2), head(4)}, nil, []float64{1, 4}},
		{[]Head{head(2), head(4), head(8)}, nil, []float64{.4, 1, 4}},
		{[]Head{head(8), head(4), head(2), head(1)}, nil, []float64{4, 1, .25, .06}},
		{[]Head{head(2), head(4)}, []float64{7, 9}, []float64{9, 7}},
	} {
		l := mustYOLOv7(t, c.heads, 64, 64, 1, Options{Balance: c.balance})
		if !slices.Equal(l.balance, c.want) {
			t.Errorf("%d heads: balance %v, want %v", len(c.heads), l.balance, c.want)
		}
	}
	six := []Head{head(32), head(16), head(8), head(4), head(2), head(1)}
	if _, err := NewYOLOv7(six, 64, 64, 1, Options{Kind: KindYOLOv7}); err == nil || !strings.Contains(err.Error(), "give one value for each") {
		t.Errorf("six heads without a balance: error %v", err)
	}
}

// TestYOLOv7AgainstNaive compares values and positives on random scenes.
func TestYOLOv7AgainstNaive(t *testing.T) {
	claims := 0
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Kind:        rapid.SampledFrom([]string{KindYOLOv7, KindYOLOv7OTA}).Draw(t, "kind"),
			LabelSmooth: rapid.Float64Range(0, .5).Draw(t, "smooth"),
			AnchorRatio: rapid.Float64Range(1.1, 6).Draw(t, "ratio"),
			Focal:       rapid.SampledFrom([]float64{0, .5, 1.5, 2}).Draw(t, "focal"),
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := newScene(r, rapid.Bool().Draw(t, "new_coords"), o)
		l, err := NewYOLOv7(s.heads, sceneW, sceneH, sceneBatch, o)
		if err != nil {
			t.Fatal(err)
		}
		l.SetTruths(s.truths)
		got, err := l.Compute(s.outs, zerosLike(s.outs))
		if err != nil {
			t.Fatal(err)
		}
		n := newNaive7(s.heads, sceneW, sceneH, s.o, s.truths)
		want := n.eval(s.raws())
		if a, b := slotList(&l.network), n.list(); !slices.Equal(a, b) {
			t.Fatalf("positives\n%s\nnaive\n%s", strings.Join(a, "; "), strings.Join(b, "; "))
		}
		for _, c := range [][2]float64{{got.Box, want.Box}, {got.Obj, want.Obj}, {got.Class, want.Class}, {got.Total, want.Total}} {
			if math.Abs(c[0]-c[1]) > 1e-9*(1+math.Abs(c[1])) || got.Positives != want.Positives {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		if l.matcher != nil {
			for _, c := range l.matcher.claims {
				claims = max(claims, c.count)
			}
		}
	})
	if claims < 2 {
		t.Error("no slot was claimed by two truths in any scene: the test shows nothing")
	}
}

func TestYOLOv7Gradient(t *testing.T) {
	for _, kind := range []string{KindYOLOv7, KindYOLOv7OTA} {
		for _, newCoords := range []bool{false, true} {
			for i, o := range []Options{{}, {Box: 10, Obj: 1e-3, Class: 1e-3}, {Box: 1e-3, Obj: 50, Class: 1e-3}, {Obj: 5, Class: 50, LabelSmooth: .1, Focal: 1.5}} {
				o.Kind = kind
				s := newScene(rand.New(rand.NewPCG(uint64(i), 9)), newCoords, o)
				l := mustYOLOv7(t, s.heads, sceneW, sceneH, sceneBatch, o)
				n := newNaive7(s.heads, sceneW, sceneH, s.o, s.truths)
				checkSlopes(t, fmt.Sprintf("%s, new_coords %v, options %d", kind, newCoords, i), l, n.eval, s, 3)
			}
		}
	}
}

// checkSlopes holds every step-th gradient against central differences.
func checkSlopes(t *testing.T, name string, l Loss, eval func([][]float64) Parts, s *scene, step int) {
	t.Helper()
	l.SetTruths(s.truths)
	p, grads := mustLoss(t, l, s.outs)
	raws, errs := s.raws(), 0
	near(t, name+": total", eval(raws).Total, p.Total, 1e-9*(1+p.Total))
	const eps = 1e-6
	for i := range raws {
		for j := i; j < len(raws[i]); j += step {
			v := raws[i][j]
			raws[i][j] = v + eps
			up := eval(raws).Total
			raws[i][j] = v - eps
			down := eval(raws).Total
			raws[i][j] = v
			got, want := float64(grads[i][j]), (up-down)/(2*eps)
			if math.Abs(got-want) > 1e-6*(1e-2+p.Total)+1e-4*math.Abs(want) && errs < 5 {
				errs++
				t.Errorf("%s: head %d, value %d: gradient %g, central difference %g", name, i, j, got, want)
			}
		}
	}
}
