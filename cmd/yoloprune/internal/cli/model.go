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

// statLayer is a row of `stat --json`; in and out are channels, height, width.
type statLayer struct {
	Index  int    `json:"index"`
	Type   string `json:"type"`
	In     [3]int `json:"in"`
	Out    [3]int `json:"out"`
	Params int64  `json:"params"`
	MACs   int64  `json:"macs"`
}

func (a *app) statCommand() *cobra.Command {
	var weights string
	var asJSON bool
	c := &cobra.Command{
		Use: "stat MODEL.cfg", Short: "Print layers, parameters and FLOPs", Args: exactly(1, "a cfg"),
		RunE: func(_ *cobra.Command, args []string) error {
			g, err := a.load(args[0], weights)
			if err != nil {
				return err
			}
			if asJSON {
				return a.statJSON(cost.Of(g))
			}
			return a.statTable(g, cost.Of(g))
		},
	}
	c.Flags().StringVar(&weights, "weights", "", "weights to check against the cfg")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func dims(s graph.Shape) [3]int { return [3]int{s.C, s.H, s.W} }

func (a *app) statJSON(t cost.Table) error {
	layers := []statLayer{}
	for _, r := range t.Rows {
		layers = append(layers, statLayer{r.Index, r.Type, dims(r.In), dims(r.Out), r.Params, r.MACs})
	}
	return a.printJSON(map[string]any{
		"params": t.Params(), "macs": t.MACs(), "flops": t.FLOPs(), "input": [2]int{t.InputW, t.InputH},
		"activation_bytes": t.ActivationBytes(), "weights_bytes": t.WeightsFileBytes(), "layers": layers,
	})
}

func (a *app) statTable(g *graph.Graph, t cost.Table) error {
	var rows [][]string
	for i, r := range t.Rows {
		rows = append(rows, []string{
			strconv.Itoa(r.Index), r.Type, describe(g.Nodes[i]), size(r.In), size(r.Out),
			strconv.FormatInt(r.Params, 10), fmt.Sprintf("%.3f", 2*float64(r.MACs)/1e9),
		})
	}
	if err := term.Table(a.out, []string{"layer", "type", "options", "input", "output", "params", "BFLOPs"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%d parameters, %.3f BFLOPs (%.3f G multiply-adds) at %dx%d; weights file %d bytes, activations %s\n",
		t.Params(), float64(t.FLOPs())/1e9, float64(t.MACs())/1e9, t.InputW, t.InputH, t.WeightsFileBytes(), term.Bytes(t.ActivationBytes()))
	return err
}

func size(s graph.Shape) string { return fmt.Sprintf("%d x %d x %d", s.W, s.H, s.C) }

// describe is what a Darknet user wants to know of a layer beside its shape.
func describe(n *graph.Node) string {
	switch o := n.Op.(type) {
	case *graph.Conv:
		s := fmt.Sprintf("%dx%d/%d %s", o.Size, o.Size, o.Stride, o.Activation)
		if o.BatchNorm {
			s += " bn"
		}
		if o.Groups > 1 {
			s += fmt.Sprintf(" groups %d", o.Groups)
		}
		return s
	case *graph.MaxPool:
		return fmt.Sprintf("%dx%d/%d", o.Size, o.Size, o.Stride)
	case *graph.Upsample:
		return fmt.Sprintf("%dx", o.Stride)
	case *graph.Route:
		s := layers(n)
		if o.Groups > 1 {
			s += fmt.Sprintf(" part %d/%d", o.GroupID+1, o.Groups)
		}
		return s
	case *graph.Shortcut:
		return layers(n)
	case *graph.Yolo:
		return fmt.Sprintf("%d classes, %d anchors", o.Classes, len(o.Mask))
	}
	return ""
}

func layers(n *graph.Node) string {
	var s []string
	for _, in := range n.Inputs {
		s = append(s, strconv.Itoa(int(in)))
	}
	return strings.Join(s, ", ")
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
