package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/datasets/stats"
	"yoloprune/yolo/head"
)

// anchorLimit is the factor that YOLOv5 and YOLOv7 allow between a box and an
// anchor (anchor_t).
const anchorLimit = 4

func (a *app) datasetAnchorsCommand() *cobra.Command {
	var f setFlags
	var n int
	var input string
	var letterbox, asJSON bool
	var seed uint64
	c := &cobra.Command{
		Use: "anchors --format FORMAT --root DIR", Short: "Find anchors for the boxes of an image set by k-means", Args: noArgs,
		Long: `Find anchors for the boxes of an image set by k-means with the distance 1 - IoU,
in pixels of the network's input, and say how well they fit: the mean IoU of
a box with its best anchor, and the best possible recall, the share of boxes
that some anchor is within a factor of 4 of in both sides.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c, "format"); err != nil {
				return err
			}
			w, h, err := inputSize(input)
			if err != nil {
				return err
			}
			if n < 1 || n > 100 {
				return usagef("--clusters %d: not in [1, 100]", n)
			}
			set, err := a.openData(&f)
			if err != nil {
				return err
			}
			sizes := stats.BoxSizes(set, w, h, letterbox)
			if len(sizes) == 0 {
				return fmt.Errorf("%s: no image has a box", set.Name())
			}
			anchors, iou, err := head.KMeansAnchors(sizes, n, seed)
			if err != nil {
				return fmt.Errorf("%s: %w", set.Name(), err)
			}
			return a.printAnchors(anchorsOf(anchors, sizes, iou, w, h, seed), asJSON)
		},
	}
	f.add(c, "format")
	f.addSkip(c)
	c.Flags().IntVar(&n, "clusters", 9, "number of anchors")
	c.Flags().StringVar(&input, "input", "416x416", "the network's input, WIDTHxHEIGHT")
	c.Flags().BoolVar(&letterbox, "letterbox", false, "images keep their aspect instead of being stretched to the input")
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the first centres")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// inputSize reads WIDTHxHEIGHT, or one number for both.
func inputSize(s string) (w, h int, err error) {
	ws, hs, two := strings.Cut(s, "x")
	if !two {
		hs = ws
	}
	w, err = strconv.Atoi(ws)
	if err == nil {
		h, err = strconv.Atoi(hs)
	}
	if err != nil || w < 1 || h < 1 || max(w, h) > 1<<14 {
		return 0, 0, usagef("--input %s: expected WIDTHxHEIGHT, such as 416x416", s)
	}
	return w, h, nil
}

// foundAnchors is what `dataset anchors --json` prints.
type foundAnchors struct {
	Anchors [][2]float64 `json:"anchors"`
	Input   [2]int       `json:"input"`
	Boxes   int          `json:"boxes"`
	MeanIoU float64      `json:"mean_iou"`
	Recall  float64      `json:"best_possible_recall"`
	Seed    uint64       `json:"seed"`
}

func anchorsOf(anchors, sizes [][2]float64, iou float64, w, h int, seed uint64) foundAnchors {
	for i, s := range anchors {
		anchors[i] = [2]float64{math.Round(s[0]*100) / 100, math.Round(s[1]*100) / 100}
	}
	return foundAnchors{anchors, [2]int{w, h}, len(sizes), iou, stats.Recall(sizes, anchors, anchorLimit), seed}
}

func (a *app) printAnchors(f foundAnchors, asJSON bool) error {
	if asJSON {
		return a.printJSON(f)
	}
	var pairs []string
	for _, s := range f.Anchors {
		pairs = append(pairs, fmt.Sprintf("%g,%g", s[0], s[1]))
	}
	_, err := fmt.Fprintf(a.out, "anchors = %s\n%d boxes at %dx%d: mean IoU %.4f, best possible recall %.4f\n",
		strings.Join(pairs, ", "), f.Boxes, f.Input[0], f.Input[1], f.MeanIoU, f.Recall)
	return err
}
