// Package importance scores the channels of a group. A larger score means: keep.
//
// Scores are comparable within one criterion only. How a plan follows from
// them is the business of package plan.
package importance

import (
	"fmt"
	"math"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// Live says for every convolution which of its input channels are still there.
// A convolution that is missing has all of them.
type Live map[graph.NodeID][]bool

// Cut marks the input channels as removed that convolutions read from the
// group's channels with keep[channel] false.
func (l Live) Cut(g *graph.Graph, gr depgraph.Group, keep []bool) {
	for _, m := range gr.Members {
		if m.Side != depgraph.In || m.Kind != "convolutional" {
			continue
		}
		in, ok := l[m.Node]
		if !ok {
			in = make([]bool, g.ShapeOf(g.Nodes[m.Node].Inputs[0]).C)
			for i := range in {
				in[i] = true
			}
			l[m.Node] = in
		}
		for ch, c := range m.Map {
			if c >= 0 {
				in[c] = keep[ch]
			}
		}
	}
}

// Criterion scores groups of a graph whose CheckWeights has passed.
type Criterion interface {
	// Name is what plan.json calls it.
	Name() string
	// Score returns one score per channel of the group, given what is live; or
	// nil and why the criterion can not judge this group.
	Score(gr depgraph.Group, live Live) (scores []float64, why string)
}

// Scores holds the scores of all groups, by group ID.
type Scores struct {
	Criterion string      `json:"criterion"`
	Values    [][]float64 `json:"values"`   // nil where the group has no score
	Unscored  []string    `json:"unscored"` // why not, "" where it has
}

// Score scores every group that may be cut, with all inputs live.
func Score(groups []depgraph.Group, c Criterion) (Scores, error) {
	s := Scores{Criterion: c.Name(), Values: make([][]float64, len(groups)), Unscored: make([]string, len(groups))}
	for i, gr := range groups {
		if s.Unscored[i] = gr.Protected; gr.Protected != "" {
			continue
		}
		s.Values[i], s.Unscored[i] = c.Score(gr, nil)
		if err := CheckFinite(gr, s.Values[i]); err != nil {
			return Scores{}, err
		}
	}
	return s, nil
}

// CheckFinite refuses scores that are not finite, which come from weights that
// are not.
func CheckFinite(gr depgraph.Group, scores []float64) error {
	for ch, v := range scores {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: the score of channel %d is %v: the weights hold NaN or infinity", gr.Name(), ch, v)
		}
	}
	return nil
}
