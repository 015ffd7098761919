package head

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"yoloprune/yolo/graph"

	"pgregory.net/rapid"
)

// placed is a box wanted in a scene of 64x64 pixels, and its classes' scores.
type placed struct {
	x, y, w, h float64 // centre and size
	scores     []float32
}

// scene returns a head of one cell that predicts these boxes: an anchor for
// each, in the second form, where (2*.5)^2 = 1 keeps the anchor's size and
// 2*v-.5 is the centre.
func scene(boxes ...placed) Raw {
	y := &graph.Yolo{Classes: len(boxes[0].scores), ScaleXY: 2, NewCoords: true}
	r := Raw{Yolo: y}
	for i, b := range boxes {
		y.Mask = append(y.Mask, i)
		y.Anchors = append(y.Anchors, [2]float64{b.w, b.h})
		r.Data = append(r.Data, float32((b.x/64+.5)/2), float32((b.y/64+.5)/2), .5, .5, 1)
		r.Data = append(r.Data, b.scores...)
	}
	r.Shape = graph.Shape{C: len(r.Data), H: 1, W: 1}
	return r
}

// scores lists what is left, as class*10 + score.
func scores(dets []Detection) []float64 {
	var s []float64
	for _, d := range dets {
		s = append(s, math.Round(1000*(10*float64(d.Class)+d.Score))/1000)
	}
	return s
}

func TestSuppress(t *testing.T) {
	// 8 pixels high: a shift by d leaves IoU (8-d)/(8+d).
	at := func(x float64, scores ...float32) placed { return placed{x, 32, 8, 8, scores} }
	for _, c := range []struct {
		name string
		nms  float64
		in   []placed
		want []float64
	}{
		// d 2: 6/10.
		{"overlap", .59, []placed{at(32, .9), at(34, .8)}, []float64{.9}},
		{"too little overlap", .61, []placed{at(32, .9), at(34, .8)}, []float64{.9, .8}},
		{"the better one stays", .59, []placed{at(32, .8), at(34, .9)}, []float64{.9}},
		{"equal scores, the first stays", .59, []placed{at(32, .9), at(34, .9), at(36, .9)}, []float64{.9, .9}},
		// 34 goes; 36 overlaps 34 by 6/10, but 32 by 4/12 only.
		{"what is gone suppresses nothing", .5, []placed{at(32, .9), at(34, .8), at(36, .7)}, []float64{.9, .7}},
		{"each class alone", .5, []placed{at(32, .9, .2), at(34, .3, .8)}, []float64{.9, 10.8}},
		{"the box lives on in another class", .5, []placed{at(32, .9, .0), at(34, .5, .8)}, []float64{.9, 10.8}},
		{"off", 0, []placed{at(32, .9), at(32, .8)}, []float64{.9, .8}},
		// IoU 1 is not above 1.
		{"one", 1, []placed{at(32, .9), at(32, .8)}, []float64{.9, .8}},
		{"no overlap", 1e-9, []placed{at(32, .9), at(40, .8)}, []float64{.9, .8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := square(64)
			o.NMS = c.nms
			got := scores(Detect([]Raw{scene(c.in...)}, o))
			if !slices.Equal(got, c.want) {
				t.Errorf("left %v, want %v", got, c.want)
			}
		})
	}
}

// Boxes 8x8, 4 apart: IoU 1/3, d2/c2 = 16/(12^2+8^2) = 1/13.
//
//	default 1/3;  greedynms 1/3 - 13^-.6 = .118732;  diounms beta 1: 1/3 - 1/13
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		kind       string
		beta       float64 // of the last head
		similarity float64
	}{
		{"", .6, 1. / 3},
		{NMSDefault, .6, 1. / 3},
		{NMSGreedy, .6, .118732},
		{NMSGreedy, 1, .118732},
		{NMSDIoU, 1, 1./3 - 1./13},
		{NMSDIoU, .6, .118732},
		{NMSDIoU, 0, .118732},
		{NMSDIoU, 2, 1./3 - 1./169},
	} {
		last := scene(placed{32, 32, 8, 8, []float32{.9}}, placed{36, 32, 8, 8, []float32{.8}})
		last.Yolo.BetaNMS = c.beta
		first := newRaw(1, 1, 1, [2]float64{8, 8})
		first.Yolo.BetaNMS = .3
		o := square(64)
		o.NMSKind = c.kind
		for _, side := range []struct {
			nms  float64
			want int
		}{{c.similarity - 1e-4, 1}, {c.similarity + 1e-4, 2}} {
			o.NMS = side.nms
			if got := Detect([]Raw{first, last}, o); len(got) != side.want {
				t.Errorf("%q, beta %g, threshold %g: %d left, want %d", c.kind, c.beta, o.NMS, len(got), side.want)
			}
		}
	}
}

// auto is the last head's kind, whatever the others have.
func TestKindFor(t *testing.T) {
	for _, c := range []struct {
		kind string
		last *graph.Yolo
		want string
	}{
		{"", nil, NMSDefault},
		{"", &graph.Yolo{NMSKind: NMSDIoU}, NMSDefault},
		{NMSGreedy, &graph.Yolo{NMSKind: NMSDIoU}, NMSGreedy},
		{NMSAuto, &graph.Yolo{NMSKind: NMSDIoU}, NMSDIoU},
		{NMSAuto, &graph.Yolo{NMSKind: NMSGreedy}, NMSGreedy},
		{NMSAuto, &graph.Yolo{}, NMSDefault},
		{NMSAuto, nil, NMSDefault},
	} {
		if got := KindFor(c.kind, c.last); got != c.want {
			t.Errorf("%q, last head %+v: %q, want %q", c.kind, c.last, got, c.want)
		}
	}

	// The boxes of TestKinds: 1/3 plainly, .118732 by greedynms.
	last := scene(placed{32, 32, 8, 8, []float32{.9}}, placed{36, 32, 8, 8, []float32{.8}})
	first := newRaw(1, 1, 1, [2]float64{8, 8})
	o := square(64)
	o.NMS, o.NMSKind = .2, NMSAuto
	for kind, want := range map[string]int{NMSDefault: 1, NMSGreedy: 2} {
		first.Yolo.NMSKind, last.Yolo.NMSKind = NMSDefault, kind
		if got := Detect([]Raw{first, last}, o); len(got) != want {
			t.Errorf("last head with %s: %d left, want %d", kind, len(got), want)
		}
	}
}

// Distances are those of relative boxes, as in Darknet: on an image twice as
// wide as the input they do not change.
func TestKindsAreRelative(t *testing.T) {
	r := scene(placed{32, 32, 8, 8, []float32{.9}}, placed{36, 32, 8, 8, []float32{.8}})
	o := Options{Conf: .1, NMS: .1188, NMSKind: NMSGreedy, ImageW: 128, ImageH: 64, NetW: 64, NetH: 64}
	if got := Detect([]Raw{r}, o); len(got) != 2 {
		t.Errorf("%d left, want 2", len(got))
	}
	o.NMS = .1187
	if got := Detect([]Raw{r}, o); len(got) != 1 {
		t.Errorf("%d left, want 1", len(got))
	}
}

// naiveDetect follows Darknet's code step by step: all detections with all
// class probabilities, pairwise walks that zero probabilities, and only then
// the list.
func naiveDetect(raws []Raw, o Options) []Detection {
	var dets []*naiveDetection
	for _, r := range raws {
		dets = append(dets, naiveDecode(r, o)...)
	}
	if o.Letterbox {
		naiveCorrect(dets, o)
	}
	beta := 0.0
	switch o.NMSKind {
	case NMSGreedy:
		beta = .6
	case NMSDIoU:
		beta = raws[len(raws)-1].Yolo.BetaNMS
	}
	for c := range raws[0].Yolo.Classes {
		naiveSuppress(slices.Clone(dets), c, o.NMS, beta)
	}
	out := naiveList(dets, o)
	if o.MaxDet > 0 && len(out) > o.MaxDet {
		out = out[:o.MaxDet]
	}
	return out
}

type naiveDetection struct {
	box  CentreBox
	prob []float64
}

func naiveDecode(r Raw, o Options) []*naiveDetection {
	var dets []*naiveDetection
	y := r.Yolo
	act := func(v float32) float64 { return 1 / (1 + math.Exp(-float64(v))) }
	size := func(v float32) float64 { return math.Exp(float64(v)) }
	if y.NewCoords {
		act = func(v float32) float64 { return float64(v) }
		size = func(v float32) float64 { return math.Pow(2*float64(v), 2) }
	}
	for i := range r.Shape.H * r.Shape.W * len(y.Mask) {
		t := r.Data[i*(5+y.Classes):]
		cell, anchor := i/len(y.Mask), y.Anchors[y.Mask[i%len(y.Mask)]]
		if act(t[4]) <= o.Conf {
			continue
		}
		d := &naiveDetection{box: CentreBox{
			(float64(cell%r.Shape.W) + act(t[0])*y.ScaleXY - .5*(y.ScaleXY-1)) / float64(r.Shape.W),
			(float64(cell/r.Shape.W) + act(t[1])*y.ScaleXY - .5*(y.ScaleXY-1)) / float64(r.Shape.H),
			size(t[2]) * anchor[0] / float64(o.NetW),
			size(t[3]) * anchor[1] / float64(o.NetH),
		}}
		for c := range y.Classes {
			p := act(t[4]) * act(t[5+c])
			if p <= o.Conf {
				p = 0
			}
			d.prob = append(d.prob, p)
		}
		dets = append(dets, d)
	}
	return dets
}

func naiveCorrect(dets []*naiveDetection, o Options) {
	w, h, _, _ := LetterboxSize(o.ImageW, o.ImageH, o.NetW, o.NetH)
	newW, newH, netW, netH := float64(w), float64(h), float64(o.NetW), float64(o.NetH)
	for _, d := range dets {
		d.box.X = (d.box.X - (netW-newW)/2/netW) / (newW / netW)
		d.box.Y = (d.box.Y - (netH-newH)/2/netH) / (newH / netH)
		d.box.W *= netW / newW
		d.box.H *= netH / newH
	}
}

func naiveSuppress(dets []*naiveDetection, c int, threshold, beta float64) {
	if threshold == 0 {
		return
	}
	slices.SortStableFunc(dets, func(a, b *naiveDetection) int { return cmp.Compare(b.prob[c], a.prob[c]) })
	for i, a := range dets {
		if a.prob[c] == 0 {
			continue
		}
		for _, b := range dets[i+1:] {
			s := IoU(a.box, b.box)
			if beta > 0 {
				s -= math.Pow(IoU(a.box, b.box)-DIoU(a.box, b.box), beta)
			}
			if s > threshold {
				b.prob[c] = 0
			}
		}
	}
}

func naiveList(dets []*naiveDetection, o Options) []Detection {
	var out []Detection
	for _, d := range dets {
		x1, x2 := between(d.box.X-d.box.W/2, o.ImageW), between(d.box.X+d.box.W/2, o.ImageW)
		y1, y2 := between(d.box.Y-d.box.H/2, o.ImageH), between(d.box.Y+d.box.H/2, o.ImageH)
		for c, p := range d.prob {
			if p > 0 && x2-x1 > 1e-6 && y2-y1 > 1e-6 {
				out = append(out, Detection{c, p, Box{x1, y1, x2 - x1, y2 - y1}})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Detection) int { return cmp.Compare(b.Score, a.Score) })
	return out
}

func between(relative float64, side int) float64 {
	return math.Max(0, math.Min(float64(side), relative*float64(side)))
}

func TestDetectAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var raws []Raw
		newCoords := rapid.Bool().Draw(t, "newCoords")
		for i, side := range []int{1, 2} {
			r := newRaw(side+1, side, 2, [2]float64{20, 30}, [2]float64{40, 16})
			r.Yolo.NewCoords, r.Yolo.ScaleXY, r.Yolo.BetaNMS = newCoords, 1.1+float64(i), .5+.4*float64(i)
			n := len(r.Data)
			for j, v := range rapid.SliceOfN(rapid.IntRange(-6, 6), n, n).Draw(t, "raw") {
				r.Data[j] = float32(v) / 3
				if newCoords {
					r.Data[j] = (r.Data[j] + 2) / 4
				}
			}
			raws = append(raws, r)
		}
		o := Options{
			Conf:    rapid.SampledFrom([]float64{0, .001, .0503, .2503}).Draw(t, "conf"),
			NMS:     rapid.SampledFrom([]float64{0, .1234567, .4503217, .7012345}).Draw(t, "nms"),
			NMSKind: rapid.SampledFrom([]string{NMSDefault, NMSGreedy, NMSDIoU}).Draw(t, "kind"),
			MaxDet:  rapid.IntRange(0, 6).Draw(t, "limit"),
			ImageW:  rapid.IntRange(20, 200).Draw(t, "w"), ImageH: rapid.IntRange(20, 200).Draw(t, "h"),
			NetW: 64, NetH: 96,
			Letterbox: rapid.Bool().Draw(t, "letterbox"),
		}
		got, want := Detect(raws, o), naiveDetect(raws, o)
		if len(got) != len(want) {
			t.Fatalf("%d detections %+v, want %d %+v", len(got), got, len(want), want)
		}
		for i := range want {
			if !same(got[i], want[i], 1e-9) {
				t.Errorf("detection %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}
