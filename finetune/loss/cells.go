package loss

// assignCells adds the slots of one truth in YOLOv7's way: all cells of the
// truth, at every anchor of the head for which, strictly,
//
//	max(w/aw, aw/w, h/ah, ah/h) < ratio
//
// utils/loss.py, build_targets and find_3_positive.
func (h *head) assignCells(t *truth, index int, ratio float64) {
	cells, n := h.cells(t.box)
	for a, anchor := range h.anchors {
		w, hh := t.box.w/anchor[0], t.box.h/anchor[1]
		if !(max(w, 1/w, hh, 1/hh) < ratio) {
			continue
		}
		for _, c := range cells[:n] {
			h.positives = append(h.positives, assignment{h.slot(t.image, c.row, c.col, a), c.row, c.col, a, index})
		}
	}
}

type cell struct{ row, col int }

// cells returns the cell of a box's centre and the nearest neighbour along
// each axis, at most three. With the centre (gx, gy) in cells and W columns:
//
//	left   if frac(gx)     < reach and gx > 1
//	right  if frac(W − gx) < reach and W − gx > 1
//
// and the same for above and below. YOLOv7's reach is ½; a centre in the
// middle of a cell has no neighbour, and for one exactly on an edge PyTorch lists
// its own cell twice, here once. With s = scale_x_y the reach is (s−1)/2 if that
// is less: a head predicts centres up to so far outside of its cell, which for
// YOLOv7's s = 2 is the same.
func (h *head) cells(b box) (list [3]cell, n int) {
	reach := min((h.yolo.ScaleXY-1)/2, .5)
	row, up := neighbour(b.y/h.strideY, h.rows, reach)
	col, left := neighbour(b.x/h.strideX, h.cols, reach)
	list[0], n = cell{row, col}, 1
	if left != 0 {
		list[n] = cell{row, col + left}
		n++
	}
	if up != 0 {
		list[n] = cell{row + up, col}
		n++
	}
	return list, n
}

// neighbour returns the cell of a centre along one axis and the step to the
// neighbour that is assigned too: −1, +1 or 0 for none.
func neighbour(g float64, cells int, reach float64) (own, step int) {
	own = min(max(int(g), 0), cells-1)
	switch {
	case g > 1 && g-float64(own) < reach:
		return own, -1
	case float64(cells)-g > 1 && float64(own+1)-g < reach:
		return own, 1
	}
	return own, 0
}
