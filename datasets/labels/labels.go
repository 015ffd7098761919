// Package labels is what the label formats share: the form in which a reader
// hands over what it found, the policy for what is wrong with it, and the Set
// that comes out, which training, evaluation and the writers use.
//
// The policy is one for all formats:
//
//	error      the file is not of its format at all; classes used twice; class names
//	           other than the expected ones
//	error, or with SkipBad left out and counted
//	           entries: NaN and infinity, ids that are unknown or used twice, negative
//	           sizes, wrong types and column counts, paths that leave the data root;
//	           image files that are missing, broken, too large, or of another size than
//	           annotated (the boxes would sit elsewhere)
//	counted    boxes of zero area, wholly outside the image or exact duplicates (dropped);
//	           boxes partly outside (clipped); boxes without an area, images without labels
//
// Only headers of image files are read, unless Options.Decode asks for all of
// them; damage behind the header shows when the image is decoded. Nothing that
// belongs to the user is ever changed.
package labels

import "fmt"

// Kind tells what sort of mistake an entry is.
type Kind int

// The kinds of mistakes in entries.
const (
	BadEntry    Kind = iota // a wrong type, a missing key, a wrong number of columns
	NotFinite               // NaN or infinity
	UnknownID               // a class, category or image that is not listed
	DuplicateID             // an id or an image file that is listed twice
	BadBox                  // a negative size, pixels where shares are expected
	OutsideRoot             // a path that leaves the data root
)

// FormatError reports labels that are broken. Line and Col are 0 where the
// fault has no one place.
type FormatError struct {
	File      string
	Line, Col int
	Msg       string
	Kind      Kind
}

func (e *FormatError) Error() string {
	switch {
	case e.Line == 0:
		return e.File + ": " + e.Msg
	case e.Col == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// File is what a reader found. Entries that make no sense are Faults instead.
type File struct {
	Name    string // in messages: the annotation file, or the folder of a format without one
	Classes []Class
	Images  []Image
	Boxes   []Box
	Faults  []*FormatError
	Notes   Notes
}

// Notes are what a reader noticed that is no mistake.
type Notes struct {
	NoLabels Finding // images without a label file: taken as background
	Beside   Finding // label files beside the image rather than in labels/
	TwoFiles Finding // label files in both places: that in labels/ is taken
	Tiny     Finding // images of less than 10 pixels a side, which other programs refuse
	SizeHint Finding // VOC's size element differs from the image: the image's own is taken
}

// Class is a class with the number that the format uses for it.
type Class struct {
	ID   int64
	Name string
}

// Image is an image file as the labels tell of it.
type Image struct {
	ID            int64
	File          string // its path below the data root, with slashes
	Path          string // where it lies
	Width, Height int    // as annotated; 0: the file is asked
	SizeHint      bool   // Width and Height are often wrong in this format: a difference is only counted
	Where         string // in messages
	Bad           bool   // a fault tells why it cannot be used; its boxes are left out
	Relative      bool   // its boxes are in shares of its size, and centre form
}

// Box is a labelled object as the labels tell of it.
type Box struct {
	ID        int64
	Image     int // index into File.Images
	Class     int
	Box       [4]float64 // x, y, w, h in pixels from the top left corner; of a Relative image cx, cy, w, h
	Area      float64    // negative: w*h
	NoArea    bool       // the format has an area, but not this box
	Crowd     bool
	Difficult bool
	Truncated bool
	File      string // where it stands, if it has a line of its own
	Line      int
}

// Fault adds a fault.
func (f *File) Fault(kind Kind, file string, line int, format string, args ...any) {
	f.Faults = append(f.Faults, &FormatError{File: file, Line: line, Msg: fmt.Sprintf(format, args...), Kind: kind})
}

// Names returns the class names.
func (f *File) Names() []string {
	out := make([]string, len(f.Classes))
	for i, c := range f.Classes {
		out[i] = c.Name
	}
	return out
}

// where names a box in messages.
func (f *File) where(b Box) string {
	if b.File != "" {
		return fmt.Sprintf("%s:%d", b.File, b.Line)
	}
	return fmt.Sprintf("annotation %d of image %d", b.ID, f.Images[b.Image].ID)
}

// NewClasses numbers names from first on.
func NewClasses(names []string, first int64) []Class {
	out := make([]Class, len(names))
	for i, n := range names {
		out[i] = Class{first + int64(i), n}
	}
	return out
}
