package voc

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"yoloprune/datasets"
	"yoloprune/datasets/labels"
)

const sample = `<?xml version="1.0"?>
<annotation>
	<filename>a.jpg</filename>
	<size><width>100</width><height>50</height><depth>3</depth></size>
	<object>
		<name>cat</name>
		<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
		<bndbox><ymin>5</ymin><xmin>11</xmin><ymax>14</ymax><xmax>30</xmax></bndbox>
		<difficult>1</difficult>
	</object>
</annotation>`

// The pixels 11..30 and 5..14, counted from 1, are 20 and 10.
func TestParse(t *testing.T) {
	a, err := parse("x", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if a.filename != "a.jpg" || a.width != "100" || len(a.objects) != 1 {
		t.Fatalf("%+v", a)
	}
	o := a.objects[0]
	box, f := o.box()
	if f != nil || box != [4]float64{10, 4, 20, 10} || o.name() != "cat" || o.line != 5 || !isSet(o.Difficult) || isSet(o.Truncated) {
		t.Errorf("%v %v %+v", box, f, o)
	}
}

// Whole corners are whole, in order, and off by half a pixel at most if the box
// is larger than a pixel.
func TestIntegersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := datasets.Box{
			X: rapid.Float64Range(0, 500).Draw(t, "x"), Y: rapid.Float64Range(0, 500).Draw(t, "y"),
			W: rapid.Float64Range(1.01, 500).Draw(t, "w"), H: rapid.Float64Range(1.01, 500).Draw(t, "h"),
		}
		c := corners(b, true)
		got, f := object{Boxes: []bndbox{{[]string{c.XMin}, []string{c.YMin}, []string{c.XMax}, []string{c.YMax}}}}.box()
		if f != nil {
			t.Fatal(f)
		}
		for i, d := range []float64{got[0] - b.X, got[1] - b.Y, got[0] + got[2] - b.X - b.W, got[1] + got[3] - b.Y - b.H} {
			if got[i] != float64(int(got[i])) || d > 1 || d < -0.5-1e-9 || i < 2 && d > 0.5+1e-9 {
				t.Fatalf("%+v became %v", b, got)
			}
		}
	})
}

func TestParseList(t *testing.T) {
	got := parseList([]byte("2007_000027\r\n2007_000032 -1\n\nmy image 1\n"))
	want := []entry{{"2007_000027", 1}, {"2007_000032", 2}, {"my image 1", 4}}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
}

// Whatever the bytes, there is an error of the format, or objects whose boxes
// are sound or say why not.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("<annotation><object><name>a</name></object></annotation>")
	f.Add("<annotation><size><width>x</width></size>")
	f.Add(`<?xml version="1.0" encoding="latin1"?><annotation/>`)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parse("x", []byte(text))
		if err != nil {
			var format *labels.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, o := range a.objects {
			box, f := o.box()
			if f == nil && !(box[2] >= 0 && box[3] >= 0 && labels.Finite(box[:]...) == nil) {
				t.Fatalf("%v", box)
			}
		}
	})
}
