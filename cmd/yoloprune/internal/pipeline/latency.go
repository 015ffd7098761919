package pipeline

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"yoloprune/pruning/depgraph"
	"yoloprune/pruning/plan"
	"yoloprune/pruning/surgery"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// gridShares are the shares of a layer's channels at which it is timed.
var gridShares = []float64{0.125, 0.25, 0.5, 0.75, 1}

// gridRuns is how often a layer is timed at each of them.
const gridRuns = 7

// MeasureLatency times every convolution of g at several channel counts, and
// fits what layers cost in company to the whole network and to one of half the
// filters: with T a network's time and S the sum of its layers' times,
//
//	scale = (T_1 - T_half) / (S_1 - S_half)      rest = T_1 - scale*S_1
func MeasureLatency(g *graph.Graph, threads int) (*plan.Latency, error) {
	l := &plan.Latency{Scale: 1, Layers: map[graph.NodeID]plan.Grid{}}
	timed := map[string]plan.Grid{}
	for _, n := range g.Convs() {
		in := g.ShapeOf(n.Inputs[0])
		c := n.Conv()
		key := fmt.Sprint(c.Size, c.Stride, c.Pad, c.Spacing(), c.Groups, c.Filters, c.Activation, in, g.FeedsHead(n.ID))
		grid, ok := timed[key]
		if !ok {
			var err error
			if grid, err = timeGrid(c, in, n.Inputs[0] == graph.Input, g.FeedsHead(n.ID), threads); err != nil {
				return nil, fmt.Errorf("%v: %w", n, err)
			}
			timed[key] = grid
		}
		l.Layers[n.ID] = grid
	}
	return l, fit(l, g, threads)
}

func fit(l *plan.Latency, g *graph.Graph, threads int) error {
	t1, _, err := Latency(g, threads)
	if err != nil {
		return err
	}
	half, err := halved(g)
	if infeasible := (*plan.InfeasibleError)(nil); errors.As(err, &infeasible) { // no second network to fit to
		l.Scale = t1 / layerTimes(l, g)
		return nil
	}
	if err != nil {
		return err
	}
	t2, _, err := Latency(half, threads)
	if err != nil {
		return err
	}
	s1, s2 := layerTimes(l, g), layerTimes(l, half)
	l.Scale = (t1 - t2) / (s1 - s2)
	if l.Rest = t1 - l.Scale*s1; !(l.Scale > 0) || l.Rest < 0 {
		l.Scale, l.Rest = t1/s1, 0
	}
	return nil
}

// halved cuts every layer to half its filters, or what comes nearest.
func halved(g *graph.Graph) (*graph.Graph, error) {
	groups, err := depgraph.Build(g)
	if err != nil {
		return nil, err
	}
	o := plan.Defaults(plan.Target{Quantity: plan.Channels, Ratio: 0.5})
	o.Criterion, o.Strategy, o.Align, o.Floor = "random", "uniform", 1, 0
	p, _, err := plan.Make(g, groups, o)
	if err != nil {
		return nil, err
	}
	return surgery.Apply(g, p, surgery.Options{Fold: surgery.None})
}

func layerTimes(l *plan.Latency, g *graph.Graph) float64 {
	sum := 0.0
	for _, n := range g.Convs() {
		sum += l.Layers[n.ID].At(g.ShapeOf(n.Inputs[0]).C, n.Conv().Filters)
	}
	return sum
}

// timeGrid times a convolution; its input is fixed if it is the image, its
// output if it is a head.
func timeGrid(c *graph.Conv, in graph.Shape, image, head bool, threads int) (plan.Grid, error) {
	g := plan.Grid{In: gridCounts(in.C, image, c.Groups), Out: gridCounts(c.Filters, head, c.Groups)}
	depthwise := depgraph.Depthwise(c, in.C)
	for _, cin := range g.In {
		row := make([]float64, len(g.Out))
		for j, k := range g.Out {
			op, from := *c, in
			op.Filters, from.C = k, cin
			if depthwise {
				op.Groups = cin
				op.Filters = cin * (c.Filters / in.C)
			}
			ms, err := engine.TimeConv(&op, from, threads, gridRuns)
			if err != nil {
				return g, err
			}
			row[j] = max(ms, 1e-6)
		}
		g.MS = append(g.MS, row)
	}
	return g, nil
}

// gridCounts lists some numbers of channels up to n, multiples of the groups.
func gridCounts(n int, fixed bool, groups int) []int {
	if fixed {
		return []int{n}
	}
	step := groups
	if groups == n { // depthwise
		step = 1
	}
	var out []int
	for _, share := range gridShares {
		k := max(step, int(math.Round(share*float64(n)/float64(step)))*step)
		out = append(out, min(k, n))
	}
	return slices.Compact(out)
}

// latencyRounds is how many plans are tried for a target of latency, and
// latencyClose when it is met, as a share of the time asked for.
const (
	latencyRounds = 5
	latencyClose  = 0.03
)

// planLatency makes plans until the time that is measured after the cut is the
// one asked for: the table of layer times is only a prediction.
func (a Ask) planLatency(g *graph.Graph) (*Planned, error) {
	ratio := a.Options.Target.Ratio
	var err error
	if a.Options.Latency, err = MeasureLatency(g, a.Threads); err != nil {
		return nil, err
	}
	whole, _, err := Latency(g, a.Threads)
	if err != nil {
		return nil, err
	}
	want := (1 - ratio) * whole
	var best *Planned
	miss := math.Inf(1)
	for range latencyRounds {
		p, ms, err := a.timed(g)
		if infeasible := (*plan.InfeasibleError)(nil); best != nil && errors.As(err, &infeasible) {
			break // the correction asks for more than there is
		}
		if err != nil {
			return nil, err
		}
		if d := math.Abs(ms/want - 1); d < miss {
			best, miss = p, d
			p.asked = fmt.Sprintf("asked for %.1f %% of latency, measured %.2f of %.2f ms (%.1f %% removed),", 100*ratio, ms, whole, 100*(1-ms/whole))
			p.Plan.Target = &plan.Target{Quantity: plan.Time, Ratio: ratio}
			p.Plan.Reached.Latency = 1 - ms/whole
		}
		if miss <= latencyClose {
			break
		}
		a.Options.Target.Ratio = min(max(1-(1-a.Options.Target.Ratio)*want/ms, 0.001), 0.999)
	}
	return best, nil
}

// timed makes a plan and times the network that it leaves.
func (a Ask) timed(g *graph.Graph) (*Planned, float64, error) {
	p, err := a.once(g)
	if err != nil {
		return nil, 0, err
	}
	cut, err := surgery.Apply(g, p.Plan, surgery.Options{Fold: surgery.None})
	if err != nil {
		return nil, 0, err
	}
	ms, _, err := Latency(cut, a.Threads)
	return p, ms, err
}
