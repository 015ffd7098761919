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
	ious     []float64          // a match needs at least this IoU
	recalls  [numRecall]float64 // where precision is read
	areas    [][2]float64       // both ends belong to the range
	maxDets  [numMax]int        // rising; per image and category
	loseZero bool               // annotation 0 is never found
}

func cocoParams(maxDets [numMax]int) *params {
	p := &params{
		ious:    make([]float64, numIoU),
		areas:   [][2]float64{{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}},
		maxDets: maxDets,
	}
	linspace(p.ious, .5, .95)
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

func (c *cells) coco(p *params) *Result {
	outcomes := make([]*outcome, len(c.categories))
	c.eachClass(func() func(int) {
		m, buffer := &matcher{p: p}, &curves{}
		return func(k int) {
			outcomes[k] = p.accumulate(c.categories[k], m.category(c.truthsOf(k), c.detsOf(k)), buffer)
		}
	})
	r := &Result{Numbers: numbersOf(outcomes, 0, numIoU)}
	r.MeanAP = r.AP
	for t, iou := range p.ious {
		r.PerIoU = append(r.PerIoU, AtIoU{iou, numbersOf(outcomes, t, t+1)})
	}
	for k, o := range outcomes {
		n := numbersOf(outcomes[k:k+1], 0, numIoU)
		r.PerClass = append(r.PerClass, ClassAP{o.category, n, n.AP, o.positives[all]})
	}
	return r
}

// numbersOf are the twelve means over categories and the IoU thresholds from
// first up to end. AP50 and AP75 are undefined without their threshold.
func numbersOf(outcomes []*outcome, first, end int) Numbers {
	precision := func(a, first, end int) float64 {
		var m mean
		for _, o := range outcomes {
			m.addRange(o.positives[a], o.precision[a][:], first, end, numRecall)
		}
		return m.value()
	}
	recall := func(a int) float64 {
		var m mean
		for _, o := range outcomes {
			m.addRange(o.positives[a], o.recall[a][:], first, end, 1)
		}
		return m.value()
	}
	limited := func(l int) float64 {
		var m mean
		for _, o := range outcomes {
			m.addRange(o.positives[all], o.limited[l][:], first, end, 1)
		}
		return m.value()
	}
	within := func(t int) (int, int) { return max(t, first), min(t+1, end) }
	from50, to50 := within(at50)
	from75, to75 := within(at75)
	return Numbers{
		AP: precision(all, first, end), AP50: precision(all, from50, to50), AP75: precision(all, from75, to75),
		APs: precision(small, first, end), APm: precision(medium, first, end), APl: precision(large, first, end),
		AR1: limited(0), AR10: limited(1), AR100: limited(2),
		ARs: recall(small), ARm: recall(medium), ARl: recall(large),
	}
}

// mean is a mean of the values that exist; without any it is -1.
type mean struct {
	sum float64
	n   int
}

// addRange adds v[first:end], each the sum of n values, if there is anything to
// find.
func (m *mean) addRange(positives int, v []float64, first, end, n int) {
	if positives == 0 {
		return
	}
	for t := first; t < end; t++ {
		m.add(v[t], n)
	}
}

func (m *mean) add(sum float64, n int) {
	m.sum += sum
	m.n += n
}

func (m mean) value() float64 {
	if m.n == 0 {
		return -1
	}
	return m.sum / float64(m.n)
}
