package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive computes the protocol again, straight from its definition: one class,
// range of area, limit and threshold at a time, nothing kept between them, and
// precision at a recall point as a maximum instead of an envelope.
type naive struct {
	gt   *GroundTruth
	dets []Detection
	p    *params
}

// result has the numbers over the IoU thresholds from first up to end.
func (n *naive) result(first, end int) map[string]float64 {
	last := numMax - 1
	return map[string]float64{
		"AP": n.precision(all, first, end), "AP50": n.precision(all, max(at50, first), min(at50+1, end)), "AP75": n.precision(all, max(at75, first), min(at75+1, end)),
		"APs": n.precision(small, first, end), "APm": n.precision(medium, first, end), "APl": n.precision(large, first, end),
		"AR1": n.recall(all, 0, first, end), "AR10": n.recall(all, 1, first, end), "AR100": n.recall(all, last, first, end),
		"ARs": n.recall(small, last, first, end), "ARm": n.recall(medium, last, first, end), "ARl": n.recall(large, last, first, end),
	}
}

func (n *naive) precision(area, from, to int) float64 {
	var values []float64
	for _, c := range n.gt.Categories {
		for t := from; t < to; t++ {
			right, positives := n.outcome(c.ID, area, numMax-1, t)
			if positives == 0 {
				continue
			}
			for _, r := range n.p.recalls {
				values = append(values, bestPrecision(right, positives, r))
			}
		}
	}
	return average(values)
}

func (n *naive) recall(area, limit, first, end int) float64 {
	var values []float64
	for _, c := range n.gt.Categories {
		for t := first; t < end; t++ {
			right, positives := n.outcome(c.ID, area, limit, t)
			if positives == 0 {
				continue
			}
			found := 0
			for _, r := range right {
				if r {
					found++
				}
			}
			values = append(values, float64(found)/float64(positives))
		}
	}
	return average(values)
}

func average(values []float64) float64 {
	if len(values) == 0 {
		return -1
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// bestPrecision is the highest precision of all prefixes with at least that
// recall.
func bestPrecision(right []bool, positives int, recall float64) float64 {
	best, found := 0.0, 0
	for i, r := range right {
		if r {
			found++
		}
		if float64(found)/float64(positives) >= recall {
			best = math.Max(best, float64(found)/float64(i+1))
		}
	}
	return best
}

// outcome lists, by falling score, whether each detection that counts is right.
func (n *naive) outcome(category int64, area, limit, t int) (right []bool, positives int) {
	type scored struct {
		Detection
		right bool
	}
	var list []scored
	images := slices.Clone(n.gt.Images)
	slices.Sort(images)
	for _, image := range images {
		truths := map[int]Truth{}
		for i, g := range n.gt.Truths {
			if g.Image == image && g.Category == category {
				truths[i] = g
				if !n.ignored(g, area) {
					positives++
				}
			}
		}
		used := map[int]bool{}
		dets := n.best(image, category)
		for i, d := range dets {
			g := n.pick(d, truths, used, area, t)
			if g >= 0 {
				used[g] = true
			}
			switch {
			case i >= n.p.maxDets[limit]: // it takes its truth, but is not listed
			case g >= 0 && n.ignored(n.gt.Truths[g], area):
			case !n.counts(g) && n.outOf(d.Box[2]*d.Box[3], area):
			default:
				list = append(list, scored{d, n.counts(g)})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b scored) int { return cmp.Compare(b.Score, a.Score) })
	for _, d := range list {
		right = append(right, d.right)
	}
	return right, positives
}

// counts says whether a match with truth g is seen as one.
func (n *naive) counts(g int) bool {
	return g >= 0 && !(n.p.loseZero && n.gt.Truths[g].ID == 0)
}

// best returns an image's detections of a class by falling score, up to the
// largest limit.
func (n *naive) best(image, category int64) []Detection {
	var dets []Detection
	for _, d := range n.dets {
		if d.Image == image && d.Category == category {
			dets = append(dets, d)
		}
	}
	slices.SortStableFunc(dets, func(a, b Detection) int { return cmp.Compare(b.Score, a.Score) })
	return dets[:min(len(dets), n.p.maxDets[numMax-1])]
}

// pick tries the truths that count, then the ignored ones; the last of those
// with the highest IoU wins.
func (n *naive) pick(d Detection, truths map[int]Truth, used map[int]bool, area, t int) int {
	for _, ignored := range []bool{false, true} {
		best, found := 0.0, -1
		for i := range n.gt.Truths {
			g, ok := truths[i]
			if !ok || n.ignored(g, area) != ignored || used[i] && !g.Crowd {
				continue
			}
			if iou := naiveIoU(d.Box, g); iou >= n.p.ious[t] && iou >= best {
				best, found = iou, i
			}
		}
		if found >= 0 {
			return found
		}
	}
	return -1
}

func (n *naive) ignored(g Truth, area int) bool { return g.Crowd || n.outOf(g.Area, area) }

func (n *naive) outOf(v float64, area int) bool {
	return v < n.p.areas[area][0] || v > n.p.areas[area][1]
}

func naiveIoU(d [4]float64, g Truth) float64 {
	side := func(i int) float64 {
		return math.Max(0, math.Min(d[i]+d[i+2], g.Box[i]+g.Box[i+2])-math.Max(d[i], g.Box[i]))
	}
	inter := side(0) * side(1)
	if inter == 0 {
		return 0
	}
	if g.Crowd {
		return inter / (d[2] * d[3])
	}
	return inter / (d[2]*d[3] + g.Box[2]*g.Box[3] - inter)
}

// Boxes of a coarse grid and few scores make equal IoUs, equal scores and areas
// on the bounds common; low limits make them bite.
func TestCOCOAgainstNaive(t *testing.T) { checkMany(t, checkAgainstNaive) }

// checkMany checks a thousand data sets: rapid draws 100 a time.
func checkMany(t *testing.T, check func(*rapid.T)) {
	rounds := 10
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		rapid.Check(t, check)
	}
}

func checkAgainstNaive(t *rapid.T) {
	o := Options{Exact: rapid.Bool().Draw(t, "exact"), MaxDets: [3]int{1, 10, 100}}
	if rapid.Bool().Draw(t, "lowLimits") {
		o.MaxDets = [3]int{1, 2, 4}
	}
	p := cocoParams(o.MaxDets)
	p.loseZero = o.Exact
	gt := drawGroundTruth(t)
	dets := drawDetections(t, gt)
	r, err := Measure(gt, dets, o)
	if err != nil {
		t.Fatal(err)
	}
	compareNumbers(t, "all", &r.Numbers, (&naive{gt, dets, p}).result(0, numIoU))
	for i := range r.PerIoU {
		compareNumbers(t, fmt.Sprintf("at IoU %g", p.ious[i]), &r.PerIoU[i].Numbers, (&naive{gt, dets, p}).result(i, i+1))
	}
	for i, c := range r.PerClass {
		one := *gt
		one.Categories = []Category{c.Category}
		compareNumbers(t, fmt.Sprintf("class %d", i), &r.PerClass[i].Numbers, (&naive{&one, dets, p}).result(0, numIoU))
	}
}

func compareNumbers(t *rapid.T, what string, got *Numbers, want map[string]float64) {
	for _, n := range numbers {
		if !near(n.of(got), want[n.name]) {
			t.Errorf("%s: %s = %.15g, the naive evaluator has %.15g", what, n.name, n.of(got), want[n.name])
		}
	}
}

// AP is the mean over the classes that have truths, and only the order of the
// scores counts.
func TestCOCOProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gt := drawGroundTruth(t)
		dets := drawDetections(t, gt)
		r, err := COCO(gt, dets)
		if err != nil {
			t.Fatal(err)
		}
		var aps []float64
		for _, c := range r.PerClass {
			if (c.AP < 0) != (c.Truths == 0) {
				t.Errorf("class %d has %d truths and AP %g", c.Category.ID, c.Truths, c.AP)
			}
			if c.AP >= 0 {
				aps = append(aps, c.AP)
			}
		}
		if !near(r.AP, average(aps)) {
			t.Errorf("AP %g, the mean over classes is %g", r.AP, average(aps))
		}
		for i := range dets {
			dets[i].Score = math.Exp(dets[i].Score) - 7
		}
		again, err := COCO(gt, dets)
		if err != nil || again.AP != r.AP || again.AR10 != r.AR10 {
			t.Errorf("with scores in the same order AP is %g, was %g", again.AP, r.AP)
		}
	})
}

func drawGroundTruth(t *rapid.T) *GroundTruth {
	gt := &GroundTruth{
		Images: rapid.SliceOfNDistinct(rapid.Int64Range(0, 20), 1, 4, rapid.ID).Draw(t, "images"),
	}
	for _, id := range rapid.SliceOfNDistinct(rapid.Int64Range(0, 9), 1, 3, rapid.ID).Draw(t, "categories") {
		gt.Categories = append(gt.Categories, Category{ID: id})
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "truths") {
		box := drawBox(t)
		g := Truth{ID: int64(i), Image: drawImage(t, gt), Category: drawCategory(t, gt), Box: box, Area: box[2] * box[3]}
		g.Crowd = rapid.IntRange(0, 4).Draw(t, "crowd") == 0
		if rapid.IntRange(0, 3).Draw(t, "outline") == 0 {
			g.Area = rapid.SampledFrom([]float64{0, 1023, 1024, 1025, 9215, 9216, 9217, 1e10, 2e10}).Draw(t, "area")
		}
		gt.Truths = append(gt.Truths, g)
	}
	return gt
}

func drawDetections(t *rapid.T, gt *GroundTruth) []Detection {
	var dets []Detection
	for range rapid.IntRange(0, 25).Draw(t, "detections") {
		d := Detection{Image: drawImage(t, gt), Category: drawCategory(t, gt), Box: drawBox(t)}
		if len(gt.Truths) > 0 && rapid.Bool().Draw(t, "aimed") {
			d.Box = rapid.SampledFrom(gt.Truths).Draw(t, "at").Box
			d.Box[rapid.IntRange(0, 3).Draw(t, "side")] += float64(rapid.IntRange(0, 3).Draw(t, "shift") * 4)
		}
		d.Score = float64(rapid.IntRange(0, 5).Draw(t, "score")) / 5
		dets = append(dets, d)
	}
	return dets
}

func drawImage(t *rapid.T, gt *GroundTruth) int64 {
	return rapid.SampledFrom(gt.Images).Draw(t, "image")
}

func drawCategory(t *rapid.T, gt *GroundTruth) int64 {
	return rapid.SampledFrom(gt.Categories).Draw(t, "category").ID
}

func drawBox(t *rapid.T) [4]float64 {
	at := rapid.IntRange(-2, 6)
	size := rapid.SampledFrom([]float64{0, 8, 16, 24, 32, 40, 64, 96, 100})
	return [4]float64{
		float64(at.Draw(t, "x") * 8), float64(at.Draw(t, "y") * 8),
		size.Draw(t, "w"), size.Draw(t, "h"),
	}
}
