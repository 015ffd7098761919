// Package toy draws a small detection data set: circles, squares and triangles
// of random colour, size and turn on textured backgrounds, some of them partly
// hidden. Colour tells nothing about the class. Boxes are those of the drawn
// outlines, the hidden part included, cut at the image's edge.
//
// The same options give the same bytes on the same OpenCV version.
package toy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"yoloprune/datasets"

	"github.com/google/renameio/v2"
	"gocv.io/x/gocv"
)

// Options describe the data set; a zero takes the default.
type Options struct {
	Images        int // in all three splits together: default 520, which is 400 + 80 + 40
	Seed          uint64
	Width, Height int // of each image: default 160

	// Objects an image, drawn evenly from this range, default 1 to 5. A few
	// images hold none, and crowded ones fewer than drawn.
	MinObjects, MaxObjects int

	// MinSize and MaxSize bound the larger side of an object in pixels: default
	// a tenth and a half of the smaller image side.
	MinSize, MaxSize float64
}

// Splits are the names of the annotation files, in order.
var Splits = []string{"train", "val", "test"}

// Split says how many of n images go to train, val and test: 10 : 2 : 1.
func Split(n int) [3]int {
	test := max(1, n/13)
	val := max(1, 2*n/13)
	return [3]int{n - val - test, val, test}
}

const (
	maxImages  = 1_000_000
	maxSide    = 1024
	maxObjects = 200
)

func (o Options) withDefaults() Options {
	side := float64(min(orInt(o.Width, 160), orInt(o.Height, 160)))
	return Options{
		Images:     orInt(o.Images, 520),
		Seed:       o.Seed,
		Width:      orInt(o.Width, 160),
		Height:     orInt(o.Height, 160),
		MinObjects: orInt(o.MinObjects, 1),
		MaxObjects: orInt(o.MaxObjects, max(5, o.MinObjects)),
		MinSize:    orFloat(o.MinSize, side/10),
		MaxSize:    orFloat(o.MaxSize, max(side/2, o.MinSize)),
	}
}

func orInt(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

func orFloat(v, def float64) float64 {
	if v == 0 {
		return def
	}
	return v
}

func (o Options) check() error {
	switch {
	case o.Images < 3 || o.Images > maxImages:
		return fmt.Errorf("toy: %d images; expected 3 to %d, at least one for each of train, val and test", o.Images, maxImages)
	case o.Width < 16 || o.Height < 16 || o.Width > maxSide || o.Height > maxSide:
		return fmt.Errorf("toy: an image size of %dx%d; expected sides of 16 to %d", o.Width, o.Height, maxSide)
	case o.MinObjects < 1 || o.MaxObjects < o.MinObjects || o.MaxObjects > maxObjects:
		return fmt.Errorf("toy: %d to %d objects an image; expected a range within 1 to %d", o.MinObjects, o.MaxObjects, maxObjects)
	case !(o.MinSize >= 4 && o.MaxSize >= o.MinSize && o.MaxSize <= float64(min(o.Width, o.Height))):
		return fmt.Errorf("toy: objects of %g to %g pixels; expected a range within 4 to %d, the smaller side of the image", o.MinSize, o.MaxSize, min(o.Width, o.Height))
	}
	return nil
}

// description marks an annotation file as made here.
const description = "drawn circles, squares and triangles (yoloprune toy data)"

type (
	info struct {
		Description string `json:"description"`
		Seed        uint64 `json:"seed"`
	}
	imageEntry struct {
		ID       int64  `json:"id"`
		FileName string `json:"file_name"`
		Width    int    `json:"width"`
		Height   int    `json:"height"`
	}
	annotation struct {
		ID       int64      `json:"id"`
		Image    int64      `json:"image_id"`
		Category int64      `json:"category_id"`
		Box      [4]float64 `json:"bbox"`
		Area     float64    `json:"area"`
		Crowd    int        `json:"iscrowd"`
	}
	category struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	document struct {
		Info        info         `json:"info"`
		Images      []imageEntry `json:"images"`
		Annotations []annotation `json:"annotations"`
		Categories  []category   `json:"categories"`
	}
)

// Write draws the set into dir: images/*.png and annotations/train.json,
// val.json and test.json in COCO's format. Image and annotation ids are unique
// over the three. A set drawn earlier is drawn over; annotations that come from
// elsewhere are not.
func Write(dir string, o Options) error {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return err
	}
	if err := checkFolder(dir); err != nil {
		return err
	}
	for _, sub := range []string{"images", "annotations"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			return err
		}
	}
	w := writer{dir: dir, o: o}
	for i, n := range Split(o.Images) {
		if err := w.split(Splits[i], n); err != nil {
			return err
		}
	}
	return nil
}

func checkFolder(dir string) error {
	for _, s := range Splits {
		path := annotationFile(dir, s)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var d struct {
			Info info `json:"info"`
		}
		if json.Unmarshal(data, &d) != nil || d.Info.Description != description {
			return fmt.Errorf("%s: there is a data set already, and it is no toy set; give another folder", path)
		}
	}
	return nil
}

func annotationFile(dir, split string) string {
	return filepath.Join(dir, "annotations", split+".json")
}

// writer numbers images and annotations across the splits.
type writer struct {
	dir        string
	o          Options
	image, ann int64
}

func (w *writer) split(name string, n int) error {
	d := document{Info: info{description, w.o.Seed}, Annotations: []annotation{}}
	for c, name := range Names {
		d.Categories = append(d.Categories, category{int64(c + 1), name})
	}
	for i := range n {
		if err := w.scene(&d, fmt.Sprintf("%s_%05d.png", name, i)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return renameio.WriteFile(annotationFile(w.dir, name), append(text, '\n'), 0o666)
}

func (w *writer) scene(d *document, file string) error {
	w.image++
	rng := rand.New(rand.NewPCG(w.o.Seed, uint64(w.image)))
	img, boxes, err := draw(rng, w.o)
	if err != nil {
		return err
	}
	defer img.Close()
	d.Images = append(d.Images, imageEntry{w.image, file, w.o.Width, w.o.Height})
	for _, b := range boxes {
		w.ann++
		d.Annotations = append(d.Annotations, w.annotation(b))
	}
	return writePNG(filepath.Join(w.dir, "images", file), img)
}

func (w *writer) annotation(b datasets.Box) annotation {
	return annotation{
		ID:       w.ann,
		Image:    w.image,
		Category: int64(b.Class + 1),
		Box:      [4]float64{b.X, b.Y, b.W, b.H},
		Area:     b.Area,
	}
}

func writePNG(path string, img gocv.Mat) error {
	data, err := encodePNG(img)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return renameio.WriteFile(path, data, 0o666)
}

func encodePNG(img gocv.Mat) ([]byte, error) {
	b, err := gocv.IMEncode(gocv.PNGFileExt, img)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return bytes.Clone(b.GetBytes()), nil
}
