// Package formats opens and writes data sets in any of the label formats, by
// name.
package formats

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"yoloprune/datasets/coco"
	"yoloprune/datasets/darknet"
	"yoloprune/datasets/labels"
	"yoloprune/datasets/voc"
	"yoloprune/datasets/yolo"
)

// Names are the formats.
var Names = []string{"coco", "darknet", "voc", "yolo"}

// Splits are the parts of a set.
var Splits = []string{"train", "val", "test"}

// Options say where a set's files are. Paths are relative to the working
// directory and, where nothing is there, to Root.
type Options struct {
	Format string // one of Names
	Root   string // the folder that all images lie in

	// Annotations is the file or folder that holds the labels or leads to them:
	//
	//	coco     the JSON file; by default annotations/<Split>.json
	//	darknet  the list of images or the .data file; by default the root's only .data file
	//	voc      the list of images or the folder of XML files; by default ImageSets/Main/<Split>.txt
	//	yolo     data.yaml, which is the default
	Annotations string

	Images       string   // coco, voc: the folder of the images; by default images or JPEGImages in the root
	Split        string   // one of Splits; empty: train
	Names        []string // the class names; nil: those of the set
	AllowOutside bool     // accept images outside of the root
}

// Open reads a set and applies the policy of package labels.
func Open(o Options, build labels.Options) (*labels.Set, error) {
	f, err := Read(o)
	if err != nil {
		return nil, err
	}
	build.Names = o.Names
	return labels.Build(f, build)
}

// Read reads a set's labels.
func Read(o Options) (*labels.File, error) {
	if o.Split == "" {
		o.Split = "train"
	}
	switch {
	case !slices.Contains(Splits, o.Split):
		return nil, fmt.Errorf("split %q: use %s", o.Split, strings.Join(Splits, ", "))
	case o.Root == "":
		return nil, errors.New("the data root is empty; give the folder of the set")
	}
	if info, err := os.Stat(o.Root); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: is no folder; expected the folder of the set", o.Root)
	}
	o.Annotations, o.Images = o.under(o.Annotations), o.under(o.Images)
	root := labels.Root{Dir: o.Root, AllowOutside: o.AllowOutside}
	switch o.Format {
	case "coco":
		return o.coco(root)
	case "darknet":
		return darknet.Read(darknet.Options{Root: root, List: o.Annotations, Split: o.Split, Names: o.Names})
	case "voc":
		return o.voc(root)
	case "yolo":
		return yolo.Read(yolo.Options{Root: root, YAML: o.Annotations, Split: o.Split, Names: o.Names})
	}
	return nil, fmt.Errorf("format %q: use %s", o.Format, strings.Join(Names, ", "))
}

// under looks a path up in the working directory, then in the root.
func (o Options) under(p string) string {
	if p == "" || filepath.IsAbs(p) || exists(p) || !exists(filepath.Join(o.Root, p)) {
		return p
	}
	return filepath.Join(o.Root, p)
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// coco's own folder is where file_name is looked up, and what it must not leave.
func (o Options) coco(root labels.Root) (*labels.File, error) {
	if o.Annotations == "" {
		o.Annotations = filepath.Join(o.Root, "annotations", o.Split+".json")
	}
	switch images := filepath.Join(o.Root, "images"); {
	case o.Images != "":
		root.Dir = o.Images
	case exists(images):
		root.Dir = images
	}
	return coco.Read(o.Annotations, root)
}

func (o Options) voc(root labels.Root) (*labels.File, error) {
	v := voc.Options{Root: root, Images: o.Images, Split: o.Split, Names: o.Names}
	if info, err := os.Stat(o.Annotations); err == nil && info.IsDir() {
		v.Annotations = o.Annotations
	} else {
		v.List = o.Annotations
	}
	return voc.Read(v)
}

// Write writes a set below dir in a format. Other splits that are there stay.
// notes tell what the format cannot hold.
func Write(format, dir, split string, s *labels.Set, o labels.WriteOptions) (notes []string, err error) {
	if !slices.Contains(Splits, split) {
		return nil, fmt.Errorf("split %q: use %s", split, strings.Join(Splits, ", "))
	}
	switch format {
	case "coco":
		return coco.Write(dir, split, s, o)
	case "darknet":
		return darknet.Write(dir, split, s, o)
	case "voc":
		return voc.Write(dir, split, s, o)
	case "yolo":
		return yolo.Write(dir, split, s, o)
	}
	return nil, fmt.Errorf("format %q: use %s", format, strings.Join(Names, ", "))
}
