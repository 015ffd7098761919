package formats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"yoloprune/datasets"
	"yoloprune/datasets/labels"
)

// shared finds the reference data beside the repository.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("YOLOPRUNE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "datasets", "bccd")); err != nil {
		t.Skip("no shared reference data")
	}
	return filepath.Join(dir, "datasets")
}

// chain writes a set in each format in turn, reading it back in between.
func chain(t testing.TB, s *labels.Set, split string, how labels.Copying, to ...string) *labels.Set {
	t.Helper()
	for i, format := range to {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if _, err := Write(format, dir, split, s, labels.WriteOptions{Images: how}); err != nil {
			t.Fatalf("writing %s: %v", format, err)
		}
		var err error
		if s, err = Open(Options{Format: format, Root: dir, Split: split}, labels.Options{}); err != nil {
			t.Fatalf("reading %s: %v", format, err)
		}
		if p := s.Problems(); p.Wrong() > 0 {
			t.Fatalf("%s as written: %q", format, p.Lines())
		}
	}
	return s
}

// kept returns the boxes that every format can hold.
func kept(s datasets.Sample) []datasets.Box {
	return slices.DeleteFunc(slices.Clone(s.Boxes), func(b datasets.Box) bool { return b.Crowd || b.Difficult })
}

// compare checks that two sets have the same boxes to a thousandth of a pixel.
func compare(t testing.TB, want, got *labels.Set) {
	t.Helper()
	if !slices.Equal(want.Names(), got.Names()) || want.Len() != got.Len() {
		t.Fatalf("%d images of %q; want %d of %q", got.Len(), got.Names(), want.Len(), want.Names())
	}
	at := map[string]int{}
	for i := range got.Len() {
		at[path.Base(got.File(i))] = i
	}
	for i := range want.Len() {
		j, ok := at[path.Base(want.File(i))]
		if !ok {
			t.Fatalf("%s is lost", want.File(i))
		}
		compareBoxes(t, want.File(i), kept(want.Sample(i)), got.Sample(j).Boxes)
	}
}

func compareBoxes(t testing.TB, file string, want, got []datasets.Box) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d boxes, want %d", file, len(got), len(want))
		return
	}
	for k, w := range want {
		g := got[k]
		off := max(math.Abs(w.X-g.X), math.Abs(w.Y-g.Y), math.Abs(w.X+w.W-g.X-g.W), math.Abs(w.Y+w.H-g.Y-g.H))
		if w.Class != g.Class || !(off <= 1e-3) {
			t.Errorf("%s: box %d is %+v, want %+v", file, k, g, w)
		}
	}
}

// COCO -> VOC -> Darknet -> YOLO -> COCO keeps every box but crowds, which only
// COCO can hold.
func TestChain(t *testing.T) {
	root := shared(t)
	for _, tt := range []struct{ set, split string }{
		{"coco-sample", "train"}, {"coco-sample", "val"}, {"bccd", "val"}, {"bccd", "test"},
	} {
		t.Run(tt.set+" "+tt.split, func(t *testing.T) {
			s, err := Open(Options{Format: "coco", Root: filepath.Join(root, tt.set), Split: tt.split}, labels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, s, chain(t, s, tt.split, labels.Symlink, "voc", "darknet", "yolo", "coco"))
		})
	}
}

// COCO -> COCO keeps ids, areas and crowds.
func TestCOCOAgain(t *testing.T) {
	s, err := Open(Options{Format: "coco", Root: filepath.Join(shared(t), "coco-sample"), Split: "val"}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := chain(t, s, "val", labels.Symlink, "coco")
	if !slices.Equal(s.CategoryIDs(), got.CategoryIDs()) {
		t.Errorf("category ids %v", got.CategoryIDs())
	}
	for i := range s.Len() {
		a, b := s.Sample(i), got.Sample(i)
		if a.ID != b.ID || len(a.Boxes) != len(b.Boxes) {
			t.Fatalf("image %d: %+v", i, b)
		}
		for k := range a.Boxes {
			x, y := a.Boxes[k], b.Boxes[k]
			if x.ID != y.ID || x.Crowd != y.Crowd || math.Abs(x.Area-y.Area) > 1e-5 || math.Abs(x.X-y.X) > 1e-5 {
				t.Errorf("%+v, want %+v", y, x)
			}
		}
	}
}

// Random boxes survive every format.
func TestRandomBoxes(t *testing.T) {
	for i, format := range Names {
		t.Run(format, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			var anns []string
			for id := range 500 {
				x, y := 99*rng.Float64(), 49*rng.Float64()
				w, h := 0.01+(99.9-x)*rng.Float64(), 0.01+(49.9-y)*rng.Float64()
				anns = append(anns, cocoBox(fmt.Sprint(id+1), fmt.Sprintf("[%v,%v,%v,%v]", x, y, w, h)))
			}
			text := "{\"images\":[" + cocoA + "," + cocoB + "],\"annotations\":[" + strings.Join(anns, ",") + `],"categories":[{"id":1,"name":"cat"}]}`
			s, err := Open(Options{Format: "coco", Root: materialise(t, one("coco", "", ann, text, "", 0, 0, ""))}, labels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, s, chain(t, s, "train", labels.Copy, format))
		})
	}
}

// Corners as a person would write them: a box over the pixels 10..29 of the
// rows 5..14, counted from 0, and one with decimals.
func TestWrittenText(t *testing.T) {
	text := cocoText("", cocoBox("1", "[10,5,20,10]")+","+cocoBox("2", "[0.5,0.25,50,25]"), "")
	s, err := Open(Options{Format: "coco", Root: materialise(t, one("coco", "", ann, text, "", 0, 0, ""))}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		format, file string
		want         []string
		integers     bool
	}{
		{"voc", "Annotations/a.xml", []string{"<xmin>11</xmin>", "<ymin>6</ymin>", "<xmax>30</xmax>", "<ymax>15</ymax>", "<xmin>1.5</xmin>", "<ymax>25.25</ymax>", "<width>100</width>"}, false},
		{"voc", "Annotations/a.xml", []string{"<xmin>2</xmin>", "<xmax>51</xmax>", "<ymax>25</ymax>"}, true},
		{"darknet", "obj/a.txt", []string{"0 0.200000000 0.200000000 0.200000000 0.200000000\n", "0 0.255000000 0.255000000 0.500000000 0.500000000\n"}, false},
		{"darknet", "train.txt", []string{"obj/a.png\nobj/b.png\n"}, false},
		{"darknet", "obj.data", []string{"classes = 2\n", "train = train.txt\n", "names = obj.names\n"}, false},
		{"yolo", "labels/train/b.txt", []string{""}, false},
		{"yolo", "data.yaml", []string{"train: images/train\n", "nc: 2\n", "- cat\n"}, false},
		{"coco", "annotations/train.json", []string{`{"id":2,"image_id":1,"category_id":1,"bbox":[0.5,0.25,50,25],"area":5,"iscrowd":0}`}, false},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if _, err := Write(tt.format, dir, "train", s, labels.WriteOptions{Integers: tt.integers}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, tt.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range tt.want {
			if !strings.Contains(string(got), w) {
				t.Errorf("%s %s: %q is not in\n%s", tt.format, tt.file, w, got)
			}
		}
	}
}

// Difficult objects stay such in COCO and VOC; a crowd becomes difficult in
// VOC; Darknet and YOLO leave both out and say so.
func TestMarks(t *testing.T) {
	crowd := `{"id":3,"image_id":1,"category_id":2,"bbox":[1,1,9,9],"area":5,"iscrowd":1}`
	hard := `{"id":4,"image_id":1,"category_id":2,"bbox":[2,2,9,9],"area":5,"difficult":1,"truncated":1}`
	text := cocoText("", cocoBox("1", "[10,5,20,10]")+","+crowd+","+hard, "")
	s, err := Open(Options{Format: "coco", Root: materialise(t, one("coco", "", ann, text, "", 0, 0, ""))}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	marks := map[string]string{"coco": "--- C-- -DT", "voc": "--- -D- -DT", "darknet": "---", "yolo": "---"}
	for _, format := range Names {
		dir := t.TempDir()
		notes, err := Write(format, dir, "train", s, labels.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if (len(notes) == 0) != (format == "coco") {
			t.Errorf("%s: notes %q", format, notes)
		}
		again, err := Open(Options{Format: format, Root: dir}, labels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range again.Sample(0).Boxes {
			got = append(got, mark(b.Crowd, "C")+mark(b.Difficult, "D")+mark(b.Truncated, "T"))
		}
		if strings.Join(got, " ") != marks[format] {
			t.Errorf("%s: %q, want %q", format, got, marks[format])
		}
	}
}

func mark(set bool, sign string) string {
	if set {
		return sign
	}
	return "-"
}

// A folder holds splits of one set; other files in it stay as they are.
func TestWriteBesideOthers(t *testing.T) {
	s, err := Open(Options{Format: "darknet", Root: materialise(t, malformed{format: "darknet"})}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Names {
		dir := t.TempDir()
		write := func(set *labels.Set, split string, force bool) error {
			_, err := Write(format, dir, split, set, labels.WriteOptions{Force: force})
			return err
		}
		if err := write(s.Subset([]int{0}), "train", false); err != nil {
			t.Fatal(err)
		}
		if err := write(s.Subset([]int{1}), "val", false); err != nil {
			t.Errorf("%s: the second split: %v", format, err)
		}
		for split, file := range map[string]string{"train": "a.png", "val": "b.png"} {
			got, err := Open(Options{Format: format, Root: dir, Split: split}, labels.Options{})
			if err != nil || got.Len() != 1 || !strings.HasSuffix(got.File(0), file) {
				t.Errorf("%s: %s: %v", format, split, err)
			}
		}
		if err := write(s, "train", false); (err == nil) != (format == "yolo") {
			t.Errorf("%s: another train split over the first: %v", format, err)
		}
		if err := write(s, "train", true); err != nil {
			t.Errorf("%s: with force: %v", format, err)
		}
	}
}

// A .data file or data.yaml of the user's own is not written over.
func TestOwnFilesStay(t *testing.T) {
	for format, file := range map[string]string{"darknet": "obj.data", "yolo": "data.yaml", "voc": "classes.names"} {
		dir := materialise(t, malformed{format: format})
		s, err := Open(Options{Format: format, Root: dir}, labels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Write(format, dir, "val", s, labels.WriteOptions{})
		if err == nil && format != "voc" {
			t.Errorf("%s: no error", format)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, file)); string(after) != string(before) {
			t.Errorf("%s: %s became %s", format, file, after)
		}
	}
}

// Images that differ in the extension only would share a label file.
func TestSharedLabelFile(t *testing.T) {
	m := malformed{"coco", "", map[string]string{"images/a.jpg": "@png 20 30", ann: cocoText(cocoA+`,{"id":2,"file_name":"a.jpg","width":20,"height":30}`, "", "")}, "", 0, 0, ""}
	s, err := Open(Options{Format: "coco", Root: materialise(t, m)}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"darknet", "voc", "yolo"} {
		if _, err := Write(format, t.TempDir(), "train", s, labels.WriteOptions{}); err == nil || !strings.Contains(err.Error(), "rename one of the two") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// The user's own files are the same after a conversion, whatever the way.
func TestSourceUnchanged(t *testing.T) {
	dir := materialise(t, malformed{format: "yolo"})
	before := snapshot(t, dir)
	s, err := Open(Options{Format: "yolo", Root: dir}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []labels.Copying{labels.Copy, labels.Hardlink, labels.Symlink} {
		out := t.TempDir()
		for range 2 { // over its own output, too
			if _, err := Write("darknet", out, "train", s, labels.WriteOptions{Images: how, Force: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := snapshot(t, dir); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
}

func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		fmt.Fprintf(&s, "%s %v %x\n", p, info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}
