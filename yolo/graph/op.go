package graph

import (
	"fmt"
	"slices"
)

// Op is what a node computes. The operations are the types of this package.
type Op interface {
	// Kind is Darknet's section name.
	Kind() string
	// infer returns the output's shape, or says why the inputs do not fit.
	infer(in []Shape) (Shape, error)
	clone() Op
}

// Activation is an activation function under Darknet's name.
type Activation string

// The activations that the engine runs. Mish is x*tanh(ln(1+e^x)) (Misra 2019,
// arXiv:1908.08681), Swish x*logistic(x), Leaky has slope 0.1 below zero.
const (
	Linear   Activation = "linear"
	Leaky    Activation = "leaky"
	Relu     Activation = "relu"
	Relu6    Activation = "relu6"
	Logistic Activation = "logistic"
	Mish     Activation = "mish"
	Swish    Activation = "swish"
)

// Activations lists them all.
var Activations = []Activation{Linear, Leaky, Relu, Relu6, Logistic, Mish, Swish}

// Conv is a convolution (cross-correlation), then an optional batch norm, then
// an activation.
type Conv struct {
	Filters    int
	Size       int // R = S
	Stride     int
	Pad        int // pixels on every side
	Groups     int
	BatchNorm  bool
	Activation Activation
}

// MaxPool takes the maximum of Size x Size windows. Padding is Darknet's total
// padding: a window starts Padding/2 (rounded down) before its stride position.
type MaxPool struct{ Size, Stride, Padding int }

// Upsample repeats every pixel Stride x Stride times (nearest neighbour).
type Upsample struct{ Stride int }

// Shortcut adds its inputs, which have equal shapes, then activates the sum.
// The first input is the layer before it.
type Shortcut struct{ Activation Activation }

// Route concatenates its inputs along channels. With Groups > 1 every input is
// cut into that many slices first, of which only number GroupID is taken.
type Route struct{ Groups, GroupID int }

// Yolo is a detection head. Its output is its input; decoding is in package
// head. Channel a*(5+Classes)+e belongs to the head's anchor a; e is 0 x, 1 y,
// 2 w, 3 h, 4 objectness, 5.. classes.
type Yolo struct {
	Classes   int
	Mask      []int        // which of Anchors this head predicts
	Anchors   [][2]float64 // all anchors, width and height in pixels of the network input
	ScaleXY   float64
	NewCoords bool // inputs are already logistic; width is (2v)^2*anchor

	IgnoreThresh  float64
	TruthThresh   float64
	IoUThresh     float64 // further anchors above it are assigned too; 1 switches that off
	IoULoss       string
	IoUNormalizer float64
	ObjNormalizer float64
	ClsNormalizer float64
	MaxDelta      float64 // 0: no clipping
	LabelSmooth   float64
	NMSKind       string
	BetaNMS       float64
}

// Kind implements Op.
func (*Conv) Kind() string { return "convolutional" }

// Kind implements Op.
func (*MaxPool) Kind() string { return "maxpool" }

// Kind implements Op.
func (*Upsample) Kind() string { return "upsample" }

// Kind implements Op.
func (*Shortcut) Kind() string { return "shortcut" }

// Kind implements Op.
func (*Route) Kind() string { return "route" }

// Kind implements Op.
func (*Yolo) Kind() string { return "yolo" }

// KernelLen returns the number of weights of the kernel over c input channels.
func (o *Conv) KernelLen(c int) int { return o.Filters * (c / o.Groups) * o.Size * o.Size }

// PerAnchor returns the channels that one anchor takes: 5 + classes.
func (o *Yolo) PerAnchor() int { return 5 + o.Classes }

func (o *Conv) clone() Op     { c := *o; return &c }
func (o *MaxPool) clone() Op  { c := *o; return &c }
func (o *Upsample) clone() Op { c := *o; return &c }
func (o *Shortcut) clone() Op { c := *o; return &c }
func (o *Route) clone() Op    { c := *o; return &c }
func (o *Yolo) clone() Op {
	c := *o
	c.Mask = slices.Clone(o.Mask)
	c.Anchors = slices.Clone(o.Anchors)
	return &c
}

func (o *Conv) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if o.Filters < 1 || o.Size < 1 || o.Stride < 1 || o.Pad < 0 || o.Groups < 1 {
		return Shape{}, fmt.Errorf("filters %d, size %d, stride %d, padding %d, groups %d: all must be positive (padding may be 0)",
			o.Filters, o.Size, o.Stride, o.Pad, o.Groups)
	}
	if in[0].C%o.Groups != 0 || o.Filters%o.Groups != 0 {
		return Shape{}, fmt.Errorf("groups %d must divide both the %d input channels and the %d filters", o.Groups, in[0].C, o.Filters)
	}
	if !slices.Contains(Activations, o.Activation) {
		return Shape{}, fmt.Errorf("unknown activation %q: use one of %v", o.Activation, Activations)
	}
	out := func(n int) int { return (n+2*o.Pad-o.Size)/o.Stride + 1 }
	return Shape{o.Filters, out(in[0].H), out(in[0].W)}, fitsWindow(in[0], o.Size-2*o.Pad)
}

func (o *MaxPool) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if o.Size < 1 || o.Stride < 1 || o.Padding < 0 || o.Padding > 2*(o.Size-1) {
		return Shape{}, fmt.Errorf("size %d, stride %d, padding %d: size and stride must be positive, padding at most 2*(size-1)", o.Size, o.Stride, o.Padding)
	}
	out := func(n int) int { return (n+o.Padding-o.Size)/o.Stride + 1 }
	return Shape{in[0].C, out(in[0].H), out(in[0].W)}, fitsWindow(in[0], o.Size-o.Padding)
}

func (o *Upsample) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if o.Stride < 1 {
		return Shape{}, fmt.Errorf("stride %d: must be at least 1", o.Stride)
	}
	return Shape{in[0].C, in[0].H * o.Stride, in[0].W * o.Stride}, nil
}

func (o *Shortcut) infer(in []Shape) (Shape, error) {
	if len(in) < 2 {
		return Shape{}, fmt.Errorf("reads %d layers: a shortcut adds at least two", len(in))
	}
	for _, s := range in[1:] {
		if s != in[0] {
			return Shape{}, fmt.Errorf("adds shapes %v and %v: they must be equal", in[0], s)
		}
	}
	if !slices.Contains(Activations, o.Activation) {
		return Shape{}, fmt.Errorf("unknown activation %q: use one of %v", o.Activation, Activations)
	}
	return in[0], nil
}

func (o *Route) infer(in []Shape) (Shape, error) {
	if len(in) == 0 {
		return Shape{}, fmt.Errorf("reads no layer")
	}
	if o.Groups < 1 || o.GroupID < 0 || o.GroupID >= o.Groups {
		return Shape{}, fmt.Errorf("groups %d, group_id %d: want 0 <= group_id < groups", o.Groups, o.GroupID)
	}
	out := Shape{H: in[0].H, W: in[0].W}
	for _, s := range in {
		if s.H != out.H || s.W != out.W {
			return Shape{}, fmt.Errorf("joins %dx%d and %dx%d pixels: all inputs need the same height and width", out.H, out.W, s.H, s.W)
		}
		if s.C%o.Groups != 0 {
			return Shape{}, fmt.Errorf("groups %d does not divide %d channels", o.Groups, s.C)
		}
		out.C += s.C / o.Groups
	}
	return out, nil
}

func (o *Yolo) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if o.Classes < 1 || len(o.Mask) == 0 {
		return Shape{}, fmt.Errorf("classes %d, %d anchors in mask: both must be positive", o.Classes, len(o.Mask))
	}
	for _, m := range o.Mask {
		if m < 0 || m >= len(o.Anchors) {
			return Shape{}, fmt.Errorf("mask names anchor %d, but there are %d", m, len(o.Anchors))
		}
	}
	if want := len(o.Mask) * o.PerAnchor(); in[0].C != want {
		return Shape{}, fmt.Errorf("%d classes and %d anchors need %d channels, the layer before has %d: set its filters to (classes+5)*anchors",
			o.Classes, len(o.Mask), want, in[0].C)
	}
	return in[0], nil
}

func wantInputs(in []Shape, n int) error {
	if len(in) != n {
		return fmt.Errorf("reads %d layers, want %d", len(in), n)
	}
	return nil
}

func fitsWindow(s Shape, window int) error {
	if s.H < window || s.W < window {
		return fmt.Errorf("window of %d pixels does not fit %dx%d", window, s.H, s.W)
	}
	return nil
}
