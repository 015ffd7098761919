package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"yoloprune/datasets/toy"
)

func (a *app) datasetCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dataset", Short: "Check, describe, convert, split and draw image sets", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.datasetCheckCommand(), a.datasetStatsCommand(), a.datasetConvertCommand(), a.datasetSplitCommand(),
		a.datasetAnchorsCommand(), a.toyCommand())
	return c
}

func (a *app) toyCommand() *cobra.Command {
	var out string
	var o toy.Options
	var force bool
	c := &cobra.Command{
		Use: "toy --out DIR", Short: "Draw the toy image set: shapes on textured backgrounds, COCO annotations", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "out"); err != nil {
				return err
			}
			if o.Images < 3 {
				return usagef("--images %d: too few; each of train, val and test needs one", o.Images)
			}
			if err := refuseExisting(force, filepath.Join(out, "annotations")); err != nil {
				return err
			}
			if err := toy.Write(out, o); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.out, "wrote %s\n", out)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder to write to")
	c.Flags().IntVar(&o.Images, "images", 520, "images of all three splits together")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the scenes")
	c.Flags().BoolVar(&force, "force", false, "overwrite an earlier set")
	return c
}
