package importance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"yoloprune/pruning/depgraph"
	"yoloprune/yolo/graph"
)

// Evidence is what some criteria need from images: by layer, one value for each
// output channel. A layer that was not measured is missing.
type Evidence struct {
	MeanAbs      map[graph.NodeID][]float32 // mean over images and pixels of |a|, a the layer's output
	Small        map[graph.NodeID][]float32 // share of images and pixels with |a| < tau
	GateTaylor   map[graph.NodeID][]float32 // mean over mini-batches of (dL/dgamma*gamma + dL/dbeta*beta)^2
	WeightTaylor map[graph.NodeID][]float32 // mean over mini-batches of (sum_w dL/dw*w)^2, w a filter's kernel
	Hessian      map[graph.NodeID][]float32 // sum_w w^2 * mean over mini-batches of (dL/dw)^2
}

// Options say which criterion New makes.
type Options struct {
	Criterion string    // one of Names
	Combine   string    // how a group's members add up: one of Combines, "" for sum
	Members   string    // how the scores of a layer are normalised before that: a key of Normalizations, "" for none
	Seed      uint64    // of random
	Evidence  *Evidence // nil: none
}

// Names lists the criteria.
var Names = []string{
	"bn-scale", "bn-scale-filter", "bn-scale-next", "l1", "l2", "fpgm", "lamp",
	"taylor", "taylor-weights", "hessian", "response", "apoz", "random",
}

// Needs says whether a criterion needs images, and whether it also needs the
// gradients of a loss, and so annotations.
func Needs(name string) (images, gradients bool) {
	m, ok := measured[name]
	return ok, m.gradients
}

// New returns the criterion that o names, for the groups of g. It refuses one
// whose evidence is missing or does not fit the network.
//
// A criterion keeps what it has computed from the weights, which therefore may
// not change, and is not for concurrent use.
func New(g *graph.Graph, groups []depgraph.Group, o Options) (Criterion, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := g.CheckWeights(); err != nil {
		return nil, err
	}
	if o.Criterion == "random" {
		return random{o.Seed}, nil
	}
	if m, ok := measured[o.Criterion]; ok {
		if err := m.check(g, groups, o); err != nil {
			return nil, err
		}
		return newScorer(g, o, m.rule(o.Evidence)), nil
	}
	return newScorer(g, o, fromWeights[o.Criterion](g)), nil
}

// fromWeights makes the criteria that look at weights only.
var fromWeights = map[string]func(*graph.Graph) rule{
	"bn-scale":        bnScale,
	"bn-scale-filter": bnScaleFilter,
	"bn-scale-next":   bnScaleNext,
	"l1":              l1,
	"l2":              l2,
	"fpgm":            fpgm,
	"lamp":            lamp,
}

// complete fills in what is empty and refuses what is not known.
func (o *Options) complete() error {
	if o.Combine == "" {
		o.Combine = "sum"
	}
	if o.Members == "" {
		o.Members = "none"
	}
	for _, c := range []struct {
		name, value string
		known       []string
	}{
		{"criterion", o.Criterion, Names},
		{"combine", o.Combine, Combines},
		{"members", o.Members, slices.Sorted(maps.Keys(Normalizations))},
	} {
		if !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s: %q is not known: use one of %s", c.name, c.value, strings.Join(c.known, ", "))
		}
	}
	return nil
}
