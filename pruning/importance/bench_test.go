package importance

import (
	"testing"

	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// BenchmarkCriteria makes every criterion for yolov4, 64 million parameters,
// and scores all its groups.
func BenchmarkCriteria(b *testing.B) {
	g, err := zoo.Build("yolov4", zoo.Options{Classes: 80, InputW: 416, InputH: 416})
	if err != nil {
		b.Fatal(err)
	}
	if err := zoo.InitWeights(g, 1); err != nil {
		b.Fatal(err)
	}
	groups, e := build(b, g), someEvidence(g)
	for _, name := range Names {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := New(g, groups, Options{Criterion: name, Evidence: e})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Score(groups, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func someEvidence(g *graph.Graph) *Evidence {
	v := values{}
	for _, n := range g.Convs() {
		v[n.ID] = make([]float32, n.Conv().Filters)
	}
	return &Evidence{MeanAbs: v, Small: v, GateTaylor: v, WeightTaylor: v, Hessian: v}
}
