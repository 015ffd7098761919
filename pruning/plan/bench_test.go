package plan

import (
	"fmt"
	"testing"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/zoo"
)

// Three fifths of the operations, by the strategy iterative, of networks of more
// and more groups, and of YOLOv4 at three widths.
func BenchmarkIterative(b *testing.B) {
	for _, c := range []struct {
		arch  string
		width float64
	}{{"yolov4-tiny", 1}, {"yolov3", 1}, {"yolov4", 1}, {"yolov4", 0.5}, {"yolov4", 2}} {
		b.Run(fmt.Sprintf("%s x%g", c.arch, c.width), func(b *testing.B) {
			g, err := zoo.Build(c.arch, zoo.Options{Classes: 80, Width: c.width, InputW: 416, InputH: 416})
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
			channels := 0
			for _, gr := range groups {
				channels += gr.Channels
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
					b.ReportMetric(float64(channels), "channels")
				})
			}
		})
	}
}
