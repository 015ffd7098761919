package ref

import (
	"math"

	"yoloprune/yolo/graph"
)

// Moments are the mean and the biased variance (divided by N) of a batch, one
// of each per channel.
type Moments struct{ Mean, Var []float64 }

// MomentsOf computes, per channel over the N = images*H*W values of the batch,
//
//	mean = sum x / N      var = sum (x-mean)^2 / N
func MomentsOf(x Tensor) Moments {
	// x N,H,W,C; mean, var C
	m := Moments{make([]float64, x.C), make([]float64, x.C)}
	count := float64(x.pixels())
	for i, v := range x.Data {
		m.Mean[i%x.C] += float64(v) / count
	}
	for i, v := range x.Data {
		d := float64(v) - m.Mean[i%x.C]
		m.Var[i%x.C] += d * d / count
	}
	return m
}

// normalised returns (x-mean)/sqrt(var+eps) for a value of channel c.
func (m Moments) normalised(x float32, c int) float64 {
	return (float64(x) - m.Mean[c]) / math.Sqrt(m.Var[c]+graph.BatchNormEps)
}

// BatchNormForward normalises with the batch's own moments, as in training:
//
//	y = gamma*xhat + beta      xhat = (x-mean)/sqrt(var+eps)
//
// Ioffe and Szegedy, Batch Normalization, ICML 2015, arXiv:1502.03167,
// algorithm 1. The variance is the biased one, as there, in PyTorch and in
// cuDNN; Darknet's CPU code divides by N-1.
func BatchNormForward(x Tensor, gamma, beta []float32) (Tensor, Moments) {
	// x, y N,H,W,C; gamma, beta C
	m := MomentsOf(x)
	return normalise(x, m, gamma, beta), m
}

// BatchNormBackward returns the exact gradients of BatchNormForward, through
// mean and variance too (arXiv:1502.03167, section 3):
//
//	dbeta = sum dy      dgamma = sum dy*xhat
//	dx = gamma/sqrt(var+eps) * (dy - dbeta/N - xhat*dgamma/N)
func BatchNormBackward(x Tensor, gamma []float32, m Moments, dy Tensor) (dx Tensor, dgamma, dbeta []float32) {
	// x, dy, dx N,H,W,C; gamma, dgamma, dbeta C
	dg, db := make([]float64, x.C), make([]float64, x.C)
	for i, v := range dy.Data {
		c := i % x.C
		dg[c] += float64(v) * m.normalised(x.Data[i], c)
		db[c] += float64(v)
	}
	dx = x.like()
	count := float64(x.pixels())
	for i, v := range dy.Data {
		c := i % x.C
		scale := float64(gamma[c]) / math.Sqrt(m.Var[c]+graph.BatchNormEps)
		dx.Data[i] = float32(scale * (float64(v) - db[c]/count - m.normalised(x.Data[i], c)*dg[c]/count))
	}
	return dx, round(dg), round(db)
}

// UpdateRunning moves running statistics towards those of a batch of count
// values per channel:
//
//	mean = (1-momentum)*mean + momentum*m.Mean
//	var  = (1-momentum)*var  + momentum*m.Var*count/(count-1)
//
// PyTorch's convention: the running variance is the unbiased one. A single
// value has no unbiased variance; var then stays as it is.
func UpdateRunning(mean, variance []float32, m Moments, count int, momentum float64) {
	// mean, variance C
	for c := range mean {
		mean[c] = float32((1-momentum)*float64(mean[c]) + momentum*m.Mean[c])
		if count > 1 {
			unbiased := m.Var[c] * float64(count) / float64(count-1)
			variance[c] = float32((1-momentum)*float64(variance[c]) + momentum*unbiased)
		}
	}
}

// BatchNormInference normalises with the running statistics:
//
//	y = gamma*(x-mean)/sqrt(var+eps) + beta
//
// It has no backward: training normalises with the batch.
func BatchNormInference(x Tensor, gamma, beta, mean, variance []float32) Tensor {
	// x, y N,H,W,C; gamma, beta, mean, variance C
	return normalise(x, Moments{widen(mean), widen(variance)}, gamma, beta)
}

// normalise returns gamma*(x-mean)/sqrt(var+eps) + beta.
func normalise(x Tensor, m Moments, gamma, beta []float32) Tensor {
	y := x.like()
	for i, v := range x.Data {
		c := i % x.C
		y.Data[i] = float32(float64(gamma[c])*m.normalised(v, c) + float64(beta[c]))
	}
	return y
}

// FoldBatchNorm returns the kernel and bias of the plain convolution that
// equals convolution and batch norm at inference:
//
//	scale = gamma/sqrt(var+eps)      w' = w*scale      b' = beta - mean*scale
//
// Without a batch norm they are copies of w's own.
func FoldBatchNorm(w *graph.Weights) (kernel, bias []float32) {
	// kernel K,C/groups,R,S; bias K
	kernel, bias = make([]float32, len(w.Kernel)), make([]float32, len(w.Bias))
	perFilter := len(w.Kernel) / len(w.Bias)
	for k, beta := range w.Bias {
		scale, shift := 1.0, 0.0
		if w.Gamma != nil {
			scale = float64(w.Gamma[k]) / math.Sqrt(float64(w.Var[k])+graph.BatchNormEps)
			shift = float64(w.Mean[k]) * scale
		}
		bias[k] = float32(float64(beta) - shift)
		for i := k * perFilter; i < (k+1)*perFilter; i++ {
			kernel[i] = float32(float64(w.Kernel[i]) * scale)
		}
	}
	return kernel, bias
}
