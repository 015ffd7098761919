package coco

import "fmt"

// Finding counts one kind of flaw and names the first few.
type Finding struct {
	Count    int      `json:"count"`
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 5

func (f *Finding) add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Problems is what Load found and mended. Images are left out only with
// SkipBad; the boxes of such an image are not looked at.
type Problems struct {
	Missing    Finding `json:"missing_images"`    // no such file
	Unreadable Finding `json:"unreadable_images"` // header broken, unknown format or too large
	WrongSize  Finding `json:"wrong_size_images"` // file and annotations disagree

	ZeroArea  Finding `json:"zero_area_boxes"` // dropped
	Outside   Finding `json:"outside_boxes"`   // no part inside the image: dropped
	Duplicate Finding `json:"duplicate_boxes"` // same image, class and box: dropped
	Clipped   Finding `json:"clipped_boxes"`   // cut at the image's edge
	NoArea    Finding `json:"boxes_without_area"`
}

// All lists the findings in a fixed order, each with a few words on what was
// done about it.
func (p *Problems) All() []Described {
	return []Described{
		{"missing images, left out", p.Missing},
		{"unreadable images, left out", p.Unreadable},
		{"images of another size than annotated, left out", p.WrongSize},
		{"boxes without area, dropped", p.ZeroArea},
		{"boxes outside the image, dropped", p.Outside},
		{"exact duplicate boxes, dropped", p.Duplicate},
		{"boxes partly outside, clipped", p.Clipped},
		{"boxes without an area value, width times height taken", p.NoArea},
	}
}

// Described is a finding with its description.
type Described struct {
	What string
	Finding
}

// Lines describes what was found, one line a kind, with examples.
func (p *Problems) Lines() []string {
	var out []string
	for _, d := range p.All() {
		if d.Count == 0 {
			continue
		}
		line := fmt.Sprintf("%d %s", d.Count, d.What)
		for i, e := range d.Examples {
			sep := "; "
			if i == 0 {
				sep = ", such as "
			}
			line += sep + e
		}
		out = append(out, line)
	}
	return out
}
