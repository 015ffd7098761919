package darknet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/datasets/labels"
)

func TestParseData(t *testing.T) {
	got, err := parseData("x", []byte("# comment\n; other\n classes= 2 \r\ntrain =data/my list.txt\n\nbackup=\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]value{"classes": {"2", 3}, "train": {"data/my list.txt", 4}, "backup": {"", 6}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(value{})); d != "" {
		t.Error(d)
	}
}

// Paths of lists are those of the root and, where nothing is there, of the
// list's folder.
func TestListFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"set/lists/train.txt": "a.png\n", "set/lists/a.png": "x", "set/lists/a.txt": "0 .5 .5 .1 .1", "names": "cat"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Root: labels.Root{Dir: dir}, List: filepath.Join(dir, "set", "lists", "train.txt")}
	if _, err := Read(o); err == nil || !strings.Contains(err.Error(), "the class names are not known") {
		t.Errorf("without names: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "obj.data"), []byte("names = names\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Read(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Images) != 1 || f.Images[0].File != "set/lists/a.png" || len(f.Boxes) != 1 {
		t.Errorf("%+v", f)
	}
}

// Whatever the bytes, a .data file gives keys on lines that exist, and a list
// images or faults; errors are of the format.
func FuzzRead(f *testing.F) {
	f.Add("classes = 2\ntrain = train.txt\n")
	f.Add("a.png\r\nsub\\b.png\n../c.png\n")
	f.Add("\ufeff# x\n=\n==\n")
	f.Fuzz(func(t *testing.T, text string) {
		data, err := labels.Text("x", []byte(text))
		var format *labels.FormatError
		if err != nil {
			if !errors.As(err, &format) {
				t.Fatal(err)
			}
			return
		}
		if _, err := parseData("x", data); err != nil && !errors.As(err, &format) {
			t.Fatal(err)
		}
		root := t.TempDir()
		file, err := readList(filepath.Join(root, "list"), data, []string{"cat"}, labels.Root{Dir: root})
		if err != nil {
			if !errors.As(err, &format) {
				t.Fatal(err)
			}
			return
		}
		for _, m := range file.Images {
			if !filepath.IsLocal(filepath.FromSlash(m.File)) {
				t.Fatalf("%q leaves the root", m.File)
			}
		}
	})
}
