package configs

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"rato", "ratio", 1}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"lr", "rl", 2},
	} {
		if got := distance(c.a, c.b, 100); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestDistanceIsAMetric(t *testing.T) {
	word := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		ab, bc, ac := distance(a, b, 100), distance(b, c, 100), distance(a, c, 100)
		if ab != distance(b, a, 100) || (ab == 0) != (a == b) || ac > ab+bc {
			t.Fatalf("%q %q %q: %d %d %d", a, b, c, ab, bc, ac)
		}
	})
}

func TestNearest(t *testing.T) {
	keys := []string{"lr", "epochs", "ema", "weight_decay"}
	for word, want := range map[string]string{
		"rl": "", "l": "lr", "epoch": "epochs", "Epochs": "epochs", "wieght_decay": "weight_decay", "clip": "", "em": "ema",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		limits string
		x      float64
		want   string
	}{
		{"(0,1)", 0.5, ""},
		{"(0,1)", 0, "X is not in (0, 1)"},
		{"[0,1)", 0, ""},
		{"[0,1)", 1, "X is not in [0, 1)"},
		{"(0,1]", 1, ""},
		{"[1,inf)", 1, ""},
		{"[1,inf)", 0, "X is below 1"},
		{"(0,inf)", 0, "X is not above 0"},
	} {
		r, err := parseInterval(c.limits)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.fault(c.x, "X"); got != c.want {
			t.Errorf("%v in %s: got %q, want %q", c.x, c.limits, got, c.want)
		}
	}
}

// The tags of the types are the schema, so a slip in one is a slip in loading.
func TestTags(t *testing.T) {
	walkFields(reflect.TypeFor[Experiment](), func(f field) {
		if f.key == "" {
			t.Errorf("a field of type %v has no key", f.typ)
		}
		if limits := f.tag.Get("in"); limits != "" {
			if _, err := parseInterval(limits); err != nil {
				t.Errorf("%s: %v", f.key, err)
			}
		}
	})
	names := map[string]string{}
	for _, path := range leaves(reflect.TypeFor[Experiment](), "") {
		if path != strings.ToLower(path) {
			t.Errorf("%s: keys are lower case", path)
		}
		if other, ok := names[envName(path)]; ok {
			t.Errorf("%s and %s share the variable %s", path, other, envName(path))
		}
		names[envName(path)] = path
	}
}

func walkFields(t reflect.Type, visit func(field)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[nodeDecoder]()) {
		return
	}
	for _, f := range fieldsOf(t) {
		visit(f)
		walkFields(f.typ, visit)
	}
}

// schedule means the penalty in sparsify and the learning rate elsewhere.
func TestShadowedKey(t *testing.T) {
	all := strings.Join(leaves(reflect.TypeFor[Experiment](), ""), " ")
	for _, want := range []string{"train.schedule", "finetune.schedule", "sparsify.schedule", "sparsify.lr_schedule"} {
		if strings.Count(" "+all+" ", " "+want+" ") != 1 {
			t.Errorf("%s must be a key once, in %s", want, all)
		}
	}
}
