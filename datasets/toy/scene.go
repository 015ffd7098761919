package toy

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"

	"yoloprune/datasets"

	"gocv.io/x/gocv"
)

const (
	emptyShare = 0.06 // share of images without an object
	minVisible = 0.5  // of a shape's area, after overlaps and the image's edge
	maxIoU     = 0.4  // between two boxes, well below what non-maximum suppression removes
	minStep    = 70   // of one colour channel, between a shape and what is behind it
	tries      = 40   // for a place, before a scene is left with fewer objects
)

// scene is a picture under construction, super-sampled. Shapes are painted in
// order, so a later one hides an earlier one.
type scene struct {
	o      Options
	rng    *rand.Rand
	canvas gocv.Mat
	owner  gocv.Mat // for every pixel, 1 + the index of the shape seen there
	shapes []shape
	boxes  []datasets.Box
}

// draw makes one picture, which the caller closes, and its boxes.
func draw(rng *rand.Rand, o Options) (gocv.Mat, []datasets.Box, error) {
	large := image.Pt(o.Width*super, o.Height*super)
	s := &scene{o: o, rng: rng, canvas: gocv.NewMat()}
	defer s.canvas.Close()
	s.owner = gocv.NewMatWithSizeFromScalar(gocv.NewScalar(0, 0, 0, 0), large.Y, large.X, gocv.MatTypeCV8UC1)
	defer func() { s.owner.Close() }()
	back := gocv.NewMatWithSize(o.Height, o.Width, gocv.MatTypeCV8UC3)
	defer back.Close()
	pixels, err := back.DataPtrUint8()
	if err != nil {
		return gocv.Mat{}, nil, err
	}
	copy(pixels, background(rng, o.Width, o.Height))
	gocv.Resize(back, &s.canvas, large, 0, 0, gocv.InterpolationLinear)
	if rng.Float64() >= emptyShare {
		for range o.MinObjects + rng.IntN(o.MaxObjects-o.MinObjects+1) {
			if err := s.add(); err != nil {
				return gocv.Mat{}, nil, err
			}
		}
	}
	out := gocv.NewMat()
	gocv.Resize(s.canvas, &out, image.Pt(o.Width, o.Height), 0, 0, gocv.InterpolationArea)
	return out, s.boxes, nil
}

// add finds a place for one more shape and paints it; a full scene stays as it is.
func (s *scene) add() error {
	class := s.rng.IntN(len(Names))
	for range tries {
		size := s.o.MinSize * math.Pow(s.o.MaxSize/s.o.MinSize, s.rng.Float64())
		x := between(s.rng, 0.35*size, float64(s.o.Width)-0.35*size)
		y := between(s.rng, 0.35*size, float64(s.o.Height)-0.35*size)
		p := newShape(s.rng, class, x, y, size)
		ok, err := s.place(p)
		if err != nil {
			return err
		}
		if ok {
			return s.paint(p)
		}
	}
	return nil
}

func between(rng *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }

// place adds the shape if that leaves every shape visible enough and its box
// apart from the others.
func (s *scene) place(p shape) (bool, error) {
	trial := s.owner.Clone()
	shapes := append(s.shapes[:len(s.shapes):len(s.shapes)], p)
	fill(&trial, p.outline, color.RGBA{B: uint8(len(shapes))})
	seen, extent, err := survey(trial, len(shapes))
	box := toBox(p.class, extent)
	if err != nil || !visible(shapes, seen) || !apart(s.boxes, box) {
		trial.Close()
		return false, err
	}
	s.owner.Close()
	s.owner, s.shapes, s.boxes = trial, shapes, append(s.boxes, box)
	return true, nil
}

// survey counts the pixels that each of n shapes owns and returns the extent
// of the last, which nothing hides yet.
func survey(owner gocv.Mat, n int) (seen []int, last image.Rectangle, err error) {
	data, err := owner.DataPtrUint8()
	if err != nil {
		return nil, last, err
	}
	var all [256]int
	width := owner.Cols()
	for y := range owner.Rows() {
		left, right := width, -1
		for x, v := range data[y*width : (y+1)*width] {
			if all[v]++; int(v) == n {
				left, right = min(left, x), x
			}
		}
		if right >= 0 {
			last = last.Union(image.Rect(left, y, right+1, y+1))
		}
	}
	return all[1 : n+1], last, nil
}

func visible(shapes []shape, seen []int) bool {
	for i, p := range shapes {
		if float64(seen[i]) < minVisible*p.area {
			return false
		}
	}
	return true
}

func apart(boxes []datasets.Box, box datasets.Box) bool {
	for _, b := range boxes {
		if iou(b, box) > maxIoU {
			return false
		}
	}
	return true
}

// paint fills the shape in a random colour that stands out, with an edge that
// is darker or lighter.
func (s *scene) paint(p shape) error {
	behind, err := s.mean(p)
	if err != nil {
		return err
	}
	c := colour(s.rng)
	for step(c, behind) < minStep {
		c = colour(s.rng)
	}
	edge, shade := c, between(s.rng, 0.4, 0.8)
	light := s.rng.Float64() < 0.5
	for i := range edge {
		if edge[i] *= shade; light {
			edge[i] = 255 - shade*(255-c[i])
		}
	}
	fill(&s.canvas, p.outline, rgba(edge))
	fill(&s.canvas, p.inside, rgba(c))
	return nil
}

// mean is the canvas's mean colour where the shape will be seen.
func (s *scene) mean(p shape) (c [3]float64, err error) {
	owner, err := s.owner.DataPtrUint8()
	if err != nil {
		return c, err
	}
	pixels, err := s.canvas.DataPtrUint8()
	if err != nil {
		return c, err
	}
	n := 0.0
	for i, v := range owner {
		if int(v) != len(s.shapes) {
			continue
		}
		n++
		for k := range c {
			c[k] += float64(pixels[3*i+k])
		}
	}
	for k := range c {
		c[k] /= max(n, 1)
	}
	return c, nil
}

func step(a, b [3]float64) float64 {
	return max(math.Abs(a[0]-b[0]), math.Abs(a[1]-b[1]), math.Abs(a[2]-b[2]))
}

func rgba(c [3]float64) color.RGBA {
	return color.RGBA{B: uint8(c[0]), G: uint8(c[1]), R: uint8(c[2]), A: 255}
}

func fill(img *gocv.Mat, outline []image.Point, c color.RGBA) {
	p := gocv.NewPointsVectorFromPoints([][]image.Point{outline})
	defer p.Close()
	gocv.FillPoly(img, p, c)
}
