package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
)

func (a *app) exportCommand() *cobra.Command {
	var cfg, weights, format, out, image string
	var verify, force bool
	c := &cobra.Command{
		Use: "export --cfg MODEL.cfg --weights MODEL.weights --format darknet --out PATH", Short: "Write a network for other programs", Args: noArgs,
		Long: `Write a network for other programs.

Format darknet writes a cfg and a weights file that Darknet and OpenCV run
alike: into the folder PATH as model.cfg and model.weights, or, when PATH ends
in .cfg, as PATH and the weights file beside it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "cfg", "weights", "out"); err != nil {
				return err
			}
			if format != "darknet" {
				return usagef("--format %s: only darknet is supported yet", format)
			}
			if image != "" && !verify {
				return usagef("--image is the image of --verify, which is not given")
			}
			toCfg, toWeights := exportPaths(out)
			if err := refuseExisting(force, toCfg, toWeights); err != nil {
				return err
			}
			g, err := a.load(cfg, weights)
			if err != nil {
				return err
			}
			if err := makeParents(toCfg); err != nil {
				return err
			}
			if err := pipeline.ExportDarknet(g, toCfg, toWeights); err != nil {
				return err
			}
			a.say("wrote %s and %s", toCfg, toWeights)
			if !verify {
				return nil
			}
			diff, err := pipeline.VerifyOpenCV(toCfg, toWeights, image)
			if err == nil {
				a.say("OpenCV's raw head outputs differ from ours by at most %.1e (allowed %.0e)", diff, pipeline.MaxDifference)
			}
			return err
		},
	}
	c.Flags().StringVar(&cfg, "cfg", "", "network")
	c.Flags().StringVar(&weights, "weights", "", "its weights")
	c.Flags().StringVar(&format, "format", "darknet", "darknet")
	c.Flags().StringVar(&out, "out", "", "folder, or a path that ends in .cfg")
	c.Flags().BoolVar(&verify, "verify", false, "run the files with OpenCV too and compare the raw head outputs")
	c.Flags().StringVar(&image, "image", "", "image for --verify; a drawn pattern by default")
	c.Flags().BoolVar(&force, "force", false, "overwrite existing files")
	return c
}

func exportPaths(out string) (cfg, weights string) {
	if strings.HasSuffix(out, ".cfg") {
		return out, strings.TrimSuffix(out, ".cfg") + ".weights"
	}
	return filepath.Join(out, "model.cfg"), filepath.Join(out, "model.weights")
}
