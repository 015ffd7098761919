package graph

import (
	"math"
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

	// Dilation is the distance in pixels between the taps of the kernel (Yu &
	// Koltun, ICLR 2016, arXiv:1511.07122); 0 means 1.
	Dilation int
	// Back is how many layers before this one the convolution stands whose
	// weights it uses, batch norm included; 0: it has its own. See Graph.Owner.
	Back int
}

// MaxDilation bounds Conv.Dilation, so that no padding overflows.
const MaxDilation = 1 << 10

// Spacing returns the distance between taps, at least 1.
func (o *Conv) Spacing() int { return max(1, o.Dilation) }

// Extent returns the pixels from the first tap of a row of the kernel to the
// last, (R-1)*Dilation + 1.
func (o *Conv) Extent() int { return (o.Size-1)*o.Spacing() + 1 }

// MaxPool takes the maximum of Size x Size windows. Padding is Darknet's total
// padding: a window starts Padding/2 (rounded down) before its stride position.
type MaxPool struct{ Size, Stride, Padding int }

// Upsample repeats every pixel Stride x Stride times (nearest neighbour).
type Upsample struct{ Stride int }

// Shortcut adds its inputs, which have equal heights and widths, then activates
// the sum. The first input is the layer before it and gives the shape; of an
// input with more channels the first ones are added, and one with fewer adds to
// the first ones only, as in Darknet.
//
// With Scaling each input is multiplied by a weight of its own first, the same
// for all channels (PerFeature) or one for each (PerChannel); see ScaleLen. The
// weights are brought to a sum of one by Normalization.
type Shortcut struct {
	Activation    Activation
	Scaling       Scaling
	Normalization Normalization // with Scaling only
}

// Scaling says which weights a Shortcut has, under Darknet's names.
type Scaling string

// The scalings. The zero value is no weights.
const (
	NoScaling  Scaling = ""
	PerFeature Scaling = "per_feature"
	PerChannel Scaling = "per_channel"
)

// Normalization says how a Shortcut's weights are normalised. With w the
// weights of one channel (or of all), one for each input, and e = 1e-4,
//
//	relu     v = max(w, 0.001)         w' = v/(sum(v) + e)
//	softmax  v = exp(w - max(w))       w' = v/(sum(v) + e)
//
// Tan et al., EfficientDet, CVPR 2020, arXiv:1911.09070, section 3.3. The floor
// of 0.001 is that of Darknet's GPU code and of its load-time fusion.
type Normalization string

// The normalizations.
const (
	NormRelu    Normalization = "relu"
	NormSoftmax Normalization = "softmax"
)

// Route concatenates its inputs along channels. With Groups > 1 every input is
// cut into that many slices first, of which only number GroupID is taken.
type Route struct{ Groups, GroupID int }

// AvgPool takes the mean over all pixels: C x 1 x 1.
type AvgPool struct{}

// LocalAvgPool takes the mean of Size x Size windows, over the pixels of the
// window that exist. The geometry is MaxPool's.
type LocalAvgPool struct{ Size, Stride, Padding int }

// ScaleChannels multiplies its second input by its first, the gate, and
// activates the product: squeeze and excitation (Hu et al., CVPR 2018,
// arXiv:1709.01507). The gate is the layer before it, C x 1 x 1 values for the
// channels, or with ScaleWH 1 x H x W for the pixels.
type ScaleChannels struct {
	Activation Activation
	ScaleWH    bool
}

// SAM multiplies its two inputs, which have equal shapes, value by value and
// activates the product: spatial attention as in YOLOv4 (Bochkovskiy et al.,
// arXiv:2004.10934, section 3.4). The first is the layer before it.
type SAM struct{ Activation Activation }

// Dropout is the identity at inference. In training it zeroes a value with
// Probability and divides the rest by 1-Probability (Srivastava et al.,
// JMLR 15, 2014).
type Dropout struct{ Probability float64 }

// Reorg3D moves blocks of Stride x Stride pixels into channels (space to
// depth): out[(dy*Stride+dx)*C + c][y][x] = in[c][y*Stride+dy][x*Stride+dx].
// With Reverse it is the inverse.
type Reorg3D struct {
	Stride  int
	Reverse bool
}

// Reorg is YOLOv2's: the shape is that of Reorg3D, but the values come in the
// order of Darknet's reorg_cpu, which reads its input as if it had C/Stride^2
// channels of H*Stride x W*Stride pixels. With flat indices, for k < C, j < H,
// i < W, c2 = k mod C/Stride^2 and off = k div C/Stride^2,
//
//	out[(k*H+j)*W+i] = in[(c2*H*Stride + j*Stride+off/Stride)*W*Stride + i*Stride+off%Stride]
type Reorg struct{ Stride int }

// Silence is the identity; Darknet's [silence] and [empty].
type Silence struct{}

// Contrastive is a loss over the embeddings of its input that Darknet adds in
// training. It has no part in inference, where it is the identity.
type Contrastive struct{ Classes int }

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

// Kind implements Op.
func (*AvgPool) Kind() string { return "avgpool" }

// Kind implements Op.
func (*LocalAvgPool) Kind() string { return "local_avgpool" }

// Kind implements Op.
func (*ScaleChannels) Kind() string { return "scale_channels" }

// Kind implements Op.
func (*SAM) Kind() string { return "sam" }

// Kind implements Op.
func (*Dropout) Kind() string { return "dropout" }

// Kind implements Op.
func (*Reorg3D) Kind() string { return "reorg3d" }

// Kind implements Op.
func (*Reorg) Kind() string { return "reorg" }

// Kind implements Op.
func (*Silence) Kind() string { return "silence" }

// Kind implements Op.
func (*Contrastive) Kind() string { return "contrastive" }

// KernelLen returns the number of weights of the kernel over c input channels.
func (o *Conv) KernelLen(c int) int { return o.Filters * (c / o.Groups) * o.Size * o.Size }

// ScaleLen returns the number of a shortcut's weights over so many inputs of
// which the first has c channels: one run of values for each input, in order.
func (o *Shortcut) ScaleLen(inputs, c int) int {
	switch o.Scaling {
	case PerFeature:
		return inputs
	case PerChannel:
		return inputs * c
	}
	return 0
}

// Factor returns what channel c of input i is multiplied by: 1 without weights,
// else its normalised weight.
func (o *Shortcut) Factor(w *Weights, i, c, inputs int) float64 {
	if o.Scaling == NoScaling {
		return 1
	}
	const eps = 1e-4
	per := len(w.Scale) / inputs
	at := func(k int) float64 { return float64(w.Scale[k*per+c%per]) }
	highest := at(0)
	for k := range inputs {
		highest = max(highest, at(k))
	}
	positive := func(k int) float64 {
		if o.Normalization == NormSoftmax {
			return math.Exp(at(k) - highest)
		}
		return max(at(k), 0.001)
	}
	total := eps
	for k := range inputs {
		total += positive(k)
	}
	return positive(i) / total
}

// PerAnchor returns the channels that one anchor takes: 5 + classes.
func (o *Yolo) PerAnchor() int { return 5 + o.Classes }

func (o *Conv) clone() Op     { c := *o; return &c }
func (o *MaxPool) clone() Op  { c := *o; return &c }
func (o *Upsample) clone() Op { c := *o; return &c }
func (o *Shortcut) clone() Op { c := *o; return &c }
func (o *Route) clone() Op    { c := *o; return &c }

func (o *AvgPool) clone() Op       { c := *o; return &c }
func (o *LocalAvgPool) clone() Op  { c := *o; return &c }
func (o *ScaleChannels) clone() Op { c := *o; return &c }
func (o *SAM) clone() Op           { c := *o; return &c }
func (o *Dropout) clone() Op       { c := *o; return &c }
func (o *Reorg3D) clone() Op       { c := *o; return &c }
func (o *Reorg) clone() Op         { c := *o; return &c }
func (o *Silence) clone() Op       { c := *o; return &c }
func (o *Contrastive) clone() Op   { c := *o; return &c }

func (o *Yolo) clone() Op {
	c := *o
	c.Mask = slices.Clone(o.Mask)
	c.Anchors = slices.Clone(o.Anchors)
	return &c
}
