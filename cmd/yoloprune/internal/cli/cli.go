// Package cli is the command line: one file per command, flags in, exit code
// out. Results go to standard output, logs and bars to standard error.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/configs"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitGate        = 3   // a quality gate was missed
	exitCheckpoint  = 75  // stopped by a signal, to be resumed
	exitInterrupted = 130 // stopped by SIGINT without a checkpoint
	exitTerminated  = 143 // the same for SIGTERM
)

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// gateError is a result below what was demanded.
type gateError struct{ error }

// app is what every command shares.
type app struct {
	out    io.Writer
	screen *term.Screen
	log    *slog.Logger
	quiet  bool
	began  bool // a command's own code has been reached
	signal os.Signal
}

// Main runs the command line and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	a := &app{out: stdout}
	root := a.root(stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := noPanic(root.Execute)
	if err != nil {
		fmt.Fprintf(stderr, "yoloprune: %v\n", err)
	}
	return a.code(err)
}

// noPanic turns a panic, which is always a fault of this program, into an
// error. The stack, which only its authors can read, goes to a file.
func noPanic(do func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = fmt.Errorf("internal fault: %v; please report it with the command that was run", p)
		f, e := os.CreateTemp("", "yoloprune-fault-*.txt")
		if e != nil {
			return
		}
		defer f.Close()
		if _, e := f.Write(debug.Stack()); e == nil {
			err = fmt.Errorf("%w and with %s", err, f.Name())
		}
	}()
	return do()
}

func (a *app) root(stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "yoloprune",
		Short:         "Make YOLO detectors smaller: train, prune, repair, measure, export",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "show no progress")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		a.began = true
		a.screen = term.NewScreen(stderr, a.quiet)
		a.log = slog.New(slog.NewTextHandler(a.screen, nil))
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; `%s --help` lists the flags", err, c.CommandPath())
	})
	root.SetHelpCommand(helpCommand())
	root.AddCommand(a.runCommand(), a.initCommand(), a.statCommand(), a.inspectCommand(), a.analyzeCommand(), a.pruneCommand(), a.valCommand(),
		a.predictCommand(), a.exportCommand(), a.datasetCommand(), a.reportCommand(), a.compareCommand(), a.configCommand(),
		a.doctorCommand(), a.versionCommand(), a.compareOpenCVCommand())
	for _, s := range []string{"train", "sparsify", "finetune"} {
		root.AddCommand(a.stageCommand(s))
	}
	return root
}

// say writes a line for the user to standard error.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.screen, format+"\n", args...)
	}
}

// warn writes a line that is shown even with --quiet.
func (a *app) warn(format string, args ...any) { fmt.Fprintf(a.screen, format+"\n", args...) }

// withSignals returns a context that SIGINT and SIGTERM end; a second signal
// kills the process. Only commands that watch the context use it; any other is
// killed by the first signal.
func (a *app) withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		s, ok := <-c
		if !ok {
			return
		}
		a.signal = s
		signal.Stop(c)
		a.warn("%v: stopping after this step; a second signal stops at once", s)
		cancel()
	}()
	return ctx, func() { signal.Stop(c); cancel() }
}

// stopped is a command that a signal ended. Of a run, dir is its folder, and
// checkpoint says whether it can go on.
type stopped struct {
	dir        string
	checkpoint bool
}

func (s *stopped) Error() string {
	switch {
	case s.checkpoint:
		return "stopped; go on with --resume: " + s.dir
	case s.dir == "":
		return "stopped: nothing was written"
	}
	return "stopped before the first checkpoint: " + s.dir
}

func (a *app) code(err error) int {
	var u usageError
	var g gateError
	var c *configs.Error
	var s *stopped
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &s):
		return a.signalCode(s.checkpoint)
	case errors.As(err, &u), errors.As(err, &c), !a.began:
		return exitUsage
	case errors.As(err, &g):
		return exitGate
	}
	return exitFailed
}

func (a *app) signalCode(checkpoint bool) int {
	switch {
	case checkpoint:
		return exitCheckpoint
	case a.signal == syscall.SIGTERM:
		return exitTerminated
	}
	return exitInterrupted
}

// printJSON writes one object to standard output.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// noArgs refuses arguments. Where there are subcommands, one was meant.
func noArgs(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !c.HasSubCommands():
		return usagef("%s takes no arguments, got %q; `%s --help` says how it is called", c.CommandPath(), args[0], c.CommandPath())
	}
	return unknownCommand(c, args[0])
}

func unknownCommand(c *cobra.Command, name string) error {
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(name); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("unknown command %q for %q%s; `%s --help` lists the commands", name, c.CommandPath(), hint, c.CommandPath())
}

// helpCommand is cobra's, but does not take an unknown command for none.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Print help about a command",
		RunE: func(c *cobra.Command, args []string) error {
			at, rest, err := c.Root().Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(at, rest[0])
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// require says which of the named flags are missing or, as an unset variable of
// a shell leaves them, empty.
func require(c *cobra.Command, names ...string) error {
	var missing []string
	for _, n := range names {
		if !c.Flags().Changed(n) {
			missing = append(missing, "--"+n)
		}
	}
	if missing != nil {
		return usagef("%s needs %s", c.CommandPath(), strings.Join(missing, " and "))
	}
	for _, n := range names {
		if c.Flags().Lookup(n).Value.String() == "" {
			return usagef("--%s is empty", n)
		}
	}
	return nil
}

// refuse says which of the named flags are given though they have no effect.
func refuse(c *cobra.Command, why string, names ...string) error {
	for _, n := range names {
		if c.Flags().Changed(n) {
			return usagef("%s: --%s has no effect", why, n)
		}
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "yoloprune", pipeline.Version())
			return err
		},
	}
}
