// Package coco reads and writes object detection annotations in COCO's JSON
// format.
//
// https://cocodataset.org/#format-data
//
// Boxes are [x, y, width, height] in pixels, 0-based, top-left corner. Classes
// are the categories in the order of their ids. A missing area becomes width
// times height and is counted, a missing iscrowd is 0. The keys difficult and
// truncated, which COCO does not have, keep what VOC says of an object. What
// else is accepted, mended or refused is said in package labels.
package coco

import (
	"fmt"
	"math"
	"os"
	"slices"

	"yoloprune/datasets/imagefile"
	"yoloprune/datasets/labels"
)

// These are the types of package labels.
type (
	Options     = labels.Options
	Set         = labels.Set
	Problems    = labels.Problems
	Finding     = labels.Finding
	FormatError = labels.FormatError
	ImageError  = labels.ImageError
)

// maxBytes bounds the annotation file; COCO's largest has under 500 MB.
const maxBytes = 1 << 31

// Load reads an annotation file and checks its images in imagesDir. file_name
// may carry folders; it is looked up below imagesDir and nowhere else.
func Load(annotations, imagesDir string, o Options) (*Set, error) {
	f, err := Read(annotations, labels.Root{Dir: imagesDir})
	if err != nil {
		return nil, err
	}
	return labels.Build(f, o)
}

// Read reads an annotation file. Its images are not opened.
func Read(annotations string, root labels.Root) (*labels.File, error) {
	data, err := labels.ReadFile(annotations, maxBytes)
	if err != nil {
		return nil, err
	}
	d, err := parse(annotations, data)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(root.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s: no such image folder", root.Dir)
	}
	return d.labels(root)
}

// labels checks the lists against each other.
func (d *document) labels(root labels.Root) (*labels.File, error) {
	b := builder{document: d, root: root, file: &labels.File{Name: d.name}}
	if err := b.addCategories(); err != nil {
		return nil, err
	}
	if len(b.images) == 0 {
		return nil, b.error(`the list "images" is empty; expected at least one image`)
	}
	b.addImages()
	b.addAnnotations()
	b.file.Faults = append(b.file.Faults, b.faults...)
	b.file.SortFaults()
	return b.file, nil
}

// builder turns a document into labels.
type builder struct {
	*document
	root  labels.Root
	file  *labels.File
	class map[int64]int // category id to class
	image map[int64]int // image id to its place in file.Images
}

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
		b.file.Classes = append(b.file.Classes, labels.Class{ID: *c.raw.ID, Name: *c.raw.Name})
	}
	return nil
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

// fault is a mistake in one entry.
type fault struct {
	kind labels.Kind
	msg  string
}

func faultf(kind labels.Kind, format string, args ...any) *fault {
	return &fault{kind, fmt.Sprintf(format, args...)}
}

// addImages adds all images with an id, the faulty ones as bad.
func (b *builder) addImages() {
	b.image = make(map[int64]int, len(b.images))
	for i, m := range b.images {
		image, f := b.checkImage(m)
		if f != nil {
			b.report(m.at, f, "images[%d]", i)
		}
		if m.raw.ID == nil {
			continue
		}
		image.ID, image.Bad = *m.raw.ID, f != nil || m.broken
		image.Where = fmt.Sprintf("images[%d] (id %d)", i, image.ID)
		if _, twice := b.image[image.ID]; twice {
			b.report(m.at, faultf(labels.DuplicateID, "id %d is used twice; give each image its own", image.ID), "images[%d]", i)
			continue
		}
		b.image[image.ID] = len(b.file.Images)
		b.file.Images = append(b.file.Images, image)
	}
}

func (b *builder) report(at int64, f *fault, format string, args ...any) {
	e := b.place(at, fmt.Sprintf(format, args...)+": "+f.msg)
	e.Kind = f.kind
	b.file.Faults = append(b.file.Faults, e)
}

// checkImage checks an image's entry by itself.
func (b *builder) checkImage(m item[rawImage]) (out labels.Image, f *fault) {
	r := m.raw
	switch {
	case m.broken:
		return out, nil
	case r.ID == nil:
		return out, faultf(labels.BadEntry, `"id" is missing; expected a whole number`)
	case r.FileName == nil || *r.FileName == "":
		return out, faultf(labels.BadEntry, `(id %d) "file_name" is missing; expected a path below the image folder`, *r.ID)
	case r.Width == nil || r.Height == nil:
		return out, faultf(labels.BadEntry, `(id %d) "width" or "height" is missing; expected the image's size in pixels`, *r.ID)
	}
	if err := imagefile.CheckSize(*r.Width, *r.Height); err != nil {
		return out, faultf(labels.BadEntry, "(id %d) width and height: %v", *r.ID, err)
	}
	where, file, err := b.root.Find(*r.FileName, b.root.Dir)
	if err != nil {
		return out, faultf(labels.OutsideRoot, "(id %d) file_name: %v", *r.ID, err)
	}
	return labels.Image{File: file, Path: where, Width: int(*r.Width), Height: int(*r.Height)}, nil
}

// addAnnotations adds the annotations that make sense.
func (b *builder) addAnnotations() {
	seen := make(map[int64]struct{}, len(b.annotations))
	for i, a := range b.annotations {
		if a.broken {
			continue
		}
		box, f := b.annotation(a.raw)
		if _, twice := seen[box.ID]; twice && f == nil {
			f = faultf(labels.DuplicateID, "id %d is used twice; give each annotation its own", box.ID)
			b.report(a.at, f, "annotations[%d]", i)
			continue
		}
		switch {
		case f != nil && a.raw.ID != nil:
			b.report(a.at, f, "annotations[%d] (id %d)", i, *a.raw.ID)
			continue
		case f != nil:
			b.report(a.at, f, "annotations[%d]", i)
			continue
		}
		seen[box.ID] = struct{}{}
		b.file.Boxes = append(b.file.Boxes, box)
	}
}

// annotation checks one annotation by itself and against the other lists.
func (b *builder) annotation(r rawAnnotation) (box labels.Box, f *fault) {
	if r.ID == nil {
		return box, faultf(labels.BadEntry, `"id" is missing; expected a whole number`)
	}
	if r.Image == nil || r.Category == nil {
		return box, faultf(labels.BadEntry, `"image_id" or "category_id" is missing; expected both`)
	}
	image, ok := b.image[*r.Image]
	if !ok {
		return box, faultf(labels.UnknownID, "image_id %d is not in images; add the image or remove the annotation", *r.Image)
	}
	class, ok := b.class[*r.Category]
	if !ok {
		return box, faultf(labels.UnknownID, "category_id %d is not in categories (%s); add the category or correct the annotation", *r.Category, ids(b.class))
	}
	at, f := corners(r.Box)
	if f != nil {
		return box, f
	}
	box = labels.Box{
		ID: *r.ID, Image: image, Class: class, Box: at, Area: at[2] * at[3], NoArea: r.Area == nil,
		Crowd: bool(r.Crowd), Difficult: bool(r.Difficult), Truncated: bool(r.Truncated),
	}
	if r.Area != nil {
		if box.Area = *r.Area; box.Area < 0 {
			return box, faultf(labels.BadBox, "area is %g; expected a number that is not negative", box.Area)
		}
	}
	return box, nil
}

func corners(raw []*float64) (box [4]float64, f *fault) {
	if len(raw) != 4 {
		return box, faultf(labels.BadEntry, "bbox: found %d numbers; expected [x, y, width, height]", len(raw))
	}
	for i, v := range raw {
		if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
			return box, faultf(labels.NotFinite, "bbox: number %d is not finite; expected [x, y, width, height]", i+1)
		}
		box[i] = *v
	}
	if box[2] < 0 || box[3] < 0 {
		return box, faultf(labels.BadBox, "bbox: the size %gx%g is negative; expected [x, y, width, height], not two corners in any order", box[2], box[3])
	}
	return box, nil
}
