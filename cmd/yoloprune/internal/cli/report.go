package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"yoloprune/pruning/report"
)

func (a *app) reportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "report RUN ...", Short: "Write the report of a run folder, or one over several", Args: atLeast(1, "run folder"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return a.compare(args, out)
			}
			run, err := report.Load(args[0])
			if err != nil {
				return err
			}
			dir := out
			if dir == "" {
				dir = filepath.Join(args[0], "report")
			}
			if err := run.Write(dir); err != nil {
				return err
			}
			if err := a.stageTable(run); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "\nreport: %s\n", filepath.Join(dir, "report.html"))
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder to write to; by default report in the run folder")
	return c
}

func (a *app) compareCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "compare RUN RUN ...", Short: "Write one table and one picture over several runs", Args: atLeast(2, "run folders"),
		RunE: func(_ *cobra.Command, args []string) error { return a.compare(args, out) },
	}
	c.Flags().StringVar(&out, "out", "", "folder to write to; by default compare")
	return c
}

func (a *app) compare(dirs []string, out string) error {
	if out == "" {
		out = "compare"
	}
	var runs []*report.Run
	for _, d := range dirs {
		r, err := report.Load(d)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	if err := report.Compare(runs, out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "wrote %s\n", out)
	return err
}

// atLeast demands n arguments or more.
func atLeast(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return usagef("%s takes at least %d %s, got %d", c.CommandPath(), n, what, len(args))
		}
		return nil
	}
}
