package optim

import "math"

// Ref is one value of one slot, by their indices.
type Ref struct{ Slot, Index int }

// GroupSubgradient adds the slope of strength·Σ_G scale_G·‖γ_G‖ to the
// gradients, where γ_G are the values of group G:
//
//	∂/∂γ_m = strength·scale_G·γ_m/‖γ_G‖, and 0 where ‖γ_G‖ is 0
//
// The group lasso (Yuan and Lin, J. R. Stat. Soc. B 68, 2006) drives the values
// of a group to zero together; in a group of one it is L1Subgradient's slope.
// No value may be in two groups.
func GroupSubgradient(slots []Slot, groups [][]Ref, scale []float32, strength float64) {
	for k, group := range groups {
		norm := GroupNorm(slots, group)
		if norm == 0 {
			continue
		}
		s := strength * float64(scale[k]) / norm
		for _, r := range group {
			slot := slots[r.Slot]
			slot.Grad[r.Index] += float32(s * float64(slot.Value[r.Index]))
		}
	}
}

// GroupProximal shortens every group towards zero by amount·scale_G, the
// proximal operator of amount·Σ_G scale_G·‖γ_G‖:
//
//	γ_m = γ_m·max(1 − amount·scale_G/‖γ_G‖, 0)
func GroupProximal(slots []Slot, groups [][]Ref, scale []float32, amount float64) {
	if !(amount > 0) {
		return
	}
	for k, group := range groups {
		norm, by := GroupNorm(slots, group), amount*float64(scale[k])
		keep := float32(1 - by/norm)
		if norm <= by {
			keep = 0
		}
		for _, r := range group {
			slots[r.Slot].Value[r.Index] *= keep
		}
	}
}

// GroupNorm is ‖γ_G‖.
func GroupNorm(slots []Slot, group []Ref) float64 {
	if len(group) == 1 {
		return math.Abs(float64(slots[group[0].Slot].Value[group[0].Index]))
	}
	sum := 0.0
	for _, r := range group {
		v := float64(slots[r.Slot].Value[r.Index])
		sum += v * v
	}
	return math.Sqrt(sum)
}
