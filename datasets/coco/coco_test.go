package coco

import (
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"yoloprune/datasets"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/eval"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// folder makes an image folder with a.png (100 x 50), sub/b.png (20 x 30) and
// empty.png, which has no bytes.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	writePNG(t, filepath.Join(dir, "a.png"), 100, 50)
	writePNG(t, filepath.Join(dir, "sub", "b.png"), 20, 30)
	if err := os.WriteFile(filepath.Join(dir, "empty.png"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writePNG(t testing.TB, path string, w, h int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB, text string, o Options) (*Set, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ann.json")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return Load(path, folder(t), o)
}

// doc writes a file from its three lists; "" stands for a plain one.
func doc(images, annotations, categories string) string {
	if images == "" {
		images = `{"id":1,"file_name":"a.png","width":100,"height":50}`
	}
	if categories == "" {
		categories = `{"id":7,"name":"dog"},{"id":3,"name":"cat"}`
	}
	return "{\"images\":[" + images + "],\n\"annotations\":[" + annotations + "],\n\"categories\":[" + categories + "]}"
}

func ann(id, box string) string {
	return `{"id":` + id + `,"image_id":1,"category_id":7,"bbox":` + box + `,"area":1}`
}

func TestLoad(t *testing.T) {
	s, err := load(t, "\ufeff"+doc(
		`{"id":9,"file_name":"sub/b.png","width":20,"height":30,"license":1},{"id":1,"file_name":"a.png","width":100,"height":50}`,
		`{"id":5,"image_id":1,"category_id":7,"bbox":[1,2,30.5,4],"area":99,"iscrowd":0,"segmentation":[[1,2]]},
		 {"id":6,"image_id":1,"category_id":3,"bbox":[0,0,100,50],"iscrowd":1,"area":5}`, ""), Options{Names: []string{"cat", "dog"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"cat", "dog"}, s.Names()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int64{3, 7}, s.CategoryIDs()); d != "" {
		t.Error(d)
	}
	if s.Len() != 2 {
		t.Fatalf("%d samples", s.Len())
	}
	b := s.Sample(0)
	if b.ID != 9 || b.Width != 20 || b.Height != 30 || !strings.HasSuffix(b.Path, "sub/b.png") || b.Boxes != nil {
		t.Errorf("%+v", b)
	}
	want := []datasets.Box{
		{ID: 5, Class: 1, X: 1, Y: 2, W: 30.5, H: 4, Area: 99},
		{ID: 6, Class: 0, X: 0, Y: 0, W: 100, H: 50, Area: 5, Crowd: true},
	}
	if d := cmp.Diff(want, s.Sample(1).Boxes); d != "" {
		t.Error(d)
	}
	problems := s.Problems()
	if lines := problems.Lines(); lines != nil {
		t.Errorf("problems in a clean file: %q", lines)
	}
	if d := cmp.Diff([]int64{9, 1}, s.GroundTruth().Images); d != "" {
		t.Error(d)
	}
}

func TestMended(t *testing.T) {
	s, err := load(t, doc("", strings.Join([]string{
		ann("1", "[10,10,20,20]"),
		ann("2", "[10,10,20,20]"),     // duplicate
		ann("3", "[10,10,0,20]"),      // no area
		ann("4", "[-5,40,10,20]"),     // left and bottom overhang
		ann("5", "[100,10,20,20]"),    // touches the right edge from outside
		ann("6", "[-30,-30,20,20]"),   // wholly outside
		ann("7", "[90,40,10.005,10]"), // rounding
		`{"id":8,"image_id":1,"category_id":3,"bbox":[10,10,20,20]}`,
	}, ","), ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []datasets.Box{
		{ID: 1, Class: 1, X: 10, Y: 10, W: 20, H: 20, Area: 1},
		{ID: 4, Class: 1, X: 0, Y: 40, W: 5, H: 10, Area: 1},
		{ID: 7, Class: 1, X: 90, Y: 40, W: 10, H: 10, Area: 1},
		{ID: 8, Class: 0, X: 10, Y: 10, W: 20, H: 20, Area: 400},
	}
	if d := cmp.Diff(want, s.Sample(0).Boxes, cmpopts.EquateApprox(0, 1e-12)); d != "" {
		t.Error(d)
	}
	p := s.Problems()
	counts := []int{p.Duplicate.Count, p.ZeroArea.Count, p.Clipped.Count, p.Outside.Count, p.NoArea.Count, p.Missing.Count}
	if d := cmp.Diff([]int{1, 1, 1, 2, 1, 0}, counts); d != "" {
		t.Error(d)
	}
	if n := len(s.GroundTruth().Truths); n != 8 {
		t.Errorf("%d truths for evaluation, want all 8 of the file", n)
	}
	if lines := strings.Join(p.Lines(), "\n"); !strings.Contains(lines, "2 boxes outside the image, dropped, such as annotation 5 of image 1") {
		t.Error(lines)
	}
}

func TestBadInput(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", " \n", "the file is empty"},
		{"utf-16", "\xff\xfe{\x00", "UTF-16"},
		{"cut short", doc("", "", "")[:70], "ann.json:2:4: the JSON ends too early"},
		{"no json", "hello", "ann.json:1:1: not valid JSON"},
		{"list", "[]", "ann.json:1:1: the file holds no JSON object"},
		{"trailing", doc("", "", "") + "{}", "not valid JSON"},
		{"key twice", `{"images":[],"images":[]}`, `ann.json:1:14: the key "images" stands twice`},
		{"list missing", `{"images":[],"categories":[]}`, `the list "annotations" is missing`},
		{"no list", `{"images":{}}`, "ann.json:1:11: images: found no list"},
		{"element no object", doc("3", "", ""), "images[0]: found no object"},
		{"no images", `{"images":[],"annotations":[],"categories":[{"id":1,"name":"a"}]}`, `"images" is empty`},
		{"no categories", `{"images":[],"annotations":[],"categories":[]}`, `"categories" is empty`},

		{"category id twice", doc("", "", `{"id":1,"name":"a"},{"id":1,"name":"b"}`), "categories[1]: id 1 is used twice"},
		{"category name twice", doc("", "", `{"id":1,"name":"a"},{"id":2,"name":"a"}`), `categories[1]: name "a" is used twice`},
		{"category without name", doc("", "", `{"id":1}`), `ann.json:3:15: categories[0]: "id" or "name" is missing`},

		{"image without id", doc(`{"file_name":"a.png","width":1,"height":1}`, "", ""), `images[0]: "id" is missing`},
		{"image id twice", doc(`{"id":1,"file_name":"a.png","width":100,"height":50},{"id":1,"file_name":"a.png","width":100,"height":50}`, "", ""), "images[1]: id 1 is used twice"},
		{"image without name", doc(`{"id":1,"width":1,"height":1}`, "", ""), `"file_name" is missing`},
		{"image without size", doc(`{"id":1,"file_name":"a.png","width":100}`, "", ""), `"width" or "height" is missing`},
		{"image size 0", doc(`{"id":1,"file_name":"a.png","width":0,"height":9}`, "", ""), "0x9 has no pixels"},
		{"image giant", doc(`{"id":1,"file_name":"a.png","width":4000000000,"height":4000000000}`, "", ""), "too large"},
		{"image width a string", doc(`{"id":1,"file_name":"a.png","width":"100","height":50}`, "", ""), "images[0].width: found string; expected a whole number"},
		{"image id fractional", doc(`{"id":1.5}`, "", ""), "images[0].id: found number 1.5; expected a whole number"},
		{"path up", doc(`{"id":1,"file_name":"sub/../../x.png","width":1,"height":1}`, "", ""), "leaves the data root"},
		{"path absolute", doc(`{"id":1,"file_name":"/etc/passwd","width":1,"height":1}`, "", ""), "leaves the data root"},

		{"annotation id missing", doc("", `{"image_id":1,"category_id":7,"bbox":[0,0,1,1]}`, ""), `annotations[0]: "id" is missing`},
		{"annotation id twice", doc("", ann("4", "[0,0,1,1]")+",\n"+ann("4", "[0,0,2,2]"), ""), "ann.json:3:1: annotations[1]: id 4 is used twice"},
		{"unknown image", doc("", `{"id":2,"image_id":8,"category_id":7,"bbox":[0,0,1,1]}`, ""), "annotations[0] (id 2): image_id 8 is not in images"},
		{"unknown category", doc("", `{"id":2,"image_id":1,"category_id":8,"bbox":[0,0,1,1]}`, ""), "category_id 8 is not in categories (3 7)"},
		{"no category", doc("", `{"id":2,"image_id":1,"bbox":[0,0,1,1]}`, ""), `"category_id" is missing`},
		{"no box", doc("", `{"id":2,"image_id":1,"category_id":7}`, ""), "bbox: found 0 numbers"},
		{"box of 3", doc("", ann("2", "[0,0,1]"), ""), "bbox: found 3 numbers"},
		{"box of 5", doc("", ann("2", "[0,0,1,1,0.5]"), ""), "bbox: found 5 numbers"},
		{"box null", doc("", ann("2", "[0,0,null,1]"), ""), "bbox: number 3 is not finite"},
		{"box NaN", doc("", ann("2", "[0,0,NaN,1]"), ""), "ann.json:2:65: NaN is not a number in JSON"},
		{"box -Infinity", doc("", ann("2", "[0,0,-Infinity,1]"), ""), "Infinity is not a number in JSON"},
		{"box nan", doc("", ann("2", "[0,0,nan,1]"), ""), "nan is not a number in JSON"},
		{"box overflow", doc("", ann("2", "[0,0,1e999,1]"), ""), "found number 1e999; expected a finite number"},
		{"box strings", doc("", ann("2", `["0",0,1,1]`), ""), "found string; expected a finite number"},
		{"box no list", doc("", ann("2", `"0 0 1 1"`), ""), "expected a list [x, y, width, height]"},
		{"box negative", doc("", ann("2", "[50,50,-10,20]"), ""), "the size -10x20 is negative"},
		{"area negative", doc("", `{"id":2,"image_id":1,"category_id":7,"bbox":[0,0,1,1],"area":-3}`, ""), "area is -3"},
		{"crowd 2", doc("", `{"id":2,"image_id":1,"category_id":7,"bbox":[0,0,1,1],"iscrowd":2}`, ""), "iscrowd: found 2; expected 0 or 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
			if !strings.Contains(err.Error(), "ann.json") {
				t.Errorf("%q does not name the file", err)
			}
			var format *FormatError
			if !errors.As(err, &format) {
				t.Errorf("%T is no *FormatError", err)
			}
		})
	}
}

// Entries that make no sense are left out and counted; what the others say holds.
func TestSkipEntries(t *testing.T) {
	s, err := load(t, doc("", strings.Join([]string{
		ann("1", "[0,0,1e999,1]"),
		ann("2", "[0,0,-1,1]"),
		ann("3", `["a",0,1,1]`),
		`{"id":4,"image_id":99,"category_id":7,"bbox":[0,0,1,1]}`,
		ann("5", "[10,10,20,20]"),
		ann("5", "[10,10,30,30]"),
	}, ",\n"), ""), Options{SkipBad: true})
	if err != nil {
		t.Fatal(err)
	}
	p := s.Problems()
	got := []int{p.BadEntry.Count, p.BadBox.Count, p.UnknownID.Count, p.DuplicateID.Count}
	if d := cmp.Diff([]int{2, 1, 1, 1}, got); d != "" {
		t.Error(d, p.Lines())
	}
	if b := s.Sample(0).Boxes; len(b) != 1 || b[0].W != 20 {
		t.Errorf("kept %+v", b)
	}
}

// A path with backslashes is taken for one with slashes where there is no file
// of that name.
func TestBackslash(t *testing.T) {
	s, err := load(t, doc(`{"id":2,"file_name":"sub\\b.png","width":20,"height":30}`, "", ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.File(0) != "sub/b.png" {
		t.Errorf("got %q", s.File(0))
	}
}

func TestBadImages(t *testing.T) {
	good := `{"id":1,"file_name":"a.png","width":100,"height":50}`
	tests := []struct {
		name, image, want string
		count             func(Problems) Finding
	}{
		{"missing", `{"id":2,"file_name":"none.png","width":1,"height":1}`, "images[1] (id 2): no such file", func(p Problems) Finding { return p.Missing }},
		{"folder not repeated", `{"id":2,"file_name":"images/a.png","width":100,"height":50}`, "no such file", func(p Problems) Finding { return p.Missing }},
		{"zero bytes", `{"id":2,"file_name":"empty.png","width":1,"height":1}`, "the file is empty", func(p Problems) Finding { return p.Unreadable }},
		{"a folder", `{"id":2,"file_name":"sub","width":1,"height":1}`, "not a regular file", func(p Problems) Finding { return p.Unreadable }},
		{"other size", `{"id":2,"file_name":"sub/b.png","width":30,"height":20}`, "annotated as 30x20, but the file", func(p Problems) Finding { return p.WrongSize }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := doc(good+","+tt.image, `{"id":1,"image_id":2,"category_id":7,"bbox":[0,0,1,1],"area":1},{"id":2,"image_id":1,"category_id":7,"bbox":[0,0,1,1],"area":1}`, "")
			_, err := load(t, text, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ann.json: 1 of 2 images cannot be used") {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
			s, err := load(t, text, Options{SkipBad: true})
			if err != nil {
				t.Fatal(err)
			}
			if f := tt.count(s.Problems()); f.Count != 1 || len(f.Examples) != 1 {
				t.Errorf("counted %+v", f)
			}
			if s.Len() != 1 || s.Sample(0).ID != 1 || len(s.Sample(0).Boxes) != 1 || s.Sample(0).Boxes[0].ID != 2 {
				t.Errorf("kept %d samples, first %+v", s.Len(), s.Sample(0))
			}
			gt := s.GroundTruth()
			if !slices.Equal(gt.Images, []int64{1}) || len(gt.Truths) != 1 {
				t.Errorf("the ground truth still has the image: %+v", gt)
			}
		})
	}
}

func TestBadImagesListed(t *testing.T) {
	var images []string
	for i := range 8 {
		images = append(images, `{"id":`+string(rune('1'+i))+`,"file_name":"none.png","width":1,"height":1}`)
	}
	_, err := load(t, doc(strings.Join(images, ","), "", ""), Options{})
	if err == nil || strings.Count(err.Error(), "no such file") != 5 || !strings.Contains(err.Error(), "and 3 more") {
		t.Errorf("%v", err)
	}
	_, err = load(t, doc(strings.Join(images, ","), "", ""), Options{SkipBad: true})
	if err == nil || !strings.Contains(err.Error(), "none of the 8 images can be used") {
		t.Errorf("%v", err)
	}
}

func TestImageErrorWraps(t *testing.T) {
	_, err := load(t, doc(`{"id":1,"file_name":"empty.png","width":1,"height":1}`, "", ""), Options{})
	var image *ImageError
	var format *imagefile.FormatError
	if !errors.As(err, &image) || image.Count != 1 || !errors.As(err, &format) {
		t.Errorf("%T: %v", err, err)
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{"dog", "cat"}, `class 0 is "cat" (category id 3); expected "dog"`},
		{[]string{"cat"}, "the file has 2 categories; expected 1 classes"},
	} {
		if _, err := load(t, doc("", "", ""), Options{Names: tt.names}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.names, err, tt.want)
		}
	}
}

func TestMissingFolderAndFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "x.json"), t.TempDir(), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	path := filepath.Join(t.TempDir(), "ann.json")
	if err := os.WriteFile(path, []byte(doc("", "", "")), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, filepath.Join(t.TempDir(), "none"), Options{SkipBad: true})
	if err == nil || !strings.Contains(err.Error(), "no such image folder") {
		t.Errorf("%v", err)
	}
}

// shared finds the reference data beside the repository.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("YOLOPRUNE_SHARED")
	for at := "."; dir == ""; at = filepath.Join(at, "..") {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			dir = filepath.Join(at, "..", "shared")
		}
		if len(at) > 60 {
			t.Fatal("no go.mod above the test")
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no shared reference data")
	}
	return dir
}

// Counts are those of the data sets' own descriptions.
func TestSharedSets(t *testing.T) {
	root := filepath.Join(shared(t), "datasets")
	tests := []struct {
		set, split           string
		images, boxes, crowd int
	}{
		{"bccd", "train", 205, 2804, 0}, {"bccd", "val", 87, 1137, 0}, {"bccd", "test", 36, 465, 0},
		{"apples", "train", 150, 1221, 0}, {"apples", "val", 36, 302, 0}, {"apples", "test", 36, 295, 0},
		{"coco-sample", "train", 39, 407, 6}, {"coco-sample", "val", 30, 195, 1},
	}
	for _, tt := range tests {
		t.Run(tt.set+"-"+tt.split, func(t *testing.T) {
			file := filepath.Join(root, tt.set, "annotations", tt.split+".json")
			images := filepath.Join(root, tt.set, "images")
			s, err := Load(file, images, Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := s.Problems()
			boxes, crowd := p.Duplicate.Count+p.ZeroArea.Count+p.Outside.Count, 0
			for i := range s.Len() {
				for _, b := range s.Sample(i).Boxes {
					if boxes++; b.Crowd {
						crowd++
					}
				}
			}
			if s.Len() != tt.images || boxes != tt.boxes || crowd != tt.crowd {
				t.Errorf("%d images, %d boxes, %d crowd; want %d, %d, %d", s.Len(), boxes, crowd, tt.images, tt.boxes, tt.crowd)
			}
			t.Log(p.Lines())
			sameAsEvaluator(t, file, s.GroundTruth())
		})
	}
}

// The evaluator's own reader must see the same truths in the same file.
func sameAsEvaluator(t *testing.T, file string, got *eval.GroundTruth) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := eval.ReadGroundTruth(file, f)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want.Categories, func(x, y eval.Category) int { return int(x.ID - y.ID) })
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Whatever the bytes, parse returns an error or lists whose offsets point at
// objects.
func FuzzParse(f *testing.F) {
	f.Add(doc("", ann("1", "[0,0,1,1]"), ""))
	f.Add("\ufeff{\"info\":{},\"images\":[ ],\"annotations\":[],\"categories\":[]}")
	f.Add(doc("", ann("1", "[0,0,NaN,1]"), ""))
	f.Add(`{"images":[{}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse("x", []byte(text))
		if err != nil {
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, a := range d.annotations {
			if d.data[a.at] != '{' {
				t.Fatalf("offset %d points at %q", a.at, d.data[a.at])
			}
		}
		if !json.Valid(d.data) {
			t.Fatal("accepted what is not JSON")
		}
	})
}
