package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	//lint:ignore SA1019 the module in use; the advised successor does the same
	"github.com/rogpeppe/go-internal/renameio"
	"gocv.io/x/gocv"

	"yoloprune/yolo/engine/onednn"
)

// openFolder finds or makes the run folder: out/name, or out/name-2 and so on
// when that is taken and the run is a new one.
func openFolder(o Options, name string) (string, error) {
	newest, next := "", filepath.Join(o.Out, name)
	for n := 2; ; n++ {
		if _, err := os.Stat(next); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		newest, next = next, filepath.Join(o.Out, fmt.Sprintf("%s-%d", name, n))
	}
	dir := next
	if (o.Resume || o.ExistOK) && newest != "" {
		dir = newest
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("run folder: %w: choose another with --out", err)
	}
	return dir, checkWritable(dir)
}

// checkWritable fails early where a result could not be written hours later.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return fmt.Errorf("run folder %s cannot be written: %w: choose another with --out", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// describe writes config.yaml, resolved.yaml and env.json.
func (r *Run) describe() error {
	if err := renameio.WriteFile(r.path("config.yaml"), r.exp.Source()); err != nil {
		return err
	}
	b, err := r.exp.Marshal()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(r.path("resolved.yaml"), b); err != nil {
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
