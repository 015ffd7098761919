package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

// load reads a network and shows the reader's warnings.
func (a *app) load(cfg, weights string) (*graph.Graph, error) {
	g, warnings, err := darknet.Load(cfg, weights)
	for _, w := range warnings {
		a.warn("warning: %v", w)
	}
	return g, err
}

// refuseExisting keeps commands from overwriting the user's files.
func refuseExisting(force bool, paths ...string) error {
	for _, p := range paths {
		if p == "" || force {
			continue
		}
		if _, err := os.Stat(p); err == nil {
			return usagef("%s: exists; choose another path, or overwrite it with --force", p)
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (a *app) initCommand() *cobra.Command {
	var o zoo.Options
	var arch, input, out, weights string
	var seed uint64
	var force bool
	c := &cobra.Command{
		Use: "init --arch ARCH --classes N --out MODEL.cfg", Short: "Build a network as Darknet cfg, and weights if asked", Args: noArgs,
		Example: "  yoloprune init --arch yolov4-tiny --classes 3 --width 0.5 --input 320 --out model.cfg --weights-out model.weights",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if err := require(c, "arch", "classes", "out"); err != nil {
				return err
			}
			if o.InputW, o.InputH, err = parseInput(input); err != nil {
				return err
			}
			if !(o.Width > 0) {
				return usagef("--width %g: not above 0; 1 is the published network", o.Width)
			}
			if filepath.Clean(out) == filepath.Clean(weights) {
				return usagef("--out and --weights-out are the same file")
			}
			if err := refuseExisting(force, out, weights); err != nil {
				return err
			}
			g, err := zoo.Build(arch, o)
			if err != nil {
				return usageError{err}
			}
			if weights != "" {
				if err := zoo.InitWeights(g, seed); err != nil {
					return err
				}
			}
			if err := makeParents(out, weights); err != nil {
				return err
			}
			if err := darknet.Save(out, weights, g); err != nil {
				return err
			}
			t := cost.Of(g)
			a.say("%s: %s parameters, %.3f GFLOPs at %dx%d", out, term.SI(float64(t.Params())), float64(t.FLOPs())/1e9, t.InputW, t.InputH)
			return nil
		},
	}
	c.Flags().StringVar(&arch, "arch", "", "one of "+strings.Join(zoo.Archs(), ", "))
	c.Flags().IntVar(&o.Classes, "classes", 0, "number of classes")
	c.Flags().Float64Var(&o.Width, "width", 1, "multiplier of all channel counts but the heads'")
	c.Flags().StringVar(&input, "input", "416", "input size in pixels, N or WxH, multiples of 32")
	c.Flags().StringVar(&out, "out", "", "cfg to write")
	c.Flags().StringVar(&weights, "weights-out", "", "weights to write")
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the weights")
	c.Flags().BoolVar(&force, "force", false, "overwrite existing files")
	return c
}

// makeParents makes the folders that the files are to lie in.
func makeParents(paths ...string) error {
	for _, p := range paths {
		if p == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			return err
		}
	}
	return nil
}

func parseInput(s string) (w, h int, err error) {
	ws, hs, both := strings.Cut(strings.ToLower(s), "x")
	if !both {
		hs = ws
	}
	w, err1 := strconv.Atoi(ws)
	h, err2 := strconv.Atoi(hs)
	if err1 != nil || err2 != nil {
		return 0, 0, usagef("--input %s: not a size; write N or WxH, such as 416 or 640x352", s)
	}
	return w, h, nil
}

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "inspect MODEL.cfg", Short: "Print which channels must be cut together", Args: exactly(1, "a cfg"),
		RunE: func(_ *cobra.Command, args []string) error {
			g, err := a.load(args[0], "")
			if err != nil {
				return err
			}
			groups, err := depgraph.Build(g)
			if err != nil {
				return err
			}
			w := bufio.NewWriter(a.out)
			for _, gr := range groups {
				fmt.Fprintln(w, gr.Describe())
			}
			return w.Flush()
		},
	}
}

// exactly demands n arguments; what names them.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %s, got %d arguments", c.CommandPath(), what, len(args))
		}
		return nil
	}
}

// readNames reads a names file: one class a line.
func readNames(path string, classes int) ([]string, error) {
	var names []string
	if path == "" {
		for i := range classes {
			names = append(names, strconv.Itoa(i))
		}
		return names, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(strings.TrimRight(strings.TrimPrefix(string(b), "\ufeff"), "\r\n \t"), "\n") {
		names = append(names, strings.TrimSpace(line))
	}
	if len(names) != classes {
		return nil, fmt.Errorf("%s: %d names, but the network predicts %d classes: give the names file of this network, one class a line", path, len(names), classes)
	}
	return names, nil
}
