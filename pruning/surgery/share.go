package surgery

import "yoloprune/yolo/graph"

// usersOfWeights lists, by owner, the convolutions that use its weights, the owner
// first.
func usersOfWeights(g *graph.Graph) map[graph.NodeID][]*graph.Node {
	users := make(map[graph.NodeID][]*graph.Node)
	for _, n := range g.Convs() {
		id := g.Owner(n).ID
		users[id] = append(users[id], n)
	}
	return users
}

// contributions returns, by filter, what the channels that are lost add to its
// response; want says of which filters. lost returns which channels of a layer
// stay, and the constants of the others.
//
// Layers that share weights share the one mean or bias in which this is folded,
// though each reads other constants, at other borders: they get the mean of what
// they would need, which has the least squared error.
func contributions(g *graph.Graph, users []*graph.Node, want []bool, lost func(in graph.NodeID) ([]bool, []float64)) []float64 {
	sum := make([]float64, len(want))
	for _, n := range users {
		k, in := n.Conv(), g.ShapeOf(n.Inputs[0])
		live, constant := lost(n.Inputs[0])
		area := tapArea(k, in, n.Out)
		for f, w := range want {
			if w {
				sum[f] += contribution(k, n.Weights, f, in.C, live, constant, area) / float64(len(users))
			}
		}
	}
	return sum
}
