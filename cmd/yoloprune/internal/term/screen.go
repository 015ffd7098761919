// Package term is the only code that knows of a terminal: the progress bar,
// tables, emphasis and numbers as people read them.
package term

import (
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
)

// Screen is standard error as the program uses it: log lines and, on a
// terminal, a progress bar below them. Write keeps the two apart, so log
// handlers write to the Screen.
type Screen struct {
	w        io.Writer
	terminal bool
	quiet    bool

	mu   sync.Mutex
	bars *mpb.Progress // while a bar is shown
}

// NewScreen returns a Screen on w. A quiet one shows no progress; what is
// written to it still appears.
func NewScreen(w io.Writer, quiet bool) *Screen {
	return &Screen{w: w, terminal: IsTerminal(w), quiet: quiet}
}

// Write puts a line above the bar.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars != nil {
		return s.bars.Write(p)
	}
	return s.w.Write(p)
}

// Progress returns a bar on a terminal, lines in the log elsewhere, and
// nothing for a quiet screen.
func (s *Screen) Progress(log *slog.Logger) Progress {
	switch {
	case s.quiet:
		return silent{}
	case s.terminal:
		return &bar{screen: s}
	}
	return &lines{log: log}
}

// IsTerminal says whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && cupwriter.New(f, false).IsTerminal()
}

// Coloured says whether text on w may carry colours and emphasis: w is a
// terminal that knows them and the user has not set NO_COLOR (no-color.org).
func Coloured(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

// Bold emphasises text for w.
func Bold(w io.Writer, text string) string {
	if !Coloured(w) {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}
