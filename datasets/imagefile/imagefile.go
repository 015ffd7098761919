// Package imagefile reads image files that may be broken or hostile: the size
// is read from the header and checked before any pixel is decoded, and a file
// that was cut short is an error rather than a picture with a grey rest.
//
// JPEG, PNG, BMP and WebP are read. The orientation that a JPEG's EXIF block
// asks for is applied, so sizes and boxes refer to the upright image. Grey,
// palette and 16-bit images become 8-bit BGR; an alpha channel is dropped.
package imagefile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // header readers for image.DecodeConfig
	_ "image/png"
	"io"
	"io/fs"
	"os"

	"gocv.io/x/gocv"
	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"
)

// Bounds on what is decoded: about 400 MB of pixels from a file of at most
// 512 MiB.
const (
	MaxPixels    = 1 << 27
	MaxFileBytes = 1 << 29
)

// FormatError reports a file that is broken.
type FormatError struct{ File, Msg string }

func (e *FormatError) Error() string { return e.File + ": " + e.Msg }

// UnsupportedError reports a file that may be sound but is not read.
type UnsupportedError struct{ File, Msg string }

func (e *UnsupportedError) Error() string { return e.File + ": " + e.Msg }

// missingError is fs.ErrNotExist in words of its own.
type missingError struct{ file string }

func (e *missingError) Error() string { return e.file + ": no such image file" }

func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// Size returns the size of the upright image from the file's header. A file
// that is not there gives an error for which errors.Is(err, fs.ErrNotExist).
func Size(path string) (w, h int, err error) {
	f, err := open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	return size(path, f)
}

// Read decodes the file to an 8-bit BGR image, which the caller closes.
func Read(path string) (gocv.Mat, error) {
	f, err := open(path)
	if err != nil {
		return gocv.Mat{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes))
	if err != nil {
		return gocv.Mat{}, err
	}
	return Decode(path, data)
}

// Decode is Read for a file that is in memory already; name stands in errors.
func Decode(name string, data []byte) (gocv.Mat, error) {
	if len(data) == 0 {
		return gocv.Mat{}, &FormatError{name, emptyFile}
	}
	if _, _, err := size(name, bytes.NewReader(data)); err != nil {
		return gocv.Mat{}, err
	}
	if isJPEG(data) && !jpegComplete(bytes.NewReader(data)) {
		return gocv.Mat{}, &FormatError{name, "the end-of-image marker is missing: the JPEG was cut short; fetch the file again"}
	}
	img, err := gocv.IMDecode(data, gocv.IMReadColor)
	if err != nil {
		return gocv.Mat{}, &FormatError{name, err.Error()}
	}
	if img.Empty() || img.Type() != gocv.MatTypeCV8UC3 {
		img.Close()
		return gocv.Mat{}, &FormatError{name, "the header is sound but the pixels cannot be decoded: the file is cut short or damaged; fetch it again"}
	}
	return img, nil
}

const emptyFile = "the file is empty; expected an image; fetch the file again"

func open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &missingError{path}
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &FormatError{path, "is not a regular file; expected an image"}
	case info.Size() == 0:
		return nil, &FormatError{path, emptyFile}
	case info.Size() > MaxFileBytes:
		return nil, &UnsupportedError{path, fmt.Sprintf("the file has %d bytes; at most %d are read", info.Size(), MaxFileBytes)}
	}
	return os.Open(path)
}

// size reads the header and refuses what would be too large to decode.
func size(name string, r io.ReadSeeker) (w, h int, err error) {
	c, format, err := image.DecodeConfig(bufio.NewReader(r))
	if errors.Is(err, image.ErrFormat) {
		return 0, 0, &UnsupportedError{name, "is not a JPEG, PNG, BMP or WebP image (judged by its first bytes); convert it to one of these"}
	}
	if err != nil {
		return 0, 0, &FormatError{name, "the image header cannot be read: " + err.Error()}
	}
	if err := CheckSize(int64(c.Width), int64(c.Height)); err != nil {
		return 0, 0, &UnsupportedError{name, err.Error()}
	}
	if format != "jpeg" {
		return c.Width, c.Height, nil
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	if jpegOrientation(r) >= 5 { // 5 to 8 turn by a quarter
		return c.Height, c.Width, nil
	}
	return c.Width, c.Height, nil
}

// CheckSize says why an image of that size is not decoded, or nil.
func CheckSize(w, h int64) error {
	if w < 1 || h < 1 {
		return fmt.Errorf("an image of %dx%d has no pixels", w, h)
	}
	if w > MaxPixels || h > MaxPixels/w {
		return fmt.Errorf("an image of %dx%d is too large; at most %d pixels are decoded; shrink it", w, h, MaxPixels)
	}
	return nil
}
