package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/configs"
	"yoloprune/pruning/report"
)

type runFlags struct {
	out             string
	resume, existOK bool
	dryRun, json    bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [EXPERIMENT.yaml] [key=value ...]",
		Short: "Run an experiment from data to report; without a file, the built-in toy experiment",
		Example: `  yoloprune run configs/toy.yaml
  yoloprune run configs/bccd-yolov4-tiny.yaml train.epochs=30 prune.target.flops=0.7
  yoloprune run configs/bccd-yolov4-tiny.yaml --resume`,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := loadExperiment(args)
			if err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			if f.dryRun {
				if err := refuse(c, "--dry-run writes nothing", "json", "resume", "exist-ok"); err != nil {
					return err
				}
				return a.dryRun(e)
			}
			if f.json && e.Report == nil {
				return usagef("--json prints report.json, but the experiment has no `report:` section")
			}
			return a.execute(c.Context(), e, f, "")
		},
	}
	c.Flags().StringVar(&f.out, "out", "runs", "folder of run folders")
	c.Flags().BoolVar(&f.resume, "resume", false, "go on with the newest run of that name")
	c.Flags().BoolVar(&f.existOK, "exist-ok", false, "write over the newest run of that name, if there is one")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be done, write nothing")
	c.Flags().BoolVar(&f.json, "json", false, "print report.json on standard output")
	return c
}

// stageCommand runs one training stage; it starts from what the stages before
// it left in the run folder.
func (a *app) stageCommand(stage string) *cobra.Command {
	var f runFlags
	short := map[string]string{
		"train":    "Run an experiment's training stage in a new run folder",
		"sparsify": "Run an experiment's sparsity stage on the newest run of that name",
		"finetune": "Run an experiment's fine-tuning stage on the newest run of that name",
	}
	c := &cobra.Command{
		Use: stage + " EXPERIMENT.yaml [key=value ...]", Short: short[stage],
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s needs an experiment file", c.CommandPath())
			}
			e, err := loadExperiment(args)
			if err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			f.resume = f.resume || stage != "train"
			return a.execute(c.Context(), e, f, stage)
		},
	}
	c.Flags().StringVar(&f.out, "out", "runs", "folder of run folders")
	c.Flags().BoolVar(&f.resume, "resume", false, "go on with the newest run of that name")
	return c
}

// check finds an empty folder, as an unset variable of a shell leaves it, and
// flags that contradict each other.
func (f *runFlags) check() error {
	switch {
	case f.out == "":
		return usagef("--out is empty")
	case f.resume && f.existOK:
		return usagef("--resume goes on with a run and --exist-ok writes over it: give one of them")
	}
	return nil
}

// loadExperiment reads the file, or the built-in toy experiment when the first
// argument is an override or missing.
func loadExperiment(args []string) (*configs.Experiment, error) {
	if len(args) == 0 || strings.Contains(args[0], "=") {
		return configs.Parse("toy.yaml", configs.Default, args)
	}
	for _, kv := range args[1:] {
		if !strings.Contains(kv, "=") {
			return nil, usagef("%s: not a key=value override; one experiment is run at a time", kv)
		}
	}
	return configs.Load(args[0], args[1:])
}

func (a *app) execute(ctx context.Context, e *configs.Experiment, f runFlags, only string) error {
	ctx, stop := a.withSignals(ctx)
	defer stop()
	progress := a.screen.Progress(a.log)
	r, err := pipeline.Execute(ctx, e, pipeline.Options{
		Out: f.out, Resume: f.resume, ExistOK: f.existOK, Only: only, Progress: progress, Say: a.say, Warn: a.warn,
	})
	if errors.Is(err, context.Canceled) && r != nil {
		return &stopped{dir: r.Dir, checkpoint: hasCheckpoint(r.Dir)}
	}
	if err != nil {
		return err
	}
	return a.printRun(r.Dir, f.json)
}

func hasCheckpoint(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "*", "checkpoint", "*.ckpt"))
	return len(found) > 0
}

// printRun prints the table of stages and where the page is.
func (a *app) printRun(dir string, asJSON bool) error {
	if asJSON {
		b, err := os.ReadFile(filepath.Join(dir, "report", "report.json"))
		if err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	}
	run, err := report.Load(dir)
	if err != nil {
		return err
	}
	if err := a.stageTable(run); err != nil {
		return err
	}
	page := filepath.Join(dir, "report", "report.html")
	if _, err := os.Stat(page); err == nil {
		fmt.Fprintf(a.out, "\nreport: %s\n", page)
	}
	return nil
}
