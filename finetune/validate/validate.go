// Package validate measures a detector on an image set: forward pass,
// decoding, non-maximum suppression and COCO's average precision.
package validate

import (
	"errors"
	"fmt"

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
	Conf, NMS      float64
	NMSKind        string
	MaxDet         int
	SkipBad        bool // go on without images that cannot be read
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
// left out.
type Result struct {
	*eval.Result
	Detections []eval.Detection
	Images     [][]head.Detection
	Skipped    int
}

// New prepares a validator for networks of input size w x h.
func New(src Source, w, h int, o Options) (*Validator, error) {
	if src.Len() == 0 {
		return nil, errors.New("validation: the image set is empty")
	}
	o.Batch = max(1, min(o.Batch, src.Len()))
	loader, err := batch.New(src, batch.Options{Batch: o.Batch, W: w, H: h, SkipBad: o.SkipBad})
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
	r := &Result{Images: make([][]head.Detection, v.src.Len())}
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
			r.Images[s] = v.detect(g, out, i, v.src.Sample(s))
		}
		if done += b.N; progress != nil {
			progress(done, v.src.Len())
		}
	}
	return r, v.evaluate(r, seen)
}

// detect decodes image i of a batch.
func (v *Validator) detect(g *graph.Graph, out []engine.Output, i int, s datasets.Sample) []head.Detection {
	return Detect(g, out, i, head.Options{
		Conf: v.o.Conf, NMS: v.o.NMS, NMSKind: v.o.NMSKind, MaxDet: v.o.MaxDet,
		ImageW: s.Width, ImageH: s.Height, NetW: v.w, NetH: v.h,
	})
}

// Detect decodes image i of a batch of raw head outputs.
func Detect(g *graph.Graph, out []engine.Output, i int, o head.Options) []head.Detection {
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
	truth := v.truth
	if r.Skipped > 0 {
		truth = without(truth, missing)
	}
	var err error
	r.Result, err = eval.COCO(truth, r.Detections)
	return err
}

// without returns the truths less those of the given images.
func without(t *eval.GroundTruth, missing map[int64]bool) *eval.GroundTruth {
	out := &eval.GroundTruth{Categories: t.Categories}
	for _, id := range t.Images {
		if !missing[id] {
			out.Images = append(out.Images, id)
		}
	}
	for _, x := range t.Truths {
		if !missing[x.Image] {
			out.Truths = append(out.Truths, x)
		}
	}
	return out
}
