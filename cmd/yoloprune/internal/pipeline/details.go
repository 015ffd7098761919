package pipeline

import (
	"os"
	"path/filepath"

	"yoloprune/pruning/report"
	"yoloprune/yolo/eval"
)

// The thresholds of the curves and of the confusion matrix; the latter are those
// of YOLOv7's.
const (
	curveIoU       = 0.5
	confusionScore = 0.25
	confusionIoU   = 0.45
)

// Details is what a measurement says beyond COCO's twelve numbers.
type Details struct {
	MeanAP    float64                 `json:"mAP"` // the protocol's own number
	PerIoU    []eval.AtIoU            `json:"per_iou"`
	PerClass  map[string]ClassDetails `json:"per_class"`
	AtScore   *eval.Counts            `json:"at_score,omitempty"` // Darknet's counts
	BestF1    eval.Point              `json:"best_f1"`
	Confusion Confusion               `json:"confusion"`

	curves *eval.Curves
	matrix *eval.Confusion
}

// ClassDetails are one class's numbers, and the score of its best F1.
type ClassDetails struct {
	Truths int     `json:"truths"`
	MeanAP float64 `json:"mAP"`
	eval.Numbers
	BestF1 eval.Point `json:"best_f1"`
}

// Confusion is a confusion matrix: rows are truths, columns detections, the last
// of both the background.
type Confusion struct {
	Score  float64  `json:"score"`
	IoU    float64  `json:"iou"`
	Labels []string `json:"labels"`
	Counts [][]int  `json:"counts"`
}

// NewDetails computes them for detections whose result is known.
func NewDetails(gt *eval.GroundTruth, dets []eval.Detection, r *eval.Result) (*Details, error) {
	d := &Details{MeanAP: r.MeanAP, PerIoU: r.PerIoU, PerClass: map[string]ClassDetails{}, AtScore: r.AtScore}
	var err error
	if d.curves, err = eval.TraceCurves(gt, dets, curveIoU); err != nil {
		return nil, err
	}
	if d.matrix, err = eval.Confuse(gt, dets, confusionScore, confusionIoU); err != nil {
		return nil, err
	}
	d.BestF1 = d.curves.All.Best()
	for k, c := range r.PerClass {
		d.PerClass[c.Category.Name] = ClassDetails{c.Truths, c.MeanAP, c.Numbers, d.curves.Classes[k].Best()}
	}
	d.Confusion = Confusion{confusionScore, confusionIoU, d.matrix.Labels(), d.matrix.Counts}
	return d, nil
}

// Plot writes PR.png and confusion.png into a folder.
func (d *Details) Plot(dir string) error {
	if err := report.PlotPR(d.curves, filepath.Join(dir, "PR.png")); err != nil {
		return err
	}
	return report.PlotConfusion(d.matrix, filepath.Join(dir, "confusion.png"))
}

// WriteMeasurement writes metrics.json, PR.png, confusion.png and, of a network,
// its predictions.json into a folder.
func WriteMeasurement(dir string, metrics any, d *Details, dets []eval.Detection) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if dets != nil {
		if err := writePredictions(filepath.Join(dir, "predictions.json"), dets); err != nil {
			return err
		}
	}
	if err := d.Plot(dir); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, "metrics.json"), metrics)
}
