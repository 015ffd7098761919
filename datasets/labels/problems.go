package labels

import "fmt"

// Finding counts one kind of flaw and names the first few.
type Finding struct {
	Count    int      `json:"count"`
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 5

// Add counts one more.
func (f *Finding) Add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Problems is what was found and mended. Entries and images are left out only
// with SkipBad; the boxes of such an image are not looked at.
type Problems struct {
	BadEntry    Finding
	NotFinite   Finding
	UnknownID   Finding
	DuplicateID Finding
	BadBox      Finding
	OutsideRoot Finding

	Missing    Finding // no such file
	Unreadable Finding // broken, unknown format or too large
	WrongSize  Finding // file and annotations disagree

	ZeroArea  Finding // dropped
	Outside   Finding // no part inside the image: dropped
	Duplicate Finding // same image, class and box: dropped
	Clipped   Finding // cut at the image's edge
	NoArea    Finding

	Notes
}

// Described is a finding with its name in JSON and a few words on what was done
// about it. A note is no mistake.
type Described struct {
	Key, What string
	Note      bool
	Finding
}

// All lists the findings in a fixed order.
func (p *Problems) All() []Described {
	return []Described{
		{"bad_entries", "entries that make no sense, left out", false, p.BadEntry},
		{"not_finite", "numbers that are NaN or infinite, their entries left out", false, p.NotFinite},
		{"unknown_ids", "unknown classes or ids, their entries left out", false, p.UnknownID},
		{"duplicate_ids", "ids or images listed twice, the later ones left out", false, p.DuplicateID},
		{"bad_boxes", "impossible boxes, left out", false, p.BadBox},
		{"outside_root", "paths that leave the data root, left out", false, p.OutsideRoot},
		{"missing_images", "missing images, left out", false, p.Missing},
		{"unreadable_images", "unreadable images, left out", false, p.Unreadable},
		{"wrong_size_images", "images of another size than annotated, left out", false, p.WrongSize},
		{"zero_area_boxes", "boxes without area, dropped", false, p.ZeroArea},
		{"outside_boxes", "boxes outside the image, dropped", false, p.Outside},
		{"duplicate_boxes", "exact duplicate boxes, dropped", false, p.Duplicate},
		{"clipped_boxes", "boxes partly outside, clipped", false, p.Clipped},
		{"boxes_without_area", "boxes without an area value, width times height taken", true, p.NoArea},
		{"images_without_labels", "images without a label file, taken as background", true, p.NoLabels},
		{"labels_beside", "label files beside their images, read there", true, p.Beside},
		{"labels_twice", "label files in labels/ and beside the image, those in labels/ read", true, p.TwoFiles},
		{"tiny_images", "images of less than 10 pixels a side, read", true, p.Tiny},
		{"size_differs", "annotated image sizes that differ from the file, the file's taken", true, p.SizeHint},
	}
}

// Wrong counts what is a mistake.
func (p *Problems) Wrong() int {
	n := 0
	for _, d := range p.All() {
		if !d.Note {
			n += d.Count
		}
	}
	return n
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

// addFault counts a fault under its kind.
func (p *Problems) addFault(e *FormatError) {
	f := map[Kind]*Finding{
		BadEntry: &p.BadEntry, NotFinite: &p.NotFinite, UnknownID: &p.UnknownID,
		DuplicateID: &p.DuplicateID, BadBox: &p.BadBox, OutsideRoot: &p.OutsideRoot,
	}[e.Kind]
	f.Add("%v", e)
}
