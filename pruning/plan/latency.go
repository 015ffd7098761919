package plan

import (
	"fmt"
	"math"
	"sort"

	"yoloprune/yolo/graph"
)

// Latency predicts the time of a network's inference on one machine from times
// of its convolutions at some channel counts. With C input and K output channels,
//
//	T = Rest + Scale * sum_n t_n(C_n, K_n)
//
// t_n is measured for the layer alone, and interpolated between the counts that
// were measured; Scale and Rest make up for what a layer takes longer in company,
// and for the other layers. Tables of measured layer times are NetAdapt's (Yang et
// al., ECCV 2018, arXiv:1804.03230, section 3.3).
type Latency struct {
	Rest   float64               `json:"rest"` // milliseconds
	Scale  float64               `json:"scale"`
	Layers map[graph.NodeID]Grid `json:"layers"`
}

// Grid holds milliseconds: MS[i][j] for In[i] input and Out[j] output channels,
// both ascending.
type Grid struct {
	In  []int       `json:"in"`
	Out []int       `json:"out"`
	MS  [][]float64 `json:"ms"`
}

// of returns the scaled time of a convolution; zero without a table.
func (l *Latency) of(id graph.NodeID, in, out int) float64 {
	if l == nil {
		return 0
	}
	return l.Scale * l.Layers[id].At(in, out)
}

// rest is the constant part; zero without a table.
func (l *Latency) rest() float64 {
	if l == nil {
		return 0
	}
	return l.Rest
}

// Check says whether the table has positive times for all convolutions of g.
func (l *Latency) Check(g *graph.Graph) error {
	if !(l.Scale > 0) || !(l.Rest >= 0) || math.IsInf(l.Scale, 0) || math.IsInf(l.Rest, 0) {
		return fmt.Errorf("latency: scale %v, rest %v: want a positive number and one that is not negative", l.Scale, l.Rest)
	}
	for _, n := range g.Convs() {
		grid, ok := l.Layers[n.ID]
		if !ok {
			return fmt.Errorf("latency: %v was not measured", n)
		}
		if err := grid.check(); err != nil {
			return fmt.Errorf("latency: %v: %w", n, err)
		}
	}
	return nil
}

func (g Grid) check() error {
	if !ascending(g.In) || !ascending(g.Out) || len(g.MS) != len(g.In) {
		return fmt.Errorf("%d rows for the input channels %v and output channels %v: want ascending counts and a row for each input", len(g.MS), g.In, g.Out)
	}
	for _, row := range g.MS {
		if len(row) != len(g.Out) {
			return fmt.Errorf("a row of %d times for %d counts of output channels", len(row), len(g.Out))
		}
		for _, v := range row {
			if !(v > 0) || math.IsInf(v, 0) {
				return fmt.Errorf("a time of %v ms", v)
			}
		}
	}
	return nil
}

func ascending(v []int) bool {
	for i := range v {
		if v[i] < 1 || i > 0 && v[i] <= v[i-1] {
			return false
		}
	}
	return len(v) > 0
}

// At interpolates bilinearly; outside of the grid its border counts.
func (g Grid) At(in, out int) float64 {
	if len(g.In) == 0 || len(g.Out) == 0 {
		return 0
	}
	i, x := place(g.In, in)
	j, y := place(g.Out, out)
	at := func(i, j int) float64 { return g.MS[min(i, len(g.In)-1)][min(j, len(g.Out)-1)] }
	return (1-x)*((1-y)*at(i, j)+y*at(i, j+1)) + x*((1-y)*at(i+1, j)+y*at(i+1, j+1))
}

// place returns the interval of v in ascending counts and where in it v lies.
func place(counts []int, v int) (int, float64) {
	i := sort.SearchInts(counts, v)
	switch {
	case i == len(counts):
		return i - 1, 0
	case i == 0 || counts[i] == v:
		return i, 0
	}
	return i - 1, float64(v-counts[i-1]) / float64(counts[i]-counts[i-1])
}

// renumber returns the table of a network whose layers have the numbers to.
func (l *Latency) renumber(to map[graph.NodeID]graph.NodeID) *Latency {
	if l == nil {
		return nil
	}
	out := &Latency{l.Rest, l.Scale, map[graph.NodeID]Grid{}}
	for id, grid := range l.Layers {
		if now, ok := to[id]; ok {
			out.Layers[now] = grid
		}
	}
	return out
}
