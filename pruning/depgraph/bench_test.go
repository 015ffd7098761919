package depgraph

import (
	"fmt"
	"testing"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

func benchmarkBuild(b *testing.B, g *graph.Graph) {
	channels := 0
	for _, n := range g.Nodes {
		channels += n.Out.C
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(channels), "channels")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(channels), "ns/channel")
}

// The groups of whole published networks.
func BenchmarkBuild(b *testing.B) {
	for _, name := range []string{"yolov4", "yolov7", "yolov4-p6"} {
		b.Run(name, func(b *testing.B) {
			g, _, err := darknet.Load(graphtest.Shared(b, "cfg", name+".cfg"), "")
			if err != nil {
				b.Fatal(err)
			}
			benchmarkBuild(b, g)
		})
	}
}

// The cost by the number of channels.
func BenchmarkBuildWidth(b *testing.B) {
	for _, width := range []float64{.5, 1, 2} {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			g, err := zoo.Build("yolov4", zoo.Options{Classes: 80, Width: width, InputW: 416, InputH: 416})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkBuild(b, g)
		})
	}
}
