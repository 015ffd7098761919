package yolotxt

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/datasets"
)

func TestParse(t *testing.T) {
	rows, faults := Parse("x", []byte("0 0.5 .5 1 1e-1\n\n\t1.0\t0 0 .5 0 .5 .25  \nx\n"), Rules{Classes: 2, Polygons: true, Decimal: true})
	want := []Row{{1, 0, [4]float64{.5, .5, 1, .1}}, {3, 1, [4]float64{.25, .125, .5, .25}}}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if len(faults) != 1 || faults[0].Line != 4 {
		t.Errorf("%v", faults)
	}
}

func TestTwin(t *testing.T) {
	for _, tt := range []struct{ image, want string }{
		{"images/train/a.jpg", "labels/train/a.txt"},
		{"images/x/images/a.b.png", "images/x/labels/a.b.txt"},
		{"VOC2007/JPEGImages/a.JPG", "VOC2007/labels/a.txt"},
		{"myimages/a.jpg", ""},
		{"images", ""},
		{"a.jpg", ""},
	} {
		got, ok := Twin(tt.image)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, want %q", tt.image, got, tt.want)
		}
	}
	if got := Beside("images/a.b.jpeg"); got != "images/a.b.txt" {
		t.Error(got)
	}
}

// Whatever the bytes, rows have a class and a box that can be used, and what is
// written again is read as the same boxes.
func FuzzParse(f *testing.F) {
	f.Add("0 0.5 0.5 0.2 0.2\n1 0 0 1 1\n")
	f.Add("1 0 0 .5 0 .5 .5\n")
	f.Add("0 nan 1e999 -1 2\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range []Rules{{Classes: 2}, {Classes: 2, Polygons: true, Decimal: true}} {
			rows, _ := Parse("x", []byte(text), r)
			s := datasets.Sample{Width: 1000, Height: 1000}
			for _, row := range rows {
				b := row.Box
				if row.Class < 0 || row.Class > 1 || !(b[2] >= 0 && b[3] >= 0 && math.Abs(b[0]) <= 2 && math.Abs(b[1]) <= 2) {
					t.Fatalf("%+v", row)
				}
				s.Boxes = append(s.Boxes, datasets.Box{Class: row.Class, X: 1000 * (b[0] - b[2]/2), Y: 1000 * (b[1] - b[3]/2), W: 1000 * b[2], H: 1000 * b[3]})
			}
			again, _ := Format(s)
			got, faults := Parse("x", []byte(again), r)
			if len(faults) > 0 || len(got) != len(rows) {
				t.Fatalf("%v after %q", faults, again)
			}
		}
	})
}
