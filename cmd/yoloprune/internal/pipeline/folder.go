package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/google/renameio/v2"
	"gocv.io/x/gocv"

	"yoloprune/yolo/engine/onednn"
)

// chooseFolder names the run folder: out/name, or out/name-2 and so on when
// that is taken and the run is a new one.
func chooseFolder(o Options, name string) (dir string, isNew bool, err error) {
	newest, next := "", filepath.Join(o.Out, name)
	for n := 2; ; n++ {
		if _, err := os.Stat(next); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return "", false, folderError(err)
		}
		newest, next = next, filepath.Join(o.Out, fmt.Sprintf("%s-%d", name, n))
	}
	if (o.Resume || o.ExistOK) && newest != "" {
		return newest, false, nil
	}
	return next, true, nil
}

func folderError(err error) error {
	return fmt.Errorf("run folder: %w; choose another with --out", err)
}

// openFolder makes the run folder and fails early where a result could not be
// written hours later.
func openFolder(dir string, isNew bool) error {
	if isNew {
		if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
			return folderError(err)
		}
		// Mkdir fails where another run has just taken the name.
		if err := os.Mkdir(dir, 0o777); err != nil {
			return folderError(err)
		}
	}
	f, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return folderError(err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// clear removes what an earlier run left, of which a report over both would
// speak.
func (r *Run) clear() error {
	for _, pattern := range []string{"train", "sparsify", "prune", "prune-*", "finetune", "finetune-*", "scratch", "val", "export", "report"} {
		found, err := filepath.Glob(r.path(pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe writes config.yaml, resolved.yaml and env.json.
func (r *Run) describe() error {
	if err := renameio.WriteFile(r.path("config.yaml"), r.exp.Source(), 0o666); err != nil {
		return err
	}
	b, err := r.exp.Marshal()
	if err != nil {
		return err
	}
	if before, err := os.ReadFile(r.path("resolved.yaml")); err == nil && r.o.Resume && !bytes.Equal(before, b) {
		r.warn("the experiment has changed since %s was begun; stages that are done keep their results", r.Dir)
	}
	if err := renameio.WriteFile(r.path("resolved.yaml"), b, 0o666); err != nil {
		return err
	}
	return writeJSON(r.path("env.json"), r.environment())
}

func (r *Run) environment() map[string]any {
	return map[string]any{
		"yoloprune": Version(),
		"go":        runtime.Version(),
		"os":        runtime.GOOS + "/" + runtime.GOARCH,
		"cpu":       CPU(),
		"cores":     runtime.NumCPU(),
		"threads":   onednn.SetThreads(r.exp.Threads),
		"layout":    onednn.BestOrder().String(),
		"seed":      r.exp.Seed,
		"started":   time.Now().Format(time.RFC3339),
		"versions":  map[string]string{"opencv": gocv.OpenCVVersion(), "onednn": onednn.Version()},
	}
}

// writeExit says how the run ended and how long every stage took.
func (r *Run) writeExit(err error) error {
	out := map[string]any{"ok": err == nil, "seconds": r.took, "ended": time.Now().Format(time.RFC3339)}
	if err != nil {
		out["error"] = err.Error()
		out["interrupted"] = errors.Is(err, context.Canceled)
	}
	return writeJSON(r.path("exit.json"), out)
}

// Version is the module's version, or the commit that it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}
