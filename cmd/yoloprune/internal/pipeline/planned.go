package pipeline

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/graph"
)

// Planned is a plan that is valid for a network, and what it amounts to.
type Planned struct {
	Plan   *plan.Plan
	Rows   []plan.Row // every layer before and after
	Groups []depgraph.Group
	Scores *importance.Scores // nil where the plan was given

	asked         string // the target, or where the plan comes from
	before, after int64  // filters that may be cut, and that are left
	total         cost.Table
}

// Ask says how a plan is found: read from File, or made by the Options, Blocks
// whole blocks first.
type Ask struct {
	File    string
	Blocks  int
	Options plan.Options
	Threads int // for a target of latency

	Judge      *Judge // for the strategies that need one
	Candidates int    // of the strategy search
	Cache      string // a file that keeps what the strategy sensitivity has measured; "": none
	Note       func(format string, args ...any)
}

// Plan finds the plan for g.
func (a Ask) Plan(g *graph.Graph) (*Planned, error) {
	if a.File == "" && a.Options.Target.Quantity == plan.Time && a.Options.Target.Ratio > 0 {
		return a.planLatency(g)
	}
	return a.once(g)
}

// String says what is asked for.
func (a Ask) String() string {
	switch {
	case a.File != "":
		return "the plan " + a.File
	case a.Blocks > 0 && a.Options.Target.Ratio == 0:
		return wholeBlocks(a.Blocks)
	}
	text := fmt.Sprintf("%s, by %s, %s", channels(a.Options), a.Options.Criterion, a.Options.Strategy)
	if a.Blocks > 0 {
		return wholeBlocks(a.Blocks) + " and " + text
	}
	return text
}

func wholeBlocks(n int) string {
	if n == 1 {
		return "1 block"
	}
	return fmt.Sprintf("%d blocks", n)
}

func channels(o plan.Options) string {
	if o.Strategy == "layers" {
		return "fractions by layer"
	}
	return fmt.Sprintf("%.1f %% of %s", 100*o.Target.Ratio, o.Target.Quantity)
}

func (a Ask) once(g *graph.Graph) (*Planned, error) {
	if err := a.checkStrategy(); err != nil {
		return nil, err
	}
	switch {
	case a.File != "":
		return ReadPlan(g, a.File)
	case a.Blocks > 0:
		return makeBlockPlan(g, a.Blocks, a.Options)
	case NeedsJudge(a.Options.Strategy):
		return a.judged(g)
	}
	return makePlan(g, a.Options)
}

// checkStrategy refuses a strategy that has to judge plans, for blocks.
func (a Ask) checkStrategy() error {
	if a.File == "" && a.Blocks > 0 && NeedsJudge(a.Options.Strategy) {
		return fmt.Errorf("blocks: the strategy %s cuts channels only; take another, or cut in two steps", a.Options.Strategy)
	}
	return nil
}

// makePlan finds the plan that the options ask for.
func makePlan(g *graph.Graph, o plan.Options) (*Planned, error) {
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	p, scores, err := plan.Make(g, groups, o)
	if err != nil {
		return nil, err
	}
	return planned(g, groups, p, &scores, "asked for "+channels(o)+", removed")
}

// makeBlockPlan takes out the n blocks that score lowest, and then channels up to
// the options' target, which is that of the whole network; without one, blocks
// alone. The scores of channels are those of a smaller network, and not kept.
func makeBlockPlan(g *graph.Graph, n int, o plan.Options) (*Planned, error) {
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	b := plan.BlockOptions{Count: n, Skip: o.Skip}
	if o.Target.Ratio == 0 {
		p, err := plan.MakeBlocks(g, b)
		if err != nil {
			return nil, err
		}
		return planned(g, groups, p, nil, "asked for "+wholeBlocks(n)+", removed")
	}
	p, _, _, err := plan.MakeWithBlocks(g, b, o)
	if err != nil {
		return nil, err
	}
	return planned(g, groups, p, nil, "asked for "+wholeBlocks(n)+" and "+channels(o)+", removed")
}

// ReadPlan reads a plan that was written for g, by hand or from other weights.
func ReadPlan(g *graph.Graph, path string) (*Planned, error) {
	p, err := plan.Read(path)
	if err != nil {
		return nil, err
	}
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	if err := p.Complete(g, groups); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return planned(g, groups, p, nil, path+" removes")
}

func planned(g *graph.Graph, groups []depgraph.Group, p *plan.Plan, s *importance.Scores, asked string) (*Planned, error) {
	rows, err := p.Table(g, groups)
	if err != nil {
		return nil, err
	}
	before, after, err := p.Count(g, groups)
	if err != nil {
		return nil, err
	}
	return &Planned{
		Plan: p, Rows: rows, Groups: groups, Scores: s, asked: asked, before: before, after: after, total: cost.Of(g),
	}, nil
}

// Summary is one line on what is removed.
func (p *Planned) Summary() string {
	flops := float64(p.total.FLOPs()) / 1e9
	r := p.Plan.Reached
	layers := ""
	if n := len(p.Plan.Removed); n > 0 {
		layers = fmt.Sprintf("%d of %d layers, ", n, len(p.Rows))
	}
	return fmt.Sprintf("%s %s%.1f %% of channels (%d to %d), %.1f %% of FLOPs (%.3f to %.3f G at %dx%d) and %.1f %% of parameters%s",
		p.asked, layers, 100*r.Channels, p.before, p.after,
		100*r.FLOPs, flops, flops*(1-r.FLOPs), p.total.InputW, p.total.InputH, 100*r.Params, p.reached())
}

// reached says what became of a target that the rest of the summary is silent of.
func (p *Planned) reached() string {
	if t := p.Plan.Target; t != nil && (t.Quantity == plan.Bytes || t.Quantity == plan.Time) {
		return fmt.Sprintf("; %.1f %% of %s", 100*p.Plan.Reached.Of(t.Quantity), t.Quantity)
	}
	return ""
}

// Write writes groups.json, scores.json, layers.json and plan.json into dir.
func (p *Planned) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	files := map[string]any{"groups.json": p.Groups, "layers.json": p.Rows}
	if p.Scores != nil {
		files["scores.json"] = p.Scores
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeJSON(dir+"/"+name, files[name]); err != nil {
			return err
		}
	}
	return plan.Write(dir+"/plan.json", p.Plan)
}

// WriteSparsity writes sparsity.json into dir.
func WriteSparsity(dir string, s *surgery.Sparsity) error {
	return writeJSON(dir+"/sparsity.json", s)
}
