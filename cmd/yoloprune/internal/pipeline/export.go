package pipeline

import (
	"context"
	"errors"
	"fmt"
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
	for _, reader := range []darknet.Reader{darknet.ForAny, darknet.ForDarknet} {
		changes, err := ExportDarknet(r.g, reader, cfg, weights)
		var unsupported *darknet.UnsupportedError
		if reader == darknet.ForAny && errors.As(err, &unsupported) {
			r.warn("export: %v", err)
			continue
		}
		if err != nil {
			return err
		}
		for _, c := range changes {
			r.say("export: %v", c)
		}
		if reader == darknet.ForDarknet {
			r.warn("export: %s and %s are written for Darknet, and not verified with OpenCV", cfg, weights)
			return nil
		}
		break
	}
	diff, err := VerifyOpenCV(cfg, weights, r.readable(), darknet.ForAny)
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

// ExportDarknet writes cfg and weights for a reader and returns what was
// changed for it.
func ExportDarknet(g *graph.Graph, reader darknet.Reader, cfg, weights string) ([]darknet.Change, error) {
	out, changes, err := darknet.Portable(g, reader)
	if err != nil {
		return nil, err
	}
	return changes, darknet.SaveCanonical(cfg, weights, out)
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
