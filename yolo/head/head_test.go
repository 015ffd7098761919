package head

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"yoloprune/yolo/graph"
)

// off is a logit whose probability no threshold here passes.
const off = -20

// logit is the raw value with probability p.
func logit(p float64) float32 { return float32(math.Log(p / (1 - p))) }

// newRaw returns a head of w x h cells with the given anchors, all of which it
// predicts, and no object anywhere.
func newRaw(w, h, classes int, anchors ...[2]float64) Raw {
	y := &graph.Yolo{Classes: classes, Anchors: anchors, ScaleXY: 1}
	for i := range anchors {
		y.Mask = append(y.Mask, i)
	}
	r := Raw{Yolo: y, Shape: graph.Shape{C: len(anchors) * y.PerAnchor(), H: h, W: w}}
	r.Data = make([]float32, r.Shape.Size())
	for i := range r.Data {
		r.Data[i] = off
	}
	return r
}

// set writes a prediction x, y, w, h, objectness, classes.
func (r *Raw) set(row, col, anchor int, v ...float32) {
	copy(r.Data[(row*r.Shape.W+col)*r.Shape.C+anchor*r.Yolo.PerAnchor():], v)
}

// square is an image of the same size as the network input: nothing to undo.
func square(side int) Options {
	return Options{Conf: .1, ImageW: side, ImageH: side, NetW: side, NetH: side}
}

func checkDetections(t *testing.T, got, want []Detection) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d detections %+v, want %d %+v", len(got), got, len(want), want)
	}
	for i := range want {
		if !same(got[i], want[i], 1e-4) {
			t.Errorf("detection %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func same(a, b Detection, tolerance float64) bool {
	near := func(x, y float64) bool { return math.Abs(x-y) <= tolerance }
	return a.Class == b.Class && near(a.Score, b.Score) &&
		near(a.Box.X, b.Box.X) && near(a.Box.Y, b.Box.Y) && near(a.Box.W, b.Box.W) && near(a.Box.H, b.Box.H)
}

func TestDecode(t *testing.T) {
	ln2 := float32(math.Ln2)
	for _, c := range []struct {
		name      string
		scale     float64
		newCoords bool
		values    []float32
		want      Detection
	}{
		// Cell row 2, column 1 of a 4x3 grid on a 128x96 input: stride 32.
		// s(0) = 1/2: centre (1.5/4, 2.5/3) = (48, 80) pixels; exp(0): the
		// anchor, 16x8. Score 1/2*1/2.
		{"zeros", 1, false, []float32{0, 0, 0, 0, 0, off, 0}, Detection{1, .25, Box{40, 76, 16, 8}}},
		// exp(ln 2) = 2, exp(-ln 2) = 1/2: 32x4.
		{"sizes", 1, false, []float32{0, 0, ln2, -ln2, 0, 0, off}, Detection{0, .25, Box{32, 78, 32, 4}}},
		// s = 3/4 and 1/4 with scale 1.2: 1.2*.75-.1 = .8, 1.2*.25-.1 = .2:
		// centre (1.8*32, 2.2*32) = (57.6, 70.4). Score .75*.6.
		{"scale_x_y", 1.2, false, []float32{logit(.75), logit(.25), 0, 0, logit(.75), logit(.6), off}, Detection{0, .45, Box{49.6, 66.4, 16, 8}}},
		{"no scale_x_y is 1", 0, false, []float32{logit(.75), 0, 0, 0, 0, 0, off}, Detection{0, .25, Box{48, 76, 16, 8}}},
		// Values are probabilities already. Scale 2: 2*.75-.5 = 1, 2*.25-.5 =
		// 0: centre (2*32, 2*32). Sizes (2*.75)^2 = 2.25 and (2*.25)^2 = 1/4:
		// 36x2. Score .8*.5.
		{"new_coords", 2, true, []float32{.75, .25, .75, .25, .8, 0, .5}, Detection{1, .4, Box{46, 63, 36, 2}}},
		{"new_coords, half everywhere", 2, true, []float32{.5, .5, .5, .5, .5, .5, 0}, Detection{0, .25, Box{40, 76, 16, 8}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRaw(4, 3, 2, [2]float64{99, 99}, [2]float64{16, 8})
			r.Yolo.ScaleXY, r.Yolo.NewCoords = c.scale, c.newCoords
			r.set(2, 1, 1, c.values...)
			got := Detect([]Raw{r}, Options{Conf: .1, ImageW: 128, ImageH: 96, NetW: 128, NetH: 96})
			checkDetections(t, got, []Detection{c.want})
		})
	}
}

// Sizes are relative to the whole network input, also when the mask picks some
// anchors only.
func TestDecodeMask(t *testing.T) {
	r := newRaw(1, 1, 1, [2]float64{8, 8})
	r.Yolo.Anchors = [][2]float64{{4, 4}, {99, 99}, {16, 24}}
	r.Yolo.Mask = []int{2}
	r.set(0, 0, 0, 0, 0, 0, 0, 0, 0)
	checkDetections(t, Detect([]Raw{r}, square(32)), []Detection{{0, .25, Box{8, 4, 16, 24}}})
}

// Both thresholds are strict: objectness 1/2 and score 1/4 are not above
// themselves.
func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		conf       float64
		obj, class float32
		want       int
	}{
		{.25, 0, 0, 0},
		{.24999, 0, 0, 1},
		{.5, 0, 20, 0},
		{.4999, 0, 20, 1},
		{.001, logit(.002), logit(.49), 0},
		{.001, logit(.002), logit(.51), 1},
		{0, -30, -30, 1},
		{1, 40, 40, 0},
	} {
		r := newRaw(1, 1, 1, [2]float64{8, 8})
		r.set(0, 0, 0, 0, 0, 0, 0, c.obj, c.class)
		o := square(32)
		o.Conf = c.conf
		if got := Detect([]Raw{r}, o); len(got) != c.want {
			t.Errorf("conf %g, objectness %g, class %g: %d detections, want %d", c.conf, c.obj, c.class, len(got), c.want)
		}
	}
}

func TestThresholdsOfProbabilities(t *testing.T) {
	for _, c := range []struct {
		conf       float64
		obj, class float32
		want       int
	}{
		{.25, .25, 1, 0},
		{.25, .2501, 1, 1},
		{.25, 1, .25, 0},
		{.25, 1, .2501, 1},
		{.25, .5, .5, 0},
	} {
		r := newRaw(1, 1, 1, [2]float64{8, 8})
		r.Yolo.NewCoords = true
		r.set(0, 0, 0, .5, .5, .5, .5, c.obj, c.class)
		o := square(32)
		o.Conf = c.conf
		if got := Detect([]Raw{r}, o); len(got) != c.want {
			t.Errorf("conf %g, objectness %g, class %g: %d detections, want %d", c.conf, c.obj, c.class, len(got), c.want)
		}
	}
}

func TestSeveralClasses(t *testing.T) {
	r := newRaw(1, 1, 3, [2]float64{8, 8})
	r.set(0, 0, 0, 0, 0, 0, 0, logit(.8), logit(.5), off, logit(.75))
	box := Box{12, 12, 8, 8}
	o := square(32)
	o.NMS = .45
	checkDetections(t, Detect([]Raw{r}, o), []Detection{{2, .6, box}, {0, .4, box}})
}

// Equal scores keep Darknet's order: head, row, column, anchor, class.
func TestOrder(t *testing.T) {
	first := newRaw(2, 2, 2, [2]float64{2, 2}, [2]float64{4, 4})
	second := newRaw(1, 1, 2, [2]float64{6, 6})
	for cell := range 4 {
		for a := range 2 {
			first.set(cell/2, cell%2, a, 0, 0, 0, 0, 0, 0, 0)
		}
	}
	second.set(0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
	var want []Detection
	for _, b := range []Box{{7, 7, 2, 2}, {6, 6, 4, 4}, {23, 7, 2, 2}, {22, 6, 4, 4}, {7, 23, 2, 2}, {6, 22, 4, 4}, {23, 23, 2, 2}, {22, 22, 4, 4}, {13, 13, 6, 6}} {
		want = append(want, Detection{0, .25, b}, Detection{1, .25, b})
	}
	// The second head's class 1 is surer: .5*s(1), and goes first.
	last := len(want) - 1
	want = slices.Insert(want[:last], 0, Detection{1, .5 / (1 + math.Exp(-1)), want[last].Box})
	checkDetections(t, Detect([]Raw{first, second}, square(32)), want)
}

func TestLetterboxSize(t *testing.T) {
	for _, c := range [][8]int{
		{333, 500, 416, 416, 277, 416, 69, 0}, // 333*416/500 = 277.06
		{500, 375, 608, 608, 608, 456, 0, 76},
		{100, 100, 416, 416, 416, 416, 0, 0},
		{640, 480, 320, 192, 256, 192, 32, 0},
		{10000, 1, 416, 416, 416, 1, 0, 207}, // never nothing
		{1, 10000, 416, 416, 1, 416, 207, 0},
		{0, 10, 416, 416, 0, 0, 0, 0},
	} {
		nw, nh, px, py := LetterboxSize(c[0], c[1], c[2], c[3])
		if got := [4]int{nw, nh, px, py}; got != [4]int(c[4:]) {
			t.Errorf("%dx%d in %dx%d: %v, want %v", c[0], c[1], c[2], c[3], got, c[4:])
		}
	}
}

// Darknet reads the leading digits, of the first such key.
func TestLetterboxed(t *testing.T) {
	for value, want := range map[string]bool{"1": true, "0": false, "2": true, "01": true, "-1": true, "00": false, "0.5": false, "1#": true, "true": false, "": false} {
		n := graph.Net{Options: []graph.Option{{Key: "letterbox", Value: "0"}, {Key: "letter_box", Value: value}, {Key: "letter_box", Value: "0"}}}
		if got := Letterboxed(n); got != want {
			t.Errorf("letter_box=%s: %v, want %v", value, got, want)
		}
	}
	if Letterboxed(graph.Net{}) {
		t.Error("letterboxed without letter_box")
	}
}

func TestResizeUndone(t *testing.T) {
	for _, c := range []struct {
		name      string
		w, h      int
		letterbox bool
		want      Box
	}{
		// Input 64x64; the prediction is a box of 16x8 around its centre.
		// Stretched 128x32: twice as wide, half as high.
		{"stretch", 128, 32, false, Box{48, 14, 32, 4}},
		// 128x32 letterboxed is 64x16: twice as large both ways, same centre.
		{"wide", 128, 32, true, Box{48, 8, 32, 16}},
		// 16 columns of the input are the whole width.
		{"high", 32, 128, true, Box{0, 56, 32, 16}},
		// 100x47 is 64 x int(30.08) = 64x30 at row 17. Width 16*100/64 = 25,
		// height 8*47/30 = 12.5333.
		{"truncated", 100, 47, true, Box{37.5, 23.5 - 6.266667, 25, 12.533333}},
		// 100x46 is 64 x int(29.44) = 64x29; the margin is 17.5, not 17, so
		// the centre stays the centre. Height 8*46/29.
		{"half a pixel", 100, 46, true, Box{37.5, 23 - 6.344828, 25, 12.689655}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRaw(1, 1, 1, [2]float64{16, 8})
			r.set(0, 0, 0, 0, 0, 0, 0, 0, 0)
			o := Options{Conf: .1, ImageW: c.w, ImageH: c.h, NetW: 64, NetH: 64, Letterbox: c.letterbox}
			checkDetections(t, Detect([]Raw{r}, o), []Detection{{0, .25, c.want}})
		})
	}
}

func TestClip(t *testing.T) {
	// Cell (0, 0) of 4x4, stride 16: centre (8, 8), 32x8 reaches from -8 to 24.
	r := newRaw(4, 4, 1, [2]float64{32, 8})
	r.set(0, 0, 0, 0, 0, 0, 0, 0, 0)
	checkDetections(t, Detect([]Raw{r}, square(64)), []Detection{{0, .25, Box{0, 4, 24, 8}}})
	whole := square(64)
	whole.NoClip = true
	checkDetections(t, Detect([]Raw{r}, whole), []Detection{{0, .25, Box{-8, 4, 32, 8}}})

	// In the margin of a letterbox: the image 64x16 takes rows 24 to 40 of the
	// input, the box rows 4 to 12.
	o := Options{Conf: .1, ImageW: 64, ImageH: 16, NetW: 64, NetH: 64, Letterbox: true}
	checkDetections(t, Detect([]Raw{r}, o), nil)
	o.NoClip, o.MaxDet, o.NMS = true, 1, .5
	checkDetections(t, Detect([]Raw{r}, o), []Detection{{0, .25, Box{-8, -20, 32, 8}}})
}

// What lies outside the image still suppresses, as in Darknet, but takes no
// place among MaxDet.
func TestMaxDet(t *testing.T) {
	r := newRaw(4, 4, 1, [2]float64{8, 8})
	for i, score := range []float32{3, 1, 2} {
		r.set(1, i, 0, 0, 0, 0, 0, score, 20) // rows 16 to 32: centre 24
	}
	r.set(0, 3, 0, 0, 0, 0, 0, 4, 20)
	want := []Detection{
		{0, 1 / (1 + math.Exp(-3)), Box{4, 4, 8, 8}},
		{0, 1 / (1 + math.Exp(-2)), Box{36, 4, 8, 8}},
		{0, 1 / (1 + math.Exp(-1)), Box{20, 4, 8, 8}},
	}
	for _, nms := range []float64{0, .5} {
		for limit := 1; limit <= 4; limit++ {
			// Rows 16 to 48 of the input are the image: the best box is above.
			o := Options{Conf: .1, NMS: nms, ImageW: 64, ImageH: 32, NetW: 64, NetH: 64, Letterbox: true, MaxDet: limit}
			checkDetections(t, Detect([]Raw{r}, o), want[:min(limit, 3)])
		}
	}
}

// Predictions that are no numbers, or overflow, never become boxes.
func TestNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for i, want := range []int{0, 0, 0, 0, 0, 1, 1} { // a bad class leaves the other
		for _, bad := range []float32{nan, inf, -inf} {
			r := newRaw(1, 1, 2, [2]float64{8, 8})
			v := []float32{0, 0, 0, 0, 3, 3, 3}
			v[i] = bad
			r.set(0, 0, 0, v...)
			if got := Detect([]Raw{r}, square(32)); len(got) != want {
				t.Errorf("value %d is %g: detections %+v, want %d", i, bad, got, want)
			}
		}
	}
	for _, tw := range []float32{1000, 709, -1000} {
		r := newRaw(1, 1, 1, [2]float64{8, 8})
		r.set(0, 0, 0, 0, 0, tw, tw, 3, 3)
		checkDetections(t, Detect([]Raw{r}, square(32)), nil)
	}
	// A number relative to the image, but not in pixels. exp(700)*8/32 is 2.5e303.
	wide := newRaw(1, 1, 1, [2]float64{8, 8})
	wide.set(0, 0, 0, 0, 0, 700, 0, 3, 3)
	checkDetections(t, Detect([]Raw{wide}, Options{Conf: .1, ImageW: 1 << 30, ImageH: 1, NetW: 32, NetH: 32, NoClip: true}), nil)
	// Large, but a number: the whole image.
	r := newRaw(1, 1, 1, [2]float64{8, 8})
	r.set(0, 0, 0, 0, 0, 80, 80, 0, 0)
	checkDetections(t, Detect([]Raw{r}, square(32)), []Detection{{0, .25, Box{0, 0, 32, 32}}})
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Raw, *Options)
		want string
	}{
		{"no image", func(_ *Raw, o *Options) { o.ImageW = 0 }, "image 0x32, network input 32x32: every side must be at least 1"},
		{"no input", func(_ *Raw, o *Options) { o.NetH = -1 }, "every side must be at least 1"},
		{"conf NaN", func(_ *Raw, o *Options) { o.Conf = math.NaN() }, "confidence threshold NaN: must be in [0, 1]"},
		{"conf 25", func(_ *Raw, o *Options) { o.Conf = 25 }, "confidence threshold 25"},
		{"nms 1.5", func(_ *Raw, o *Options) { o.NMS = 1.5 }, "suppression threshold 1.5: must be in [0, 1]"},
		{"kind", func(_ *Raw, o *Options) { o.NMSKind = "greedy" }, `kind of suppression "greedy": use one of ["auto" "default" "greedynms" "diounms"]`},
		{"limit", func(_ *Raw, o *Options) { o.MaxDet = -1 }, "limit of -1 detections"},
		{"no yolo", func(r *Raw, _ *Options) { r.Yolo = nil }, "head 0: has no yolo parameters"},
		{"channels", func(r *Raw, _ *Options) { r.Yolo.Classes = 3 }, "head 0: 6 channels for 1 anchors and 3 classes"},
		{"no classes", func(r *Raw, _ *Options) { r.Yolo.Classes = 0 }, "and 0 classes"},
		{"data", func(r *Raw, _ *Options) { r.Data = r.Data[1:] }, "head 0: 5 values for shape 6x1x1"},
		{"mask", func(r *Raw, _ *Options) { r.Yolo.Mask = []int{1} }, "head 0: mask names anchor 1, but there are 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, o := newRaw(1, 1, 1, [2]float64{8, 8}), square(32)
			r.set(0, 0, 0, 0, 0, 0, 0, 3, 3)
			if err := Check([]Raw{r}, o); err != nil || len(Detect([]Raw{r}, o)) != 1 {
				t.Fatalf("the good head: %v", err)
			}
			c.edit(&r, &o)
			if err := Check([]Raw{r}, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got := Detect([]Raw{r}, o); got != nil {
				t.Errorf("detections %+v all the same", got)
			}
		})
	}
	if got := Detect(nil, square(32)); len(got) != 0 {
		t.Errorf("no heads give %+v", got)
	}
}

// Whatever the values: no panic, boxes inside the image, scores above the
// threshold and falling.
func FuzzDetect(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0x80, 0x3f}, false, uint8(1), uint8(9))
	f.Add([]byte{0xff, 0xff, 0x7f, 0x7f, 0, 0, 0x80, 0xff, 1, 2, 3}, true, uint8(200), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, newCoords bool, w, h uint8) {
		r := newRaw(2, 2, 2, [2]float64{8, 8}, [2]float64{20, 10})
		r.Yolo.NewCoords = newCoords
		for i := 0; i < len(r.Data) && 4*i+4 <= len(data); i++ {
			r.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		o := Options{Conf: .01, NMS: .5, NMSKind: NMSDIoU, ImageW: int(w) + 1, ImageH: int(h) + 1, NetW: 32, NetH: 32, Letterbox: true}
		last := math.Inf(1)
		for _, d := range Detect([]Raw{r}, o) {
			b := d.Box
			if !(d.Score > .01 && d.Score <= last && b.X >= 0 && b.Y >= 0 && b.W > 0 && b.H > 0 &&
				b.X+b.W <= float64(o.ImageW)+1e-9 && b.Y+b.H <= float64(o.ImageH)+1e-9) {
				t.Errorf("%+v after score %g in %dx%d", d, last, o.ImageW, o.ImageH)
			}
			last = d.Score
		}
	})
}

// The 2535 predictions of yolov4-tiny at 416 with 80 classes, a tenth of them
// above the threshold of an evaluation.
func BenchmarkDetect(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	raws := []Raw{
		newRaw(13, 13, 80, [2]float64{81, 82}, [2]float64{135, 169}, [2]float64{344, 319}),
		newRaw(26, 26, 80, [2]float64{23, 27}, [2]float64{37, 58}, [2]float64{81, 82}),
	}
	for _, r := range raws {
		for i := range r.Data {
			switch i % r.Yolo.PerAnchor() {
			case 0, 1, 2, 3:
				r.Data[i] = float32(rng.NormFloat64())
			default:
				r.Data[i] = float32(rng.NormFloat64()*3 - 8)
			}
		}
	}
	o := Options{Conf: .001, NMS: .65, MaxDet: 300, ImageW: 640, ImageH: 480, NetW: 416, NetH: 416}
	for b.Loop() {
		Detect(raws, o)
	}
}
