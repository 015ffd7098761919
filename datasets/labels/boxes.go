package labels

import (
	"fmt"
	"math"

	"yoloprune/datasets"
	"yoloprune/yolo/eval"
)

// clipSlack is the overhang in pixels that is cut without being counted:
// COCO's own files round to two decimals.
const clipSlack = 0.01

// sameBox is what makes two boxes exact duplicates.
type sameBox struct {
	image, class int
	box          [4]float64
	crowd        bool
}

// addBoxes adds the usable boxes to their samples and all of them to the ground
// truth.
func (b *builder) addBoxes() {
	p := &b.set.problems
	seen := make(map[sameBox]struct{}, len(b.Boxes))
	for _, box := range b.Boxes {
		at := b.sample[box.Image]
		if at < 0 {
			continue
		}
		box = box.inPixels(&b.Images[box.Image])
		if box.NoArea {
			p.NoArea.Add("%s", b.where(box))
		}
		b.set.truth.Truths = append(b.set.truth.Truths, eval.Truth{
			ID: box.ID, Image: b.Images[box.Image].ID, Category: b.Classes[box.Class].ID,
			Box: box.Box, Area: box.Area, Crowd: box.Crowd, Difficult: box.Difficult,
		})
		key := sameBox{box.Image, box.Class, box.Box, box.Crowd}
		if _, twice := seen[key]; twice {
			p.Duplicate.Add("%s", b.where(box))
			continue
		}
		seen[key] = struct{}{}
		s := &b.set.samples[at]
		if usable, ok := b.usable(box, s.Width, s.Height); ok {
			s.Boxes = append(s.Boxes, usable)
		}
	}
	b.set.truth.AreasFromBoxes = p.NoArea.Count
}

// inPixels brings a box to top-left form in pixels and fills its area in.
func (b Box) inPixels(m *Image) Box {
	if m.Relative {
		w, h := float64(m.Width), float64(m.Height)
		x, y := b.Box[0]-b.Box[2]/2, b.Box[1]-b.Box[3]/2
		b.Box = [4]float64{x * w, y * h, b.Box[2] * w, b.Box[3] * h}
	}
	if b.Area < 0 {
		b.Area = b.Box[2] * b.Box[3]
	}
	return b
}

// usable clips a box to its w x h image and says whether something is left.
func (b *builder) usable(box Box, w, h int) (datasets.Box, bool) {
	p := &b.set.problems
	if box.Box[2] == 0 || box.Box[3] == 0 {
		p.ZeroArea.Add("%s", b.where(box))
		return datasets.Box{}, false
	}
	x, width, overX := clip(box.Box[0], box.Box[2], float64(w))
	y, height, overY := clip(box.Box[1], box.Box[3], float64(h))
	if width <= 0 || height <= 0 {
		p.Outside.Add("%s (%dx%d): %v", b.where(box), w, h, box.Box)
		return datasets.Box{}, false
	}
	if max(overX, overY) > clipSlack {
		p.Clipped.Add("%s (%dx%d): %v", b.where(box), w, h, box.Box)
	}
	area := box.Area
	if overX > 0 || overY > 0 {
		area = min(area, width*height)
	}
	return datasets.Box{
		ID: box.ID, Class: box.Class, X: x, Y: y, W: width, H: height, Area: area,
		Crowd: box.Crowd, Difficult: box.Difficult, Truncated: box.Truncated,
	}, true
}

// clip cuts [at, at+size] to [0, limit]; over is the larger overhang.
func clip(at, size, limit float64) (start, length, over float64) {
	end := at + size
	start, end2 := max(at, 0), min(end, limit)
	over = max(start-at, end-end2)
	if over == 0 {
		return at, size, 0
	}
	return start, end2 - start, over
}

// Finite says which of the numbers of a box is none.
func Finite(box ...float64) error {
	for i, v := range box {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("number %d is %v; expected a finite number", i+1, v)
		}
	}
	return nil
}
