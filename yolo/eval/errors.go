package eval

import (
	"fmt"
	"math"
	"strings"
)

// FormatError says that ground truth or detections are broken.
type FormatError struct {
	File      string // "" for data in memory
	Line, Col int    // where the item starts; 0 when unknown
	Where     string // the item: "annotations[3].bbox"
	Msg       string
}

func (e *FormatError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Col)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	return b.String() + e.Msg
}

// locator makes the error for item i of a list; field may be "".
type locator func(list string, i int, field, msg string) *FormatError

func inMemory(list string, i int, field, msg string) *FormatError {
	return &FormatError{Where: item(list, i, field), Msg: msg}
}

func item(list string, i int, field string) string {
	s := fmt.Sprintf("%s[%d]", list, i)
	if field != "" {
		s += "." + field
	}
	return s
}

// check says what is wrong with the ground truth, if anything.
func (gt *GroundTruth) check(at locator) error {
	images, i := newIndex(len(gt.Images), func(i int) int64 { return gt.Images[i] })
	if i >= 0 {
		return repeated(at, "images", i, gt.Images[i])
	}
	categories, i := newIndex(len(gt.Categories), func(i int) int64 { return gt.Categories[i].ID })
	if i >= 0 {
		return repeated(at, "categories", i, gt.Categories[i].ID)
	}
	if _, i := newIndex(len(gt.Truths), func(i int) int64 { return gt.Truths[i].ID }); i >= 0 {
		return repeated(at, "annotations", i, gt.Truths[i].ID)
	}
	for i := range gt.Truths {
		if field, msg := gt.Truths[i].fault(images, categories); msg != "" {
			return at("annotations", i, field, msg)
		}
	}
	return nil
}

func repeated(at locator, list string, i int, id int64) error {
	return at(list, i, "id", fmt.Sprintf("%d appears a second time; ids must be unique; renumber or remove one of the two", id))
}

func (t *Truth) fault(images, categories *index) (field, msg string) {
	switch {
	case !images.has(t.Image):
		return "image_id", fmt.Sprintf("%d is not among the images; add the image or remove the annotation", t.Image)
	case !categories.has(t.Category):
		return "category_id", fmt.Sprintf("%d is not among the categories; add the category or remove the annotation", t.Category)
	case boxFault(t.Box) != "":
		return "bbox", boxFault(t.Box)
	case !finite(t.Area) || t.Area < 0:
		return "area", fmt.Sprintf("%g; expected a finite area of at least 0; write width*height of the box", t.Area)
	}
	return "", ""
}

// CheckDetections says whether the detections fit the ground truth; COCO does
// so itself, but cannot name the file. The error is a *FormatError.
func CheckDetections(file string, gt *GroundTruth, dets []Detection) error {
	images, categories := gt.known()
	for i := range dets {
		if field, msg := dets[i].misfit(images, categories); msg != "" {
			return &FormatError{File: file, Where: item("detections", i, field), Msg: msg}
		}
	}
	return nil
}

// known returns the ids that detections may have.
func (gt *GroundTruth) known() (images, categories *index) {
	if gt == nil {
		return &index{}, &index{}
	}
	images, _ = newIndex(len(gt.Images), func(i int) int64 { return gt.Images[i] })
	categories, _ = newIndex(len(gt.Categories), func(i int) int64 { return gt.Categories[i].ID })
	return images, categories
}

func (d *Detection) misfit(images, categories *index) (field, msg string) {
	if field, msg = d.stranger(images, categories); msg != "" {
		return field, msg
	}
	return d.fault()
}

// stranger says whether a detection belongs to another set.
func (d *Detection) stranger(images, categories *index) (field, msg string) {
	switch {
	case !images.has(d.Image):
		return "image_id", fmt.Sprintf("%d is not an image of the ground truth; measure on the split that the detections were made for", d.Image)
	case !categories.has(d.Category):
		return "category_id", fmt.Sprintf("%d is not a category of the ground truth; map class numbers to its category ids (COCO's own run from 1 to 90 with gaps)", d.Category)
	}
	return "", ""
}

func (d *Detection) fault() (field, msg string) {
	if msg := boxFault(d.Box); msg != "" {
		return "bbox", msg
	}
	if !finite(d.Score) {
		return "score", fmt.Sprintf("%g; expected a finite number; remove the detection", d.Score)
	}
	return "", ""
}

// boxFault says what is wrong with a box x, y, w, h, or "".
func boxFault(b [4]float64) string {
	if !finite(b[0]+b[2]) || !finite(b[1]+b[3]) || !finite(b[2]*b[3]) {
		return fmt.Sprintf("%g; expected four finite numbers x, y, width, height; remove the box", b)
	}
	if b[2] < 0 || b[3] < 0 {
		return fmt.Sprintf("%g has a negative size; expected x, y, width, height with the top left corner first; swap the corners or remove the box", b)
	}
	return ""
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
