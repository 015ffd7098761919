package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// stage opens a folder for a result out/p in a new folder.
func stage(t *testing.T) (*staging, string) {
	parent := filepath.Join(t.TempDir(), "out")
	s := &staging{out: filepath.Join(parent, "p")}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	return s, parent
}

func fill(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o666) }

// left lists what is in the folder, which must not be more than the result.
func left(t *testing.T, parent string) int {
	files, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "p" {
			t.Errorf("%s is left", f.Name())
		}
	}
	return len(files)
}

func TestStaging(t *testing.T) {
	s, parent := stage(t)
	if err := s.commit(fill); err != nil || !s.remove() || left(t, parent) != 1 {
		t.Errorf("commit: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(parent, "p", "a")); err != nil || string(b) != "a" {
		t.Errorf("%q, %v", b, err)
	}

	s, parent = stage(t)
	if s.remove() || !errors.Is(s.commit(fill), errStopped) || left(t, parent) != 0 {
		t.Error("commit after remove: a result is there")
	}

	s, parent = stage(t)
	err := s.commit(func(dir string) error {
		s.stopped.Store(true) // as remove does before it waits for this to end
		return fill(dir)
	})
	if !errors.Is(err, errStopped) || s.remove() || left(t, parent) != 0 {
		t.Errorf("stopped while writing: %v", err)
	}

	s = &staging{out: filepath.Join(t.TempDir(), "p")}
	if s.remove() || !errors.Is(s.open(), errStopped) {
		t.Error("open after remove: a folder is made")
	}
}

// A failure and a panic leave no folder; a panic is told as elsewhere.
func TestInterruptible(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	failed := errors.New("failed")
	for _, do := range []func() error{func() error { return failed }, func() error { panic("index out of range") }} {
		s, parent := stage(t)
		if err := (&app{}).interruptible(context.Background(), s, do); err == nil || left(t, parent) != 0 {
			t.Errorf("got %v", err)
		}
	}
}
