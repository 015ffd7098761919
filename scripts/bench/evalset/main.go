// Evalset writes a made-up image set of the size of COCO val2017 for timing
// evaluators: annotations.json and detections.json. Its classes are as uneven as
// COCO's, and scores repeat, since they have five decimals. With --time it times
// our evaluator on such files and prints one JSON object, as coco_eval.py does.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"yoloprune/yolo/eval"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "evalset:", err)
		os.Exit(1)
	}
}

func run() error {
	s := val2017(1)
	out := flag.String("out", ".", "folder to write to")
	scale := flag.Int("scale", 1, "how many times the size of val2017")
	timed := flag.Bool("time", false, "time the evaluator on the files in the folder")
	flag.Uint64Var(&s.seed, "seed", s.seed, "seed of the random numbers")
	flag.Parse()
	if *timed {
		return timeFolder(*out)
	}
	if *scale < 1 {
		return fmt.Errorf("--scale %d: not a number from 1 on", *scale)
	}
	seed := s.seed
	s = val2017(*scale)
	s.seed = seed
	if err := os.MkdirAll(*out, 0o777); err != nil {
		return err
	}
	gt, dets := s.make()
	err := write(filepath.Join(*out, "annotations.json"), func(w io.Writer) error { return writeTruths(w, gt) })
	if err != nil {
		return err
	}
	return write(filepath.Join(*out, "detections.json"), func(w io.Writer) error { return eval.WriteDetections(w, dets) })
}

func write(path string, content func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o666))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := content(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// sizes say how large a set is.
type sizes struct {
	images, boxes, classes, perImage int
	seed                             uint64
}

// val2017 is as large as COCO's validation set, times scale, with 100 detections
// an image.
func val2017(scale int) sizes {
	return sizes{images: 5000 * scale, boxes: 36781 * scale, classes: 80, perImage: 100, seed: 1}
}

// maker draws the set.
type maker struct {
	sizes
	rng     *rand.Rand
	weights []float64 // summed up, of the classes
}

func (s sizes) make() (*eval.GroundTruth, []eval.Detection) {
	m := &maker{sizes: s, rng: rand.New(rand.NewPCG(s.seed, 0))}
	gt := &eval.GroundTruth{}
	sum := 0.0
	for k := range s.classes {
		gt.Categories = append(gt.Categories, eval.Category{ID: int64(k + 1), Name: fmt.Sprintf("class %d", k+1)})
		sum += 1 / float64(k+1)
		m.weights = append(m.weights, sum)
	}
	for i := range s.images {
		gt.Images = append(gt.Images, int64(100*i+7))
	}
	byImage := make([][]eval.Truth, s.images)
	for i := range s.boxes {
		image := m.rng.IntN(s.images)
		t := m.truth(int64(i+1), gt.Images[image])
		gt.Truths = append(gt.Truths, t)
		byImage[image] = append(byImage[image], t)
	}
	var dets []eval.Detection
	for i, id := range gt.Images {
		dets = append(dets, m.detections(id, byImage[i])...)
	}
	return gt, dets
}

// class draws a class from 1 on; the k-th is as frequent as 1/k.
func (m *maker) class() int64 {
	v := m.rng.Float64() * m.weights[len(m.weights)-1]
	for k, w := range m.weights {
		if v < w {
			return int64(k + 1)
		}
	}
	return int64(len(m.weights))
}

func (m *maker) box() [4]float64 {
	w, h := m.side(), m.side()
	return [4]float64{round(m.rng.Float64()*(640-w), 2), round(m.rng.Float64()*(480-h), 2), w, h}
}

// side draws a length from 8 to 400 pixels, evenly by its logarithm.
func (m *maker) side() float64 { return round(8*math.Pow(50, m.rng.Float64()), 2) }

func (m *maker) truth(id, image int64) eval.Truth {
	b := m.box()
	return eval.Truth{
		ID: id, Image: image, Category: m.class(), Box: b,
		Area: round(b[2]*b[3]*(.5+m.rng.Float64()/2), 4), Crowd: m.rng.IntN(80) == 0,
	}
}

// detections are up to two near every truth and the rest anywhere.
func (m *maker) detections(image int64, truths []eval.Truth) []eval.Detection {
	var dets []eval.Detection
	for _, t := range truths {
		for range m.rng.IntN(3) {
			dets = append(dets, eval.Detection{Image: image, Category: t.Category, Box: m.near(t.Box), Score: round(m.rng.Float64(), 5)})
		}
	}
	for len(dets) < m.perImage {
		dets = append(dets, eval.Detection{Image: image, Category: m.class(), Box: m.box(), Score: round(.5*m.rng.Float64()*m.rng.Float64(), 5)})
	}
	return dets[:m.perImage]
}

// near shifts a box by some percent of its size.
func (m *maker) near(b [4]float64) [4]float64 {
	return [4]float64{
		round(b[0]+.1*b[2]*m.rng.NormFloat64(), 3), round(b[1]+.1*b[3]*m.rng.NormFloat64(), 3),
		round(b[2]*math.Exp(.1*m.rng.NormFloat64()), 3), round(b[3]*math.Exp(.1*m.rng.NormFloat64()), 3),
	}
}

func round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}

// writeTruths writes a COCO annotation file.
func writeTruths(w io.Writer, gt *eval.GroundTruth) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, `{"images": [`)
	separator := ""
	for _, id := range gt.Images {
		fmt.Fprintf(b, "%s\n{\"id\": %d, \"file_name\": \"%012d.jpg\", \"width\": 640, \"height\": 480}", separator, id, id)
		separator = ","
	}
	categories, err := json.Marshal(named(gt.Categories))
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "],\n\"categories\": %s,\n\"annotations\": [", categories)
	separator = ""
	for _, t := range gt.Truths {
		crowd := 0
		if t.Crowd {
			crowd = 1
		}
		fmt.Fprintf(b, "%s\n{\"id\": %d, \"image_id\": %d, \"category_id\": %d, \"bbox\": [%g, %g, %g, %g], \"area\": %g, \"iscrowd\": %d}",
			separator, t.ID, t.Image, t.Category, t.Box[0], t.Box[1], t.Box[2], t.Box[3], t.Area, crowd)
		separator = ","
	}
	fmt.Fprint(b, "]}\n")
	return b.Flush()
}

func named(list []eval.Category) []map[string]any {
	var out []map[string]any
	for _, c := range list {
		out = append(out, map[string]any{"id": c.ID, "name": c.Name})
	}
	return out
}
