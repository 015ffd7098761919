package batch

import (
	"fmt"
	"image"
	"slices"

	"gocv.io/x/gocv"

	"yoloprune/yolo/head"
)

// The ways to resize an image, which give slightly different inputs and so
// slightly different boxes:
//
//	bilinear  OpenCV's INTER_LINEAR on 8-bit pixels: linear, pixels at their centres, rounded
//	          to 8 bits. OpenCV's dnn module works on it, and so do most programs around it
//	area      OpenCV's INTER_AREA where both sides shrink: the mean over the area; else bilinear
//	darknet   Darknet's own: linear, corners on corners, not rounded (see darknetResize)
const (
	Bilinear = "bilinear"
	Area     = "area"
	Darknet  = "darknet"
)

// ResizeKinds lists them.
var ResizeKinds = []string{Bilinear, Area, Darknet}

// Fit says how an image is brought to the network's input size.
type Fit struct {
	Resize    string // one of ResizeKinds; "" is bilinear
	Letterbox bool   // the aspect is kept and the rest is grey (see head.LetterboxSize), else stretched
}

// Check says whether the kind of resize is known.
func (f Fit) Check() error {
	if f.Resize != "" && !slices.Contains(ResizeKinds, f.Resize) {
		return fmt.Errorf("kind of resize %q: use one of %q", f.Resize, ResizeKinds)
	}
	return nil
}

// Kind is Resize, or its default.
func (f Fit) Kind() string {
	if f.Resize == "" {
		return Bilinear
	}
	return f.Resize
}

// size is that of the part of the w x h input which shows the image.
func (f Fit) size(imageW, imageH, w, h int) (int, int) {
	if f.Letterbox {
		w, h, _, _ = head.LetterboxSize(imageW, imageH, w, h)
	}
	return w, h
}

// Tensor brings an 8-bit BGR image to w x h by the zero Fit.
func Tensor(img gocv.Mat, w, h int, dst []float32) error { return Fit{}.Tensor(img, w, h, dst) }

// Tensor brings an 8-bit BGR image to w x h and writes it to dst, which has
// h*w*3 values: h x w x 3, R, G, B in 0..1. It is what a Loader does without
// augmentation.
func (f Fit) Tensor(img gocv.Mat, w, h int, dst []float32) error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("tensor: %w", err)
	}
	if w < 1 || h < 1 || w > maxSide || h > maxSide || len(dst) != w*h*3 {
		return fmt.Errorf("tensor: %d values for %dx%d; expected width * height * 3", len(dst), w, h)
	}
	if img.Ptr() == nil || img.Empty() || img.Type() != gocv.MatTypeCV8UC3 {
		return fmt.Errorf("tensor: no image with 3 channels of 8 bits")
	}
	var p picture
	if err := p.resize(img, f, w, h); err != nil {
		return err
	}
	p.write(dst, w, h)
	return nil
}

// picture is a resized image of h x w x 3 values: 8 bits in the order B, G, R,
// or, from Darknet's resize, R, G, B in 0..1.
type picture struct {
	w, h int
	bgr  []byte
	rgb  []float32
}

// resize fills p, whose memory is used again, with what the input of w x h
// shows of img.
func (p *picture) resize(img gocv.Mat, f Fit, w, h int) error {
	p.w, p.h = f.size(img.Cols(), img.Rows(), w, h)
	p.bgr, p.rgb = p.bgr[:0], p.rgb[:0]
	if f.Kind() == Darknet {
		pixels, err := img.DataPtrUint8()
		if err != nil {
			return err
		}
		p.rgb = slices.Grow(p.rgb, p.w*p.h*3)[:p.w*p.h*3]
		darknetResize(p.rgb, p.w, p.h, pixels, img.Cols(), img.Rows())
		return nil
	}
	out := gocv.NewMat()
	defer out.Close()
	gocv.Resize(img, &out, image.Pt(p.w, p.h), 0, 0, f.filter(img, p.w, p.h))
	pixels, err := out.DataPtrUint8()
	if err != nil {
		return err
	}
	p.bgr = append(p.bgr, pixels...)
	return nil
}

func (f Fit) filter(img gocv.Mat, w, h int) gocv.InterpolationFlags {
	if f.Resize == Area && w <= img.Cols() && h <= img.Rows() {
		return gocv.InterpolationArea
	}
	return gocv.InterpolationLinear
}

// bytes is what a picture of w x h by this fit takes.
func (f Fit) bytes(imageW, imageH, w, h int) int64 {
	w, h = f.size(imageW, imageH, w, h)
	n := int64(w) * int64(h) * 3
	if f.Kind() == Darknet {
		n *= 4
	}
	return n
}

// padding is the grey around a letterboxed image.
const padding = 0.5

// write writes p to an input of w x h, in its middle.
func (p *picture) write(dst []float32, w, h int) {
	if p.w == w && p.h == h {
		p.values(dst, 0)
		return
	}
	for i := range dst {
		dst[i] = padding
	}
	x, y := (w-p.w)/2, (h-p.h)/2
	for row := range p.h {
		at := ((y+row)*w + x) * 3
		p.values(dst[at:at+p.w*3], row*p.w*3)
	}
}

// values writes the values from one on.
func (p *picture) values(dst []float32, from int) {
	if len(p.rgb) > 0 {
		copy(dst, p.rgb[from:])
		return
	}
	toFloats(dst, p.bgr[from:from+len(dst)])
}

// unit maps a byte to 0..1.
var unit = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

// toFloats turns B, G, R bytes into R, G, B floats.
func toFloats(dst []float32, bgr []byte) {
	dst = dst[:len(bgr)]
	for i := 0; i+2 < len(bgr); i += 3 {
		dst[i], dst[i+1], dst[i+2] = unit[bgr[i+2]], unit[bgr[i+1]], unit[bgr[i]]
	}
}
