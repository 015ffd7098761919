package eval

import (
	"io"
	"slices"
)

// ReadDetections reads a COCO results file: a list of {image_id, category_id,
// bbox, score}; other keys are skipped. name stands for the file in errors,
// which are *FormatError unless r itself fails. The file is read as a stream:
// beside the detections a small part of it is in memory.
func ReadDetections(name string, r io.Reader) ([]Detection, error) {
	return readDetections(name, r, func(*Detection) (field, msg string) { return "", "" })
}

// ReadDetectionsOf is ReadDetections for detections in the images of a ground
// truth; those of other images or categories are errors, with their line.
func ReadDetectionsOf(gt *GroundTruth, name string, r io.Reader) ([]Detection, error) {
	images, categories := gt.known()
	return readDetections(name, r, func(d *Detection) (field, msg string) { return d.stranger(images, categories) })
}

// readDetections reads a results file; misfit says what is wrong with a
// detection that is sound in itself.
func readDetections(name string, r io.Reader, misfit func(*Detection) (field, msg string)) ([]Detection, error) {
	s, err := newScanner(name, r)
	if err != nil {
		return nil, err
	}
	f := &resultFile{file: file{scanner: s, at: map[string][]position{}}, misfit: misfit, dets: []Detection{}}
	f.each = f.member
	if err := f.open('[', "a list of detections {image_id, category_id, bbox, score}", "a COCO results file (is this an annotation file?)"); err != nil {
		return nil, err
	}
	if err := f.items(list{"detections", f.detection}, false); err != nil {
		return nil, err
	}
	if err := f.close(); err != nil {
		return nil, err
	}
	return f.dets, nil
}

// resultFile gathers the items of a results file.
type resultFile struct {
	file
	misfit func(*Detection) (field, msg string)
	each   func(key []byte) error // member, made once

	image, category field[int64]
	bbox            field[[4]float64]
	score           field[float64]
	dets            []Detection
}

func (f *resultFile) member(key []byte) error {
	switch string(key) {
	case "image_id":
		return f.integer("image_id", &f.image)
	case "category_id":
		return f.integer("category_id", &f.category)
	case "bbox":
		return f.box("bbox", &f.bbox)
	case "score":
		return f.float("score", &f.score)
	}
	return f.skip()
}

func (f *resultFile) detection() error {
	f.image.ok, f.category.ok, f.bbox.ok, f.score.ok = false, false, false, false
	if err := f.members(f.each); err != nil {
		return err
	}
	switch {
	case !f.image.ok:
		return missing("image_id", "an integer")
	case !f.category.ok:
		return missing("category_id", "an integer")
	case !f.bbox.ok:
		return missing("bbox", fourNumbers)
	case !f.score.ok:
		return missing("score", "a number")
	}
	if len(f.dets) == cap(f.dets) {
		f.dets = slices.Grow(f.dets, max(1000, len(f.dets))) // doubling copies less than append
	}
	f.dets = append(f.dets, Detection{f.image.v, f.category.v, f.bbox.v, f.score.v})
	d := &f.dets[len(f.dets)-1]
	field, msg := d.fault()
	if msg == "" {
		field, msg = f.misfit(d)
	}
	if msg != "" {
		return &fieldError{field, msg}
	}
	return nil
}
