package ref

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/graph"
)

// x = 1, 2, 3, 6 has mean 3, biased variance 3.5 and unbiased 14/3. The
// outputs are PyTorch's.
func TestBatchNormGolden(t *testing.T) {
	for _, shape := range [][3]int{{1, 1, 4}, {4, 1, 1}, {2, 2, 1}} {
		x := Tensor{shape[0], shape[1], shape[2], 1, []float32{1, 2, 3, 6}}
		y, m := BatchNormForward(x, []float32{1}, []float32{0})
		same(t, "y", y.Data, []float32{-1.0690434, -0.5345217, 0, 1.6035652}, 1e-6)
		if math.Abs(m.Mean[0]-3) > 1e-12 || math.Abs(m.Var[0]-3.5) > 1e-12 {
			t.Errorf("moments %v, want mean 3, variance 3.5", m)
		}
		y, _ = BatchNormForward(x, []float32{2}, []float32{1})
		same(t, "2y+1", y.Data, []float32{-1.1380868, -0.0690434, 1, 4.2071304}, 1e-6)
	}
}

func TestUpdateRunningGolden(t *testing.T) {
	m := Moments{[]float64{3}, []float64{3.5}}
	for _, c := range []struct {
		momentum               float64
		count                  int
		mean, variance         float32
		wantMean, wantVariance float32
	}{
		{0.1, 4, 0, 1, 0.3, 1.3666667},
		{0.03, 4, 0, 1, 0.09, 1.11},
		{0, 4, 5, 6, 5, 6},
		{1, 4, 5, 6, 3, 4.6666667},
		{0.1, 1, 0, 1, 0.3, 1},
	} {
		mean, variance := []float32{c.mean}, []float32{c.variance}
		UpdateRunning(mean, variance, m, c.count, c.momentum)
		what := fmt.Sprintf("momentum %v, %d values: ", c.momentum, c.count)
		same(t, what+"mean", mean, []float32{c.wantMean}, 1e-6)
		same(t, what+"variance", variance, []float32{c.wantVariance}, 1e-6)
	}
}

// Channels last: each column is a channel of its own.
func TestBatchNormPerChannel(t *testing.T) {
	x := Tensor{1, 2, 2, 3, []float32{1, 10, 0, 2, 20, 0, 3, 30, 0, 6, 60, 0}}
	y, m := BatchNormForward(x, []float32{1, 1, 1}, []float32{0, 0, 7})
	for i, want := range []float32{-1.0690434, -0.5345217, 0, 1.6035652} {
		same(t, fmt.Sprintf("pixel %d", i), y.channels(i), []float32{want, want, 7}, 1e-5)
	}
	same(t, "mean", round(m.Mean), []float32{3, 30, 0}, 1e-6)
	same(t, "variance", round(m.Var), []float32{3.5, 350, 0}, 1e-4)
}

func TestBatchNormInferenceByHand(t *testing.T) {
	x := Tensor{1, 1, 2, 2, []float32{5, -1, 7, 3}}
	y := BatchNormInference(x, []float32{3, 1}, []float32{10, 0}, []float32{5, 1}, []float32{4 - 1e-5, 1 - 1e-5})
	same(t, "y", y.Data, []float32{10, -2, 13, 2}, 1e-5)
}

// One value per channel is its own mean: y is beta, and no gradient passes.
func TestBatchNormSingleValue(t *testing.T) {
	x := Tensor{1, 1, 1, 2, []float32{4, -9}}
	gamma, beta := []float32{2, 3}, []float32{0.5, -1}
	y, m := BatchNormForward(x, gamma, beta)
	same(t, "y", y.Data, beta, 0)
	dx, dgamma, dbeta := BatchNormBackward(x, gamma, m, Tensor{1, 1, 1, 2, []float32{1, 2}})
	same(t, "dx", dx.Data, []float32{0, 0}, 0)
	same(t, "dgamma", dgamma, []float32{0, 0}, 0)
	same(t, "dbeta", dbeta, []float32{1, 2}, 0)
}

func TestBatchNormDifferences(t *testing.T) {
	for _, s := range [][4]int{{2, 3, 4, 3}, {1, 5, 5, 1}, {4, 2, 1, 37}, {1, 3, 4, 5}} {
		rng := rand.New(rand.NewPCG(4, 0))
		x, dy := normalTensor(rng, s[0], s[1], s[2], s[3]), normalTensor(rng, s[0], s[1], s[2], s[3])
		gamma, beta := normal(rng, s[3], 1, 0.3), normal(rng, s[3], 0, 1)
		loss := func() float64 { y, _ := BatchNormForward(x, gamma, beta); return dot(y.Data, dy.Data) }
		_, m := BatchNormForward(x, gamma, beta)
		dx, dgamma, dbeta := BatchNormBackward(x, gamma, m, dy)
		what := fmt.Sprint(s)
		differences(t, what+" dx", x.Data, dx.Data, loss, 1.0/64, 1e-4)
		differences(t, what+" dgamma", gamma, dgamma, loss, 1.0/64, 1e-4)
		differences(t, what+" dbeta", beta, dbeta, loss, 1.0/64, 1e-4)
	}
}

func TestFoldBatchNormByHand(t *testing.T) {
	w := &graph.Weights{
		Kernel: []float32{1, 2, 3, 4},
		Bias:   []float32{1, 2},
		Gamma:  []float32{4, 1},
		Mean:   []float32{3, 5},
		Var:    []float32{4 - 1e-5, 0},
	}
	kernel, bias := FoldBatchNorm(w)
	root := float32(1 / math.Sqrt(1e-5))
	same(t, "kernel", kernel, []float32{2, 4, 3 * root, 4 * root}, 1e-3)
	same(t, "bias", bias, []float32{-5, 2 - 5*root}, 1e-3)
	same(t, "kernel that was folded", w.Kernel, []float32{1, 2, 3, 4}, 0)

	kernel, bias = FoldBatchNorm(&graph.Weights{Kernel: []float32{1, 2}, Bias: []float32{3}})
	same(t, "kernel without batch norm", kernel, []float32{1, 2}, 0)
	same(t, "bias without batch norm", bias, []float32{3}, 0)
}

func TestConvBNActDifferences(t *testing.T) {
	for _, c := range []struct {
		n, h, w, c int
		o          ConvBNAct
	}{
		{2, 4, 4, 3, ConvBNAct{Conv{4, 3, 1, 1, 1, 1}, graph.Mish}},
		{1, 6, 5, 4, ConvBNAct{Conv{6, 3, 2, 1, 2, 1}, graph.Swish}},
		{2, 3, 3, 3, ConvBNAct{Conv{3, 3, 1, 1, 3, 1}, graph.Logistic}},
		{2, 3, 3, 5, ConvBNAct{Conv{2, 1, 1, 0, 1, 1}, graph.Linear}},
	} {
		rng := rand.New(rand.NewPCG(5, 0))
		k := c.o.Conv.Filters
		x, w := normalTensor(rng, c.n, c.h, c.w, c.c), normal(rng, k*c.c/c.o.Conv.Groups*c.o.Conv.Size*c.o.Conv.Size, 0, 0.5)
		gamma, beta := normal(rng, k, 1, 0.3), normal(rng, k, 0, 1)
		y, saved := c.o.Forward(x, w, gamma, beta)
		dy := normalTensor(rng, y.N, y.H, y.W, y.C)
		loss := func() float64 { y, _ := c.o.Forward(x, w, gamma, beta); return dot(y.Data, dy.Data) }
		dx, dw, dgamma, dbeta := c.o.Backward(saved, w, gamma, dy)
		what := fmt.Sprintf("%+v ", c.o)
		differences(t, what+"dx", x.Data, dx.Data, loss, 1.0/64, 1e-4)
		differences(t, what+"dw", w, dw, loss, 1.0/64, 1e-4)
		differences(t, what+"dgamma", gamma, dgamma, loss, 1.0/64, 1e-4)
		differences(t, what+"dbeta", beta, dbeta, loss, 1.0/64, 1e-4)
	}
}
