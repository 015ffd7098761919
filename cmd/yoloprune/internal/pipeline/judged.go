package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/report"
	"yoloprune/yolo/graph"
)

// The strategies that measure cuts on images before they decide.
const (
	StrategySearch      = "search"
	StrategySensitivity = "sensitivity"
)

// Strategies lists all strategies: those of package plan, and two that ask a
// Judge.
//
//   - sensitivity measures what every group alone costs at several ratios, and
//     takes the steps that cost least for what they save, as iterative does.
//   - search makes candidates by greedy, with every group's scores multiplied by a
//     factor drawn by chance, and takes the one of the highest precision after its
//     batch norms were measured again, as EagleEye does (Li et al., ECCV 2020,
//     arXiv:2007.02491). The first candidate is greedy's own plan. It ends after
//     the number of candidates that was asked for.
var Strategies = append(append([]string{}, plan.Strategies...), StrategySensitivity, StrategySearch)

// NeedsJudge says whether a strategy needs images and annotations.
func NeedsJudge(strategy string) bool {
	return strategy == StrategySearch || strategy == StrategySensitivity
}

// sensitivityRatios are the fractions at which the strategy sensitivity cuts
// every group.
var sensitivityRatios = []float64{0.25, 0.5, 0.75}

// searchSpread is the standard deviation of the factors' logarithms.
const searchSpread = 0.5

// judged finds a plan by one of the strategies that ask a Judge.
func (a Ask) judged(g *graph.Graph) (*Planned, error) {
	if a.Judge == nil {
		return nil, fmt.Errorf("strategy %s: cuts are judged on images: give images and annotations", a.Options.Strategy)
	}
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	by, err := importance.New(g, groups, importance.Options{
		Criterion: a.Options.Criterion, Combine: a.Options.Combine, Members: a.Options.Members, Seed: a.Options.Seed, Evidence: a.Options.Evidence,
	})
	if err != nil {
		return nil, err
	}
	var p *plan.Plan
	var scores importance.Scores
	if a.Options.Strategy == StrategySearch {
		p, scores, err = a.search(g, groups, by)
	} else {
		p, scores, err = a.bySensitivity(g, groups, by)
	}
	if err != nil {
		return nil, err
	}
	p.Criterion, p.Strategy, p.Normalize = a.Options.Criterion, a.Options.Strategy, ""
	if a.Options.Strategy == StrategySearch {
		p.Seed = a.Options.Seed
	}
	t := a.Options.Target
	return planned(g, groups, p, &scores, fmt.Sprintf("asked for %.1f %% of %s, removed", 100*t.Ratio, t.Quantity))
}

// search returns the best of its candidates; of equal ones the first.
func (a Ask) search(g *graph.Graph, groups []depgraph.Group, by importance.Criterion) (best *plan.Plan, scores importance.Scores, err error) {
	o := a.Options
	o.Strategy, o.Normalize = "greedy", "none" // Scaled normalises
	rng := rand.New(rand.NewPCG(a.Options.Seed, 0x5eac4))
	highest := math.Inf(-1)
	for i := range max(1, a.Candidates) {
		p, s, err := plan.MakeBy(g, groups, o, importance.Scaled(by, "layer", factors(rng, groups, i)))
		if err != nil {
			return nil, scores, err
		}
		v, err := a.Judge.Judge(p, false, false)
		if err != nil {
			return nil, scores, err
		}
		a.note("candidate %d of %d: AP50 %.3f, %.1f %% of FLOPs removed", i+1, max(1, a.Candidates), v.Recalibrated, 100*p.Reached.FLOPs)
		if v.Recalibrated > highest {
			best, scores, highest = p, s, v.Recalibrated
		}
	}
	return best, scores, nil
}

// factors draws a factor for every group; candidate 0 has none.
func factors(rng *rand.Rand, groups []depgraph.Group, candidate int) map[int]float64 {
	f := map[int]float64{}
	for _, gr := range groups {
		if candidate > 0 {
			f[gr.ID] = math.Exp(searchSpread * rng.NormFloat64())
		}
	}
	return f
}

// bySensitivity takes the drops from an analysis, if there is one, or else
// measures them.
func (a Ask) bySensitivity(g *graph.Graph, groups []depgraph.Group, by importance.Criterion) (*plan.Plan, importance.Scores, error) {
	curves, err := a.curves(g, groups, by)
	if err != nil {
		return nil, importance.Scores{}, err
	}
	o := a.Options
	o.Strategy, o.Normalize = "iterative", "none"
	return plan.MakeBy(g, groups, o, importance.Sensitivity(by, curves))
}

// curves measures every group, once for a Judge and a criterion. With a Cache they
// are taken from there if they were measured before on the same.
func (a Ask) curves(g *graph.Graph, groups []depgraph.Group, by importance.Criterion) (map[int]importance.Curve, error) {
	if curves := a.Judge.measured[by.Name()]; curves != nil {
		return curves, nil
	}
	whole, err := a.Judge.AP50(g)
	if err != nil {
		return nil, err
	}
	c := cached{Key: a.key(g, by, whole)}
	known, err := c.read(a.Cache)
	if err != nil {
		return nil, err
	}
	if !known {
		drops, err := a.Judge.sensitivity(g, groups, by, whole, sensitivityRatios, a.note)
		if err != nil {
			return nil, err
		}
		c.Curves = map[int]importance.Curve{}
		for _, d := range drops {
			c.Curves[d.ID] = toCurve(d, sensitivityRatios, whole)
		}
		if err := c.write(a.Cache); err != nil {
			return nil, err
		}
	}
	a.Judge.measured[by.Name()] = c.Curves
	return c.Curves, nil
}

// cached are measured sensitivities as a file holds them.
type cached struct {
	Key    string                   `json:"key"`
	Curves map[int]importance.Curve `json:"curves"` // by group
}

// key names everything that the curves depend on; whole stands for the images.
func (a Ask) key(g *graph.Graph, by importance.Criterion, whole float64) string {
	h := sha256.New()
	for _, n := range g.Owners() {
		w := n.Weights
		for _, v := range [][]float32{w.Kernel, w.Bias, w.Gamma, w.Mean, w.Var} {
			binary.Write(h, binary.LittleEndian, v) // a hash takes everything
		}
	}
	o := a.Judge.o
	return fmt.Sprintf("%x %s %s %s, fold %s, %d images, %d for batch norms, AP50 %v, ratios %v",
		h.Sum(nil), by.Name(), a.Options.Combine, a.Options.Members, o.Fold.Fold, a.Judge.images, o.Recalibrate, whole, sensitivityRatios)
}

// read takes the curves from a file that has the same key. A file that holds
// something else is not ours to replace.
func (c *cached) read(path string) (bool, error) {
	if path == "" {
		return false, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var old cached
	if json.Unmarshal(data, &old) != nil || old.Key == "" || old.Curves == nil {
		return false, fmt.Errorf("%s: holds no measured sensitivities: choose another path for them, or remove it", path)
	}
	if old.Key != c.Key {
		return false, nil
	}
	c.Curves = old.Curves
	return true, nil
}

func (c *cached) write(path string) error {
	if path == "" {
		return nil
	}
	return writeJSON(path, c)
}

// toCurve ends a group's curve with the loss of everything.
func toCurve(d report.LayerDrop, ratios []float64, whole float64) importance.Curve {
	var c importance.Curve
	for i, v := range d.Drops {
		if v != nil {
			c.Ratios, c.Drops = append(c.Ratios, ratios[i]), append(c.Drops, *v)
		}
	}
	return importance.Curve{Ratios: append(c.Ratios, 1), Drops: append(c.Drops, whole)}
}

func (a Ask) note(format string, args ...any) {
	if a.Note != nil {
		a.Note(format, args...)
	}
}
