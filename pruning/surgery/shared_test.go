package surgery

import (
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/pruning/internal/graphtest"
	"yoloprune/pruning/plan"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// Masking equals surgery on published networks over small images, with random
// weights for a cfg of which only the cfg is there.
func TestMaskingEqualsSurgeryPublished(t *testing.T) {
	for _, c := range []struct {
		path    []string
		weights bool
		size    int
	}{
		{[]string{"cfg", "yolov4-tiny"}, false, 32},
		{[]string{"cfg", "yolov7-tiny"}, false, 32},
		{[]string{"cfg", "yolov4-csp-s-mish"}, false, 32},
		{[]string{"models", "yoloface-50k", "yoloface-50k"}, true, 56},
		{[]string{"models", "mobilenetv2-yolo-fastest-voc", "mobilenetv2-yolo-fastest-voc"}, true, 32},
		{[]string{"models", "yoloface-500k", "yoloface-500k"}, true, 32},
	} {
		t.Run(filepath.Base(c.path[len(c.path)-1]), func(t *testing.T) {
			base := graphtest.Shared(t, c.path[0])
			base = filepath.Join(append([]string{base}, c.path[1:]...)...)
			g := loadSmall(t, base, c.weights, c.size)
			cuts := 0
			rapid.Check(t, func(t *rapid.T) {
				if cuts == 3 {
					return // forward passes are slow here
				}
				if p, ok := randomPlan(t, g, drawAlign(t)); ok {
					cuts++
					checkMasking(t, g, p)
				}
			})
			for _, strategy := range plan.Strategies {
				o := plan.Defaults(plan.Target{Quantity: plan.FLOPs, Ratio: 0.5})
				o.Strategy = strategy
				p, _, err := plan.Make(g, groupsOf(t, g), o)
				if err != nil {
					t.Fatal(err)
				}
				if p.Reached.FLOPs < 0.5 || p.Reached.FLOPs > 0.5+plan.Tolerance {
					t.Errorf("%s: reached %v", strategy, p.Reached.FLOPs)
				}
				checkMasking(t, g, p)
			}
		})
	}
}

func loadSmall(t *testing.T, base string, weights bool, size int) *graph.Graph {
	file := ""
	if weights {
		file = base + ".weights"
	}
	g, _, err := darknet.Load(base+".cfg", file)
	if err != nil {
		t.Fatal(err)
	}
	g.Net.Height, g.Net.Width = size, size
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if !weights {
		graphtest.Net{Graph: g}.Fill(1)
	}
	return g
}
