package loop

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/renameio/v2"

	"yoloprune/finetune/checkpoint"
	"yoloprune/finetune/optim"
	"yoloprune/yolo/graph"
)

const (
	checkpointFile = "checkpoint/last.ckpt"
	resultsFile    = "results.csv"
)

// header is the part of a checkpoint that is not a vector.
type header struct {
	Epochs     int        `json:"epochs"` // finished
	Of         int        `json:"of"`
	Batch      int        `json:"batch"`
	Accumulate int        `json:"accumulate"` // 0, of an older file, is 1
	Within     within     `json:"within"`     // of the epoch that is not finished
	Iteration  int        `json:"iteration"`
	Seed       uint64     `json:"seed"`
	Optimizer  string     `json:"optimizer"`
	Best       float64    `json:"best"`
	BestEpoch  int        `json:"best_epoch"`
	Before     *float64   `json:"before,omitempty"`
	Halved     bool       `json:"halved"`
	Stopped    bool       `json:"stopped"`
	Steps      uint64     `json:"steps"`   // of the optimiser
	Updates    uint64     `json:"updates"` // of the average
	Rows       [][]string `json:"rows"`
}

// start loads the checkpoint when a run goes on, and returns the epoch to
// begin with.
func (t *trainer) start(resume bool) (int, error) {
	if t.o.Folder == "" {
		return 0, t.measureBefore()
	}
	for _, d := range []string{"checkpoint", "weights"} {
		if err := os.MkdirAll(filepath.Join(t.o.Folder, d), 0o777); err != nil {
			return 0, err
		}
	}
	path := t.checkpointPath()
	if !resume {
		return 0, t.measureBefore()
	}
	c, err := checkpoint.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, t.measureBefore()
	}
	if err != nil {
		return 0, err
	}
	return t.restore(path, c)
}

func (t *trainer) restore(path string, c *checkpoint.Checkpoint) (int, error) {
	var h header
	if err := c.ReadHeader(&h); err != nil {
		return 0, err
	}
	h.Accumulate = max(h.Accumulate, 1)
	if h.Of != t.o.Epochs || h.Batch != t.o.Batch || h.Accumulate != t.o.Accumulate || h.Optimizer != t.o.Optimizer || h.Seed != t.o.Seed {
		return 0, fmt.Errorf("%s: was written by a stage of %d epochs, batch %d, accumulate %d, with %s and seed %d, this one has %d, %d, %d, %s and %d: set them back, or run without --resume",
			path, h.Of, h.Batch, h.Accumulate, h.Optimizer, h.Seed, t.o.Epochs, t.o.Batch, t.o.Accumulate, t.o.Optimizer, t.o.Seed)
	}
	for _, s := range t.sections() {
		kept, err := c.Find(s.Name, checkpoint.Float32)
		if err != nil {
			return 0, fmt.Errorf("%s: %w: it is another network's: run without --resume", path, err)
		}
		if len(kept.Float32) != len(s.Data) {
			return 0, fmt.Errorf("%s: %s has %d values, the network has %d: it is another network's: run without --resume", path, s.Name, len(kept.Float32), len(s.Data))
		}
		copy(s.Data, kept.Float32)
	}
	t.penalty.scaleBetas()
	t.iteration, t.within, t.saved = h.Iteration, h.Within, true
	t.best, t.bestEpoch, t.before, t.halved, t.stopped = h.Best, h.BestEpoch, h.Before, h.Halved, h.Stopped
	if err := t.setSteps(h); err != nil {
		return 0, err
	}
	for _, r := range h.Rows {
		t.rows = append(t.rows, parseRow(r))
	}
	return h.Epochs, nil
}

// setSteps sets the counters of the optimiser and the average, whose vectors
// have been read in place.
func (t *trainer) setSteps(h header) error {
	if t.ema != nil {
		if err := t.ema.SetState(optim.State{Step: h.Updates, Tensors: t.ema.State().Tensors}); err != nil {
			return err
		}
	}
	return t.opt.SetState(optim.State{Step: h.Steps, Tensors: t.opt.State().Tensors})
}

// sections lists everything that must be kept to go on bit for bit. The
// slices are the live ones.
func (t *trainer) sections() []optim.Tensor {
	var out []optim.Tensor
	add := func(kind string, ts []optim.Tensor) {
		for _, x := range ts {
			out = append(out, optim.Tensor{Name: kind + "/" + x.Name, Data: x.Data})
		}
	}
	add("weights", tensors(t.g))
	add("optimizer", t.opt.State().Tensors)
	if t.ema != nil {
		add("average", t.ema.State().Tensors)
	}
	add("penalty", t.penalty.state())
	return out
}

// save writes what an epoch leaves behind: results.csv, the weights, and last
// the checkpoint, which makes the epoch count as done.
func (t *trainer) save(r Epoch, g *graph.Graph) error {
	t.rows = append(t.rows, r)
	if t.o.Folder == "" {
		return nil
	}
	if err := t.saveResults(); err != nil {
		return err
	}
	if err := t.saveWeights("last", g); err != nil {
		return err
	}
	return t.saveCheckpoint(r.Number)
}

// saveCheckpoint keeps the state after so many whole epochs and the steps
// within the next.
func (t *trainer) saveCheckpoint(epochs int) error {
	t.unsaved, t.savedAt = 0, time.Now()
	if t.o.Folder == "" {
		return nil
	}
	var c checkpoint.Checkpoint
	if err := c.SetHeader(t.header(epochs)); err != nil {
		return err
	}
	for _, s := range t.sections() {
		c.AddFloat32(s.Name, s.Data)
	}
	if err := checkpoint.Save(t.checkpointPath(), &c); err != nil {
		return err
	}
	t.saved = true
	return nil
}

func (t *trainer) checkpointPath() string { return filepath.Join(t.o.Folder, checkpointFile) }

func (t *trainer) header(epochs int) header {
	h := header{
		Epochs: epochs, Of: t.o.Epochs, Batch: t.o.Batch, Accumulate: t.o.Accumulate, Within: t.within,
		Iteration: t.iteration, Seed: t.o.Seed, Optimizer: t.o.Optimizer,
		Best: t.best, BestEpoch: t.bestEpoch, Before: t.before, Halved: t.halved, Stopped: t.stopped, Steps: t.opt.State().Step,
	}
	if t.ema != nil {
		h.Updates = t.ema.State().Step
	}
	for _, row := range t.rows {
		h.Rows = append(h.Rows, row.fields())
	}
	return h
}

func (t *trainer) saveWeights(name string, g *graph.Graph) error {
	if t.o.Folder == "" || t.o.SaveWeights == nil {
		return nil
	}
	return t.o.SaveWeights(filepath.Join(t.o.Folder, "weights", name), g)
}

func (t *trainer) saveResults() error {
	b := bytes.NewBufferString("epoch,lr,loss,box,obj,class,AP,AP50,near_zero,seconds\n")
	for _, r := range t.rows {
		for i, f := range r.fields() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(f)
		}
		b.WriteByte('\n')
	}
	return renameio.WriteFile(filepath.Join(t.o.Folder, resultsFile), b.Bytes(), 0o666)
}

// fields are the columns of results.csv; an epoch without validation has no AP.
func (r Epoch) fields() []string {
	f := []string{strconv.Itoa(r.Number)}
	for _, v := range []float64{r.LR, r.Loss, r.Box, r.Obj, r.Class, r.AP, r.AP50, r.NearZero, r.Seconds} {
		s := ""
		if !math.IsNaN(v) {
			s = strconv.FormatFloat(v, 'g', 6, 64)
		}
		f = append(f, s)
	}
	return f
}

func parseRow(f []string) Epoch {
	v := make([]float64, 10)
	for i := range v {
		v[i] = math.NaN()
		if i < len(f) && f[i] != "" {
			v[i], _ = strconv.ParseFloat(f[i], 64)
		}
	}
	return Epoch{Number: int(v[0]), LR: v[1], Loss: v[2], Box: v[3], Obj: v[4], Class: v[5], AP: v[6], AP50: v[7], NearZero: v[8], Seconds: v[9]}
}
