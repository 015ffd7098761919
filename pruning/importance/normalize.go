package importance

import (
	"math"
	"slices"
)

// Normalizations has what makes the scores of different groups comparable. With
// n scores s_i of a group or layer,
//
//	none   s_i
//	layer  s_i / (1/n sum_j s_j)
//	max    s_i / max_j s_j                 NVIDIA TAO and Transfer Learning Toolkit
//	l2     s_i / sqrt(1/n sum_j s_j^2)     Molchanov et al., Pruning Convolutional Neural Networks for
//	                                       Resource Efficient Inference, ICLR 2017, arXiv:1611.06440, section 2.2
//
// Molchanov et al. divide by the root of the sum; with the mean under the root
// an average channel is 1 in small and in large layers. Scores that are all
// zero stay so.
var Normalizations = map[string]func(scores []float64) []float64{
	"none":  slices.Clone[[]float64],
	"layer": ByMean,
	"max":   byMax,
	"l2":    byRootMeanSquare,
}

// ByMean divides the scores by their mean, so that those of different layers
// compare: 1 is an average channel of its own group. Scores that are all zero
// stay so.
func ByMean(scores []float64) []float64 {
	sum := 0.0
	for _, v := range scores {
		sum += v
	}
	out := make([]float64, len(scores))
	if sum == 0 {
		return out
	}
	for i, v := range scores {
		out[i] = v / sum * float64(len(scores))
	}
	return out
}

func byMax(scores []float64) []float64 {
	most := 0.0
	for _, v := range scores {
		most = max(most, v)
	}
	return over(scores, most)
}

func byRootMeanSquare(scores []float64) []float64 {
	sum := 0.0
	for _, v := range scores {
		sum += v * v
	}
	return over(scores, math.Sqrt(sum/float64(len(scores))))
}

func over(scores []float64, unit float64) []float64 {
	out := make([]float64, len(scores))
	if unit == 0 {
		return out
	}
	for i, v := range scores {
		out[i] = v / unit
	}
	return out
}
