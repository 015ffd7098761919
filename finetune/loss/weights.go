package loss

import (
	"math"
	"slices"
)

// classWeights gives rare classes more weight:
//
//	w_c = min( max_k n_k / max(n_c, 1), limit )
//
// n_c is the number of boxes of class c in the training set. It is Darknet's
// counters_per_class. There a class without a box divides by zero; here it
// counts as one with a single box. Without counts it returns nil: all weigh 1.
func classWeights(counts []float64, limit float64) []float64 {
	if len(counts) == 0 {
		return nil
	}
	most := slices.Max(counts)
	var out []float64
	for _, n := range counts {
		w := min(max(most, 1)/max(n, 1), limit)
		out = append(out, w)
	}
	return out
}

// weightOf is a class's weight, 1 without weights.
func weightOf(weights []float64, class int) float64 {
	if weights == nil {
		return 1
	}
	return weights[class]
}

// focal is the focal loss of a raw value against y, and its slope by that
// value. With p the probability, BCE the cross-entropy and BCE' its slope:
//
//	p_t = y·p + (1−y)(1−p)       α_t = y·α + (1−y)(1−α)
//	L   = α_t·(1−p_t)^γ·BCE
//	L'  = α_t·( (1−p_t)^γ·BCE' − γ·(1−p_t)^(γ−1)·(2y−1)·p'·BCE )
//
// Lin et al., Focal Loss for Dense Object Detection, ICCV 2017,
// arXiv:1708.02002, eq. 5, in the form for soft targets that YOLOv7's code
// uses. It applies to objectness and classes alike, as there. Darknet's focal
// loss is another: see classDelta.
func (h *head) focal(v, y, gamma, alpha float64) (value, slope float64) {
	bce, dBCE := h.bce(v, y)
	p, q, dp := v, 1-v, 1.
	if !h.yolo.NewCoords {
		p, q, dp = logistic(v), logistic(-v), logisticSlope(v)
	}
	miss := y*q + (1-y)*p // 1 − p_t, without the loss of digits near 1
	if miss <= 0 {
		return 0, 0
	}
	a, power := y*alpha+(1-y)*(1-alpha), math.Pow(miss, gamma)
	return a * power * bce, a * power * (dBCE - gamma/miss*(2*y-1)*dp*bce)
}

// crossEntropy is the loss of objectness and classes: BCE, or the focal loss
// where γ > 0.
func (o *Options) crossEntropy(h *head, v, y float64) (value, slope float64) {
	if o.Focal == 0 {
		return h.bce(v, y)
	}
	return h.focal(v, y, o.Focal, o.FocalAlpha)
}
