package eval

// VOC and Darknet pair otherwise than COCO: every detection points at the truth
// it overlaps most, taken or not, and of those that point at one truth the best
// is right and the others are wrong.

// verdict is what becomes of a detection.
type verdict uint8

const (
	wrong verdict = iota
	right
	ignored // counts for nothing
)

// aim is the truth that a detection points at.
type aim struct {
	truth   int // its position among those of the category, or -1
	iou     float64
	ignored bool
}

// aimer is a protocol's rule for the detection d among an image's truths.
type aimer func(d *det, truths []truth, over float64) aim

// toFind says whether a truth has to be found. Crowds count as difficult: these
// protocols do not know them.
func (t *truth) toFind() bool { return !t.crowd && !t.difficult }

// ranking is a category's detections by falling score; equal scores keep the
// order of image and file.
type ranking struct {
	scores    []float64
	verdicts  []verdict
	positives int // truths that have to be found
}

// claimer ranks a category; its buffers are used again.
type claimer struct {
	sorter
	aim  aimer
	over float64 // the IoU that a match must exceed

	scores []float64
	aims   []aim
}

func (c *claimer) category(truths []truth, dets []det) *ranking {
	c.aimAll(truths, dets)
	c.scores = c.scores[:0]
	for i := range dets {
		c.scores = append(c.scores, dets[i].score)
	}
	r := &ranking{positives: countToFind(truths)}
	taken := make([]bool, len(truths))
	for _, i := range c.falling(c.scores) {
		r.scores = append(r.scores, c.scores[i])
		r.verdicts = append(r.verdicts, judge(c.aims[i], taken))
	}
	return r
}

// judge gives the truth to the first that points at it.
func judge(a aim, taken []bool) verdict {
	switch {
	case a.ignored:
		return ignored
	case a.truth < 0 || taken[a.truth]:
		return wrong
	}
	taken[a.truth] = true
	return right
}

// aimAll finds the aims of a category's detections, which are sorted by image,
// as the truths are.
func (c *claimer) aimAll(truths []truth, dets []det) {
	c.aims = c.aims[:0]
	passed := 0
	for passed < len(truths) || len(dets) > 0 {
		g, d := imageOf(truths[passed:], dets)
		for i := range dets[:d] {
			a := c.aim(&dets[i], truths[passed:passed+g], c.over)
			if a.truth >= 0 {
				a.truth += passed
			}
			c.aims = append(c.aims, a)
		}
		passed, dets = passed+g, dets[d:]
	}
}

// steps are the recall and precision after every detection that counts.
type steps struct{ recall, precision []float64 }

func (r *ranking) steps() steps {
	var s steps
	var tp, fp float64
	for _, v := range r.verdicts {
		switch v {
		case right:
			tp++
		case wrong:
			fp++
		default:
			continue
		}
		s.recall = append(s.recall, tp/float64(r.positives))
		s.precision = append(s.precision, tp/(tp+fp))
	}
	return s
}

// area is the area under the curve after precision has been made to fall:
//
//	sum over i of (recall[i]-recall[i-1]) * max(precision[i:])
func (s steps) area() float64 {
	sum, best := 0.0, 0.0
	for i := len(s.recall) - 1; i >= 0; i-- {
		best = max(best, s.precision[i])
		before := 0.0
		if i > 0 {
			before = s.recall[i-1]
		}
		sum += (s.recall[i] - before) * best
	}
	return sum
}

// meanAt is the mean over recall points, which rise, of the best precision at no
// less than that recall, or 0 where it is not reached.
func (s steps) meanAt(points []float64) float64 {
	sum, best := 0.0, 0.0
	i := len(s.recall) - 1
	for k := len(points) - 1; k >= 0; k-- {
		for ; i >= 0 && s.recall[i] >= points[k]; i-- {
			best = max(best, s.precision[i])
		}
		sum += best
	}
	return sum / float64(len(points))
}
