package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"yoloprune/yolo/eval"
)

// timing is what --time prints; coco_eval.py prints the same keys but for the
// sizes.
type timing struct {
	Name    string  `json:"name"`
	Read    float64 `json:"read_s"`
	Measure float64 `json:"measure_s"`
	Bytes   int64   `json:"bytes"`
	Peak    int64   `json:"peak_bytes"` // resident memory
	eval.Numbers
}

func timeFolder(dir string) error {
	t := timing{Name: "yoloprune"}
	begin := time.Now()
	gt, dets, err := t.read(dir)
	if err != nil {
		return err
	}
	t.Read = time.Since(begin).Seconds()
	begin = time.Now()
	r, err := eval.COCO(gt, dets)
	if err != nil {
		return err
	}
	t.Measure = time.Since(begin).Seconds()
	t.Numbers = r.Numbers
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	t.Peak = usage.Maxrss << 10
	return json.NewEncoder(os.Stdout).Encode(t)
}

func (t *timing) read(dir string) (*eval.GroundTruth, []eval.Detection, error) {
	a, err := t.open(filepath.Join(dir, "annotations.json"))
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	gt, err := eval.ReadGroundTruth(a.Name(), a)
	if err != nil {
		return nil, nil, err
	}
	d, err := t.open(filepath.Join(dir, "detections.json"))
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	dets, err := eval.ReadDetectionsOf(gt, d.Name(), d)
	return gt, dets, err
}

// open opens a file and adds its size.
func (t *timing) open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t.Bytes += info.Size()
	return f, nil
}
