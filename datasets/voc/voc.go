// Package voc reads and writes Pascal VOC's data sets: Annotations/*.xml,
// JPEGImages and ImageSets/Main/<split>.txt.
//
// http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html
//
// A bndbox has 1-based pixels, both ends belonging to the object. With 0-based
// edges, where pixel i covers [i, i+1), that is
//
//	x = xmin - 1, y = ymin - 1, w = xmax - xmin + 1, h = ymax - ymin + 1
//
// The script voc_label.py, which came with Darknet, takes w = xmax - xmin
// instead, half a pixel less on each side. Files of programs that count from 0
// show as boxes that reach one pixel out of the image.
package voc

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"yoloprune/datasets/labels"
)

// Options say where the set's files are.
type Options struct {
	Root        labels.Root
	Annotations string   // folder of the XML files; empty: Annotations in the root
	Images      string   // folder of the images; empty: JPEGImages in the root
	List        string   // names of the images; empty: ImageSets/Main/<Split>.txt, or all files where there is none
	Split       string   // train, val or test
	Names       []string // the classes; nil: those in the file classes.names, or all that occur, by name
}

const namesFile = "classes.names"

// Read reads a data set. Its images are not opened.
func Read(o Options) (*labels.File, error) {
	o.Annotations = cmp.Or(o.Annotations, filepath.Join(o.Root.Dir, "Annotations"))
	o.Images = cmp.Or(o.Images, filepath.Join(o.Root.Dir, "JPEGImages"))
	ids, list, err := o.list()
	if err != nil {
		return nil, err
	}
	names, err := o.classes()
	if err != nil {
		return nil, err
	}
	r := &reader{o: o, file: &labels.File{Name: list, Classes: labels.NewClasses(names, 1)}, class: map[string]int{}}
	for i, n := range names {
		r.class[n] = i
	}
	seen := map[string]int{}
	for _, id := range ids {
		if first, twice := seen[id.name]; twice {
			r.file.Fault(labels.DuplicateID, list, id.line, "the image %s stands on line %d, too; remove one of the two", id.name, first)
			continue
		}
		seen[id.name] = id.line
		if err := r.add(id, list); err != nil {
			return nil, err
		}
	}
	return r.file, nil
}

// entry is an image's name with its line in the list.
type entry struct {
	name string
	line int
}

// list returns the names of the images and the file that they stand in.
func (o Options) list() ([]entry, string, error) {
	file := o.List
	if file == "" {
		file = filepath.Join(o.Root.Dir, "ImageSets", "Main", o.Split+".txt")
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			all, err := o.all()
			return all, o.Annotations, err
		}
	}
	text, err := labels.ReadFile(file, labels.MaxText)
	if err != nil {
		return nil, "", err
	}
	ids := parseList(text)
	if len(ids) == 0 {
		return nil, "", &labels.FormatError{File: file, Msg: "the list is empty; expected one image name a line"}
	}
	return ids, file, nil
}

// parseList reads a list of names. Those of single classes have a second
// column, which says whether the class occurs.
func parseList(text []byte) []entry {
	var out []entry
	for i, line := range labels.Lines(text) {
		line = strings.TrimSpace(line)
		if f := strings.Fields(line); len(f) == 2 && slices.Contains([]string{"-1", "0", "1"}, f[1]) {
			line = f[0]
		}
		if line != "" {
			out = append(out, entry{line, i + 1})
		}
	}
	return out
}

// all lists every annotation file.
func (o Options) all() ([]entry, error) {
	files, err := os.ReadDir(o.Annotations)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".xml"); ok {
			out = append(out, entry{name: name})
		}
	}
	if len(out) == 0 {
		return nil, &labels.FormatError{File: o.Annotations, Msg: "the folder has no .xml files"}
	}
	return out, nil
}

// classes returns the class names.
func (o Options) classes() ([]string, error) {
	if o.Names != nil {
		return o.Names, nil
	}
	file := filepath.Join(o.Root.Dir, namesFile)
	if _, err := os.Stat(file); err == nil {
		return labels.ReadNames(file)
	}
	all, err := o.all()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, id := range all {
		a, _ := o.parse(id.name)
		if a == nil {
			continue
		}
		for _, obj := range a.objects {
			seen[obj.name()] = true
		}
	}
	delete(seen, "")
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return nil, &labels.FormatError{File: o.Annotations, Msg: "no file has an object, so the class names are not known; give a names file"}
	}
	return names, nil
}

// maxXML bounds one annotation file.
const maxXML = 1 << 24

func (o Options) xmlFile(name string) string { return filepath.Join(o.Annotations, name+".xml") }

func (o Options) parse(name string) (*annotation, error) {
	file := o.xmlFile(name)
	text, err := labels.ReadFile(file, maxXML)
	if err != nil {
		return nil, err
	}
	return parse(file, text)
}

type (
	// annotation is a file.
	annotation struct {
		filename      string
		width, height string
		objects       []object
	}
	object struct {
		Name      []string `xml:"name"`
		Difficult string   `xml:"difficult"`
		Truncated string   `xml:"truncated"`
		Boxes     []bndbox `xml:"bndbox"`
		line      int
	}
	bndbox struct {
		XMin []string `xml:"xmin"`
		YMin []string `xml:"ymin"`
		XMax []string `xml:"xmax"`
		YMax []string `xml:"ymax"`
	}
)

func (o object) name() string {
	if len(o.Name) != 1 {
		return ""
	}
	return strings.TrimSpace(o.Name[0])
}

// parse reads the elements that matter, in any order. Boxes of an object's
// parts are not those of the object.
func parse(file string, text []byte) (*annotation, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = latin1
	fail := func(format string, args ...any) (*annotation, error) {
		line, _ := d.InputPos()
		return nil, &labels.FormatError{File: file, Line: line, Msg: fmt.Sprintf(format, args...)}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, &labels.FormatError{File: file, Msg: "the file is empty; expected <annotation>"}
	}
	a := &annotation{}
	depth := 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			if depth == 0 {
				return fail("found no element; expected <annotation>")
			}
			return a, nil
		}
		if err != nil {
			return fail("not valid XML: %v", plain(err))
		}
		e, ok := t.(xml.StartElement)
		switch {
		case !ok:
		case depth == 0 && e.Name.Local != "annotation":
			return fail("found <%.40s>; expected <annotation>", e.Name.Local)
		case depth == 0:
			depth++
		default:
			if err := a.element(d, e); err != nil {
				return fail("not valid XML: %v", plain(err))
			}
		}
	}
}

// plain leaves out the line that the decoder gives itself.
func plain(err error) string {
	var s *xml.SyntaxError
	if errors.As(err, &s) {
		return s.Msg
	}
	return err.Error()
}

// latin1 reads the encodings of old annotation programs.
func latin1(charset string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii", "utf8":
		return r, nil
	case "iso-8859-1", "latin1", "windows-1252":
	default:
		return nil, fmt.Errorf("the encoding %s is not known; save the file as UTF-8", charset)
	}
	data, err := io.ReadAll(r)
	out := make([]rune, len(data))
	for i, c := range data {
		out[i] = rune(c)
	}
	return strings.NewReader(string(out)), err
}

// element reads a child of <annotation>.
func (a *annotation) element(d *xml.Decoder, e xml.StartElement) error {
	switch e.Name.Local {
	case "filename":
		return d.DecodeElement(&a.filename, &e)
	case "size":
		var s struct {
			Width  string `xml:"width"`
			Height string `xml:"height"`
		}
		err := d.DecodeElement(&s, &e)
		a.width, a.height = s.Width, s.Height
		return err
	case "object":
		var o object
		o.line, _ = d.InputPos()
		err := d.DecodeElement(&o, &e)
		a.objects = append(a.objects, o)
		return err
	}
	return d.Skip()
}

// reader gathers the images of a list.
type reader struct {
	o     Options
	file  *labels.File
	class map[string]int
}

func (r *reader) add(id entry, list string) error {
	if !filepath.IsLocal(filepath.FromSlash(id.name)) {
		r.file.Fault(labels.OutsideRoot, list, id.line, "the name %q leaves the annotation folder", id.name)
		return nil
	}
	a, err := r.o.parse(id.name)
	var broken *labels.FormatError
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.file.Fault(labels.UnknownID, list, id.line, "no such annotation file: %s", r.o.xmlFile(id.name))
		return nil
	case errors.As(err, &broken):
		r.file.Faults = append(r.file.Faults, broken)
		return nil
	case err != nil:
		return err
	}
	file := r.o.xmlFile(id.name)
	where, below, err := r.image(id.name, strings.TrimSpace(a.filename))
	if err != nil {
		r.file.Fault(labels.OutsideRoot, file, 0, "filename: %v", err)
		return nil
	}
	m := labels.Image{ID: int64(len(r.file.Images) + 1), File: below, Path: where, Where: file, SizeHint: true}
	m.Width, m.Height = size(a.width), size(a.height)
	r.file.Images = append(r.file.Images, m)
	for _, o := range a.objects {
		r.addObject(file, o)
	}
	return nil
}

// size reads what is often 0 or missing and is only compared.
func size(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// image finds the image of an annotation: the file that it names or, where
// that is missing, one of the annotation's own name.
func (r *reader) image(name, filename string) (where, below string, err error) {
	candidates := []string{filename}
	for _, ext := range []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG"} {
		candidates = append(candidates, name+ext)
	}
	var refused error
	for _, c := range candidates {
		if c == "" {
			continue
		}
		where, below, err := r.o.Root.Find(c, r.o.Images)
		switch {
		case err != nil:
			refused = err
		case isFile(where):
			return where, below, nil
		}
	}
	if refused != nil {
		return "", "", refused
	}
	return r.o.Root.Find(cmp.Or(filename, name+".jpg"), r.o.Images)
}

func isFile(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular()
}

func (r *reader) addObject(file string, o object) {
	fault := func(kind labels.Kind, format string, args ...any) {
		r.file.Fault(kind, file, o.line, "object: "+format, args...)
	}
	class, known := r.class[o.name()]
	box, f := o.box()
	switch {
	case o.name() == "":
		fault(labels.BadEntry, "found %d names; expected one <name>", len(o.Name))
	case !known:
		fault(labels.UnknownID, "the class %q is not among the %d names; add it or correct the object", o.name(), len(r.class))
	case f != nil:
		fault(f.Kind, "%s", f.Msg)
	default:
		r.file.Boxes = append(r.file.Boxes, labels.Box{
			ID: int64(len(r.file.Boxes) + 1), Image: len(r.file.Images) - 1, Class: class, Box: box, Area: -1,
			Difficult: isSet(o.Difficult), Truncated: isSet(o.Truncated), File: file, Line: o.line,
		})
	}
}

func isSet(s string) bool {
	s = strings.TrimSpace(s)
	return s == "1" || strings.EqualFold(s, "true")
}

// box turns the corners into top-left form.
func (o object) box() (box [4]float64, f *labels.FormatError) {
	if len(o.Boxes) != 1 {
		return box, &labels.FormatError{Msg: fmt.Sprintf("found %d <bndbox>; expected one", len(o.Boxes))}
	}
	b := o.Boxes[0]
	var v [4]float64
	for i, c := range []struct {
		name string
		text []string
	}{{"xmin", b.XMin}, {"ymin", b.YMin}, {"xmax", b.XMax}, {"ymax", b.YMax}} {
		if len(c.text) != 1 {
			return box, &labels.FormatError{Msg: fmt.Sprintf("found %d <%s>; expected one", len(c.text), c.name)}
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(c.text[0]), 64)
		if labels.Finite(n) != nil {
			return box, &labels.FormatError{Kind: labels.NotFinite, Msg: fmt.Sprintf("%s is %q; expected a finite number", c.name, c.text[0])}
		}
		if err != nil {
			return box, &labels.FormatError{Msg: fmt.Sprintf("%s is %q; expected a number", c.name, c.text[0])}
		}
		v[i] = n
	}
	box = [4]float64{v[0] - 1, v[1] - 1, v[2] - v[0] + 1, v[3] - v[1] + 1}
	if box[2] < 0 || box[3] < 0 {
		return box, &labels.FormatError{Kind: labels.BadBox, Msg: fmt.Sprintf("the corners (%g, %g) and (%g, %g) stand in the wrong order", v[0], v[1], v[2], v[3])}
	}
	return box, nil
}
