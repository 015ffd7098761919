package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"yoloprune/datasets/imagefile"
	"yoloprune/pruning/report"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
)

// export writes the network for other programs and checks it with OpenCV.
func (r *Run) export(context.Context) error {
	dir := r.path("export")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	cfg, weights := filepath.Join(dir, "model.cfg"), filepath.Join(dir, "model.weights")
	if err := ExportDarknet(r.g, cfg, weights); err != nil {
		return err
	}
	diff, err := VerifyOpenCV(cfg, weights, r.readable())
	if errors.Is(err, errNotRun) {
		r.warn("export: %s is written, but not verified: %v", weights, err)
		return nil
	}
	if err != nil {
		return err
	}
	r.say("export: %s and %s; OpenCV's head outputs differ by at most %.1e", cfg, weights, diff)
	return nil
}

// readable returns the first image of val that can be read, "" if none can.
func (r *Run) readable() string {
	for i := range r.data.val.Len() {
		path := r.data.val.Sample(i).Path
		if img, err := imagefile.Read(path); err == nil {
			img.Close()
			return path
		}
	}
	return ""
}

// ExportDarknet writes cfg and weights that Darknet and OpenCV read alike.
func ExportDarknet(g *graph.Graph, cfg, weights string) error {
	out := g.Clone()
	unitVariance(out)
	return darknet.Save(cfg, weights, out)
}

// unitVariance scales every filter whose running variance is below one so that
// the variance becomes one, which changes nothing for Darknet:
//
//	s = 1/sqrt(var+eps)   W' = s*W   mean' = s*mean   var' = 1-eps
//
// OpenCV adds 1e-6 where Darknet adds eps = 1e-5. Channels of tiny variance,
// which sparsity training leaves, would differ by a factor of up to three;
// with var' near one the two agree to 5e-6.
func unitVariance(g *graph.Graph) {
	for _, n := range g.Convs() {
		w := n.Weights
		per := len(w.Kernel) / len(w.Bias)
		for k := range w.Var {
			v := float64(w.Var[k]) + graph.BatchNormEps
			if v >= 1 {
				continue
			}
			s := 1 / math.Sqrt(v)
			for i := k * per; i < (k+1)*per; i++ {
				w.Kernel[i] = float32(float64(w.Kernel[i]) * s)
			}
			w.Mean[k] = float32(float64(w.Mean[k]) * s)
			w.Var[k] = 1 - graph.BatchNormEps
		}
	}
}

// report writes the page and the tables.
func (r *Run) report(context.Context) error {
	run, err := report.Load(r.Dir)
	if err != nil {
		return err
	}
	if err := run.Write(r.path("report")); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
