package depgraph

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/yolo/darknet"
)

// In the published networks nothing is protected but the image and the heads,
// and every filter of every other convolution is in a group that may be cut.
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
	ran := 0
	for _, file := range append(files, models...) {
		g, _, err := darknet.Load(file, "")
		var unsupported *darknet.UnsupportedError
		if errors.As(err, &unsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		groups, err := Build(g)
		if err != nil {
			t.Fatal(err)
		}
		ran++
		for _, gr := range groups {
			for _, b := range gr.Balances {
				if b.Fixed != "" && b.Fixed != "network input" && !strings.HasPrefix(b.Fixed, "head: ") {
					t.Errorf("%s: %v", filepath.Base(file), gr)
				}
			}
		}
	}
	if ran == 0 {
		t.Error("none of the published networks could be read")
	}
}
