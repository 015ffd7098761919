package eval

// Counts are what Darknet prints for one score threshold.
type Counts struct {
	Score float64 `json:"score"` // counted are detections above it
	Rates
	AverageIoU float64 `json:"average_iou"` // summed over the right ones, divided by all
}

// aimDarknet points at the truth of the greatest IoU, the first of equal ones,
// among those that have to be found. A detection that overlaps none of them but a
// difficult one is removed.
func aimDarknet(d *det, truths []truth, over float64) aim {
	a := aim{truth: -1, iou: over}
	difficult := false
	for g := range truths {
		iou := overlap(&d.box, &truths[g].box, false)
		if !truths[g].toFind() {
			difficult = difficult || iou > over
		} else if iou > a.iou {
			a.truth, a.iou = g, iou
		}
	}
	a.ignored = a.truth < 0 && difficult
	return a
}

// darknet is `detector map` of AlexeyAB's fork (validate_detector_map in
// src/detector.c). The mean is over all classes; one without truths counts as 0.
//
// Darknet computes in single precision on boxes relative to the image, and its
// sort is not stable; here equal scores keep the order of image and file.
func (c *cells) darknet(o Options) *Result {
	var points []float64
	for i := range o.Points {
		points = append(points, float64(i)/float64(o.Points-1))
	}
	r := c.claims(aimDarknet, o.IoU, func(r *ranking) float64 {
		switch {
		case r.positives == 0:
			return 0
		case points == nil:
			return r.steps().area()
		}
		return r.steps().meanAt(points)
	})
	r.AtScore = c.count(o)
	return r
}

// count makes Darknet's line of true and false positives. Unlike for the
// precision, the first to claim a truth is the first of its image and class in
// the order of the file, whatever its score; and detections on difficult
// truths are wrong.
func (c *cells) count(o Options) *Counts {
	n := &Counts{Score: o.Threshold}
	ious := make([]float64, len(c.categories))
	tp, fp, positives := make([]int, len(ious)), make([]int, len(ious)), make([]int, len(ious))
	c.eachClass(func() func(int) {
		ranker := &claimer{aim: aimDarknet, over: o.IoU}
		return func(k int) {
			truths, dets := c.truthsOf(k), c.detsOf(k)
			ranker.aimAll(truths, dets)
			positives[k] = countToFind(truths)
			taken := make([]bool, len(truths))
			for i, a := range ranker.aims {
				v := judge(a, taken)
				switch {
				case !(dets[i].score > o.Threshold):
				case v == right:
					tp[k]++
					ious[k] += a.iou
				default:
					fp[k]++
				}
			}
		}
	})
	sum := 0.0
	for k := range ious {
		n.TP, n.FP, n.FN, sum = n.TP+tp[k], n.FP+fp[k], n.FN+positives[k]-tp[k], sum+ious[k]
	}
	n.Rates = ratesOf(n.TP, n.FP, n.FN)
	n.AverageIoU = ratio(sum, float64(n.TP+n.FP))
	return n
}

func countToFind(truths []truth) int {
	n := 0
	for i := range truths {
		if truths[i].toFind() {
			n++
		}
	}
	return n
}
