package labels

import (
	"yoloprune/datasets"
	"yoloprune/yolo/eval"
)

// Set is a checked data set; it implements datasets.Source.
type Set struct {
	name     string
	names    []string
	ids      []int64
	samples  []datasets.Sample
	files    []string
	truth    *eval.GroundTruth
	problems Problems
}

// Name returns the annotation file's name.
func (s *Set) Name() string { return s.name }

// Names returns the class names.
func (s *Set) Names() []string { return s.names }

// CategoryIDs returns the number that the format uses for each class.
func (s *Set) CategoryIDs() []int64 { return s.ids }

// Len returns the number of images.
func (s *Set) Len() int { return len(s.samples) }

// Sample returns image i, in the file's order.
func (s *Set) Sample(i int) datasets.Sample { return s.samples[i] }

// File returns the path of image i below the data root, with slashes.
func (s *Set) File(i int) string { return s.files[i] }

// Problems tells what was mended or left out.
func (s *Set) Problems() Problems { return s.problems }

// GroundTruth returns the annotations of the kept images for evaluation: as
// they stand in the file, neither clipped nor dropped, so that the numbers are
// those of any other evaluator on that file.
func (s *Set) GroundTruth() *eval.GroundTruth { return s.truth }

// Subset returns the images of those indices as a set of its own.
func (s *Set) Subset(indices []int) *Set {
	out := &Set{name: s.name, names: s.names, ids: s.ids, truth: &eval.GroundTruth{Categories: s.truth.Categories}}
	kept := map[int64]bool{}
	for _, i := range indices {
		out.samples = append(out.samples, s.samples[i])
		out.files = append(out.files, s.files[i])
		out.truth.Images = append(out.truth.Images, s.samples[i].ID)
		kept[s.samples[i].ID] = true
	}
	for _, t := range s.truth.Truths {
		if kept[t.Image] {
			out.truth.Truths = append(out.truth.Truths, t)
		}
	}
	return out
}
