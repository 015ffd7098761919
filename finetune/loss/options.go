package loss

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The kinds of loss.
const (
	KindYOLOv4    = "yolov4"
	KindDarknet   = "darknet"
	KindYOLOv7    = "yolov7"
	KindYOLOv7OTA = "yolov7-ota"
)

// Kinds are the kinds of loss, the default first.
var Kinds = []string{KindYOLOv4, KindDarknet, KindYOLOv7, KindYOLOv7OTA}

// Options set the loss. A field left zero takes the default named beside it;
// one that the kind does not have must be left zero. "cfg" is the value of the
// head's [yolo] section.
type Options struct {
	Kind string // yolov4 (default), darknet, yolov7 or yolov7-ota

	// Gains of the three terms. yolov4: 3, 1, 1; yolov7: 0.05, 0.7, 0.3;
	// darknet: cfg (iou_normalizer, obj_normalizer, cls_normalizer).
	Box, Obj, Class float64

	IoULoss      string  // box term. yolov4: ciou (default), diou, giou or iou; darknet: those or mse, default cfg; yolov7: ciou
	LabelSmooth  float64 // e in y(1−e) + e/2 for class targets: 0; darknet: cfg
	AssignIoU    float64 // yolov4, darknet: anchors above it are assigned beside the best one: 0.213, cfg; 1 switches that off
	IgnoreThresh float64 // yolov4, darknet: background above this IoU with a truth adds no objectness loss: 0.7, cfg; 1 switches that off

	ClassCounts []float64 // yolov4, darknet: boxes of every class in the training set; rare ones then weigh more: none
	MaxWeight   float64   // yolov4, darknet: limit of those weights: 5; darknet: cfg (max_delta)
	Focal       float64   // exponent γ of the focal loss: 0, none; darknet's is fixed to 2
	FocalAlpha  float64   // yolov4, yolov7: α of the focal loss: 0.25

	ObjSmooth  []bool // darknet: objectness_smooth, one for each head or one for all: false
	AssignKind string // darknet: iou_thresh_kind: iou (default), giou, diou or ciou

	AnchorRatio float64   // yolov7: an anchor is assigned up to this ratio of sides: 4
	Balance     []float64 // yolov7: weight of objectness, one for each head from the smallest stride up: 4, 1, 0.4 for three heads, else 4, 1, 0.25, 0.06, 0.02
}

// Complete returns the options with the defaults of their kind filled in. Those
// that a head's [yolo] section gives stay zero.
func (o Options) Complete() Options {
	o.Kind = textOr(o.Kind, KindYOLOv4)
	switch o.Kind {
	case KindYOLOv4:
		fill([]standard{{&o.Box, 3}, {&o.Obj, 1}, {&o.Class, 1}, {&o.AssignIoU, .213}, {&o.IgnoreThresh, .7}, {&o.MaxWeight, 5}, {&o.FocalAlpha, .25}})
		o.IoULoss = textOr(o.IoULoss, "ciou")
	case KindYOLOv7, KindYOLOv7OTA:
		fill([]standard{{&o.Box, .05}, {&o.Obj, .7}, {&o.Class, .3}, {&o.AnchorRatio, 4}, {&o.FocalAlpha, .25}})
		o.IoULoss = textOr(o.IoULoss, "ciou")
	case KindDarknet:
		o.AssignKind = textOr(o.AssignKind, "iou")
	}
	return o
}

// standard is a field and the value that it takes if left zero.
type standard struct {
	field *float64
	value float64
}

func fill(list []standard) {
	for _, s := range list {
		*s.field = orElse(*s.field, s.value)
	}
}

func orElse(v, standard float64) float64 {
	if v == 0 {
		return standard
	}
	return v
}

func textOr(text, standard string) string {
	if text == "" {
		return standard
	}
	return text
}

// setting is a number of the options with its limits. zero says that it may be
// left zero.
type setting struct {
	name       string
	value, max float64
	kinds      []string
	zero       bool
}

func (o *Options) settings() []setting {
	v4, v7 := []string{KindYOLOv4, KindDarknet}, []string{KindYOLOv7, KindYOLOv7OTA}
	cfg := o.Kind == KindDarknet
	return []setting{
		{"box gain", o.Box, 1e6, Kinds, cfg},
		{"obj gain", o.Obj, 1e6, Kinds, cfg},
		{"class gain", o.Class, 1e6, Kinds, cfg},
		{"assign iou", o.AssignIoU, 1, v4, cfg},
		{"ignore threshold", o.IgnoreThresh, 1, v4, cfg},
		{"max weight", o.MaxWeight, 1e6, v4, cfg},
		{"focal", o.Focal, 10, Kinds, true},
		{"focal alpha", o.FocalAlpha, 1, append(v7, KindYOLOv4), false},
		{"anchor ratio", o.AnchorRatio, 1e6, v7, false},
	}
}

func (o *Options) check() error {
	if !slices.Contains(Kinds, o.Kind) {
		return fmt.Errorf("kind: unknown loss %q; use %s", o.Kind, strings.Join(Kinds, ", "))
	}
	for _, s := range o.settings() {
		if err := s.check(o.Kind); err != nil {
			return err
		}
	}
	if !(o.LabelSmooth >= 0 && o.LabelSmooth < 1) {
		return fmt.Errorf("label smoothing: %g is not in [0, 1)", o.LabelSmooth)
	}
	if err := o.checkIoULoss(); err != nil {
		return err
	}
	if err := o.checkForeign(); err != nil {
		return err
	}
	return o.checkLists()
}

func (s setting) check(kind string) error {
	if !slices.Contains(s.kinds, kind) {
		if s.value != 0 {
			return foreign(s.name, kind)
		}
		return nil
	}
	if s.zero && s.value == 0 {
		return nil
	}
	if !(s.value > 0 && s.value <= s.max) {
		return fmt.Errorf("%s: %g is not in (0, %g]", s.name, s.value, s.max)
	}
	return nil
}

func foreign(name, kind string) error {
	return fmt.Errorf("%s: the %s loss has no such setting; leave it out", name, kind)
}

func (o *Options) checkIoULoss() error {
	switch {
	case o.Kind == KindDarknet && (o.IoULoss == "" || o.IoULoss == "mse"):
		return nil
	case o.isYOLOv7() && o.IoULoss != "ciou":
		return fmt.Errorf("iou loss: the %s loss has ciou only, not %q", o.Kind, o.IoULoss)
	case similarities[o.IoULoss] == nil && o.Kind == KindDarknet:
		return fmt.Errorf("iou loss: unknown kind %q; use ciou, diou, giou, iou or mse", o.IoULoss)
	case similarities[o.IoULoss] == nil:
		return fmt.Errorf("iou loss: unknown kind %q; use ciou, diou, giou or iou", o.IoULoss)
	}
	return nil
}

func (o *Options) isYOLOv7() bool { return o.Kind == KindYOLOv7 || o.Kind == KindYOLOv7OTA }

// checkForeign refuses what the kind does not have, and what Darknet fixes.
func (o *Options) checkForeign() error {
	switch {
	case o.Kind != KindDarknet && o.ObjSmooth != nil:
		return foreign("objectness smoothing", o.Kind)
	case o.Kind != KindDarknet && o.AssignKind != "":
		return foreign("assign kind", o.Kind)
	case o.Kind == KindDarknet && similarities[o.AssignKind] == nil:
		return fmt.Errorf("assign kind: unknown %q; use iou, giou, diou or ciou", o.AssignKind)
	case o.Kind == KindDarknet && o.Focal != 0 && o.Focal != 2:
		return fmt.Errorf("focal: %g; Darknet's exponent is 2, or 0 for none", o.Focal)
	case o.isYOLOv7() && o.ClassCounts != nil:
		return foreign("class counts", o.Kind)
	case !o.isYOLOv7() && o.Balance != nil:
		return foreign("balance", o.Kind)
	}
	return nil
}

func (o *Options) checkLists() error {
	for _, l := range []struct {
		name   string
		values []float64
	}{{"class counts", o.ClassCounts}, {"balance", o.Balance}} {
		for i, v := range l.values {
			if !(v >= 0) || math.IsInf(v, 1) {
				return fmt.Errorf("%s: value %d is %g; want 0 or more", l.name, i, v)
			}
		}
	}
	return nil
}

// checkSizes holds the lists against the number of classes and heads.
func (o *Options) checkSizes(classes, heads int) error {
	switch n := len(o.ObjSmooth); {
	case o.ClassCounts != nil && len(o.ClassCounts) != classes:
		return fmt.Errorf("class counts: %d for %d classes", len(o.ClassCounts), classes)
	case n > 1 && n != heads:
		return fmt.Errorf("objectness smoothing: %d values for %d heads; give one for each or one for all", n, heads)
	case o.Balance != nil && len(o.Balance) != heads:
		return fmt.Errorf("balance: %d values for %d heads", len(o.Balance), heads)
	}
	return nil
}
