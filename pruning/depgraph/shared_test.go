package depgraph

import (
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/darknet"
)

// In the published networks nothing is protected but the image, the heads and
// what a training loss reads, and every filter of every other convolution is in
// a group that may be cut.
func TestPublishedNetworks(t *testing.T) {
	dir := graphtest.Shared(t, "cfg")
	files, err := filepath.Glob(filepath.Join(dir, "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob(filepath.Join(dir, "..", "models", "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 25 || len(models) != 10 {
		t.Errorf("%d cfgs and %d models, want 25 and 10", len(files), len(models))
	}
	for _, file := range append(files, models...) {
		g, _, err := darknet.Load(file, "")
		if err != nil {
			t.Fatal(err)
		}
		groups, err := Build(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, gr := range groups {
			for _, b := range gr.Balances {
				if b.Fixed != "" && !fixedForGood(b.Fixed) {
					t.Errorf("%s: %v", filepath.Base(file), gr)
				}
			}
		}
	}
}

// fixedForGood says whether a reason is one of those that leave no choice.
func fixedForGood(why string) bool {
	for _, start := range []string{"network input", "head: ", "training loss: "} {
		if strings.HasPrefix(why, start) {
			return true
		}
	}
	return false
}
