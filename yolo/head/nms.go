package head

import (
	"cmp"
	"math"
	"slices"

	"yoloprune/yolo/graph"
)

// suppressor is one kind of non-maximum suppression.
type suppressor struct {
	threshold float64 // 0: nothing is suppressed
	beta      float64 // exponent of the distance; 0 leaves it out
	o         *Options
}

func newSuppressor(raws []Raw, o *Options) *suppressor {
	s := &suppressor{threshold: o.NMS, o: o}
	var last *graph.Yolo
	if n := len(raws); n > 0 {
		last = raws[n-1].Yolo
	}
	switch KindFor(o.NMSKind, last) {
	case NMSGreedy:
		s.beta = defaultBeta
	case NMSDIoU:
		s.beta = defaultBeta
		if last != nil && last.BetaNMS > 0 {
			s.beta = last.BetaNMS
		}
	}
	return s
}

// covers says whether a suppresses b. The distance only lowers the similarity,
// so it need not be known below the threshold.
func (s *suppressor) covers(a, b *corners) bool {
	iou := a.iou(b)
	if !(iou > s.threshold) || s.beta == 0 {
		return iou > s.threshold
	}
	return iou-math.Pow(a.distance(b), s.beta) > s.threshold
}

// suppress returns the candidates that stay, class by class.
func (p *predictions) suppress(s *suppressor) []int {
	order, end := p.byClass()
	if s.threshold == 0 {
		return order
	}
	var kept []int
	start := 0
	for _, e := range end {
		class := order[start:e]
		slices.SortFunc(class, func(a, b int) int {
			return cmp.Or(cmp.Compare(p.candidates[b].score, p.candidates[a].score), cmp.Compare(a, b))
		})
		kept = p.keep(kept, class, s)
		start = e
	}
	return kept
}

// keep adds those of a class, sorted by falling score, that no better kept one
// covers. Once as many are in sight as may be reported in all, the rest of the
// class cannot be.
func (p *predictions) keep(kept, class []int, s *suppressor) []int {
	first, visible := len(kept), 0
	for _, c := range class {
		if s.o.MaxDet > 0 && visible == s.o.MaxDet {
			break
		}
		box := &p.boxes[p.candidates[c].box]
		if slices.ContainsFunc(kept[first:], func(k int) bool {
			return s.covers(&p.boxes[p.candidates[k].box], box)
		}) {
			continue
		}
		kept = append(kept, c)
		if box.on(s.o).visible() {
			visible++
		}
	}
	return kept
}

// byClass lists the candidates by class, in their own order inside each, and
// where each class ends.
func (p *predictions) byClass() (order, end []int) {
	end = make([]int, p.classes)
	for i := range p.candidates {
		end[p.candidates[i].class]++
	}
	for c := 1; c < len(end); c++ {
		end[c] += end[c-1]
	}
	next := slices.Clone(end)
	order = make([]int, len(p.candidates))
	for i := len(p.candidates) - 1; i >= 0; i-- {
		c := p.candidates[i].class
		next[c]--
		order[next[c]] = i
	}
	return order, end
}
