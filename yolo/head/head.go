// Package head turns what a [yolo] layer puts out into boxes on the image:
// decoding in both coordinate forms, undoing the resize, and non-maximum
// suppression, each as Darknet does it (AlexeyAB's fork: src/yolo_layer.c,
// src/box.c). It also has the overlap measures and the clustering of anchors.
//
// Raw values stand in H x W x C order, one image at a time. Relative boxes run
// from 0 to 1 over the image.
package head

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"yoloprune/yolo/graph"
)

// Box is a rectangle in pixels of the original image; X and Y are its top left
// corner.
type Box struct{ X, Y, W, H float64 }

// Detection is an object found in an image. Score is objectness times class
// probability.
type Detection struct {
	Class int
	Score float64
	Box   Box
}

// Raw is what one [yolo] layer got for one image. Shape.C is
// len(Yolo.Mask)*(5+Yolo.Classes), Data is H x W x C.
type Raw struct {
	Yolo  *graph.Yolo
	Shape graph.Shape
	Data  []float32
}

// The kinds of suppression, under Darknet's names. For boxes a and b with
// squared centre distance d2 and squared diagonal c2 of the box around both, b
// goes when this is above Options.NMS:
//
//	default     IoU(a,b)
//	greedynms   IoU(a,b) - (d2/c2)^0.6
//	diounms     IoU(a,b) - (d2/c2)^beta
//
// Despite its name greedynms is not plain IoU: Darknet's exponent is fixed there
// and beta_nms unread. diounms takes the last head's beta_nms. Zheng et al.,
// Distance-IoU Loss, AAAI 2020, arXiv:1911.08287, section 3.4, has beta 1.
//
// auto is the last head's nms_kind, which Darknet applies to all heads.
const (
	NMSAuto    = "auto"
	NMSDefault = "default"
	NMSGreedy  = "greedynms"
	NMSDIoU    = "diounms"
)

// NMSKinds lists them.
var NMSKinds = []string{NMSAuto, NMSDefault, NMSGreedy, NMSDIoU}

// defaultBeta is Darknet's beta_nms, and the exponent of greedynms.
const defaultBeta = 0.6

// Options says what Detect keeps, and how the image was fitted to the network.
type Options struct {
	Conf    float64 // scores must be above it
	NMS     float64 // in each class, similarity above it suppresses; 0 switches that off
	NMSKind string  // one of NMSKinds; "" is default
	MaxDet  int     // the best are kept; 0 is no limit

	ImageW, ImageH int
	NetW, NetH     int
	Letterbox      bool // padded to keep the aspect (see LetterboxSize), not stretched

	// NoClip returns boxes as they were predicted, as Darknet prints them: they
	// may reach over the image's edge or lie outside it.
	NoClip bool
}

// KindFor returns the kind of suppression that a name of NMSKinds means, "" being
// default, for a network with this last head, which may be nil.
func KindFor(kind string, last *graph.Yolo) string {
	if kind == NMSAuto && last != nil {
		kind = last.NMSKind
	}
	if kind == NMSAuto || kind == "" {
		return NMSDefault
	}
	return kind
}

// Check says whether Detect can work with heads of this form and these options.
func Check(raws []Raw, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	for i := range raws {
		if err := raws[i].check(); err != nil {
			return fmt.Errorf("head %d: %w", i, err)
		}
	}
	return nil
}

func (o *Options) check() error {
	if o.ImageW < 1 || o.ImageH < 1 || o.NetW < 1 || o.NetH < 1 {
		return fmt.Errorf("image %dx%d, network input %dx%d: every side must be at least 1", o.ImageW, o.ImageH, o.NetW, o.NetH)
	}
	if !(o.Conf >= 0 && o.Conf <= 1) {
		return fmt.Errorf("confidence threshold %g: must be in [0, 1]", o.Conf)
	}
	if !(o.NMS >= 0 && o.NMS <= 1) {
		return fmt.Errorf("suppression threshold %g: must be in [0, 1]; 0 switches suppression off", o.NMS)
	}
	if o.NMSKind != "" && !slices.Contains(NMSKinds, o.NMSKind) {
		return fmt.Errorf("kind of suppression %q: use one of %q", o.NMSKind, NMSKinds)
	}
	if o.MaxDet < 0 {
		return fmt.Errorf("limit of %d detections: must be at least 0, which is no limit", o.MaxDet)
	}
	return nil
}

func (r *Raw) check() error {
	y := r.Yolo
	if y == nil {
		return fmt.Errorf("has no yolo parameters")
	}
	if y.Classes < 1 || r.Shape.C != len(y.Mask)*y.PerAnchor() {
		return fmt.Errorf("%d channels for %d anchors and %d classes: must be anchors*(5+classes)", r.Shape.C, len(y.Mask), y.Classes)
	}
	if r.Shape.H < 0 || r.Shape.W < 0 || len(r.Data) != r.Shape.Size() {
		return fmt.Errorf("%d values for shape %v", len(r.Data), r.Shape)
	}
	for _, m := range y.Mask {
		if m < 0 || m >= len(y.Anchors) {
			return fmt.Errorf("mask names anchor %d, but there are %d", m, len(y.Anchors))
		}
	}
	return nil
}

// Detect decodes the heads of one image, suppresses within each class, and
// returns what is left by falling score; equal scores keep Darknet's order:
// heads as given, then row, column, anchor, class. A box may come with several
// classes. Boxes are clipped to the image, and dropped if nothing is left, unless
// NoClip is set. Predictions that are not finite, or become so, are dropped too.
//
// It returns nil for input that Check refuses.
func Detect(raws []Raw, o Options) []Detection {
	if Check(raws, o) != nil {
		return nil
	}
	var p predictions
	for i := range raws {
		p.decode(&raws[i], &o)
	}
	kept := p.suppress(newSuppressor(raws, &o))
	// Candidates are numbered in Darknet's order, which settles equal scores.
	slices.SortFunc(kept, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.candidates[b].score, p.candidates[a].score), cmp.Compare(a, b))
	})
	return p.detections(kept, &o)
}

// predictions are the decoded boxes and the classes that claim them.
type predictions struct {
	boxes      []corners // relative to the image
	candidates []candidate
	classes    int // the highest class is below it
}

// candidate is a box with one of its classes.
type candidate struct {
	box, class int
	score      float64
}

// detections converts candidates to pixels.
func (p *predictions) detections(kept []int, o *Options) []Detection {
	out := make([]Detection, 0, len(kept))
	for _, k := range kept {
		if o.MaxDet > 0 && len(out) == o.MaxDet {
			break
		}
		c := &p.candidates[k]
		if box := p.boxes[c.box].on(o); box.visible() {
			out = append(out, Detection{c.class, c.score, box})
		}
	}
	return out
}

// on scales a relative box to the image and, if asked to, cuts off what is
// outside.
func (a *corners) on(o *Options) Box {
	w, h := float64(o.ImageW), float64(o.ImageH)
	if o.NoClip {
		return Box{a.x1 * w, a.y1 * h, (a.x2 - a.x1) * w, (a.y2 - a.y1) * h}
	}
	x1, x2 := clamp(a.x1*w, w), clamp(a.x2*w, w)
	y1, y2 := clamp(a.y1*h, h), clamp(a.y2*h, h)
	return Box{x1, y1, x2 - x1, y2 - y1}
}

// sliver is the side in pixels up to which a box is taken for a rounding error.
const sliver = 1e-6

func (b Box) visible() bool {
	return b.W > sliver && b.H > sliver && b.W <= math.MaxFloat64 && b.H <= math.MaxFloat64
}

func clamp(v, high float64) float64 { return math.Max(0, math.Min(v, high)) }
