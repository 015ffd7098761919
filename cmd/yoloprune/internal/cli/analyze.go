package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/batch"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/report"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

type analyzeFlags struct {
	cfg, weights, images, annotations, out string
	calibration                            string
	criteria, strategies                   string
	skip, fold, ratios, layers             string
	judged, recalibrate, candidates        int
	maxDrop                                float64
	sensitivity, json, force               bool
	plan                                   plan.Options
}

func (a *app) analyzeCommand() *cobra.Command {
	f := analyzeFlags{plan: plan.Defaults(plan.Target{})}
	c := &cobra.Command{
		Use: "analyze --cfg MODEL.cfg --weights MODEL.weights [--images DIR --annotations F]", Short: "Say what a cut would cost, before it is made", Args: noArgs,
		Long: `Say what a cut would cost, before it is made.

The batch-norm scales show whether the network was trained for sparsity. With
--images and --annotations it is cut to several fractions of its FLOPs, and the
precision of each cut is measured right after it and with the batch norms
measured again; nothing is trained. Several criteria and strategies, with commas
between them, are compared, each with each. --sensitivity cuts every group of layers
alone, too. --out DIR receives analysis.json, scales.png, curve.png and
sensitivity.png.`,
		Example: `  yoloprune analyze --cfg m.cfg --weights m.weights
  yoloprune analyze --cfg m.cfg --weights m.weights --images img --annotations val.json --sensitivity --out analysis`,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.settle(c)
			if err != nil {
				return err
			}
			return a.analyze(f, o)
		},
	}
	f.register(c)
	return c
}

func (f *analyzeFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.images, "images", "", "folder of images")
	c.Flags().StringVar(&f.annotations, "annotations", "", "their COCO annotations")
	c.Flags().StringVar(&f.calibration, "calibration", "", "annotations of other images in the same folder, to measure batch norms and criteria on; by default --annotations")
	c.Flags().StringVar(&f.out, "out", "", "folder for analysis.json and pictures")
	c.Flags().StringVar(&f.criteria, "criterion", f.plan.Criterion, "one or several of "+strings.Join(plan.Criteria, ", "))
	c.Flags().StringVar(&f.strategies, "strategy", f.plan.Strategy, "one or several of "+strings.Join(pipeline.Strategies, ", "))
	c.Flags().StringVar(&f.plan.Normalize, "normalize", "", "one of "+strings.Join(plan.Normalizations, ", ")+"; by default none for global and regular, layer for the others")
	c.Flags().IntVar(&f.plan.Align, "align", f.plan.Align, "kept channels are a multiple of it")
	c.Flags().Float64Var(&f.plan.Floor, "floor", f.plan.Floor, "fraction that every layer keeps at least")
	c.Flags().StringVar(&f.skip, "skip", "", "layers to leave alone: indices, ranges and types, such as 0,5-9,heads")
	c.Flags().StringVar(&f.fold, "fold", string(surgery.Beta), "what stands for a removed channel: none, beta, expected or measured")
	c.Flags().StringVar(&f.ratios, "ratios", "0.1,0.2,0.4,0.6,0.8", "fractions of the FLOPs that the curve's cuts remove")
	c.Flags().BoolVar(&f.sensitivity, "sensitivity", false, "cut every group alone, too")
	c.Flags().StringVar(&f.layers, "layer-ratios", "0.25,0.5,0.75", "fractions of its channels that a group alone loses, with --sensitivity")
	c.Flags().IntVar(&f.judged, "judge", 0, "images to measure on, the first of the annotations; 0: all")
	c.Flags().IntVar(&f.recalibrate, "recalibrate", 100, "images to measure the batch norms on; 0: none")
	c.Flags().IntVar(&f.candidates, "candidates", 30, "plans that the strategy search tries for every ratio")
	c.Flags().Float64Var(&f.maxDrop, "max-drop", 0.02, "loss of AP50 that counts as none in the advice")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().BoolVar(&f.force, "force", false, "overwrite an earlier analysis")
}

// settle checks the flags and translates them.
func (f *analyzeFlags) settle(c *cobra.Command) (o pipeline.AnalyzeOptions, err error) {
	if err := require(c, "cfg", "weights"); err != nil {
		return o, err
	}
	if (f.images == "") != (f.annotations == "") {
		return o, usagef("--images and --annotations go together")
	}
	if f.images == "" {
		if err := refuse(c, "without --images and --annotations only the scales are looked at", "criterion", "strategy", "normalize", "align", "floor",
			"skip", "fold", "calibration", "ratios", "sensitivity", "layer-ratios", "judge", "recalibrate", "candidates", "max-drop"); err != nil {
			return o, err
		}
	}
	if c.Flags().Changed("layer-ratios") && !f.sensitivity {
		return o, usagef("--layer-ratios needs --sensitivity")
	}
	if f.candidates < 1 {
		return o, usagef("--candidates %d: not positive", f.candidates)
	}
	if f.judged < 0 || f.recalibrate < 0 {
		return o, usagef("--judge and --recalibrate count images: they are not negative")
	}
	if !(f.maxDrop >= 0 && f.maxDrop <= 1) {
		return o, usagef("--max-drop %g: not in [0, 1]", f.maxDrop)
	}
	if o.Ratios, err = fractions("ratios", f.ratios); err != nil {
		return o, err
	}
	if f.sensitivity {
		if o.Layers, err = fractions("layer-ratios", f.layers); err != nil {
			return o, err
		}
	}
	if f.skip != "" {
		f.plan.Skip = strings.Split(f.skip, ",")
	}
	if o.Plans, err = f.plans(); err != nil {
		return o, err
	}
	o.MaxDrop, o.Candidates = f.maxDrop, f.candidates
	if f.out == "" {
		return o, nil
	}
	return o, refuseExisting(f.force, filepath.Join(f.out, "analysis.json"))
}

// plans combines every criterion with every strategy.
func (f *analyzeFlags) plans() ([]plan.Options, error) {
	var out []plan.Options
	for _, s := range strings.Split(f.strategies, ",") {
		for _, c := range strings.Split(f.criteria, ",") {
			p := f.plan
			p.Criterion, p.Strategy = strings.TrimSpace(c), strings.TrimSpace(s)
			if err := checkCutFlags(p, f.fold); err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// fractions reads a list of numbers in (0, 1) and sorts it.
func fractions(flag, list string) ([]float64, error) {
	var out []float64
	for _, text := range strings.Split(list, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(v > 0 && v < 1) {
			return nil, usagef("--%s %s: %q is not a number in (0, 1)", flag, list, text)
		}
		out = append(out, v)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (a *app) analyze(f analyzeFlags, o pipeline.AnalyzeOptions) error {
	g, err := a.load(f.cfg, f.weights)
	if err != nil {
		return err
	}
	found := pipeline.Scales(g)
	if f.images != "" {
		if found, err = a.analyzeCuts(f, g, o); err != nil {
			return err
		}
	}
	found.Model = f.cfg
	found.Advise()
	if f.out != "" {
		if err := found.Write(f.out); err != nil {
			return err
		}
		a.say("wrote %s", filepath.Join(f.out, "analysis.json"))
	}
	if f.json {
		return a.printJSON(found)
	}
	return a.printAnalysis(found)
}

func (a *app) analyzeCuts(f analyzeFlags, g *graph.Graph, o pipeline.AnalyzeOptions) (*report.Analysis, error) {
	set, err := a.detectorSet(f.cfg, g, f.images, f.annotations)
	if err != nil {
		return nil, err
	}
	other := set
	if f.calibration != "" {
		if other, err = a.detectorSet(f.cfg, g, f.images, f.calibration); err != nil {
			return nil, err
		}
	}
	fold := surgery.Options{Fold: surgery.Fold(f.fold)}
	if fold.Fold == surgery.Measured {
		if fold.Means, err = pipeline.Means(g, other, 0, false); err != nil {
			return nil, err
		}
	}
	jo := pipeline.JudgeOptions{Options: judged(g), Images: f.judged, Recalibrate: f.recalibrate, Fold: fold}
	j, err := pipeline.NewJudge(g, other, set, jo)
	if err != nil {
		return nil, err
	}
	if o.Decider, err = pipeline.NewJudge(g, other, other, jo); err != nil {
		return nil, err
	}
	o.Note = a.say
	for i := range o.Plans {
		if o.Plans[i].Evidence, err = pipeline.Evidence(g, other, o.Plans[i].Criterion, 0, false); err != nil {
			return nil, err
		}
	}
	return pipeline.Analyze(g, j, o)
}

// judged are the options that cuts are compared with.
func judged(g *graph.Graph) validate.Options {
	return validate.Options{Batch: 16, Conf: 0.001, NMS: 0.65, MaxDet: 300, Fit: batch.Fit{Letterbox: head.Letterboxed(g.Net)}}
}

func (a *app) printAnalysis(r *report.Analysis) error {
	var rows [][]string
	for _, s := range r.Scales {
		rows = append(rows, []string{
			strconv.Itoa(s.Layer), strconv.Itoa(s.Channels), fmt.Sprintf("%.3g", s.Least), fmt.Sprintf("%.3g", s.Median), fmt.Sprintf("%.3g", s.Greatest), strconv.Itoa(s.NearZero),
		})
	}
	if err := term.Table(a.out, []string{"layer", "channels", "least |gamma|", "median", "greatest", "near zero"}, rows); err != nil {
		return err
	}
	if err := a.printCurves(r); err != nil {
		return err
	}
	if err := a.printDrops(r); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for _, line := range r.Advice {
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printCurves(r *report.Analysis) error {
	if len(r.Curves) == 0 {
		return nil
	}
	rows := [][]string{{"-", "-", "0.000", precision(*r.AP50), precision(*r.AP50), precision(*r.AP50)}}
	for _, c := range r.Curves {
		for _, p := range c.Points {
			rows = append(rows, []string{c.Criterion, c.Strategy, fmt.Sprintf("%.3f", p.FLOPs), precision(p.Raw), precision(p.Folded), precision(p.Recalibrated)})
		}
	}
	fmt.Fprintln(a.out)
	return term.Table(a.out, []string{"criterion", "strategy", "FLOPs removed", "AP50, no fold", "folded", "recalibrated"}, rows)
}

func (a *app) printDrops(r *report.Analysis) error {
	if len(r.Sensitivity) == 0 {
		return nil
	}
	head := []string{"AP50 lost by"}
	for _, x := range r.Ratios {
		head = append(head, fmt.Sprintf("-%g %%", 100*x))
	}
	var rows [][]string
	for _, l := range r.Sensitivity {
		row := []string{l.Group}
		for _, d := range l.Drops {
			if d == nil {
				row = append(row, "-")
				continue
			}
			row = append(row, fmt.Sprintf("%.3f", *d))
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(a.out)
	return term.Table(a.out, head, rows)
}
