package formats

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/datasets/labels"
)

// malformed is an input that is not as it should be. want stands in the error;
// where it is empty the set is read all the same. With SkipBad, or where there
// is no error, so many images and boxes are left, and problems lists the
// findings, "key=count" each. Where images is 0 SkipBad does not help.
type malformed struct {
	format, name  string
	files         map[string]string
	want          string
	images, boxes int
	problems      string
}

// Each set has the images a.png (100 x 50) and b.png (20 x 30). These are the
// sound ones, of which a case replaces or adds files.
var sound = map[string]map[string]string{
	"coco": {
		"images/a.png": "@png 100 50", "images/b.png": "@png 20 30",
		"annotations/train.json": cocoText("", "", ""),
	},
	"darknet": {
		"data/a.png": "@png 100 50", "data/b.png": "@png 20 30",
		"data/a.txt": "0 0.5 0.5 0.2 0.2\n1 0.25 0.5 0.1 0.4\n", "data/b.txt": "",
		"train.txt": "data/a.png\ndata/b.png\n", "obj.names": "cat\ndog\n",
		"obj.data": "classes = 2\ntrain = train.txt\nnames = obj.names\n",
	},
	"yolo": {
		"images/train/a.png": "@png 100 50", "images/train/b.png": "@png 20 30",
		"labels/train/a.txt": "0 0.5 0.5 0.2 0.2\n1 0.25 0.5 0.1 0.4\n", "labels/train/b.txt": "",
		"data.yaml": "train: images/train\nnc: 2\nnames: [cat, dog]\n",
	},
	"voc": {
		"JPEGImages/a.png": "@png 100 50", "JPEGImages/b.png": "@png 20 30",
		"Annotations/a.xml":        vocText("a.png", object("cat", "11 11 30 20")+object("dog", "1 1 100 50")),
		"Annotations/b.xml":        vocText("b.png", ""),
		"ImageSets/Main/train.txt": "a\nb\n", "classes.names": "cat\ndog\n",
	},
}

// cocoText writes an annotation file of two images and two boxes; a list that
// is given takes the place of its own.
func cocoText(images, annotations, categories string) string {
	or := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	images = or(images, cocoA+","+cocoB)
	annotations = or(annotations, cocoBox("1", "[10,10,20,10]")+","+cocoBox("2", "[0,0,100,50]"))
	categories = or(categories, `{"id":1,"name":"cat"},{"id":2,"name":"dog"}`)
	return "{\"images\":[" + images + "],\n\"annotations\":[" + annotations + "],\n\"categories\":[" + categories + "]}"
}

const (
	cocoA = `{"id":1,"file_name":"a.png","width":100,"height":50}`
	cocoB = `{"id":2,"file_name":"b.png","width":20,"height":30}`
)

func cocoBox(id, box string) string {
	return `{"id":` + id + `,"image_id":1,"category_id":1,"bbox":` + box + `,"area":5,"iscrowd":0}`
}

func vocText(file, objects string) string {
	return "<annotation>\n<filename>" + file + "</filename>\n<size><width>0</width><height>0</height></size>\n" + objects + "</annotation>\n"
}

func object(name, corners string) string {
	f := strings.Fields(corners)
	return fmt.Sprintf("<object><name>%s</name><bndbox><ymin>%s</ymin><xmin>%s</xmin><xmax>%s</xmax><ymax>%s</ymax></bndbox></object>\n", name, f[1], f[0], f[2], f[3])
}

// one is a case that replaces one file.
func one(format, name, file, text, want string, images, boxes int, problems string) malformed {
	return malformed{format, name, map[string]string{file: text}, want, images, boxes, problems}
}

func cocoCase(name, images, annotations, want string, n, boxes int, problems string) malformed {
	return one("coco", name, "annotations/train.json", cocoText(images, annotations, ""), want, n, boxes, problems)
}

func label(format, name, text, want string, boxes int, problems string) malformed {
	file := map[string]string{"darknet": "data/a.txt", "yolo": "labels/train/a.txt"}[format]
	return one(format, name, file, text, want, 2, boxes, problems)
}

func vocCase(name, objects, want string, boxes int, problems string) malformed {
	return one("voc", name, "Annotations/a.xml", vocText("a.png", objects), want, 2, boxes, problems)
}

const ann = "annotations/train.json"

var cases = []malformed{
	// files that are not of their format
	one("coco", "empty file", ann, "", "the file is empty", 0, 0, ""),
	one("coco", "cut short", ann, cocoText("", "", "")[:90], "the JSON ends too early", 0, 0, ""),
	one("coco", "UTF-16", ann, "\xff\xfe{\x00", "UTF-16", 0, 0, ""),
	one("coco", "NaN", ann, cocoText("", cocoBox("1", "[NaN,0,1,1]"), ""), "train.json:2:61: NaN is not a number in JSON", 0, 0, ""),
	one("coco", "a list of detections", ann, "[]", "holds no JSON object", 0, 0, ""),
	one("coco", "category name twice", ann, cocoText("", "", `{"id":1,"name":"cat"},{"id":2,"name":"cat"}`), `name "cat" is used twice`, 0, 0, ""),
	one("darknet", "list empty", "train.txt", "\n\n", "the list is empty", 0, 0, ""),
	one("darknet", "list with a zero byte", "train.txt", "data/a.png\n\x00", "train.txt:2: the file has a zero byte", 0, 0, ""),
	one("darknet", "obj.data without =", "obj.data", "classes 2\n", `obj.data:1: found "classes 2"; expected key = value`, 0, 0, ""),
	one("darknet", "obj.data without train", "obj.data", "names = obj.names\n", `the key "train" is missing`, 0, 0, ""),
	one("darknet", "obj.data key twice", "obj.data", "names = a\nnames = b\n", `obj.data:2: the key "names" stands on line 1, too`, 0, 0, ""),
	one("darknet", "obj.data leads out of the root", "obj.data", "train = ../../train.txt\nnames = obj.names\n", "obj.data:1: train: ", 0, 0, ""),
	one("darknet", "obj.data and names disagree", "obj.data", "classes = 3\ntrain = train.txt\nnames = obj.names\n", "obj.data:1: classes = 3, but", 0, 0, ""),
	one("darknet", "names with an empty line", "obj.names", "cat\n\ndog\n", "obj.names:2: found an empty line", 0, 0, ""),
	one("darknet", "name twice", "obj.names", "cat\ncat\n", `obj.names:2: the name "cat" stands on line 1, too`, 0, 0, ""),
	one("yolo", "data.yaml no YAML", "data.yaml", "names: [cat\n", "not valid YAML", 0, 0, ""),
	one("yolo", "data.yaml without names", "data.yaml", "train: images/train\n", "names is missing", 0, 0, ""),
	one("yolo", "nc and names disagree", "data.yaml", "train: images/train\nnc: 3\nnames: [cat, dog]\n", "data.yaml:2: nc is 3, but there are 2 names", 0, 0, ""),
	one("yolo", "names with a gap", "data.yaml", "train: images/train\nnames: {0: cat, 2: dog}\n", `data.yaml:2: names: the class number is "2"`, 0, 0, ""),
	one("yolo", "key twice", "data.yaml", "train: a\ntrain: b\nnames: [cat]\n", `data.yaml:2: the key "train" stands twice`, 0, 0, ""),
	one("yolo", "folder missing", "data.yaml", "train: images/none\nnames: [cat, dog]\n", "data.yaml:1: no such folder or list: images/none", 0, 0, ""),
	one("yolo", "folder outside of the root", "data.yaml", "train: /\nnames: [cat, dog]\n", "data.yaml:1: \"/\" leaves the data root", 0, 0, ""),

	// entries
	cocoCase("image id twice", cocoA+","+cocoA, "", "images[1]: id 1 is used twice", 1, 2, "duplicate_ids=1"),
	cocoCase("unknown image", "", cocoBox("1", "[0,0,9,9]")+",\n"+`{"id":2,"image_id":7,"category_id":1,"bbox":[0,0,1,1],"area":1}`, "train.json:3:1: annotations[1] (id 2): image_id 7 is not in images", 2, 1, "unknown_ids=1"),
	cocoCase("unknown category", "", cocoBox("1", "[0,0,9,9]")+`,{"id":2,"image_id":1,"category_id":7,"bbox":[0,0,1,1],"area":1}`, "category_id 7 is not in categories (1 2)", 2, 1, "unknown_ids=1"),
	cocoCase("annotation id twice", "", cocoBox("1", "[0,0,9,9]")+","+cocoBox("1", "[0,0,8,8]"), "id 1 is used twice", 2, 1, "duplicate_ids=1"),
	cocoCase("number too large", "", cocoBox("1", "[0,0,1e999,9]")+","+cocoBox("2", "[0,0,8,8]"), "expected a finite number", 2, 1, "bad_entries=1"),
	cocoCase("negative size", "", cocoBox("1", "[9,9,-5,9]")+","+cocoBox("2", "[0,0,8,8]"), "the size -5x9 is negative", 2, 1, "bad_boxes=1"),
	cocoCase("box of three numbers", "", cocoBox("1", "[9,9,5]")+","+cocoBox("2", "[0,0,8,8]"), "found 3 numbers", 2, 1, "bad_entries=1"),
	cocoCase("box of strings", "", cocoBox("1", `["9",9,5,5]`)+","+cocoBox("2", "[0,0,8,8]"), "found string; expected a finite number", 2, 1, "bad_entries=1"),
	cocoCase("file_name leaves the root", cocoA+`,{"id":2,"file_name":"../../b.png","width":20,"height":30}`, "", "leaves the data root", 1, 2, "outside_root=1"),
	cocoCase("giant size annotated", cocoA+`,{"id":2,"file_name":"b.png","width":2000000,"height":3000000}`, "", "too large", 1, 2, "bad_entries=1"),
	label("darknet", "NaN", "0 nan 0.5 0.2 0.2\n1 0.5 0.5 0.1 0.4\n", `a.txt:1: column 2 is "nan"; expected a finite number`, 1, "not_finite=1"),
	label("darknet", "infinity", "0 0.5 0.5 0.2 1e999\n1 0.5 0.5 0.1 0.4\n", `column 5 is "1e999"`, 1, "not_finite=1"),
	label("darknet", "class too large", "2 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.1 0.4\n", "a.txt:1: class 2 is not in 0..1", 1, "unknown_ids=1"),
	label("darknet", "class negative", "-1 0.5 0.5 0.2 0.2\n", "class -1 is not in 0..1", 0, "unknown_ids=1"),
	label("darknet", "class with decimals", "0.0 0.5 0.5 0.2 0.2\n", `the class is "0.0"; expected a whole number`, 0, "bad_entries=1"),
	label("darknet", "a column too few", "0 0.5 0.5 0.2\n", "found 4 columns; expected 5", 0, "bad_entries=1"),
	label("darknet", "a column of confidence", "0 0.5 0.5 0.2 0.2 0.9\n", "found 6 columns; expected 5", 0, "bad_entries=1"),
	label("darknet", "outline", "0 0 0 0.5 0 0.5 0.5\n", "found 7 columns; expected 5", 0, "bad_entries=1"),
	label("darknet", "pixels instead of shares", "0 50 25 20 10\n", "expected a share of the image in 0..1, not pixels", 0, "bad_boxes=1"),
	label("darknet", "negative size", "0 0.5 0.5 -0.2 0.2\n", "is negative", 0, "bad_boxes=1"),
	label("darknet", "word", "cat 0.5 0.5 0.2 0.2\n", `the class is "cat"`, 0, "bad_entries=1"),
	label("yolo", "outline of an odd number", "0 0 0 0.5 0 0.5\n", "found 6 columns", 0, "bad_entries=1"),
	label("yolo", "class of half", "0.5 0.5 0.5 0.2 0.2\n", `the class is "0.5"`, 0, "bad_entries=1"),
	one("yolo", "binary label file", "labels/train/a.txt", "\x89PNG\x00", "a.txt:1: the file has a zero byte", 1, 0, "bad_entries=1"),
	one("darknet", "image listed twice", "train.txt", "data/a.png\ndata/b.png\n./data/a.png\n", "train.txt:3: the image", 2, 2, "duplicate_ids=1"),
	one("darknet", "path leaves the root", "train.txt", "data/a.png\n../../../etc/x.png\n", "train.txt:2: ", 1, 2, "outside_root=1"),
	one("darknet", "absolute path elsewhere", "train.txt", "data/a.png\n/etc/x.png\n", "train.txt:2: \"/etc/x.png\" leaves the data root", 1, 2, "outside_root=1"),
	vocCase("class not among the names", object("cow", "1 1 9 9")+object("cat", "1 1 9 9"), `a.xml:4: object: the class "cow" is not among the 2 names`, 1, "unknown_ids=1"),
	vocCase("NaN", object("cat", "nan 1 9 9"), `xmin is "nan"; expected a finite number`, 0, "not_finite=1"),
	vocCase("corners exchanged", object("cat", "90 1 9 9"), "the corners (90, 1) and (9, 9) stand in the wrong order", 0, "bad_boxes=1"),
	vocCase("no bndbox but that of a part", "<object><name>cat</name><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>", "found 0 <bndbox>; expected one", 0, "bad_entries=1"),
	vocCase("no name", object("", "1 1 9 9"), "expected one <name>", 0, "bad_entries=1"),
	vocCase("corner missing", "<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", "found 0 <ymin>; expected one", 0, "bad_entries=1"),
	vocCase("corner a word", object("cat", "left 1 9 9"), `xmin is "left"; expected a number`, 0, "bad_entries=1"),
	one("voc", "XML cut short", "Annotations/a.xml", "<annotation><object>", "a.xml:1: not valid XML: unexpected EOF", 1, 0, "bad_entries=1"),
	one("voc", "other XML", "Annotations/a.xml", "<html></html>", "a.xml:1: found <html>; expected <annotation>", 1, 0, "bad_entries=1"),
	one("voc", "annotation missing", "ImageSets/Main/train.txt", "a\nnone\n", "train.txt:2: no such annotation file", 1, 2, "unknown_ids=1"),
	one("voc", "list leaves the root", "ImageSets/Main/train.txt", "a\n../../x\n", "train.txt:2: the name \"../../x\" leaves", 1, 2, "outside_root=1"),
	one("voc", "listed twice", "ImageSets/Main/train.txt", "a\na\n", "train.txt:2: the image a stands on line 1, too", 1, 2, "duplicate_ids=1"),
	one("voc", "unknown encoding", "Annotations/a.xml", `<?xml version="1.0" encoding="koi8-r"?><annotation/>`, "the encoding koi8-r is not known", 1, 0, "bad_entries=1"),

	// images
	one("darknet", "image missing", "train.txt", "data/a.png\ndata/none.png\n", "train.txt:2: no such file: ", 1, 2, "missing_images=1"),
	one("darknet", "image of zero bytes", "data/b.png", "", "the file is empty", 1, 2, "unreadable_images=1"),
	one("yolo", "image that is text", "images/train/b.png", "hello", "is not a JPEG, PNG, BMP or WebP image", 1, 2, "unreadable_images=1"),
	one("yolo", "giant image", "images/train/b.png", "@giant", "30000x30000 is too large", 1, 2, "unreadable_images=1"),
	cocoCase("other size than annotated", cocoA+`,{"id":2,"file_name":"b.png","width":30,"height":20}`, "", "annotated as 30x20, but the file", 1, 2, "wrong_size_images=1"),
	{"voc", "image missing", map[string]string{"Annotations/c.xml": vocText("c.png", ""), "ImageSets/Main/train.txt": "a\nc\n"}, "c.xml: no such file: ", 1, 2, "missing_images=1"},

	// what is mended
	cocoCase("box partly outside", "", cocoBox("1", "[-5,40,20,20]"), "", 2, 1, "clipped_boxes=1"),
	cocoCase("box outside", "", cocoBox("1", "[100,10,20,20]"), "", 2, 0, "outside_boxes=1"),
	cocoCase("box without area", "", cocoBox("1", "[10,10,0,20]"), "", 2, 0, "zero_area_boxes=1"),
	cocoCase("box twice", "", cocoBox("1", "[10,10,9,9]")+","+cocoBox("2", "[10,10,9,9]"), "", 2, 1, "duplicate_boxes=1"),
	cocoCase("no area", "", `{"id":1,"image_id":1,"category_id":1,"bbox":[0,0,9,9]}`, "", 2, 1, "boxes_without_area=1"),
	cocoCase("backslash", cocoA+`,{"id":2,"file_name":".\\b.png","width":20,"height":30}`, "", "", 2, 2, ""),
	label("darknet", "row twice", "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n", "", 1, "duplicate_boxes=1"),
	label("darknet", "partly outside", "0 0 0.5 0.2 0.2\n", "", 1, "clipped_boxes=1"),
	label("darknet", "byte order mark, CRLF and blank lines", "\ufeff0 0.5 0.5 0.2 0.2\r\n\r\n1 0.5 0.5 0.1 0.1\r\n", "", 2, ""),
	label("yolo", "outline", "0 0.1 0.1 0.3 0.1 0.3 0.4\n", "", 1, ""),
	label("yolo", "class with decimals", "1.0 0.5 0.5 0.2 0.2\n", "", 1, ""),
	one("darknet", "list with byte order mark, CRLF, backslashes", "train.txt", "\ufeffdata\\a.png\r\ndata\\b.png\r\n", "", 2, 2, ""),
	{"darknet", "no label file", map[string]string{"data/c.png": "@png 10 10", "train.txt": "data/a.png\ndata/c.png\n"}, "", 2, 2, "images_without_labels=1"},
	one("darknet", "tiny image", "data/b.png", "@png 12 9", "", 2, 2, "tiny_images=1"),
	{"darknet", "spaces and Unicode in names", map[string]string{"data/ä ö.png": "@png 100 50", "data/ä ö.txt": "0 .5 .5 .1 .1", "train.txt": "data/ä ö.png\n"}, "", 1, 1, ""},
	{"darknet", "labels in two places", map[string]string{"images/a.png": "@png 100 50", "images/a.txt": "0 .5 .5 .1 .1", "labels/a.txt": "1 .5 .5 .1 .1\n1 .5 .5 .2 .2", "train.txt": "images/a.png\n"}, "", 1, 2, "labels_twice=1"},
	one("yolo", "path with ../ that is nowhere", "data.yaml", "train: ../images/train\nnames: [cat, dog]\n", "", 2, 2, ""),
	vocCase("counted from 0", object("cat", "0 0 9 9"), "", 1, "clipped_boxes=1"),
	vocCase("decimals", object("cat", "1.5 2.25 9 9"), "", 1, ""),
	one("voc", "wrong size element", "Annotations/a.xml", strings.Replace(vocText("a.png", ""), "<width>0", "<width>7", 1), "", 2, 0, "size_differs=1"),
	one("voc", "wrong filename", "Annotations/a.xml", vocText("other.png", object("cat", "1 1 9 9")), "", 2, 1, ""),
	one("voc", "Latin-1", "Annotations/a.xml", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><annotation><source>\xe9</source></annotation>", "", 2, 0, ""),
}

// materialise writes the files of a case.
func materialise(t testing.TB, m malformed) string {
	t.Helper()
	dir := t.TempDir()
	for _, files := range []map[string]string{sound[m.format], m.files} {
		for name, text := range files {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content(t, text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// content draws images.
func content(t testing.TB, text string) []byte {
	t.Helper()
	var w, h int
	var b bytes.Buffer
	switch {
	case text == "@giant":
		ihdr := []byte("IHDR\x00\x00\x75\x30\x00\x00\x75\x30\x08\x02\x00\x00\x00") // 30000 x 30000
		out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\r"), ihdr...)
		return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
	case strings.HasPrefix(text, "@png "):
		if _, err := fmt.Sscanf(text, "@png %d %d", &w, &h); err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
			t.Fatal(err)
		}
	case text == "@half":
		if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 200, 200)), nil); err != nil {
			t.Fatal(err)
		}
		b.Truncate(b.Len() * 3 / 4)
	default:
		return []byte(text)
	}
	return b.Bytes()
}

func TestMalformed(t *testing.T) {
	if len(cases) < 60 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, m := range cases {
		t.Run(m.format+" "+m.name, func(t *testing.T) {
			o := Options{Format: m.format, Root: materialise(t, m)}
			set, err := Open(o, labels.Options{})
			switch {
			case m.want == "" && err != nil:
				t.Fatal(err)
			case m.want != "" && (err == nil || !strings.Contains(err.Error(), m.want)):
				t.Fatalf("got %v, want %q in it", err, m.want)
			case m.want != "":
				set, err = Open(o, labels.Options{SkipBad: true})
			}
			if m.images == 0 {
				if err == nil {
					t.Error("a file that cannot be read is accepted with SkipBad")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m.compare(t, set)
		})
	}
}

func (m malformed) compare(t *testing.T, set *labels.Set) {
	t.Helper()
	boxes := 0
	for i := range set.Len() {
		boxes += len(set.Sample(i).Boxes)
	}
	var found []string
	p := set.Problems()
	for _, d := range p.All() {
		if d.Count > 0 {
			found = append(found, fmt.Sprintf("%s=%d", d.Key, d.Count))
		}
	}
	if got := strings.Join(found, " "); set.Len() != m.images || boxes != m.boxes || got != m.problems {
		t.Errorf("%d images, %d boxes, %q; want %d, %d, %q", set.Len(), boxes, got, m.images, m.boxes, m.problems)
	}
}

// Damage behind the header shows where images are decoded.
func TestCheckDecodes(t *testing.T) {
	m := one("darknet", "", "data/b.png", "@half", "", 0, 0, "")
	o := Options{Format: "darknet", Root: materialise(t, m)}
	if _, err := Open(o, labels.Options{}); err != nil {
		t.Fatalf("the header is sound: %v", err)
	}
	if _, err := Open(o, labels.Options{Decode: true}); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("got %v", err)
	}
	f, err := Read(o)
	if err != nil {
		t.Fatal(err)
	}
	set, err := labels.Check(f, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p := set.Problems(); p.Unreadable.Count != 1 || p.Wrong() != 1 {
		t.Error(p.Lines())
	}
}

// A file outside of the root is accepted when that is allowed.
func TestAllowOutside(t *testing.T) {
	other := filepath.Join(t.TempDir(), "c.png")
	if err := os.WriteFile(other, content(t, "@png 9 9"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, m := range []malformed{
		one("darknet", "", "train.txt", other+"\n", "", 0, 0, ""),
		one("coco", "", ann, cocoText(`{"id":1,"file_name":"`+other+`","width":9,"height":9}`, "", ""), "", 0, 0, ""),
	} {
		o := Options{Format: m.format, Root: materialise(t, m)}
		if _, err := Open(o, labels.Options{}); err == nil || !strings.Contains(err.Error(), "--allow-outside") {
			t.Errorf("%s: got %v", m.format, err)
		}
		o.AllowOutside = true
		set, err := Open(o, labels.Options{})
		if err != nil || set.Sample(0).Path != other || set.File(0) != "c.png" {
			t.Errorf("%s: %v", m.format, err)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the table of malformed inputs in docs/datasets.md")

const docs = "../../docs/datasets.md"

// row describes a case for the documentation.
func (m malformed) row() string {
	first, then := "read", "not read"
	if m.want != "" {
		first = strings.ReplaceAll(strings.Trim(m.want, ": "), "|", `\|`)
	}
	if m.images > 0 {
		then = fmt.Sprintf("%d images, %d boxes", m.images, m.boxes)
	}
	if m.problems != "" {
		then += "; " + strings.ReplaceAll(m.problems, "=", " ")
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", m.format, m.name, first, then)
}

// The documentation has a row for each case that says what happens to it.
func TestDocs(t *testing.T) {
	var table strings.Builder
	for _, m := range cases {
		table.WriteString(m.row())
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	const head = "|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(text), head)
	if !ok {
		t.Fatalf("%s has no table of four columns", docs)
	}
	old, after, _ := strings.Cut(rest, "\n\n")
	if *update {
		if err := os.WriteFile(docs, []byte(before+head+strings.TrimSuffix(table.String(), "\n")+"\n\n"+after), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old+"\n" != table.String() {
		t.Errorf("the table in %s is not that of the cases; run this test with -update", docs)
	}
}
