package pipeline

import (
	"fmt"
	"os"
	"path/filepath"

	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/zoo"
)

// Trial trains a small network for two steps, writes it, and compares its
// forward pass with OpenCV's. It says what it did.
func Trial() (string, error) {
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: 3, Width: 0.25, InputW: 96, InputH: 96})
	if err != nil {
		return "", err
	}
	if err := zoo.InitWeights(g, 1); err != nil {
		return "", err
	}
	t, err := engine.NewTraining(g, meanSquare, engine.Options{Batch: 2})
	if err != nil {
		return "", err
	}
	x := make([]float32, 2*g.InputShape().Size())
	for i := range x {
		x[i] = float32(i%97) / 97
	}
	for range 2 {
		if _, err := t.Step(x); err != nil {
			return "", err
		}
	}
	t.Close()
	if n := onednn.Live(); n != 0 {
		return "", fmt.Errorf("%d oneDNN objects are left after closing", n)
	}
	dir, err := os.MkdirTemp("", "yoloprune-doctor-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cfg, weights := filepath.Join(dir, "model.cfg"), filepath.Join(dir, "model.weights")
	if _, err := ExportDarknet(g, darknet.ForAny, cfg, weights); err != nil {
		return "", err
	}
	diff, err := VerifyOpenCV(cfg, weights, "", darknet.ForAny)
	return fmt.Sprintf("two training steps; OpenCV agrees to %.0e", diff), err
}

func meanSquare(heads []engine.Output, grads [][]float32) (float64, error) {
	sum := 0.0
	for i, h := range heads {
		n := float32(len(h.Data))
		for j, v := range h.Data {
			sum += float64(v * v / n)
			grads[i][j] = 2 * v / n
		}
	}
	return sum, nil
}
