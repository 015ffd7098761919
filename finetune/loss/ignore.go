package loss

import "math"

// mark sets the state of every slot: positive where a truth is assigned,
// ignored where the predicted box overlaps some truth of its image by an IoU
// above thresh, else background.
func (h *head) mark(out []float32, truths []truth, thresh float64) {
	clear(h.state)
	if thresh < 1 {
		for i := range truths {
			h.ignore(out, &truths[i], thresh)
		}
	}
	for _, s := range h.positives {
		h.state[s.slot] = positive
	}
}

// ignore marks the slots whose box overlaps one truth by more than thresh. It
// goes from the truth to the few cells near enough rather than over all slots:
// along each axis, with sizes p, g and distance d of the centres,
//
//	IoU <= ((p+g)/2 − d)/max(p, g) <= min(p, g)/max(p, g)
//
// so a slot needs a size within thresh·g .. g/thresh, which is read off its raw
// value without an exponential, and a centre within reach.
func (h *head) ignore(out []float32, t *truth, thresh float64) {
	row0, row1 := h.reach(t.box.y, t.box.h, h.strideY, h.rows, thresh)
	col0, col1 := h.reach(t.box.x, t.box.w, h.strideX, h.cols, thresh)
	for a, anchor := range h.anchors {
		w, hh := h.rawRange(t.box.w, anchor[0], thresh), h.rawRange(t.box.h, anchor[1], thresh)
		for row := row0; row <= row1; row++ {
			for col := col0; col <= col1; col++ {
				slot := h.slot(t.image, row, col, a)
				v := h.boxValues(out, slot)
				if !h.sizeIn(v[2], w) || !h.sizeIn(v[3], hh) {
					continue
				}
				if overlapsAbove(h.decode(v, row, col, a), t.box, thresh) {
					h.state[slot] = ignored
				}
			}
		}
	}
}

// reach returns the first and last cell along an axis from which a prediction
// can overlap the truth by more than thresh. The IoU bound above allows
// d <= (p+g)/2 − thresh·max(p, g); its maximum over p is (1−thresh)·g at p = g,
// or (1/thresh−1)/2·g at p = g/thresh when thresh < ½. A cell's centres lie
// between cell − (s−1)/2 and cell + (s+1)/2, in strides.
func (h *head) reach(centre, size, stride float64, cells int, thresh float64) (first, last int) {
	d := size * max(1-thresh, (1/thresh-1)/2) * slack
	s := h.yolo.ScaleXY
	lo := math.Ceil((centre-d)/stride - (s+1)/2 - rounding)
	hi := math.Floor((centre+d)/stride + (s-1)/2 + rounding)
	return int(max(lo, 0)), int(min(hi, float64(cells-1)))
}

// The quick tests are widened by a little more than float64 rounds.
const (
	slack    = 1 + 1e-9
	rounding = 1e-9
)

// rawRange returns the raw size values that decode to thresh·size ..
// size/thresh for an anchor.
func (h *head) rawRange(size, anchor, thresh float64) span {
	lo, hi := size*thresh/(anchor*slack), size*slack/(thresh*anchor)
	if h.yolo.NewCoords {
		return span{math.Sqrt(lo) / 2, math.Sqrt(hi) / 2}
	}
	return span{math.Log(lo), math.Log(hi)}
}

// sizeIn says whether a raw size, limited as decode limits it, lies in s.
func (h *head) sizeIn(v float32, s span) bool {
	t := float64(v)
	if !h.yolo.NewCoords {
		t = clampLog(t)
	}
	return t >= s.lo && t <= s.hi
}

// overlapsAbove says whether IoU(p, g) > thresh, without a division.
func overlapsAbove(p, g box, thresh float64) bool {
	iw, ih := axisX(p, g).common(), axisY(p, g).common()
	if iw <= 0 || ih <= 0 {
		return false
	}
	inter := iw * ih
	return inter > thresh*(p.area()+g.area()-inter)
}
