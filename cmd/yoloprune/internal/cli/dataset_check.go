package cli

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets"
	"yoloprune/datasets/labels"
	"yoloprune/datasets/stats"
)

func (a *app) datasetCheckCommand() *cobra.Command {
	var f setFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "check", Short: "List everything that is wrong with an image set; every image is decoded", Args: noArgs,
		Long: `List everything that is wrong with an image set, with counts and examples.
Every image is decoded fully. Exit code 1 says that something is wrong.`,
		Example: `  yoloprune dataset check --format coco --root data --annotations data/annotations/train.json
  yoloprune dataset check --format darknet --root data --list data/train.txt --names data/obj.names`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c, "format"); err != nil {
				return err
			}
			return a.checkData(&f, asJSON)
		},
	}
	f.add(c, "format")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// checked is what `dataset check --json` prints.
type checked struct {
	OK       bool               `json:"ok"`
	File     string             `json:"file"`
	Images   int                `json:"images"`
	Usable   int                `json:"usable_images"`
	Boxes    int                `json:"usable_boxes"`
	Classes  []string           `json:"classes"`
	Problems map[string]finding `json:"problems"`
	Notes    map[string]finding `json:"notes"`
	Fatal    string             `json:"fatal,omitempty"` // the set cannot be read at all
}

type finding struct {
	labels.Finding
	Description string `json:"description"`
}

func (a *app) checkData(f *setFlags, asJSON bool) error {
	file, err := f.read()
	if err == nil {
		var set *labels.Set
		if set, err = labels.Check(file, labels.Options{Names: f.o.Names}); err == nil {
			return a.reportCheck(newChecked(file, set), set, asJSON)
		}
	}
	if asJSON {
		if e := a.printJSON(checked{File: f.o.Annotations, Fatal: err.Error(), Problems: map[string]finding{}, Notes: map[string]finding{}, Classes: []string{}}); e != nil {
			return e
		}
	}
	return err
}

func newChecked(file *labels.File, set *labels.Set) checked {
	p := set.Problems()
	c := checked{
		OK: p.Wrong() == 0 && set.Len() > 0, File: file.Name, Images: len(file.Images), Usable: set.Len(), Boxes: boxCount(set),
		Classes: set.Names(), Problems: map[string]finding{}, Notes: map[string]finding{},
	}
	for _, d := range p.All() {
		switch {
		case d.Count > 0 && d.Note:
			c.Notes[d.Key] = finding{d.Finding, d.What}
		case d.Count > 0:
			c.Problems[d.Key] = finding{d.Finding, d.What}
		}
	}
	return c
}

func boxCount(set datasets.Source) (n int) {
	for i := range set.Len() {
		n += len(set.Sample(i).Boxes)
	}
	return n
}

func (a *app) reportCheck(c checked, set *labels.Set, asJSON bool) error {
	p := set.Problems()
	if asJSON {
		if err := a.printJSON(c); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "%s: %d images, %d of them usable, %d usable boxes, %d classes\n", c.File, c.Images, c.Usable, c.Boxes, len(c.Classes))
		for _, d := range p.All() {
			if d.Count == 0 {
				continue
			}
			if _, err := fmt.Fprintf(a.out, "%d %s\n", d.Count, d.What); err != nil {
				return err
			}
			for _, e := range d.Examples {
				fmt.Fprintf(a.out, "  %s\n", e)
			}
		}
	}
	if c.OK {
		return nil
	}
	if n := p.Wrong(); n > 0 {
		return fmt.Errorf("%s: mistakes found: %d", c.File, n)
	}
	return fmt.Errorf("%s: there are no images", c.File)
}

func (a *app) datasetStatsCommand() *cobra.Command {
	var f setFlags
	var asJSON bool
	var out string
	c := &cobra.Command{
		Use: "stats", Short: "Count classes and measure boxes of an image set", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c, "format"); err != nil {
				return err
			}
			set, err := a.openData(&f)
			if err != nil {
				return err
			}
			s := stats.New(set)
			if out != "" {
				if err := a.plotStats(s, out); err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(s)
			}
			return a.printStats(s)
		},
	}
	f.add(c, "format")
	f.addSkip(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().StringVar(&out, "out", "", "folder to write plots to")
	return c
}

func (a *app) plotStats(s *stats.Stats, out string) error {
	names, err := s.Plot(out)
	for _, n := range names {
		a.say("wrote %s", filepath.Join(out, n))
	}
	return err
}

func (a *app) printStats(s *stats.Stats) error {
	fmt.Fprintf(a.out, "%d images, %d of them without boxes; %d boxes (%d crowd, %d difficult, %d truncated)\n", s.Images, s.WithoutBoxes, s.Boxes, s.Crowd, s.Difficult, s.Truncated)
	fmt.Fprintf(a.out, "box areas: %d small (under 32x32), %d medium, %d large (from 96x96)\n\n", s.Sizes.Small, s.Sizes.Medium, s.Sizes.Large)
	var rows [][]string
	for _, c := range s.Classes {
		rows = append(rows, []string{c.Name, strconv.Itoa(c.Boxes), strconv.Itoa(c.Images)})
	}
	if err := term.Table(a.out, []string{"class", "boxes", "images"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	rows = rows[:0]
	for _, q := range []struct {
		name string
		q    *stats.Quantiles
	}{
		{"box width", s.Width}, {"box height", s.Height}, {"box area", s.Area}, {"share of the image", s.Share},
		{"width / height", s.Aspect}, {"boxes an image", s.PerImage}, {"image width", s.ImageWidth}, {"image height", s.ImageHeight},
	} {
		if q.q != nil {
			rows = append(rows, quantileRow(q.name, q.q))
		}
	}
	return term.Table(a.out, []string{"", "min", "5 %", "25 %", "median", "75 %", "95 %", "max", "mean"}, rows)
}

func quantileRow(name string, q *stats.Quantiles) []string {
	row := []string{name}
	for _, v := range []float64{q.Min, q.P5, q.P25, q.Median, q.P75, q.P95, q.Max, q.Mean} {
		row = append(row, strconv.FormatFloat(v, 'g', 4, 64))
	}
	return row
}
