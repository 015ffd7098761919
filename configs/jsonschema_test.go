package configs

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// schemaObject is a schema as a reader of the JSON sees it.
type schemaObject = map[string]any

func readSchema(t *testing.T) schemaObject {
	t.Helper()
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s schemaObject
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// valid says whether x is valid by the JSON Schema Validation draft 2020-12,
// for the keywords that Schema writes. Any other keyword is a panic.
func valid(s, x any) bool {
	if yes, ok := s.(bool); ok {
		return yes
	}
	for keyword, arg := range s.(schemaObject) {
		if !holds(s.(schemaObject), keyword, arg, x) {
			return false
		}
	}
	return true
}

func holds(s schemaObject, keyword string, arg, x any) bool {
	switch keyword {
	case "$schema", "title", "default":
		return true
	case "type":
		return hasType(arg, x)
	case "enum":
		return slices.ContainsFunc(arg.([]any), func(a any) bool { return reflect.DeepEqual(a, x) })
	case "const":
		return reflect.DeepEqual(arg, x)
	case "not":
		return !valid(arg, x)
	case "anyOf":
		return matches(arg.([]any), x) > 0
	case "oneOf":
		return matches(arg.([]any), x) == 1
	case "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf":
		n, ok := x.(float64)
		return !ok || numberHolds(keyword, arg.(float64), n)
	case "minLength":
		text, ok := x.(string)
		return !ok || len([]rune(text)) >= int(arg.(float64))
	case "minItems", "maxItems", "items":
		list, ok := x.([]any)
		return !ok || listHolds(keyword, arg, list)
	case "properties", "additionalProperties", "required", "minProperties", "maxProperties":
		m, ok := x.(map[string]any)
		return !ok || mappingHolds(s, keyword, arg, m)
	}
	panic("unknown keyword " + keyword)
}

func hasType(arg, x any) bool {
	if list, ok := arg.([]any); ok {
		return slices.ContainsFunc(list, func(a any) bool { return hasType(a, x) })
	}
	switch x := x.(type) {
	case string:
		return arg == "string"
	case bool:
		return arg == "boolean"
	case float64:
		return arg == "number" || arg == "integer" && x == math.Trunc(x)
	case []any:
		return arg == "array"
	case map[string]any:
		return arg == "object"
	}
	return false
}

func matches(list []any, x any) int {
	n := 0
	for _, s := range list {
		if valid(s, x) {
			n++
		}
	}
	return n
}

func numberHolds(keyword string, arg, x float64) bool {
	switch keyword {
	case "minimum":
		return x >= arg
	case "exclusiveMinimum":
		return x > arg
	case "maximum":
		return x <= arg
	case "exclusiveMaximum":
		return x < arg
	}
	return math.Mod(x, arg) == 0
}

func listHolds(keyword string, arg any, list []any) bool {
	switch keyword {
	case "minItems":
		return len(list) >= int(arg.(float64))
	case "maxItems":
		return len(list) <= int(arg.(float64))
	}
	return !slices.ContainsFunc(list, func(item any) bool { return !valid(arg, item) })
}

func mappingHolds(s schemaObject, keyword string, arg any, m map[string]any) bool {
	properties, _ := s["properties"].(schemaObject)
	switch keyword {
	case "minProperties":
		return len(m) >= int(arg.(float64))
	case "maxProperties":
		return len(m) <= int(arg.(float64))
	case "required":
		return !slices.ContainsFunc(arg.([]any), func(key any) bool { _, ok := m[key.(string)]; return !ok })
	}
	for key, value := range m {
		sub, known := properties[key]
		if keyword == "properties" && known && !valid(sub, value) || keyword == "additionalProperties" && !known && !valid(arg, value) {
			return false
		}
	}
	return true
}

// plain turns YAML into what JSON has. Merge keys stay keys, numbers that
// JSON lacks become texts, and null is of no type.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, plain(item))
		}
		return list
	}
	return plainScalar(n)
}

func plainScalar(n *yaml.Node) any {
	var f float64
	var b bool
	switch n.ShortTag() {
	case "!!int", "!!float":
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		return n.Value
	case "!!bool":
		if n.Decode(&b) == nil {
			return b
		}
		return n.Value
	case "!!null":
		return nil
	}
	return n.Value
}

func plainText(t *testing.T, src []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(src, &n); err != nil {
		t.Fatal(err)
	}
	return plain(&n)
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	s := readSchema(t)
	files, _ := filepath.Glob("*.yaml")
	more, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range append(files, more...) {
		e, err := Load(file, nil)
		if filepath.Base(file) == "design.yaml" {
			e, err = Load(file, []string{"export=[darknet]"})
		}
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !valid(s, plainText(t, resolved)) {
			t.Errorf("%s: the resolved experiment is not valid:\n%s", file, resolved)
		}
		given := plainText(t, e.Source()).(map[string]any)
		if filepath.Base(file) == "design.yaml" {
			given["export"] = []any{"darknet"}
		}
		if !valid(s, given) {
			t.Errorf("%s: not valid", file)
		}
	}
}

// faultOfValue matches a message on a single value: its type, range, choice or
// key.
var faultOfValue = regexp.MustCompile(`unknown key|is not (in \[|in \(|one of|a |above|true|supported)|is below|has no value|is empty; list|merge keys`)

// The schema must refuse every file of testdata/bad that is wrong in one value.
func TestSchemaRefusesBadFiles(t *testing.T) {
	s := readSchema(t)
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	refused := 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !faultOfValue.MatchString(strings.Join(wanted(t, file), "\n")) {
			continue
		}
		refused++
		if valid(s, plainText(t, src)) {
			t.Errorf("%s: valid", file)
		}
	}
	if refused < 20 {
		t.Errorf("only %d files are wrong in one value; the test must see them", refused)
	}
}

// Rules between keys that the schema holds.
func TestSchemaRules(t *testing.T) {
	s := readSchema(t)
	for _, c := range []struct {
		model, data, prune string
		want               bool
	}{
		{"{arch: a}", "{format: toy}", "{target: {flops: 0.5}}", true},
		{"{cfg: a}", "{format: toy}", "{target: {flops: 0.5}}", true},
		{"{}", "{format: toy}", "{target: {flops: 0.5}}", false},
		{"{arch: a, cfg: b}", "{format: toy}", "{target: {flops: 0.5}}", false},
		{"{arch: a, width: 0.5}", "{format: toy}", "{target: {flops: 0.5}}", true},
		{"{cfg: a, width: 0.5}", "{format: toy}", "{target: {flops: 0.5}}", false},
		{"{arch: a}", "{}", "{target: {flops: 0.5}}", false},
		{"{arch: a}", "{val: {annotations: x}}", "{target: {flops: 0.5}}", true},
		{"{arch: a}", "{val: {annotations: x}, toy: {}}", "{target: {flops: 0.5}}", false},
		{"{arch: a}", "{val: {images: x}}", "{target: {flops: 0.5}}", false},
		{"{arch: a}", "{format: toy}", "{}", false},
		{"{arch: a}", "{format: toy}", "{target: {}}", false},
		{"{arch: a}", "{format: toy}", "{target: {flops: 0.5, params: 0.5}}", false},
		{"{arch: a}", "{format: toy}", "[{target: {flops: 0.5}}, {plan: p}, {blocks: 2}]", true},
		{"{arch: a}", "{format: toy}", "[{target: {flops: 0.5}}, {plan: p, align: 1}]", false},
		{"{arch: a}", "{format: toy}", "{plan: p, recalibrate: 0, fold: none}", true},
		{"{arch: a}", "{format: toy}", "{plan: p, blocks: 1}", false},
		{"{arch: a}", "{format: toy}", "{plan: ''}", false},
		{"{arch: a}", "{format: toy}", "{blocks: 2, skip: [3-7, 8]}", true},
		{"{arch: a}", "{format: toy}", "{blocks: 2, criterion: l1}", false},
		{"{arch: a}", "{format: toy}", "{blocks: 2, criterion: l1, target: {params: 0.2}}", true},
		{"{arch: a}", "{format: toy}", "{blocks: 0}", false},
		{"{arch: a}", "{format: toy}", "{strategy: layers, layers: {5: 0.3, 7-9: 0}}", true},
		{"{arch: a}", "{format: toy}", "{strategy: layers, layers: {5: 1}}", false},
		{"{arch: a}", "{format: toy}", "{strategy: layers, layers: {}}", false},
		{"{arch: a}", "{format: toy}", "{strategy: layers}", false},
		{"{arch: a}", "{format: toy}", "{strategy: layers, layers: {5: 0.3}, target: {flops: 0.1}}", false},
		{"{arch: a}", "{format: toy}", "{layers: {5: 0.3}, target: {flops: 0.1}}", false},
	} {
		src := fmt.Sprintf("model: %s\ndata: %s\ntrain: {}\nprune: %s\n", c.model, c.data, c.prune)
		if got := valid(s, plainText(t, []byte(src))); got != c.want {
			t.Errorf("valid %v, want %v:\n%s", got, c.want, src)
		}
	}
}

// at returns the schema of the value at a path; that of a list is its item's.
func at(s any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		if forms, ok := s.(schemaObject)["anyOf"].([]any); ok && s.(schemaObject)["properties"] == nil {
			s = forms[0]
		}
		s = s.(schemaObject)["properties"].(schemaObject)[key]
		if s == nil {
			return nil
		}
	}
	return s
}

// Loading and the schema are two readings of the same tags: a single value that
// one refuses, the other refuses too.
func TestSchemaAgreesWithLoading(t *testing.T) {
	s := readSchema(t)
	values := strings.Fields(`-1 0 0.1 0.5 1 1.5 2 31 32 33 64 100 1024 4096 4097 100000 1000001 1e9 1e30 .inf
		true false yes "1" coco adamw cosine onnx darknet best kmeans
		[] [0.5] [0.5,0.5] [0,1] [1,1,1] [0.2,0.2,0.2] [-1] [2] [64,96] [33,32] [0,32] [[1,2]] [[0,2]] [[1]] [darknet] [onnx] [coco] [[]]
		{} {"5":0.5} {"5":1} {"5":-0.1}`)
	for _, path := range leaves(reflect.TypeFor[Experiment](), "") {
		sub := at(s, path)
		if sub == nil {
			t.Errorf("%s is not in the schema", path)
			continue
		}
		for _, v := range values {
			want := !refusedAlone(t, path, v)
			if got := valid(sub, plainText(t, []byte(v))); got != want {
				t.Errorf("%s: %s: valid %v, loading says %v", path, v, got, want)
			}
		}
	}
}

// refusedAlone says whether loading refuses a value, whatever the others are.
func refusedAlone(t *testing.T, path, value string) bool {
	t.Helper()
	keys := strings.Split(path, ".")
	src := strings.Join(keys, ": {") + ": " + value + strings.Repeat("}", len(keys)-1)
	doc, diags := parseDocument("e.yaml", []byte(src))
	if diags != nil {
		t.Fatal(asError(diags))
	}
	d := &decoder{doc: doc, exp: &Experiment{doc: doc}}
	d.mapping(doc.root, reflect.ValueOf(d.exp).Elem(), "")
	return len(d.diags) > 0
}

func TestSchemaDefaults(t *testing.T) {
	s := readSchema(t)
	for path, want := range map[string]any{
		"seed": 1.0, "val.nms": 0.65, "data.format": "coco", "data.skip_bad": false,
		"train.epochs": 60.0, "train.betas": []any{0.9, 0.99}, "train.mosaic": 0.5, "train.loss.iou": "ciou",
		"prune.align": 8.0, "prune.fold": "beta", "report.html": true, "report.samples": 4.0,
		"sparsify.method": "subgradient",
		// these depend on other values
		"name": nil, "model.input": nil, "sparsify.epochs": nil, "sparsify.strength": nil, "finetune.lr": nil,
		"finetune.loss.iou": nil, "prune.normalize": nil, "prune.target.flops": nil,
	} {
		if got := at(s, path).(schemaObject)["default"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: default %v, want %v", path, got, want)
		}
	}
}
