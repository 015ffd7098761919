package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/graph"
)

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

// statTable prints what Darknet prints when it loads a network, and parameters
// and multiply-adds beside it. As there, sizes are width x height x channels.
func (a *app) statTable(g *graph.Graph, t cost.Table) error {
	header := []string{"layer", "type", "filters", "size/strd", "of", "input", "output", "params", "MACs", "BFLOPs"}
	var rows [][]string
	for i, r := range t.Rows {
		filters, window, of := describe(g.Nodes[i])
		rows = append(rows, []string{
			strconv.Itoa(r.Index), r.Type, filters, window, of, size(r.In), size(r.Out),
			strconv.FormatInt(r.Params, 10), strconv.FormatInt(r.MACs, 10), fmt.Sprintf("%.3f", 2*float64(r.MACs)/1e9),
		})
	}
	if err := term.Table(a.out, header, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%d parameters, %.3f BFLOPs (%.3f G multiply-adds) at %dx%d; weights file %d bytes, activations %s\n",
		t.Params(), float64(t.FLOPs())/1e9, float64(t.MACs())/1e9, t.InputW, t.InputH, t.WeightsFileBytes(), term.Bytes(t.ActivationBytes()))
	return err
}

func size(s graph.Shape) string { return fmt.Sprintf("%4d x%4d x%4d", s.W, s.H, s.C) }

// describe is what a Darknet user wants to know of a layer beside its shape:
// filters, window and stride, and the layers that it reads or what else makes
// it what it is.
func describe(n *graph.Node) (filters, window, of string) {
	switch o := n.Op.(type) {
	case *graph.Conv:
		return strconv.Itoa(o.Filters), windowOf(o.Size, o.Stride), convOf(o)
	case *graph.MaxPool:
		return "", windowOf(o.Size, o.Stride), ""
	case *graph.LocalAvgPool:
		return "", windowOf(o.Size, o.Stride), ""
	case *graph.Upsample:
		return "", strconv.Itoa(o.Stride) + "x", ""
	case *graph.Reorg:
		return "", "/" + strconv.Itoa(o.Stride), ""
	case *graph.Reorg3D:
		return "", "/" + strconv.Itoa(o.Stride), ""
	case *graph.Route:
		return "", "", routeOf(n, o)
	case *graph.Shortcut:
		return "", "", shortcutOf(n, o)
	case *graph.ScaleChannels:
		return "", "", withActivation(layers(n), o.Activation)
	case *graph.SAM:
		return "", "", withActivation(layers(n), o.Activation)
	case *graph.Dropout:
		return "", "", fmt.Sprintf("p %g", o.Probability)
	case *graph.Yolo:
		return "", "", fmt.Sprintf("%d classes, %d anchors", o.Classes, len(o.Mask))
	}
	return "", "", ""
}

func windowOf(size, stride int) string { return fmt.Sprintf("%dx%d/%d", size, size, stride) }

func convOf(o *graph.Conv) string {
	s := string(o.Activation)
	if o.BatchNorm {
		s += " bn"
	}
	if o.Groups > 1 {
		s += fmt.Sprintf(" groups %d", o.Groups)
	}
	return s
}

func routeOf(n *graph.Node, o *graph.Route) string {
	s := layers(n)
	if o.Groups > 1 {
		s += fmt.Sprintf(" part %d/%d", o.GroupID+1, o.Groups)
	}
	return s
}

func shortcutOf(n *graph.Node, o *graph.Shortcut) string {
	s := withActivation(layers(n), o.Activation)
	if o.Scaling != graph.NoScaling {
		s += fmt.Sprintf(" weights %s, %s", o.Scaling, o.Normalization)
	}
	return s
}

func withActivation(s string, f graph.Activation) string {
	if f == graph.Linear {
		return s
	}
	return s + " " + string(f)
}

func layers(n *graph.Node) string {
	var s []string
	for _, in := range n.Inputs {
		s = append(s, strconv.Itoa(int(in)))
	}
	return strings.Join(s, ", ")
}
