// Package yolotxt reads and writes the label files that Darknet and the later
// YOLO programs share: beside or parallel to each image a text file with one
// object a line,
//
//	class cx cy w h
//
// where class counts from 0 and the box is in centre form, in shares of the
// image's width and height. Darknet's own reader takes the numbers one after
// another without regard to lines, so that one bad token spoils all that
// follow; here every line stands for itself and a bad one is reported.
package yolotxt

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"yoloprune/datasets/labels"
)

// Rules say what differs between the two families.
type Rules struct {
	Classes  int  // how many there are
	Polygons bool // rows of outlines, "class x1 y1 x2 y2 x3 y3 ...", become their bounding boxes
	Decimal  bool // the class may be written as 3.0
	Beside   bool // label files usually lie beside the images and need no mention
}

// Row is one object.
type Row struct {
	Line, Class int
	Box         [4]float64 // cx, cy, w, h
}

// Parse reads the text of a label file. Lines that make no sense become faults.
func Parse(name string, text []byte, r Rules) (rows []Row, faults []*labels.FormatError) {
	for i, line := range labels.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		row, f := r.row(fields)
		if f != nil {
			f.File, f.Line = name, i+1
			faults = append(faults, f)
			continue
		}
		row.Line = i + 1
		rows = append(rows, row)
	}
	return rows, faults
}

func faultf(kind labels.Kind, format string, args ...any) *labels.FormatError {
	return &labels.FormatError{Kind: kind, Msg: fmt.Sprintf(format, args...)}
}

func (r Rules) row(fields []string) (row Row, f *labels.FormatError) {
	if row.Class, f = r.class(fields[0]); f != nil {
		return row, f
	}
	polygon := r.Polygons && len(fields) >= 7 && len(fields)%2 == 1
	if len(fields) != 5 && !polygon {
		return row, faultf(labels.BadEntry, "found %d columns; expected 5: class cx cy w h", len(fields))
	}
	values := make([]float64, len(fields)-1)
	for i, s := range fields[1:] {
		v, err := strconv.ParseFloat(s, 64)
		switch {
		case math.IsInf(v, 0) || math.IsNaN(v):
			return row, faultf(labels.NotFinite, "column %d is %q; expected a finite number", i+2, s)
		case err != nil:
			return row, faultf(labels.BadEntry, "column %d is %q; expected a number", i+2, s)
		case math.Abs(v) > 2:
			return row, faultf(labels.BadBox, "column %d is %g; expected a share of the image in 0..1, not pixels", i+2, v)
		}
		values[i] = v
	}
	if polygon {
		row.Box = bounds(values)
		return row, nil
	}
	row.Box = [4]float64(values)
	if row.Box[2] < 0 || row.Box[3] < 0 {
		return row, faultf(labels.BadBox, "the size %g x %g is negative; expected class cx cy w h", row.Box[2], row.Box[3])
	}
	return row, nil
}

func (r Rules) class(s string) (int, *labels.FormatError) {
	c, err := strconv.Atoi(s)
	if v, e := strconv.ParseFloat(s, 64); err != nil && r.Decimal && e == nil && v == math.Trunc(v) && math.Abs(v) < 1<<31 {
		c, err = int(v), nil
	}
	switch {
	case err != nil:
		return 0, faultf(labels.BadEntry, "the class is %q; expected a whole number", s)
	case c < 0 || c >= r.Classes:
		return 0, faultf(labels.UnknownID, "class %d is not in 0..%d; add its name or correct the label", c, r.Classes-1)
	}
	return c, nil
}

// bounds returns the bounding box of x1 y1 x2 y2 ... in centre form.
func bounds(v []float64) [4]float64 {
	x0, y0, x1, y1 := v[0], v[1], v[0], v[1]
	for i := 2; i < len(v); i += 2 {
		x0, x1 = min(x0, v[i]), max(x1, v[i])
		y0, y1 = min(y0, v[i+1]), max(y1, v[i+1])
	}
	return [4]float64{(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0}
}

// Twin returns the label path of an image whose path, with slashes, has a
// folder images or JPEGImages: the last of these becomes labels. ok is false
// where there is none.
func Twin(image string) (label string, ok bool) {
	parts := strings.Split(image, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i] == "images" || parts[i] == "JPEGImages" {
			parts[i] = "labels"
			return Beside(strings.Join(parts, "/")), true
		}
	}
	return "", false
}

// Beside returns the path of the label file that lies beside an image.
func Beside(image string) string {
	return strings.TrimSuffix(image, path.Ext(image)) + ".txt"
}

// Reader gathers images and their labels.
type Reader struct {
	File  *labels.File
	Root  labels.Root
	Rules Rules
	seen  map[string]string
}

// Add adds the image raw, which stands on a line of a list or, with line 0, was
// found in a folder; it is looked up in each of the folders in turn.
func (r *Reader) Add(raw, list string, line int, folders ...string) error {
	where, file, err := r.Root.Find(raw, folders...)
	if err != nil {
		r.File.Fault(labels.OutsideRoot, list, line, "%v", err)
		return nil
	}
	at := where
	if line > 0 {
		at = fmt.Sprintf("%s:%d", list, line)
	}
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	if first, twice := r.seen[where]; twice {
		r.File.Fault(labels.DuplicateID, list, line, "the image %s is listed at %s, too; remove one of the two", where, first)
		return nil
	}
	r.seen[where] = at
	r.File.Images = append(r.File.Images, labels.Image{
		ID: int64(len(r.File.Images) + 1), File: file, Path: where, Where: at, Relative: true,
	})
	return r.addLabels(where, file)
}

// addLabels reads the label file of the image that was added last.
func (r *Reader) addLabels(where, file string) error {
	label, err := r.find(where, file)
	if err != nil || label == "" {
		return err
	}
	text, err := labels.ReadFile(label, labels.MaxText)
	if err != nil {
		return r.unreadable(label, err)
	}
	rows, faults := Parse(label, text, r.Rules)
	r.File.Faults = append(r.File.Faults, faults...)
	for _, row := range rows {
		r.File.Boxes = append(r.File.Boxes, labels.Box{
			ID: int64(len(r.File.Boxes) + 1), Image: len(r.File.Images) - 1, Class: row.Class, Box: row.Box,
			Area: -1, File: label, Line: row.Line,
		})
	}
	return nil
}

// unreadable makes a label file that is no text a fault; its image is left out.
func (r *Reader) unreadable(label string, err error) error {
	e, ok := err.(*labels.FormatError)
	if !ok {
		return err
	}
	r.File.Images[len(r.File.Images)-1].Bad = true
	r.File.Faults = append(r.File.Faults, e)
	return nil
}

// find returns the image's label file, "" if there is none.
func (r *Reader) find(where, file string) (string, error) {
	twin := ""
	if t, ok := Twin(file); ok {
		twin = filepath.Join(strings.TrimSuffix(filepath.ToSlash(where), file), filepath.FromSlash(t))
	}
	beside := filepath.FromSlash(Beside(filepath.ToSlash(where)))
	hasTwin, hasBeside := twin != "" && exists(twin), exists(beside)
	n := &r.File.Notes
	switch {
	case hasTwin && hasBeside:
		n.TwoFiles.Add("%s, %s", twin, beside)
		return twin, nil
	case hasTwin:
		return twin, nil
	case hasBeside:
		if !r.Rules.Beside {
			n.Beside.Add("%s", beside)
		}
		return beside, nil
	}
	if exists(where) {
		n.NoLabels.Add("%s", where)
	}
	return "", nil
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}
