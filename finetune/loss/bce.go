package loss

import "math"

// logistic is σ(t) = 1/(1+e^−t).
func logistic(t float64) float64 { return 1 / (1 + math.Exp(-t)) }

// logisticSlope is dσ/dt = σ(1−σ).
func logisticSlope(t float64) float64 {
	s := logistic(t)
	return s * (1 - s)
}

// bceLogit is the binary cross-entropy of σ(t) against y, and its slope. In a
// form that overflows for no t:
//
//	L = −y·ln σ(t) − (1−y)·ln(1−σ(t)) = max(t,0) − y·t + ln(1+e^−|t|)    dL/dt = σ(t) − y
func bceLogit(t, y float64) (value, slope float64) {
	e := math.Exp(-math.Abs(t))
	value = max(t, 0) - y*t + math.Log1p(e)
	if t >= 0 {
		return value, 1/(1+e) - y
	}
	return value, e/(1+e) - y
}

// PyTorch's limits of binary_cross_entropy (aten/src/ATen/native/Loss.cpp):
// they keep the loss and its slope finite where float32 has rounded a
// probability to 0 or 1.
const (
	minLn       = -100
	minVariance = 1e-12
)

// bceProbability is the binary cross-entropy of a probability v against y, and
// its slope:
//
//	L = −y·ln v − (1−y)·ln(1−v)    dL/dv = (v − y)/(v(1−v))
//
// The logistic in front multiplies by v(1−v), which gives v − y again.
func bceProbability(v, y float64) (value, slope float64) {
	value = -y*max(math.Log(v), minLn) - (1-y)*max(math.Log1p(-v), minLn)
	return value, (v - y) / max(v*(1-v), minVariance)
}
