package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"yoloprune/yolo/graph"
)

// layerRatio is an entry of Options.Layers.
type layerRatio struct {
	entry  string
	layers []graph.NodeID // that it names
	ratio  float64
}

// layerRatios reads Options.Layers. An entry that names fewer layers comes after
// one that names more.
func (s *solver) layerRatios() ([]layerRatio, error) {
	var all []layerRatio
	for _, e := range slices.Sorted(maps.Keys(s.o.Layers)) {
		ids, err := skipLayers(s.g, e)
		if err != nil {
			return nil, fmt.Errorf("layers: %q: %w", e, err)
		}
		all = append(all, layerRatio{e, ids, s.o.Layers[e]})
	}
	slices.SortStableFunc(all, func(a, b layerRatio) int { return cmp.Compare(len(b.layers), len(a.layers)) })
	return all, nil
}

// byLayer is the choice of the strategy layers.
func (s *solver) byLayer() (*choice, error) {
	ratios, err := s.layerRatios()
	if err != nil {
		return nil, err
	}
	by := make([]*layerRatio, len(s.groups))
	for i := range ratios {
		if err := s.assign(&ratios[i], by); err != nil {
			return nil, err
		}
	}
	c := s.newChoice()
	c.scores, c.order = s.static.scores, s.static.order
	for i, r := range by {
		if r == nil {
			continue
		}
		for _, j := range s.slotsOf[i] {
			c.n[j] = s.nearest(j, (1-r.ratio)*float64(s.slots[j].size()))
		}
	}
	s.settle(c.n)
	return c, nil
}

// assign gives the entry's ratio to the groups of its layers, in place of that of
// an entry that names more. Where it names several, those that are kept whole,
// such as heads, are left out.
func (s *solver) assign(r *layerRatio, by []*layerRatio) error {
	found, whole := false, ""
	for i, gr := range s.groups {
		if !slices.ContainsFunc(gr.Convs(), func(id graph.NodeID) bool { return slices.Contains(r.layers, id) }) {
			continue
		}
		if s.whole[i] != "" {
			whole = cmp.Or(whole, gr.Name()+" is kept whole: "+s.whole[i])
			continue
		}
		if o := by[i]; o != nil && len(o.layers) == len(r.layers) && o.ratio != r.ratio {
			return fmt.Errorf("layers: %q: %v, but %q: %v: both name %s", r.entry, r.ratio, o.entry, o.ratio, gr.Name())
		}
		by[i], found = r, true
	}
	if found || whole != "" && r.ratio == 0 {
		return nil
	}
	return fmt.Errorf("layers: %q: %s", r.entry, cmp.Or(whole, "none of these is a convolution whose filters can be cut"))
}
