package augment

import (
	"image"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"yoloprune/datasets"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gocv.io/x/gocv"
	"pgregory.net/rapid"
)

var approx = cmpopts.EquateApprox(0, 1e-9)

func TestApply(t *testing.T) {
	r := Rect{10, 20, 30, 25}
	for _, tt := range []struct {
		a    Affine
		want Rect
	}{
		{Affine{1, 0, 1, 0}, r},
		{Affine{2, 5, 3, -1}, Rect{25, 59, 65, 74}},
		{Affine{-1, 100, 1, 0}, Rect{70, 20, 90, 25}},
		{Affine{1, 0, -2, 100}, Rect{10, 50, 30, 60}},
	} {
		if d := cmp.Diff(tt.want, tt.a.Apply(r), approx); d != "" {
			t.Errorf("%+v: %s", tt.a, d)
		}
	}
	if a := (Affine{-1, 0, 1, 0}).Apply(Rect{5, 0, 3, 9}).Area(); a != 0 {
		t.Errorf("an empty rectangle became one of %g", a)
	}
}

func TestTile(t *testing.T) {
	// Two by two tiles of 100 x 60 that meet at (70, 80) on a canvas of 200 x 120.
	for q, want := range []struct {
		dx, dy int
		shown  Rect
	}{
		{-30, 20, Rect{0, 20, 70, 80}},
		{70, 20, Rect{70, 20, 170, 80}},
		{-30, 80, Rect{0, 80, 70, 120}},
		{70, 80, Rect{70, 80, 170, 120}},
	} {
		dx, dy, shown := tile(q, 70, 80, 100, 60)
		if dx != want.dx || dy != want.dy || shown != want.shown {
			t.Errorf("tile %d: %d %d %v, want %+v", q, dx, dy, shown, want)
		}
	}
}

func TestBoxes(t *testing.T) {
	o := Options{MinVisible: 0.25, MinSize: 3}
	whole := place{shown: Rect{0, 0, 100, 100}}
	box := func(x, y, w, h float64) datasets.Box {
		return datasets.Box{Class: 2, X: x, Y: y, W: w, H: h, Area: w * h}
	}
	tests := []struct {
		name string
		in   datasets.Box
		p    place
		a    Affine
		want []datasets.Box
	}{
		{"unchanged", box(10, 10, 20, 30), whole, Affine{1, 0, 1, 0}, []datasets.Box{box(10, 10, 20, 30)}},
		{"mirrored", box(10, 10, 20, 30), whole, Affine{-1, 100, -1, 100}, []datasets.Box{box(70, 60, 20, 30)}},
		{"scaled", box(10, 10, 20, 30), whole, Affine{2, 0, 0.5, 1}, []datasets.Box{box(20, 6, 40, 15)}},
		{"half outside is cut", box(80, 10, 40, 10), place{shown: Rect{0, 0, 200, 100}}, Affine{1, 0, 1, 0}, []datasets.Box{box(80, 10, 20, 10)}},
		{"a quarter left is dropped", box(90, 10, 40, 10), place{shown: Rect{0, 0, 200, 100}}, Affine{1, 0, 1, 0}, nil},
		{"just over a quarter stays", box(89, 10, 40, 10), place{shown: Rect{0, 0, 200, 100}}, Affine{1, 0, 1, 0}, []datasets.Box{box(89, 10, 11, 10)}},
		{"3 pixels are dropped", box(10, 10, 6, 30), whole, Affine{0.5, 0, 1, 0}, nil},
		{"more than 3 stay", box(10, 10, 7, 30), whole, Affine{0.5, 0, 1, 0}, []datasets.Box{box(5, 10, 3.5, 30)}},
		{"cut at the tile", box(60, 10, 40, 10), place{dx: -50, shown: Rect{0, 0, 30, 100}}, Affine{1, 0, 1, 0}, []datasets.Box{box(10, 10, 20, 10)}},
		{"outside the tile", box(0, 10, 40, 10), place{dx: -50, shown: Rect{0, 0, 50, 100}}, Affine{1, 60, 1, 0}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := o.boxes([]datasets.Box{tt.in}, tt.p, tt.a, 100, 100)
			if d := cmp.Diff(tt.want, got, approx); d != "" {
				t.Error(d)
			}
		})
	}
}

// Kept boxes lie in the image, are long enough and visible enough.
func TestBoxesProperty(t *testing.T) {
	o := Default()
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		in := datasets.Box{X: 96 * rng.Float64(), Y: 40 * rng.Float64()}
		in.W, in.H = (96-in.X)*rng.Float64(), (64-in.Y)*rng.Float64()
		in.Area = in.W * in.H
		dx, dy, shown := tile(rng.IntN(4), 48+rng.IntN(96), 32+rng.IntN(64), 96, 64)
		a := o.draw(rng, 192, 128, 96, 64)
		for _, b := range o.boxes([]datasets.Box{in}, place{float64(dx), float64(dy), shown}, a, 96, 64) {
			if b.X < 0 || b.Y < 0 || b.X+b.W > 96+1e-9 || b.Y+b.H > 64+1e-9 || b.W <= 3 || b.H <= 3 {
				t.Fatalf("%+v", b)
			}
			whole := in.W * in.H * math.Abs(a.SX*a.SY)
			if math.Abs(b.Area-b.W*b.H) > 1e-6 || b.Area <= 0.25*whole || b.Area > whole+1e-6 {
				t.Fatalf("area %g of %g, box %gx%g", b.Area, whole, b.W, b.H)
			}
		}
	})
}

func TestDrawRanges(t *testing.T) {
	o := Default()
	rng := rand.New(rand.NewPCG(3, 3))
	flips := [2]int{}
	for range 2000 {
		a := o.draw(rng, 200, 100, 100, 50)
		if a.SX < 0 {
			flips[0]++
		}
		if a.SY < 0 {
			flips[1]++
		}
		sx, sy := math.Abs(a.SX), math.Abs(a.SY)
		if s := math.Sqrt(sx * sy); s < 0.7 || s > 1.3 {
			t.Fatalf("scale %g", s)
		}
		if r := math.Sqrt(sx / sy); r < 0.9 || r > 1.1 {
			t.Fatalf("aspect %g", r)
		}
		// The canvas's centre lands within 15 % of the image's.
		if x, y := a.SX*100+a.TX, a.SY*50+a.TY; math.Abs(x-50) > 15 || math.Abs(y-25) > 7.5 {
			t.Fatalf("centre at %g, %g", x, y)
		}
	}
	for _, n := range flips {
		if n < 800 || n > 1200 { // 1000 +- 9 standard deviations
			t.Errorf("%d of 2000 mirrored", n)
		}
	}
}

// still switches everything off but what a test turns on.
func still() Options { return Options{MinVisible: 0.25, MinSize: 3, Fill: 114} }

func picture(t testing.TB, w, h int, seed uint64) gocv.Mat {
	t.Helper()
	m := gocv.NewMatWithSize(h, w, gocv.MatTypeCV8UC3)
	data, err := m.DataPtrUint8()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = uint8(rng.UintN(256))
	}
	return m
}

func TestFlipIsExact(t *testing.T) {
	o := still()
	o.FlipX, o.FlipY = 1, 1
	a, err := New(o, 33, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	src, dst := picture(t, 33, 20, 1), gocv.NewMat()
	defer src.Close()
	defer dst.Close()
	in := []datasets.Box{{X: 3, Y: 2, W: 10, H: 5, Area: 50}}
	got, err := a.Single(rand.New(rand.NewPCG(1, 1)), Image{src, in}, &dst)
	if err != nil {
		t.Fatal(err)
	}
	for y := range 20 {
		for x := range 33 {
			if cmp.Diff([]uint8(src.GetVecbAt(y, x)), []uint8(dst.GetVecbAt(19-y, 32-x))) != "" {
				t.Fatalf("pixel %d,%d moved elsewhere", x, y)
			}
		}
	}
	if d := cmp.Diff([]datasets.Box{{X: 20, Y: 13, W: 10, H: 5, Area: 50}}, got, approx); d != "" {
		t.Error(d)
	}
}

// A bright rectangle and its box move together, to within the resampling's
// one pixel of blur.
func TestBoxFollowsPixels(t *testing.T) {
	o := Default()
	o.Hue, o.Saturation, o.Value, o.Fill = 0, 0, 0, 0
	const w, h = 160, 128
	a, err := New(o, w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	dst := gocv.NewMat()
	defer dst.Close()
	black := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(0, 0, 0, 0), h, w, gocv.MatTypeCV8UC3)
	defer black.Close()
	rng := rand.New(rand.NewPCG(4, 4))
	checked := 0
	for i := range 200 {
		r := image.Rect(0, 0, 20+rng.IntN(60), 20+rng.IntN(60)).Add(image.Pt(rng.IntN(80), rng.IntN(48)))
		src := black.Clone()
		bright := src.Region(r)
		bright.SetTo(gocv.NewScalar(255, 255, 255, 0))
		bright.Close()
		img := Image{src, []datasets.Box{{X: float64(r.Min.X), Y: float64(r.Min.Y), W: float64(r.Dx()), H: float64(r.Dy()), Area: 1}}}
		var boxes []datasets.Box
		if i%2 == 0 {
			boxes, err = a.Single(rng, img, &dst)
		} else {
			tiles := [4]Image{{Pixels: black}, {Pixels: black}, {Pixels: black}, {Pixels: black}}
			tiles[i/2%4] = img
			boxes, err = a.Mosaic(rng, tiles, &dst)
		}
		src.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(boxes) == 0 {
			continue
		}
		checked++
		x0, y0, x1, y1 := brightExtent(dst)
		b := boxes[0]
		if math.Abs(x0-b.X) > 1 || math.Abs(y0-b.Y) > 1 || math.Abs(x1-b.X-b.W) > 1 || math.Abs(y1-b.Y-b.H) > 1 {
			t.Errorf("round %d: box %+v, pixels [%g %g %g %g]", i, b, x0, y0, x1, y1)
		}
	}
	if checked < 100 {
		t.Errorf("only %d of 200 boxes were kept", checked)
	}
}

// brightExtent is the extent of the pixels that are at least half bright.
func brightExtent(m gocv.Mat) (x0, y0, x1, y1 float64) {
	x0, y0 = math.Inf(1), math.Inf(1)
	for y := range m.Rows() {
		for x := range m.Cols() {
			if m.GetVecbAt(y, x)[0] >= 128 {
				x0, y0 = min(x0, float64(x)), min(y0, float64(y))
				x1, y1 = max(x1, float64(x+1)), max(y1, float64(y+1))
			}
		}
	}
	return x0, y0, x1, y1
}

func TestMosaicFillsTiles(t *testing.T) {
	o := still()
	const w, h = 40, 40
	a, err := New(o, w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	dst := gocv.NewMat()
	defer dst.Close()
	var tiles [4]Image
	for q := range tiles {
		tiles[q].Pixels = gocv.NewMatWithSizeFromScalar(gocv.NewScalar(float64(q+1), 0, 0, 0), h, w, gocv.MatTypeCV8UC3)
		defer tiles[q].Pixels.Close()
	}
	if _, err := a.Mosaic(rand.New(rand.NewPCG(8, 2)), tiles, &dst); err != nil {
		t.Fatal(err)
	}
	// The cut shows the canvas's middle; the tiles' order must hold in it.
	got := [2][2]uint8{{dst.GetVecbAt(0, 0)[0], dst.GetVecbAt(0, w-1)[0]}, {dst.GetVecbAt(h-1, 0)[0], dst.GetVecbAt(h-1, w-1)[0]}}
	if want := [2][2]uint8{{1, 2}, {3, 4}}; got != want {
		t.Errorf("corners show tiles %v, want %v", got, want)
	}
}

func TestFillTable(t *testing.T) {
	table := make([]uint8, 768)
	fillTable(table, 1.1, 0.5, 1.35)
	for i, want := range map[int][3]uint8{0: {0, 0, 0}, 100: {110, 50, 135}, 179: {16, 89, 241}, 255: {100, 127, 255}} {
		if got := [3]uint8(table[3*i:]); got != want {
			t.Errorf("%d: %v, want %v", i, got, want)
		}
	}
}

func TestSameSeedSamePixels(t *testing.T) {
	a, err := New(Default(), 48, 32)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	src := picture(t, 48, 32, 1)
	defer src.Close()
	img := Image{src, []datasets.Box{{X: 10, Y: 5, W: 20, H: 20}}}
	run := func(seed uint64) string {
		dst := gocv.NewMat()
		defer dst.Close()
		rng := rand.New(rand.NewPCG(seed, 0))
		if _, err := a.Mosaic(rng, [4]Image{img, img, img, img}, &dst); err != nil {
			t.Fatal(err)
		}
		return string(dst.ToBytes())
	}
	first := run(1)
	if again := run(1); again != first {
		t.Error("the same seed gave other pixels")
	}
	if run(2) == first {
		t.Error("another seed gave the same pixels")
	}
}

func TestBadArguments(t *testing.T) {
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Mosaic = 1.5 }, "mosaic is 1.5; expected a value in [0, 1]"},
		{func(o *Options) { o.Scale = 1 }, "scale is 1; expected a value in [0, 1)"},
		{func(o *Options) { o.Aspect = -0.1 }, "aspect is -0.1"},
		{func(o *Options) { o.Hue = math.NaN() }, "hue is NaN"},
		{func(o *Options) { o.MinVisible = 1 }, "min visible is 1"},
		{func(o *Options) { o.Translate = math.Inf(1) }, "translate is +Inf"},
	} {
		o := Default()
		tt.change(&o)
		if _, err := New(o, 32, 32); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	if _, err := New(Default(), 0, 32); err == nil {
		t.Error("width 0 passes")
	}
	a, err := New(Default(), 32, 32)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	dst, wrong := gocv.NewMat(), picture(t, 31, 32, 1)
	defer dst.Close()
	defer wrong.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	if _, err := a.Single(rng, Image{Pixels: wrong}, &dst); err == nil {
		t.Error("an image of another size passes")
	}
	if _, err := a.Mosaic(rng, [4]Image{}, &dst); err == nil {
		t.Error("no images pass")
	}
}

// Each round would leak at least one 256 x 256 image, 196 kB, if a Mat stayed
// open: 400 MB over the loop.
func TestNoLeak(t *testing.T) {
	src := picture(t, 256, 256, 1)
	defer src.Close()
	img := Image{Pixels: src}
	round := func(seed uint64) {
		a, err := New(Default(), 256, 256)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		dst := gocv.NewMat()
		defer dst.Close()
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 5 {
			if _, err := a.Mosaic(rng, [4]Image{img, img, img, img}, &dst); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Single(rng, img, &dst); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range uint64(20) {
		round(i)
	}
	before := resident(t)
	for i := range uint64(200) {
		round(i)
	}
	if grown := resident(t) - before; grown > 40<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

// resident returns the process's resident memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
