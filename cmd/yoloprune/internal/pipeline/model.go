package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/coco"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
	"yoloprune/yolo/zoo"
)

// openModel builds or reads the network and its first weights.
func (r *Run) openModel(context.Context) error { return r.setModel(r.data.val.Names()) }

func (r *Run) setModel(names []string) error {
	g, err := r.readModel(len(names))
	if err != nil {
		return err
	}
	if err := CheckDetector(g); err != nil {
		return r.exp.Errorf("model.cfg", "%s %v", r.exp.Model.Cfg, err)
	}
	if err := validate.CheckClasses(g, names); err != nil {
		return err
	}
	r.g = g
	if head.Letterboxed(g.Net) && len(r.trainings()) > 0 {
		r.warn("model: letter_box=1: images keep their aspect when the network is measured, but training stretches them; leave letter_box out of the cfg to do without it")
	}
	t := cost.Of(g)
	r.say("model: %s parameters, %.2f GFLOPs at %dx%d", term.SI(float64(t.Params())), float64(t.FLOPs())/1e9, t.InputW, t.InputH)
	if err := r.checkMemory(t); err != nil {
		return err
	}
	return r.checkCut()
}

// CheckDetector says why a network finds nothing in photographs.
func CheckDetector(g *graph.Graph) error {
	if len(g.Heads()) == 0 {
		return errors.New("has no [yolo] layer, so there is nothing to train or to measure")
	}
	if c := g.InputShape().C; c != 3 {
		return fmt.Errorf("takes images of %d channels; only colour images, channels=3, are read", c)
	}
	return nil
}

// checkMemory refuses a batch that this machine cannot hold: training keeps
// every layer's output and the gradient of it.
func (r *Run) checkMemory(t cost.Table) error {
	have := memory()
	for _, s := range r.trainings() {
		if need := 2 * t.ActivationBytes() * int64(s.Batch); have > 0 && need > have {
			return r.exp.Errorf(s.key+".batch", "%d images at %dx%d take more than %s of memory, and this machine has %s; use a smaller batch, input or width",
				s.Batch, t.InputW, t.InputH, term.Bytes(need), term.Bytes(have))
		}
	}
	return nil
}

func (r *Run) readModel(classes int) (*graph.Graph, error) {
	m := r.exp.Model
	for _, f := range []struct{ key, path string }{{"model.cfg", m.Cfg}, {"model.weights", m.Weights}, {"model.backbone", m.Backbone}} {
		if err := r.checkPath(f.key, f.path); err != nil {
			return nil, err
		}
	}
	if m.Cfg != "" {
		return r.loadModel()
	}
	anchors, err := r.anchors()
	if err != nil {
		return nil, err
	}
	g, err := zoo.Build(m.Arch, zoo.Options{
		Classes: classes, Width: m.Width, InputW: m.Input[0], InputH: m.Input[1], Anchors: anchors,
	})
	if err != nil {
		return nil, r.exp.Errorf("model", "%v", err)
	}
	if m.Weights != "" {
		return g, readWeights(m.Weights, g)
	}
	return g, r.newWeights(g)
}

// newWeights draws weights, and reads those of the first layers if they are
// given.
func (r *Run) newWeights(g *graph.Graph) error {
	if err := zoo.InitWeights(g, r.exp.Seed); err != nil || r.exp.Model.Backbone == "" {
		return err
	}
	layers, err := darknet.LoadBackbone(r.exp.Model.Backbone, g)
	if err == nil {
		r.say("model: %s has the weights of layers 0 to %d; the others are new", r.exp.Model.Backbone, layers-1)
	}
	return err
}

func readWeights(path string, g *graph.Graph) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = darknet.DecodeWeights(path, f, g)
	return err
}

// loadModel reads a cfg, with its weights or with new ones.
func (r *Run) loadModel() (*graph.Graph, error) {
	m := r.exp.Model
	g, warnings, err := darknet.Load(m.Cfg, m.Weights)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		r.warn("%v", w)
	}
	if m.Input[0] > 0 {
		g.Net.Width, g.Net.Height = m.Input[0], m.Input[1]
		if err := g.Infer(); err != nil {
			return nil, fmt.Errorf("%s at %dx%d: %w", m.Cfg, m.Input[0], m.Input[1], err)
		}
	}
	if m.Weights == "" {
		return g, r.newWeights(g)
	}
	return g, nil
}

// anchors returns nil for the published ones. The toy set of a dry run need not
// be drawn.
func (r *Run) anchors() ([][2]float64, error) {
	m := r.exp.Model
	switch m.Anchors.Kind {
	case "list":
		return m.Anchors.Pairs, nil
	case "kmeans":
		if r.data.train == nil && r.exp.Data.Format == "toy" {
			return nil, nil
		}
		if r.data.train == nil {
			return nil, r.exp.Errorf("model.anchors", "kmeans takes the boxes of data.train, which is missing; add it, or leave anchors out")
		}
		a, iou, err := head.KMeansAnchors(sizes(r.data.train, m.Input[0], m.Input[1]), zoo.Anchors(m.Arch), r.exp.Seed)
		if err != nil {
			return nil, r.exp.Errorf("model.anchors", "kmeans: %v", err)
		}
		r.say("model: %d anchors by k-means, mean IoU %.3f", len(a), iou)
		return a, nil
	}
	return nil, nil
}

// sizes lists the boxes' widths and heights in pixels of the network's input.
func sizes(set *coco.Set, w, h int) [][2]float64 {
	var out [][2]float64
	for i := range set.Len() {
		s := set.Sample(i)
		for _, b := range s.Boxes {
			if !b.Crowd {
				out = append(out, [2]float64{b.W * float64(w) / float64(s.Width), b.H * float64(h) / float64(s.Height)})
			}
		}
	}
	return out
}
