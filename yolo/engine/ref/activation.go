package ref

import (
	"math"

	"yoloprune/yolo/graph"
)

// Activate returns f(x).
//
//	linear x      leaky x>0 ? x : 0.1x      relu max(x,0)      relu6 min(max(x,0),6)
//	logistic 1/(1+e^-x)      swish x*logistic(x)      mish x*tanh(ln(1+e^x))
//
// Swish: Ramachandran et al. 2017, arXiv:1710.05941; mish: Misra 2019,
// arXiv:1908.08681, equation 2. The names and leaky's slope are Darknet's. An
// activation that is none of these is taken as linear; graph.Infer lets none
// through.
func Activate(f graph.Activation, x float64) float64 {
	switch f {
	case graph.Leaky:
		return math.Max(x, 0.1*x)
	case graph.Relu:
		return math.Max(x, 0)
	case graph.Relu6:
		return math.Min(math.Max(x, 0), 6)
	case graph.Logistic:
		return logistic(x)
	case graph.Swish:
		return x * logistic(x)
	case graph.Mish:
		return x * math.Tanh(softplus(x))
	}
	return x
}

// Slope returns f'(x).
//
//	logistic' = s(1-s)      swish' = s(1 + x(1-s))      mish' = t + x*s*(1-t^2)
//	with s = logistic(x), t = tanh(ln(1+e^x))
//
// At a kink (leaky and relu at 0, relu6 at 0 and 6) it is the slope of the side
// away from x > 0, respectively 0 < x < 6, as in PyTorch.
func Slope(f graph.Activation, x float64) float64 {
	s := logistic(x)
	switch f {
	case graph.Leaky:
		return choose(x > 0, 1, 0.1)
	case graph.Relu:
		return choose(x > 0, 1, 0)
	case graph.Relu6:
		return choose(x > 0 && x < 6, 1, 0)
	case graph.Logistic:
		return s * (1 - s)
	case graph.Swish:
		return s * (1 + x*(1-s))
	case graph.Mish:
		t := math.Tanh(softplus(x))
		return t + x*s*(1-t*t)
	}
	return 1
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softplus returns ln(1+e^x) in a form whose exponential cannot overflow.
func softplus(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func choose(cond bool, yes, no float64) float64 {
	if cond {
		return yes
	}
	return no
}

// ActivateForward returns y = f(x), value by value.
func ActivateForward(f graph.Activation, x Tensor) Tensor {
	y := x.like()
	for i, v := range x.Data {
		y.Data[i] = float32(Activate(f, float64(v)))
	}
	return y
}

// ActivateBackward returns dx = dy * f'(x).
func ActivateBackward(f graph.Activation, x, dy Tensor) Tensor {
	dx := x.like()
	for i, v := range x.Data {
		dx.Data[i] = float32(float64(dy.Data[i]) * Slope(f, float64(v)))
	}
	return dx
}
