package surgery

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// everyFifth removes every fifth channel of every part that may be cut.
func everyFifth(b *testing.B, g *graph.Graph) *plan.Plan {
	groups, err := depgraph.Build(g)
	if err != nil {
		b.Fatal(err)
	}
	keep := make([][]bool, len(groups))
	for i, gr := range groups {
		keep[i] = slices.Repeat([]bool{true}, gr.Channels)
		for _, balance := range gr.Balances {
			for _, part := range balance.Parts {
				for k := 4; k < len(part) && balance.Fixed == ""; k += 5 {
					keep[i][part[k]] = false
				}
			}
		}
	}
	return plan.New(g, groups, keep)
}

// BenchmarkApply cuts every fifth channel of yolov4 at three widths; width 1 has
// 64 million parameters. xweights is the memory that is allocated, in units of
// the network's weights, to which the whole network's own come.
func BenchmarkApply(b *testing.B) {
	for _, fold := range []Fold{None, Expected} {
		for _, width := range []float64{.5, 1, 2} {
			b.Run(fmt.Sprintf("%s/%v", fold, width), func(b *testing.B) {
				g, err := zoo.Build("yolov4", zoo.Options{Classes: 80, Width: width, InputW: 416, InputH: 416})
				if err != nil {
					b.Fatal(err)
				}
				if err := zoo.InitWeights(g, 1); err != nil {
					b.Fatal(err)
				}
				p := everyFifth(b, g)
				params := 0
				for _, n := range g.Convs() {
					params += n.Weights.Len()
				}
				before := allocated()
				for b.Loop() {
					if _, err := Apply(g, p, Options{Fold: fold}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(allocated()-before)/float64(b.N)/float64(4*params), "xweights")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(params), "ns/param")
			})
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
