package plan

import (
	"fmt"
	"testing"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/zoo"
)

// Three fifths of the operations of a whole YOLOv4, by the strategy iterative, at
// three widths.
func BenchmarkIterative(b *testing.B) {
	for _, width := range []float64{0.5, 1, 2} {
		b.Run(fmt.Sprintf("yolov4 x%g", width), func(b *testing.B) {
			g, err := zoo.Build("yolov4", zoo.Options{Classes: 80, Width: width, InputW: 416, InputH: 416})
			if err != nil {
				b.Fatal(err)
			}
			if err := zoo.InitWeights(g, 1); err != nil {
				b.Fatal(err)
			}
			groups, err := depgraph.Build(g)
			if err != nil {
				b.Fatal(err)
			}
			for _, criterion := range []string{"bn-scale", "bn-scale-filter"} {
				b.Run(criterion, func(b *testing.B) {
					o := Defaults(Target{FLOPs, 0.6})
					o.Criterion, o.Strategy = criterion, "iterative"
					for b.Loop() {
						if _, _, err := Make(g, groups, o); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(len(groups)), "groups")
				})
			}
		})
	}
}
