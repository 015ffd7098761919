package importance

import (
	"cmp"
	"slices"

	"yoloprune/pruning/depgraph"
)

// Curve is what cutting one group alone was measured to cost: Drops[i] of the
// precision, when the fraction Ratios[i] of its channels goes, the least
// important first. Ratios rise, and lie in (0, 1]; the last should be 1, with all
// of the precision.
type Curve struct{ Ratios, Drops []float64 }

// sensitivity is the criterion of Sensitivity.
type sensitivity struct {
	order  Criterion
	curves map[int]Curve
}

// Sensitivity scores by what cuts of single groups were measured to cost. In a
// group of n channels, the one that order ranks k-th from below has the score
//
//	s_(k) = C(k/n) - C((k-1)/n)
//
// with C the greatest convex function through (0, 0) that stays below the
// measured points, so that scores rise with the rank. Scores are fractions of
// precision then, and add up over groups as far as groups do not interact; a
// strategy that always takes the least score per operation saved solves the
// knapsack problem over the curves.
//
// Per-layer sensitivity is Li et al.'s, ICLR 2017, arXiv:1608.08710, section 3.2;
// they choose the ratios from it by hand. A group without a curve has no score.
func Sensitivity(order Criterion, curves map[int]Curve) Criterion { return sensitivity{order, curves} }

func (s sensitivity) Name() string { return "sensitivity by " + s.order.Name() }

func (s sensitivity) Score(gr depgraph.Group, live Live) ([]float64, string) {
	c, ok := s.curves[gr.ID]
	if !ok {
		return nil, "its sensitivity was not measured"
	}
	by, why := s.order.Score(gr, live)
	if by == nil {
		return nil, why
	}
	rank := make([]int, len(by))
	for i := range rank {
		rank[i] = i
	}
	slices.SortStableFunc(rank, func(a, b int) int { return cmp.Compare(by[a], by[b]) })
	hull := c.convex()
	out := make([]float64, len(by))
	for k, ch := range rank {
		n := float64(len(rank))
		out[ch] = hull.at(float64(k+1)/n) - hull.at(float64(k)/n)
	}
	return out, ""
}

// convex returns the greatest convex minorant of the curve and of (0, 0), by
// Andrew's monotone chain. Gains count as no loss.
func (c Curve) convex() Curve {
	h := Curve{Ratios: []float64{0}, Drops: []float64{0}}
	for i, x := range c.Ratios {
		y := max(c.Drops[i], 0)
		for n := len(h.Ratios); n >= 2; n = len(h.Ratios) {
			before := (h.Drops[n-1] - h.Drops[n-2]) * (x - h.Ratios[n-2])
			if before < (y-h.Drops[n-2])*(h.Ratios[n-1]-h.Ratios[n-2]) {
				break
			}
			h.Ratios, h.Drops = h.Ratios[:n-1], h.Drops[:n-1]
		}
		h.Ratios, h.Drops = append(h.Ratios, x), append(h.Drops, y)
	}
	return h
}

// at interpolates between the points; past the last one it goes on as before.
func (c Curve) at(x float64) float64 {
	i := 1
	for i < len(c.Ratios)-1 && c.Ratios[i] < x {
		i++
	}
	if i >= len(c.Ratios) {
		return 0
	}
	slope := (c.Drops[i] - c.Drops[i-1]) / (c.Ratios[i] - c.Ratios[i-1])
	return c.Drops[i-1] + slope*(x-c.Ratios[i-1])
}
