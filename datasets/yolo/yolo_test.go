package yolo

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/datasets/labels"
)

func TestParse(t *testing.T) {
	want := &document{
		file: "x", path: "../data", names: []string{"cat", "1"},
		splits: map[string][]entry{"train": {{"images/a", 2}, {"list.txt", 2}}, "val": {{"images/v", 3}}, "test": nil},
	}
	for _, names := range []string{"names: [cat, 1]\n", "names: {1: 1, 0: cat}\n", "names:\n  - cat\n  - '1'\n"} {
		got, err := parse("x", []byte("path: ../data # where\ntrain: [images/a, list.txt]\nval: images/v\ntest:\nnc: 2\ndownload: |\n  anything\n"+names))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(document{}, entry{})); d != "" {
			t.Errorf("%s%s", names, d)
		}
	}
}

// Whatever the bytes, there is an error of the format or a document with names.
func FuzzParse(f *testing.F) {
	f.Add("train: images/train\nnc: 2\nnames: [cat, dog]\n")
	f.Add("names: {0: a, 1: b}\ntrain: [a, b]\n")
	f.Add("a: &a [*a]\nnames: *a\n")
	f.Add("- x\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse("x", []byte(text))
		if err != nil {
			var format *labels.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if len(d.names) == 0 {
			t.Fatal("no names")
		}
	})
}
