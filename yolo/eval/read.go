package eval

import (
	"encoding/json"
	"fmt"
	"io"
)

// ReadGroundTruth reads a COCO annotation file: an object with the lists images
// {id}, categories {id, name} and annotations {id, image_id, category_id, bbox,
// area, iscrowd}; everything else in it is skipped. A missing area becomes that
// of the box and is counted, a missing iscrowd is 0. name stands for the file
// in errors, which are *FormatError unless r itself fails.
func ReadGroundTruth(name string, r io.Reader) (*GroundTruth, error) {
	d, err := newDecoder(name, r)
	if err != nil {
		return nil, err
	}
	var f truthFile
	err = d.object([]list{
		{"images", f.image},
		{"categories", f.category},
		{"annotations", f.annotation},
	})
	if err != nil {
		return nil, err
	}
	if err := f.gt.check(d.locate); err != nil {
		return nil, err
	}
	return &f.gt, nil
}

// truthFile gathers the items of an annotation file.
type truthFile struct{ gt GroundTruth }

func (f *truthFile) image(raw json.RawMessage) error {
	var v struct {
		ID *int64 `json:"id"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	if v.ID == nil {
		return missing("id", "an integer")
	}
	f.gt.Images = append(f.gt.Images, *v.ID)
	return nil
}

func (f *truthFile) category(raw json.RawMessage) error {
	var v struct {
		ID   *int64 `json:"id"`
		Name string `json:"name"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	if v.ID == nil {
		return missing("id", "an integer")
	}
	f.gt.Categories = append(f.gt.Categories, Category{*v.ID, v.Name})
	return nil
}

func (f *truthFile) annotation(raw json.RawMessage) error {
	var v struct {
		ID       *int64   `json:"id"`
		Image    *int64   `json:"image_id"`
		Category *int64   `json:"category_id"`
		Box      *box     `json:"bbox"`
		Area     *float64 `json:"area"`
		Crowd    flag     `json:"iscrowd"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	switch {
	case v.ID == nil:
		return missing("id", "an integer")
	case v.Image == nil:
		return missing("image_id", "an integer")
	case v.Category == nil:
		return missing("category_id", "an integer")
	case v.Box == nil:
		return missing("bbox", fourNumbers)
	}
	if v.Area == nil {
		area := v.Box[2] * v.Box[3]
		v.Area = &area
		f.gt.AreasFromBoxes++
	}
	f.gt.Truths = append(f.gt.Truths, Truth{*v.ID, *v.Image, *v.Category, *v.Box, *v.Area, bool(v.Crowd)})
	return nil
}

// ReadDetections reads a COCO results file: a list of {image_id, category_id,
// bbox, score}; other keys are skipped. name stands for the file in errors,
// which are *FormatError unless r itself fails.
func ReadDetections(name string, r io.Reader) ([]Detection, error) {
	d, err := newDecoder(name, r)
	if err != nil {
		return nil, err
	}
	dets := []Detection{}
	err = d.list(list{"detections", func(raw json.RawMessage) error {
		det, err := detection(raw)
		dets = append(dets, det)
		return err
	}})
	if err != nil {
		return nil, err
	}
	return dets, nil
}

func detection(raw json.RawMessage) (Detection, error) {
	var v struct {
		Image    *int64   `json:"image_id"`
		Category *int64   `json:"category_id"`
		Box      *box     `json:"bbox"`
		Score    *float64 `json:"score"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return Detection{}, err
	}
	switch {
	case v.Image == nil:
		return Detection{}, missing("image_id", "an integer")
	case v.Category == nil:
		return Detection{}, missing("category_id", "an integer")
	case v.Box == nil:
		return Detection{}, missing("bbox", fourNumbers)
	case v.Score == nil:
		return Detection{}, missing("score", "a number")
	}
	d := Detection{*v.Image, *v.Category, *v.Box, *v.Score}
	if field, msg := d.fault(); msg != "" {
		return Detection{}, &fieldError{field, msg}
	}
	return d, nil
}

// fieldError is a fault within one item of a list.
type fieldError struct{ field, msg string }

func (e *fieldError) Error() string { return e.field + ": " + e.msg }

func missing(field, want string) error {
	return &fieldError{field, fmt.Sprintf("missing; expected %s; add it or remove the item", want)}
}

const fourNumbers = "four numbers [x, y, width, height]"

// box is a COCO bbox: exactly four numbers, none of them null.
type box [4]float64

// UnmarshalJSON implements json.Unmarshaler.
func (b *box) UnmarshalJSON(data []byte) error {
	var v []*float64
	if err := json.Unmarshal(data, &v); err != nil {
		return &fieldError{"bbox", fmt.Sprintf("found %s; expected %s", clip(data), fourNumbers)}
	}
	if len(v) != len(b) {
		return &fieldError{"bbox", fmt.Sprintf("%d numbers; expected %s", len(v), fourNumbers)}
	}
	for i, x := range v {
		if x == nil {
			return &fieldError{"bbox", fmt.Sprintf("found %s; expected %s", clip(data), fourNumbers)}
		}
		b[i] = *x
	}
	return nil
}

// flag is iscrowd: 0 or 1, and some writers' false or true.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "0", "false", "null":
		*f = false
	case "1", "true":
		*f = true
	default:
		return &fieldError{"iscrowd", fmt.Sprintf("found %s; expected 0 or 1", clip(data))}
	}
	return nil
}

// clip shortens a value for an error.
func clip(data []byte) string {
	if len(data) > 40 {
		return string(data[:40]) + "..."
	}
	return string(data)
}
