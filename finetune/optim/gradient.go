package optim

import (
	"fmt"
	"math"
)

// Norm returns the Euclidean norm of all gradients together.
func Norm(slots []Slot) float64 {
	sum := 0.0
	for _, s := range slots {
		for _, g := range s.Grad {
			sum += float64(g) * float64(g)
		}
	}
	return math.Sqrt(sum)
}

// ClipNorm scales all gradients by the same factor so that their norm is at
// most limit, and returns the norm before. As PyTorch's clip_grad_norm_, the
// factor is limit/(norm + 1e-6). Gradients whose norm is not finite are left
// alone; CheckFinite names the culprit. A limit of 0 or less clips nothing.
func ClipNorm(slots []Slot, limit float64) float64 {
	norm := Norm(slots)
	k := limit / (norm + 1e-6)
	if !(limit > 0 && k < 1) || math.IsInf(norm, 0) {
		return norm
	}
	for _, s := range slots {
		for i := range s.Grad {
			s.Grad[i] *= float32(k)
		}
	}
	return norm
}

// NonFiniteError is a gradient that is NaN or infinite.
type NonFiniteError struct {
	Slot  string
	Index int
	Value float32
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("optim: gradient of %s: value %d is %v; want finite numbers", e.Slot, e.Index, e.Value)
}

// CheckFinite returns a *NonFiniteError for the first gradient that is NaN or
// infinite.
func CheckFinite(slots []Slot) error {
	for _, s := range slots {
		for i, g := range s.Grad {
			if math.Float32bits(g)&infinity == infinity {
				return &NonFiniteError{s.Name, i, g}
			}
		}
	}
	return nil
}

// infinity has the exponent bits that NaN and both infinities share.
const infinity = 0x7f800000

// L1Subgradient adds the slope of strength·Σ|γ| to the gradients of the slots
// with Gamma: strength·sign(γ), and 0 at 0. To be called once per step, between
// the backward pass and the optimiser.
//
// Liu et al., Learning Efficient Convolutional Networks through Network
// Slimming, ICCV 2017, arXiv:1708.06519, eq. 1. The penalty goes through the
// optimiser's momentum, so γ rings around 0 rather than becoming 0.
func L1Subgradient(slots []Slot, strength float64) {
	s := float32(strength)
	for _, slot := range slots {
		if !slot.Gamma {
			continue
		}
		for i, gamma := range slot.Value {
			switch {
			case gamma > 0:
				slot.Grad[i] += s
			case gamma < 0:
				slot.Grad[i] -= s
			}
		}
	}
}

// Proximal moves every value of the slots with Gamma towards 0 by amount and
// stops there, the proximal operator of amount·Σ|γ|:
//
//	γ = sign(γ)·max(|γ| − amount, 0)
//
// To be called after the optimiser's step; it makes exact zeros. An amount of 0
// or less does nothing.
func Proximal(slots []Slot, amount float64) {
	if !(amount > 0) {
		return
	}
	a := float32(amount)
	for _, slot := range slots {
		if slot.Gamma {
			shrink(slot.Value, a)
		}
	}
}

func shrink(values []float32, amount float32) {
	for i, v := range values {
		switch {
		case v > amount:
			values[i] = v - amount
		case v < -amount:
			values[i] = v + amount
		case v >= -amount && v <= amount: // NaN stays, so that it is noticed
			values[i] = 0
		}
	}
}
