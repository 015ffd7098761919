// Package pipeline runs an experiment from its file to a report: data, model,
// training, sparsity, cuts with their repair, export, page. Every stage reads
// what the one before left in the run folder and writes its own result there,
// so a run that was stopped goes on with the first stage that is not done.
package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	//lint:ignore SA1019 the module in use; the advised successor does the same
	"github.com/rogpeppe/go-internal/renameio"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/configs"
	"yoloprune/yolo/graph"
)

// Options are the command line's part of a run.
type Options struct {
	Out      string // folder of run folders
	Resume   bool   // go on with the newest run of that name
	ExistOK  bool   // write into an existing run folder
	Only     string // "", or the one stage to run: train, sparsify or finetune
	Progress term.Progress
	Say      func(format string, args ...any) // a line for the user
}

// Run is an experiment under way.
type Run struct {
	exp  *configs.Experiment
	o    Options
	Dir  string
	data data
	g    *graph.Graph

	took map[string]float64 // seconds of every stage
}

// stage is one step of a run. Its result is marked by a file, done.json in
// its folder; load takes that result up instead of computing it again.
type stage struct {
	name   string
	folder string // "" for a stage that always runs
	do     func(context.Context) error
	load   func() error
}

// Execute runs the experiment and returns the finished run.
func Execute(ctx context.Context, exp *configs.Experiment, o Options) (*Run, error) {
	dir, err := openFolder(o, exp.Name)
	if err != nil {
		return nil, err
	}
	r := &Run{exp: exp, o: o, Dir: dir, took: map[string]float64{}}
	if err := r.describe(); err != nil {
		return r, err
	}
	err = r.stages(ctx)
	return r, errors.Join(err, r.writeExit(err))
}

func (r *Run) stages(ctx context.Context) error {
	list, err := r.wanted()
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		begin := time.Now()
		if err := r.runStage(ctx, s); err != nil {
			return err
		}
		r.took[s.name] = time.Since(begin).Seconds()
	}
	return nil
}

func (r *Run) runStage(ctx context.Context, s stage) error {
	if s.folder == "" {
		return s.do(ctx)
	}
	mark := r.path(s.folder, "done.json")
	if r.o.Resume {
		if _, err := os.Stat(mark); err == nil {
			r.say("%s: done before", s.name)
			return s.load()
		}
	}
	if err := os.MkdirAll(r.path(s.folder), 0o777); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.do(ctx); err != nil {
		return err
	}
	return writeJSON(mark, map[string]any{"stage": s.name, "seconds": time.Since(begin).Seconds()})
}

func (r *Run) path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

func (r *Run) say(format string, args ...any) {
	if r.o.Say != nil {
		r.o.Say(format, args...)
	}
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return renameio.WriteFile(path, append(b, '\n'))
}
