package loop

import (
	"iter"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// plain reads unaugmented images in full batches of a fixed size.
type plain struct {
	loader *batch.Loader
	size   int
}

// recalibrationBatch is the batch that batch norms are measured with; with
// fewer images the batch is as large as they are many.
const recalibrationBatch = 16

func newPlain(src datasets.Source, images int, n graph.Net, skipBad bool) (*plain, error) {
	src = datasets.First(src, images)
	p := &plain{size: min(recalibrationBatch, src.Len())}
	var err error
	p.loader, err = batch.New(src, batch.Options{
		Batch: p.size, W: n.Width, H: n.Height, Fit: batch.Fit{Letterbox: head.Letterboxed(n)}, DropLast: true, SkipBad: skipBad,
	})
	return p, err
}

// Recalibrate measures the running statistics of g's batch norms again on up
// to images training images, unaugmented.
func Recalibrate(g *graph.Graph, src datasets.Source, images, threads int, skipBad bool) error {
	r, err := NewRecalibrator(src, images, g.Net, skipBad)
	if err != nil {
		return err
	}
	return r.Run(g, threads)
}

// Recalibrator recalibrates networks of one input size, again and again: the
// decoded images are kept.
type Recalibrator struct{ p *plain }

// NewRecalibrator reads up to images images of src.
func NewRecalibrator(src datasets.Source, images int, n graph.Net, skipBad bool) (*Recalibrator, error) {
	p, err := newPlain(src, images, n, skipBad)
	return &Recalibrator{p}, err
}

// Run recalibrates g.
func (r *Recalibrator) Run(g *graph.Graph, threads int) error { return r.p.recalibrate(g, threads) }

func (p *plain) recalibrate(g *graph.Graph, threads int) error {
	return engine.Recalibrate(g, engine.Options{Batch: p.size, Threads: threads}, p.images())
}

func (p *plain) images() iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for b, err := range p.loader.Epoch(0, false) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b.Images, nil) {
				return
			}
		}
	}
}
