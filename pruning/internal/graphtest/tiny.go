package graphtest

import (
	"os"
	"path/filepath"
	"testing"

	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// Tiny is yolov4-tiny for three classes over size x size images, with random
// weights.
func Tiny(width float64, size int, seed uint64) *graph.Graph {
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: 3, Width: width, InputW: size, InputH: size})
	if err != nil {
		panic(err)
	}
	return Net{g}.Fill(seed)
}

// Narrow divides the filters and groups of all convolutions, but not the filters
// of those in front of a head, so that a large network runs in no time with all
// its layers and ties. The numbers must be multiples of by. g has no weights and
// the result gets random ones.
func Narrow(g *graph.Graph, by int, seed uint64) (*graph.Graph, error) {
	g = g.Clone()
	for _, n := range g.Convs() {
		c := n.Conv()
		if !g.FeedsHead(n.ID) {
			c.Filters /= by
		}
		if c.Groups > 1 {
			c.Groups /= by
		}
	}
	if err := g.Infer(); err != nil {
		return nil, err
	}
	return Net{g}.Fill(seed), nil
}

// Shared returns the path of a file or folder beside the repository, or skips
// the test when it is absent.
func Shared(t testing.TB, path ...string) string {
	t.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join(moduleRoot(t), "..", "shared")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no shared data: %v", err)
	}
	return full
}

func moduleRoot(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
