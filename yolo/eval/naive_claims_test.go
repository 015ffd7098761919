package eval

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// ordered returns the detections of a class by falling score, then by rising
// image id, then as they stand.
func (n *naive) ordered(category int64) []Detection {
	var dets []Detection
	for _, d := range n.dets {
		if d.Category == category {
			dets = append(dets, d)
		}
	}
	slices.SortStableFunc(dets, func(a, b Detection) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Image, b.Image))
	})
	return dets
}

// near returns the truth of a detection's image and class with the greatest IoU
// among those that pass, or -1.
func (n *naive) near(d Detection, pass func(Truth) bool) (best int, iou float64) {
	best = -1
	for i, g := range n.gt.Truths {
		g.Crowd = false // union IoU
		if g.Image == d.Image && g.Category == d.Category && pass(n.gt.Truths[i]) {
			if o := naiveIoU(d.Box, g); o > iou {
				best, iou = i, o
			}
		}
	}
	return best, iou
}

func must(g Truth) bool { return !g.Crowd && !g.Difficult }

// voc walks through voc_eval.py for one class.
func (n *naive) voc(category int64, over float64, eleven bool) float64 {
	npos := 0
	for _, g := range n.gt.Truths {
		if g.Category == category && must(g) {
			npos++
		}
	}
	if npos == 0 {
		return -1
	}
	used := map[int]bool{}
	var recall, precision []float64
	tp, fp := 0.0, 0.0
	for _, d := range n.ordered(category) {
		best, iou := n.near(d, func(Truth) bool { return true })
		switch {
		case iou <= over:
			fp++
		case !must(n.gt.Truths[best]):
			continue
		case used[best]:
			fp++
		default:
			used[best] = true
			tp++
		}
		recall, precision = append(recall, tp/float64(npos)), append(precision, tp/(tp+fp))
	}
	if eleven {
		return naiveMean(recall, precision, tenths())
	}
	return naiveArea(recall, precision)
}

func naiveMean(recall, precision, points []float64) float64 {
	sum := 0.0
	for _, p := range points {
		best := 0.0
		for i := range recall {
			if recall[i] >= p {
				best = max(best, precision[i])
			}
		}
		sum += best
	}
	return sum / float64(len(points))
}

// naiveArea has the sentinels (0,0) and (1,0) of voc_eval.py.
func naiveArea(recall, precision []float64) float64 {
	r := slices.Concat([]float64{0}, recall, []float64{1})
	p := slices.Concat([]float64{0}, precision, []float64{0})
	sum := 0.0
	for i := 1; i < len(r); i++ {
		sum += (r[i] - r[i-1]) * slices.Max(p[i:])
	}
	return sum
}

// darknet walks through validate_detector_map: all classes in one list, and the
// counts of every class after every detection of it.
func (n *naive) darknet(over float64, points int) float64 {
	sum := 0.0
	for _, c := range n.gt.Categories {
		var recall, precision []float64
		npos, tp, fp := 0, 0, 0
		for _, g := range n.gt.Truths {
			if g.Category == c.ID && must(g) {
				npos++
			}
		}
		used := map[int]bool{}
		for _, d := range n.ordered(c.ID) {
			best, iou := n.near(d, must)
			if _, difficult := n.near(d, func(g Truth) bool { return !must(g) }); iou <= over && difficult > over {
				continue
			}
			if iou > over && !used[best] {
				used[best] = true
				tp++
			} else {
				fp++
			}
			if npos > 0 {
				recall, precision = append(recall, float64(tp)/float64(npos)), append(precision, float64(tp)/float64(tp+fp))
			}
		}
		if points == 0 {
			sum += naiveArea(recall, precision)
			continue
		}
		at := make([]float64, points)
		for i := range at {
			at[i] = float64(i) / float64(points-1)
		}
		sum += naiveMean(recall, precision, at)
	}
	return sum / float64(len(n.gt.Categories))
}

func TestVOCAgainstNaive(t *testing.T) {
	checkMany(t, func(t *rapid.T) {
		n, o := drawClaims(t), Options{IoU: rapid.SampledFrom([]float64{.25, .5, .75}).Draw(t, "iou")}
		for _, o.Protocol = range []string{ProtocolVOC07, ProtocolVOC12} {
			r, err := Measure(n.gt, n.dets, o)
			if err != nil {
				t.Fatal(err)
			}
			var all []float64
			for _, c := range r.PerClass {
				want := n.voc(c.Category.ID, o.IoU, o.Protocol == ProtocolVOC07)
				if !near(c.MeanAP, want) {
					t.Errorf("%s: class %d: %.15g, want %.15g", o.Protocol, c.Category.ID, c.MeanAP, want)
				}
				if want >= 0 {
					all = append(all, want)
				}
			}
			if !near(r.MeanAP, average(all)) {
				t.Errorf("%s: mAP %.15g, want %.15g", o.Protocol, r.MeanAP, average(all))
			}
		}
	})
}

func TestDarknetAgainstNaive(t *testing.T) {
	checkMany(t, func(t *rapid.T) {
		n := drawClaims(t)
		for _, points := range []int{0, 11, 101} {
			r, err := Measure(n.gt, n.dets, Options{Protocol: ProtocolDarknet, Points: points})
			if err != nil {
				t.Fatal(err)
			}
			if want := n.darknet(.5, points); !near(r.MeanAP, want) {
				t.Errorf("%d points: mAP %.15g, want %.15g", points, r.MeanAP, want)
			}
		}
	})
}

func drawClaims(t *rapid.T) *naive {
	gt := drawGroundTruth(t)
	for i := range gt.Truths {
		gt.Truths[i].Difficult = rapid.IntRange(0, 4).Draw(t, "difficult") == 0
	}
	return &naive{gt, drawDetections(t, gt), cocoParams([numMax]int{1, 10, 100})}
}

// The F1 from a score on is that of the detections of at least this score, each
// class matched anew.
func TestF1AgainstNaive(t *testing.T) {
	checkMany(t, func(t *rapid.T) {
		n := drawClaims(t)
		c, err := TraceCurves(n.gt, n.dets, .5)
		if err != nil {
			t.Fatal(err)
		}
		want := 0.0
		for s := 0; s <= 5; s++ {
			want = max(want, n.f1(float64(s)/5))
		}
		if !near(c.All.Best().F1, want) {
			t.Errorf("best F1 %.15g, want %.15g", c.All.Best().F1, want)
		}
	})
}

func (n *naive) f1(from float64) float64 {
	kept := *n
	kept.dets = nil
	for _, d := range n.dets {
		if d.Score >= from {
			kept.dets = append(kept.dets, d)
		}
	}
	tp, listed, positives := 0, 0, 0
	for _, c := range n.gt.Categories {
		right, p := kept.outcome(c.ID, all, numMax-1, at50)
		if p == 0 {
			continue
		}
		positives += p
		listed += len(right)
		for _, r := range right {
			if r {
				tp++
			}
		}
	}
	if tp == 0 {
		return 0
	}
	return float64(2*tp) / float64(listed+positives)
}

// Every truth that has to be found is in its row once, and of two boxes that
// overlap above the threshold one at least is paired.
func TestConfusionProperties(t *testing.T) {
	checkMany(t, func(t *rapid.T) {
		n := drawClaims(t)
		c, err := Confuse(n.gt, n.dets, .25, .45)
		if err != nil {
			t.Fatal(err)
		}
		counted := 0
		for k, class := range c.Categories {
			truths, dets := 0, 0
			for _, g := range n.gt.Truths {
				if g.Category == class.ID && must(g) {
					truths++
				}
			}
			for _, d := range n.dets {
				if d.Category == class.ID && d.Score > .25 {
					dets++
				}
			}
			row, column := 0, 0
			for i := range c.Counts {
				row, column = row+c.Counts[k][i], column+c.Counts[i][k]
			}
			if row != truths || column > dets {
				t.Errorf("class %d: %d in its row, %d in its column; want %d and at most %d", class.ID, row, column, truths, dets)
			}
			counted += row
		}
		if c.Counts[len(c.Categories)][len(c.Categories)] != 0 {
			t.Error("background was taken for background")
		}
	})
}
