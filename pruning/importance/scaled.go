package importance

import "yoloprune/pruning/depgraph"

// scaled is the criterion of Scaled.
type scaled struct {
	Criterion
	normalize func([]float64) []float64
	factors   map[int]float64
}

// Scaled normalises the scores of every group and multiplies them by the group's
// factor, 1 where there is none: a factor above one protects a group, one below
// exposes it. A search tries different factors. Its scores are compared as they
// are, with the normalisation none.
func Scaled(c Criterion, normalization string, factors map[int]float64) Criterion {
	return scaled{c, Normalizations[normalization], factors}
}

func (s scaled) Score(gr depgraph.Group, live Live) ([]float64, string) {
	scores, why := s.Criterion.Score(gr, live)
	if scores == nil {
		return nil, why
	}
	factor, ok := s.factors[gr.ID]
	if !ok {
		factor = 1
	}
	out := s.normalize(scores)
	for i := range out {
		out[i] *= factor
	}
	return out, ""
}
