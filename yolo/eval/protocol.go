package eval

import (
	"fmt"
	"slices"
	"strings"
)

// The protocols, under the names of --protocol.
const (
	ProtocolCOCO    = "coco"
	ProtocolDarknet = "darknet"
	ProtocolVOC07   = "voc07"
	ProtocolVOC12   = "voc12"
)

// Protocols lists them.
var Protocols = []string{ProtocolCOCO, ProtocolDarknet, ProtocolVOC07, ProtocolVOC12}

// Options choose a protocol. The zero value is COCO as published.
type Options struct {
	Protocol string // one of Protocols; "" is coco

	Exact   bool   // COCO: with pycocotools' fault, by which annotation 0 is never found
	MaxDets [3]int // COCO: rising limits per image and category; zero is 1, 10, 100

	IoU       float64 // VOC, Darknet: a match needs more than this; 0 is .5
	Points    int     // Darknet: recall points, 11 or 101; 0 is the area under the curve
	Threshold float64 // Darknet: the score above which Counts counts; 0 is .25
}

// Protocol says by which rules a result was made.
type Protocol struct {
	Name      string    `json:"name"`
	Evaluator string    `json:"evaluator"`          // the rules in words
	Mode      string    `json:"mode,omitempty"`     // COCO: mended or exact
	IoU       []float64 `json:"iou"`                // thresholds
	Points    int       `json:"points"`             // of recall, where precision is read; 0: the area
	MaxDets   []int     `json:"max_dets,omitempty"` // per image and category
}

// The modes of the COCO protocol.
const (
	Mended = "mended" // annotation 0 is found like any other
	Exact  = "exact"  // it never is, as in pycocotools
)

// Check says which option makes no sense.
func (o Options) Check() error {
	if o.Protocol != "" && !slices.Contains(Protocols, o.Protocol) {
		return fmt.Errorf("protocol %q: use one of %s", o.Protocol, strings.Join(Protocols, ", "))
	}
	if o.coco() {
		return o.checkCOCO()
	}
	switch {
	case o.Exact:
		return fmt.Errorf("exact: only the protocol coco has it, not %s", o.Protocol)
	case o.MaxDets != [3]int{}:
		return fmt.Errorf("limits of detections %v: only the protocol coco has them, not %s", o.MaxDets, o.Protocol)
	case !(o.IoU >= 0 && o.IoU < 1):
		return fmt.Errorf("IoU threshold %g: must be in [0, 1)", o.IoU)
	case o.Protocol == ProtocolDarknet:
		return o.checkDarknet()
	case o.Points != 0 || o.Threshold != 0:
		return fmt.Errorf("recall points or score threshold: %s has its own; only darknet lets them be chosen", o.Protocol)
	}
	return nil
}

func (o Options) coco() bool { return o.Protocol == "" || o.Protocol == ProtocolCOCO }

func (o Options) checkCOCO() error {
	if o.IoU != 0 || o.Points != 0 || o.Threshold != 0 {
		return fmt.Errorf("IoU threshold, recall points or score threshold: the protocol coco has its own; leave them out")
	}
	m := o.MaxDets
	if m != [3]int{} && !(0 < m[0] && m[0] < m[1] && m[1] < m[2]) {
		return fmt.Errorf("limits of detections %v: must be three rising numbers from 1 on", m)
	}
	return nil
}

func (o Options) checkDarknet() error {
	if !slices.Contains([]int{0, 11, 101}, o.Points) {
		return fmt.Errorf("%d recall points: use 11, 101, or 0 for the area under the curve", o.Points)
	}
	if !(o.Threshold >= 0 && o.Threshold < 1) {
		return fmt.Errorf("score threshold %g: must be in [0, 1)", o.Threshold)
	}
	return nil
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.coco() {
		o.Protocol = ProtocolCOCO
		if o.MaxDets == [3]int{} {
			o.MaxDets = [3]int{1, 10, 100}
		}
		return o
	}
	if o.IoU == 0 {
		o.IoU = .5
	}
	if o.Threshold == 0 {
		o.Threshold = .25
	}
	return o
}

// Describe returns the protocol that the options stand for.
func (o Options) Describe() Protocol {
	o = o.withDefaults()
	switch o.Protocol {
	case ProtocolVOC07:
		return Protocol{
			Name: o.Protocol, IoU: []float64{o.IoU}, Points: 11,
			Evaluator: fmt.Sprintf("PASCAL VOC 2007, 11 points, IoU over %g", o.IoU),
		}
	case ProtocolVOC12:
		return Protocol{
			Name: o.Protocol, IoU: []float64{o.IoU},
			Evaluator: fmt.Sprintf("PASCAL VOC 2010 to 2012, area under the curve, IoU over %g", o.IoU),
		}
	case ProtocolDarknet:
		points := "area under the curve"
		if o.Points > 0 {
			points = fmt.Sprintf("%d points", o.Points)
		}
		return Protocol{
			Name: o.Protocol, IoU: []float64{o.IoU}, Points: o.Points,
			Evaluator: fmt.Sprintf("Darknet detector map, %s, IoU over %g, mean over all classes", points, o.IoU),
		}
	}
	return o.describeCOCO()
}

func (o Options) describeCOCO() Protocol {
	p := cocoParams(o.MaxDets)
	out := Protocol{
		Name: ProtocolCOCO, Mode: Mended, IoU: p.ious, Points: numRecall, MaxDets: o.MaxDets[:],
		Evaluator: fmt.Sprintf("COCO bbox, %d points, IoU .50:.95, %d detections a class", numRecall, o.MaxDets[2]),
	}
	if o.Exact {
		out.Mode = Exact
		out.Evaluator += ", annotation 0 never found as in pycocotools"
	}
	return out
}

// Measure measures detections against the ground truth by the protocol of the
// options. The order of detections matters where scores are equal: within an
// image the earlier one is better, across images the lower image id.
//
// The error is a *FormatError for the first item that does not fit: an unknown
// or repeated id, a number that is not finite, a negative size.
func Measure(gt *GroundTruth, dets []Detection, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	c, err := checkedCells(gt, dets)
	if err != nil {
		return nil, err
	}
	var r *Result
	switch o.Protocol {
	case ProtocolVOC07, ProtocolVOC12:
		r = c.voc(o)
	case ProtocolDarknet:
		r = c.darknet(o)
	default:
		p := cocoParams(o.MaxDets)
		p.loseZero = o.Exact
		r = c.coco(p)
	}
	r.Protocol = o.Describe()
	return r, nil
}

// COCO measures by the COCO protocol as published; see Measure.
func COCO(gt *GroundTruth, dets []Detection) (*Result, error) {
	return Measure(gt, dets, Options{})
}

// checkedCells sorts the data after a check.
func checkedCells(gt *GroundTruth, dets []Detection) (*cells, error) {
	if gt == nil {
		gt = &GroundTruth{}
	}
	if err := gt.check(inMemory); err != nil {
		return nil, err
	}
	if err := CheckDetections("", gt, dets); err != nil {
		return nil, err
	}
	return newCells(gt, dets), nil
}
