package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/datasets/batch"
	"yoloprune/datasets/coco"
	"yoloprune/finetune/loop"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

type pruneFlags struct {
	cfg, weights, out, images, annotations, skip, fold string
	flops, params, ratio, maxDrop                      float64
	recalibrate                                        int
	force                                              bool
	plan                                               plan.Options
}

func (a *app) pruneCommand() *cobra.Command {
	f := pruneFlags{plan: plan.Defaults(plan.Target{})}
	c := &cobra.Command{
		Use: "prune --cfg MODEL.cfg --weights MODEL.weights --target-flops R --out DIR", Short: "Cut channels out of a trained network", Args: noArgs,
		Long: `Cut channels out of a trained network.

DIR receives pruned.cfg, pruned.weights, plan.json, groups.json, scores.json
and layers.json. With --images and --annotations the batch norms are measured
again on those images after the cut, and the average precision before and after
is printed; with --max-drop a cut that loses more is refused with exit code 3.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "cfg", "weights", "out"); err != nil {
				return err
			}
			if err := f.settle(c); err != nil {
				return err
			}
			return a.prune(f)
		},
	}
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.out, "out", "", "folder for the result")
	c.Flags().StringVar(&f.plan.Criterion, "criterion", f.plan.Criterion, "one of "+strings.Join(plan.Criteria, ", "))
	c.Flags().StringVar(&f.plan.Strategy, "strategy", f.plan.Strategy, "one of "+strings.Join(plan.Strategies, ", "))
	c.Flags().StringVar(&f.plan.Normalize, "normalize", "", "one of "+strings.Join(plan.Normalizations, ", ")+"; by default none for global, layer for the others")
	c.Flags().Float64Var(&f.flops, "target-flops", 0, "fraction of the FLOPs to remove")
	c.Flags().Float64Var(&f.params, "target-params", 0, "fraction of the parameters to remove")
	c.Flags().Float64Var(&f.ratio, "ratio", 0, "fraction of the channels to remove")
	c.Flags().IntVar(&f.plan.Align, "align", f.plan.Align, "kept channels are a multiple of it")
	c.Flags().Float64Var(&f.plan.Floor, "floor", f.plan.Floor, "fraction that every layer keeps at least")
	c.Flags().StringVar(&f.skip, "skip", "", "layers to leave alone: indices, ranges and types, such as 0,5-9,heads")
	c.Flags().StringVar(&f.fold, "fold", string(surgery.Expected), "what stands for a removed channel: none, beta or expected")
	c.Flags().StringVar(&f.images, "images", "", "folder of images for recalibration")
	c.Flags().StringVar(&f.annotations, "annotations", "", "their COCO annotations")
	c.Flags().IntVar(&f.recalibrate, "recalibrate", 200, "images to measure the batch norms on, with --images; 0: none")
	c.Flags().Float64Var(&f.maxDrop, "max-drop", 1, "largest loss of AP50 after recalibration, with --images")
	c.Flags().BoolVar(&f.force, "force", false, "write the result even if --max-drop is missed, and overwrite an earlier one")
	return c
}

// settle checks how the flags fit together.
func (f *pruneFlags) settle(c *cobra.Command) error {
	n := 0
	for _, t := range []struct {
		flag     string
		value    float64
		quantity plan.Quantity
	}{{"target-flops", f.flops, plan.FLOPs}, {"target-params", f.params, plan.Params}, {"ratio", f.ratio, plan.Channels}} {
		if !c.Flags().Changed(t.flag) {
			continue
		}
		if !(t.value > 0 && t.value < 1) {
			return usagef("--%s %g: not in (0, 1); it is the fraction to remove", t.flag, t.value)
		}
		f.plan.Target = plan.Target{Quantity: t.quantity, Ratio: t.value}
		n++
	}
	if n != 1 {
		return usagef("%s needs one of --target-flops, --target-params and --ratio, got %d", c.CommandPath(), n)
	}
	if err := f.checkPlan(); err != nil {
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
	if f.skip != "" {
		f.plan.Skip = strings.Split(f.skip, ",")
	}
	return refuseExisting(f.force, filepath.Join(f.out, "pruned.cfg"), filepath.Join(f.out, "pruned.weights"))
}

// checkPlan checks the flags that do not depend on the network.
func (f *pruneFlags) checkPlan() error {
	folds := make([]string, len(surgery.Folds))
	for i, fold := range surgery.Folds {
		folds[i] = string(fold)
	}
	for _, x := range []struct {
		flag, value string
		known       []string
	}{
		{"criterion", f.plan.Criterion, plan.Criteria}, {"strategy", f.plan.Strategy, plan.Strategies},
		{"normalize", f.plan.Normalize, plan.Normalizations}, {"fold", f.fold, folds},
	} {
		if x.value != "" && !slices.Contains(x.known, x.value) {
			return usagef("--%s %s: unknown; there is %s", x.flag, x.value, strings.Join(x.known, ", "))
		}
	}
	if f.plan.Align < 1 {
		return usagef("--align %d: not positive; 1 allows any number of channels", f.plan.Align)
	}
	if !(f.plan.Floor >= 0 && f.plan.Floor < 1) {
		return usagef("--floor %g: not in [0, 1)", f.plan.Floor)
	}
	return nil
}

// prune works in a folder beside the result, which takes its place only when
// the cut is accepted.
func (a *app) prune(f pruneFlags) error {
	g, err := a.load(f.cfg, f.weights)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(f.out)), 0o777); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(f.out)), ".prune-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	cut, err := pipeline.Cut(g, f.plan, surgery.Fold(f.fold), temp, a.say)
	if err != nil {
		return err
	}
	if f.images != "" {
		if err := a.repair(f, g, cut, temp); err != nil {
			return err
		}
	}
	if err := moveInto(temp, f.out); err != nil {
		return err
	}
	a.say("wrote %s", filepath.Join(f.out, "pruned.cfg"))
	return nil
}

// repair recalibrates the cut network, measures it against the whole one and
// applies --max-drop.
func (a *app) repair(f pruneFlags, g, cut *graph.Graph, dir string) error {
	set, err := coco.Load(f.annotations, f.images, coco.Options{})
	if err != nil {
		return err
	}
	for _, line := range problems(set) {
		a.warn("warning: %s: %s", f.annotations, line)
	}
	if err := pipeline.CheckDetector(g); err != nil {
		return fmt.Errorf("%s: %w", f.cfg, err)
	}
	if err := validate.CheckClasses(g, set.Names()); err != nil {
		return err
	}
	if f.recalibrate > 0 {
		if err := loop.Recalibrate(cut, set, f.recalibrate, 0, false); err != nil {
			return err
		}
		if err := darknet.Save("", filepath.Join(dir, "pruned.weights"), cut); err != nil {
			return err
		}
	}
	o := validate.Options{Batch: 16, Conf: 0.001, NMS: 0.65, MaxDet: 300, Fit: batch.Fit{Letterbox: head.Letterboxed(g.Net)}}
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
	fmt.Fprintf(a.out, "AP50 %s before, %s after the cut; AP %s, %s\n",
		precision(before.AP50), precision(after.AP50), precision(before.AP), precision(after.AP))
	if drop := before.AP50 - after.AP50; drop > f.maxDrop && !f.force {
		return gateError{fmt.Errorf("the cut loses %.3f AP50, more than --max-drop %g: nothing was written; remove less, train for sparsity first, or write it all the same with --force", drop, f.maxDrop)}
	}
	return nil
}

// moveInto moves the files of one folder into another, replacing its own.
func moveInto(from, to string) error {
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
