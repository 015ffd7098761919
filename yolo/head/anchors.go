package head

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	restarts   = 10
	iterations = 300 // it converges long before
)

// KMeansAnchors clusters box sizes, in pixels of the network input, into n
// anchors, and returns them by rising area with the mean over all sizes of the
// IoU with the best anchor. The distance of a size to a centre is
//
//	d = 1 - IoU, both boxes centred at one point
//
// so that large boxes do not count for more than small ones: Redmon and
// Farhadi, YOLO9000, CVPR 2017, arXiv:1612.08242, section 2, "dimension
// clusters". A cluster's centre is the median of its widths and that of its
// heights, which a few odd boxes move less than the mean. The best of ten
// starts is returned, each with centres drawn far apart (k-means++, Arthur and
// Vassilvitskii, SODA 2007). Equal seeds give equal anchors.
func KMeansAnchors(sizes [][2]float64, n int, seed uint64) (anchors [][2]float64, meanIoU float64, err error) {
	if err := checkSizes(sizes, n); err != nil {
		return nil, 0, err
	}
	for r := range uint64(restarts) {
		c := &clustering{sizes: sizes, nearest: make([]int, len(sizes)), iou: make([]float64, len(sizes))}
		c.start(n, rand.New(rand.NewPCG(seed, r)))
		if a, iou := c.run(); anchors == nil || iou > meanIoU {
			anchors, meanIoU = a, iou
		}
	}
	slices.SortFunc(anchors, func(a, b [2]float64) int {
		return cmp.Or(cmp.Compare(a[0]*a[1], b[0]*b[1]), cmp.Compare(a[0], b[0]))
	})
	return anchors, meanIoU, nil
}

func checkSizes(sizes [][2]float64, n int) error {
	if n < 1 {
		return fmt.Errorf("%d anchors: at least 1 is needed", n)
	}
	distinct := map[[2]float64]bool{}
	for i, s := range sizes {
		if area := s[0] * s[1]; !(s[0] > 0 && s[1] > 0 && area > 0) || math.IsInf(area, 0) {
			return fmt.Errorf("size %d is %g x %g: width and height must be positive and finite", i, s[0], s[1])
		}
		distinct[s] = true
	}
	if len(distinct) < n {
		return fmt.Errorf("%d anchors from %d different box sizes: give more boxes or ask for fewer anchors", n, len(distinct))
	}
	return nil
}

// shapeIoU is the IoU of two boxes centred at one point.
func shapeIoU(a, b [2]float64) float64 {
	inter := min(a[0], b[0]) * min(a[1], b[1])
	return inter / (a[0]*a[1] + b[0]*b[1] - inter)
}

// clustering is one run; nearest and iou hold every size's centre and its IoU
// with it.
type clustering struct {
	sizes   [][2]float64
	centres [][2]float64
	nearest []int
	iou     []float64
}

// start draws n sizes as centres, each with a probability that grows with the
// squared distance to those drawn before.
func (c *clustering) start(n int, rng *rand.Rand) {
	c.centres = [][2]float64{c.sizes[rng.IntN(len(c.sizes))]}
	c.assign()
	for len(c.centres) < n {
		c.centres = append(c.centres, c.sizes[c.draw(rng)])
		c.assign()
	}
}

func (c *clustering) draw(rng *rand.Rand) int {
	total := 0.0
	for _, iou := range c.iou {
		total += (1 - iou) * (1 - iou)
	}
	left := rng.Float64() * total
	for i, iou := range c.iou {
		left -= (1 - iou) * (1 - iou)
		if left < 0 {
			return i
		}
	}
	// Sizes so close that rounding makes their distance 0.
	return slices.IndexFunc(c.sizes, func(s [2]float64) bool { return !slices.Contains(c.centres, s) })
}

// run moves the centres until no size changes its own. Medians can make the
// mean IoU fall again, so the best centres on the way count.
func (c *clustering) run() (best [][2]float64, bestIoU float64) {
	_, bestIoU = c.assign()
	best = slices.Clone(c.centres)
	for range iterations {
		c.move()
		changed, mean := c.assign()
		if mean > bestIoU {
			best, bestIoU = slices.Clone(c.centres), mean
		}
		if !changed {
			break
		}
	}
	return best, bestIoU
}

// assign finds every size's nearest centre, the first of equal ones.
func (c *clustering) assign() (changed bool, meanIoU float64) {
	sum := 0.0
	for i, s := range c.sizes {
		best, bestIoU := 0, -1.0
		for k := range c.centres {
			if iou := shapeIoU(s, c.centres[k]); iou > bestIoU {
				best, bestIoU = k, iou
			}
		}
		changed = changed || c.nearest[i] != best
		c.nearest[i], c.iou[i] = best, bestIoU
		sum += bestIoU
	}
	return changed, sum / float64(len(c.sizes))
}

// move puts every centre at its sizes' median; one without sizes goes to the
// size that is served worst.
func (c *clustering) move() {
	for k := range c.centres {
		var ws, hs []float64
		for i, s := range c.sizes {
			if c.nearest[i] == k {
				ws, hs = append(ws, s[0]), append(hs, s[1])
			}
		}
		if len(ws) == 0 {
			worst := c.worst()
			c.centres[k] = c.sizes[worst]
			c.iou[worst] = 1
			continue
		}
		c.centres[k] = [2]float64{median(ws), median(hs)}
	}
}

func (c *clustering) worst() int {
	worst := 0
	for i, iou := range c.iou {
		if iou < c.iou[worst] {
			worst = i
		}
	}
	return worst
}

func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
