package batch

import (
	"fmt"
	"image"

	"gocv.io/x/gocv"
)

// Tensor stretches an 8-bit BGR image to w x h and writes it to dst, which has
// h*w*3 values: h x w x 3, R, G, B in 0..1. It is what a Loader does without
// augmentation.
func Tensor(img gocv.Mat, w, h int, dst []float32) error {
	if w < 1 || h < 1 || w > maxSide || h > maxSide || len(dst) != w*h*3 {
		return fmt.Errorf("tensor: %d values for %dx%d; expected width * height * 3", len(dst), w, h)
	}
	if img.Ptr() == nil || img.Empty() || img.Type() != gocv.MatTypeCV8UC3 {
		return fmt.Errorf("tensor: no image with 3 channels of 8 bits")
	}
	return stretched(img, w, h, func(pixels []byte) { toFloats(dst, pixels) })
}

// stretched calls use with the pixels of img at w x h. Shrinking averages over
// the area (a linear filter would skip pixels), anything else is linear.
func stretched(img gocv.Mat, w, h int, use func(pixels []byte)) error {
	filter := gocv.InterpolationLinear
	if w <= img.Cols() && h <= img.Rows() {
		filter = gocv.InterpolationArea
	}
	out := gocv.NewMat()
	defer out.Close()
	gocv.Resize(img, &out, image.Pt(w, h), 0, 0, filter)
	pixels, err := out.DataPtrUint8()
	if err != nil {
		return err
	}
	use(pixels)
	return nil
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
