package batch

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gocv.io/x/gocv"
	"pgregory.net/rapid"

	"yoloprune/datasets/imagefile"
)

// blue makes an image of w columns whose blue values are given; green is 40 and
// red 255 everywhere.
func blue(t testing.TB, w int, values ...uint8) gocv.Mat {
	t.Helper()
	img := gocv.NewMatWithSize(len(values)/w, w, gocv.MatTypeCV8UC3)
	t.Cleanup(func() { img.Close() })
	data, err := img.DataPtrUint8()
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range values {
		data[3*i], data[3*i+1], data[3*i+2] = b, 40, 255
	}
	return img
}

// In every case the expected values are the blue ones, times 255.
func TestFits(t *testing.T) {
	const grey = 127.5
	third := []uint8{0, 30, 60, 90, 100, 130, 160, 190} // two rows of four
	for _, c := range []struct {
		name      string
		fit       Fit
		columns   int
		in        []uint8
		w, h      int
		want      []float64
		tolerance float64
	}{
		// Blocks of four are averaged: 3 and 150.
		{"area, to a half", Fit{Resize: Area}, 4, []uint8{0, 2, 100, 100, 4, 6, 200, 200}, 2, 1, []float64{3, 150}, 0},
		// To a quarter, bilinear sees the two middle columns of four only, area all.
		{"area, to a quarter", Fit{Resize: Area}, 8, []uint8{0, 0, 40, 80, 0, 0, 0, 200}, 2, 1, []float64{30, 50}, 0},
		{"bilinear, to a quarter", Fit{Resize: Bilinear}, 8, []uint8{0, 0, 40, 80, 0, 0, 0, 200}, 2, 1, []float64{20, 0}, 0},
		{"bilinear is the default", Fit{}, 8, []uint8{0, 0, 40, 80, 0, 0, 0, 200}, 2, 1, []float64{20, 0}, 0},
		// Twice as wide: the centres lie at -1/4, 1/4, 3/4, 5/4 of the source.
		{"bilinear, larger", Fit{}, 2, []uint8{0, 200}, 4, 1, []float64{0, 50, 150, 200}, 0},
		{"area, larger", Fit{Resize: Area}, 2, []uint8{0, 200}, 4, 1, []float64{0, 50, 150, 200}, 0},
		// Corners on corners: columns at 0, 1, 2, 3 thirds of the way.
		{"darknet, larger", Fit{Resize: Darknet}, 2, []uint8{0, 200}, 4, 1, []float64{0, 200. / 3, 400. / 3, 200}, 1e-4},
		// Scale 3/2: columns at 0, 1.5 and 3; rows 0 and 1.
		{"darknet, smaller", Fit{Resize: Darknet}, 4, third, 3, 2, []float64{0, 45, 90, 100, 145, 190}, 1e-4},
		// Rows at 0, 1/2 and 1.
		{"darknet, higher", Fit{Resize: Darknet}, 1, []uint8{10, 110}, 1, 3, []float64{10, 60, 110}, 1e-4},
		{"darknet, both", Fit{Resize: Darknet}, 4, third, 3, 3, []float64{0, 45, 90, 50, 95, 140, 100, 145, 190}, 1e-4},
		{"darknet, same", Fit{Resize: Darknet}, 4, third, 4, 2, []float64{0, 30, 60, 90, 100, 130, 160, 190}, 0},
		// The last column, though the scale is a division by 0.
		{"darknet, one column", Fit{Resize: Darknet}, 4, third, 1, 2, []float64{90, 190}, 0},
		{"darknet, one row", Fit{Resize: Darknet}, 4, third, 4, 1, []float64{100, 130, 160, 190}, 0},
		{"darknet, from one pixel", Fit{Resize: Darknet}, 1, []uint8{70}, 3, 2, []float64{70, 70, 70, 70, 70, 70}, 0},

		// 4x2 in 4x4: a row of grey above and below. In 4x5: one and two.
		{"letterbox, wide", Fit{Letterbox: true}, 4, third, 4, 4,
			[]float64{grey, grey, grey, grey, 0, 30, 60, 90, 100, 130, 160, 190, grey, grey, grey, grey}, 0},
		{"letterbox, odd", Fit{Letterbox: true}, 4, third, 4, 5,
			[]float64{grey, grey, grey, grey, 0, 30, 60, 90, 100, 130, 160, 190, grey, grey, grey, grey, grey, grey, grey, grey}, 0},
		// 1x2 in 3x2: a column of grey on both sides. 1x2 in 4x2: one and two.
		{"letterbox, high", Fit{Letterbox: true}, 1, []uint8{10, 20}, 3, 2, []float64{grey, 10, grey, grey, 20, grey}, 0},
		{"letterbox, darknet", Fit{Resize: Darknet, Letterbox: true}, 1, []uint8{10, 20}, 4, 2, []float64{grey, 10, grey, grey, grey, 20, grey, grey}, 0},
		// 1x2 in 3x4 is resized to 2x4: rows at 0, 1/3, 2/3 and 1, columns alike.
		{"letterbox, darknet, larger", Fit{Resize: Darknet, Letterbox: true}, 1, []uint8{30, 60}, 3, 4,
			[]float64{30, 30, grey, 40, 40, grey, 50, 50, grey, 60, 60, grey}, 1e-4},
		{"letterbox, same aspect", Fit{Letterbox: true}, 2, []uint8{0, 200}, 2, 1, []float64{0, 200}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := make([]float32, c.w*c.h*3)
			if err := c.fit.Tensor(blue(t, c.columns, c.in...), c.w, c.h, dst); err != nil {
				t.Fatal(err)
			}
			var got []float64
			for i := 0; i < len(dst); i += 3 {
				got = append(got, float64(dst[i+2])*255)
				want := [2]float64{1, 40. / 255}
				if c.want[i/3] == grey {
					want = [2]float64{.5, .5}
				}
				if math.Abs(float64(dst[i])-want[0]) > 1e-6 || math.Abs(float64(dst[i+1])-want[1]) > 1e-6 {
					t.Errorf("pixel %d: red and green are %v, want %v", i/3, dst[i:i+2], want)
				}
			}
			if d := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, c.tolerance+1e-5)); d != "" {
				t.Error(d)
			}
		})
	}
}

// naiveDarknet is Darknet's code word by word, on one plane: the whole picture
// along x first, then along y. One row or column to make is left out.
func naiveDarknet(im []float32, imW, imH, w, h int) []float32 {
	part, resized := make([]float32, w*imH), make([]float32, w*h)
	wScale, hScale := float32(imW-1)/float32(w-1), float32(imH-1)/float32(h-1)
	for r := range imH {
		for c := range w {
			if c == w-1 || imW == 1 {
				part[r*w+c] = im[r*imW+imW-1]
				continue
			}
			sx := float32(c) * wScale
			ix := int(sx)
			dx := sx - float32(ix)
			a, b := (1-dx)*im[r*imW+ix], dx*im[r*imW+ix+1]
			part[r*w+c] = a + b
		}
	}
	for r := range h {
		sy := float32(r) * hScale
		iy := int(sy)
		dy := sy - float32(iy)
		for c := range w {
			val := (1 - dy) * part[iy*w+c]
			resized[r*w+c] = val
		}
		if r == h-1 || imH == 1 {
			continue
		}
		for c := range w {
			val := dy * part[(iy+1)*w+c]
			resized[r*w+c] += val
		}
	}
	return resized
}

func TestDarknetResizeAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 40)
		sw, sh, w, h := side.Draw(t, "sw"), side.Draw(t, "sh"), side.Draw(t, "w")+1, side.Draw(t, "h")+1
		bgr := rapid.SliceOfN(rapid.Uint8(), 3*sw*sh, 3*sw*sh).Draw(t, "pixels")
		got := make([]float32, 3*w*h)
		darknetResize(got, w, h, bgr, sw, sh)
		for c := range 3 {
			plane := make([]float32, sw*sh)
			for i := range plane {
				plane[i] = float32(bgr[3*i+2-c]) / 255
			}
			for i, want := range naiveDarknet(plane, sw, sh, w, h) {
				if math.Abs(float64(got[3*i+c]-want)) > 1e-6 {
					t.Fatalf("%dx%d to %dx%d: channel %d, pixel %d is %v, want %v", sw, sh, w, h, c, i, got[3*i+c], want)
				}
			}
		}
	})
}

// Where (h-1)*((sh-1)/(h-1)) is rounded to below sh-1, Darknet's last row is all
// but black. 7*(31/7) is 30.999998 in float32.
func TestDarknetLastRow(t *testing.T) {
	white := make([]byte, 3*32)
	for i := range white {
		white[i] = 255
	}
	dst := make([]float32, 3*8)
	darknetResize(dst, 1, 8, white, 1, 32)
	for row, want := range []float64{1, 1, 1, 1, 1, 1, 1, 0} {
		if got := float64(dst[3*row]); math.Abs(got-want) > 1e-5 {
			t.Errorf("row %d: %v, want %v", row, got, want)
		}
	}
}

func TestTensorIsTheLoadersResize(t *testing.T) {
	src := source(t, 1, 20, 15)
	img, err := imagefile.Read(src[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	for _, s := range [][2]int{{8, 6}, {20, 15}, {40, 30}, {40, 6}} {
		for _, fit := range []Fit{{}, {Resize: Area}, {Resize: Darknet}, {Letterbox: true}, {Resize: Darknet, Letterbox: true}} {
			want := make([]float32, s[0]*s[1]*3)
			if err := fit.Tensor(img, s[0], s[1], want); err != nil {
				t.Fatal(err)
			}
			for _, cache := range []int64{0, -1} {
				l := loader(t, src, Options{Batch: 1, W: s[0], H: s[1], Fit: fit, CacheBytes: cache})
				for round := range 2 {
					if b := collect(t, l, 0, false); !slices.Equal(want, b[0].Images) {
						t.Errorf("%v by %+v, round %d: the loader gives other values", s, fit, round)
					}
				}
			}
		}
	}
}

// The memory of one picture serves the next, which may be of another size and
// kind.
func TestPictureAgain(t *testing.T) {
	large, small := blue(t, 4, 1, 2, 3, 4, 5, 6, 7, 8), blue(t, 1, 10, 20)
	var p picture
	for _, fit := range []Fit{{}, {Resize: Darknet}, {Letterbox: true}, {Resize: Darknet, Letterbox: true}, {}} {
		for _, img := range []gocv.Mat{large, small} {
			want, got := make([]float32, 5*4*3), make([]float32, 5*4*3)
			if err := fit.Tensor(img, 5, 4, want); err != nil {
				t.Fatal(err)
			}
			if err := p.resize(img, fit, 5, 4); err != nil {
				t.Fatal(err)
			}
			p.write(got, 5, 4)
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %v, want %v", fit, got, want)
			}
		}
	}
}

// A cache counts what pictures take.
func TestCacheOfFits(t *testing.T) {
	for _, c := range []struct {
		fit  Fit
		want int64
	}{
		{Fit{}, 3 * 8 * 8},
		{Fit{Letterbox: true}, 3 * 8 * 4}, // 16x8 in 8x8
		{Fit{Resize: Darknet}, 4 * 3 * 8 * 8},
	} {
		l := loader(t, source(t, 2, 16, 8), Options{Batch: 2, W: 8, H: 8, Fit: c.fit})
		collect(t, l, 0, false)
		if l.store.used != 2*c.want {
			t.Errorf("%+v: %d bytes for two, want %d", c.fit, l.store.used, 2*c.want)
		}
	}
}

func TestTensorBadArguments(t *testing.T) {
	img, grey := gocv.NewMatWithSize(4, 4, gocv.MatTypeCV8UC3), gocv.NewMatWithSize(4, 4, gocv.MatTypeCV8UC1)
	empty := gocv.NewMat()
	defer img.Close()
	defer grey.Close()
	defer empty.Close()
	dst := make([]float32, 48)
	for name, err := range map[string]error{
		"short":  Tensor(img, 4, 4, dst[:47]),
		"zero":   Tensor(img, 0, 4, nil),
		"grey":   Tensor(grey, 4, 4, dst),
		"empty":  Tensor(empty, 4, 4, dst),
		"no mat": Tensor(gocv.Mat{}, 4, 4, dst),
		"kind":   Fit{Resize: "cubic"}.Tensor(empty, 4, 4, dst),
	} {
		if err == nil {
			t.Errorf("%s passes", name)
		}
	}
}
