package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/darknet"
)

type exportFlags struct {
	cfg, weights, format, reader, out, image string
	partial                                  int
	verify, force                            bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use: "export --cfg MODEL.cfg --weights MODEL.weights --format darknet --out PATH", Short: "Write a network for other programs", Args: noArgs,
		Long: `Write a network for other programs.

Format darknet writes a cfg and a weights file: into the folder PATH as
model.cfg and model.weights, or, when PATH ends in .cfg, as PATH and the weights
file beside it. The cfg is written anew, without comments.

--for says who reads them. What that reader gets wrong silently is rewritten
without changing what the network computes, which is reported, or refused:
  any      Darknet and OpenCV alike
  darknet  AlexeyAB's Darknet and its forks
  opencv   OpenCV 4.6 only: the variances make up for its batch norm's epsilon

--partial N writes the weights of the first N layers alone, as PATH: a file
like yolov4.conv.137, with which a training starts.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "cfg", "weights", "out"); err != nil {
				return err
			}
			if f.format != "darknet" {
				return usagef("--format %s: only darknet is supported yet", f.format)
			}
			if !slices.Contains(darknet.Readers, darknet.Reader(f.reader)) {
				return usagef("--for %s: not one of any, darknet, opencv", f.reader)
			}
			if c.Flags().Changed("partial") {
				if f.verify || c.Flags().Changed("for") {
					return usagef("--partial writes weights alone, so --for and --verify do not go with it")
				}
				return a.exportPartial(f)
			}
			if f.verify && f.reader == string(darknet.ForDarknet) {
				return usagef("--verify runs the files with OpenCV, and --for darknet does not write them for it")
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
	c.Flags().StringVar(&f.reader, "for", "any", "who reads the files: any, darknet or opencv")
	c.Flags().IntVar(&f.partial, "partial", 0, "write the weights of the first N layers alone")
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
	changes, err := pipeline.ExportDarknet(g, darknet.Reader(f.reader), toCfg, toWeights)
	var unsupported *darknet.UnsupportedError
	if errors.As(err, &unsupported) {
		unsupported.File = f.cfg
	}
	if err != nil {
		return err
	}
	for _, line := range darknet.Summary(changes) {
		a.say("%s", line)
	}
	a.say("wrote %s and %s", toCfg, toWeights)
	if !f.verify {
		return nil
	}
	diff, err := pipeline.VerifyOpenCV(toCfg, toWeights, f.image, darknet.Reader(f.reader))
	if err == nil {
		a.say("OpenCV's raw head outputs differ from ours by at most %.1e (allowed %.0e)", diff, pipeline.MaxDifference)
	}
	return err
}

// exportPartial writes the weights of the first layers.
func (a *app) exportPartial(f exportFlags) error {
	if err := refuseExisting(f.force, f.out); err != nil {
		return err
	}
	g, err := a.load(f.cfg, f.weights)
	if err != nil {
		return err
	}
	if f.partial < 1 || f.partial > len(g.Nodes) {
		return usagef("--partial %d: %s has %d layers", f.partial, f.cfg, len(g.Nodes))
	}
	if err := makeParents(f.out); err != nil {
		return err
	}
	if err := darknet.SaveWeights(f.out, g, f.partial); err != nil {
		return err
	}
	a.say("wrote %s: the weights of layers 0 to %d", f.out, f.partial-1)
	return nil
}

// compareOpenCVCommand is the part of --verify that may end the process.
func (a *app) compareOpenCVCommand() *cobra.Command {
	return &cobra.Command{
		Use: pipeline.CompareCommand + " MODEL.cfg MODEL.weights IMAGE READER", Hidden: true, Args: exactly(4, "a cfg, weights, an image and a reader"),
		RunE: func(_ *cobra.Command, args []string) error {
			diff, err := pipeline.CompareOpenCV(args[0], args[1], args[2], darknet.Reader(args[3]))
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
