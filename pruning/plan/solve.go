package plan

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/importance"
	"yoloprune/yolo/graph"
)

// Make finds the plan that meets the target at the least sum of scores: a
// channel goes when its score is below a threshold, which is bisected; then
// single steps of the least valuable channels bring the removed fraction to
// the target or at most Tolerance above it, where the steps are small enough.
// The scores that decided are returned too, by group ID, normalised as asked.
//
// All is deterministic: equal scores are taken in the order of layers and
// channels.
func Make(g *graph.Graph, groups []depgraph.Group, o Options) (*Plan, importance.Scores, error) {
	fail := func(err error) (*Plan, importance.Scores, error) { return nil, importance.Scores{}, err }
	if err := o.complete(); err != nil {
		return fail(err)
	}
	c, err := o.criterion(g, groups)
	if err != nil {
		return fail(err)
	}
	return MakeBy(g, groups, o, c)
}

// MakeBy is Make with a criterion at hand; o's is not read.
func MakeBy(g *graph.Graph, groups []depgraph.Group, o Options, by importance.Criterion) (*Plan, importance.Scores, error) {
	fail := func(err error) (*Plan, importance.Scores, error) { return nil, importance.Scores{}, err }
	if err := o.complete(); err != nil {
		return fail(err)
	}
	if err := g.CheckWeights(); err != nil {
		return fail(err)
	}
	s, err := newSolver(g, groups, o, by)
	if err != nil {
		return fail(err)
	}
	c, threshold, err := s.solve()
	if err != nil {
		return fail(err)
	}
	p := New(g, groups, s.masks(c))
	p.Reached.Latency = s.ratios(c.n).Latency
	p.Combine, p.Members = stated(o.Combine, "sum"), stated(o.Members, "none")
	if o.Criterion == "random" {
		p.Seed = o.Seed
	}
	p.Criterion, p.Strategy, p.Normalize = by.Name(), o.Strategy, o.Normalize
	p.Align, p.Floor, p.Skip, p.Threshold = o.Align, o.Floor, slices.Clone(o.Skip), threshold
	if o.Grain != "channel" {
		p.Grain = o.Grain
	}
	if p.Layers = maps.Clone(o.Layers); o.Strategy != "layers" {
		p.Target = &o.Target
	}
	if err := p.Validate(g, groups); err != nil {
		return fail(err)
	}
	return p, importance.Scores{Criterion: by.Name(), Values: c.scores, Unscored: s.whole}, nil
}

// stated is a word that is not the default.
func stated(word, usual string) string {
	if word == usual {
		return ""
	}
	return word
}

// solve finds the choice, and the threshold that led to it, if there is one.
func (s *solver) solve() (c *choice, threshold float64, err error) {
	if s.o.Strategy == "layers" {
		c, err = s.byLayer()
		return c, 0, err
	}
	if err := s.checkFeasible(); err != nil {
		return nil, 0, err
	}
	if s.o.Strategy == "iterative" {
		c = s.iterate()
	} else {
		c, threshold = s.bisect()
	}
	s.adjust(c)
	return c, threshold, nil
}

// solver chooses how many channels, and which, every slot keeps.
type solver struct {
	*model
	groups  []depgraph.Group
	o       Options
	crit    importance.Criterion
	whole   []string // by group: why it keeps all its channels, "" if it may be cut
	linked  [][]int  // slots whose sums are aligned together; see link
	slotsOf [][]int  // by group
	static  *choice  // scores and order, where they do not depend on the choice
	highest float64  // no score is above it
}

// choice is what a threshold leads to.
type choice struct {
	n      []int       // by slot: channels that each part keeps
	scores [][]float64 // by group, as compared
	order  [][][]int   // by slot and part: channels, the best first
}

func newSolver(g *graph.Graph, groups []depgraph.Group, o Options, by importance.Criterion) (*solver, error) {
	if o.Latency != nil {
		if err := o.Latency.Check(g); err != nil {
			return nil, err
		}
	}
	s := &solver{model: newModel(g, groups, o.Latency), groups: groups, o: o, crit: by, slotsOf: make([][]int, len(groups))}
	for i, sl := range s.slots {
		s.slotsOf[sl.group] = append(s.slotsOf[sl.group], i)
	}
	raw, err := importance.Score(groups, by)
	if err != nil {
		return nil, err
	}
	if s.whole, err = s.keptWhole(raw.Unscored); err != nil {
		return nil, err
	}
	s.allow(o.Align, o.Floor)
	s.rankStatic(raw)
	return s, nil
}

// keptWhole says by group why nothing of it is cut.
func (s *solver) keptWhole(unscored []string) ([]string, error) {
	skip, err := skipped(s.g, s.groups, s.o.Skip)
	if err != nil {
		return nil, err
	}
	whole := slices.Clone(unscored)
	for i, gr := range s.groups {
		if whole[i] == "" {
			whole[i] = skip[i]
		}
		if convs := gr.Convs(); whole[i] == "" && s.o.Grain == "filter" && len(convs) > 1 {
			whole[i] = fmt.Sprintf("layers %v are tied, so that no filter can go alone: the grain channel cuts them together", convs)
		}
	}
	return whole, nil
}

// allow fills in the numbers that slots may keep.
func (s *solver) allow(align int, floor float64) {
	for i := range s.slots {
		sl := &s.slots[i]
		size := sl.size()
		sl.counts = []int{size}
		if s.whole[sl.group] != "" || sl.fixed {
			continue
		}
		sl.counts = nil
		step := s.step(i, align)
		least := max(1, int(math.Ceil(floor*float64(size)-1e-9)))
		for n := step; n < size; n += step {
			if n >= least {
				sl.counts = append(sl.counts, n)
			}
		}
		sl.counts = append(sl.counts, size)
	}
	s.link(align)
}

// link finds the slots that share a convolution which not every choice of theirs
// aligns, since one of them keeps a number that is no multiple while another is
// cut. They are cut together, or, where one has no other number, not at all.
func (s *solver) link(align int) {
	s.linked = nil
	sets := make([]int, len(s.slots)) // by slot, the first slot of its set
	for i := range sets {
		sets[i] = i
	}
	for _, terms := range s.out {
		if len(terms) < 2 || !s.uneven(terms, align) {
			continue
		}
		for _, t := range terms {
			from, to := sets[t.slot], sets[terms[0].slot]
			for i := range sets {
				if sets[i] == from {
					sets[i] = to
				}
			}
		}
	}
	by := map[int][]int{}
	for i, set := range sets {
		by[set] = append(by[set], i)
	}
	for i := range s.slots {
		if set := by[i]; len(set) > 1 {
			s.linkSet(set, align)
		}
	}
}

// uneven says whether a slot of a convolution has a size of its own that is no
// multiple.
func (s *solver) uneven(terms []term, align int) bool {
	return slices.ContainsFunc(terms, func(t term) bool { return t.times*s.slots[t.slot].size()%align != 0 })
}

func (s *solver) linkSet(set []int, align int) {
	for _, i := range set {
		sl := s.slots[i]
		if len(sl.counts) == 1 && sl.size()%s.step(i, align) != 0 {
			for _, k := range set {
				s.slots[k].counts = s.slots[k].counts[len(s.slots[k].counts)-1:]
			}
			return
		}
	}
	s.linked = append(s.linked, set)
}

// settle cuts the slots that have to be cut since a linked one is.
func (s *solver) settle(n []int) {
	for _, set := range s.linked {
		cut := slices.ContainsFunc(set, func(i int) bool { return n[i] < s.slots[i].size() })
		for _, i := range set {
			sl := s.slots[i]
			if cut && n[i] == sl.size() && n[i]%s.step(i, s.o.Align) != 0 {
				n[i] = sl.counts[len(sl.counts)-2]
			}
		}
	}
}

// step is the smallest change of a slot that changes every convolution it
// belongs to by a multiple of align filters.
func (s *solver) step(slot, align int) int {
	step := 1
	for _, terms := range s.out {
		for _, t := range terms {
			if t.slot == slot {
				step = lcm(step, align/gcd(align, t.times))
			}
		}
	}
	return step
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func lcm(a, b int) int { return a / gcd(a, b) * b }

// rankStatic prepares the choice of a strategy whose scores do not depend on
// what is cut, and notes the highest score there can be.
func (s *solver) rankStatic(raw importance.Scores) {
	c := s.newChoice()
	for i := range s.groups {
		if s.whole[i] == "" {
			s.rank(c, i, raw.Values[i])
			s.highest = max(s.highest, slices.Max(c.scores[i]))
			if s.o.Normalize != "none" { // greedy's scores change, but none is above all of its group's together
				s.highest = max(s.highest, float64(s.groups[i].Channels))
			}
		}
	}
	if s.o.Strategy != "greedy" {
		s.static = c
	}
	if s.o.Strategy == "uniform" {
		s.highest = 1
	}
}

func (s *solver) newChoice() *choice {
	return &choice{n: s.sizes(), scores: make([][]float64, len(s.groups)), order: make([][][]int, len(s.slots))}
}

// rank files a group's scores and orders the channels of its parts.
func (s *solver) rank(c *choice, group int, scores []float64) {
	scores = importance.Normalizations[s.o.Normalize](scores)
	c.scores[group] = scores
	for _, i := range s.slotsOf[group] {
		c.order[i] = make([][]int, len(s.slots[i].parts))
		for p, part := range s.slots[i].parts {
			c.order[i][p] = slices.Clone(part)
			slices.SortStableFunc(c.order[i][p], func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
		}
	}
}

// choose returns what a threshold leads to, group after group in the order of
// their first layers. With the greedy strategy, the scores of a group count
// only input channels that the groups before have left.
func (s *solver) choose(threshold float64) *choice {
	c := s.newChoice()
	if s.static != nil {
		c.scores, c.order = s.static.scores, s.static.order
	}
	live := importance.Live{}
	for i, gr := range s.groups {
		if s.whole[i] != "" {
			continue
		}
		if s.static == nil {
			scores, _ := s.crit.Score(gr, live)
			s.rank(c, i, scores)
		}
		for _, j := range s.slotsOf[i] {
			if s.o.Strategy == "uniform" {
				c.n[j] = s.nearest(j, (1-threshold)*float64(s.slots[j].size()))
				continue
			}
			c.n[j] = s.above(c, j, threshold)
		}
		if s.static == nil {
			live.Cut(s.g, gr, s.mask(c, i))
		}
	}
	s.settle(c.n)
	return c
}

// above returns the allowed number nearest to how many channels of a part, on
// average, reach the threshold; the larger of two.
func (s *solver) above(c *choice, slot int, threshold float64) int {
	sl, reach := s.slots[slot], 0
	for _, part := range c.order[slot] {
		reach += sort.Search(len(part), func(i int) bool { return c.scores[sl.group][part[i]] < threshold })
	}
	return s.nearest(slot, float64(reach)/float64(len(sl.parts)))
}

// nearest returns the allowed number nearest to n; the larger of two.
func (s *solver) nearest(slot int, n float64) int {
	counts := s.slots[slot].counts
	best := counts[0]
	for _, k := range counts[1:] {
		if math.Abs(float64(k)-n) <= math.Abs(float64(best)-n) {
			best = k
		}
	}
	return best
}

// mask marks the channels of a group that stay.
func (s *solver) mask(c *choice, group int) []bool {
	keep := make([]bool, s.groups[group].Channels)
	for _, i := range s.slotsOf[group] {
		parts := c.order[i]
		if parts == nil {
			parts = s.slots[i].parts
		}
		for _, part := range parts {
			for _, ch := range part[:c.n[i]] {
				keep[ch] = true
			}
		}
	}
	return keep
}

func (s *solver) masks(c *choice) [][]bool {
	keep := make([][]bool, len(s.groups))
	for i := range keep {
		keep[i] = s.mask(c, i)
	}
	return keep
}

func (s *solver) ratio(n []int) float64 { return s.ratios(n).Of(s.o.Target.Quantity) }

// bisect returns the choice of a threshold, and the threshold, that meets the
// target within the tolerance; or else the last that stays below it, between
// which and the next a layer jumps.
func (s *solver) bisect() (*choice, float64) {
	low, high := 0.0, s.highest*(1+1e-9)+math.SmallestNonzeroFloat64
	best := s.choose(low)
	for range 200 {
		mid := low + (high-low)/2
		if high-low <= 1e-12*high {
			break
		}
		c := s.choose(mid)
		switch r := s.ratio(c.n); {
		case r < s.o.Target.Ratio:
			best, low = c, mid
		case r <= s.o.Target.Ratio+Tolerance:
			return c, mid
		default:
			high = mid
		}
	}
	return best, low
}

// most returns the largest ratio that can be removed.
func (s *solver) most() float64 {
	n := make([]int, len(s.slots))
	for i, sl := range s.slots {
		n[i] = sl.counts[0]
	}
	s.settle(n)
	return s.ratio(n)
}

// InfeasibleError says that a target is out of reach.
type InfeasibleError struct {
	Target Target
	Most   float64 // the largest ratio that can be removed
	Why    string
}

func (e *InfeasibleError) Error() string {
	return fmt.Sprintf("%s: %v can not be reached: at most %.4f can be removed: %s", e.Target.key(), e.Target.Ratio, e.Most, e.Why)
}

func (s *solver) checkFeasible() error {
	most := s.most()
	if most >= s.o.Target.Ratio {
		return nil
	}
	return &InfeasibleError{s.o.Target, most, s.explain(most)}
}

// explain says what holds the rest, and what would be gained by letting go.
func (s *solver) explain(most float64) string {
	var why []string
	for _, x := range []struct {
		applies bool
		text    string
		loosen  func(*Options)
	}{
		{len(s.o.Skip) > 0, "the skip list keeps layers whole (%.4f without it)", func(o *Options) { o.Skip = nil }},
		{s.o.Grain == "filter", "the grain filter keeps tied layers whole (%.4f with the grain channel)", func(o *Options) { o.Grain = "channel" }},
		{true, fmt.Sprintf("every layer keeps a fraction of %v, in steps of %d filters (%%.4f with floor 0 and align 1)", s.o.Floor, s.o.Align),
			func(o *Options) { o.Floor, o.Align = 0, 1 }},
	} {
		if !x.applies {
			continue
		}
		if free := s.mostWith(x.loosen); free > most {
			why = append(why, fmt.Sprintf(x.text, free))
		}
	}
	if s.o.Target.Quantity == Time && s.lat.Rest > 0 {
		why = append(why, fmt.Sprintf("%.4f of the time is not in the convolutions, and stays", s.lat.Rest/s.full.ms))
	}
	return strings.Join(append(why, s.held()...), "; ")
}

// mostWith is most with other options.
func (s *solver) mostWith(loosen func(*Options)) float64 {
	o := s.o
	loosen(&o)
	free, err := newSolver(s.g, s.groups, o, s.crit)
	if err != nil {
		return 0
	}
	return free.most()
}

// held lists the layers that the network or the criterion keeps whole.
func (s *solver) held() []string {
	const most = 8
	var out []string
	for i, gr := range s.groups {
		if s.whole[i] == "" || len(gr.Convs()) == 0 || strings.HasPrefix(s.whole[i], "skip ") {
			continue
		}
		if len(out) == most {
			return append(out, "and more")
		}
		out = append(out, fmt.Sprintf("%s is kept whole (%s)", gr.Name(), s.whole[i]))
	}
	return out
}
