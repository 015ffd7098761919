package eval

import "fmt"

// Rates are counts of right and wrong detections and of truths not found, and
// what follows from them, 0 where nothing defines it:
//
//	P = TP/(TP+FP),   R = TP/(TP+FN),   F1 = 2PR/(P+R) = 2TP/(2TP+FP+FN)
type Rates struct {
	TP        int     `json:"tp"`
	FP        int     `json:"fp"`
	FN        int     `json:"fn"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

func ratesOf(tp, fp, fn int) Rates {
	t, f, n := float64(tp), float64(fp), float64(fn)
	return Rates{tp, fp, fn, ratio(t, t+f), ratio(t, t+n), ratio(2*t, 2*t+f+n)}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Point is what the detections of at least a score come to.
type Point struct {
	Score float64 `json:"score"`
	Rates
}

// Curve is the precision of one category over its recall, a point for every
// score by falling score: detections of one score cannot be told apart by a
// threshold.
type Curve struct {
	Category Category
	Truths   int // that have to be found
	Points   []Point
}

// Curves are those of all categories, at one IoU threshold. All is that of all
// detections of categories with truths in one list.
type Curves struct {
	IoU     float64
	Classes []Curve // by rising category id
	All     Curve
}

// TraceCurves matches as the COCO protocol does, at one IoU threshold and over
// all areas. The error is that of Measure.
func TraceCurves(gt *GroundTruth, dets []Detection, iou float64) (*Curves, error) {
	if !(iou > 0 && iou < 1) {
		return nil, fmt.Errorf("IoU threshold %g: must be in (0, 1)", iou)
	}
	c, err := checkedCells(gt, dets)
	if err != nil {
		return nil, err
	}
	p := cocoParams([numMax]int{1, 10, 100})
	p.ious, p.areas = []float64{iou}, p.areas[:1]
	counted := make([]counted, len(c.categories))
	c.eachClass(func() func(int) {
		m := &matcher{p: p}
		return func(k int) { counted[k] = countMatches(m.category(c.truthsOf(k), c.detsOf(k))) }
	})
	out := &Curves{IoU: iou}
	for k := range counted {
		out.Classes = append(out.Classes, Curve{c.categories[k], counted[k].positives, counted[k].points()})
	}
	together := join(counted)
	out.All = Curve{Category{Name: "all"}, together.positives, together.points()}
	return out, nil
}

// Best returns the point of the highest F1, of equal ones the highest score.
func (c *Curve) Best() Point {
	var out Point
	for _, p := range c.Points {
		if p.F1 > out.F1 {
			out = p
		}
	}
	return out
}

// counted are the detections that count, by falling score.
type counted struct {
	scores    []float64
	right     []bool
	positives int
}

func countMatches(m *matches) counted {
	c := counted{positives: m.positives[all]}
	for i := range m.dets {
		f := m.dets[i].fates[all]
		if f.ignored&1 == 0 {
			c.scores = append(c.scores, m.dets[i].score)
			c.right = append(c.right, f.matched&1 == 1)
		}
	}
	return c
}

// join merges categories; those without truths are left out, as they are from
// the mean of the precision.
func join(list []counted) counted {
	var sum, out counted
	for _, c := range list {
		if c.positives > 0 {
			sum.scores = append(sum.scores, c.scores...)
			sum.right = append(sum.right, c.right...)
			sum.positives += c.positives
		}
	}
	for _, i := range new(sorter).falling(sum.scores) {
		out.scores = append(out.scores, sum.scores[i])
		out.right = append(out.right, sum.right[i])
	}
	out.positives = sum.positives
	return out
}

// points makes a point at the last detection of every score.
func (c counted) points() []Point {
	var out []Point
	tp := 0
	for i, r := range c.right {
		if r {
			tp++
		}
		if i+1 == len(c.scores) || c.scores[i+1] != c.scores[i] {
			out = append(out, Point{c.scores[i], ratesOf(tp, i+1-tp, c.positives-tp)})
		}
	}
	return out
}
