package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/datasets/imagefile"
)

type exportFlags struct {
	cfg, weights, format, out, image string
	verify, force                    bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
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
			if f.format != "darknet" {
				return usagef("--format %s: only darknet is supported yet", f.format)
			}
			if f.image != "" && !f.verify {
				return usagef("--image is the image of --verify, which is not given")
			}
			return a.export(f)
		},
	}
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.format, "format", "darknet", "darknet")
	c.Flags().StringVar(&f.out, "out", "", "folder, or a path that ends in .cfg")
	c.Flags().BoolVar(&f.verify, "verify", false, "run the files with OpenCV too and compare the raw head outputs")
	c.Flags().StringVar(&f.image, "image", "", "image for --verify; a drawn pattern by default")
	c.Flags().BoolVar(&f.force, "force", false, "overwrite existing files")
	return c
}

func (a *app) export(f exportFlags) error {
	toCfg, toWeights := exportPaths(f.out)
	if err := refuseExisting(f.force, toCfg, toWeights); err != nil {
		return err
	}
	if f.image != "" {
		img, err := imagefile.Read(f.image)
		if err != nil {
			return err
		}
		img.Close()
	}
	g, err := a.load(f.cfg, f.weights)
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
	if !f.verify {
		return nil
	}
	diff, err := pipeline.VerifyOpenCV(toCfg, toWeights, f.image)
	if err == nil {
		a.say("OpenCV's raw head outputs differ from ours by at most %.1e (allowed %.0e)", diff, pipeline.MaxDifference)
	}
	return err
}

// compareOpenCVCommand is the part of --verify that may end the process.
func (a *app) compareOpenCVCommand() *cobra.Command {
	return &cobra.Command{
		Use: pipeline.CompareCommand + " MODEL.cfg MODEL.weights IMAGE", Hidden: true, Args: exactly(3, "a cfg, weights and an image"),
		RunE: func(_ *cobra.Command, args []string) error {
			diff, err := pipeline.CompareOpenCV(args[0], args[1], args[2])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, diff)
			return err
		},
	}
}

func exportPaths(out string) (cfg, weights string) {
	if strings.HasSuffix(out, ".cfg") {
		return out, strings.TrimSuffix(out, ".cfg") + ".weights"
	}
	return filepath.Join(out, "model.cfg"), filepath.Join(out, "model.weights")
}
