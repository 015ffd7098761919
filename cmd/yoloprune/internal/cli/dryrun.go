package cli

import (
	"fmt"
	"strings"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/configs"
	"yoloprune/yolo/cost"
)

// dryRun prints the resolved experiment, the layers, the cuts and
// the stages.
func (a *app) dryRun(e *configs.Experiment) error {
	o, err := pipeline.Plan(e, a.say, a.warn)
	if err != nil {
		return err
	}
	if err := a.printConfig(e); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.statTable(o.Graph, cost.Of(o.Graph)); err != nil {
		return err
	}
	for _, c := range o.Cuts {
		fmt.Fprintln(a.out, c)
	}
	_, err = fmt.Fprintf(a.out, "stages: %s\n", strings.Join(o.Stages, ", "))
	return err
}
