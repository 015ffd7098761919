package eval

// aimVOC points at the truth of the greatest IoU, the first of equal ones,
// whether it has to be found or not: a difficult one makes the detection count
// for nothing.
//
// VOC counts pixels inclusively, from (xmin, ymin) to (xmax, ymax). A box
// x, y, w, h covers the pixels x+1 to x+w of VOC's numbering, so its sides are
// w and h, and IoU is the ordinary one.
func aimVOC(d *det, truths []truth, over float64) aim {
	a := aim{truth: -1}
	for g := range truths {
		if iou := overlap(&d.box, &truths[g].box, false); iou > a.iou {
			a.truth, a.iou = g, iou
		}
	}
	if a.truth < 0 || !(a.iou > over) {
		return aim{truth: -1}
	}
	a.ignored = !truths[a.truth].toFind()
	return a
}

// voc is VOC's average precision: in 2007 the mean of the best precision at
// recall 0, .1, ... 1, from 2010 on the area under the curve. Of classes without
// anything to find it is undefined, and they are left out of the mean.
//
// Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV
// 88(2), 2010, section 4.2; the order of steps is voc_eval.py's of
// py-faster-rcnn, in which a match must exceed the threshold. Its sort is not
// stable; here equal scores keep the order of image and file.
func (c *cells) voc(o Options) *Result {
	points := tenths()
	return c.claims(aimVOC, o.IoU, func(r *ranking) float64 {
		switch {
		case r.positives == 0:
			return -1
		case o.Protocol == ProtocolVOC07:
			return r.steps().meanAt(points)
		}
		return r.steps().area()
	})
}

// tenths are numpy's arange(0, 1.1, .1): i*.1, of which three lie above i/10 in
// the last bit, so that 3 of 10 found do not reach the point .3.
func tenths() []float64 {
	p := make([]float64, 11)
	for i := range p {
		p[i] = float64(i) * .1
	}
	return p
}

// claims ranks every class and computes its average precision, -1 for none.
func (c *cells) claims(aim aimer, over float64, ap func(*ranking) float64) *Result {
	classes := make([]ClassAP, len(c.categories))
	c.eachClass(func() func(int) {
		ranker := &claimer{aim: aim, over: over}
		return func(k int) {
			r := ranker.category(c.truthsOf(k), c.detsOf(k))
			classes[k] = ClassAP{c.categories[k], at(over, ap(r)), ap(r), r.positives}
		}
	})
	var m mean
	for i := range classes {
		if classes[i].MeanAP >= 0 {
			m.add(classes[i].MeanAP, 1)
		}
	}
	n := at(over, m.value())
	return &Result{Numbers: n, MeanAP: m.value(), PerIoU: []AtIoU{{over, n}}, PerClass: classes}
}

// at are the numbers of a protocol with one IoU threshold.
func at(iou, ap float64) Numbers {
	n := undefined
	if iou == .5 {
		n.AP50 = ap
	}
	return n
}
