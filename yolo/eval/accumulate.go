package eval

import "math"

// curve is a category's precision over recall at one IoU threshold; its buffers
// are used again. Only right detections make points: a wrong one leaves recall
// where it was, at a lower precision.
type curve struct{ recall, precision []float64 }

// epsilon is numpy's spacing(1), which pycocotools adds to keep from dividing
// by zero.
const epsilon = 0x1p-52

// curves are those of all IoU thresholds.
type curves [numIoU]curve

// trace fills the curves within a range of area from all detections:
//
//	recall = tp/positives,   precision = tp/(tp+fp)
//
// Most detections are wrong at every threshold, so those are counted once.
func (c *curves) trace(m *matches, a int) {
	for t := range c {
		c[t].recall, c[t].precision = c[t].recall[:0], c[t].precision[:0]
	}
	positives := float64(m.positives[a])
	var tp, fp [numIoU]float64
	var always float64
	for i := range m.dets {
		f := m.dets[i].fates[a]
		switch f {
		case fate{}:
			always++
			continue
		case fate{ignored: math.MaxUint16}:
			continue
		}
		for t := range c {
			switch {
			case f.ignored>>t&1 == 1:
			case f.matched>>t&1 == 0:
				fp[t]++
			default:
				tp[t]++
				c[t].add(tp[t]/positives, tp[t]/(fp[t]+always+tp[t]+epsilon))
			}
		}
	}
	for t := range c {
		c[t].fall()
	}
}

func (c *curve) add(recall, precision float64) {
	c.recall = append(c.recall, recall)
	c.precision = append(c.precision, precision)
}

// fall gives each point the best precision of those after it.
func (c *curve) fall() {
	for i := len(c.precision) - 1; i > 0; i-- {
		c.precision[i-1] = max(c.precision[i-1], c.precision[i])
	}
}

// end is the recall at the end.
func (c *curve) end() float64 {
	if len(c.recall) == 0 {
		return 0
	}
	return c.recall[len(c.recall)-1]
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

// outcome is what one category adds to the means. Its numbers exist for the
// ranges of area with positives.
type outcome struct {
	category  Category
	positives [numArea]int
	precision [numArea][numIoU]float64 // summed over the recall points
	recall    [numArea][numIoU]float64 // by the largest limit
	limited   [numMax][numIoU]float64  // recall over all areas, by each limit
}

// accumulate computes a category's outcome.
func (p *params) accumulate(c Category, m *matches, buffer *curves) *outcome {
	o := &outcome{category: c, positives: m.positives}
	for a := range numArea {
		if m.positives[a] == 0 {
			continue
		}
		buffer.trace(m, a)
		for t := range buffer {
			o.recall[a][t] = buffer[t].end()
			o.precision[a][t] = buffer[t].sumPrecision(&p.recalls)
		}
	}
	if m.positives[all] > 0 {
		o.limit(m, p.maxDets)
	}
	return o
}

// limit counts the truths found by the first detections of every image.
func (o *outcome) limit(m *matches, limits [numMax]int) {
	var found [numMax][numIoU]int
	for i := range m.dets {
		d := &m.dets[i]
		right := d.fates[all].matched &^ d.fates[all].ignored
		for l := numMax - 1; l >= 0 && right != 0 && int(d.rank) < limits[l]; l-- {
			for t := range numIoU {
				found[l][t] += int(right >> t & 1)
			}
		}
	}
	for l := range found {
		for t, n := range found[l] {
			o.limited[l][t] = float64(n) / float64(m.positives[all])
		}
	}
}
