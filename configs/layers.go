package configs

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"gopkg.in/yaml.v3"
)

// EnvPrefix begins the names of the environment variables that are read:
// YOLOPRUNE_PRUNE_TARGET_FLOPS sets prune.target.flops.
const EnvPrefix = "YOLOPRUNE_"

// stages are the sections that the environment may change but not start: a
// variable that is set for many runs must not add a stage to one of them.
var stages = []string{"train", "sparsify", "prune", "finetune", "report"}

// setting is a value from outside of the file.
type setting struct{ path, text, origin string }

// layer lays the environment and then the overrides over the file.
func (doc *document) layer(overrides []string) []Diagnostic {
	settings, diags := parseOverrides(overrides)
	values := viper.NewWithOptions(viper.KeyDelimiter("\x00")) // flat: no key lies inside another
	for _, s := range settings {
		values.Set(s.path, s.text)
	}
	diags = append(diags, unknownVariables()...)
	for _, s := range append(fromEnvironment(values), settings...) {
		diags = append(diags, doc.apply(s)...)
	}
	return diags
}

// fromEnvironment lists the variables that no override takes precedence of.
func fromEnvironment(values *viper.Viper) []setting {
	var out []setting
	for _, path := range leaves(reflect.TypeFor[Experiment](), "") {
		if values.IsSet(path) {
			continue
		}
		name := envName(path)
		if values.BindEnv(path, name) == nil && values.IsSet(path) {
			out = append(out, setting{path, values.GetString(path), "environment " + name})
		}
	}
	return out
}

func envName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// unknownVariables finds names that begin like a section's but set nothing.
func unknownVariables() []Diagnostic {
	var known, sections []string
	for _, path := range leaves(reflect.TypeFor[Experiment](), "") {
		known = append(known, envName(path))
		if section, _, nested := strings.Cut(path, "."); nested {
			sections = append(sections, envName(section)+"_")
		}
	}
	var diags []Diagnostic
	for _, kv := range slices.Sorted(slices.Values(os.Environ())) {
		name, _, _ := strings.Cut(kv, "=")
		inSection := slices.ContainsFunc(sections, func(s string) bool { return strings.HasPrefix(name, s) })
		if inSection && !slices.Contains(known, name) {
			diags = append(diags, Diagnostic{File: "environment " + name, Msg: "sets no key" + didYouMean(nearest(name, known))})
		}
	}
	return diags
}

// index matches the [0] of prune[0].align, which may also be written prune.0.align.
var index = regexp.MustCompile(`\[(\d+)\]`)

func parseOverrides(overrides []string) ([]setting, []Diagnostic) {
	var out []setting
	var diags []Diagnostic
	for _, o := range overrides {
		origin := "override " + strconv.Quote(shorten(o))
		key, text, ok := strings.Cut(o, "=")
		path := index.ReplaceAllString(strings.TrimSpace(key), ".$1")
		if !ok || slices.Contains(strings.Split(path, "."), "") {
			diags = append(diags, Diagnostic{File: origin, Msg: "not of the form key=value, as in train.lr=0.01"})
			continue
		}
		out = append(out, setting{path, text, origin})
	}
	return out, diags
}

// apply puts a setting into the tree. An empty value or null takes the key out.
func (doc *document) apply(s setting) []Diagnostic {
	fail := func(msg string) []Diagnostic { return []Diagnostic{{File: s.origin, Key: s.path, Msg: msg}} }
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(s.text), &n); err != nil {
		_, msg := syntaxError(err)
		return fail("value is not YAML: " + msg)
	}
	var value *yaml.Node
	if len(n.Content) == 1 && n.Content[0].ShortTag() != "!!null" {
		value = n.Content[0]
		if unalias(value) != nil {
			return fail("value has an anchor that contains itself")
		}
		doc.mark(value, s.origin)
	}
	parts := doc.parts(s.path)
	if strings.HasPrefix(s.origin, "environment") && slices.Contains(stages, parts[0]) && child(doc.root, parts[0]) < 0 {
		return nil
	}
	if msg := doc.set(doc.root, parts, value, s.origin); msg != "" {
		return fail(msg)
	}
	return nil
}

// parts splits a path. The only cut of a file that writes prune without a list
// is number 0 all the same.
func (doc *document) parts(path string) []string {
	parts := strings.Split(path, ".")
	if len(parts) > 2 && parts[0] == "prune" && parts[1] == "0" {
		if at := child(doc.root, "prune"); at < 0 || doc.root.Content[at].Kind == yaml.MappingNode {
			return slices.Delete(parts, 1, 2)
		}
	}
	return parts
}

func (doc *document) mark(n *yaml.Node, origin string) {
	if _, done := doc.origins[n]; done {
		return
	}
	doc.origins[n] = origin
	for _, c := range n.Content {
		doc.mark(c, origin)
	}
}

// child returns the position in n.Content of a key's value, or -1.
func child(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i + 1
		}
	}
	return -1
}

// set puts value at parts below n, or takes the key out when value is nil, and
// returns what is in the way. Keys that the experiment does not know are left
// to the decoder, which reports them with their origin.
func (doc *document) set(n *yaml.Node, parts []string, value *yaml.Node, origin string) string {
	key := parts[0]
	if n.Kind == yaml.SequenceNode {
		return doc.setItem(n, parts, value, origin)
	}
	at := child(n, key)
	switch {
	case at < 0 && value == nil:
		return ""
	case at < 0:
		keyNode := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
		doc.origins[keyNode] = origin
		n.Content = append(n.Content, keyNode, doc.empty(origin))
		at = len(n.Content) - 1
	case len(parts) == 1 && value == nil:
		n.Content = slices.Delete(n.Content, at-1, at+1)
		return ""
	}
	if len(parts) == 1 {
		n.Content[at] = value
		return ""
	}
	n.Content[at] = doc.own(n.Content[at], origin)
	return doc.set(n.Content[at], parts[1:], value, origin)
}

// setItem goes on below one item of a list.
func (doc *document) setItem(n *yaml.Node, parts []string, value *yaml.Node, origin string) string {
	i, err := strconv.Atoi(parts[0])
	rest := parts[1:]
	if err != nil {
		if len(n.Content) != 1 {
			return "this is a list of " + strconv.Itoa(len(n.Content)) + "; put the item's number before " + strconv.Quote(parts[0])
		}
		i, rest = 0, parts
	}
	if i >= len(n.Content) {
		return "there is no item " + strconv.Itoa(i) + "; the list has " + strconv.Itoa(len(n.Content))
	}
	if len(rest) > 0 {
		n.Content[i] = doc.own(n.Content[i], origin)
		return doc.set(n.Content[i], rest, value, origin)
	}
	if value == nil {
		n.Content = slices.Delete(n.Content, i, i+1)
	} else {
		n.Content[i] = value
	}
	return ""
}

func (doc *document) empty(origin string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	doc.origins[n] = origin
	return n
}

// own returns a copy that can be changed without changing another place of the
// tree that shares the node, or an empty mapping in the place of a scalar.
func (doc *document) own(n *yaml.Node, origin string) *yaml.Node {
	if n.Kind == yaml.ScalarNode {
		return doc.empty(origin)
	}
	c := *n
	c.Content = slices.Clone(n.Content)
	if o, ok := doc.origins[n]; ok {
		doc.origins[&c] = o
	}
	return &c
}
