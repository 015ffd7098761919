package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"yoloprune/datasets"
	"yoloprune/yolo/graph"
)

// setups are all kinds of loss with their settings in use.
var setups = []Options{
	{},
	{ClassCounts: []float64{9, 2, 0}, Focal: 1.5, LabelSmooth: .1},
	{Kind: KindDarknet},
	{Kind: KindDarknet, ClassCounts: []float64{9, 2, 0}, MaxWeight: 3, ObjSmooth: []bool{true}, Focal: 2},
	{Kind: KindYOLOv7},
	{Kind: KindYOLOv7, Focal: 1.5, LabelSmooth: .1},
	{Kind: KindYOLOv7OTA},
}

func describe(o Options) string {
	return fmt.Sprintf("%s, focal %g, counts %v", o.Complete().Kind, o.Focal, o.ClassCounts)
}

// kindScene has three classes, of which the last has no box, or one.
func kindScene(classes int, newCoords bool, truths [][]datasets.Truth) *scene {
	anchors := [][2]float64{{4, 4}, {9, 13}, {20, 16}, {30, 40}}
	s := &scene{truths: truths}
	r := rand.New(rand.NewPCG(uint64(classes), 8))
	for i, n := range []int{4, 8} {
		y := &graph.Yolo{
			Classes: classes, Mask: []int{2 - 2*i, 3 - 2*i}, Anchors: anchors, ScaleXY: 2, NewCoords: newCoords,
			IoULoss: "ciou", IoUNormalizer: .07, ObjNormalizer: 1, ClsNormalizer: 1, IgnoreThresh: .7, TruthThresh: 1, IoUThresh: .2, MaxDelta: 5,
		}
		h := Head{y, graph.Shape{C: 2 * (5 + classes), H: n, W: n}}
		s.heads = append(s.heads, h)
		v := make([]float32, 2*h.Shape.Size())
		for k := range v {
			v[k] = float32(r.NormFloat64())
			if k%(5+classes) < 4 {
				v[k] *= .5
			}
			if newCoords {
				v[k] = float32(logistic(float64(v[k])))
			}
		}
		s.outs = append(s.outs, v)
	}
	return s
}

// crowd is a hundred boxes in one image, of two classes, several in a cell.
func crowd() []datasets.Truth {
	r := rand.New(rand.NewPCG(1, 2))
	var out []datasets.Truth
	for i := range 100 {
		out = append(out, tr(i%2, r.Float64(), r.Float64(), .03+.5*r.Float64(), .03+.5*r.Float64()))
	}
	return out
}

// trouble are the labels that a data set may have.
var trouble = []struct {
	name   string
	truths [][]datasets.Truth
}{
	{"no boxes", [][]datasets.Truth{{}, {}}},
	{"a class without a box", [][]datasets.Truth{{tr(0, .3, .3, .2, .3)}, {tr(1, .6, .7, .4, .5), tr(0, .1, .9, .2, .2)}}},
	{"boxes of one pixel", [][]datasets.Truth{{tr(0, .31, .3, 1./64, 1./64), tr(1, .5, .5, 1./64, .5)}, {tr(0, 1, 1, 1./64, 1./64)}}},
	{"two boxes in one cell", [][]datasets.Truth{{tr(0, .30, .30, .2, .3), tr(1, .31, .32, .21, .28)}, {tr(1, .7, .7, .2, .2), tr(1, .7, .7, .2, .2)}}},
	{"a hundred boxes", [][]datasets.Truth{crowd(), {}}},
	{"the border", [][]datasets.Truth{{tr(0, 0, 0, .2, .2), tr(1, 1, 1, .3, .2)}, {tr(0, .5, 1, 1, 1)}}},
}

// every runs f for all kinds, heads, troubles and one class or three.
func every(t *testing.T, f func(t *testing.T, o Options, s *scene)) {
	for _, o := range setups {
		for _, newCoords := range []bool{false, true} {
			for _, c := range trouble {
				for _, classes := range []int{1, 3} {
					o, truths := o, c.truths
					if classes == 1 {
						truths = oneClass(truths)
						if o.ClassCounts != nil {
							o.ClassCounts = o.ClassCounts[:1]
						}
					}
					t.Run(fmt.Sprintf("%s/new_coords %v/%s/%d classes", describe(o), newCoords, c.name, classes), func(t *testing.T) {
						f(t, o, kindScene(classes, newCoords, truths))
					})
				}
			}
		}
	}
}

func oneClass(truths [][]datasets.Truth) [][]datasets.Truth {
	var out [][]datasets.Truth
	for _, list := range truths {
		list = slices.Clone(list)
		for i := range list {
			list[i].Class = 0
		}
		out = append(out, list)
	}
	return out
}

// Whatever the labels: finite values, the same ones again, objectness trained
// in every image, box and class only where there are boxes, and no allocation.
func TestTrouble(t *testing.T) {
	every(t, func(t *testing.T, o Options, s *scene) {
		l, err := New(s.heads, 64, 64, 2, o)
		if err != nil {
			t.Fatal(err)
		}
		l.SetTruths(s.truths)
		p, grads := mustLoss(t, l, s.outs)
		boxes := len(s.truths[0])+len(s.truths[1]) > 0
		if math.IsNaN(p.Total) || math.IsInf(p.Total, 0) || p.Obj <= 0 || (p.Box != 0 || p.Class != 0) && !boxes {
			t.Errorf("parts %+v", p)
		}
		for i := range grads {
			per, half := s.heads[i].Yolo.PerAnchor(), len(grads[i])/2
			var trained [2]bool
			for j, g := range grads[i] {
				if math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
					t.Fatalf("head %d, value %d: gradient %g", i, j, g)
				}
				if j%per == 4 && g != 0 {
					trained[j/half] = true
				}
				if j%per != 4 && g != 0 && len(s.truths[j/half]) == 0 {
					t.Fatalf("head %d, value %d: gradient %g in an image without boxes", i, j, g)
				}
			}
			if trained != [2]bool{true, true} {
				t.Errorf("head %d: objectness trained in the two images: %v", i, trained)
			}
		}
		again := zerosLike(s.outs)
		allocs := testing.AllocsPerRun(1, func() {
			l.SetTruths(s.truths)
			if q, err := l.Compute(s.outs, again); err != nil || q != p {
				t.Fatalf("second run: %+v, %v; the first gave %+v", q, err, p)
			}
		})
		if allocs != 0 {
			t.Errorf("%g allocations a step, want 0", allocs)
		}
		for i := range grads {
			if !slices.Equal(grads[i], again[i]) {
				t.Errorf("head %d: gradients differ between runs", i)
			}
		}
	})
}

// TestTroubleGradient holds the gradients of the kinds that have a loss
// function against central differences of the naive loss.
func TestTroubleGradient(t *testing.T) {
	every(t, func(t *testing.T, o Options, s *scene) {
		s.o = o.Complete()
		n7 := newNaive7(s.heads, 64, 64, s.o, s.truths)
		eval := n7.eval
		switch s.o.Kind {
		case KindDarknet:
			return
		case KindYOLOv4:
			eval = n7.naive.eval
		}
		l, err := New(s.heads, 64, 64, 2, o)
		if err != nil {
			t.Fatal(err)
		}
		thin(s)
		step := 13 // shares no factor with the 6 or 8 entries: all kinds are met
		if len(s.truths[0]) > 10 {
			step = 401
		}
		checkSlopes(t, describe(o), l, eval, s, step)
	})
}

// thin moves the values off the places where a gradient has a kink: equal
// edges of a prediction and a truth.
func thin(s *scene) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, v := range s.outs {
		for i := range v {
			v[i] *= float32(1 - 1e-3*r.Float64())
		}
	}
}

func TestFocal(t *testing.T) {
	linear, logisticHead := newHead(oneCell(1)[0], 32, 32, 1), oneCell(1)[0]
	logisticHead.Yolo.NewCoords = true
	prob := newHead(logisticHead, 32, 32, 1)
	for _, c := range []struct {
		t, y, gamma, alpha float64
		want               float64
	}{
		{0, 1, 2, .25, .25 * .25 * math.Ln2},
		{0, 0, 2, .25, .75 * .25 * math.Ln2},
		{math.Log(3), 1, 1, .5, .5 * .25 * math.Log(4./3)},                                   // p = ¾
		{math.Log(3), 0, 1, .5, .5 * .75 * math.Log(4)},                                      //
		{0, .5, 3, .25, .5 * .125 * math.Ln2},                                                // a soft target: p_t = α_t = ½
		{-math.Log(9), .2, 2, .25, .65 * .26 * .26 * (.2*math.Log(10) + .8*math.Log(10./9))}, // p = .1, p_t = .74
	} {
		got, slope := linear.focal(c.t, c.y, c.gamma, c.alpha)
		near(t, "logit", got, c.want, 1e-9)
		const eps = 1e-6
		up, _ := linear.focal(c.t+eps, c.y, c.gamma, c.alpha)
		down, _ := linear.focal(c.t-eps, c.y, c.gamma, c.alpha)
		near(t, "logit's slope", slope, (up-down)/(2*eps), 1e-8)
		p := logistic(c.t)
		value, byP := prob.focal(p, c.y, c.gamma, c.alpha)
		near(t, "probability", value, c.want, 1e-9)
		near(t, "probability's slope", byP*p*(1-p), slope, 1e-9)
	}
	for _, v := range []float64{-800, -40, 40, 800} {
		for _, y := range []float64{0, 1} {
			if value, slope := linear.focal(v, y, .5, .25); math.IsNaN(value+slope) || math.IsInf(value+slope, 0) {
				t.Errorf("logit %g, target %g: focal loss %g, slope %g", v, y, value, slope)
			}
		}
	}
}

func TestClassWeights(t *testing.T) {
	for _, c := range []struct {
		counts []float64
		limit  float64
		want   []float64
	}{
		{nil, 5, nil},
		{[]float64{8, 4, 2}, 5, []float64{1, 2, 4}},
		{[]float64{8, 1, 0}, 5, []float64{1, 5, 5}},
		{[]float64{8, 1, 0}, math.Inf(1), []float64{1, 8, 8}},
		{[]float64{0, 0}, 5, []float64{1, 1}},
	} {
		if got := classWeights(c.counts, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("counts %v, limit %g: weights %v, want %v", c.counts, c.limit, got, c.want)
		}
	}
}

// Equal counts change nothing, to the bit.
func TestEqualCounts(t *testing.T) {
	s := newScene(rand.New(rand.NewPCG(3, 4)), false, Options{})
	a := mustNew(t, s.heads, sceneW, sceneH, sceneBatch, Options{})
	b := mustNew(t, s.heads, sceneW, sceneH, sceneBatch, Options{ClassCounts: []float64{7, 7}})
	a.SetTruths(s.truths)
	b.SetTruths(s.truths)
	p, gradsA := mustLoss(t, a, s.outs)
	q, gradsB := mustLoss(t, b, s.outs)
	if p != q || !slices.Equal(gradsA[0], gradsB[0]) || !slices.Equal(gradsA[1], gradsB[1]) {
		t.Errorf("with equal counts %+v, without %+v", q, p)
	}
}

func TestNewKinds(t *testing.T) {
	for kind, want := range map[string]string{"": "*loss.YOLOv4", "yolov4": "*loss.YOLOv4", "darknet": "*loss.Darknet", "yolov7": "*loss.YOLOv7", "yolov7-ota": "*loss.YOLOv7"} {
		l, err := New(cfgHead(nil), 32, 32, 1, Options{Kind: kind})
		if got := fmt.Sprintf("%T", l); err != nil || got != want {
			t.Errorf("kind %q: %s, %v, want %s", kind, got, err, want)
		}
	}
	if l, err := New(nil, 32, 32, 1, Options{Kind: KindYOLOv7}); l != nil || err == nil {
		t.Errorf("no heads: %v, %v, want nil and an error", l, err)
	}
	if _, err := NewYOLOv4(cfgHead(nil), 32, 32, 1, Options{Kind: KindDarknet}); err == nil || !strings.Contains(err.Error(), "use New") {
		t.Errorf("NewYOLOv4 of another kind: error %v", err)
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct{ given, want Options }{
		{Options{}, Options{Kind: "yolov4", Box: 3, Obj: 1, Class: 1, IoULoss: "ciou", AssignIoU: .213, IgnoreThresh: .7, MaxWeight: 5, FocalAlpha: .25}},
		{Options{Kind: "yolov7", Obj: 1}, Options{Kind: "yolov7", Box: .05, Obj: 1, Class: .3, IoULoss: "ciou", FocalAlpha: .25, AnchorRatio: 4}},
		{Options{Kind: "darknet"}, Options{Kind: "darknet", AssignKind: "iou"}},
	} {
		if got := c.given.Complete(); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%+v completes to\n%+v, want\n%+v", c.given, got, c.want)
		}
	}
}

// A setting that the kind does not have is refused, not passed over.
func TestForeignSettings(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Kind: "yolo9000"}, `unknown loss "yolo9000"; use yolov4, darknet, yolov7, yolov7-ota`},
		{Options{Kind: "yolov7", AssignIoU: .2}, "assign iou: the yolov7 loss has no such setting"},
		{Options{Kind: "yolov7-ota", IgnoreThresh: .7}, "ignore threshold: the yolov7-ota loss has no such setting"},
		{Options{Kind: "yolov7", ClassCounts: []float64{1, 1}}, "class counts: the yolov7 loss"},
		{Options{Kind: "yolov7", IoULoss: "giou"}, `the yolov7 loss has ciou only, not "giou"`},
		{Options{Kind: "yolov7", AnchorRatio: -1}, "anchor ratio: -1"},
		{Options{Kind: "yolov7", Balance: []float64{1, 2}}, "balance: 2 values for 1 heads"},
		{Options{Kind: "yolov7", Balance: []float64{math.NaN()}}, "balance: value 0 is NaN"},
		{Options{AnchorRatio: 4}, "anchor ratio: the yolov4 loss"},
		{Options{Balance: []float64{1}}, "balance: the yolov4 loss"},
		{Options{ObjSmooth: []bool{true}}, "objectness smoothing: the yolov4 loss"},
		{Options{AssignKind: "iou"}, "assign kind: the yolov4 loss"},
		{Options{IoULoss: "mse"}, `iou loss: unknown kind "mse"`},
		{Options{Focal: -1}, "focal: -1"},
		{Options{FocalAlpha: 2}, "focal alpha: 2"},
		{Options{ClassCounts: []float64{1, 2, 3}}, "class counts: 3 for 2 classes"},
		{Options{ClassCounts: []float64{1, -2}}, "class counts: value 1 is -2"},
		{Options{Kind: "darknet", FocalAlpha: .5}, "focal alpha: the darknet loss"},
		{Options{Kind: "darknet", IoULoss: "l1"}, "use ciou, diou, giou, iou or mse"},
	} {
		if _, err := New(cfgHead(nil), 32, 32, 1, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}
