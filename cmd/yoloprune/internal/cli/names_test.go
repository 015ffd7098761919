package cli

import (
	"strings"
	"testing"
)

func TestMatchNames(t *testing.T) {
	for _, c := range []struct {
		names, set   string
		warning, err string
	}{
		{"", "cat dog", "", ""},
		{"cat dog", "cat dog", "", ""},
		{"Cat traffic_light", "cat traffic-light", "", ""},
		{"cat motorbike dog", "cat motorcycle dog", `n and a name 1 of 3 classes differently; classes are matched by their order: 1 "motorbike" is "motorcycle"`, ""},
		{"a b c d", "a b x y", `2 of 4 classes differently; classes are matched by their order: 2 "c" is "x", 3 "d" is "y"`, ""},
		{"a b c", "a x y", "", `class 1 is "b", but a has "x" in its place, and 2 of 3 names differ`},
		{"cat", "dog", "", `class 0 is "cat", but a has "dog" in its place`},
		{"cat dog cow pig", "cat cow dog pig", "", `n: class 1 is "dog", but a has that name as category 2 in the order of ids, and "cow" as category 1`},
		{"cat dog", "cat", "", "a has 1 categories, but n 2 names"},
	} {
		names := strings.Fields(c.names)
		if c.names == "" {
			names = nil
		}
		warning, err := matchNames("n", names, "a", strings.Fields(c.set))
		if !strings.Contains(warning, c.warning) || (c.warning == "") != (warning == "") {
			t.Errorf("%s, %s: warning %q, want %q", c.names, c.set, warning, c.warning)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %s: error %v, want %q", c.names, c.set, err, c.err)
		}
	}
	if w, err := matchNames("n", []string{}, "a", nil); w != "" || err != nil {
		t.Errorf("empty lists: %q, %v", w, err)
	}
}
