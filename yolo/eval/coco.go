package eval

// The dimensions of the protocol, in cocoeval.py's letters: T IoU thresholds,
// R recall points, A ranges of area, M limits on detections.
const (
	numIoU    = 10
	numRecall = 101
	numArea   = 4
	numMax    = 3

	at50, at75 = 0, 5 // positions of IoU .50 and .75

	all, small, medium, large = 0, 1, 2, 3
)

// params are the protocol's numbers.
type params struct {
	ious    [numIoU]float64     // a match needs at least this IoU
	recalls [numRecall]float64  // where precision is read
	areas   [numArea][2]float64 // both ends belong to the range
	maxDets [numMax]int         // rising; per image and category
}

func cocoParams() *params {
	p := &params{
		areas:   [numArea][2]float64{{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}},
		maxDets: [numMax]int{1, 10, 100},
	}
	linspace(p.ious[:], .5, .95)
	linspace(p.recalls[:], 0, 1)
	return p
}

// linspace is numpy's: start + i*step, and the last value exactly stop. The
// rounding belongs to the protocol: the ninth IoU threshold is just below .9,
// and recall point 35 is just above .35, so that 35 objects found of 100 do not
// reach it.
func linspace(v []float64, start, stop float64) {
	step := (stop - start) / float64(len(v)-1)
	for i := range v {
		scaled := float64(i) * step
		v[i] = start + scaled
	}
	v[len(v)-1] = stop
}

// COCO measures detections against the ground truth. The order of detections
// matters where scores are equal: within an image the earlier one is better,
// across images the lower image id.
//
// The error is a *FormatError for the first item that does not fit: an unknown
// or repeated id, a number that is not finite, a negative size.
func COCO(gt *GroundTruth, dets []Detection) (*Result, error) {
	return evaluate(gt, dets, cocoParams())
}

func evaluate(gt *GroundTruth, dets []Detection, p *params) (*Result, error) {
	if gt == nil {
		gt = &GroundTruth{}
	}
	if err := gt.check(inMemory); err != nil {
		return nil, err
	}
	if err := CheckDetections("", gt, dets); err != nil {
		return nil, err
	}
	cells := newCells(gt, dets)
	m, sum := &matcher{p: p}, &summary{p: p}
	for k, c := range cells.categories {
		sum.add(c, m.category(cells.truthsOf(k), cells.detsOf(k)))
	}
	return sum.result(), nil
}

// summary gathers the means over all categories.
type summary struct {
	p       *params
	curve   curve
	ap      [numArea]mean // over all IoU thresholds
	ap50    mean
	ap75    mean
	ar      [numMax]mean  // all areas
	arSized [numArea]mean // the largest limit
	classes []ClassAP
}

func (s *summary) add(c Category, m *matches) {
	var ap, ap50, ap75 mean
	for a := range numArea {
		if m.positives[a] == 0 {
			continue
		}
		for t := range numIoU {
			recall := s.curve.trace(m, a, t)
			precision := s.curve.sumPrecision(&s.p.recalls)
			s.ap[a].add(precision, numRecall)
			s.arSized[a].add(recall, 1)
			if a == all {
				ap.add(precision, numRecall)
			}
			if a == all && t == at50 {
				ap50.add(precision, numRecall)
			}
			if a == all && t == at75 {
				ap75.add(precision, numRecall)
			}
		}
	}
	s.ap50.merge(ap50)
	s.ap75.merge(ap75)
	s.addRecalls(m)
	s.classes = append(s.classes, ClassAP{c, ap.value(), ap50.value(), m.positives[all]})
}

func (s *summary) addRecalls(m *matches) {
	if m.positives[all] == 0 {
		return
	}
	for i, limit := range s.p.maxDets {
		for t := range numIoU {
			s.ar[i].add(m.recall(all, t, limit), 1)
		}
	}
}

func (s *summary) result() *Result {
	return &Result{
		AP: s.ap[all].value(), AP50: s.ap50.value(), AP75: s.ap75.value(),
		APs: s.ap[small].value(), APm: s.ap[medium].value(), APl: s.ap[large].value(),
		AR1: s.ar[0].value(), AR10: s.ar[1].value(), AR100: s.ar[2].value(),
		ARs: s.arSized[small].value(), ARm: s.arSized[medium].value(), ARl: s.arSized[large].value(),
		PerClass: s.classes,
	}
}

// mean is a mean of the values that exist; without any it is -1.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(sum float64, n int) {
	m.sum += sum
	m.n += n
}

func (m *mean) merge(o mean) { m.add(o.sum, o.n) }

func (m mean) value() float64 {
	if m.n == 0 {
		return -1
	}
	return m.sum / float64(m.n)
}
