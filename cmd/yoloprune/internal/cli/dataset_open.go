package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/datasets/formats"
	"yoloprune/datasets/labels"
)

// setFlags say which image set a command reads.
type setFlags struct {
	o           formats.Options
	list, names string
	skipBad     bool
}

// add adds the flags; format is the name of that for the format.
func (f *setFlags) add(c *cobra.Command, format string) {
	c.Flags().StringVar(&f.o.Format, format, "", "format of the set: "+strings.Join(formats.Names, ", "))
	c.Flags().StringVar(&f.o.Root, "root", "", "folder that all images of the set lie in")
	c.Flags().StringVar(&f.o.Annotations, "annotations", "", "coco: the JSON file; yolo: data.yaml; voc: the folder of XML files")
	c.Flags().StringVar(&f.list, "list", "", "darknet: the list of images or the .data file; voc: the list of images")
	c.Flags().StringVar(&f.o.Images, "images", "", "coco, voc: folder of the images, if it is not images or JPEGImages in the root")
	c.Flags().StringVar(&f.names, "names", "", "names file: the classes in their order")
	c.Flags().StringVar(&f.o.Split, "split", "train", "part of the set: "+strings.Join(formats.Splits, ", "))
	c.Flags().BoolVar(&f.o.AllowOutside, "allow-outside", false, "accept images outside of the root")
}

// addSkip adds the flag of commands that stop at bad input.
func (f *setFlags) addSkip(c *cobra.Command) {
	c.Flags().BoolVar(&f.skipBad, "skip-bad", false, "go on without entries and images that cannot be used")
}

// check says what is wrong with the flags.
func (f *setFlags) check(c *cobra.Command, format string) error {
	if err := require(c, format, "root"); err != nil {
		return err
	}
	switch {
	case !slices.Contains(formats.Names, f.o.Format):
		return usagef("--%s %s: use %s", format, f.o.Format, strings.Join(formats.Names, ", "))
	case !slices.Contains(formats.Splits, f.o.Split):
		return usagef("--split %s: use %s", f.o.Split, strings.Join(formats.Splits, ", "))
	case f.list != "" && f.o.Annotations != "":
		return usagef("--list and --annotations exclude each other")
	case f.list != "" && (f.o.Format == "coco" || f.o.Format == "yolo"):
		return usagef("--list has no effect with format %s; give --annotations", f.o.Format)
	case f.o.Annotations != "" && f.o.Format == "darknet":
		return usagef("--annotations has no effect with format darknet; give --list")
	case f.o.Images != "" && f.o.Format != "coco" && f.o.Format != "voc":
		return usagef("--images has no effect with format %s", f.o.Format)
	}
	if f.list != "" {
		f.o.Annotations = f.list
	}
	return nil
}

// read reads the labels.
func (f *setFlags) read() (*labels.File, error) {
	if f.names != "" {
		names, err := labels.ReadNames(f.names)
		if err != nil {
			return nil, err
		}
		f.o.Names = names
	}
	return formats.Read(f.o)
}

// open reads the set and says what was mended.
func (a *app) openData(f *setFlags) (*labels.Set, error) {
	file, err := f.read()
	if err != nil {
		return nil, err
	}
	set, err := labels.Build(file, labels.Options{SkipBad: f.skipBad, Names: f.o.Names})
	if err != nil {
		return nil, skipBadHint(err, f.skipBad)
	}
	p := set.Problems()
	for _, line := range p.Lines() {
		a.warn("warning: %s: %s", set.Name(), line)
	}
	return set, nil
}

// skipBadHint names the flag that leaves bad entries and images out.
func skipBadHint(err error, skipped bool) error {
	var image *labels.ImageError
	var entries *labels.FaultsError
	var entry *labels.FormatError
	if skipped || !errors.As(err, &image) && !errors.As(err, &entries) && !errors.As(err, &entry) {
		return err
	}
	return hinted{err}
}

// hinted adds where to read on.
type hinted struct{ error }

func (h hinted) Error() string {
	return h.error.Error() + "; `yoloprune dataset check` lists all that is wrong, --skip-bad goes on without"
}

func (h hinted) Unwrap() error { return h.error }
