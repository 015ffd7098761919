package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// Numbers are those of strconv, to the last bit, and what JSON does not allow is
// refused at the byte that breaks it.
func TestParseNumeral(t *testing.T) {
	for _, text := range []string{
		"0", "-0", "1", "-1", "0.5", "12.25", "1e3", "1E+3", "1e-3", "123456789012345678", "9007199254740993", "0.1234567890123456789",
		"1e22", "1e23", "123456789e22", "5e-324", "1e-400", "1.7976931348623157e308", "0.000000000000000000000000000001", "100000000000000000000000000000",
		"9223372036854775807", "-9223372036854775808", "0e5", "0.0", "258.1499938964844",
	} {
		n, bad := parseNumeral([]byte(text))
		if bad >= 0 {
			t.Errorf("%s is refused at %d", text, bad)
		}
		want, err := strconv.ParseFloat(text, 64)
		if got, ok := n.float([]byte(text)); math.Float64bits(got) != math.Float64bits(want) || ok != (err == nil) {
			t.Errorf("%s is %v, %v; want %v, %v", text, got, ok, want, err)
		}
	}
	for text, at := range map[string]int{
		"": 0, "-": 1, "+1": 0, "01": 1, "-01": 2, ".5": 0, "1.": 2, "1.e3": 2, "1e": 2, "1e+": 3, "1-2": 1, "1.2.3": 3, "1e2e3": 3, "--1": 1, "1e2.5": 3,
	} {
		if _, bad := parseNumeral([]byte(text)); bad != at {
			t.Errorf("%q is refused at %d, want %d", text, bad, at)
		}
	}
}

func TestParseNumeralProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return
		}
		text := strconv.AppendFloat(nil, v, rapid.SampledFrom([]byte("efg")).Draw(t, "form"), rapid.IntRange(-1, 20).Draw(t, "digits"), 64)
		want, _ := strconv.ParseFloat(string(text), 64)
		n, bad := parseNumeral(text)
		if got, _ := n.float(text); bad >= 0 || got != want {
			t.Errorf("%s is %v (refused at %d), want %v", text, got, bad, want)
		}
		i := rapid.Int64().Draw(t, "integer")
		text = strconv.AppendInt(nil, i, 10)
		n, bad = parseNumeral(text)
		if got, ok := n.integer(text); bad >= 0 || !ok || got != i {
			t.Errorf("%s is %v, %v", text, got, ok)
		}
	})
	n, _ := parseNumeral([]byte("9223372036854775808"))
	if v, ok := n.integer([]byte("9223372036854775808")); ok {
		t.Errorf("9223372036854775808 passes as %d", v)
	}
}

// grammar says whether the scanner takes a text as one JSON value.
func grammar(text []byte) error {
	s, err := newScanner("text", bytes.NewReader(text))
	if err != nil {
		return err
	}
	if err := s.skip(); err != nil {
		return err
	}
	return (&file{scanner: s}).close()
}

var samples = []string{
	`{}`, `[]`, `[1,2]`, `[1,]`, `{"a":1,}`, `{"a" 1}`, `{"a":}`, `{a:1}`, `"\u00e9"`, `"\u00g9"`, "\"\\u0\x1500\"", `"\x"`, "\"a\nb\"", `tru`, `true`, `false`, `null`, `nul`,
	` {"a": [{}, [], "x", -1.5e3, true, null]} `, `[1 2]`, `{"a":1 "b":2}`, `"`, `"\`, `"\u12`, `[`, `{`, `{"a"`, `{"a":`, `1 2`, `]`, `NaN`, `-Infinity`, "\x00", `{"\"":0}`, `{,}`, `[,]`,
}

func TestGrammar(t *testing.T) {
	for _, text := range samples {
		err := grammar([]byte(text))
		if (err == nil) != json.Valid([]byte(text)) {
			t.Errorf("%q: error %v, encoding/json takes it: %v", text, err, json.Valid([]byte(text)))
		}
		var f *FormatError
		if err != nil && (!errors.As(err, &f) || f.Line < 1 || f.Col < 1) {
			t.Errorf("%q: error %v has no place", text, err)
		}
	}
}

// The scanner takes what encoding/json takes.
func FuzzGrammar(f *testing.F) {
	for _, text := range samples {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) || bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxDepth {
			return
		}
		if err := grammar(text); (err == nil) != json.Valid(text) {
			t.Errorf("%q: error %v, encoding/json takes it: %v", text, err, json.Valid(text))
		}
	})
}

// However the bytes come, one by one or across the buffer's end, the result and
// the places of errors are the same.
func TestReadInPieces(t *testing.T) {
	name := strings.Repeat("né", bufferBytes/3) // a token longer than the buffer
	text := `{"images": [{"id": 1, "file_name": "` + name + `"}], "info": [[["` + name + `"]]],
 "categories": [{"name": "` + name[:2*len("né")] + `", "id": 3}], "annotations": [` + strings.Repeat(" \n", bufferBytes) + `
 {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1.5, 2, 3, 4], "area": 12.000}]}`
	for _, r := range []func(string) (*GroundTruth, error){
		func(s string) (*GroundTruth, error) { return ReadGroundTruth("gt.json", strings.NewReader(s)) },
		func(s string) (*GroundTruth, error) {
			return ReadGroundTruth("gt.json", iotest.OneByteReader(strings.NewReader(s)))
		},
		func(s string) (*GroundTruth, error) {
			return ReadGroundTruth("gt.json", iotest.DataErrReader(strings.NewReader(s)))
		},
	} {
		gt, err := r(text)
		if err != nil {
			t.Fatal(err)
		}
		want := Truth{ID: 1, Image: 1, Category: 3, Box: [4]float64{1.5, 2, 3, 4}, Area: 12}
		if len(gt.Truths) != 1 || gt.Truths[0] != want || gt.Categories[0].Name != "néné" {
			t.Errorf("read %+v", gt)
		}
		_, err = r(strings.Replace(text, "12.000", "12.0.0", 1))
		checkFormatError(t, err, "gt.json:"+strconv.Itoa(3+bufferBytes)+":81: annotations[0]: not JSON: invalid character '.' in numeric literal")
	}
}

func TestReadDetectionsOf(t *testing.T) {
	gt := &GroundTruth{Images: []int64{1}, Categories: []Category{{ID: 2}}}
	good := `{"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 1}`
	if dets, err := ReadDetectionsOf(gt, "dt.json", strings.NewReader("["+good+"]")); err != nil || len(dets) != 1 {
		t.Errorf("%v, error %v", dets, err)
	}
	for change, want := range map[string]string{
		`"image_id": 7`:    "dt.json:2:1: detections[1].image_id: 7 is not an image of the ground truth",
		`"category_id": 3`: "dt.json:2:1: detections[1].category_id: 3 is not a category of the ground truth",
	} {
		key, _, _ := strings.Cut(change, ":")
		bad := strings.Replace(good, key+": "+map[string]string{`"image_id"`: "1", `"category_id"`: "2"}[key], change, 1)
		_, err := ReadDetectionsOf(gt, "dt.json", strings.NewReader("["+good+",\n"+bad+"]"))
		checkFormatError(t, err, want)
	}
	_, err := ReadDetectionsOf(nil, "dt.json", strings.NewReader("["+good+"]"))
	checkFormatError(t, err, "is not an image of the ground truth")
}

func TestTokensAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"key":    `{"` + strings.Repeat("a", maxToken+2) + `": 1}`,
		"name":   `{"categories": [{"id": 1, "name": "` + strings.Repeat("a", maxToken+2) + `"}]}`,
		"number": `{"images": [{"id": ` + strings.Repeat("1", maxToken+2) + `}]}`,
		"depth":  `{"info": ` + strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2) + `}`,
	} {
		_, err := ReadGroundTruth("gt.json", strings.NewReader(text))
		var f *FormatError
		if !errors.As(err, &f) || f.Line != 1 {
			t.Errorf("%s: error %v, want a FormatError with its place", name, err)
		}
	}
}
