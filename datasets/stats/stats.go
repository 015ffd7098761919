// Package stats describes a data set in numbers and plots, and says how well
// anchors fit its boxes.
package stats

import (
	"math"
	"slices"

	"yoloprune/datasets"
)

// Stats describes a set. Boxes are those that can be used; areas are those of
// the boxes, in pixels of the images.
type Stats struct {
	Images       int        `json:"images"`
	Boxes        int        `json:"boxes"`
	Crowd        int        `json:"crowd"`
	Difficult    int        `json:"difficult"`
	Truncated    int        `json:"truncated"`
	WithoutBoxes int        `json:"images_without_boxes"`
	Classes      []Class    `json:"classes"`
	Sizes        Sizes      `json:"sizes"`
	Width        *Quantiles `json:"box_width"`
	Height       *Quantiles `json:"box_height"`
	Area         *Quantiles `json:"box_area"`
	Share        *Quantiles `json:"box_share"`  // of the image's area
	Aspect       *Quantiles `json:"box_aspect"` // width / height
	PerImage     *Quantiles `json:"boxes_per_image"`
	ImageWidth   *Quantiles `json:"image_width"`
	ImageHeight  *Quantiles `json:"image_height"`

	widths, heights []float64
}

// Class counts a class.
type Class struct {
	Name   string `json:"name"`
	Boxes  int    `json:"boxes"`
	Images int    `json:"images"`
}

// Sizes counts boxes by COCO's bounds, 32 x 32 and 96 x 96 pixels. Here each
// box counts once: one on a bound with the larger.
type Sizes struct {
	Small  int `json:"small"`
	Medium int `json:"medium"`
	Large  int `json:"large"`
}

// Quantiles are linear between neighbours, as numpy's default.
type Quantiles struct {
	Min    float64 `json:"min"`
	P5     float64 `json:"p5"`
	P25    float64 `json:"p25"`
	Median float64 `json:"median"`
	P75    float64 `json:"p75"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
	Mean   float64 `json:"mean"`
}

// New describes a set.
func New(src datasets.Source) *Stats {
	s := &Stats{Images: src.Len()}
	for _, n := range src.Names() {
		s.Classes = append(s.Classes, Class{Name: n})
	}
	var area, share, aspect, perImage, imageW, imageH []float64
	for i := range src.Len() {
		m := src.Sample(i)
		s.addImage(m)
		perImage = append(perImage, float64(len(m.Boxes)))
		imageW, imageH = append(imageW, float64(m.Width)), append(imageH, float64(m.Height))
		for _, b := range m.Boxes {
			s.addBox(b)
			area = append(area, b.W*b.H)
			share = append(share, b.W*b.H/float64(m.Width)/float64(m.Height))
			aspect = append(aspect, b.W/b.H)
		}
	}
	s.Width, s.Height = quantiles(s.widths), quantiles(s.heights)
	s.Area, s.Share, s.Aspect = quantiles(area), quantiles(share), quantiles(aspect)
	s.PerImage, s.ImageWidth, s.ImageHeight = quantiles(perImage), quantiles(imageW), quantiles(imageH)
	return s
}

func (s *Stats) addImage(m datasets.Sample) {
	if len(m.Boxes) == 0 {
		s.WithoutBoxes++
	}
	seen := map[int]bool{}
	for _, b := range m.Boxes {
		if !seen[b.Class] {
			s.Classes[b.Class].Images++
		}
		seen[b.Class] = true
	}
}

func (s *Stats) addBox(b datasets.Box) {
	s.Boxes++
	s.Classes[b.Class].Boxes++
	s.Crowd += count(b.Crowd)
	s.Difficult += count(b.Difficult)
	s.Truncated += count(b.Truncated)
	switch area := b.W * b.H; {
	case area < 32*32:
		s.Sizes.Small++
	case area < 96*96:
		s.Sizes.Medium++
	default:
		s.Sizes.Large++
	}
	s.widths, s.heights = append(s.widths, b.W), append(s.heights, b.H)
}

func count(set bool) int {
	if set {
		return 1
	}
	return 0
}

// quantiles returns nil where there are no values.
func quantiles(v []float64) *Quantiles {
	if len(v) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(v))
	sum := 0.0
	for _, x := range sorted {
		sum += x
	}
	at := func(q float64) float64 {
		p := q * float64(len(sorted)-1)
		i := int(p)
		next := sorted[min(i+1, len(sorted)-1)]
		return sorted[i] + (next-sorted[i])*(p-float64(i))
	}
	return &Quantiles{at(0), at(.05), at(.25), at(.5), at(.75), at(.95), at(1), sum / float64(len(sorted))}
}

// BoxSizes lists the widths and heights of all boxes that are trained on, in
// pixels of a w x h network input: the image is stretched to it or, with
// letterbox, keeps its aspect.
func BoxSizes(src datasets.Source, w, h int, letterbox bool) [][2]float64 {
	var out [][2]float64
	for i := range src.Len() {
		s := src.Sample(i)
		sx, sy := float64(w)/float64(s.Width), float64(h)/float64(s.Height)
		if letterbox {
			sx = min(sx, sy)
			sy = sx
		}
		for _, b := range s.Boxes {
			if !b.Crowd && !b.Difficult {
				out = append(out, [2]float64{b.W * sx, b.H * sy})
			}
		}
	}
	return out
}

// Recall returns the best possible recall of anchors, as YOLOv5's check of
// anchors has it: the share of boxes for which some anchor is off by less than
// a factor of limit in either side,
//
//	max_a min(w/aw, aw/w, h/ah, ah/h) > 1/limit
//
// YOLOv5 and YOLOv7 train with limit 4 (anchor_t); other boxes no anchor learns.
func Recall(sizes, anchors [][2]float64, limit float64) float64 {
	if len(sizes) == 0 {
		return math.NaN()
	}
	n := 0
	for _, s := range sizes {
		if slices.ContainsFunc(anchors, func(a [2]float64) bool {
			return min(s[0]/a[0], a[0]/s[0], s[1]/a[1], a[1]/s[1]) > 1/limit
		}) {
			n++
		}
	}
	return float64(n) / float64(len(sizes))
}
