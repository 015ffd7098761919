package depgraph

import "yoloprune/yolo/graph"

// Source is one channel of one node.
type Source struct {
	Node    graph.NodeID
	Channel int
}

// Sources lists, for every output channel of a node that is no convolution, the
// channels that it is made of, all of which go when it goes. For a sum or a
// product that is the channel of the input which gives the shape.
func Sources(g *graph.Graph, n *graph.Node) [][]Source {
	switch o := n.Op.(type) {
	case *graph.Route:
		return routeSources(g, n, o)
	case *graph.Reorg3D:
		return reorg3DSources(g, n, o)
	case *graph.Reorg:
		return reorgSources(g, n, o)
	case *graph.ScaleChannels:
		return sameSources(n, n.Inputs[1])
	}
	return sameSources(n, n.Inputs[0])
}

func sameSources(n *graph.Node, in graph.NodeID) [][]Source {
	out := make([][]Source, n.Out.C)
	for c := range out {
		out[c] = []Source{{in, c}}
	}
	return out
}

func routeSources(g *graph.Graph, n *graph.Node, r *graph.Route) [][]Source {
	var out [][]Source
	for _, in := range n.Inputs {
		size := g.ShapeOf(in).C / r.Groups
		for c := range size {
			out = append(out, []Source{{in, r.GroupID*size + c}})
		}
	}
	return out
}

// reorg3DSources: of C channels, channel c goes to off*C + c for every pixel
// off of a block. Without channel c the others go to off*(C-1) + their new
// place, which is where they stand when all off*C + c are left out. In reverse
// the C channels are those of the output.
func reorg3DSources(g *graph.Graph, n *graph.Node, r *graph.Reorg3D) [][]Source {
	out := make([][]Source, n.Out.C)
	few := min(n.Out.C, g.ShapeOf(n.Inputs[0]).C)
	for off := range r.Stride * r.Stride {
		for c := range few {
			if r.Reverse {
				out[c] = append(out[c], Source{n.Inputs[0], off*few + c})
			} else {
				out[off*few+c] = []Source{{n.Inputs[0], c}}
			}
		}
	}
	return out
}

// reorgSources: with s the stride, Darknet reads C channels of H x W pixels as
// C/s^2 channels of H*s x W*s, so that s^2 channels that follow each other are
// one, c2. A pixel off of its s x s blocks becomes the H x W values of number
// k = off*C/s^2 + c2 in memory, which are s^2 channels of the output that
// follow each other. What is cut is therefore a whole c2, with all its k; the
// other values keep their order as in reorg3DSources.
func reorgSources(g *graph.Graph, n *graph.Node, r *graph.Reorg) [][]Source {
	out := make([][]Source, n.Out.C)
	block := r.Stride * r.Stride
	few := g.ShapeOf(n.Inputs[0]).C / block
	for c := range out {
		c2 := c / block % few
		for i := range block {
			out[c] = append(out[c], Source{n.Inputs[0], c2*block + i})
		}
	}
	return out
}
