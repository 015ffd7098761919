// Package datasets holds what every image source and every consumer of
// training data agree on: a sample is an image file and its boxes.
//
// Two measures of a box occur. Box is in pixels of an image, top-left corner
// and size, with the pixel i covering [i, i+1). Truth is relative to the
// network's input, centre and size, and is what a loss reads.
package datasets

// Box is one labelled object in pixels of its image.
type Box struct {
	ID         int64
	Class      int
	X, Y, W, H float64
	Area       float64 // of the object's outline where the source knows it, else W*H
	Crowd      bool    // a group of objects: evaluated by its own rule, never trained on
	Difficult  bool    // hard to recognise (VOC): never trained on
	Truncated  bool    // part of the object is outside the image (VOC)
}

// Sample is one image file with its boxes.
type Sample struct {
	ID            int64
	Path          string
	Width, Height int // of the image as it is shown, orientation applied
	Boxes         []Box
}

// Source is a set of samples over one list of classes. CategoryIDs()[c] is
// the number that the source's own files use for class c.
type Source interface {
	Names() []string
	CategoryIDs() []int64
	Len() int
	Sample(i int) Sample
}

// Truth is a box in centre form, relative to the network's input.
type Truth struct {
	Class      int
	X, Y, W, H float64
}

// Truths turns boxes of a w x h image into the loss's form. Crowd and
// difficult boxes are left out.
func Truths(boxes []Box, w, h int) []Truth {
	sx, sy := 1/float64(w), 1/float64(h)
	var out []Truth
	for _, b := range boxes {
		if b.Crowd || b.Difficult {
			continue
		}
		out = append(out, Truth{
			Class: b.Class,
			X:     (b.X + b.W/2) * sx,
			Y:     (b.Y + b.H/2) * sy,
			W:     b.W * sx,
			H:     b.H * sy,
		})
	}
	return out
}

// Scaled returns the boxes of an image that was stretched by sx and sy.
func Scaled(boxes []Box, sx, sy float64) []Box {
	out := make([]Box, len(boxes))
	for i, b := range boxes {
		b.X, b.W = b.X*sx, b.W*sx
		b.Y, b.H = b.Y*sy, b.H*sy
		b.Area *= sx * sy
		out[i] = b
	}
	return out
}

// First returns the first n samples of a source, or all if it has fewer.
func First(src Source, n int) Source { return first{src, min(n, src.Len())} }

type first struct {
	Source
	n int
}

// Len implements Source.
func (f first) Len() int { return f.n }
