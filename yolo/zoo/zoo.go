// Package zoo builds published detectors for any number of classes, width and
// input size, and gives them starting weights.
//
// There is one file for each family; blocks.go has what they share. A block is
// a method that adds layers behind the newest one and, where others read it,
// returns the number of its last layer. The numbers of layers are those of the
// published cfg, and so are the shapes at width 1.
package zoo

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

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
	// smallest area first, as many as the function Anchors says; nil for the
	// published ones.
	Anchors [][2]float64
}

const (
	maxClasses = 10000
	maxInput   = 8192
	maxWidth   = 8
)

// architecture is a published network.
type architecture struct {
	layers  func(*builder)
	anchors [][2]float64 // anchorsPerHead for each head
	heads   []head       // the finest first

	// What the published cfg trains with where it differs from the others: batch,
	// subdivisions and momentum, the learning rate, and further options of [net].
	batch, rate, more string
}

// head is a [yolo] without its classes and anchors. A nil Mask stands for the
// head's own anchors, the finest head taking the smallest.
type head struct {
	graph.Yolo
	options string // those that matter to training only
}

const anchorsPerHead = 3

var architectures = map[string]architecture{
	"yolov3":      yolov3,
	"yolov3-spp":  yolov3SPP,
	"yolov3-tiny": yolov3Tiny,
	"yolov4":      yolov4,
	"yolov4-csp":  yolov4CSP,
	"yolov4-tiny": yolov4Tiny,
	"yolov7":      yolov7,
	"yolov7-tiny": yolov7Tiny,
}

// Archs lists the architectures that Build knows.
func Archs() []string { return slices.Sorted(maps.Keys(architectures)) }

// Anchors returns how many anchors an architecture has: 6 or 9, and 0 if Build
// does not know it.
func Anchors(arch string) int { return len(architectures[arch].anchors) }

// Build returns a network with shapes and training options, without weights.
func Build(arch string, o Options) (*graph.Graph, error) {
	a, ok := architectures[arch]
	if !ok {
		return nil, unknownArch(arch)
	}
	if o.Width == 0 {
		o.Width = 1
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if n := len(o.Anchors); o.Anchors != nil && n != len(a.anchors) {
		heads := map[int]string{2: "two", 3: "three"}[len(a.heads)]
		return nil, fmt.Errorf("%d anchors: %s has %s heads of three, so it wants %d", n, arch, heads, len(a.anchors))
	}
	b := &builder{Options: o, arch: a, activation: graph.Leaky, g: &graph.Graph{Net: net(a, o)}}
	a.layers(b)
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
func net(a architecture, o Options) graph.Net {
	iterations := max(6000, 2000*o.Classes)
	return graph.Net{Channels: 3, Height: o.InputH, Width: o.InputW, Options: slices.Concat(
		options(a.batch),
		options("decay=0.0005 angle=0 saturation=1.5 exposure=1.5 hue=.1"),
		options(fmt.Sprintf("learning_rate=%s burn_in=1000 max_batches=%d", a.rate, iterations)),
		options(fmt.Sprintf("policy=steps steps=%d,%d scales=.1,.1", iterations/10*8, iterations/10*9)),
		options(a.more),
	)}
}

// options reads "key=value key=value".
func options(text string) []graph.Option {
	var out []graph.Option
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		out = append(out, graph.Option{Key: key, Value: value})
	}
	return out
}
