package cli

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/batch"
	"yoloprune/datasets/coco"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

type valFlags struct {
	cfg, weights, images, annotations, names, predictions string
	letterbox, out                                        string
	maxDets                                               []int
	o                                                     validate.Options
	json                                                  bool
}

func (a *app) valCommand() *cobra.Command {
	var f valFlags
	c := &cobra.Command{
		Use: "val", Short: "Measure average precision on a COCO-style image set, or of a predictions file", Args: noArgs,
		Example: `  yoloprune val --cfg model.cfg --weights model.weights --images images --annotations val.json
  yoloprune val --predictions predictions.json --annotations val.json
  yoloprune val --predictions predictions.json --annotations val.json --protocol voc07`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.setProtocol(c); err != nil {
				return err
			}
			if err := checkDetection(f.o, f.letterbox); err != nil {
				return err
			}
			if f.predictions != "" {
				if err := require(c, "annotations"); err != nil {
					return err
				}
				if err := refuse(c, "--predictions measures a file, not a network", networkFlags...); err != nil {
					return err
				}
				return a.valPredictions(f)
			}
			if err := require(c, "cfg", "weights", "images", "annotations"); err != nil {
				return err
			}
			return a.valModel(f)
		},
	}
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.images, "images", "", "folder of the images")
	c.Flags().StringVar(&f.annotations, "annotations", "", "COCO annotations")
	c.Flags().StringVar(&f.names, "names", "", "names file; its order must be that of the annotations' categories")
	c.Flags().StringVar(&f.predictions, "predictions", "", "COCO detections to measure instead of a network")
	c.Flags().StringVar(&f.out, "out", "", "folder for metrics.json, predictions.json, PR.png and confusion.png")
	protocolFlags(c, &f)
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	c.Flags().IntVar(&f.o.Batch, "batch", 16, "images a forward pass")
	c.Flags().BoolVar(&f.o.SkipBad, "skip-bad", false, "go on without images that cannot be read")
	detectionFlags(c, &f.o, &f.letterbox, detection{0.001, 0.65, head.NMSDefault})
	return c
}

// detection has what commands find boxes with unless flags say otherwise.
type detection struct {
	conf, nms float64
	kind      string
}

// detectionFlags adds the flags that say how boxes are found.
func detectionFlags(c *cobra.Command, o *validate.Options, letterbox *string, d detection) {
	c.Flags().StringVar(&o.Fit.Resize, "resize", batch.Bilinear, "how images are resized: bilinear, as OpenCV's dnn module does; area; or darknet")
	c.Flags().StringVar(letterbox, "letterbox", "auto", "keep the image's aspect and pad with grey: true, false, or auto, which is as letter_box in the cfg says")
	c.Flags().Lookup("letterbox").NoOptDefVal = "true"
	c.Flags().Float64Var(&o.Conf, "conf", d.conf, "score threshold")
	c.Flags().Float64Var(&o.NMS, "nms", d.nms, "overlap over which the weaker box of a class is suppressed")
	c.Flags().StringVar(&o.NMSKind, "nms-kind", d.kind, "the overlap's measure: default, which is the IoU, greedynms, diounms, or auto, which is as the cfg says")
	c.Flags().IntVar(&o.MaxDet, "max-det", 300, "boxes kept of an image")
	c.Flags().IntVar(&o.Threads, "threads", 0, "OpenMP threads; 0: one a core")
}

// networkFlags are the flags of val that --predictions has no use for.
var networkFlags = []string{"cfg", "weights", "images", "names", "resize", "letterbox", "conf", "nms", "nms-kind", "max-det", "batch", "threads", "skip-bad"}

// maxThreads is the experiment file's limit, too; OpenMP crashes at numbers far
// above it.
const maxThreads = 1024

// checkDetection checks the values of those flags.
func checkDetection(o validate.Options, letterbox string) error {
	err := o.Check()
	switch {
	case err != nil:
		return usageError{err}
	case !slices.Contains([]string{"auto", "true", "false"}, letterbox):
		return usagef("--letterbox=%s: use true, false or auto", letterbox)
	case o.Batch < 1:
		return usagef("--batch %d: not a number of images from 1 on", o.Batch)
	case o.Threads < 0 || o.Threads > maxThreads:
		return usagef("--threads %d: not in [0, %d]; 0 is one a core", o.Threads, maxThreads)
	}
	return nil
}

// letterboxes says what --letterbox means for a network.
func letterboxes(flag string, g *graph.Graph) bool {
	if flag == "auto" {
		return head.Letterboxed(g.Net)
	}
	return flag == "true"
}

func (a *app) valPredictions(f valFlags) error {
	gt, err := readTruth(f.annotations)
	if err != nil {
		return err
	}
	file, err := os.Open(f.predictions)
	if err != nil {
		return err
	}
	defer file.Close()
	dets, err := eval.ReadDetectionsOf(gt, f.predictions, file)
	if err != nil {
		return err
	}
	if n := gt.AreasFromBoxes; n > 0 {
		a.warn("warning: %s: %d annotations have no area; width x height of the box is taken", f.annotations, n)
	}
	r, err := eval.Measure(gt, dets, f.o.Eval)
	if err != nil {
		return err
	}
	m := &pipeline.Metrics{}
	m.Images = len(gt.Images)
	m.SetResult(r)
	if m.Details, err = pipeline.NewDetails(gt, dets, r); err != nil {
		return err
	}
	if f.out != "" {
		if err := pipeline.WriteMeasurement(f.out, predictionsJSON(m, r), m.Details, nil); err != nil {
			return err
		}
	}
	if f.json {
		return a.printJSON(predictionsJSON(m, r))
	}
	return a.printResult(r, m.Details)
}

// predictionsJSON leaves out what a predictions file does not tell.
func predictionsJSON(m *pipeline.Metrics, r *eval.Result) map[string]any {
	return map[string]any{
		"AP": m.AP, "AP50": m.AP50, "AP75": m.AP75, "APs": m.APs, "APm": m.APm, "APl": m.APl,
		"AR1": m.AR1, "AR10": m.AR10, "AR100": m.AR100, "ARs": m.ARs, "ARm": m.ARm, "ARl": m.ARl,
		"classes": m.Classes, "classes50": m.Classes50, "images": m.Images,
		"protocol": r.Protocol, "details": m.Details,
	}
}

func readTruth(path string) (*eval.GroundTruth, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return eval.ReadGroundTruth(path, file)
}

func (a *app) valModel(f valFlags) error {
	g, err := a.load(f.cfg, f.weights)
	if err != nil {
		return err
	}
	if err := pipeline.CheckDetector(g); err != nil {
		return fmt.Errorf("%s: %w", f.cfg, err)
	}
	f.o.Fit.Letterbox = letterboxes(f.letterbox, g)
	set, err := a.openSet(f, g)
	if err != nil {
		return skipHint(err, f.o.SkipBad)
	}
	for _, line := range problems(set) {
		a.warn("warning: %s: %s", f.annotations, line)
	}
	r, err := a.run(g, set, f.o)
	if err != nil {
		return skipHint(err, f.o.SkipBad)
	}
	m := pipeline.NewMetrics(g, r, set.Len())
	if m.Details, err = pipeline.NewDetails(r.Truth, r.Detections, r.Result); err != nil {
		return err
	}
	if f.out != "" {
		if err := pipeline.WriteMeasurement(f.out, m, m.Details, r.Detections); err != nil {
			return err
		}
	}
	if f.json {
		return a.printJSON(m)
	}
	fmt.Fprintf(a.out, "%s: %s parameters, %.3f GFLOPs at %dx%d, %d images\n", f.cfg, term.SI(float64(m.Params)), float64(m.FLOPs)/1e9, m.Input[0], m.Input[1], m.Images)
	return a.printResult(r.Result, m.Details)
}

// skipHint names the flag that lets the measurement go on without bad images.
func skipHint(err error, skipped bool) error {
	if skipped || !pipeline.BadImage(err) {
		return err
	}
	return fmt.Errorf("%w; --skip-bad leaves such images out", err)
}

func problems(set *coco.Set) []string {
	p := set.Problems()
	return p.Lines()
}

func (a *app) openSet(f valFlags, g *graph.Graph) (*coco.Set, error) {
	var names []string
	if f.names != "" {
		var err error
		if names, err = readNames(f.names, g.Heads()[0].Yolo().Classes); err != nil {
			return nil, err
		}
	}
	set, err := coco.Load(f.annotations, f.images, coco.Options{SkipBad: f.o.SkipBad})
	if err != nil {
		return nil, err
	}
	renamed, err := matchNames(f.names, names, f.annotations, set.Names())
	if renamed != "" {
		a.warn("warning: %s", renamed)
	}
	return set, err
}

// measure runs a network over an image set.
func (a *app) measure(g *graph.Graph, set *coco.Set, o validate.Options) (*pipeline.Metrics, *eval.Result, error) {
	r, err := a.run(g, set, o)
	if err != nil {
		return nil, nil, err
	}
	return pipeline.NewMetrics(g, r, set.Len()), r.Result, nil
}

func (a *app) run(g *graph.Graph, set *coco.Set, o validate.Options) (*validate.Result, error) {
	v, err := validate.New(set, g.Net.Width, g.Net.Height, o)
	if err != nil {
		return nil, err
	}
	r, err := v.Run(g, nil)
	if err != nil {
		return nil, err
	}
	if r.Skipped > 0 {
		a.warn("warning: %d unreadable images left out", r.Skipped)
	}
	return r, nil
}
