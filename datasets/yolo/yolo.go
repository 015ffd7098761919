// Package yolo reads and writes the data sets of YOLOv5, YOLOv7 and later: a
// data.yaml and folders images/<split> and labels/<split> with a label file for
// each image (package yolotxt; rows of outlines become their bounding boxes).
//
// https://docs.ultralytics.com/datasets/detect/
//
//	path: ../datasets/coco     the set's folder; optional
//	train: images/train        a folder, a list of images, or several of them
//	val: images/val
//	nc: 2                      optional
//	names: [cat, dog]          or {0: cat, 1: dog}
//
// Paths are looked up below path, the data root, and data.yaml's folder; one
// that starts with ../ and is nowhere, as some exporters write, without that.
package yolo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"yoloprune/datasets/labels"
	"yoloprune/datasets/yolotxt"
)

// Options say where the set's files are.
type Options struct {
	Root  labels.Root
	YAML  string   // empty: data.yaml in the root
	Split string   // train, val or test
	Names []string // the classes; nil: as in data.yaml
}

// Read reads a data set. Its images are not opened.
func Read(o Options) (*labels.File, error) {
	if o.YAML == "" {
		o.YAML = filepath.Join(o.Root.Dir, "data.yaml")
	}
	text, err := labels.ReadFile(o.YAML, labels.MaxText)
	if err != nil {
		return nil, err
	}
	d, err := parse(o.YAML, text)
	if err != nil {
		return nil, err
	}
	names := d.names
	if o.Names != nil {
		names = o.Names
	}
	f := &labels.File{Name: o.YAML, Classes: labels.NewClasses(names, 0)}
	r := &reader{document: d, o: o, Reader: yolotxt.Reader{
		File: f, Root: o.Root, Rules: yolotxt.Rules{Classes: len(names), Polygons: true, Decimal: true},
	}}
	if err := r.addSplit(); err != nil {
		return nil, err
	}
	if len(f.Images) == 0 && len(f.Faults) == 0 {
		return nil, &labels.FormatError{File: o.YAML, Msg: fmt.Sprintf("%s has no images", o.Split)}
	}
	return f, nil
}

// document is a data.yaml.
type document struct {
	file   string
	path   string
	names  []string
	splits map[string][]entry
}

// entry is a path with its line.
type entry struct {
	path string
	line int
}

func (d *document) error(line int, format string, args ...any) error {
	return &labels.FormatError{File: d.file, Line: line, Msg: fmt.Sprintf(format, args...)}
}

// parse reads the keys that matter; others, such as download, are skipped.
func parse(name string, text []byte) (*document, error) {
	d := &document{file: name, splits: map[string][]entry{}}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, d.error(0, "not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return nil, d.error(0, "found no keys; expected train, val and names")
	}
	nc := entry{}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content[0].Content); i += 2 {
		key, v := root.Content[0].Content[i], resolved(root.Content[0].Content[i+1])
		if seen[key.Value] {
			return nil, d.error(key.Line, "the key %q stands twice; remove one of the two", key.Value)
		}
		seen[key.Value] = true
		if err := d.key(key.Value, v, &nc); err != nil {
			return nil, err
		}
	}
	return d, d.check(nc)
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (d *document) key(key string, v *yaml.Node, nc *entry) (err error) {
	switch key {
	case "path":
		d.path, err = d.text(key, v)
	case "train", "val", "test":
		d.splits[key], err = d.paths(key, v)
	case "nc":
		nc.line = v.Line
		nc.path, err = d.text(key, v)
	case "names":
		d.names, err = d.classNames(v)
	}
	return err
}

func (d *document) text(key string, v *yaml.Node) (string, error) {
	if v.Kind != yaml.ScalarNode || v.Tag == "!!null" && key != "test" {
		return "", d.error(v.Line, "%s: found no single value", key)
	}
	return v.Value, nil
}

func (d *document) paths(key string, v *yaml.Node) ([]entry, error) {
	if v.Tag == "!!null" {
		return nil, nil
	}
	if v.Kind != yaml.SequenceNode {
		p, err := d.text(key, v)
		return []entry{{p, v.Line}}, err
	}
	var out []entry
	for _, n := range v.Content {
		p, err := d.text(key, resolved(n))
		if err != nil {
			return nil, err
		}
		out = append(out, entry{p, n.Line})
	}
	return out, nil
}

// classNames reads names: a list, or a mapping from 0, 1, ...
func (d *document) classNames(v *yaml.Node) ([]string, error) {
	switch v.Kind {
	case yaml.SequenceNode:
		var out []string
		for _, n := range v.Content {
			s, err := d.text("names", resolved(n))
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		return out, nil
	case yaml.MappingNode:
		return d.numberedNames(v)
	}
	return nil, d.error(v.Line, "names: found neither a list nor a mapping; expected [cat, dog] or {0: cat, 1: dog}")
}

func (d *document) numberedNames(v *yaml.Node) ([]string, error) {
	n := len(v.Content) / 2
	out, seen := make([]string, n), make([]bool, n)
	for i := range n {
		key, value := v.Content[2*i], resolved(v.Content[2*i+1])
		c, err := strconv.Atoi(key.Value)
		if err != nil || c < 0 || c >= n || seen[c] {
			return nil, d.error(key.Line, "names: the class number is %q; expected each of 0..%d once", key.Value, n-1)
		}
		seen[c] = true
		if out[c], err = d.text("names", value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d *document) check(nc entry) error {
	if len(d.names) == 0 {
		return d.error(0, "names is missing; expected the class names, such as names: [cat, dog]")
	}
	for i, n := range d.names {
		if n == "" || slices.Index(d.names, n) != i {
			return d.error(0, "names: class %d is called %q, which is empty or used twice; give each class its own", i, n)
		}
	}
	if n, err := strconv.Atoi(nc.path); nc.line > 0 && (err != nil || n != len(d.names)) {
		return d.error(nc.line, "nc is %s, but there are %d names; correct one of the two", nc.path, len(d.names))
	}
	return nil
}

// reader adds the images of one split.
type reader struct {
	*document
	yolotxt.Reader
	o Options
}

func (r *reader) addSplit() error {
	entries := r.splits[r.o.Split]
	if len(entries) == 0 {
		return r.error(0, "%s is missing; expected a folder or list of images", r.o.Split)
	}
	for _, e := range entries {
		where, err := r.locate(e)
		if err != nil {
			return err
		}
		if err := r.addPath(where); err != nil {
			return err
		}
	}
	return nil
}

// locate finds a folder or list.
func (r *reader) locate(e entry) (string, error) {
	folders := []string{r.o.Root.Dir, filepath.Dir(r.file)}
	if r.path != "" {
		p := filepath.FromSlash(r.path)
		folders = append([]string{p, filepath.Join(filepath.Dir(r.file), p), filepath.Join(r.o.Root.Dir, p)}, folders...)
		if !filepath.IsAbs(p) {
			folders = folders[1:]
		}
	}
	refused := error(nil)
	for _, spelling := range spellings(e.path) {
		for _, dir := range folders {
			at := spelling
			if !filepath.IsAbs(at) {
				at = filepath.Join(dir, at)
			}
			if _, err := os.Stat(at); err != nil {
				continue
			}
			where, _, err := r.Root.Place(at)
			if err == nil {
				return where, nil
			}
			refused = err
		}
	}
	if refused != nil {
		return "", &labels.FormatError{File: r.file, Line: e.line, Msg: refused.Error(), Kind: labels.OutsideRoot}
	}
	return "", r.error(e.line, "no such folder or list: %s", e.path)
}

func spellings(p string) []string {
	slashes := strings.ReplaceAll(p, `\`, "/")
	inside := slashes
	for strings.HasPrefix(inside, "../") {
		inside = inside[3:]
	}
	return []string{filepath.FromSlash(p), filepath.FromSlash(slashes), filepath.FromSlash(inside)}
}

func (r *reader) addPath(where string) error {
	info, err := os.Stat(where)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return r.addFolder(where)
	}
	text, err := labels.ReadFile(where, labels.MaxText)
	if err != nil {
		return err
	}
	for i, line := range labels.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := r.Add(line, where, i+1, filepath.Dir(where), r.o.Root.Dir); err != nil {
			return err
		}
	}
	return nil
}

// extensions are those that YOLO programs take for images. The ones that
// cannot be read here are reported when they are opened.
var extensions = []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"}

// addFolder adds all images below a folder, in the order of their names.
func (r *reader) addFolder(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !slices.Contains(extensions, strings.ToLower(filepath.Ext(p))) {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		return r.Add(rel, p, 0, dir)
	})
}

// Write writes a set below dir: images/<split>, labels/<split> and data.yaml.
func Write(dir, split string, s *labels.Set, o labels.WriteOptions) (notes []string, err error) {
	if err := checkOld(filepath.Join(dir, "data.yaml"), s.Names()); err != nil && !o.Force {
		return nil, err
	}
	names, err := labels.CopyImages(s, filepath.Join(dir, "images", split), split, o)
	if err != nil {
		return nil, err
	}
	left := 0
	for i, name := range names {
		text, n := yolotxt.Format(s.Sample(i))
		left += n
		file := filepath.Join(dir, "labels", split, filepath.FromSlash(yolotxt.Beside(name)))
		if err := o.WriteFile(file, []byte(text)); err != nil {
			return nil, err
		}
	}
	return labels.LeftOut(left), writeYAML(dir, s.Names())
}

// file is a data.yaml as it is written.
type file struct {
	Train string   `yaml:"train,omitempty"`
	Val   string   `yaml:"val,omitempty"`
	Test  string   `yaml:"test,omitempty"`
	NC    int      `yaml:"nc"`
	Names []string `yaml:"names"`
}

// checkOld refuses to replace a data.yaml that has other classes or was not
// written here.
func checkOld(path string, names []string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old file
	if err := yaml.Unmarshal(text, &old); err != nil || !slices.Equal(old.Names, names) {
		return fmt.Errorf("%s: is there and has other class names; a folder holds splits of one set: give another folder", path)
	}
	if again, err := yaml.Marshal(old); err != nil || !bytes.Equal(again, text) {
		return fmt.Errorf("%s: exists and was not written here; give another folder", path)
	}
	return nil
}

// writeYAML names all splits that are there.
func writeYAML(dir string, names []string) error {
	f := file{NC: len(names), Names: names}
	for split, path := range map[string]*string{"train": &f.Train, "val": &f.Val, "test": &f.Test} {
		if _, err := os.Stat(filepath.Join(dir, "images", split)); err == nil {
			*path = "images/" + split
		}
	}
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	return labels.Replace(filepath.Join(dir, "data.yaml"), text)
}
