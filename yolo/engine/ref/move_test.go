package ref

import (
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

func TestShortcutDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 0))
	o := Shortcut{graph.Mish}
	xs := []Tensor{normalTensor(rng, 2, 3, 2, 3), normalTensor(rng, 2, 3, 2, 3), normalTensor(rng, 2, 3, 2, 3)}
	dy := normalTensor(rng, 2, 3, 2, 3)
	loss := func() float64 { return dot(o.Forward(xs).Data, dy.Data) }
	for k, dx := range o.Backward(xs, dy) {
		differences(t, "dx", xs[k].Data, dx.Data, loss, 1.0/64, 1e-4)
	}
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
