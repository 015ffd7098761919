package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// staging is a folder beside a result. The files in it take the result's place
// only when all of them are there and nobody has stopped the command.
type staging struct {
	out string

	mu      sync.Mutex
	dir     string // "" before open
	moved   bool
	stopped atomic.Bool
}

var errStopped = errors.New("stopped")

// open makes the folder, which also says early that out can be written.
func (s *staging) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Load() {
		return errStopped
	}
	parent := filepath.Dir(filepath.Clean(s.out))
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, ".prune-*")
	s.dir = dir
	return err
}

// commit lets write fill the folder, and moves its files.
func (s *staging) commit(write func(dir string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Load() {
		return errStopped
	}
	if err := write(s.dir); err != nil {
		return err
	}
	if s.stopped.Load() {
		return errStopped
	}
	s.moved = true
	return moveInto(s.dir, s.out)
}

// remove removes the folder once no write is under way; nothing is moved after
// it. It returns whether that has happened before.
func (s *staging) remove() (moved bool) {
	s.stopped.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
	return s.moved
}

// interruptible runs do, which does not watch for signals, until it is done or
// SIGINT or SIGTERM comes; then what it has staged is removed and the process
// may end. A second signal kills the process.
func (a *app) interruptible(ctx context.Context, s *staging, do func() error) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(c)
	done := make(chan error, 1)
	go func() { done <- noPanic(do) }()
	defer s.remove()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case a.signal = <-c:
		signal.Stop(c)
		if s.remove() {
			return <-done
		}
		return &stopped{}
	}
}

// moveInto moves the files of one folder into another, replacing its own.
func moveInto(from, to string) error {
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
