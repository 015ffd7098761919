package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/graph"
)

func TestUpsampleByHand(t *testing.T) {
	y := Upsample{2}.Forward(Tensor{1, 1, 2, 2, []float32{1, 2, 3, 4}})
	sameShape(t, "y", y, 1, 2, 4, 2)
	same(t, "y", y.Data, []float32{1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4}, 0)
	dx := Upsample{2}.Backward(Tensor{1, 2, 2, 2, []float32{1, 10, 2, 20, 3, 30, 4, 40}})
	sameShape(t, "dx", dx, 1, 1, 1, 2)
	same(t, "dx", dx.Data, []float32{10, 100}, 0)
	x := Tensor{2, 1, 1, 1, []float32{5, 6}}
	same(t, "stride 1", Upsample{1}.Forward(x).Data, x.Data, 0)
}

func TestUpsampleDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	for _, stride := range []int{1, 2, 3} {
		x, dy := gridTensor(rng, 2, 3, 2, 3), gridTensor(rng, 2, 3*stride, 2*stride, 3)
		loss := func() float64 { return dot(Upsample{stride}.Forward(x).Data, dy.Data) }
		differences(t, "dx", x.Data, Upsample{stride}.Backward(dy).Data, loss, 1, 1e-12)
	}
}

func TestShortcutByHand(t *testing.T) {
	xs := []Tensor{tensorOf([]float32{1, -3}), tensorOf([]float32{1, 1}), tensorOf([]float32{2, -8})}
	dy := tensorOf([]float32{3, 5})
	same(t, "linear", Shortcut{graph.Linear}.Forward(xs).Data, []float32{4, -10}, 0)
	same(t, "leaky", Shortcut{graph.Leaky}.Forward(xs).Data, []float32{4, -1}, 1e-7)
	for k := range xs {
		same(t, "linear dx", Shortcut{graph.Linear}.Backward(xs, dy)[k].Data, []float32{3, 5}, 0)
		same(t, "leaky dx", Shortcut{graph.Leaky}.Backward(xs, dy)[k].Data, []float32{3, 0.5}, 1e-7)
	}
}

// The first source gives the shape. The second, of three channels, is cut and
// gets no gradient for its third; the third, of one, adds to the first channel
// only.
func TestShortcutUnequalByHand(t *testing.T) {
	xs := []Tensor{
		{1, 1, 2, 2, []float32{1, 2, 3, 4}},
		{1, 1, 2, 3, []float32{10, 20, 30, 40, 50, 60}},
		{1, 1, 2, 1, []float32{-100, -200}},
	}
	y := Shortcut{graph.Leaky}.Forward(xs)
	sameShape(t, "y", y, 1, 1, 2, 2)
	same(t, "y", y.Data, []float32{-8.9, 22, -15.7, 54}, 1e-6)
	dxs := Shortcut{graph.Leaky}.Backward(xs, Tensor{1, 1, 2, 2, []float32{10, 2, 20, 4}})
	for k, want := range [][]float32{{1, 2, 2, 4}, {1, 2, 0, 2, 4, 0}, {1, 2}} {
		sameShape(t, "dx", dxs[k], 1, 1, 2, xs[k].C)
		same(t, fmt.Sprint("dx of source ", k), dxs[k].Data, want, 1e-6)
	}
}

func TestShortcutDifferences(t *testing.T) {
	for _, channels := range [][]int{{3, 3, 3}, {3, 5}, {3, 1}, {4, 2, 7}, {1, 6, 1}} {
		rng := rand.New(rand.NewPCG(8, 0))
		o := Shortcut{graph.Mish}
		var xs []Tensor
		for _, c := range channels {
			xs = append(xs, normalTensor(rng, 2, 3, 2, c))
		}
		dy := normalTensor(rng, 2, 3, 2, channels[0])
		loss := func() float64 { return dot(o.Forward(xs).Data, dy.Data) }
		for k, dx := range o.Backward(xs, dy) {
			differences(t, fmt.Sprintf("%v, dx %d", channels, k), xs[k].Data, dx.Data, loss, 1.0/64, 1e-4)
		}
	}
}

// One weight for each of three sources. Relu: -1 is raised to 0.001, and the
// divisor is 2 + 0.5 + 0.001 + 0.0001. Softmax of ln 4, 0, ln 2, less the
// largest: 1, 1/4, 1/2, divisor 1.75 + 0.0001; the 0.0001 makes it matter that
// the largest is subtracted.
func TestWeighPerFeatureByHand(t *testing.T) {
	ln := func(x float64) float32 { return float32(math.Log(x)) }
	for _, c := range []struct {
		norm  graph.Normalization
		scale []float32
		want  []float64
	}{
		{graph.NormRelu, []float32{2, 0.5, -1}, []float64{2 / 2.5011, 0.5 / 2.5011, 0.001 / 2.5011}},
		{graph.NormRelu, []float32{1, 1, 1}, []float64{1 / 3.0001, 1 / 3.0001, 1 / 3.0001}},
		{graph.NormRelu, []float32{0, 0, 0}, []float64{0.001 / 0.0031, 0.001 / 0.0031, 0.001 / 0.0031}},
		{graph.NormSoftmax, []float32{ln(4), 0, ln(2)}, []float64{1 / 1.7501, 0.25 / 1.7501, 0.5 / 1.7501}},
		{graph.NormSoftmax, []float32{1000, 1000, -1000}, []float64{1 / 2.0001, 1 / 2.0001, 0}},
		{graph.NormSoftmax, []float32{-1000, -1000, -1000}, []float64{1 / 3.0001, 1 / 3.0001, 1 / 3.0001}},
	} {
		xs := []Tensor{{1, 1, 1, 2, []float32{1, 2}}, {1, 1, 1, 2, []float32{3, 4}}, {1, 1, 1, 2, []float32{5, 6}}}
		for k, y := range Weigh(xs, c.norm, c.scale) {
			want := []float32{float32(c.want[k] * float64(xs[k].Data[0])), float32(c.want[k] * float64(xs[k].Data[1]))}
			same(t, fmt.Sprintf("%s of %v, source %d", c.norm, c.scale, k), y.Data, want, 1e-6)
		}
	}
}

// One weight for each source and channel, source by source: channel 0 has the
// weights 3 and 1, channel 1 has 1 and 7. The second source is longer than the
// first, and its third channel has no weight and is not used; a shorter one
// skips the weights of the channels that it lacks.
func TestWeighPerChannelByHand(t *testing.T) {
	xs := []Tensor{{1, 1, 2, 2, []float32{1, 2, 3, 4}}, {1, 1, 2, 3, []float32{10, 20, 30, 40, 50, 60}}}
	scale := []float32{3, 1, 1, 7}
	y := Shortcut{graph.Linear}.Forward(Weigh(xs, graph.NormRelu, scale))
	sameShape(t, "y", y, 1, 1, 2, 2)
	same(t, "y", y.Data, []float32{13 / 4.0001, 142 / 8.0001, 49 / 4.0001, 354 / 8.0001}, 1e-5)

	xs[1] = Tensor{1, 1, 2, 1, []float32{10, 40}}
	y = Shortcut{graph.Linear}.Forward(Weigh(xs, graph.NormRelu, scale))
	same(t, "y, shorter source", y.Data, []float32{13 / 4.0001, 2 / 8.0001, 49 / 4.0001, 4 / 8.0001}, 1e-5)
}

func TestRouteByHand(t *testing.T) {
	xs := []Tensor{{1, 1, 2, 2, []float32{1, 2, 3, 4}}, {1, 1, 2, 4, []float32{10, 20, 30, 40, 50, 60, 70, 80}}}
	for _, c := range []struct {
		o        Route
		width    int
		want     []float32
		dy       []float32
		dx0, dx1 []float32
	}{
		{Route{1, 0}, 6, []float32{1, 2, 10, 20, 30, 40, 3, 4, 50, 60, 70, 80},
			[]float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, []float32{1, 2, 7, 8}, []float32{3, 4, 5, 6, 9, 10, 11, 12}},
		{Route{2, 0}, 3, []float32{1, 10, 20, 3, 50, 60},
			[]float32{1, 2, 3, 4, 5, 6}, []float32{1, 0, 4, 0}, []float32{2, 3, 0, 0, 5, 6, 0, 0}},
		{Route{2, 1}, 3, []float32{2, 30, 40, 4, 70, 80},
			[]float32{1, 2, 3, 4, 5, 6}, []float32{0, 1, 0, 4}, []float32{0, 0, 2, 3, 0, 0, 5, 6}},
	} {
		y := c.o.Forward(xs)
		sameShape(t, "y", y, 1, 1, 2, c.width)
		same(t, "y", y.Data, c.want, 0)
		dxs := c.o.Backward(xs, Tensor{1, 1, 2, c.width, c.dy})
		same(t, "dx 0", dxs[0].Data, c.dx0, 0)
		same(t, "dx 1", dxs[1].Data, c.dx1, 0)
	}
}

func TestRouteDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 0))
	for _, o := range []Route{{1, 0}, {3, 0}, {3, 2}} {
		xs := []Tensor{gridTensor(rng, 2, 2, 3, 3), gridTensor(rng, 2, 2, 3, 6), gridTensor(rng, 2, 2, 3, 3)}
		y := o.Forward(xs)
		dy := gridTensor(rng, y.N, y.H, y.W, y.C)
		loss := func() float64 { return dot(o.Forward(xs).Data, dy.Data) }
		for k, dx := range o.Backward(xs, dy) {
			differences(t, "dx", xs[k].Data, dx.Data, loss, 1, 1e-12)
		}
	}
}
