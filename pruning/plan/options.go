package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/yolo/graph"
)

// Criteria lists what Options.Criterion may be.
//
// bn-scale scores by |gamma| with the global strategy, and by |gamma| times
// the filter's norm with the greedy and the independent one.
var Criteria = []string{"bn-scale"}

// Strategies lists what Options.Strategy may be.
//
// global ranks the channels of all layers together and cuts below one
// threshold (Liu et al. 2017, arXiv:1708.06519, section 3). greedy and
// independent are those of Li et al. 2017, arXiv:1608.08710, section 3.3: a
// filter's norm counts, in greedy only over the input channels that are left
// by the layers before, which are decided first; in independent over all of
// them. Where the paper fixes the number of filters by layer, one threshold on
// the normalised scores decides here too.
var Strategies = []string{"global", "greedy", "independent"}

// Normalizations lists what Options.Normalize may be.
//
// none compares scores as they are. layer divides them by the mean of their
// group first, so that 1 is an average channel of its layer: scales, fan-in
// and kernel size differ from layer to layer, and a convolution in front of a
// head, which no batch norm follows, keeps large scales throughout.
var Normalizations = []string{"none", "layer"}

// Tolerance is how far a budget may be overshot: within 1 % of the whole.
const Tolerance = 0.01

// Options say how Make finds a plan.
type Options struct {
	Criterion string
	Strategy  string
	Normalize string // "" is none for the global strategy, layer for the others
	Target    Target
	// Align is the step of a convolution's number of filters; a number that is
	// no multiple of it is kept only where nothing is cut.
	Align int
	// Floor is the fraction of a layer's filters that always stay.
	Floor float64
	// Skip lists layers that keep their output channels: an index ("5"), a
	// range ("3-7", its convolutions), a type ("shortcut"), or "heads", which
	// are kept whether listed or not.
	Skip []string
}

// Defaults returns the options for a target.
func Defaults(t Target) Options {
	return Options{Criterion: "bn-scale", Strategy: "greedy", Target: t, Align: 8, Floor: 0.1}
}

func (o *Options) complete() error {
	if o.Normalize == "" {
		o.Normalize = "layer"
		if o.Strategy == "global" {
			o.Normalize = "none"
		}
	}
	for _, c := range []struct {
		name, value string
		known       []string
	}{
		{"criterion", o.Criterion, Criteria},
		{"strategy", o.Strategy, Strategies},
		{"normalize", o.Normalize, Normalizations},
		{"target", string(o.Target.Quantity), []string{string(FLOPs), string(Params), string(Channels)}},
	} {
		if !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s: %q is not known: use one of %s", c.name, c.value, strings.Join(c.known, ", "))
		}
	}
	if !(o.Target.Ratio > 0 && o.Target.Ratio < 1) {
		return fmt.Errorf("%s: %v is not in (0, 1): it is the fraction to remove", o.Target.key(), o.Target.Ratio)
	}
	if o.Align < 1 {
		return fmt.Errorf("align: %d is not positive: 1 allows any number of filters", o.Align)
	}
	if !(o.Floor >= 0 && o.Floor < 1) {
		return fmt.Errorf("floor: %v is not in [0, 1): it is the fraction of a layer's filters that stay", o.Floor)
	}
	return nil
}

func (o Options) criterion(g *graph.Graph) importance.Criterion {
	if o.Strategy == "global" {
		return importance.BNScale(g)
	}
	return importance.FilterScale(g)
}

// skipped returns, by group, the skip entry that keeps it whole, or "".
func skipped(g *graph.Graph, groups []depgraph.Group, entries []string) ([]string, error) {
	by := map[graph.NodeID]string{}
	for _, e := range entries {
		ids, err := skipLayers(g, strings.TrimSpace(e))
		if err != nil {
			return nil, fmt.Errorf("skip: %q: %w", e, err)
		}
		for _, id := range ids {
			by[id] = "skip " + strings.TrimSpace(e)
		}
	}
	why := make([]string, len(groups))
	for i, gr := range groups {
		for _, m := range gr.Members {
			if s := by[m.Node]; m.Side == depgraph.Out && s != "" && why[i] == "" {
				why[i] = s
			}
		}
	}
	return why, nil
}

// skipTypes are the layer types that can be skipped.
var skipTypes = []string{
	"convolutional", "maxpool", "avgpool", "local_avgpool", "upsample", "shortcut", "route", "scale_channels", "sam",
	"dropout", "reorg3d", "reorg", "silence", "contrastive", "yolo",
}

func skipLayers(g *graph.Graph, entry string) ([]graph.NodeID, error) {
	if entry == "heads" {
		return nil, nil
	}
	var ids []graph.NodeID
	if slices.Contains(skipTypes, entry) {
		for _, n := range g.Nodes {
			if n.Op.Kind() == entry {
				ids = append(ids, n.ID)
			}
		}
		return ids, nil
	}
	first, last, isRange := strings.Cut(entry, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.Atoi(strings.TrimSpace(first))
	to, err2 := strconv.Atoi(strings.TrimSpace(last))
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("want a layer (5), a range (3-7), heads, or a type: %s", strings.Join(skipTypes, ", "))
	}
	if from < 0 || to < from || to >= len(g.Nodes) {
		return nil, fmt.Errorf("the network has layers 0-%d", len(g.Nodes)-1)
	}
	for id := graph.NodeID(from); id <= graph.NodeID(to); id++ {
		if !isRange || g.Nodes[id].Conv() != nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
