package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A panic becomes one line; its stack goes to a file that the line names.
func TestNoPanic(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	err := noPanic(func() error { panic("index out of range") })
	if err == nil || !strings.HasPrefix(err.Error(), "internal fault: index out of range; please report it") || strings.Contains(err.Error(), "goroutine") {
		t.Fatalf("got %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 || !strings.Contains(err.Error(), files[0]) {
		t.Fatalf("%v does not name the only file of %q", err, files)
	}
	stack, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(stack), "TestNoPanic") {
		t.Errorf("%v: the stack is not in\n%s", err, stack)
	}
	want := errors.New("failed")
	if got := noPanic(func() error { return want }); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
