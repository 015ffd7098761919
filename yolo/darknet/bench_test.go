package darknet

import (
	"os"
	"path/filepath"
	"testing"

	"yoloprune/yolo/graph"
)

// fullSize returns YOLOv4 with weights, and their file.
func fullSize(b *testing.B) (*graph.Graph, string) {
	b.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	g, _, err := Load(filepath.Join(root, "cfg", "yolov4.cfg"), "")
	if err != nil {
		b.Skip(err)
	}
	for _, n := range g.Convs() {
		n.Weights = n.Conv().NewWeights(g.ShapeOf(n.Inputs[0]).C)
	}
	path := filepath.Join(b.TempDir(), "yolov4.weights")
	if err := Save("", path, g); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	return g, path
}

// BenchmarkReadWeights reads the file of the full YOLOv4 from the page cache;
// B/op beside the file's 257717640 bytes says how much memory reading takes.
func BenchmarkReadWeights(b *testing.B) {
	g, path := fullSize(b)
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeWeights(path, f, g); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkWriteWeights replaces the file, with the wait for the disk.
func BenchmarkWriteWeights(b *testing.B) {
	g, path := fullSize(b)
	for b.Loop() {
		if err := Save("", path, g); err != nil {
			b.Fatal(err)
		}
	}
}
