package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/coco"
	"yoloprune/finetune/loop"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/importance"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

type pruneFlags struct {
	cfg, weights, out, images, annotations, skip, fold string
	planFile, mode, grain                              string
	flops, params, ratio, bytes, latency, maxDrop      float64
	layers                                             string
	recalibrate, blocks                                int
	force, dryRun                                      bool
	candidates, judge                                  int
	cache                                              string
	plan                                               plan.Options
	set                                                *coco.Set // of images and annotations
}

// Modes and grains of prune.
const (
	modeCut, modeMask         = "cut", "mask"
	grainChannel, grainFilter = "channel", "filter"
	grainKernel               = "kernel"
)

func (a *app) pruneCommand() *cobra.Command {
	f := pruneFlags{plan: plan.Defaults(plan.Target{})}
	c := &cobra.Command{
		Use: "prune --cfg MODEL.cfg --weights MODEL.weights --target-flops R --out DIR", Short: "Cut channels out of a trained network", Args: noArgs,
		Long: `Cut channels out of a trained network.

DIR receives pruned.cfg, pruned.weights, plan.json, groups.json, scores.json
and layers.json. With --images and --annotations the batch norms are measured
again on those images after the cut, and the average precision before and after
is printed; with --max-drop a cut that loses more is refused with exit code 3.

A plan is data. --plan applies one that was written by hand, or made for other
weights of the same cfg, in place of a criterion and a target; {"keep": {"2":
[0, 1, 5]}} is one: the filters that convolutions keep, those not listed all.
Layers that are tied (see inspect) keep the same. "removed": [6, 7, 8] beside
keep takes out the layers of whole blocks. --dry-run prints the layers before
and after, and writes nothing; with --plan it needs no weights.

--blocks N takes out N whole blocks first: residual branches with their sums, or
chains of convolutions that give back the shape they read. Those score lowest
whose last batch norm has the smallest mean |gamma|; a target beside it is that
of the whole network.

--mode mask is for judging before cutting: DIR receives masked.cfg, which is
the cfg as it was, and masked.weights of the old shape, in which the plan's
channels are zero. It computes what a cut with --fold none does: what a removed
channel contributes on average is folded into other layers by a cut only.

--grain filter cuts filters that are tied to no other layer's; tied ones, such as
those of a residual sum, stay. --strategy layers takes --layer-ratios in place of
a target. --target-latency times the layers on this machine first, and the cut
network after it.

--grain kernel zeroes single R x S kernels, which join one filter to one input
channel: --ratio of them in every layer but the heads and those of --skip, the
lowest L1 norms first. DIR receives masked.cfg, masked.weights and
sparsity.json. Shapes stay, and the formats are dense: neither the FLOPs nor the
file become smaller.`,
		Example: `  yoloprune prune --cfg m.cfg --weights m.weights --target-flops 0.5 --out cut
  yoloprune prune --cfg m.cfg --plan plan.json --dry-run
  yoloprune prune --cfg m.cfg --weights other.weights --plan cut/plan.json --out other
  yoloprune prune --cfg m.cfg --weights m.weights --grain kernel --ratio 0.3 --out sparse`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.settle(c); err != nil {
				return err
			}
			return a.prune(c.Context(), f)
		},
	}
	f.register(c)
	return c
}

func (f *pruneFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.out, "out", "", "folder for the result")
	c.Flags().StringVar(&f.planFile, "plan", "", "plan to apply, instead of a criterion and a target")
	c.Flags().StringVar(&f.mode, "mode", modeCut, "cut, or mask: the plan's channels become zero, the shapes stay")
	c.Flags().StringVar(&f.grain, "grain", grainChannel, "channel; filter: only those tied to no other layer; or kernel: single kernels become zero, the shapes stay")
	c.Flags().StringVar(&f.plan.Criterion, "criterion", f.plan.Criterion, "one of "+strings.Join(plan.Criteria, ", "))
	c.Flags().StringVar(&f.plan.Strategy, "strategy", f.plan.Strategy, "one of "+strings.Join(pipeline.Strategies, ", "))
	c.Flags().StringVar(&f.plan.Normalize, "normalize", "", "one of "+strings.Join(plan.Normalizations, ", ")+"; by default none for global, layer for the others")
	c.Flags().Float64Var(&f.flops, "target-flops", 0, "fraction of the FLOPs to remove")
	c.Flags().Float64Var(&f.params, "target-params", 0, "fraction of the parameters to remove")
	c.Flags().Float64Var(&f.ratio, "ratio", 0, "fraction of the channels to remove, or of the kernels to zero")
	c.Flags().Float64Var(&f.bytes, "target-bytes", 0, "fraction of the weights file to remove")
	c.Flags().Float64Var(&f.latency, "target-latency", 0, "fraction of an image's time on this machine to remove")
	c.Flags().StringVar(&f.layers, "layer-ratios", "", "fractions of channels by layer, with --strategy layers, such as 5=0.3,7-9=0.5")
	c.Flags().StringVar(&f.plan.Combine, "combine", "", "how the scores of tied layers add up: one of "+strings.Join(importance.Combines, ", ")+"; by default sum")
	c.Flags().StringVar(&f.plan.Members, "members", "", "how each tied layer's scores are normalised before that: one of "+strings.Join(plan.Normalizations, ", ")+"; by default none")
	c.Flags().Uint64Var(&f.plan.Seed, "seed", 1, "of the criterion random")
	c.Flags().IntVar(&f.candidates, "candidates", 30, "plans that --strategy search tries")
	c.Flags().StringVar(&f.cache, "cache", "", "file that keeps what --strategy sensitivity has measured, for the next cut of the same weights")
	c.Flags().IntVar(&f.judge, "judge", 0, "images that --strategy search or sensitivity measures on, the first of the annotations; 0: all")
	c.Flags().IntVar(&f.blocks, "blocks", 0, "take out so many whole blocks, those that score lowest, before channels are cut")
	c.Flags().IntVar(&f.plan.Align, "align", f.plan.Align, "kept channels are a multiple of it")
	c.Flags().Float64Var(&f.plan.Floor, "floor", f.plan.Floor, "fraction that every layer keeps at least")
	c.Flags().StringVar(&f.skip, "skip", "", "layers to leave alone: indices, ranges, types and patterns, such as 0,5-9,shortcut,convolutional-1?; before-heads is what the heads read")
	c.Flags().StringVar(&f.fold, "fold", string(surgery.Beta), "what stands for a removed channel: none, beta, expected, or measured, with --images")
	c.Flags().StringVar(&f.images, "images", "", "folder of images for recalibration")
	c.Flags().StringVar(&f.annotations, "annotations", "", "their COCO annotations")
	c.Flags().IntVar(&f.recalibrate, "recalibrate", 200, "images to measure the batch norms on, with --images; 0: none")
	c.Flags().Float64Var(&f.maxDrop, "max-drop", 1, "largest loss of AP50 after recalibration, with --images")
	c.Flags().BoolVar(&f.force, "force", false, "write the result even if --max-drop is missed, and overwrite an earlier one")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the layers before and after, write nothing")
}

// settle checks how the flags fit together.
func (f *pruneFlags) settle(c *cobra.Command) error {
	for _, check := range []func(*cobra.Command) error{f.settleFiles, f.settleMode, f.settlePlan, f.settleImages} {
		if err := check(c); err != nil {
			return err
		}
	}
	if f.out == "" {
		return nil
	}
	return refuseExisting(f.force, filepath.Join(f.out, f.name()+".cfg"), filepath.Join(f.out, f.name()+".weights"), filepath.Join(f.out, "plan.json"))
}

// name is what the network is called that is written.
func (f *pruneFlags) name() string {
	if f.mode == modeMask {
		return "masked"
	}
	return "pruned"
}

func (f *pruneFlags) settleFiles(c *cobra.Command) error {
	need := []string{"cfg"}
	if !f.dryRun || !c.Flags().Changed("plan") {
		need = append(need, "weights")
	}
	if c.Flags().Changed("plan") {
		need = append(need, "plan")
	}
	if !f.dryRun {
		need = append(need, "out")
	}
	if err := require(c, need...); err != nil || !f.dryRun {
		return err
	}
	return refuse(c, "--dry-run writes and measures nothing", "images", "annotations", "recalibrate", "max-drop", "fold")
}

func (f *pruneFlags) settleMode(c *cobra.Command) error {
	if err := oneOf("mode", f.mode, modeCut, modeMask); err != nil {
		return err
	}
	if err := oneOf("grain", f.grain, grainChannel, grainFilter, grainKernel); err != nil {
		return err
	}
	if f.grain == grainKernel {
		if c.Flags().Changed("mode") && f.mode == modeCut {
			return usagef("--grain kernel: a single kernel can be made zero, but not cut: use --mode mask")
		}
		f.mode = modeMask
		return refuse(c, "--grain kernel takes --ratio of every layer's kernels by their L1 norm",
			"plan", "criterion", "combine", "members", "seed", "strategy", "normalize", "target-flops", "target-params", "target-bytes", "target-latency",
			"layer-ratios", "blocks", "align", "floor", "fold")
	}
	f.plan.Grain = f.grain
	if f.mode == modeMask {
		return refuse(c, "--mode mask makes channels zero, and folds nothing", "fold")
	}
	return nil
}

// settlePlan checks what is asked for.
func (f *pruneFlags) settlePlan(c *cobra.Command) error {
	if f.planFile != "" {
		if err := refuse(c, "--plan says what is kept", "criterion", "combine", "members", "seed", "strategy", "normalize", "grain",
			"target-flops", "target-params", "ratio", "target-bytes", "target-latency", "layer-ratios", "blocks", "align", "floor", "skip"); err != nil {
			return err
		}
		return f.checkPlan()
	}
	n := 0
	for _, t := range []struct {
		flag     string
		value    float64
		quantity plan.Quantity
	}{{"target-flops", f.flops, plan.FLOPs}, {"target-params", f.params, plan.Params}, {"ratio", f.ratio, plan.Channels}, {"target-bytes", f.bytes, plan.Bytes}, {"target-latency", f.latency, plan.Time}} {
		if !c.Flags().Changed(t.flag) {
			continue
		}
		if !(t.value > 0 && t.value < 1) {
			return usagef("--%s %g: not in (0, 1); it is the fraction to remove", t.flag, t.value)
		}
		f.plan.Target = plan.Target{Quantity: t.quantity, Ratio: t.value}
		n++
	}
	if f.grain == grainKernel && n != 1 {
		return usagef("--grain kernel needs --ratio")
	}
	if c.Flags().Changed("blocks") && f.blocks < 1 {
		return usagef("--blocks %d: not positive", f.blocks)
	}
	if c.Flags().Changed("layer-ratios") != (f.plan.Strategy == "layers") {
		return usagef("--strategy layers and --layer-ratios go together")
	}
	if f.plan.Strategy == "layers" {
		if n > 0 || f.blocks > 0 {
			return usagef("--strategy layers takes its fractions from --layer-ratios: no target and no --blocks beside it")
		}
		n = 1
	}
	if n > 1 || n == 0 && f.blocks == 0 {
		return usagef("%s needs one of --target-flops, --target-params, --target-bytes, --target-latency and --ratio, or --blocks, or --plan, got %d", c.CommandPath(), n)
	}
	if err := f.settleLayers(); err != nil {
		return err
	}
	if f.skip != "" {
		f.plan.Skip = strings.Split(f.skip, ",")
	}
	return f.checkPlan()
}

// settleLayers reads --layer-ratios.
func (f *pruneFlags) settleLayers() error {
	if f.layers == "" {
		return nil
	}
	f.plan.Layers = map[string]float64{}
	for _, entry := range strings.Split(f.layers, ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(entry), "=")
		v, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil || !(v >= 0 && v < 1) {
			return usagef("--layer-ratios %s: %q is not a layer and a fraction in [0, 1), such as 5=0.3", f.layers, entry)
		}
		if _, twice := f.plan.Layers[name]; twice {
			return usagef("--layer-ratios %s: %s stands twice", f.layers, name)
		}
		f.plan.Layers[name] = v
	}
	return nil
}

func (f *pruneFlags) settleImages(c *cobra.Command) error {
	if err := f.settleJudge(c); err != nil {
		return err
	}
	if (f.images == "") != (f.annotations == "") {
		return usagef("--images and --annotations go together")
	}
	for _, flag := range []string{"max-drop", "recalibrate"} {
		if c.Flags().Changed(flag) && f.images == "" {
			return usagef("--%s needs --images and --annotations", flag)
		}
	}
	if !(f.maxDrop >= 0 && f.maxDrop <= 1) {
		return usagef("--max-drop %g: not in [0, 1]", f.maxDrop)
	}
	if f.recalibrate < 0 {
		return usagef("--recalibrate %d: negative; 0 is none", f.recalibrate)
	}
	return nil
}

// settleJudge checks what strategies and criteria need images for.
func (f *pruneFlags) settleJudge(c *cobra.Command) error {
	judged := f.planFile == "" && pipeline.NeedsJudge(f.plan.Strategy)
	measured, _ := importance.Needs(f.plan.Criterion)
	if f.fold == string(surgery.Measured) && f.images == "" {
		return usagef("--fold measured needs --images and --annotations")
	}
	if (judged || measured && f.planFile == "") && f.images == "" {
		what := "--strategy " + f.plan.Strategy
		if !judged {
			what = "--criterion " + f.plan.Criterion
		}
		return usagef("%s needs --images and --annotations", what)
	}
	if f.candidates < 1 || f.judge < 0 {
		return usagef("--candidates has to be positive, --judge not negative")
	}
	if !judged {
		if err := refuse(c, "no cuts are judged without --strategy search or sensitivity", "judge"); err != nil {
			return err
		}
	}
	if f.plan.Strategy != pipeline.StrategySensitivity {
		if err := refuse(c, "only --strategy sensitivity keeps what it measures", "cache"); err != nil {
			return err
		}
	}
	if f.plan.Strategy != pipeline.StrategySearch {
		return refuse(c, "only --strategy search has candidates", "candidates")
	}
	return nil
}

// oneOf says which values a flag has; an empty one is not among them.
func oneOf(flag, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return usagef("--%s %s: unknown; there is %s", flag, value, strings.Join(known, ", "))
}

// checkPlan checks the flags that do not depend on the network.
func (f *pruneFlags) checkPlan() error { return checkCutFlags(f.plan, f.fold) }

// checkCutFlags checks what the commands that plan cuts have in common.
func checkCutFlags(o plan.Options, fold string) error {
	folds := make([]string, len(surgery.Folds))
	for i, fold := range surgery.Folds {
		folds[i] = string(fold)
	}
	for _, x := range []struct {
		flag, value string
		known       []string
	}{
		{"criterion", o.Criterion, plan.Criteria}, {"strategy", o.Strategy, pipeline.Strategies},
		{"normalize", o.Normalize, plan.Normalizations}, {"combine", o.Combine, importance.Combines}, {"members", o.Members, plan.Normalizations}, {"fold", fold, folds},
	} {
		if x.value == "" {
			continue
		}
		if err := oneOf(x.flag, x.value, x.known...); err != nil {
			return err
		}
	}
	if o.Align < 1 {
		return usagef("--align %d: not positive; 1 allows any number of channels", o.Align)
	}
	if !(o.Floor >= 0 && o.Floor < 1) {
		return usagef("--floor %g: not in [0, 1)", o.Floor)
	}
	return nil
}

// outcome is a network after pruning, and what is told and written of it.
type outcome struct {
	graph   *graph.Graph // nil for a dry run without weights
	summary string
	table   func() error
	write   func(dir string) error // all files but the network's
}

// prune works in a folder beside the result, which takes its place only when
// the result is accepted.
func (a *app) prune(ctx context.Context, f pruneFlags) error {
	s := &staging{out: f.out}
	return a.interruptible(ctx, s, func() error {
		g, err := a.load(f.cfg, f.weights)
		if err != nil {
			return err
		}
		if f.images != "" {
			if f.set, err = a.detectorSet(f.cfg, g, f.images, f.annotations); err != nil {
				return err
			}
		}
		o, err := a.outcome(f, g)
		if err != nil {
			return err
		}
		if f.dryRun {
			return a.printOutcome(o)
		}
		return a.accept(f, g, o, s)
	})
}

func (a *app) outcome(f pruneFlags, g *graph.Graph) (*outcome, error) {
	if f.grain == grainKernel {
		return a.zeroKernels(f, g)
	}
	p, err := a.planFor(f, g)
	if err != nil {
		return nil, err
	}
	o := &outcome{summary: p.Summary(), table: func() error { return a.planTable(p.Rows) }, write: p.Write}
	switch {
	case f.weights == "":
	case f.mode == modeMask:
		o.graph, err = surgery.Mask(g, p.Plan)
	default:
		var fold surgery.Options
		if fold, err = f.foldOptions(g); err != nil {
			return nil, err
		}
		o.graph, err = surgery.Apply(g, p.Plan, fold)
	}
	if f.mode == modeMask {
		o.summary += "; masked: these channels are zero, and shapes, FLOPs and file size stay until they are cut"
	}
	return o, err
}

// foldOptions measures means, where they are asked for.
func (f *pruneFlags) foldOptions(g *graph.Graph) (o surgery.Options, err error) {
	o.Fold = surgery.Fold(f.fold)
	if o.Fold == surgery.Measured {
		o.Means, err = pipeline.Means(g, f.set, 0, false)
	}
	return o, err
}

func (a *app) planFor(f pruneFlags, g *graph.Graph) (*pipeline.Planned, error) {
	ask := pipeline.Ask{File: f.planFile, Blocks: f.blocks, Options: f.plan, Candidates: f.candidates, Cache: f.cache, Note: a.say}
	if f.set == nil || f.planFile != "" {
		return ask.Plan(g)
	}
	var err error
	if ask.Options.Evidence, err = pipeline.Evidence(g, f.set, f.plan.Criterion, 0, false); err != nil {
		return nil, err
	}
	if pipeline.NeedsJudge(f.plan.Strategy) {
		ask.Judge, err = pipeline.NewJudge(g, f.set, f.set, pipeline.JudgeOptions{
			Options: judged(g), Images: f.judge, Recalibrate: f.recalibrate, Fold: surgery.Options{Fold: surgery.Beta},
		})
		if err != nil {
			return nil, err
		}
	}
	return ask.Plan(g)
}

func (a *app) zeroKernels(f pruneFlags, g *graph.Graph) (*outcome, error) {
	skip, err := plan.SkipLayers(g, f.plan.Skip)
	if err != nil {
		return nil, err
	}
	out, s, err := surgery.ZeroKernels(g, f.ratio, skip...)
	if err != nil {
		return nil, err
	}
	already := ""
	if s.Before > 0 {
		already = fmt.Sprintf(", of which %d were zero before", s.Before)
	}
	return &outcome{
		graph: out,
		summary: fmt.Sprintf("asked for %.1f %% of every layer's kernels; kernels zeroed: %d of %d (%.1f %%)%s; shapes, FLOPs and file size stay the same, as the formats are dense",
			100*s.Ratio, s.Zero, s.Kernels, 100*s.Of(), already),
		table: func() error { return a.kernelTable(s.Layers) },
		write: func(dir string) error { return pipeline.WriteSparsity(dir, s) },
	}, nil
}

func (a *app) printOutcome(o *outcome) error {
	if err := o.table(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n", o.summary)
	return err
}

// planTable prints the convolutions before and after; the other layers follow.
func (a *app) planTable(layers []plan.Row) error {
	header := []string{"layer", "filters", "left", "params", "left", "MACs", "left", "kept whole"}
	var rows [][]string
	for _, r := range layers {
		if r.ParamsBefore == 0 {
			continue
		}
		row := []string{strconv.Itoa(r.Index)}
		for _, n := range []int64{int64(r.Before), int64(r.After), r.ParamsBefore, r.ParamsAfter, r.MACsBefore, r.MACsAfter} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, append(row, r.Protected))
	}
	return term.Table(a.out, header, rows)
}

func (a *app) kernelTable(layers []surgery.LayerKernel) error {
	header := []string{"layer", "kernels", "zero", "kept whole"}
	var rows [][]string
	for _, r := range layers {
		rows = append(rows, []string{strconv.Itoa(r.Index), strconv.Itoa(r.Kernels), strconv.Itoa(r.Zero), r.Whole})
	}
	return term.Table(a.out, header, rows)
}

// accept measures the outcome, where images are given, and writes it.
func (a *app) accept(f pruneFlags, g *graph.Graph, o *outcome, s *staging) error {
	if err := s.open(); err != nil {
		return err
	}
	a.say("prune: %s", o.summary)
	if f.images != "" {
		if err := a.repair(f, g, o.graph); err != nil {
			return err
		}
	}
	err := s.commit(func(dir string) error {
		if err := o.write(dir); err != nil {
			return err
		}
		return darknet.Save(filepath.Join(dir, f.name()+".cfg"), filepath.Join(dir, f.name()+".weights"), o.graph)
	})
	if err != nil {
		return err
	}
	a.say("wrote %s", filepath.Join(f.out, f.name()+".cfg"))
	return nil
}

// repair recalibrates the cut network, measures it against the whole one and
// applies --max-drop.
func (a *app) repair(f pruneFlags, g, cut *graph.Graph) error {
	set := f.set
	if f.recalibrate > 0 {
		if err := loop.Recalibrate(cut, set, f.recalibrate, 0, false); err != nil {
			return err
		}
	}
	o := judged(g)
	before, _, err := a.measure(g, set, o)
	if err != nil {
		return err
	}
	after, _, err := a.measure(cut, set, o)
	if err != nil {
		return err
	}
	if before.AP50 < 0 && f.maxDrop < 1 && !f.force {
		return fmt.Errorf("%s: no image has a box, so --max-drop cannot be judged: nothing was written", f.annotations)
	}
	fmt.Fprintf(a.out, "AP50 %s before, %s after the %s; AP %s, %s\n",
		precision(before.AP50), precision(after.AP50), f.mode, precision(before.AP), precision(after.AP))
	if drop := before.AP50 - after.AP50; drop > f.maxDrop && !f.force {
		return gateError{fmt.Errorf("the %s loses %.3f AP50, more than --max-drop %g: nothing was written; remove less, train for sparsity first, or write it all the same with --force", f.mode, drop, f.maxDrop)}
	}
	return nil
}

// detectorSet reads the images that a network is judged on, and checks that it
// can be.
func (a *app) detectorSet(cfg string, g *graph.Graph, images, annotations string) (*coco.Set, error) {
	set, err := coco.Load(annotations, images, coco.Options{})
	if err != nil {
		return nil, err
	}
	for _, line := range problems(set) {
		a.warn("warning: %s: %s", annotations, line)
	}
	if err := pipeline.CheckDetector(g); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg, err)
	}
	return set, validate.CheckClasses(g, set.Names())
}
