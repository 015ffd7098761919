package coco

import (
	"encoding/json"
	"math"
	"path/filepath"
	"slices"

	"yoloprune/datasets/labels"
)

type (
	outImage struct {
		ID       int64  `json:"id"`
		FileName string `json:"file_name"`
		Width    int    `json:"width"`
		Height   int    `json:"height"`
	}
	outAnnotation struct {
		ID        int64      `json:"id"`
		Image     int64      `json:"image_id"`
		Category  int64      `json:"category_id"`
		Box       [4]float64 `json:"bbox"`
		Area      float64    `json:"area"`
		Crowd     int        `json:"iscrowd"`
		Difficult int        `json:"difficult,omitempty"`
		Truncated int        `json:"truncated,omitempty"`
	}
	outCategory struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	outDocument struct {
		Images      []outImage      `json:"images"`
		Annotations []outAnnotation `json:"annotations"`
		Categories  []outCategory   `json:"categories"`
	}
)

// Write writes a set below dir: images/ and annotations/<split>.json. Ids are
// kept, those of annotations and categories from 1 on.
func Write(dir, split string, s *labels.Set, o labels.WriteOptions) (notes []string, err error) {
	names, err := labels.CopyImages(s, filepath.Join(dir, "images"), split, o)
	if err != nil {
		return nil, err
	}
	text, err := Format(s, names)
	if err != nil {
		return nil, err
	}
	return nil, o.WriteFile(filepath.Join(dir, "annotations", split+".json"), text)
}

// Format writes the annotation file of a set whose images have those names.
func Format(s *labels.Set, names []string) ([]byte, error) {
	first := offset(s.CategoryIDs())
	d := outDocument{Annotations: []outAnnotation{}}
	for c, name := range s.Names() {
		d.Categories = append(d.Categories, outCategory{s.CategoryIDs()[c] + first, name})
	}
	shift := boxOffset(s)
	for i, name := range names {
		m := s.Sample(i)
		d.Images = append(d.Images, outImage{m.ID, name, m.Width, m.Height})
		for _, b := range m.Boxes {
			d.Annotations = append(d.Annotations, outAnnotation{
				ID: b.ID + shift, Image: m.ID, Category: d.Categories[b.Class].ID,
				Box: [4]float64{tidy(b.X), tidy(b.Y), tidy(b.W), tidy(b.H)}, Area: tidy(b.Area),
				Crowd: flagOf(b.Crowd), Difficult: flagOf(b.Difficult), Truncated: flagOf(b.Truncated),
			})
		}
	}
	text, err := json.Marshal(d)
	return append(text, '\n'), err
}

// offset is what must be added for the smallest number to be 1 at least.
func offset(ids []int64) int64 {
	if len(ids) == 0 {
		return 0
	}
	return max(0, 1-slices.Min(ids))
}

func boxOffset(s *labels.Set) int64 {
	var ids []int64
	for i := range s.Len() {
		for _, b := range s.Sample(i).Boxes {
			ids = append(ids, b.ID)
		}
	}
	return offset(ids)
}

func flagOf(set bool) int {
	if set {
		return 1
	}
	return 0
}

// tidy rounds the noise of the last bits away: to a millionth of a pixel.
func tidy(v float64) float64 { return math.Round(v*1e6) / 1e6 }
