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

// Masking equals surgery on every published cfg over 64 x 64 images, with a
// quarter of the filters and random weights; in the long tests also with all
// filters.
func TestMaskingEqualsSurgeryPublished(t *testing.T) {
	cfgs, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "cfg"), "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) != 25 {
		t.Errorf("%d cfgs, want 25", len(cfgs))
	}
	for _, cfg := range cfgs {
		name := filepath.Base(cfg)
		t.Run(name, func(t *testing.T) {
			g := loadSmall(t, cfg, "", 64)
			narrow, err := graphtest.Narrow(g, 4, 1)
			if err != nil {
				t.Fatal(err)
			}
			checkPlans(t, narrow, 2)
			if !testing.Short() {
				checkPlans(t, graphtest.Net{Graph: g}.Fill(1), 2)
			}
		})
	}
}

// On the published models with their own weights; plans are drawn, and made by
// every strategy.
func TestMaskingEqualsSurgeryModels(t *testing.T) {
	cfgs, err := filepath.Glob(filepath.Join(graphtest.Shared(t, "models"), "*", "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfgs) != 10 {
		t.Errorf("%d models, want 10", len(cfgs))
	}
	for _, cfg := range cfgs {
		name := filepath.Base(cfg)
		t.Run(name, func(t *testing.T) {
			g := loadSmall(t, cfg, cfg[:len(cfg)-len("cfg")]+"weights", 64)
			checkPlans(t, g, 2)
			for _, strategy := range plan.Strategies {
				if strategy == "layers" {
					continue // meets no target
				}
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

// checkPlans draws some plans, the same ones every time. A network whose heads
// did not notice them would prove nothing.
func checkPlans(t *testing.T, g *graph.Graph, plans int) {
	t.Helper()
	whole := graphtest.Heads(g, graphtest.Image(g, 5))
	draw := rapid.Custom(func(t *rapid.T) *plan.Plan {
		p, ok := randomPlan(t, g, drawAlign(t))
		if !ok {
			t.Skip("keeps all")
		}
		return p
	})
	for seed := range plans {
		for i, head := range checkMasking(t, g, draw.Example(seed)) {
			if d := graphtest.MaxDiff(head, whole[i]); !(d > 1e4*exact) {
				t.Fatalf("head %d changed by %g only", i, d)
			}
		}
	}
}

func loadSmall(t *testing.T, cfg, weights string, size int) *graph.Graph {
	g, _, err := darknet.Load(cfg, weights)
	if err != nil {
		t.Fatal(err)
	}
	g.Net.Height, g.Net.Width = size, size
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	return g
}
