package coco

import (
	"fmt"
	"math"

	"yoloprune/datasets"
	"yoloprune/yolo/eval"
)

// clipSlack is the overhang in pixels that is cut without being counted:
// COCO's own files round to two decimals.
const clipSlack = 0.01

// sameBox is what makes two annotations exact duplicates.
type sameBox struct {
	image, category int64
	box             [4]float64
	crowd           bool
}

// addBoxes checks every annotation, adds the usable boxes to their samples
// and all of them to the ground truth.
func (b *builder) addBoxes() error {
	seenID := make(map[int64]struct{}, len(b.annotations))
	seen := map[sameBox]struct{}{}
	for i, a := range b.annotations {
		t, err := b.annotation(i, a)
		if err != nil {
			return err
		}
		if _, twice := seenID[t.ID]; twice {
			return b.errorAt(a.at, "annotations[%d]: id %d is used twice; give each annotation its own", i, t.ID)
		}
		seenID[t.ID] = struct{}{}
		at := b.sample[t.Image]
		if at < 0 {
			continue
		}
		if a.raw.Area == nil {
			b.set.problems.NoArea.add("annotation %d", t.ID)
		}
		b.set.truth.Truths = append(b.set.truth.Truths, t)
		key := sameBox{t.Image, t.Category, t.Box, t.Crowd}
		if _, twice := seen[key]; twice {
			b.set.problems.Duplicate.add("annotation %d of image %d", t.ID, t.Image)
			continue
		}
		seen[key] = struct{}{}
		s := &b.set.samples[at]
		if box, ok := b.usable(t, s.Width, s.Height); ok {
			s.Boxes = append(s.Boxes, box)
		}
	}
	b.set.truth.AreasFromBoxes = b.set.problems.NoArea.Count
	return nil
}

// annotation checks one annotation by itself and against the other lists.
func (b *builder) annotation(i int, a item[rawAnnotation]) (t eval.Truth, err error) {
	r := a.raw
	if r.ID == nil {
		return t, b.errorAt(a.at, `annotations[%d]: "id" is missing; expected a whole number`, i)
	}
	fail := func(format string, args ...any) (eval.Truth, error) {
		return t, b.errorAt(a.at, "annotations[%d] (id %d): %s", i, *r.ID, fmt.Sprintf(format, args...))
	}
	if r.Image == nil || r.Category == nil {
		return fail(`"image_id" or "category_id" is missing; expected both`)
	}
	if _, ok := b.sample[*r.Image]; !ok {
		return fail("image_id %d is not in images; add the image or remove the annotation", *r.Image)
	}
	if _, ok := b.class[*r.Category]; !ok {
		return fail("category_id %d is not in categories (%s); add the category or correct the annotation", *r.Category, ids(b.class))
	}
	box, err := corners(r.Box)
	if err != nil {
		return fail("bbox: %v", err)
	}
	t = eval.Truth{ID: *r.ID, Image: *r.Image, Category: *r.Category, Box: box, Area: box[2] * box[3], Crowd: bool(r.Crowd)}
	if r.Area != nil {
		if t.Area = *r.Area; t.Area < 0 {
			return fail("area is %g; expected a number that is not negative", t.Area)
		}
	}
	return t, nil
}

func corners(raw []*float64) (box [4]float64, err error) {
	if len(raw) != 4 {
		return box, fmt.Errorf("found %d numbers; expected [x, y, width, height]", len(raw))
	}
	for i, v := range raw {
		if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
			return box, fmt.Errorf("number %d is not finite; expected [x, y, width, height]", i+1)
		}
		box[i] = *v
	}
	if box[2] < 0 || box[3] < 0 {
		return box, fmt.Errorf("the size %gx%g is negative; expected [x, y, width, height], not two corners in any order", box[2], box[3])
	}
	return box, nil
}

// usable clips a box to its w x h image and says whether something is left.
func (b *builder) usable(t eval.Truth, w, h int) (datasets.Box, bool) {
	p := &b.set.problems
	if t.Box[2] == 0 || t.Box[3] == 0 {
		p.ZeroArea.add("annotation %d of image %d", t.ID, t.Image)
		return datasets.Box{}, false
	}
	x, width, overX := clip(t.Box[0], t.Box[2], float64(w))
	y, height, overY := clip(t.Box[1], t.Box[3], float64(h))
	if width <= 0 || height <= 0 {
		p.Outside.add("annotation %d of image %d (%dx%d): %v", t.ID, t.Image, w, h, t.Box)
		return datasets.Box{}, false
	}
	if max(overX, overY) > clipSlack {
		p.Clipped.add("annotation %d of image %d (%dx%d): %v", t.ID, t.Image, w, h, t.Box)
	}
	area := t.Area
	if overX > 0 || overY > 0 {
		area = min(area, width*height)
	}
	return datasets.Box{ID: t.ID, Class: b.class[t.Category], X: x, Y: y, W: width, H: height, Area: area, Crowd: t.Crowd}, true
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
