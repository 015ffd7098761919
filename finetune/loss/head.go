package loss

import (
	"math"

	"yoloprune/yolo/graph"
)

// head is one [yolo] layer with the batch's work space.
type head struct {
	yolo             *graph.Yolo
	rows, cols       int
	strideX, strideY float64      // pixels per cell
	anchors          [][2]float64 // of the mask, pixels
	per              int          // values per slot: 5 + classes

	state     []state // of every slot of the batch
	positives []assignment
	value     []float64 // of every slot, where a loss needs one
}

// state says what a slot's objectness is trained to.
type state uint8

const (
	background state = iota
	ignored
	positive
)

func newHead(h Head, netW, netH float64, batch int) head {
	out := head{
		yolo: h.Yolo, rows: h.Shape.H, cols: h.Shape.W, per: h.Yolo.PerAnchor(),
		strideX: netW / float64(h.Shape.W), strideY: netH / float64(h.Shape.H),
	}
	for _, m := range h.Yolo.Mask {
		out.anchors = append(out.anchors, h.Yolo.Anchors[m])
	}
	out.state = make([]state, batch*out.slotsPerImage())
	return out
}

func (h *head) slotsPerImage() int { return h.rows * h.cols * len(h.anchors) }

func (h *head) slot(image, row, col, anchor int) int {
	return ((image*h.rows+row)*h.cols+col)*len(h.anchors) + anchor
}

// boxValues returns the x, y, w, h values of a slot.
func (h *head) boxValues(values []float32, slot int) []float32 {
	at := slot * h.per
	return values[at : at+4 : at+4]
}

// The logarithm of a box's size relative to its anchor is limited to
// [minLog, maxLog], so that no wild prediction overflows.
const (
	minLog = -6
	maxLog = 4
)

func clampLog(t float64) float64 { return min(max(t, minLog), maxLog) }

// decode turns a slot's raw values into a box. With s = scale_x_y, anchor
// aw x ah and σ the logistic function:
//
//	linear:      x = (col + s·σ(tx) − (s−1)/2)·strideX    w = aw·e^clamp(tw)
//	new_coords:  x = (col + s·vx    − (s−1)/2)·strideX    w = aw·(2·vw)²
//
// and the same for y, h.
func (h *head) decode(v []float32, row, col, anchor int) box {
	s, a := h.yolo.ScaleXY, h.anchors[anchor]
	tx, ty, tw, th := float64(v[0]), float64(v[1]), float64(v[2]), float64(v[3])
	if h.yolo.NewCoords {
		return box{
			(float64(col) + s*tx - (s-1)/2) * h.strideX, (float64(row) + s*ty - (s-1)/2) * h.strideY,
			a[0] * 4 * tw * tw, a[1] * 4 * th * th,
		}
	}
	return box{
		(float64(col) + s*logistic(tx) - (s-1)/2) * h.strideX, (float64(row) + s*logistic(ty) - (s-1)/2) * h.strideY,
		a[0] * math.Exp(clampLog(tw)), a[1] * math.Exp(clampLog(th)),
	}
}

// decodeBackward adds dL/dv to dv, given the decoded box p and dp = dL/dp:
//
//	linear:      dx/dtx = s·strideX·σ(1−σ)    dw/dtw = w, or 0 where tw is clamped
//	new_coords:  dx/dvx = s·strideX           dw/dvw = 8·aw·vw
func (h *head) decodeBackward(v []float32, p, dp box, anchor int, dv []float32) {
	s, a := h.yolo.ScaleXY, h.anchors[anchor]
	tx, ty, tw, th := float64(v[0]), float64(v[1]), float64(v[2]), float64(v[3])
	if h.yolo.NewCoords {
		dv[0] += float32(dp.x * s * h.strideX)
		dv[1] += float32(dp.y * s * h.strideY)
		dv[2] += float32(dp.w * 8 * a[0] * tw)
		dv[3] += float32(dp.h * 8 * a[1] * th)
		return
	}
	dv[0] += float32(dp.x * s * h.strideX * logisticSlope(tx))
	dv[1] += float32(dp.y * s * h.strideY * logisticSlope(ty))
	if clampLog(tw) == tw {
		dv[2] += float32(dp.w * p.w)
	}
	if clampLog(th) == th {
		dv[3] += float32(dp.h * p.h)
	}
}

// bce is the binary cross-entropy of one raw value against y, and its slope.
func (h *head) bce(v, y float64) (value, slope float64) {
	if h.yolo.NewCoords {
		return bceProbability(v, y)
	}
	return bceLogit(v, y)
}
