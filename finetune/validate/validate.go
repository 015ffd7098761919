// Package validate finds objects in images and measures a detector on an image
// set: resize, forward pass, decoding, non-maximum suppression and average
// precision.
package validate

import (
	"errors"
	"fmt"

	"gocv.io/x/gocv"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// Source is an image set with the truths that an evaluation is made against.
type Source interface {
	datasets.Source
	GroundTruth() *eval.GroundTruth
}

// Options say how boxes are found. Conf and NMS are thresholds, MaxDet the
// number of detections kept of one image.
type Options struct {
	Batch, Threads int
	Fit            batch.Fit
	Conf, NMS      float64
	NMSKind        string // one of head.NMSKinds
	MaxDet         int
	SkipBad        bool         // go on without images that cannot be read
	Eval           eval.Options // the protocol; the zero value is COCO's
}

// Check says which option makes no sense.
func (o Options) Check() error {
	if err := o.Fit.Check(); err != nil {
		return err
	}
	if err := o.Eval.Check(); err != nil {
		return err
	}
	return head.Check(nil, o.head(1, 1, 1, 1))
}

// head returns the options for decoding an image of that size.
func (o Options) head(imageW, imageH, netW, netH int) head.Options {
	return head.Options{
		Conf: o.Conf, NMS: o.NMS, NMSKind: o.NMSKind, MaxDet: o.MaxDet,
		ImageW: imageW, ImageH: imageH, NetW: netW, NetH: netH, Letterbox: o.Fit.Letterbox,
	}
}

// Protocol names what a measurement depends on beside network, images and the
// evaluator's rules.
type Protocol struct {
	Input     [2]int  `json:"input"` // width and height
	Conf      float64 `json:"conf"`
	NMS       float64 `json:"nms"`
	NMSKind   string  `json:"nms_kind"`
	MaxDet    int     `json:"max_det"`
	Resize    string  `json:"resize"`
	Letterbox bool    `json:"letterbox"`
}

// Protocol names defaults, and what auto means for g.
func (o Options) Protocol(g *graph.Graph) Protocol {
	p := Protocol{[2]int{g.Net.Width, g.Net.Height}, o.Conf, o.NMS, head.KindFor(o.NMSKind, nil), o.MaxDet, o.Fit.Kind(), o.Fit.Letterbox}
	if h := g.Heads(); len(h) > 0 {
		p.NMSKind = head.KindFor(o.NMSKind, h[len(h)-1].Yolo())
	}
	return p
}

// Validator measures networks of one input size on one image set. The decoded
// images are kept between runs.
type Validator struct {
	src    Source
	w, h   int
	o      Options
	loader *batch.Loader
	truth  *eval.GroundTruth
}

// Result is a measurement. Images holds the detections of every image of the
// source, in its order; Skipped counts the unreadable ones, whose truths are
// left out of Truth.
type Result struct {
	*eval.Result
	Truth      *eval.GroundTruth
	Detections []eval.Detection
	Images     [][]head.Detection
	Skipped    int
	Protocol   Protocol
}

// New prepares a validator for networks of input size w x h.
func New(src Source, w, h int, o Options) (*Validator, error) {
	if src.Len() == 0 {
		return nil, errors.New("validation: the image set is empty")
	}
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("validation: %w", err)
	}
	o.Batch = max(1, min(o.Batch, src.Len()))
	loader, err := batch.New(src, batch.Options{Batch: o.Batch, W: w, H: h, Fit: o.Fit, SkipBad: o.SkipBad})
	if err != nil {
		return nil, err
	}
	return &Validator{src: src, w: w, h: h, o: o, loader: loader, truth: src.GroundTruth()}, nil
}

// CheckClasses says whether the network's heads predict as many classes as
// the image set has.
func CheckClasses(g *graph.Graph, names []string) error {
	for _, h := range g.Heads() {
		if c := h.Yolo().Classes; c != len(names) {
			return fmt.Errorf("%v predicts %d classes, but the image set has %d (%q): use a cfg with classes=%d and filters=%d before each [yolo], or the annotations of the right set",
				h, c, len(names), names, len(names), len(h.Yolo().Mask)*(5+len(names)))
		}
	}
	return nil
}

// Run measures g. progress, which may be nil, is told how many images are done.
func (v *Validator) Run(g *graph.Graph, progress func(done, total int)) (*Result, error) {
	if err := CheckClasses(g, v.src.Names()); err != nil {
		return nil, err
	}
	net, err := engine.NewInference(g, engine.Options{Batch: v.o.Batch, Threads: v.o.Threads})
	if err != nil {
		return nil, err
	}
	defer net.Close()
	r := &Result{Images: make([][]head.Detection, v.src.Len()), Protocol: v.o.Protocol(g)}
	seen := make([]bool, v.src.Len())
	done := 0
	for b, err := range v.loader.Epoch(0, false) {
		if err != nil {
			return nil, err
		}
		out, err := net.Forward(b.Images)
		if err != nil {
			return nil, err
		}
		for i, s := range b.Samples[:b.N] {
			seen[s] = true
			sample := v.src.Sample(s)
			r.Images[s] = detect(g, out, i, v.o.head(sample.Width, sample.Height, v.w, v.h))
		}
		if done += b.N; progress != nil {
			progress(done, v.src.Len())
		}
	}
	return r, v.evaluate(r, seen)
}

// Image finds the objects in one image. The network is g's, for batches of one.
func Image(g *graph.Graph, net *engine.Inference, img gocv.Mat, o Options) ([]head.Detection, error) {
	w, h := g.Net.Width, g.Net.Height
	x := make([]float32, g.InputShape().Size())
	if err := o.Fit.Tensor(img, w, h, x); err != nil {
		return nil, err
	}
	out, err := net.Forward(x)
	if err != nil {
		return nil, err
	}
	return detect(g, out, 0, o.head(img.Cols(), img.Rows(), w, h)), nil
}

// detect decodes image i of a batch of raw head outputs.
func detect(g *graph.Graph, out []engine.Output, i int, o head.Options) []head.Detection {
	raws := make([]head.Raw, len(out))
	for k, x := range out {
		n := x.Shape.Size()
		raws[k] = head.Raw{Yolo: g.Nodes[x.Node].Yolo(), Shape: x.Shape, Data: x.Data[i*n : (i+1)*n]}
	}
	return head.Detect(raws, o)
}

func (v *Validator) evaluate(r *Result, seen []bool) error {
	ids := v.src.CategoryIDs()
	missing := map[int64]bool{}
	for i, dets := range r.Images {
		id := v.src.Sample(i).ID
		if !seen[i] {
			r.Skipped++
			missing[id] = true
		}
		for _, d := range dets {
			r.Detections = append(r.Detections, eval.Detection{
				Image: id, Category: ids[d.Class], Score: d.Score,
				Box: [4]float64{d.Box.X, d.Box.Y, d.Box.W, d.Box.H},
			})
		}
	}
	r.Truth = v.truth
	if r.Skipped > 0 {
		r.Truth = v.truth.Only(func(id int64) bool { return !missing[id] })
	}
	var err error
	r.Result, err = eval.Measure(r.Truth, r.Detections, v.o.Eval)
	return err
}
