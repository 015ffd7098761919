package draw

import (
	"image/color"
	"math"
	"testing"

	"yoloprune/yolo/head"

	"gocv.io/x/gocv"
)

func grey(t *testing.T, w, h int) gocv.Mat {
	t.Helper()
	return gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), h, w, gocv.MatTypeCV8UC3)
}

func at(m gocv.Mat, x, y int) color.RGBA {
	p := m.GetVecbAt(y, x)
	return color.RGBA{p[2], p[1], p[0], 255}
}

var background = color.RGBA{90, 90, 90, 255}

func TestFrame(t *testing.T) {
	img := grey(t, 100, 80)
	defer img.Close()
	Detections(&img, []string{"a"}, []head.Detection{{Class: 0, Score: 0.5, Box: head.Box{X: 10, Y: 30, W: 40, H: 20}}})
	c := Colour(0)
	for _, p := range [][2]int{{10, 30}, {49, 30}, {10, 49}, {49, 49}, {30, 49}, {49, 40}} {
		if got := at(img, p[0], p[1]); got != c {
			t.Errorf("edge %v is %v, want %v", p, got, c)
		}
	}
	for _, p := range [][2]int{{9, 40}, {50, 40}, {30, 50}, {30, 40}, {12, 32}, {90, 70}} {
		if got := at(img, p[0], p[1]); got != background {
			t.Errorf("pixel %v is %v, want the background", p, got)
		}
	}
	// The label stands over the box: plate and ink are both there.
	plate, dark := 0, 0
	for y := 15; y < 30; y++ {
		for x := 10; x < 40; x++ {
			switch got := at(img, x, y); {
			case got == c:
				plate++
			case got != background:
				dark++
			}
		}
	}
	if plate < 100 || dark < 20 {
		t.Errorf("%d pixels of plate, %d of ink", plate, dark)
	}
}

// At the top edge the label moves into the box, at the right edge to the left.
func TestLabelStaysInside(t *testing.T) {
	img := grey(t, 100, 80)
	defer img.Close()
	Detections(&img, nil, []head.Detection{{Class: 1, Score: 0.5, Box: head.Box{X: 80, Y: 0, W: 20, H: 80}}})
	c := Colour(1)
	if got := at(img, 60, 1); got != c {
		t.Errorf("left of the box: %v, want the plate's %v", got, c)
	}
	if got := at(img, 60, 40); got != background {
		t.Errorf("below the plate: %v", got)
	}
}

func TestBestIsOnTop(t *testing.T) {
	img := grey(t, 100, 80)
	defer img.Close()
	box := head.Box{X: 10, Y: 30, W: 40, H: 20}
	Detections(&img, nil, []head.Detection{{Class: 2, Score: 0.9, Box: box}, {Class: 3, Score: 0.1, Box: box}})
	if got := at(img, 10, 45); got != Colour(2) {
		t.Errorf("%v, want class 2's %v", got, Colour(2))
	}
}

func TestOddBoxes(t *testing.T) {
	img := grey(t, 50, 50)
	defer img.Close()
	before := string(img.ToBytes())
	nan, inf := math.NaN(), math.Inf(1)
	for _, b := range []head.Box{{X: nan, W: 1, H: 1}, {W: inf, H: 5}, {X: 60, Y: 5, W: 5, H: 5}, {X: -20, W: 10, H: 10}, {X: 5, Y: 5}, {X: 1e300, Y: 0, W: 1, H: 1}, {X: 20, Y: 20, W: -10, H: 5}} {
		Detections(&img, nil, []head.Detection{{Box: b}})
		if string(img.ToBytes()) != before {
			t.Errorf("%+v was painted", b)
		}
	}
	Detections(&img, []string{"a"}, []head.Detection{{Class: -3, Box: head.Box{X: -1e9, Y: -1e9, W: 2e9, H: 2e9}}, {Class: 99, Box: head.Box{X: 1, Y: 1, W: 1, H: 1}}})
	if at(img, 0, 49) != Colour(-3) {
		t.Error("a box larger than the image is not cut to it")
	}
	empty := gocv.NewMat()
	defer empty.Close()
	Detections(&empty, nil, []head.Detection{{Box: head.Box{W: 5, H: 5}}})
	Detections(nil, nil, nil)
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		d    head.Detection
		want string
	}{
		{head.Detection{Class: 1, Score: 0.876}, "dog 0.88"},
		{head.Detection{Class: 2, Score: 1}, "class 2 1.00"},
		{head.Detection{Class: -1}, "class -1 0.00"},
	} {
		if got := text([]string{"cat", "dog"}, tt.d); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestColours(t *testing.T) {
	if got := Colour(0); got != (color.RGBA{255, 38, 38, 255}) {
		t.Errorf("class 0 is %v, want red", got)
	}
	// Among any six classes in a row no two colours are close.
	for a := range 80 {
		for b := a + 1; b < a+6; b++ {
			x, y := Colour(a), Colour(b)
			d := math.Abs(float64(x.R)-float64(y.R)) + math.Abs(float64(x.G)-float64(y.G)) + math.Abs(float64(x.B)-float64(y.B))
			if d < 100 {
				t.Errorf("classes %d and %d: %v and %v", a, b, x, y)
			}
		}
	}
	if ink(color.RGBA{255, 255, 0, 255}).R != 0 || ink(color.RGBA{0, 0, 255, 255}).R != 255 {
		t.Error("ink does not stand out")
	}
}
