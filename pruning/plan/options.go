package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/yolo/graph"
)

// Criteria lists what Options.Criterion may be; see importance.New.
var Criteria = importance.Names

// Strategies lists what Options.Strategy may be.
//
//   - uniform removes the same fraction of every layer.
//   - layers removes from every layer the fraction that Options.Layers gives it.
//   - global ranks the channels of all layers together and cuts below one
//     threshold (Liu et al. 2017, arXiv:1708.06519, section 3).
//   - regular is global for kept numbers that are multiples of Align, which must
//     be above 1; global takes any Align.
//   - greedy and independent are those of Li et al. 2017, arXiv:1608.08710,
//     section 3.3: a filter's norm counts, in greedy only over the input channels
//     that are left by the layers before, which are decided first; in
//     independent over all of them. A criterion that reads no kernels makes the
//     same of both. Where the paper fixes the number of filters by layer, one
//     threshold on the normalised scores decides here too.
//   - iterative takes one step after the other, always the one whose channels
//     have the least sum of scores for what it saves of the target's quantity,
//     and scores what reads them again.
var Strategies = []string{"uniform", "layers", "global", "regular", "greedy", "independent", "iterative"}

// Normalizations lists what Options.Normalize may be; see
// importance.Normalizations. With layer, 1 is an average channel of its group:
// scales, fan-in and kernel size differ from layer to layer, and a convolution in
// front of a head, which no batch norm follows, keeps large scales throughout.
var Normalizations = slices.Sorted(maps.Keys(importance.Normalizations))

// Grains lists what Options.Grain may be: channel cuts whole groups, filter only
// filters that are tied to no other layer's.
var Grains = []string{"channel", "filter"}

// Tolerance is how far a budget may be overshot: within 1 % of the whole.
const Tolerance = 0.01

// Options say how Make finds a plan.
type Options struct {
	Criterion string
	Combine   string // how a group's members add up, "" is sum; see importance.Options
	Members   string // how every tied layer's scores are normalised before they add up, "" is none
	Seed      uint64 // of the criterion random
	Evidence  *importance.Evidence
	Strategy  string
	Normalize string // "" is none for the global strategies, layer for the others
	Grain     string // "" is channel
	Target    Target
	// Layers gives fractions to the strategy layers, by entries as in Skip. Of two
	// that name the same group, the one that names fewer layers counts.
	Layers map[string]float64
	// Latency is needed for a target of latency.
	Latency *Latency
	// Align is the step of a convolution's number of filters; a number that is
	// no multiple of it is kept only where nothing is cut.
	Align int
	// Floor is the fraction of a layer's filters that always stay.
	Floor float64
	// Skip lists layers that keep their output channels: an index ("5"), a
	// range ("3-7", its convolutions), a type ("shortcut"), a name or a pattern
	// over names ("convolutional-5", "shortcut-*", "convolutional-1?"), "heads",
	// which are kept whether listed or not, or "before-heads", what the
	// convolutions in front of the heads read.
	Skip []string
}

// Defaults returns the options for a target.
func Defaults(t Target) Options {
	return Options{Criterion: "bn-scale-filter", Strategy: "greedy", Target: t, Align: 8, Floor: 0.1}
}

// complete fills in what is empty and refuses what does not fit together.
func (o *Options) complete() error {
	if o.Normalize == "" {
		o.Normalize = "layer"
		if o.Strategy == "global" || o.Strategy == "regular" {
			o.Normalize = "none"
		}
	}
	if o.Grain == "" {
		o.Grain = "channel"
	}
	for _, c := range []struct {
		name, value string
		known       []string
	}{
		{"strategy", o.Strategy, Strategies},
		{"normalize", o.Normalize, Normalizations},
		{"grain", o.Grain, Grains},
	} {
		if !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s: %q is not known: use one of %s", c.name, c.value, strings.Join(c.known, ", "))
		}
	}
	if o.Align < 1 {
		return fmt.Errorf("align: %d is not positive: 1 allows any number of filters", o.Align)
	}
	if o.Strategy == "regular" && o.Align == 1 {
		return fmt.Errorf("align: 1 with the strategy regular, which keeps multiples of it: want 2 or more, or the strategy global")
	}
	if !(o.Floor >= 0 && o.Floor < 1) {
		return fmt.Errorf("floor: %v is not in [0, 1): it is the fraction of a layer's filters that stay", o.Floor)
	}
	if o.Strategy == "layers" {
		return o.checkLayers()
	}
	return o.checkTarget()
}

func (o *Options) checkTarget() error {
	if len(o.Layers) > 0 {
		return fmt.Errorf("layers: ratios by layer are for the strategy layers, not %s", o.Strategy)
	}
	if !slices.Contains(Quantities, o.Target.Quantity) {
		return fmt.Errorf("target: %q is not known: use one of %v", o.Target.Quantity, Quantities)
	}
	if !(o.Target.Ratio > 0 && o.Target.Ratio < 1) {
		return fmt.Errorf("%s: %v is not in (0, 1): it is the fraction to remove", o.Target.key(), o.Target.Ratio)
	}
	if o.Target.Quantity == Time && o.Latency == nil {
		return fmt.Errorf("%s: no layer times were measured", o.Target.key())
	}
	return nil
}

func (o *Options) checkLayers() error {
	if o.Target != (Target{}) {
		return fmt.Errorf("%s: the strategy layers has its ratios by layer, and no target", o.Target.key())
	}
	if len(o.Layers) == 0 {
		return fmt.Errorf("layers: the strategy layers needs ratios by layer, such as 5: 0.3")
	}
	for _, e := range slices.Sorted(maps.Keys(o.Layers)) {
		if r := o.Layers[e]; !(r >= 0 && r < 1) {
			return fmt.Errorf("layers: %q: %v is not in [0, 1): it is the fraction to remove", e, r)
		}
	}
	return nil
}

func (o Options) criterion(g *graph.Graph, groups []depgraph.Group) (importance.Criterion, error) {
	return importance.New(g, groups, importance.Options{Criterion: o.Criterion, Combine: o.Combine, Members: o.Members, Seed: o.Seed, Evidence: o.Evidence})
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

// skipLayers lists the layers that an entry names.
func skipLayers(g *graph.Graph, entry string) ([]graph.NodeID, error) {
	switch {
	case entry == "heads":
		return nil, nil
	case entry == "before-heads":
		return beforeHeads(g), nil
	case slices.Contains(skipTypes, entry):
		return layersLike(g, entry+"-*")
	case strings.ContainsFunc(entry, unicode.IsLetter) || strings.ContainsAny(entry, "*?["):
		return layersLike(g, entry)
	}
	first, last, isRange := strings.Cut(entry, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.Atoi(strings.TrimSpace(first))
	to, err2 := strconv.Atoi(strings.TrimSpace(last))
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("want %s", skipWords)
	}
	if from < 0 || to < from || to >= len(g.Nodes) {
		return nil, fmt.Errorf("the network has layers 0-%d", len(g.Nodes)-1)
	}
	var ids []graph.NodeID
	for id := graph.NodeID(from); id <= graph.NodeID(to); id++ {
		if !isRange || g.Nodes[id].Conv() != nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

var skipWords = "a layer (5), a range (3-7), a name or pattern (convolutional-5, shortcut-*), heads, before-heads, or a type: " + strings.Join(skipTypes, ", ")

// beforeHeads lists what the convolutions in front of the heads read.
func beforeHeads(g *graph.Graph) []graph.NodeID {
	var ids []graph.NodeID
	seen := map[graph.NodeID]bool{graph.Input: true}
	var follow func([]graph.NodeID)
	follow = func(inputs []graph.NodeID) {
		for _, id := range inputs {
			if seen[id] {
				continue
			}
			seen[id] = true
			n := g.Nodes[id]
			if n.Conv() == nil {
				follow(n.Inputs)
			} else if n.Inputs[0] != graph.Input {
				ids = append(ids, n.Inputs[0])
			}
		}
	}
	for _, h := range g.Heads() {
		follow(h.Inputs)
	}
	return ids
}

// layersLike lists the layers whose names, such as convolutional-5, match. A type
// that no layer has matches none; another word is an error.
func layersLike(g *graph.Graph, pattern string) ([]graph.NodeID, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("not a pattern: want %s", skipWords)
	}
	var ids []graph.NodeID
	for _, n := range g.Nodes {
		if ok, _ := path.Match(pattern, n.Op.Kind()+"-"+strconv.Itoa(int(n.ID))); ok {
			ids = append(ids, n.ID)
		}
	}
	kind, _, _ := strings.Cut(pattern, "-")
	if len(ids) == 0 && !(strings.HasSuffix(pattern, "-*") && slices.Contains(skipTypes, kind)) {
		return nil, fmt.Errorf("no layer has such a name: want %s", skipWords)
	}
	return ids, nil
}
