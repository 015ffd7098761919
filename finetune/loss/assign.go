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

// SetTruths sets the labels of the next batches, one list per image. A batch
// may have fewer lists than images: the images after them are padding, which
// adds no loss and gets zero gradients. The lists are copied. A fault in them is
// kept and returned by Compute.
//
// A truth becomes a positive of the cell that its centre lies in (the last cell
// for a coordinate of exactly 1), in every head, at the anchor whose shape fits
// it best among all anchors, if the head has that one, and at each further
// anchor of the head whose shape IoU is over Options.AssignIoU. Every pair of
// truth and slot counts as one positive in P. A slot may so belong to several
// truths: their box and class terms add up, its objectness counts once.
func (l *YOLOv4) SetTruths(truths [][]datasets.Truth) {
	l.truths, l.images, l.positives = l.truths[:0], 0, 0
	for i := range l.heads {
		l.heads[i].positives = l.heads[i].positives[:0]
	}
	if l.err = l.checkTruths(truths); l.err != nil {
		return
	}
	l.images = len(truths)
	for image, list := range truths {
		for _, t := range list {
			l.addTruth(image, t)
		}
	}
}

func (l *YOLOv4) addTruth(image int, t datasets.Truth) {
	l.truths = append(l.truths, truth{image, t.Class, box{t.X * l.netW, t.Y * l.netH, t.W * l.netW, t.H * l.netH}})
	for i := range l.heads {
		l.positives += l.heads[i].assign(&l.truths[len(l.truths)-1], len(l.truths)-1, l.o.AssignIoU)
	}
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

func (l *YOLOv4) checkTruths(truths [][]datasets.Truth) error {
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

func (l *YOLOv4) checkTruth(t datasets.Truth) error {
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
