// Package zoo builds published detectors for any number of classes, width and
// input size, and gives them starting weights.
package zoo

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"yoloprune/yolo/graph"
)

// Options say what to build.
type Options struct {
	Classes int
	// Width multiplies the filters of all layers but the heads; 1 is the
	// published network, and 0 stands for 1.
	Width float64
	// InputW and InputH are the network's input in pixels, multiples of 32.
	InputW, InputH int
	// Anchors are widths and heights in pixels of the network's input, the
	// smallest area first; nil for the published ones.
	Anchors [][2]float64
}

const (
	maxClasses = 10000
	maxInput   = 8192
	maxWidth   = 8
)

// builders has the function that builds each architecture from good options.
var builders = map[string]func(*builder) error{
	"yolov4-tiny": (*builder).yolov4Tiny,
}

// Archs lists the architectures that Build knows.
func Archs() []string { return slices.Sorted(maps.Keys(builders)) }

// Build returns a network with shapes and training options, without weights.
func Build(arch string, o Options) (*graph.Graph, error) {
	build, ok := builders[arch]
	if !ok {
		return nil, unknownArch(arch)
	}
	if o.Width == 0 {
		o.Width = 1
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &builder{Options: o, g: &graph.Graph{Net: net(o)}}
	if err := build(b); err != nil {
		return nil, err
	}
	if err := b.g.Infer(); err != nil {
		return nil, fmt.Errorf("%s: %w", arch, err)
	}
	return b.g, nil
}

func (o Options) check() error {
	if o.Classes < 1 || o.Classes > maxClasses {
		return fmt.Errorf("classes %d: want 1 to %d", o.Classes, maxClasses)
	}
	if !(o.Width > 0 && o.Width <= maxWidth) {
		return fmt.Errorf("width %v: want a multiplier above 0, at most %d", o.Width, maxWidth)
	}
	for _, side := range []int{o.InputW, o.InputH} {
		if side < 32 || side > maxInput || side%32 != 0 {
			return fmt.Errorf("input %dx%d: both sides must be multiples of 32 from 32 to %d", o.InputW, o.InputH, maxInput)
		}
	}
	for i, a := range o.Anchors {
		if !(a[0] > 0 && a[1] > 0) || math.IsInf(a[0]*a[1], 0) {
			return fmt.Errorf("anchor %d is %vx%v: both sides must be positive", i, a[0], a[1])
		}
		if i > 0 && a[0]*a[1] < o.Anchors[i-1][0]*o.Anchors[i-1][1] {
			return fmt.Errorf("anchor %d is smaller than the one before: sort them by area, for the coarse head takes the last ones", i)
		}
	}
	return nil
}

// net returns the [net] section: the published training options, with the
// length that Darknet's manual gives for a number of classes: 2000 iterations
// a class, at least 6000, and steps at 80 and 90 %.
func net(o Options) graph.Net {
	iterations := max(6000, 2000*o.Classes)
	n := graph.Net{Channels: 3, Height: o.InputH, Width: o.InputW}
	for _, kv := range [][2]string{
		{"batch", "64"}, {"subdivisions", "1"}, {"momentum", "0.9"}, {"decay", "0.0005"},
		{"angle", "0"}, {"saturation", "1.5"}, {"exposure", "1.5"}, {"hue", ".1"},
		{"learning_rate", "0.00261"}, {"burn_in", "1000"}, {"max_batches", strconv.Itoa(iterations)},
		{"policy", "steps"}, {"steps", fmt.Sprintf("%d,%d", iterations/10*8, iterations/10*9)}, {"scales", ".1,.1"},
	} {
		n.Options = append(n.Options, graph.Option{Key: kv[0], Value: kv[1]})
	}
	return n
}

// builder adds layers to a graph.
type builder struct {
	Options
	g *graph.Graph
}

// last is the number of the newest layer, graph.Input if there is none.
func (b *builder) last() graph.NodeID { return graph.NodeID(len(b.g.Nodes)) - 1 }

// filters scales a published number of filters and rounds it to an even one,
// so that a route can halve it.
func (b *builder) filters(n int) int {
	return max(2, 2*int(math.RoundToEven(float64(n)*b.Width/2)))
}

// conv adds a convolution with batch norm and leaky activation that keeps the
// size, or halves it at stride 2.
func (b *builder) conv(filters, size, stride int) graph.NodeID {
	return b.g.Add(&graph.Conv{
		Filters: b.filters(filters), Size: size, Stride: stride, Pad: size / 2, Groups: 1,
		BatchNorm: true, Activation: graph.Leaky,
	}, b.last()).ID
}

func (b *builder) route(inputs ...graph.NodeID) graph.NodeID {
	return b.g.Add(&graph.Route{Groups: 1}, inputs...).ID
}

// secondHalf adds a route to the upper half of the last layer's channels.
func (b *builder) secondHalf() {
	b.g.Add(&graph.Route{Groups: 2, GroupID: 1}, b.last())
}

func (b *builder) maxPool(size, stride int) {
	b.g.Add(&graph.MaxPool{Size: size, Stride: stride, Padding: size - 1}, b.last())
}

func (b *builder) upsample() graph.NodeID {
	return b.g.Add(&graph.Upsample{Stride: 2}, b.last()).ID
}

// head adds the convolution that predicts (classes+5) values an anchor, and
// its [yolo].
func (b *builder) head(y graph.Yolo) {
	y.Classes = b.Classes
	b.g.Add(&graph.Conv{
		Filters: len(y.Mask) * y.PerAnchor(), Size: 1, Stride: 1, Groups: 1, Activation: graph.Linear,
	}, b.last())
	n := b.g.Add(&y, b.last())
	n.Options = []graph.Option{{Key: "jitter", Value: ".3"}, {Key: "random", Value: "0"}, {Key: "resize", Value: "1.5"}}
}
