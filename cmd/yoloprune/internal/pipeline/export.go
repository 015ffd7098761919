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
	reader, err := r.exportFor(cfg, weights)
	if err != nil {
		return err
	}
	if reader == darknet.ForDarknet {
		r.warn("export: %s and %s are written for Darknet, and not verified with OpenCV", cfg, weights)
		return nil
	}
	if reader == darknet.ForOpenCV {
		r.warn("export: %s and %s are written for OpenCV only", cfg, weights)
	}
	diff, err := VerifyOpenCV(cfg, weights, r.readable(), reader)
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

// exportFor writes the network for Darknet and OpenCV alike or, since a run is
// not to end with nothing, for the first of them that it can be written for.
func (r *Run) exportFor(cfg, weights string) (darknet.Reader, error) {
	var refused error
	for _, reader := range darknet.Readers {
		changes, err := ExportDarknet(r.g, reader, cfg, weights)
		var unsupported *darknet.UnsupportedError
		if errors.As(err, &unsupported) {
			r.warn("export: %v", err)
			refused = err
			continue
		}
		for _, line := range darknet.Summary(changes) {
			r.say("export: %s", line)
		}
		return reader, err
	}
	return "", refused
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
