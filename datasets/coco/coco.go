// Package coco reads object detection annotations in COCO's JSON format.
//
// https://cocodataset.org/#format-data
//
// Boxes are [x, y, width, height] in pixels, 0-based, top-left corner. Classes
// are the categories in the order of their ids. Load is strict about what
// would silently spoil a training and lenient about what can be mended:
//
//	error      not JSON, wrong types, NaN; ids missing or used twice; category names used
//	           twice; unknown image or category ids; negative box sizes; file names that leave
//	           the image folder; class names other than the expected ones
//	error, or with SkipBad left out and counted
//	           image files that are missing, broken, too large, or of another size than annotated
//	           (the boxes would sit elsewhere); only headers are read, so damage behind
//	           the header shows when the image is decoded
//	counted    boxes of zero area, wholly outside the image or exact duplicates (dropped);
//	           boxes partly outside (clipped); no "area" (width times height is taken)
package coco

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"yoloprune/datasets"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/eval"
)

// Options say what Load accepts.
type Options struct {
	SkipBad bool     // leave out and count images that cannot be used
	Names   []string // the class names in order that the file must have; nil takes the file's
}

// Set is a loaded annotation file; it implements datasets.Source.
type Set struct {
	names    []string
	ids      []int64
	samples  []datasets.Sample
	truth    *eval.GroundTruth
	problems Problems
}

// Names returns the class names.
func (s *Set) Names() []string { return s.names }

// CategoryIDs returns the category id of each class.
func (s *Set) CategoryIDs() []int64 { return s.ids }

// Len returns the number of images.
func (s *Set) Len() int { return len(s.samples) }

// Sample returns image i, in the file's order.
func (s *Set) Sample(i int) datasets.Sample { return s.samples[i] }

// Problems tells what was mended or left out.
func (s *Set) Problems() Problems { return s.problems }

// GroundTruth returns the annotations of the kept images for evaluation: as
// they stand in the file, neither clipped nor dropped, so that the numbers are
// those of any other evaluator on that file.
func (s *Set) GroundTruth() *eval.GroundTruth { return s.truth }

// maxBytes bounds the annotation file; COCO's largest has under 500 MB.
const maxBytes = 1 << 31

// Load reads an annotation file and checks its images in imagesDir. file_name
// may carry folders; it is looked up below imagesDir and nowhere else.
func Load(annotations, imagesDir string, o Options) (*Set, error) {
	f, err := os.Open(annotations)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(annotations, f, maxBytes)
	if err != nil {
		return nil, err
	}
	d, err := parse(annotations, data)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(imagesDir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s: no such image folder", imagesDir)
	}
	b := builder{document: d, options: o, dir: imagesDir, set: &Set{truth: &eval.GroundTruth{}}}
	for _, step := range []func() error{b.addCategories, b.addImages, b.checkFiles, b.addBoxes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.set, nil
}

// builder turns a document into a Set.
type builder struct {
	*document
	options Options
	dir     string
	set     *Set
	class   map[int64]int // category id to class
	sample  map[int64]int // image id to sample, -1 for one left out
	all     []datasets.Sample
}

// maxListed bounds how many items one error names.
const maxListed = 5

func (b *builder) addCategories() error {
	if len(b.categories) == 0 {
		return b.error(`the list "categories" is empty; expected {"id": ..., "name": ...} for each class`)
	}
	sorted := slices.Clone(b.categories)
	b.class = map[int64]int{}
	named := map[string]int64{}
	for i, c := range sorted {
		if c.raw.ID == nil || c.raw.Name == nil || *c.raw.Name == "" {
			return b.errorAt(c.at, `categories[%d]: "id" or "name" is missing; expected {"id": 1, "name": "..."}`, i)
		}
		if _, twice := b.class[*c.raw.ID]; twice {
			return b.errorAt(c.at, "categories[%d]: id %d is used twice; give each category its own", i, *c.raw.ID)
		}
		if other, twice := named[*c.raw.Name]; twice {
			return b.errorAt(c.at, "categories[%d]: name %q is used twice (ids %d and %d); give each category its own", i, *c.raw.Name, other, *c.raw.ID)
		}
		b.class[*c.raw.ID], named[*c.raw.Name] = 0, *c.raw.ID
	}
	slices.SortFunc(sorted, func(x, y item[rawCategory]) int { return compare(*x.raw.ID, *y.raw.ID) })
	for i, c := range sorted {
		b.class[*c.raw.ID] = i
		b.set.names = append(b.set.names, *c.raw.Name)
		b.set.ids = append(b.set.ids, *c.raw.ID)
		b.set.truth.Categories = append(b.set.truth.Categories, eval.Category{ID: *c.raw.ID, Name: *c.raw.Name})
	}
	return b.checkNames()
}

func compare(x, y int64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func (b *builder) checkNames() error {
	want, got := b.options.Names, b.set.names
	if want == nil || slices.Equal(want, got) {
		return nil
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return b.error("class %d is %q (category id %d); expected %q; the categories in the order of their ids must be the expected classes", i, got[i], b.set.ids[i], want[i])
		}
	}
	return b.error("the file has %d categories; expected %d classes", len(got), len(want))
}

func (b *builder) addImages() error {
	if len(b.images) == 0 {
		return b.error(`the list "images" is empty; expected at least one image`)
	}
	b.sample = make(map[int64]int, len(b.images))
	for i, m := range b.images {
		s, err := b.image(i, m)
		if err != nil {
			return err
		}
		if _, twice := b.sample[s.ID]; twice {
			return b.errorAt(m.at, "images[%d]: id %d is used twice; give each image its own", i, s.ID)
		}
		b.sample[s.ID] = i
		b.all = append(b.all, s)
	}
	return nil
}

func (b *builder) image(i int, m item[rawImage]) (s datasets.Sample, err error) {
	r := m.raw
	if r.ID == nil {
		return s, b.errorAt(m.at, `images[%d]: "id" is missing; expected a whole number`, i)
	}
	where := fmt.Sprintf("images[%d] (id %d)", i, *r.ID)
	if r.FileName == nil || *r.FileName == "" {
		return s, b.errorAt(m.at, `%s: "file_name" is missing; expected a path below the image folder`, where)
	}
	if !filepath.IsLocal(filepath.FromSlash(*r.FileName)) {
		return s, b.errorAt(m.at, "%s: file_name %q leaves the image folder; expected a path below it", where, *r.FileName)
	}
	if r.Width == nil || r.Height == nil {
		return s, b.errorAt(m.at, `%s: "width" or "height" is missing; expected the image's size in pixels`, where)
	}
	if err := imagefile.CheckSize(*r.Width, *r.Height); err != nil {
		return s, b.errorAt(m.at, "%s: width and height: %v", where, err)
	}
	return datasets.Sample{
		ID:     *r.ID,
		Path:   filepath.Join(b.dir, filepath.FromSlash(*r.FileName)),
		Width:  int(*r.Width),
		Height: int(*r.Height),
	}, nil
}

// checkFiles reads every image file's header and keeps the samples that can be used.
func (b *builder) checkFiles() error {
	var bad []error
	for i, s := range b.all {
		if err := b.checkFile(i, s); err != nil {
			bad = append(bad, err)
			b.sample[s.ID] = -1
			continue
		}
		b.sample[s.ID] = len(b.set.samples)
		b.set.samples = append(b.set.samples, s)
		b.set.truth.Images = append(b.set.truth.Images, s.ID)
	}
	if len(bad) > 0 && !b.options.SkipBad {
		return b.badImages(bad)
	}
	if len(b.set.samples) == 0 {
		return b.error("none of the %d images can be used; the first: %v", len(bad), bad[0])
	}
	return nil
}

func (b *builder) checkFile(i int, s datasets.Sample) error {
	p := &b.set.problems
	w, h, err := imagefile.Size(s.Path)
	where := fmt.Sprintf("images[%d] (id %d)", i, s.ID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Missing.add("image %d (%s)", s.ID, s.Path)
		hint := ""
		if strings.Contains(s.Path, `\`) {
			hint = `; the name has a backslash, expected "/"`
		}
		return fmt.Errorf("%s: no such file: %s%s", where, s.Path, hint)
	case err != nil:
		p.Unreadable.add("image %d: %v", s.ID, err)
		return fmt.Errorf("%s: %w", where, err)
	case w != s.Width || h != s.Height:
		p.WrongSize.add("image %d (%s): annotated %dx%d, file %dx%d", s.ID, s.Path, s.Width, s.Height, w, h)
		return fmt.Errorf("%s: annotated as %dx%d, but the file %s is %dx%d (orientation applied), so the boxes would not fit; correct the annotations or the file",
			where, s.Width, s.Height, s.Path, w, h)
	}
	return nil
}

func (b *builder) badImages(bad []error) error {
	lines := make([]string, 0, maxListed+1)
	for _, e := range bad[:min(len(bad), maxListed)] {
		lines = append(lines, e.Error())
	}
	if n := len(bad) - len(lines); n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	msg := fmt.Sprintf("%d of %d images cannot be used; expected all of them; mend them or have bad images skipped:\n  %s",
		len(bad), len(b.all), strings.Join(lines, "\n  "))
	return &ImageError{File: b.name, Count: len(bad), Msg: msg, errs: bad}
}

// ImageError reports image files that cannot be used; it wraps each one's error.
type ImageError struct {
	File  string
	Count int
	Msg   string
	errs  []error
}

func (e *ImageError) Error() string { return e.File + ": " + e.Msg }

// Unwrap returns the errors of the single images.
func (e *ImageError) Unwrap() []error { return e.errs }
