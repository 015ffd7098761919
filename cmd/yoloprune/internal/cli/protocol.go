package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/batch"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/head"
)

// protocolFlags adds the flags that say how boxes are measured.
func protocolFlags(c *cobra.Command, f *valFlags) {
	o := &f.o.Eval
	c.Flags().StringVar(&o.Protocol, "protocol", eval.ProtocolCOCO, "evaluation protocol: coco, darknet, voc07 or voc12; darknet also finds boxes as Darknet does for it (--conf 0.005 --nms 0.45 --nms-kind auto --resize darknet --max-det 0) unless flags say otherwise")
	c.Flags().BoolVar(&o.Exact, "exact", false, "coco: with the fault of pycocotools, which never finds an annotation whose id is 0")
	c.Flags().IntSliceVar(&f.maxDets, "max-dets", []int{1, 10, 100}, "coco: the three limits of detections an image and class")
	c.Flags().Float64Var(&o.IoU, "iou", 0.5, "voc07, voc12, darknet: overlap that a match must exceed")
	c.Flags().IntVar(&o.Points, "points", 0, "darknet: recall points, 11 or 101; 0: the area under the curve")
	c.Flags().Float64Var(&o.Threshold, "count-conf", 0.25, "darknet: score over which true and false positives are counted")
}

// protocolsOf says which protocols a flag is for.
var protocolsOf = map[string][]string{
	"exact":      {eval.ProtocolCOCO},
	"max-dets":   {eval.ProtocolCOCO},
	"iou":        {eval.ProtocolDarknet, eval.ProtocolVOC07, eval.ProtocolVOC12},
	"points":     {eval.ProtocolDarknet},
	"count-conf": {eval.ProtocolDarknet},
}

// setProtocol refuses flags of other protocols, and fills in what the protocol
// sets by itself.
func (f *valFlags) setProtocol(c *cobra.Command) error {
	o := &f.o.Eval
	if !slices.Contains(eval.Protocols, o.Protocol) {
		return usagef("--protocol %s: use coco, darknet, voc07 or voc12", o.Protocol)
	}
	for _, name := range slices.Sorted(maps.Keys(protocolsOf)) {
		if c.Flags().Changed(name) && !slices.Contains(protocolsOf[name], o.Protocol) {
			return usagef("--%s is for the protocol %s, not %s", name, strings.Join(protocolsOf[name], ", "), o.Protocol)
		}
	}
	switch o.Protocol {
	case eval.ProtocolCOCO:
		o.IoU, o.Threshold = 0, 0
		return f.setLimits()
	case eval.ProtocolDarknet:
		f.setDarknet(c)
	default:
		o.Threshold = 0
	}
	if !(o.IoU > 0 && o.IoU < 1) {
		return usagef("--iou %g: not in (0, 1)", o.IoU)
	}
	return nil
}

func (f *valFlags) setLimits() error {
	if len(f.maxDets) != len(f.o.Eval.MaxDets) {
		return usagef("--max-dets %v: three rising numbers are needed, such as 1,10,100", f.maxDets)
	}
	copy(f.o.Eval.MaxDets[:], f.maxDets)
	return nil
}

// setDarknet finds boxes as Darknet's detector map does.
func (f *valFlags) setDarknet(c *cobra.Command) {
	for name, set := range map[string]func(){
		"conf":     func() { f.o.Conf = 0.005 },
		"nms":      func() { f.o.NMS = 0.45 },
		"nms-kind": func() { f.o.NMSKind = head.NMSAuto },
		"resize":   func() { f.o.Fit.Resize = batch.Darknet },
		"max-det":  func() { f.o.MaxDet = 0 },
	} {
		if !c.Flags().Changed(name) {
			set()
		}
	}
}

// printResult prints the protocol and its numbers, those of every class, and the
// best F1.
func (a *app) printResult(r *eval.Result, d *pipeline.Details) error {
	fmt.Fprintf(a.out, "protocol: %s\n\n", r.Protocol.Evaluator)
	rows, name, header := cocoRows, "COCO", []string{"class", "truths", "AP", "AP50", "AR"}
	if r.Protocol.Name != eval.ProtocolCOCO {
		rows, name, header = otherRows, r.Protocol.Name, header[:3]
	}
	if err := term.Table(a.out, []string{name, "value"}, rows(r)); err != nil {
		return err
	}
	var classes [][]string
	for _, c := range r.PerClass {
		row := []string{c.Category.Name, fmt.Sprint(c.Truths), precision(c.MeanAP), precision(c.AP50), precision(c.AR100)}
		classes = append(classes, row[:len(header)])
	}
	fmt.Fprintln(a.out)
	if err := term.Table(a.out, header, classes); err != nil {
		return err
	}
	best := d.BestF1
	_, err := fmt.Fprintf(a.out, "\nbest F1 at IoU .50: %.3f for scores from %.4g on: precision %.3f, recall %.3f\n", best.F1, best.Score, best.Precision, best.Recall)
	return err
}

func cocoRows(r *eval.Result) (rows [][]string) {
	limits := r.Protocol.MaxDets
	for _, x := range []struct {
		name string
		v    float64
	}{
		{"AP  .50:.95", r.AP}, {"AP  .50", r.AP50}, {"AP  .75", r.AP75}, {"AP  small", r.APs}, {"AP  medium", r.APm}, {"AP  large", r.APl},
		{fmt.Sprint("AR  ", limits[0]), r.AR1}, {fmt.Sprint("AR  ", limits[1]), r.AR10}, {fmt.Sprint("AR  ", limits[2]), r.AR100},
		{"AR  small", r.ARs}, {"AR  medium", r.ARm}, {"AR  large", r.ARl},
	} {
		rows = append(rows, []string{x.name, precision(x.v)})
	}
	return rows
}

// otherRows are the numbers of a protocol with one IoU threshold.
func otherRows(r *eval.Result) [][]string {
	rows := [][]string{{fmt.Sprintf("mAP  %g", r.Protocol.IoU[0]), precision(r.MeanAP)}}
	n := r.AtScore
	if n == nil {
		return rows
	}
	return append(rows,
		[]string{fmt.Sprintf("TP, score over %g", n.Score), fmt.Sprint(n.TP)}, []string{"FP", fmt.Sprint(n.FP)}, []string{"FN", fmt.Sprint(n.FN)},
		[]string{"precision", precision(n.Precision)}, []string{"recall", precision(n.Recall)}, []string{"F1", precision(n.F1)},
		[]string{"average IoU", precision(n.AverageIoU)})
}
