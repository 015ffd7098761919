package labels

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	for _, text := range []string{"a\nb", "a\r\nb", "a\rb"} {
		if got := Lines([]byte(text)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestParseNames(t *testing.T) {
	got, err := ParseNames("x", []byte("traffic light\r\n dog \n\n \n"))
	if err != nil || !slices.Equal(got, []string{"traffic light", "dog"}) {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{
		"":         "names no class",
		"\n\n":     "names no class",
		"a\n\nb":   "x:2: found an empty line",
		"a\nb\na ": `x:3: the name "a" stands on line 1, too`,
	} {
		if _, err := ParseNames("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("\ufeffabc"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 6); err != nil || string(got) != "abc" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ReadFile(path, 5); err == nil || !strings.Contains(err.Error(), "more than 5 bytes") {
		t.Errorf("%v", err)
	}
	if _, err := ReadFile(filepath.Dir(path), 5); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	root := Root{Dir: filepath.Join(dir, "set")}
	for _, f := range []string{"set/images/a.jpg", "set/lists/b.jpg", `set/images/back\slash.jpg`, "set2/c.jpg"} {
		p := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	folders := []string{root.Dir, filepath.Join(root.Dir, "lists")}
	for _, tt := range []struct{ raw, file, refused string }{
		{"images/a.jpg", "images/a.jpg", ""},
		{`images\a.jpg`, "images/a.jpg", ""},
		{`images/back\slash.jpg`, `images/back\slash.jpg`, ""},
		{"b.jpg", "lists/b.jpg", ""},
		{"./images/../images/a.jpg", "images/a.jpg", ""},
		{filepath.Join(root.Dir, "images", "a.jpg"), "images/a.jpg", ""},
		{"none.jpg", "none.jpg", ""},
		{"../set2/c.jpg", "", "leaves the data root"},
		{"../../none.jpg", "", "leaves the data root"},
		{filepath.Join(dir, "set2", "c.jpg"), "", "leaves the data root"},
	} {
		where, file, err := root.Find(tt.raw, folders...)
		if tt.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("%s: %v", tt.raw, err)
			}
			continue
		}
		if err != nil || file != tt.file || !strings.HasPrefix(where, root.Dir) {
			t.Errorf("%s: %s, %s, %v; want %s", tt.raw, where, file, err, tt.file)
		}
	}
	if _, file, err := (Root{root.Dir, true}).Find("../set2/c.jpg", folders...); err != nil || file != "c.jpg" {
		t.Errorf("allowed: %s, %v", file, err)
	}
}

// The image folder and that of the split go, other folders stay.
func TestBelow(t *testing.T) {
	for file, want := range map[string]string{
		"images/train/a.jpg": "a.jpg", "images/film1/a.jpg": "film1/a.jpg", "VOC2007/JPEGImages/a.jpg": "a.jpg",
		"obj/a.jpg": "a.jpg", "data/a.jpg": "data/a.jpg", "train/a.jpg": "a.jpg", "a.jpg": "a.jpg",
	} {
		if got := below(file, "train"); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}
