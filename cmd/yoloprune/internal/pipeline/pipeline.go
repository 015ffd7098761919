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
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/configs"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/imagefile"
	"yoloprune/finetune/checkpoint"
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
	Warn     func(format string, args ...any) // the same for what needs attention
}

// Run is an experiment under way.
type Run struct {
	exp  *configs.Experiment
	o    Options
	Dir  string
	data data
	g    *graph.Graph
	log  *slog.Logger // log.jsonl; nil in a dry run

	taken bool               // the folder's files speak of this run
	begun bool               // a stage has written into its folder
	fresh bool               // a stage has been run, so those after it are not done
	took  map[string]float64 // seconds of every stage
}

// stage is one step of a run. Its result is marked by a file, done.json in
// its folder; load takes that result up instead of computing it again.
type stage struct {
	name    string
	folder  string // "" for a stage that always runs
	section string // train, sparsify, finetune or scratch for a stage that trains
	do      func(context.Context) error
	load    func() error
}

// Execute runs the experiment and returns the finished run. One that fails
// before its first stage leaves no new folder.
func Execute(ctx context.Context, exp *configs.Experiment, o Options) (*Run, error) {
	dir, isNew, err := chooseFolder(o, exp.Name)
	if err != nil {
		return nil, err
	}
	r := &Run{exp: exp, o: o, Dir: dir, took: map[string]float64{}}
	list, err := r.wanted()
	if err != nil {
		return nil, err
	}
	if err := openFolder(dir, isNew); err != nil {
		return nil, err
	}
	if isNew && o.Resume {
		r.say("%s: there is no earlier run, so a new one begins", dir)
	}
	err = r.hint(r.run(ctx, list))
	if isNew && !r.begun {
		return r, errors.Join(err, os.RemoveAll(dir))
	}
	if !r.taken {
		return r, err
	}
	return r, errors.Join(err, r.writeExit(err))
}

func (r *Run) run(ctx context.Context, list []stage) error {
	mode := os.O_APPEND | os.O_CREATE | os.O_WRONLY
	if r.o.ExistOK {
		mode |= os.O_TRUNC
	}
	f, err := os.OpenFile(r.path("log.jsonl"), mode, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	r.log = slog.New(slog.NewJSONHandler(f, nil))
	if err := r.stages(ctx, list); err != nil {
		r.log.Error(err.Error())
		return err
	}
	return nil
}

// hint says how a run can go on that images or a checkpoint which cannot be
// read have stopped.
func (r *Run) hint(err error) error {
	var broken *checkpoint.FormatError
	var unsupported *checkpoint.UnsupportedError
	switch {
	case errors.As(err, &broken), errors.As(err, &unsupported):
		return fmt.Errorf("%w; remove the checkpoint to begin its stage again", err)
	case BadImage(err) && !r.exp.Data.SkipBad:
		return fmt.Errorf("%w; data.skip_bad: true leaves such images out", err)
	}
	return err
}

// BadImage says whether err is about image files that cannot be used.
func BadImage(err error) bool {
	var set *coco.ImageError
	var broken *imagefile.FormatError
	var unsupported *imagefile.UnsupportedError
	return errors.As(err, &set) || errors.As(err, &broken) || errors.As(err, &unsupported)
}

func (r *Run) stages(ctx context.Context, list []stage) error {
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
	if err := r.take(); err != nil {
		return err
	}
	if r.o.Resume && !r.fresh && r.done(s) {
		again := ""
		if s.section != "" && s.section == r.o.Only {
			again = "; remove " + r.path(s.folder) + " to run it again"
		}
		r.say("%s: done before%s", s.name, again)
		if err := s.load(); err != nil {
			return fmt.Errorf("%w; remove %s to run the stage again", err, r.mark(s))
		}
		return nil
	}
	if err := r.prepare(s); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.do(ctx); err != nil {
		return err
	}
	return writeJSON(r.mark(s), map[string]any{"stage": s.name, "seconds": time.Since(begin).Seconds()})
}

// take makes the folder this run's. That waits until the data and the network
// are read: a mistake in the experiment costs no earlier result.
func (r *Run) take() error {
	if r.taken {
		return nil
	}
	r.taken = true
	if r.o.ExistOK {
		if err := r.clear(); err != nil {
			return err
		}
	}
	// It says how the earlier run ended; this one may be killed.
	if err := os.RemoveAll(r.path("exit.json")); err != nil {
		return err
	}
	return r.describe()
}

// mark is the file that says that a stage is done.
func (r *Run) mark(s stage) string { return r.path(s.folder, "done.json") }

func (r *Run) done(s stage) bool {
	_, err := os.Stat(r.mark(s))
	return err == nil
}

// prepare makes the folder of a stage that is about to run. Only the first of
// them can have been stopped half way.
func (r *Run) prepare(s stage) error {
	if !r.fresh {
		if err := r.forget(s); err != nil {
			return err
		}
	}
	r.begun, r.fresh = true, true
	return os.MkdirAll(r.path(s.folder), 0o777)
}

// forget marks all stages after s as not done: what an earlier run left of them
// is made from another network, also for a run that comes after this one.
func (r *Run) forget(s stage) error {
	all := r.all()
	i := slices.IndexFunc(all, func(x stage) bool { return x.name == s.name })
	for _, later := range all[i+1:] {
		if later.folder == "" {
			continue
		}
		for _, stale := range []string{"done.json", "checkpoint"} {
			if err := os.RemoveAll(r.path(later.folder, stale)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Run) path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

func (r *Run) say(format string, args ...any) {
	if r.log != nil {
		r.log.Info(fmt.Sprintf(format, args...))
	}
	r.o.Say(format, args...)
}

func (r *Run) warn(format string, args ...any) {
	if r.log != nil {
		r.log.Warn(fmt.Sprintf(format, args...))
	}
	r.o.Warn("warning: "+format, args...)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o666)
}
