package eval

// curve is a category's precision over recall at one IoU threshold, a point
// after every detection; its buffers are used again.
type curve struct{ recall, precision []float64 }

// epsilon is numpy's spacing(1), which pycocotools adds to keep from dividing
// by zero.
const epsilon = 0x1p-52

// trace fills the curve from all detections and returns the recall at its end:
//
//	recall = tp/positives,   precision = tp/(tp+fp)
//
// Precision is then made to fall: each point takes the best of those after it.
func (c *curve) trace(m *matches, a, t int) float64 {
	c.recall, c.precision = c.recall[:0], c.precision[:0]
	var tp, fp, last float64
	for i := range m.dets {
		f := m.dets[i].fates[a]
		if f.ignored>>t&1 == 0 {
			right := f.matched >> t & 1
			tp += float64(right)
			fp += float64(1 - right)
		}
		last = tp / float64(m.positives[a])
		c.recall = append(c.recall, last)
		c.precision = append(c.precision, tp/(fp+tp+epsilon))
	}
	for i := len(c.precision) - 1; i > 0; i-- {
		c.precision[i-1] = max(c.precision[i-1], c.precision[i])
	}
	return last
}

// sumPrecision adds up the precision at every recall point: that of the first
// point of the curve that reaches it, or 0.
func (c *curve) sumPrecision(recalls *[numRecall]float64) float64 {
	sum, i := 0.0, 0
	for _, r := range recalls {
		for i < len(c.recall) && c.recall[i] < r {
			i++
		}
		if i == len(c.recall) {
			break
		}
		sum += c.precision[i]
	}
	return sum
}
