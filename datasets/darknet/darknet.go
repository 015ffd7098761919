// Package darknet reads and writes Darknet's data sets: obj.data, which names
// the other files, a names file, lists of images and a label file for each
// image (package yolotxt).
//
// https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects
//
// Darknet looks paths up in its working directory; here that is the data root,
// and where there is no such file the folder of the list. Darknet replaces only
// certain folders by labels (images/train2017, JPEGImages) and looks beside the
// image otherwise; here any folder images is tried first, then beside.
package darknet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"yoloprune/datasets/labels"
	"yoloprune/datasets/yolotxt"
)

// Options say where the set's files are.
type Options struct {
	Root  labels.Root
	List  string   // a list of images, or a .data file; empty: the root's only .data file
	Split string   // of a .data file: train or val
	Names []string // the classes; nil: the names file of the .data file, for a list that of the root's only one
}

// Read reads a data set. Its images are not opened.
func Read(o Options) (*labels.File, error) {
	list, names := o.List, o.Names
	if list == "" {
		var err error
		if list, err = onlyData(o.Root.Dir); err != nil {
			return nil, err
		}
	}
	if strings.EqualFold(filepath.Ext(list), ".data") {
		var err error
		if list, names, err = readData(list, o); err != nil {
			return nil, err
		}
	}
	if names == nil {
		names = namesBeside(o)
	}
	if names == nil {
		return nil, fmt.Errorf("%s: the class names are not known; give a names file, or the .data file instead of the list", list)
	}
	text, err := labels.ReadFile(list, labels.MaxText)
	if err != nil {
		return nil, err
	}
	return readList(list, text, names, o.Root)
}

// namesBeside returns the names that the root's only .data file leads to, nil
// where there are none.
func namesBeside(o Options) []string {
	data, err := onlyData(o.Root.Dir)
	if err != nil {
		return nil
	}
	text, err := labels.ReadFile(data, labels.MaxText)
	if err != nil {
		return nil
	}
	keys, err := parseData(data, text)
	if err != nil {
		return nil
	}
	names, err := readNames(data, keys, o.Root)
	if err != nil {
		return nil
	}
	return names
}

func readList(list string, text []byte, names []string, root labels.Root) (*labels.File, error) {
	f := &labels.File{Name: list, Classes: labels.NewClasses(names, 0)}
	r := yolotxt.Reader{File: f, Root: root, Rules: yolotxt.Rules{Classes: len(names), Beside: true}}
	for i, line := range labels.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := r.Add(line, list, i+1, root.Dir, filepath.Dir(list)); err != nil {
			return nil, err
		}
	}
	if len(f.Images) == 0 && len(f.Faults) == 0 {
		return nil, &labels.FormatError{File: list, Msg: "the list is empty; expected one image path a line"}
	}
	return f, nil
}

func onlyData(root string) (string, error) {
	all, err := filepath.Glob(filepath.Join(globQuote(root), "*.data"))
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", fmt.Errorf("%s: found %d .data files; expected one; say which list or .data file to read", root, len(all))
	}
	return all[0], nil
}

// globQuote takes the meaning from the signs of a pattern.
func globQuote(p string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(p)
}

// value is one of a .data file.
type value struct {
	text string
	line int
}

// parseData reads the key=value lines of a .data file. Darknet removes all
// whitespace; here only that around keys and values, so that names may have
// spaces.
func parseData(name string, text []byte) (map[string]value, error) {
	out := map[string]value{}
	for i, line := range labels.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, v, ok := strings.Cut(line, "=")
		if !ok {
			return nil, &labels.FormatError{File: name, Line: i + 1, Msg: fmt.Sprintf("found %.40q; expected key = value", line)}
		}
		key = strings.TrimSpace(key)
		if first, twice := out[key]; twice {
			return nil, &labels.FormatError{File: name, Line: i + 1, Msg: fmt.Sprintf("the key %q stands on line %d, too; remove one of the two", key, first.line)}
		}
		out[key] = value{strings.TrimSpace(v), i + 1}
	}
	return out, nil
}

// readData returns the list and the names that a .data file leads to.
func readData(path string, o Options) (list string, names []string, err error) {
	text, err := labels.ReadFile(path, labels.MaxText)
	if err != nil {
		return "", nil, err
	}
	keys, err := parseData(path, text)
	if err != nil {
		return "", nil, err
	}
	key := o.Split
	if key == "val" {
		key = "valid"
	}
	if list, err = follow(path, keys, key, o.Root); err != nil {
		return "", nil, err
	}
	if names = o.Names; names != nil {
		return list, names, nil
	}
	names, err = readNames(path, keys, o.Root)
	return list, names, err
}

// readNames reads the names file of a .data file.
func readNames(path string, keys map[string]value, root labels.Root) ([]string, error) {
	file, err := follow(path, keys, "names", root)
	if err != nil {
		return nil, err
	}
	names, err := labels.ReadNames(file)
	if err != nil {
		return nil, err
	}
	return names, checkCount(path, keys, file, names)
}

func checkCount(path string, keys map[string]value, file string, names []string) error {
	v, ok := keys["classes"]
	if !ok {
		return nil
	}
	if n, err := strconv.Atoi(v.text); err != nil || n != len(names) {
		return &labels.FormatError{File: path, Line: v.line, Msg: fmt.Sprintf("classes = %s, but %s has %d names; correct one of the two", v.text, file, len(names))}
	}
	return nil
}

// follow returns the file that a key names.
func follow(path string, keys map[string]value, key string, root labels.Root) (string, error) {
	v, ok := keys[key]
	if !ok || v.text == "" {
		return "", &labels.FormatError{File: path, Msg: fmt.Sprintf("the key %q is missing; expected %s = FILE", key, key)}
	}
	where, _, err := root.Find(v.text, root.Dir, filepath.Dir(path))
	if err != nil {
		return "", &labels.FormatError{File: path, Line: v.line, Msg: fmt.Sprintf("%s: %v", key, err), Kind: labels.OutsideRoot}
	}
	if _, err := os.Stat(where); err != nil {
		return "", &labels.FormatError{File: path, Line: v.line, Msg: fmt.Sprintf("%s: no such file: %s", key, where)}
	}
	return where, nil
}

// Write writes a set below dir: the images and their labels side by side in
// obj/, which every Darknet finds, <split>.txt, obj.names and obj.data with
// paths as seen from dir.
func Write(dir, split string, s *labels.Set, o labels.WriteOptions) (notes []string, err error) {
	names, err := labels.CopyImages(s, filepath.Join(dir, "obj"), split, o)
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	left := 0
	for i, name := range names {
		text, n := yolotxt.Format(s.Sample(i))
		left += n
		file := filepath.Join(dir, "obj", filepath.FromSlash(yolotxt.Beside(name)))
		if err := o.WriteFile(file, []byte(text)); err != nil {
			return nil, err
		}
		fmt.Fprintf(&list, "obj/%s\n", name)
	}
	if err := o.WriteFile(filepath.Join(dir, split+".txt"), []byte(list.String())); err != nil {
		return nil, err
	}
	return labels.LeftOut(left), writeData(dir, s.Names(), o)
}

// writeData writes obj.names and obj.data for all splits that are there.
func writeData(dir string, names []string, o labels.WriteOptions) error {
	if err := labels.WriteNames(filepath.Join(dir, "obj.names"), names); err != nil {
		return err
	}
	file := filepath.Join(dir, "obj.data")
	first, last := fmt.Sprintf("classes = %d\n", len(names)), "names = obj.names\nbackup = backup\n"
	if old, err := os.ReadFile(file); err == nil && !o.Force && !(strings.HasPrefix(string(old), first) && strings.HasSuffix(string(old), last)) {
		return fmt.Errorf("%s: exists and was not written here; give another folder", file)
	}
	text := first
	for _, split := range []string{"train", "val", "test"} {
		if _, err := os.Stat(filepath.Join(dir, split+".txt")); err != nil {
			continue
		}
		key := split
		if split == "val" {
			key = "valid"
		}
		text += fmt.Sprintf("%s = %s.txt\n", key, split)
	}
	return labels.Replace(file, []byte(text+last))
}
