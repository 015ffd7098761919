package cli

import (
	"github.com/spf13/cobra"

	"yoloprune/configs"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Look at experiment files", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		&cobra.Command{
			Use: "show [EXPERIMENT.yaml] [key=value ...]", Short: "Print the experiment with all defaults filled in",
			RunE: func(_ *cobra.Command, args []string) error {
				e, err := loadExperiment(args)
				if err != nil {
					return err
				}
				return a.printConfig(e)
			},
		},
		&cobra.Command{
			Use: "check EXPERIMENT.yaml [key=value ...]", Short: "Say what is wrong with an experiment", Args: atLeast(1, "experiment file"),
			RunE: func(_ *cobra.Command, args []string) error {
				_, err := loadExperiment(args)
				return err
			},
		},
		&cobra.Command{
			Use: "schema", Short: "Print the JSON Schema of experiment files, for editors", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return a.printSchema() },
		})
	return c
}

func (a *app) printSchema() error {
	b, err := configs.Schema()
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}

func (a *app) printConfig(e *configs.Experiment) error {
	b, err := e.Marshal()
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}
