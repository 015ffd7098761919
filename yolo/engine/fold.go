package engine

import (
	"math"

	"yoloprune/yolo/graph"
)

// Fold returns the kernel and bias of a convolution with its batch norm
// folded in, computed in double precision as Darknet does:
//
//	W' = W*gamma/sqrt(var+eps)    b' = beta - mean*gamma/sqrt(var+eps)
//
// Without a batch norm they are the weights' own slices.
func Fold(w *graph.Weights) (kernel, bias []float32) {
	if w.Gamma == nil {
		return w.Kernel, w.Bias
	}
	kernel, bias = make([]float32, len(w.Kernel)), make([]float32, len(w.Bias))
	per := len(w.Kernel) / len(w.Bias)
	for k := range bias {
		s := float64(w.Gamma[k]) / math.Sqrt(float64(w.Var[k])+graph.BatchNormEps)
		bias[k] = float32(float64(w.Bias[k]) - float64(w.Mean[k])*s)
		for i := k * per; i < (k+1)*per; i++ {
			kernel[i] = float32(float64(w.Kernel[i]) * s)
		}
	}
	return kernel, bias
}
