package graph

import (
	"fmt"
	"slices"
)

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
	if err := knownActivation(o.Activation); err != nil {
		return Shape{}, err
	}
	if o.Dilation < 0 || o.Dilation > MaxDilation {
		return Shape{}, fmt.Errorf("dilation %d: must be in 1 to %d", o.Dilation, MaxDilation)
	}
	out := func(n int) int { return (n+2*o.Pad-o.Extent())/o.Stride + 1 }
	return Shape{o.Filters, out(in[0].H), out(in[0].W)}, fitsWindow(in[0], o.Extent()-2*o.Pad)
}

func (o *MaxPool) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	return poolShape(in[0], o.Size, o.Stride, o.Padding)
}

func (o *LocalAvgPool) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	return poolShape(in[0], o.Size, o.Stride, o.Padding)
}

// poolShape is the output of a pooling window. The limit on the padding keeps
// every window over at least one pixel.
func poolShape(in Shape, size, stride, padding int) (Shape, error) {
	if size < 1 || stride < 1 || padding < 0 || padding > 2*(size-1) {
		return Shape{}, fmt.Errorf("size %d, stride %d, padding %d: size and stride must be positive, padding at most 2*(size-1)", size, stride, padding)
	}
	out := func(n int) int { return (n+padding-size)/stride + 1 }
	return Shape{in.C, out(in.H), out(in.W)}, fitsWindow(in, size-padding)
}

func (o *AvgPool) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	return Shape{in[0].C, 1, 1}, nil
}

func (o *ScaleChannels) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 2); err != nil {
		return Shape{}, err
	}
	gate, want := in[0], Shape{in[1].C, 1, 1}
	if o.ScaleWH {
		want = Shape{1, in[1].H, in[1].W}
	}
	if gate != want {
		return Shape{}, fmt.Errorf("scales %v by the layer before it, which is %v: it must be %v", in[1], gate, want)
	}
	return in[1], productActivation(o.Activation)
}

func (o *SAM) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 2); err != nil {
		return Shape{}, err
	}
	if in[0] != in[1] {
		return Shape{}, fmt.Errorf("multiplies shapes %v and %v: they must be equal", in[0], in[1])
	}
	return in[0], productActivation(o.Activation)
}

func (o *Dropout) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if !(o.Probability >= 0 && o.Probability < 1) {
		return Shape{}, fmt.Errorf("probability %v: must be in [0, 1)", o.Probability)
	}
	return in[0], nil
}

func (o *Reorg3D) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if !o.Reverse {
		return spaceToDepth(in[0], o.Stride)
	}
	if o.Stride < 1 || o.Stride > 1<<10 || in[0].C%(o.Stride*o.Stride) != 0 {
		return Shape{}, fmt.Errorf("stride %d: must be positive, and its square divide the %d channels", o.Stride, in[0].C)
	}
	return Shape{in[0].C / (o.Stride * o.Stride), in[0].H * o.Stride, in[0].W * o.Stride}, nil
}

func (o *Reorg) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if s := o.Stride; s > 0 && s < 1<<10 && in[0].C%(s*s) != 0 {
		return Shape{}, fmt.Errorf("stride %d: its square must divide the %d channels", s, in[0].C)
	}
	return spaceToDepth(in[0], o.Stride)
}

func spaceToDepth(in Shape, stride int) (Shape, error) {
	if stride < 1 || stride > 1<<10 || in.H%stride != 0 || in.W%stride != 0 {
		return Shape{}, fmt.Errorf("stride %d: must be positive and divide height and width of %dx%d", stride, in.H, in.W)
	}
	return Shape{in.C * stride * stride, in.H / stride, in.W / stride}, nil
}

func (o *Silence) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	return in[0], nil
}

func (o *Contrastive) infer(in []Shape) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return Shape{}, err
	}
	if o.Classes < 1 {
		return Shape{}, fmt.Errorf("classes %d: must be positive", o.Classes)
	}
	return in[0], nil
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
		if s.H != in[0].H || s.W != in[0].W {
			return Shape{}, fmt.Errorf("adds shapes %v and %v: height and width must be equal", in[0], s)
		}
	}
	if err := o.checkScaling(); err != nil {
		return Shape{}, err
	}
	return in[0], knownActivation(o.Activation)
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

func (o *Shortcut) checkScaling() error {
	switch o.Scaling {
	case NoScaling:
		if o.Normalization != "" {
			return fmt.Errorf("weights_normalization %q without weights", o.Normalization)
		}
		return nil
	case PerFeature, PerChannel:
		if o.Normalization != NormRelu && o.Normalization != NormSoftmax {
			return fmt.Errorf("weights_normalization %q: must be %s or %s", o.Normalization, NormRelu, NormSoftmax)
		}
		return nil
	}
	return fmt.Errorf("weights_type %q: must be %s or %s", o.Scaling, PerFeature, PerChannel)
}

func knownActivation(a Activation) error {
	if !slices.Contains(Activations, a) {
		return fmt.Errorf("unknown activation %q: use one of %v", a, Activations)
	}
	return nil
}

// productActivation refuses the activations that Darknet's CPU code turns into
// zeros after a product (src/activations.c, activate).
func productActivation(a Activation) error {
	switch a {
	case Linear, Leaky, Relu, Logistic:
		return nil
	}
	return fmt.Errorf("activation %q is not computed after a product: use one of %v", a, []Activation{Linear, Leaky, Relu, Logistic})
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
