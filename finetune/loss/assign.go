package loss

import (
	"fmt"

	"yoloprune/datasets"
)

// truth is a labelled box of the batch, in pixels of the network's input.
type truth struct {
	image, class int
	box          box
}

// assignment says that a slot is trained to a truth.
type assignment struct {
	slot, row, col, anchor int
	truth                  int
}

// setTruths copies a batch's labels and clears all positives.
func (l *network) setTruths(truths [][]datasets.Truth) {
	l.truths, l.first, l.images = l.truths[:0], l.first[:0], 0
	for i := range l.heads {
		l.heads[i].positives = l.heads[i].positives[:0]
	}
	if l.err = l.checkTruths(truths); l.err != nil {
		return
	}
	l.images = len(truths)
	for image, list := range truths {
		l.first = append(l.first, len(l.truths))
		for _, t := range list {
			l.truths = append(l.truths, truth{image, t.Class, box{t.X * l.netW, t.Y * l.netH, t.W * l.netW, t.H * l.netH}})
		}
	}
	l.first = append(l.first, len(l.truths))
}

// truthsOf returns the truths of an image and the index of the first.
func (l *network) truthsOf(image int) ([]truth, int) {
	return l.truths[l.first[image]:l.first[image+1]], l.first[image]
}

// assign adds the slots of one truth and returns their number.
func (h *head) assign(t *truth, index int, thresh float64) int {
	best := h.bestAnchor(t.box)
	row := min(int(t.box.y/h.strideY), h.rows-1)
	col := min(int(t.box.x/h.strideX), h.cols-1)
	before := len(h.positives)
	for a, m := range h.yolo.Mask {
		if m == best || shapeIoU(t.box, h.anchors[a]) > thresh {
			h.positives = append(h.positives, assignment{h.slot(t.image, row, col, a), row, col, a, index})
		}
	}
	return len(h.positives) - before
}

// bestAnchor returns the first of the anchors of all heads with the largest
// shape IoU.
func (h *head) bestAnchor(b box) int {
	best, bestIoU := 0, -1.0
	for i, a := range h.yolo.Anchors {
		if v := shapeIoU(b, a); v > bestIoU {
			best, bestIoU = i, v
		}
	}
	return best
}

// shapeIoU is the IoU of a box and an anchor with their centres together.
func shapeIoU(b box, anchor [2]float64) float64 {
	inter := min(b.w, anchor[0]) * min(b.h, anchor[1])
	return inter / (b.area() + anchor[0]*anchor[1] - inter)
}

func (l *network) checkTruths(truths [][]datasets.Truth) error {
	if len(truths) > l.batch {
		return fmt.Errorf("loss: truths of %d images for a batch of %d; want at most one list per image", len(truths), l.batch)
	}
	for image, list := range truths {
		for i, t := range list {
			if err := l.checkTruth(t); err != nil {
				return fmt.Errorf("loss: image %d of the batch: truth %d: %w", image, i, err)
			}
		}
	}
	return nil
}

func (l *network) checkTruth(t datasets.Truth) error {
	if t.Class < 0 || t.Class >= l.classes {
		return fmt.Errorf("class %d; the heads have %d classes, 0 to %d", t.Class, l.classes, l.classes-1)
	}
	if !within(t.X, 0, 1) || !within(t.Y, 0, 1) {
		return fmt.Errorf("centre %g, %g; want both in [0, 1]", t.X, t.Y)
	}
	if !within(t.W, 2*tolerance, 1) || !within(t.H, 2*tolerance, 1) {
		return fmt.Errorf("size %g x %g; want both in (0, 1]", t.W, t.H)
	}
	return nil
}

// tolerance allows for rounding in the coordinates, which are fractions of the
// input's sides.
const tolerance = 1e-6

func within(v, lo, hi float64) bool { return v >= lo-tolerance && v <= hi+tolerance }
