package eval

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestReadGroundTruth(t *testing.T) {
	const text = "\xef\xbb\xbf" + `{
  "info": {"year": 2014, "annotations": [1, 2]},
  "annotations": [
    {"id": 0, "image_id": 7, "category_id": 3, "bbox": [1, 2.5, 3, 4e1], "area": 17, "iscrowd": 0,
     "segmentation": [[1, 2, 3, 4, 5, 6]]},
    {"id": 5, "image_id": 9, "category_id": 1, "bbox": [0, 0, 8, 0], "area": 0, "iscrowd": 1},
    {"id": 6, "image_id": 9, "category_id": 1, "bbox": [-1, 0, 8, 2], "iscrowd": true, "difficult": 1},
    {"id": 9007199254740993, "image_id": 9, "category_id": 1, "bbox": [-1, 0, 8, 2], "area": 16}
  ],
  "images": [{"id": 9, "file_name": "a.jpg"}, {"id": 7}],
  "categories": [{"id": 3, "name": "dog", "supercategory": null}, {"id": 1, "name": "Größe"}]
}
`
	want := &GroundTruth{
		Images:     []int64{9, 7},
		Categories: []Category{{3, "dog"}, {1, "Größe"}},
		Truths: []Truth{
			{ID: 0, Image: 7, Category: 3, Box: [4]float64{1, 2.5, 3, 40}, Area: 17},
			{ID: 5, Image: 9, Category: 1, Box: [4]float64{0, 0, 8, 0}, Crowd: true},
			{ID: 6, Image: 9, Category: 1, Box: [4]float64{-1, 0, 8, 2}, Area: 16, Crowd: true, Difficult: true},
			{ID: 9007199254740993, Image: 9, Category: 1, Box: [4]float64{-1, 0, 8, 2}, Area: 16},
		},
		AreasFromBoxes: 1,
	}
	got, err := ReadGroundTruth("gt.json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// annotated returns an annotation file with one annotation on line 4.
func annotated(annotation string) string {
	return `{"images": [{"id": 1}],
"categories": [{"id": 1, "name": "cell"}],
"annotations": [
  ` + annotation + `
]}`
}

func TestReadGroundTruthErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "gt.json:1:1: the file is empty; expected an object with the lists images, categories and annotations"},
		{"spaces", " \n\n", "the file is empty"},
		{"detections", `[{"image_id": 1}]`, "gt.json:1:1: found a list; expected an object with the lists"},
		{"number", `12`, "found a number"},
		{"not json", "<html>", "gt.json:1:1: not JSON: invalid character '<'"},
		{"utf-16", "\xff\xfe{\x00", "gt.json: the text is UTF-16; expected UTF-8"},
		{"no categories", `{"images": [], "annotations": []}`, "gt.json: categories: missing; expected a list"},
		{"lists of the wrong type", `{"images": {"1": 2}}`, "gt.json:1:12: found an object; expected a list"},
		{"null list", `{"images": null}`, "gt.json:1:12: found null; expected a list"},
		{"list twice", `{"images": [], "images": []}`, "gt.json:1:26: images: the key appears a second time"},
		{"truncated list", "{\"images\": [{\"id\": 1},\n", "gt.json:2:1: images[1]: the file ends too early"},
		{"truncated item", "{\"images\": [\n{\"id\": ", "gt.json:2:8: images[0]: the file ends too early"},
		{"truncated object", `{"images": [], "categories": [], "annotations": []`, "the file ends too early"},
		{"text behind", annotated(``) + "\n}", "gt.json:6:1: text follows the end"},
		{"value behind", annotated(``) + "\n 1", "gt.json:6:2: text follows the end"},
		{"missing comma", "{\"images\": [{\"id\": 1}\n{\"id\": 2}]}", "images[1]: not JSON"},
		{"trailing comma", annotated(`{"id": 1,},`), "gt.json:4:12: annotations[0]: not JSON: invalid character '}'"},
		{"NaN", annotated(`{"id": 1, "area": NaN}`), "gt.json:4:21: annotations[0]: not JSON: invalid character 'N' looking for beginning of value; NaN and Infinity are not JSON numbers"},
		{"line break in a string", "{\"images\": [{\"file_name\": \"a\n\"}]}", "gt.json:1:29: images[0]: not JSON: invalid character '\\n' in string literal"},
		{"item of the wrong type", annotated(`17`), "gt.json:4:3: annotations[0]: found 17; expected an object"},
		{"null item", annotated(`null`), "gt.json:4:3: annotations[0]: found null; expected an object"},
		{"no id", annotated(`{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}`), "annotations[0].id: missing"},
		{"no image", annotated(`{"id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}`), "annotations[0].image_id: missing"},
		{"no category", annotated(`{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}`), "annotations[0].category_id: missing"},
		{"no box", annotated(`{"id": 1, "image_id": 1, "category_id": 1}`), "annotations[0].bbox: missing; expected four numbers [x, y, width, height]"},
		{"image without id", `{"images": [{"id": 1}, {"file_name": "b.jpg"}]}`, "gt.json:1:24: images[1].id: missing"},
		{"category without id", `{"categories": [{"name": "b"}]}`, "categories[0].id: missing"},
		{"category with a number as name", `{"categories": [{"id": 1, "name": 5}]}`, "categories[0].name: found 5; expected a string"},
		{"id as text", annotated(`{"id": "1"}`), "annotations[0].id: found a string; expected an integer"},
		{"fractional id", annotated(`{"id": 1.5}`), "annotations[0].id: found 1.5; expected an integer"},
		{"three numbers", annotated(`{"id": 1, "bbox": [0, 0, 1]}`), "gt.json:4:3: annotations[0].bbox: 3 numbers; expected four numbers"},
		{"no numbers", annotated(`{"id": 1, "bbox": [ ]}`), "annotations[0].bbox: no numbers; expected four numbers"},
		{"five numbers", annotated(`{"id": 1, "bbox": [0, 0, 1, 2, 3]}`), "annotations[0].bbox: more than 4 numbers; expected four numbers"},
		{"comma in a box", annotated(`{"id": 1, "bbox": [0, 0, 1,]}`), "gt.json:4:30: annotations[0]: not JSON: invalid character ']'"},
		{"no comma in a box", annotated(`{"id": 1, "bbox": [0, 0 1]}`), "gt.json:4:27: annotations[0]: not JSON: invalid character '1' after array element"},
		{"box as an object", annotated(`{"id": 1, "bbox": {"x": 1}}`), "annotations[0].bbox: found an object; expected four numbers"},
		{"NaN in a box", annotated(`{"id": 1, "bbox": [0, NaN]}`), "gt.json:4:25: annotations[0]: not JSON: invalid character 'N'"},
		{"text in a box", annotated(`{"id": 1, "bbox": [0, 0, 1, "2"]}`), `annotations[0].bbox: found "2" as number 4; expected four numbers`},
		{"null in a box", annotated(`{"id": 1, "bbox": [0, 0, 1, null]}`), "annotations[0].bbox: found null as number 4"},
		{"huge number", annotated(`{"id": 1, "bbox": [0, 0, 1, 1e999]}`), "annotations[0].bbox: found 1e999; expected a number that a double can hold"},
		{"huge area", annotated(`{"id": 1, "area": 1e999}`), "annotations[0].area: found 1e999; expected a number"},
		{"crowd 2", annotated(`{"id": 1, "iscrowd": 2}`), "annotations[0].iscrowd: found 2; expected 0 or 1"},
		{"negative size", annotated(`{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, -3, 1]}`), "gt.json:4:3: annotations[0].bbox: [0 0 -3 1] has a negative size"},
		{"negative area", annotated(`{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 1], "area": -3}`), "gt.json:4:3: annotations[0].area: -3; expected"},
		{"unknown image", annotated(`{"id": 1, "image_id": 8, "category_id": 1, "bbox": [0, 0, 3, 1]}`), "gt.json:4:3: annotations[0].image_id: 8 is not among the images; add the image"},
		{"unknown category", annotated(`{"id": 1, "image_id": 1, "category_id": 8, "bbox": [0, 0, 3, 1]}`), "gt.json:4:3: annotations[0].category_id: 8 is not among the categories"},
		{"repeated annotation", annotated(`{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 1]},` + "\n\n" + `{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 1]}`), "gt.json:6:1: annotations[1].id: 1 appears a second time"},
		{"repeated image", `{"images": [{"id": 1}, {"id": 1}], "categories": [], "annotations": []}`, "gt.json:1:24: images[1].id: 1 appears a second time"},
		{"repeated category", `{"images": [], "categories": [{"id": 1}, {"id": 1}], "annotations": []}`, "categories[1].id: 1 appears a second time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gt, err := ReadGroundTruth("gt.json", strings.NewReader(c.text))
			checkFormatError(t, err, c.want)
			if gt != nil {
				t.Errorf("ground truth beside an error: %+v", gt)
			}
		})
	}
}

func checkFormatError(t *testing.T, err error, want string) {
	t.Helper()
	var f *FormatError
	if !errors.As(err, &f) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v\nwant a FormatError with %q", err, want)
	}
}

func TestReadDetections(t *testing.T) {
	const text = `[{"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 3, 40], "score": 0.236, "id": 1},
		{"score": -1e-3, "bbox": [0, 0, 0, 0], "category_id": 0, "image_id": 0}]`
	want := []Detection{{7, 3, [4]float64{1, 2.5, 3, 40}, .236}, {0, 0, [4]float64{}, -.001}}
	got, err := ReadDetections("dt.json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if none, err := ReadDetections("dt.json", strings.NewReader(" [ ] ")); err != nil || len(none) != 0 {
		t.Errorf("empty list: %v, error %v", none, err)
	}
}

func TestReadDetectionsErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "dt.json:1:1: the file is empty; expected a list of detections"},
		{"annotations", `{"images": []}`, "found an object; expected a list of detections {image_id, category_id, bbox, score}; give a COCO results file (is this an annotation file?)"},
		{"no image", `[{"category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]`, "detections[0].image_id: missing"},
		{"no category", `[{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]`, "detections[0].category_id: missing"},
		{"no box", `[{"image_id": 1, "category_id": 1, "score": 1}]`, "detections[0].bbox: missing"},
		{"no score", "[\n{\"image_id\": 1, \"category_id\": 1, \"bbox\": [0, 0, 1, 1]}]", "dt.json:2:1: detections[0].score: missing; expected a number"},
		{"image name", `[{"image_id": "0001.jpg"}]`, "detections[0].image_id: found a string; expected an integer"},
		{"NaN score", "[{\"score\":\n NaN}]", "dt.json:2:2: detections[0]: not JSON"},
		{"huge score", `[{"score": -1e999}]`, "detections[0].score: found -1e999; expected a number"},
		{"negative size", `[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, -1], "score": 1}]`, "dt.json:1:2: detections[0].bbox: [0 0 1 -1] has a negative size"},
		{"truncated", `[{"image_id": 1`, "the file ends too early"},
		{"text behind", `[] []`, "dt.json:1:4: text follows the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dets, err := ReadDetections("dt.json", strings.NewReader(c.text))
			checkFormatError(t, err, c.want)
			if dets != nil {
				t.Errorf("detections beside an error: %+v", dets)
			}
		})
	}
}

// A disk that fails is no broken file.
func TestReadFailure(t *testing.T) {
	broken := errors.New("input/output error")
	_, err := ReadDetections("dt.json", iotest.ErrReader(broken))
	var f *FormatError
	if !errors.Is(err, broken) || errors.As(err, &f) {
		t.Errorf("error %v, want the reader's", err)
	}
	_, err = ReadGroundTruth("gt.json", iotest.TimeoutReader(strings.NewReader(`{"images": [`+strings.Repeat(`{"id": 1},`, 1000))))
	if !errors.Is(err, iotest.ErrTimeout) || !strings.HasPrefix(err.Error(), "gt.json: ") {
		t.Errorf("error %v, want the reader's with the name of the file", err)
	}
}

func TestWriteDetections(t *testing.T) {
	dets := []Detection{{42, 18, [4]float64{258.15, 41.29, 348.26, 243.78}, .236}, {1, 2, [4]float64{-1, 0, 1e-7, 1e21}, 1}}
	const want = `[
{"image_id":42,"category_id":18,"bbox":[258.15,41.29,348.26,243.78],"score":0.236},
{"image_id":1,"category_id":2,"bbox":[-1,0,1e-07,1e+21],"score":1}
]
`
	var b bytes.Buffer
	if err := WriteDetections(&b, dets); err != nil || b.String() != want {
		t.Errorf("error %v, wrote\n%s", err, b.String())
	}
	b.Reset()
	if err := WriteDetections(&b, nil); err != nil || b.String() != "[\n]\n" {
		t.Errorf("no detections: error %v, wrote %q", err, b.String())
	}
}

func TestWriteDetectionsErrors(t *testing.T) {
	good := Detection{1, 1, [4]float64{0, 0, 1, 1}, .5}
	var b bytes.Buffer
	err := WriteDetections(&b, []Detection{good, {1, 1, [4]float64{0, 0, 1, 1}, math.NaN()}})
	checkFormatError(t, err, "detections[1].score: NaN")
	if b.Len() > 0 {
		t.Errorf("wrote %q before the error", b.String())
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	if err := WriteDetections(full, []Detection{good}); err == nil || !strings.Contains(err.Error(), "writing detections") {
		t.Errorf("a full disk gives %v", err)
	}
}

func TestWriteReadDetections(t *testing.T) {
	number := rapid.Float64Range(-1e6, 1e6)
	rapid.Check(t, func(t *rapid.T) {
		var dets []Detection
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			dets = append(dets, Detection{
				rapid.Int64().Draw(t, "image"), rapid.Int64().Draw(t, "category"),
				[4]float64{number.Draw(t, "x"), number.Draw(t, "y"), math.Abs(number.Draw(t, "w")), math.Abs(number.Draw(t, "h"))},
				number.Draw(t, "score"),
			})
		}
		checkRoundTrip(t, dets)
	})
}

func checkRoundTrip(t rapid.TB, dets []Detection) {
	var b bytes.Buffer
	if err := WriteDetections(&b, dets); err != nil {
		t.Fatal(err)
	}
	again, err := ReadDetections("again", &b)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(dets) {
		t.Fatalf("%d detections read back, want %d", len(again), len(dets))
	}
	for i := range dets {
		if again[i] != dets[i] {
			t.Errorf("read back %+v, want %+v", again[i], dets[i])
		}
	}
}

func FuzzReadDetections(f *testing.F) {
	f.Add([]byte(`[{"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 3, 40], "score": 0.236}]`))
	f.Add([]byte("\xef\xbb\xbf[\n]"))
	f.Add([]byte(`[{"image_id": 7, "bbox": [1, 2.5, null]}, NaN]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dets, err := ReadDetections("fuzz", bytes.NewReader(data))
		if err != nil {
			checkFormatError(t, err, "fuzz")
			return
		}
		checkRoundTrip(t, dets)
	})
}

// What reads without an error can be measured, and every number is in range.
func FuzzReadGroundTruth(f *testing.F) {
	f.Add([]byte(annotated(`{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 10], "area": 250.5, "iscrowd": 0}`)))
	f.Add([]byte(annotated(`{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1e100, 1e100], "iscrowd": 1}`)))
	f.Add([]byte(`{"info": {}, "images": [], "categories": [], "annotations": [,]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		gt, err := ReadGroundTruth("fuzz", bytes.NewReader(data))
		if err != nil {
			checkFormatError(t, err, "fuzz")
			return
		}
		var dets []Detection
		for _, g := range gt.Truths {
			dets = append(dets, Detection{g.Image, g.Category, g.Box, .5})
		}
		r, err := COCO(gt, dets)
		if err != nil {
			t.Fatalf("read, but not measured: %v", err)
		}
		for _, n := range numbers {
			if v := n.of(&r.Numbers); v != -1 && !(v >= 0 && v <= 1) {
				t.Errorf("%s = %g", n.name, v)
			}
		}
	})
}
