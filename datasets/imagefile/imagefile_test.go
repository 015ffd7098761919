package imagefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gocv.io/x/gocv"
)

// encode draws a w x h image, red in its top left quarter and blue elsewhere.
func encode(t testing.TB, ext gocv.FileExt, w, h int) []byte {
	t.Helper()
	img := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(255, 0, 0, 0), h, w, gocv.MatTypeCV8UC3)
	defer img.Close()
	gocv.Rectangle(&img, image.Rect(0, 0, w/2, h/2), color.RGBA{R: 255}, -1)
	b, err := gocv.IMEncode(ext, img)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return bytes.Clone(b.GetBytes())
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFormats(t *testing.T) {
	for _, ext := range []string{".jpg", ".png", ".bmp", ".webp"} {
		t.Run(ext, func(t *testing.T) {
			path := write(t, "x"+ext, encode(t, gocv.FileExt(ext), 40, 24))
			w, h, err := Size(path)
			if err != nil || w != 40 || h != 24 {
				t.Fatalf("Size: %d %d %v", w, h, err)
			}
			img, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if img.Cols() != 40 || img.Rows() != 24 {
				t.Fatalf("size %dx%d", img.Cols(), img.Rows())
			}
			if p := img.GetVecbAt(5, 5); p[2] < 200 || p[0] > 60 {
				t.Errorf("top left is %v, want red in BGR", p)
			}
			if p := img.GetVecbAt(20, 35); p[0] < 200 || p[2] > 60 {
				t.Errorf("bottom right is %v, want blue in BGR", p)
			}
		})
	}
}

func TestReadPixelTypes(t *testing.T) {
	r := image.Rect(0, 0, 4, 4)
	palette := image.NewPaletted(r, color.Palette{color.Black, color.RGBA{200, 100, 50, 255}})
	deep := image.NewNRGBA64(r)
	grey := image.NewGray(r)
	alpha := image.NewNRGBA(r)
	for y := range 4 {
		for x := range 4 {
			palette.SetColorIndex(x, y, 1)
			deep.SetNRGBA64(x, y, color.NRGBA64{0x12ff, 0x3480, 0x5600, 0xffff})
			grey.SetGray(x, y, color.Gray{77})
			alpha.SetNRGBA(x, y, color.NRGBA{1, 2, 3, 128})
		}
	}
	tests := []struct {
		name string
		img  image.Image
		want [3]uint8 // B, G, R
	}{
		{"palette", palette, [3]uint8{50, 100, 200}},
		{"16 bit keeps the high byte", deep, [3]uint8{0x56, 0x34, 0x12}},
		{"grey", grey, [3]uint8{77, 77, 77}},
		{"alpha is dropped", alpha, [3]uint8{3, 2, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := png.Encode(&b, tt.img); err != nil {
				t.Fatal(err)
			}
			img, err := Decode("x.png", b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if got := [3]uint8(img.GetVecbAt(2, 2)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// withOrientation puts an EXIF block after a JPEG's SOI.
func withOrientation(jpg []byte, order binary.AppendByteOrder, o uint16) []byte {
	exif := []byte("Exif\x00\x00")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		exif = append(exif, "II\x2a\x00"...)
	} else {
		exif = append(exif, "MM\x00\x2a"...)
	}
	exif = order.AppendUint32(exif, 8)
	exif = order.AppendUint16(exif, 1)
	exif = order.AppendUint16(exif, 0x112)
	exif = order.AppendUint16(exif, 3)
	exif = order.AppendUint32(exif, 1)
	exif = order.AppendUint16(exif, o)
	exif = order.AppendUint16(exif, 0)
	exif = order.AppendUint32(exif, 0)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(exif)+2))...)
	return append(append(out, exif...), jpg[2:]...)
}

func TestOrientation(t *testing.T) {
	jpg := encode(t, gocv.JPEGFileExt, 48, 32)
	// Where EXIF puts the stored image's top left quarter: row, column in the
	// upright image, as halves (0 first, 1 second). CIPA DC-008, 4.6.4 A.
	quarter := map[uint16][2]int{1: {0, 0}, 2: {0, 1}, 3: {1, 1}, 4: {1, 0}, 5: {0, 0}, 6: {0, 1}, 7: {1, 1}, 8: {1, 0}}
	for o, q := range quarter {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			path := write(t, "x.jpg", withOrientation(jpg, order, o))
			w, h, err := Size(path)
			if err != nil {
				t.Fatal(err)
			}
			wantW, wantH := 48, 32
			if o >= 5 {
				wantW, wantH = 32, 48
			}
			if w != wantW || h != wantH {
				t.Errorf("orientation %d: size %dx%d, want %dx%d", o, w, h, wantW, wantH)
			}
			img, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if img.Cols() != w || img.Rows() != h {
				t.Errorf("orientation %d: decoded %dx%d, header says %dx%d", o, img.Cols(), img.Rows(), w, h)
			}
			if p := img.GetVecbAt(h/4+q[0]*h/2, w/4+q[1]*w/2); p[2] < 200 {
				t.Errorf("orientation %d: red quarter is not at %v: %v", o, q, p)
			}
			img.Close()
		}
	}
}

// hugePNG is a valid PNG header of that size, with no pixels.
func hugePNG(w, h uint32) []byte {
	ihdr := []byte("IHDR")
	ihdr = binary.BigEndian.AppendUint32(ihdr, w)
	ihdr = binary.BigEndian.AppendUint32(ihdr, h)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	out = append(out, ihdr...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
}

func hugeJPEG(w, h uint16) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		panic(err)
	}
	out := b.Bytes()
	sof := bytes.Index(out, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(out[sof+5:], h)
	binary.BigEndian.PutUint16(out[sof+7:], w)
	return out
}

func TestBadFiles(t *testing.T) {
	jpg, png := encode(t, gocv.JPEGFileExt, 64, 64), encode(t, gocv.PNGFileExt, 64, 64)
	bmp, webp := encode(t, ".bmp", 64, 64), encode(t, ".webp", 64, 64)
	flipped := bytes.Clone(png)
	flipped[len(flipped)/2] ^= 0xff
	tests := []struct {
		name, want  string
		data        []byte
		unsupported bool
	}{
		{name: "empty", want: "the file is empty"},
		{name: "text", data: []byte("not an image"), want: "is not a JPEG, PNG, BMP or WebP", unsupported: true},
		{name: "gif", data: []byte("GIF89a\x01\x00\x01\x00"), want: "is not a JPEG, PNG", unsupported: true},
		{name: "jpeg header only", data: jpg[:20], want: "header cannot be read"},
		{name: "jpeg without end marker", data: jpg[:len(jpg)-2], want: "cut short"},
		{name: "jpeg half", data: jpg[:len(jpg)-len(jpg)/4], want: "cut short"},
		{name: "jpeg zero tail", data: append(bytes.Clone(jpg[:len(jpg)-40]), make([]byte, 40)...), want: "cut short"},
		{name: "png half", data: png[:len(png)/2], want: "cut short or damaged"},
		{name: "png flipped bits", data: flipped, want: "damaged"},
		{name: "bmp half", data: bmp[:len(bmp)/2], want: "cut short or damaged"},
		{name: "webp half", data: webp[:len(webp)/2], want: "cut short or damaged"},
		{name: "png giant", data: hugePNG(30000, 30000), want: "30000x30000 is too large", unsupported: true},
		{name: "jpeg giant", data: hugeJPEG(65535, 65535), want: "65535x65535 is too large", unsupported: true},
		{name: "png without pixels", data: hugePNG(0, 10), want: "header cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img, err := Read(write(t, "bad", tt.data))
			if err == nil {
				img.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
			var format *FormatError
			var unsupported *UnsupportedError
			if errors.As(err, &unsupported) != tt.unsupported || errors.As(err, &format) == tt.unsupported {
				t.Errorf("wrong kind of error: %T", err)
			}
		})
	}
}

func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []func(string) error{
		func(p string) error { _, _, err := Size(p); return err },
		func(p string) error { _, err := Read(p); return err },
	} {
		if err := f(filepath.Join(dir, "none.jpg")); !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "none.jpg: no such image file") {
			t.Errorf("missing file: %v", err)
		}
		if err := f(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("directory: %v", err)
		}
	}
}

func TestCheckSize(t *testing.T) {
	for _, s := range [][2]int64{{0, 5}, {5, -1}, {1 << 62, 1 << 62}, {MaxPixels + 1, 1}} {
		if CheckSize(s[0], s[1]) == nil {
			t.Errorf("%v passes", s)
		}
	}
	if err := CheckSize(MaxPixels/16, 16); err != nil {
		t.Error(err)
	}
}

// A thumbnail inside an application segment has its own end marker, which must
// not count.
func TestEmbeddedEndMarker(t *testing.T) {
	jpg := encode(t, gocv.JPEGFileExt, 16, 16)
	thumb := append([]byte{0xff, 0xd8, 0xff, 0xe2, 0, 6}, 0xff, 0xd8, 0xff, 0xd9)
	whole := append(thumb, jpg[2:]...)
	if !jpegComplete(bytes.NewReader(whole)) {
		t.Error("a whole file counts as cut short")
	}
	if jpegComplete(bytes.NewReader(whole[:len(whole)-2])) {
		t.Error("the thumbnail's end marker counts as the image's")
	}
}

// Whatever stands before its end cannot make a JPEG that was cut short pass,
// and the orientation always is one that exists.
func FuzzJPEG(f *testing.F) {
	jpg := encode(f, gocv.JPEGFileExt, 16, 16)
	f.Add(jpg)
	f.Add(withOrientation(jpg, binary.LittleEndian, 6))
	f.Add(withOrientation(jpg, binary.BigEndian, 9))
	f.Add([]byte{0xff, 0xd8, 0xff, 0xe1, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if o := jpegOrientation(bytes.NewReader(data)); o < 1 || o > 8 {
			t.Errorf("orientation %d", o)
		}
		if jpegComplete(bytes.NewReader(data)) && !bytes.Contains(data, []byte{0xff, mEOI}) {
			t.Error("complete without an end marker")
		}
	})
}

// adobeCMYK writes a JPEG of one 8 x 8 block with four components, as Adobe
// programs do: inverted, 255 being no ink. Each component is constant, so its
// block has a DC coefficient only, which with a quantiser of 1 is
//
//	8 (v - 128)
//
// Codes of the DC table are the category in four bits; the AC table has the
// end of block only, as a single 0. ITU-T T.81, annexes A.3.3 and F.1.2.
func adobeCMYK(values [4]int) []byte {
	out := []byte{0xff, 0xd8, 0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0}
	out = append(append(out, 0xff, 0xdb, 0, 67, 0), bytes.Repeat([]byte{1}, 64)...)
	out = append(out, 0xff, 0xc0, 0, 20, 8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0)
	out = append(out, 0xff, 0xc4, 0, 31, 0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	out = append(out, 0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	out = append(out, 0xff, 0xda, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0)
	code := ""
	for _, v := range values {
		dc := 8 * (v - 128)
		size := bits.Len(uint(max(dc, -dc)))
		if dc < 0 {
			dc += 1<<size - 1
		}
		code += fmt.Sprintf("%04b%0*b0", size, size, dc)
	}
	for code += strings.Repeat("1", (8-len(code)%8)%8); code != ""; code = code[8:] {
		b, _ := strconv.ParseUint(code[:8], 2, 8)
		if out = append(out, byte(b)); b == 0xff {
			out = append(out, 0)
		}
	}
	return append(out, 0xff, 0xd9)
}

// Red is no cyan, full magenta and yellow, no black.
func TestCMYK(t *testing.T) {
	data := adobeCMYK([4]int{255, 1, 1, 255})
	img, err := Decode("x.jpg", data)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if p := img.GetVecbAt(4, 4); p[2] < 250 || p[1] > 5 || p[0] > 5 {
		t.Errorf("got %v, want red in BGR", p)
	}
	if w, h, err := Size(write(t, "x.jpg", data)); w != 8 || h != 8 || err != nil {
		t.Errorf("%dx%d, %v", w, h, err)
	}
}
