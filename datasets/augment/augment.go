// Package augment changes training images at random: mosaic, scale, aspect,
// shift, flips and colour. All geometry happens in one resampling, and boxes
// follow it.
//
// Mosaic: Bochkovskiy et al., YOLOv4, arXiv:2004.10934, section 3.4. The colour
// gains are YOLOv5's: multiplicative in HSV.
package augment

import (
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"

	"yoloprune/datasets"

	"gocv.io/x/gocv"
)

// Options are the strengths; a zero value switches that part off.
type Options struct {
	Mosaic       float64 // probability of joining four images
	Scale        float64 // size factor within 1 +- Scale
	Aspect       float64 // width by 1 +- Aspect, height by the inverse
	Translate    float64 // shift within +- this share of the side
	FlipX, FlipY float64 // probability of mirroring left-right, top-bottom

	Hue, Saturation, Value float64 // colour factors within 1 +- this

	MinVisible float64 // a box is dropped unless more than this share of it is left,
	MinSize    float64 // and unless both sides are longer than this, in pixels
	Fill       uint8   // grey level where there is no image
}

// Default returns strengths that suit a few hundred images without a preferred
// orientation. For upright objects set FlipY to 0.
func Default() Options {
	return Options{
		Mosaic: 0.5, Scale: 0.3, Aspect: 0.1, Translate: 0.15, FlipX: 0.5, FlipY: 0.5,
		Hue: 0.015, Saturation: 0.5, Value: 0.35,
		MinVisible: 0.25, MinSize: 3, Fill: 114,
	}
}

// Check says which strength is out of its range, or nil.
func (o *Options) Check() error {
	for _, p := range []struct {
		name      string
		v, hi     float64
		inclusive bool
	}{
		{"mosaic", o.Mosaic, 1, true}, {"flip x", o.FlipX, 1, true}, {"flip y", o.FlipY, 1, true},
		{"scale", o.Scale, 1, false}, {"aspect", o.Aspect, 1, false}, {"translate", o.Translate, 1, false},
		{"hue", o.Hue, 1, true}, {"saturation", o.Saturation, 1, true}, {"value", o.Value, 1, true},
		{"min visible", o.MinVisible, 1, false}, {"min size", o.MinSize, 1000, true},
	} {
		if p.v >= 0 && (p.v < p.hi || p.inclusive && p.v == p.hi) {
			continue
		}
		end := ")"
		if p.inclusive {
			end = "]"
		}
		return fmt.Errorf("augmentation: %s is %g; expected a value in [0, %g%s", p.name, p.v, p.hi, end)
	}
	return nil
}

// Image is an 8-bit BGR picture and its boxes in that picture's pixels.
type Image struct {
	Pixels gocv.Mat
	Boxes  []datasets.Box
}

// Augmenter makes w x h images out of w x h images. It holds buffers, so one
// goroutine at a time may use it, and it must be closed.
type Augmenter struct {
	o      Options
	w, h   int
	canvas gocv.Mat
	hsv    gocv.Mat
	lut    gocv.Mat
	matrix gocv.Mat
}

// New returns an augmenter for images of w x h.
func New(o Options, w, h int) (*Augmenter, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	const maxSide = 1 << 14
	if w < 1 || h < 1 || w > maxSide || h > maxSide {
		return nil, fmt.Errorf("augmentation: an image size of %dx%d; expected sides of 1 to %d", w, h, maxSide)
	}
	return &Augmenter{
		o: o, w: w, h: h,
		canvas: gocv.NewMat(),
		hsv:    gocv.NewMat(),
		lut:    gocv.NewMatWithSize(1, 256, gocv.MatTypeCV8UC3),
		matrix: gocv.NewMatWithSize(2, 3, gocv.MatTypeCV64F),
	}, nil
}

// Close frees the buffers.
func (a *Augmenter) Close() {
	for _, m := range []*gocv.Mat{&a.canvas, &a.hsv, &a.lut, &a.matrix} {
		m.Close()
	}
}

// Single changes one image into dst and returns its boxes there.
func (a *Augmenter) Single(rng *rand.Rand, img Image, dst *gocv.Mat) ([]datasets.Box, error) {
	if err := a.checkImage(img); err != nil {
		return nil, err
	}
	m := a.o.draw(rng, a.w, a.h, a.w, a.h)
	a.warp(img.Pixels, m, dst)
	whole := place{shown: Rect{0, 0, float64(a.w), float64(a.h)}}
	return a.o.boxes(img.Boxes, whole, m, a.w, a.h), a.shiftColours(rng, dst)
}

// Mosaic joins four images on a canvas of twice the size, at a random point of
// its middle half, and cuts an image out of its middle.
func (a *Augmenter) Mosaic(rng *rand.Rand, imgs [4]Image, dst *gocv.Mat) ([]datasets.Box, error) {
	for _, img := range imgs {
		if err := a.checkImage(img); err != nil {
			return nil, err
		}
	}
	cx, cy := a.w/2+rng.IntN(a.w), a.h/2+rng.IntN(a.h)
	a.clearCanvas()
	m := a.o.draw(rng, 2*a.w, 2*a.h, a.w, a.h)
	var boxes []datasets.Box
	for q, img := range imgs {
		dx, dy, shown := tile(q, cx, cy, a.w, a.h)
		a.paste(img.Pixels, dx, dy)
		p := place{float64(dx), float64(dy), shown}
		boxes = append(boxes, a.o.boxes(img.Boxes, p, m, a.w, a.h)...)
	}
	a.warp(a.canvas, m, dst)
	return boxes, a.shiftColours(rng, dst)
}

func (a *Augmenter) checkImage(img Image) error {
	p := img.Pixels
	if p.Ptr() == nil || p.Cols() != a.w || p.Rows() != a.h || p.Type() != gocv.MatTypeCV8UC3 {
		return fmt.Errorf("augmentation: got an image that is not %dx%d with 3 channels of 8 bits", a.w, a.h)
	}
	return nil
}

func (a *Augmenter) clearCanvas() {
	if a.canvas.Empty() {
		a.canvas.Close()
		a.canvas = gocv.NewMatWithSize(2*a.h, 2*a.w, gocv.MatTypeCV8UC3)
	}
	f := float64(a.o.Fill)
	a.canvas.SetTo(gocv.NewScalar(f, f, f, 0))
}

// paste copies the part of src that falls on the canvas when it is put at (dx, dy).
func (a *Augmenter) paste(src gocv.Mat, dx, dy int) {
	on := image.Rect(dx, dy, dx+a.w, dy+a.h).Intersect(image.Rect(0, 0, 2*a.w, 2*a.h))
	if on.Empty() {
		return
	}
	from := src.Region(on.Sub(image.Pt(dx, dy)))
	defer from.Close()
	to := a.canvas.Region(on)
	defer to.Close()
	from.CopyTo(&to)
}

func (a *Augmenter) warp(src gocv.Mat, m Affine, dst *gocv.Mat) {
	for r, row := range m.indices() {
		for c, v := range row {
			a.matrix.SetDoubleAt(r, c, v)
		}
	}
	f := a.o.Fill
	gocv.WarpAffineWithParams(src, dst, a.matrix, image.Pt(a.w, a.h),
		gocv.InterpolationLinear, gocv.BorderConstant, color.RGBA{f, f, f, 0})
}

// shiftColours multiplies hue, saturation and value by random factors.
func (a *Augmenter) shiftColours(rng *rand.Rand, img *gocv.Mat) error {
	o := &a.o
	if o.Hue == 0 && o.Saturation == 0 && o.Value == 0 {
		return nil
	}
	table, err := a.lut.DataPtrUint8()
	if err != nil {
		return err
	}
	fillTable(table, 1+o.Hue*signed(rng), 1+o.Saturation*signed(rng), 1+o.Value*signed(rng))
	gocv.CvtColor(*img, &a.hsv, gocv.ColorBGRToHSV)
	gocv.LUT(a.hsv, a.lut, &a.hsv)
	gocv.CvtColor(a.hsv, img, gocv.ColorHSVToBGR)
	return nil
}

// fillTable writes the 256 x 3 look-up table. OpenCV's 8-bit hue is in half
// degrees, 0 to 179, and goes round.
func fillTable(table []uint8, hue, saturation, value float64) {
	for i := range 256 {
		v := float64(i)
		table[3*i] = uint8(int(v*hue) % 180)
		table[3*i+1] = uint8(min(v*saturation, 255))
		table[3*i+2] = uint8(min(v*value, 255))
	}
}
