package engine

import (
	"fmt"
	"slices"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// Every layer that computes something and leads to a head is handed out, each of
// its values once and as the reference has them, in every memory order; a layer of
// more pixels than a part, and channels that do not fill a block, are among them.
func TestChannelsEqualReference(t *testing.T) {
	n := newNetwork(3, 72, 70)
	a := n.conv(graph.Input, 11, 3, 1, 1, true, graph.Mish)
	b := n.pool(n.conv(a, 20, 3, 2, 1, true, graph.Leaky), 3, 1)
	c := n.gate(graph.Linear, n.conv(b, 20, 1, 1, 1, false, graph.Swish))
	n.head(n.route(1, 0, n.shortcut(graph.Leaky, c, b), n.sam(graph.Linear, n.conv(b, 20, 1, 1, 1, true, graph.Logistic), b)))
	for name, g := range map[string]*graph.Graph{"mixed": randomWeights(n.Graph, 4), "crossed": crossed()} {
		for _, o := range orders {
			compareChannels(t, fmt.Sprint(name, " ", o), g, newInference(t, g, Options{Batch: 2, Threads: 2}.WithOrder(o)))
		}
	}
}

func compareChannels(t *testing.T, what string, g *graph.Graph, net *Inference) {
	t.Helper()
	x := pictures(g, 2)
	slow, err := ref.NewNet(g.Clone())
	if err != nil {
		t.Fatal(err)
	}
	_, nodes, err := slow.Forward(refTensor(g, 2, x), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := net.Forward(x); err != nil {
		t.Fatal(err)
	}
	measured := net.Measured()
	live := leadToHead(g)
	for _, n := range g.Nodes {
		own := !slices.Contains([]string{"route", "upsample", "yolo"}, n.Op.Kind())
		if got := slices.Contains(measured, n.ID); got != (own && live[n.ID]) {
			t.Errorf("%s: %v measured: %v", what, n, got)
		}
	}
	for _, id := range measured {
		want := make([][]float32, g.Nodes[id].Out.C)
		for i, v := range nodes[id].Data {
			want[i%len(want)] = append(want[i%len(want)], v)
		}
		got := make([][]float32, len(want))
		net.Channels(id, func(c int, v []float32, stride int) {
			for i := 0; i < len(v); i += stride {
				got[c] = append(got[c], v[i])
			}
		})
		near(t, fmt.Sprintf("%s: %v", what, g.Nodes[id]), slices.Concat(got...), slices.Concat(want...), 1e-4)
	}
}
