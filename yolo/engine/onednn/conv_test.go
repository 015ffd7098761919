package onednn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// convCase is a convolution over n images of c x h x w.
type convCase struct {
	n, c, h, w int
	op         graph.Conv
}

func (c convCase) String() string {
	o := c.op
	return fmt.Sprintf("n%d %dx%dx%d to %d size %d stride %d pad %d groups %d dilation %d", c.n, c.c, c.h, c.w, o.Filters, o.Size, o.Stride, o.Pad, o.Groups, o.Spacing())
}

func (c convCase) src() graph.Shape { return graph.Shape{C: c.c, H: c.h, W: c.w} }

// dst is the output's shape: P = (H + 2*pad - (R-1)*d - 1)/stride + 1, rounded
// down.
func (c convCase) dst() graph.Shape {
	side := func(n int) int { return (n+2*c.op.Pad-(c.op.Size-1)*c.op.Spacing()-1)/c.op.Stride + 1 }
	return graph.Shape{C: c.op.Filters, H: side(c.h), W: side(c.w)}
}

func (c convCase) ref() ref.Conv {
	o := c.op
	return ref.Conv{Filters: o.Filters, Size: o.Size, Stride: o.Stride, Pad: o.Pad, Groups: o.Groups, Dilation: o.Spacing()}
}

// spec is the fast convolution of a case with activations in one order.
func (c convCase) spec(o Order, training bool) ConvSpec {
	return ConvSpec{
		Src: Desc{c.n, c.src(), o}, Dst: Desc{c.n, c.dst(), o}, Op: &c.op,
		Training: training, NeedDX: training,
	}
}

// spatial lists every size with every stride, batches of 1 and 3 and inputs
// whose sides are odd, even, and each.
func spatial(c, filters, groups int) []convCase {
	var out []convCase
	for _, size := range []int{1, 3, 5} {
		for _, stride := range []int{1, 2} {
			if size == 1 && stride > 1 {
				continue // refused; see TestSubsample
			}
			op := graph.Conv{Filters: filters, Size: size, Stride: stride, Pad: size / 2, Groups: groups, Activation: graph.Linear}
			out = append(out, convCase{1, c, 5, 8, op}, convCase{3, c, 6, 4, op}, convCase{3, c, 7, 5, op})
		}
	}
	return out
}

func convCases() []convCase {
	var out []convCase
	for _, k := range [][3]int{
		{1, 1, 1}, {1, 3, 1}, {3, 37, 1}, {37, 101, 1}, {101, 1, 1}, {101, 37, 1}, {16, 32, 1},
		{2, 6, 2}, {74, 202, 2}, {16, 32, 2}, {6, 3, 3}, // groups
		{3, 3, 3}, {37, 37, 37}, {101, 101, 101}, {16, 16, 16}, {3, 6, 3}, {37, 74, 37}, // depthwise, and with two filters a channel
	} {
		out = append(out, spatial(k[0], k[1], k[2])...)
	}
	for _, o := range []graph.Conv{
		{Filters: 37, Size: 3, Stride: 1, Pad: 0, Groups: 1},
		{Filters: 37, Size: 3, Stride: 2, Pad: 0, Groups: 1},
		{Filters: 5, Size: 1, Stride: 1, Pad: 1, Groups: 1},
		{Filters: 3, Size: 2, Stride: 2, Pad: 0, Groups: 1},
		{Filters: 3, Size: 3, Stride: 3, Pad: 1, Groups: 3},
	} {
		out = append(out, convCase{2, 3, 9, 6, o})
	}
	out = append(out, convCase{1, 37, 1, 1, graph.Conv{Filters: 101, Size: 3, Stride: 1, Pad: 1, Groups: 1}})
	return out
}

// truth is what the reference computes for a case.
type truth struct {
	x, dy, y, dx ref.Tensor
	w, dw        []float32
}

func convTruth(rng *rand.Rand, c convCase) truth {
	o := c.ref()
	r := truth{x: normalTensor(rng, c.n, c.src()), dy: normalTensor(rng, c.n, c.dst())}
	r.w = fenced(normal(rng, c.op.KernelLen(c.c), 0, 1))
	r.y = o.Forward(r.x, r.w, nil)
	r.dx = o.BackwardData(r.x, r.w, r.dy)
	r.dw, _ = o.BackwardWeights(r.x, r.dy)
	return r
}

// Forward, data gradient and weight gradient in every order.
func TestConvTraining(t *testing.T) {
	for i, c := range convCases() {
		want := convTruth(rand.New(rand.NewPCG(1, uint64(i))), c)
		for _, o := range orders {
			checkTraining(t, fmt.Sprintf("%v %v", o, c), c.spec(o, true), want)
		}
		checkDirect(t, c, orders[i%len(orders)], want)
	}
}

// grouped lists grouped and depthwise convolutions: every number of groups with
// every number of channels and filters of a group, sizes, strides, paddings and
// image sides in turn.
func grouped() []convCase {
	var out []convCase
	sides := [][2]int{{1, 1}, {1, 6}, {5, 4}, {7, 7}, {8, 3}}
	for _, groups := range []int{2, 3, 8, 24, 32, 136} {
		for _, channels := range []int{1, 2, 3, 5, 8} {
			for _, filters := range []int{1, 2, 3, 7, 8} {
				if channels*filters*groups > 600 {
					continue
				}
				i := len(out)
				o := graph.Conv{Filters: groups * filters, Size: []int{3, 5, 2, 1, 7}[i%5], Stride: 1 + i/2%3, Groups: groups}
				o.Pad = o.Size/2 + i/3%2
				if o.Size == 1 {
					o.Stride, o.Pad = 1, 0 // strides are refused; see TestSubsample
				}
				side := sides[i/4%5]
				c := convCase{1 + i%2, groups * channels, max(side[0], o.Size-2*o.Pad), max(side[1], o.Size-2*o.Pad), o}
				out = append(out, c)
			}
		}
	}
	return out
}

// Grouped convolutions in every order, for training and for inference, on oneDNN
// and on our own kernels.
func TestConvGroups(t *testing.T) {
	for i, c := range grouped() {
		rng := rand.New(rand.NewPCG(8, uint64(i)))
		want, bias := convTruth(rng, c), normal(rng, c.op.Filters, 0, 1)
		for _, o := range orders {
			checkTraining(t, fmt.Sprintf("%v %v", o, c), c.spec(o, true), want)
			checkInference(t, c.spec(o, false), graph.Mish, want, bias)
		}
		checkDirect(t, c, orders[i%len(orders)], want)
		s := c.spec(orders[i%len(orders)], false)
		s.direct = true
		checkInference(t, s, graph.Activations[i%len(graph.Activations)], want, bias)
	}
}

// dilated lists convolutions with taps that are not neighbours, dense, grouped and
// depthwise, with paddings that keep the size, none, and more; some images are
// smaller than the kernel's extent, so that taps see nothing but the frame.
func dilated() []convCase {
	var out []convCase
	sides := [][2]int{{13, 9}, {7, 7}, {5, 8}, {1, 4}}
	for _, k := range [][3]int{{3, 5, 1}, {16, 32, 1}, {37, 19, 1}, {8, 16, 2}, {24, 24, 24}, {6, 12, 6}} {
		for _, size := range []int{1, 2, 3, 5} {
			for _, dilation := range []int{2, 3, 7} {
				i := len(out)
				o := graph.Conv{Filters: k[1], Size: size, Stride: 1 + i/2%2, Groups: k[2], Dilation: dilation}
				o.Pad = []int{(size - 1) * dilation / 2, 0, size * dilation}[i%3]
				if size == 1 {
					o.Stride = 1 // strides are refused; see TestSubsample
				}
				side, least := sides[i/3%4], (size-1)*dilation+1-2*o.Pad
				out = append(out, convCase{1 + i%2, k[0], max(side[0], least), max(side[1], least), o})
			}
		}
	}
	return out
}

// Dilated convolutions in every order, for training and for inference, on oneDNN
// and on our own kernels.
func TestConvDilated(t *testing.T) {
	for i, c := range dilated() {
		rng := rand.New(rand.NewPCG(10, uint64(i)))
		want, bias := convTruth(rng, c), normal(rng, c.op.Filters, 0, 1)
		for _, o := range orders {
			checkTraining(t, fmt.Sprintf("%v %v", o, c), c.spec(o, true), want)
			checkInference(t, c.spec(o, false), graph.Mish, want, bias)
		}
		checkDirect(t, c, orders[i%len(orders)], want)
		s := c.spec(orders[i%len(orders)], false)
		s.direct = true
		checkInference(t, s, graph.Activations[i%len(graph.Activations)], want, bias)
		if c.c <= 4 {
			s := c.spec(Blocked8, true)
			s.Src.Order, s.NeedDX = NCHW, false
			checkTraining(t, fmt.Sprintf("image, %v", c), s, want)
		}
	}
}

// checkDirect compares our own kernels, which take the place of oneDNN's
// reference code.
func checkDirect(t *testing.T, c convCase, o Order, want truth) {
	t.Helper()
	s := c.spec(o, true)
	s.direct = true
	checkTraining(t, fmt.Sprintf("direct %v %v", o, c), s, want)
}

// Here oneDNN has reference code only for the data gradient, in any order.
func TestConvWithoutFastKernel(t *testing.T) {
	c := convCase{2, 16, 9, 8, graph.Conv{Filters: 4, Size: 5, Stride: 1, Pad: 5, Groups: 1, Activation: graph.Linear}}
	want := convTruth(rand.New(rand.NewPCG(9, 0)), c)
	for _, o := range orders {
		checkTraining(t, fmt.Sprintf("%v %v", o, c), c.spec(o, true), want)
	}
}

// The kernels of a convolution are named, and ours are called direct.
func TestConvInfo(t *testing.T) {
	c := convCase{1, 3, 4, 4, graph.Conv{Filters: 5, Size: 3, Stride: 1, Pad: 1, Groups: 1}}
	for _, k := range []struct {
		order    Order
		training bool
		want     string
	}{
		{NHWC, false, "forward direct with reorder"},
		{Blocked8, true, "forward direct with reorder, data gradient direct with reorder, weight gradient direct with reorder"},
	} {
		s := c.spec(k.order, k.training)
		s.direct = true
		on(t, func() error {
			p, err := NewConv(s)
			if err != nil {
				return err
			}
			defer p.Close()
			if got := p.Info(); got != k.want {
				t.Errorf("kernels %q, want %q", got, k.want)
			}
			return nil
		})
	}
}

func checkTraining(t *testing.T, what string, s ConvSpec, want truth) {
	t.Helper()
	x, dy := pack(s.Src, want.x), pack(s.Dst, want.dy)
	y, dx, dw := dirty(s.Dst.Len()), dirty(s.Src.Len()), dirty(len(want.w))
	var info string
	on(t, func() error {
		p, err := NewConv(s)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		defer p.Close()
		info = p.Info()
		if err := p.Forward(x, want.w, y); err != nil {
			return err
		}
		if err := p.BackwardWeights(x, dy, dw); err != nil || !s.NeedDX {
			return err
		}
		return p.BackwardData(dy, want.w, dx)
	})
	if strings.Contains(info, "ref") {
		t.Errorf("%s runs reference code: %s", what, info)
	}
	near(t, what+": y", unpack(t, what+": y", s.Dst, y), want.y.Data)
	near(t, what+": dw", dw, want.dw)
	if s.NeedDX {
		near(t, what+": dx", unpack(t, what+": dx", s.Src, dx), want.dx.Data)
	}
}

// The first convolution reads images as NCHW beside blocked activations, and
// needs no data gradient.
func TestConvImage(t *testing.T) {
	for i, k := range [][3]int{{1, 19, 1}, {3, 19, 1}, {3, 3, 3}, {3, 9, 3}, {4, 6, 2}} {
		for _, c := range spatial(k[0], k[1], k[2]) {
			want := convTruth(rand.New(rand.NewPCG(2, uint64(i))), c)
			for _, o := range []Order{Blocked8, Blocked16} {
				s := c.spec(o, true)
				s.Src.Order, s.NeedDX = NCHW, false
				checkTraining(t, fmt.Sprintf("image, %v %v", o, c), s, want)
				checkInference(t, s, graph.Leaky, want, normal(rand.New(rand.NewPCG(2, 9)), k[1], 0, 1))
			}
		}
	}
}

// Convolution, bias and every activation in one primitive.
func TestConvInference(t *testing.T) {
	for i, c := range []convCase{
		{1, 1, 5, 8, graph.Conv{Filters: 3, Size: 3, Stride: 1, Pad: 1, Groups: 1}},
		{3, 37, 6, 4, graph.Conv{Filters: 101, Size: 1, Stride: 1, Pad: 0, Groups: 1}},
		{1, 101, 7, 5, graph.Conv{Filters: 37, Size: 3, Stride: 2, Pad: 1, Groups: 1}},
		{1, 101, 7, 5, graph.Conv{Filters: 1, Size: 1, Stride: 1, Pad: 0, Groups: 1}},
		{3, 74, 5, 8, graph.Conv{Filters: 202, Size: 3, Stride: 1, Pad: 1, Groups: 2}},
		{3, 37, 5, 8, graph.Conv{Filters: 37, Size: 5, Stride: 2, Pad: 2, Groups: 37}},
	} {
		rng := rand.New(rand.NewPCG(3, uint64(i)))
		want, bias := convTruth(rng, c), normal(rng, c.op.Filters, 0, 2)
		for _, act := range graph.Activations {
			for _, o := range orders {
				checkInference(t, c.spec(o, false), act, want, bias)
			}
		}
	}
}

func checkInference(t *testing.T, s ConvSpec, act graph.Activation, in truth, bias []float32) {
	t.Helper()
	op := *s.Op
	op.Activation = act
	s.Op, s.Training, s.NeedDX = &op, false, false
	y := dirty(s.Dst.Len())
	on(t, func() error {
		p, err := NewConv(s)
		if err != nil {
			return err
		}
		defer p.Close()
		if err := p.Freeze(in.w, fenced(bias)); err != nil {
			return err
		}
		return p.Infer(pack(s.Src, in.x), y)
	})
	z := convCase{op: op}.ref().Forward(in.x, in.w, bias)
	what := fmt.Sprintf("%v %v %v", s.Dst.Order, act, op)
	near(t, what, unpack(t, what, s.Dst, y), ref.ActivateForward(act, z).Data)
}

// A convolution may be run with another number of threads than it was built
// for, as happens when a second network is made with other options.
func TestConvThreads(t *testing.T) {
	defer SetThreads(SetThreads(0))
	c := convCase{3, 37, 12, 13, graph.Conv{Filters: 101, Size: 3, Stride: 1, Pad: 1, Groups: 1}}
	want := convTruth(rand.New(rand.NewPCG(7, 0)), c)
	for _, o := range orders {
		for _, threads := range [][2]int{{1, 2}, {2, 1}, {1, 3}, {3, 2}} {
			s := c.spec(o, true)
			x, dy := pack(s.Src, want.x), pack(s.Dst, want.dy)
			y, dx, dw := dirty(s.Dst.Len()), dirty(s.Src.Len()), dirty(len(want.w))
			var p *Conv
			SetThreads(threads[0])
			on(t, func() (err error) { p, err = NewConv(s); return err })
			SetThreads(threads[1])
			on(t, func() error {
				defer p.Close()
				return errors.Join(p.Forward(x, want.w, y), p.BackwardWeights(x, dy, dw), p.BackwardData(dy, want.w, dx))
			})
			what := fmt.Sprintf("%v built for %d threads, run with %d", o, threads[0], threads[1])
			near(t, what+": y", unpack(t, what, s.Dst, y), want.y.Data)
			near(t, what+": dw", dw, want.dw)
			near(t, what+": dx", unpack(t, what, s.Src, dx), want.dx.Data)
		}
	}
}

// A number of threads that the system cannot start, from the environment, does
// not end the process.
func TestThreadsOfTheEnvironment(t *testing.T) {
	again := exec.Command(os.Args[0], "-test.run", "^TestConvAgain$")
	again.Env = append(os.Environ(), "OMP_NUM_THREADS=100000")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Every activation in an inference primitive, also where its exponential would
// leave the range of a float32: a 1x1 convolution whose kernel is one.
func TestConvInferenceExtremes(t *testing.T) {
	for _, o := range orders {
		for _, act := range graph.Activations {
			d := Desc{1, graph.Shape{C: 1, H: 1, W: len(extremes)}, o}
			op := &graph.Conv{Filters: 1, Size: 1, Stride: 1, Groups: 1, Activation: act}
			y := dirty(d.Len())
			on(t, func() error {
				p, err := NewConv(ConvSpec{Src: d, Dst: d, Op: op})
				if err != nil {
					return err
				}
				defer p.Close()
				if err := p.Freeze([]float32{1}, []float32{0}); err != nil {
					return err
				}
				return p.Infer(pack(d, extremeTensor()), y)
			})
			what := fmt.Sprintf("%v %v", o, act)
			got := unpack(t, what, d, y)
			for i, x := range extremes {
				closeTo(t, fmt.Sprintf("%s of %g", what, x), got[i], ref.Activate(act, float64(x)))
			}
		}
	}
}

// The frozen weights are copies.
func TestConvFreezeCopies(t *testing.T) {
	c := convCase{1, 3, 4, 4, graph.Conv{Filters: 5, Size: 3, Stride: 1, Pad: 1, Groups: 1, Activation: graph.Linear}}
	rng := rand.New(rand.NewPCG(4, 0))
	want, bias := convTruth(rng, c), normal(rng, 5, 0, 1)
	s := c.spec(Blocked8, false)
	x, first, second := pack(s.Src, want.x), make([]float32, s.Dst.Len()), make([]float32, s.Dst.Len())
	on(t, func() error {
		p, err := NewConv(s)
		if err != nil {
			return err
		}
		defer p.Close()
		if err := p.Freeze(want.w, bias); err != nil {
			return err
		}
		if err := p.Infer(x, first); err != nil {
			return err
		}
		clear(want.w)
		clear(bias)
		return p.Infer(x, second)
	})
	equal(t, "after the weights changed", second, first)
}

// The three passes are one function's gradients: along any direction the
// convolution, linear in x and in w, changes by dx.v and dw.v.
func TestConvDifferences(t *testing.T) {
	for _, c := range []convCase{
		{2, 3, 5, 6, graph.Conv{Filters: 37, Size: 3, Stride: 2, Pad: 1, Groups: 1}},
		{1, 6, 5, 6, graph.Conv{Filters: 4, Size: 5, Stride: 1, Pad: 2, Groups: 2}},
		{2, 9, 4, 3, graph.Conv{Filters: 9, Size: 3, Stride: 1, Pad: 1, Groups: 9}},
	} {
		for _, o := range orders {
			convDifferences(t, c, o)
		}
	}
}

func convDifferences(t *testing.T, c convCase, o Order) {
	rng := rand.New(rand.NewPCG(5, 0))
	in, s := convTruth(rng, c), c.spec(o, true)
	dy, y := pack(s.Dst, in.dy), make([]float32, s.Dst.Len())
	dx, dw := make([]float32, s.Src.Len()), make([]float32, len(in.w))
	on(t, func() error {
		p, err := NewConv(s)
		if err != nil {
			return err
		}
		defer p.Close()
		f := func() float64 {
			if err := p.Forward(pack(s.Src, in.x), in.w, y); err != nil {
				t.Error(err)
			}
			return dot(y, dy)
		}
		if err := p.BackwardWeights(pack(s.Src, in.x), dy, dw); err != nil {
			return err
		}
		if err := p.BackwardData(dy, in.w, dx); err != nil {
			return err
		}
		slope(t, fmt.Sprintf("%v %v dw", o, c), rng, in.w, dw, f)
		slope(t, fmt.Sprintf("%v %v dx", o, c), rng, in.x.Data, unpackUnchecked(s.Src, dx), f)
		return nil
	})
}

func unpackUnchecked(d Desc, data []float32) []float32 {
	out := make([]float32, d.N*d.Shape.Size())
	each(d, func(i, p int) { out[i] = data[p] })
	return out
}

// A primitive can be run again: nothing of an earlier call is left.
func TestConvAgain(t *testing.T) {
	c := convCase{2, 5, 6, 5, graph.Conv{Filters: 7, Size: 3, Stride: 1, Pad: 1, Groups: 1}}
	rng := rand.New(rand.NewPCG(6, 0))
	first, second := convTruth(rng, c), convTruth(rng, c)
	for _, o := range orders {
		s := c.spec(o, true)
		y, dx, dw := dirty(s.Dst.Len()), dirty(s.Src.Len()), dirty(len(first.w))
		on(t, func() error {
			p, err := NewConv(s)
			if err != nil {
				return err
			}
			defer p.Close()
			for _, in := range []truth{first, second} {
				x, dy := pack(s.Src, in.x), pack(s.Dst, in.dy)
				if err := p.Forward(x, in.w, y); err != nil {
					return err
				}
				if err := p.BackwardWeights(x, dy, dw); err != nil {
					return err
				}
				if err := p.BackwardData(dy, in.w, dx); err != nil {
					return err
				}
			}
			return nil
		})
		near(t, "second y", unpack(t, "y", s.Dst, y), second.y.Data)
		near(t, "second dw", dw, second.dw)
		near(t, "second dx", unpack(t, "dx", s.Src, dx), second.dx.Data)
	}
}

func TestConvErrors(t *testing.T) {
	before := Live()
	c := convCase{2, 5, 6, 5, graph.Conv{Filters: 7, Size: 3, Stride: 1, Pad: 1, Groups: 1}}
	s := c.spec(Blocked8, true)
	x, w, y := make([]float32, s.Src.Len()), make([]float32, 7*5*9), make([]float32, s.Dst.Len())
	for _, e := range []struct {
		name string
		call func(p *Conv) error
	}{
		{"short x", func(p *Conv) error { return p.Forward(x[1:], w, y) }},
		{"short w", func(p *Conv) error { return p.Forward(x, w[1:], y) }},
		{"short y", func(p *Conv) error { return p.Forward(x, w, y[1:]) }},
		{"no x", func(p *Conv) error { return p.Forward(nil, w, y) }},
		{"data gradient, short dy", func(p *Conv) error { return p.BackwardData(y[1:], w, x) }},
		{"data gradient, short w", func(p *Conv) error { return p.BackwardData(y, w[1:], x) }},
		{"data gradient, short dx", func(p *Conv) error { return p.BackwardData(y, w, x[1:]) }},
		{"weight gradient, short x", func(p *Conv) error { return p.BackwardWeights(x[1:], y, w) }},
		{"weight gradient, short dy", func(p *Conv) error { return p.BackwardWeights(x, y[1:], w) }},
		{"weight gradient, short dw", func(p *Conv) error { return p.BackwardWeights(x, y, w[1:]) }},
	} {
		convFails(t, e.name, s, errLength.Error(), e.call)
	}
	convFails(t, "inference of a training convolution", s, "built for training", func(p *Conv) error { return p.Infer(x, y) })
	convFails(t, "weights of a training convolution", s, "built for training", func(p *Conv) error { return p.Freeze(w, y) })
	noDX := s
	noDX.NeedDX = false
	convFails(t, "data gradient not asked for", noDX, "without a data gradient", func(p *Conv) error { return p.BackwardData(y, w, x) })
	folded := c.spec(Blocked8, false)
	convFails(t, "freeze, short w", folded, errLength.Error(), func(p *Conv) error { return p.Freeze(w[1:], y) })
	convFails(t, "freeze, short bias", folded, errLength.Error(), func(p *Conv) error { return p.Freeze(w, y[:6]) })
	convFails(t, "weights missing", folded, "no weights", func(p *Conv) error { return p.Infer(x, y) })
	convFails(t, "training of an inference convolution", folded, "built for inference", func(p *Conv) error { return p.Forward(x, w, y) })
	convFails(t, "weight gradient of an inference convolution", folded, "built for inference", func(p *Conv) error { return p.BackwardWeights(x, y, w) })
	convFails(t, "closed", s, "closed", func(p *Conv) error { p.Close(); p.Close(); return p.Forward(x, w, y) })
	convFails(t, "closed, weights", folded, "closed", func(p *Conv) error { p.Close(); return p.Freeze(w, y) })
	if now := Live(); now != before {
		t.Errorf("%d objects live, %d before", now, before)
	}
}

func convFails(t *testing.T, what string, s ConvSpec, want string, call func(p *Conv) error) {
	t.Helper()
	err := tryOn(func() error {
		p, err := NewConv(s)
		if err != nil {
			return err
		}
		defer p.Close()
		return call(p)
	})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want one with %q", what, err, want)
	}
}

// A convolution that cannot be is an error and leaves nothing behind.
func TestNewConvFails(t *testing.T) {
	before := Live()
	good := convCase{2, 5, 6, 5, graph.Conv{Filters: 7, Size: 3, Stride: 1, Pad: 1, Groups: 1}}
	high, wide, deep, many := good.spec(NHWC, true), good.spec(NHWC, true), good.spec(Blocked8, false), good.spec(Blocked8, true)
	high.Dst.Shape.H++
	wide.Dst.Shape.W--
	deep.Dst.Shape.C = 8
	many.Dst.N = 3
	strided := convCase{1, 5, 6, 5, graph.Conv{Filters: 7, Size: 1, Stride: 2, Groups: 1}}
	for _, k := range []struct {
		spec ConvSpec
		want string
	}{
		{high, "the output is 2 images of 7x7x5, want 2 of 7x6x5"},
		{wide, "the output is 2 images of 7x6x4, want 2 of 7x6x5"},
		{deep, "the output is 2 images of 8x6x5, want 2 of 7x6x5"},
		{many, "the output is 3 images of 7x6x5, want 2 of 7x6x5"},
		{strided.spec(NHWC, true), "a 1x1 convolution of stride 2: subsample its input first"},
	} {
		err := tryOn(func() error { _, err := NewConv(k.spec); return err })
		if err == nil || err.Error() != k.want {
			t.Errorf("error %v, want %q", err, k.want)
		}
	}
	if now := Live(); now != before {
		t.Errorf("%d objects live, %d before", now, before)
	}
}

func TestLive(t *testing.T) {
	before := Live()
	s := convCase{1, 3, 4, 4, graph.Conv{Filters: 3, Size: 1, Stride: 1, Groups: 1}}.spec(NHWC, true)
	on(t, func() error {
		a, err := NewConv(s)
		if err != nil {
			return err
		}
		b, err := NewConv(s)
		if err != nil {
			return err
		}
		if n := Live() - before; n != 2 {
			t.Errorf("%d objects live, want 2", n)
		}
		a.Close()
		a.Close()
		if n := Live() - before; n != 1 {
			t.Errorf("%d objects live after one is closed twice, want 1", n)
		}
		b.Close()
		return nil
	})
	if n := Live() - before; n != 0 {
		t.Errorf("%d objects live, want 0", n)
	}
}
