package importance

import (
	"math/rand/v2"

	"yoloprune/pruning/depgraph"
)

// random draws a score in [0, 1) for every channel of a group, whatever its
// members: the control that a criterion has to beat. The numbers depend on the
// seed, the group's number and its channels only.
type random struct{ seed uint64 }

func (random) Name() string { return "random" }

func (r random) Score(gr depgraph.Group, _ Live) ([]float64, string) {
	draw := rand.New(rand.NewPCG(r.seed, uint64(gr.ID)))
	s := make([]float64, gr.Channels)
	for i := range s {
		s[i] = draw.Float64()
	}
	return s, ""
}
