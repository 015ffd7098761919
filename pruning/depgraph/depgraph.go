// Package depgraph finds the channels that must live or die together.
//
// Every channel of every layer's output is an atom. A shortcut, or a product of
// two layers, ties channel i of its inputs; pooling, upsampling and
// concatenation pass atoms on one to one, reorganising pixels one to several; a
// depthwise convolution ties its outputs to the input they read, and one that
// uses another's weights both its sides to the other's. The
// classes of tied atoms are then collected into groups: all channels of one
// convolution stand in one group, and so do channels whose numbers constrain
// each other (a grouped route or a grouped convolution needs the same number
// of channels in every slice). Nothing depends on layer numbers.
//
// The words are those of Fang et al., DepGraph: Towards Any Structural
// Pruning, CVPR 2023, arXiv:2301.12900, section 3.
package depgraph

import (
	"fmt"
	"slices"

	"yoloprune/yolo/graph"
)

// Side says which side of a layer a member is.
type Side int

// Out is a layer's output, In what a convolution or a head reads.
const (
	Out Side = iota
	In
)

func (s Side) String() string {
	if s == In {
		return "in"
	}
	return "out"
}

// MarshalText writes "out" or "in".
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Side) UnmarshalText(b []byte) error {
	switch string(b) {
	case "out":
		*s = Out
	case "in":
		*s = In
	default:
		return fmt.Errorf("side %q: want out or in", b)
	}
	return nil
}

// Member is one layer's side in a group. A layer that holds a group channel
// several times, such as a reorg3d or a route with a repeated source, has as
// many members.
type Member struct {
	Node graph.NodeID `json:"node"` // graph.Input for the image
	Kind string       `json:"kind"`
	Side Side         `json:"side"`
	Map  []int        `json:"map"` // Map[i] is the layer's channel for group channel i, -1 if it has none
	// Why says how the layer ties what it reads, "" where it passes channels on
	// or makes new ones.
	Why string `json:"why,omitempty"`
}

// Constraint says that all Parts must keep the same number of channels.
type Constraint struct {
	Node  graph.NodeID `json:"node"` // the layer that asks for it
	Why   string       `json:"why"`
	Parts [][]int      `json:"parts"` // group channels; one that stands twice counts twice
}

// Balance is a set of parts of equal size that keep equal numbers of channels.
// Every group channel is in exactly one part of one balance. Within a part the
// channels are alike for every layer and constraint, so that any of them may
// be kept, and any choice of one number per balance meets all constraints.
type Balance struct {
	Parts [][]int `json:"parts"`
	Fixed string  `json:"fixed,omitempty"` // why nothing may be cut, "" otherwise
}

// Size returns the number of channels of one part.
func (b Balance) Size() int { return len(b.Parts[0]) }

// Group is a set of channels, of several layers, that are cut together:
// removing group channel i removes Map[i] of every member.
type Group struct {
	ID          int          `json:"id"`
	Channels    int          `json:"channels"`
	Protected   string       `json:"protected,omitempty"` // why nothing may be cut, "" otherwise
	Members     []Member     `json:"members"`
	Constraints []Constraint `json:"constraints,omitempty"`
	Balances    []Balance    `json:"balances"`
}

// Convs lists the convolutions whose filters are the group's channels.
func (g Group) Convs() []graph.NodeID {
	var out []graph.NodeID
	for _, m := range g.Members {
		if m.IsFilters() && !slices.Contains(out, m.Node) {
			out = append(out, m.Node)
		}
	}
	return out
}

// IsFilters says whether the member is the output side of a convolution, which
// is where channels are cut; the other members follow.
func (m Member) IsFilters() bool { return m.Side == Out && m.Kind == "convolutional" }

// Build returns the groups of g, in the order of their first layer. Shapes
// must have been inferred; weights are not read.
func Build(g *graph.Graph) ([]Group, error) {
	if len(g.Nodes) == 0 {
		return nil, fmt.Errorf("network has no layers")
	}
	for _, n := range g.Nodes {
		if n.Out.C < 1 {
			return nil, fmt.Errorf("%v: shape is not known: call Infer first", n)
		}
	}
	a := newAtoms(g)
	for _, n := range g.Nodes {
		a.tie(n)
	}
	for _, n := range g.Nodes {
		a.constrain(n)
	}
	return a.collect(), nil
}

// Depthwise says whether every group of the convolution reads one channel, so
// that removing an input channel removes a whole group.
func Depthwise(c *graph.Conv, in int) bool { return c.Groups > 1 && in == c.Groups }
