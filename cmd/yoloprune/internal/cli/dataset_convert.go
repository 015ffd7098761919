package cli

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/datasets/formats"
	"yoloprune/datasets/labels"
	"yoloprune/datasets/split"
)

// writeFlags say how a set is written.
type writeFlags struct {
	out, copying string
	o            labels.WriteOptions
}

func (w *writeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&w.out, "out", "", "folder to write to; splits of one set may share it")
	c.Flags().StringVar(&w.copying, "copying", "copy", "how images get there: copy, hardlink or symlink")
	c.Flags().BoolVar(&w.o.Integers, "integers", false, "voc: round corners to whole pixels, for readers that take no decimals")
	c.Flags().BoolVar(&w.o.Force, "force", false, "replace other files of the same names")
}

func (w *writeFlags) check(c *cobra.Command, root, to string) error {
	if err := require(c, "out"); err != nil {
		return err
	}
	w.o.Images = labels.Copying(w.copying)
	switch {
	case sameFolder(w.out, root):
		return usagef("--out %s: is the set itself; give another folder", w.out)
	case !slices.Contains([]labels.Copying{labels.Copy, labels.Hardlink, labels.Symlink}, w.o.Images):
		return usagef("--copying %s: use copy, hardlink or symlink", w.copying)
	case w.o.Integers && to != "voc":
		return usagef("--integers has no effect with format %s", to)
	}
	return nil
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func (a *app) datasetConvertCommand() *cobra.Command {
	var f setFlags
	var w writeFlags
	var to string
	c := &cobra.Command{
		Use: "convert --from FORMAT --to FORMAT --root DIR --out DIR", Short: "Write an image set in another label format", Args: noArgs,
		Long: `Write one split of an image set in another label format. Boxes keep their
decimals; what a format cannot hold is counted. The set itself is not changed.`,
		Example: `  yoloprune dataset convert --from coco --to yolo --root data --annotations data/annotations/train.json --out data-yolo
  yoloprune dataset convert --from voc --to darknet --root VOC2007 --split val --out data-darknet`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "from", "to", "root", "out"); err != nil {
				return err
			}
			if err := f.check(c, "from"); err != nil {
				return err
			}
			if !slices.Contains(formats.Names, to) {
				return usagef("--to %s: use %s", to, strings.Join(formats.Names, ", "))
			}
			if err := w.check(c, f.o.Root, to); err != nil {
				return err
			}
			set, err := a.openData(&f)
			if err != nil {
				return err
			}
			return a.writeSet(to, f.o.Split, set, w)
		},
	}
	f.add(c, "from")
	f.addSkip(c)
	w.add(c)
	c.Flags().StringVar(&to, "to", "", "format to write: "+strings.Join(formats.Names, ", "))
	return c
}

func (a *app) writeSet(to, part string, set *labels.Set, w writeFlags) error {
	notes, err := formats.Write(to, w.out, part, set, w.o)
	if err != nil {
		return err
	}
	for _, n := range notes {
		a.warn("warning: %s: %s", part, n)
	}
	_, err = fmt.Fprintf(a.out, "wrote %s: %s, %d images, %d boxes\n", w.out, part, set.Len(), boxCount(set))
	return err
}

func (a *app) datasetSplitCommand() *cobra.Command {
	var f setFlags
	var w writeFlags
	var shares, group, to string
	var seed uint64
	c := &cobra.Command{
		Use: "split --format FORMAT --root DIR --out DIR", Short: "Divide an image set into train, val and test", Args: noArgs,
		Long: `Divide an image set at random into train, val and test. Images that --group
finds the same text in stay together; without brackets in it that is the
whole match, with brackets what the first pair holds.`,
		Example: `  yoloprune dataset split --format yolo --root data --shares 0.8,0.1,0.1 --group '^(film\d+)_' --out data-split`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c, "format"); err != nil {
				return err
			}
			if to == "" {
				to = f.o.Format
			}
			if !slices.Contains(formats.Names, to) {
				return usagef("--to %s: use %s", to, strings.Join(formats.Names, ", "))
			}
			if err := w.check(c, f.o.Root, to); err != nil {
				return err
			}
			parts, pattern, err := splitFlags(shares, group)
			if err != nil {
				return err
			}
			return a.splitData(&f, w, to, parts, pattern, seed)
		},
	}
	f.add(c, "format")
	f.addSkip(c)
	w.add(c)
	c.Flags().StringVar(&to, "to", "", "format to write; that of the set by default")
	c.Flags().StringVar(&shares, "shares", "0.8,0.1,0.1", "shares of train, val and test; they add up to 1, and two are train and val")
	c.Flags().StringVar(&group, "group", "", "regular expression on the image's path below the root: images with the same match stay together")
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the division")
	return c
}

func splitFlags(shares, group string) (parts []float64, pattern *regexp.Regexp, err error) {
	for _, s := range strings.Split(shares, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			return nil, nil, usagef("--shares %s: %q is no number", shares, s)
		}
		parts = append(parts, v)
	}
	if len(parts) < 2 || len(parts) > len(formats.Splits) {
		return nil, nil, usagef("--shares %s: give two or three numbers", shares)
	}
	if group == "" {
		return parts, nil, nil
	}
	if pattern, err = regexp.Compile(group); err != nil {
		return nil, nil, usagef("--group: %v", err)
	}
	return parts, pattern, nil
}

func (a *app) splitData(f *setFlags, w writeFlags, to string, shares []float64, pattern *regexp.Regexp, seed uint64) error {
	set, err := a.openData(f)
	if err != nil {
		return err
	}
	files := make([]string, set.Len())
	for i := range files {
		files[i] = set.File(i)
	}
	parts, err := split.Split(split.Groups(files, pattern), shares, seed)
	if err != nil {
		return usagef("--shares: %v", err)
	}
	for p, indices := range parts {
		if len(indices) == 0 {
			continue
		}
		if err := a.writeSet(to, formats.Splits[p], set.Subset(indices), w); err != nil {
			return err
		}
	}
	return nil
}
