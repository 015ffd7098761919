package eval

import (
	"cmp"
	"fmt"
	"slices"
)

// Confusion counts what truths of each category were taken for. Counts has a row
// for the category of the truth and a column for that of the detection; the last
// row is background that was taken for something, the last column truths that
// were not found. Categories stand by rising id.
type Confusion struct {
	Score      float64    // of detections above it
	IoU        float64    // of pairs above it
	Categories []Category // without the background
	Counts     [][]int
}

// Confuse pairs detections with truths of any category, image by image, the
// greatest IoU first, each once. Truths that need not be found (crowds, and VOC's
// difficult ones) have no row; a detection on one of its own category that found
// no other truth is left out. The error is that of Measure.
func Confuse(gt *GroundTruth, dets []Detection, score, iou float64) (*Confusion, error) {
	if !(iou >= 0 && iou < 1) {
		return nil, fmt.Errorf("IoU threshold %g: must be in [0, 1)", iou)
	}
	c, err := checkedCells(gt, dets)
	if err != nil {
		return nil, err
	}
	out := &Confusion{Score: score, IoU: iou, Categories: c.categories, Counts: make([][]int, len(c.categories)+1)}
	for k := range out.Counts {
		out.Counts[k] = make([]int, len(out.Counts))
	}
	for _, image := range c.byImage(score) {
		out.add(&image)
	}
	return out, nil
}

// scene is an image with all its truths and detections.
type scene struct {
	truths          []truth
	dets            []det
	truthOf, seenAs []int // their categories' positions
}

// byImage regroups the cells, without detections of too low a score.
func (c *cells) byImage(score float64) []scene {
	scenes := make([]scene, c.images)
	for k := range c.categories {
		for _, g := range c.truthsOf(k) {
			s := &scenes[g.image]
			s.truths, s.truthOf = append(s.truths, g), append(s.truthOf, k)
		}
		for _, d := range c.detsOf(k) {
			if d.score > score {
				s := &scenes[d.image]
				s.dets, s.seenAs = append(s.dets, d), append(s.seenAs, k)
			}
		}
	}
	return scenes
}

// pair is a detection and a truth that overlap.
type pair struct {
	iou  float64
	d, g int
}

func (c *Confusion) add(s *scene) {
	background := len(c.Categories)
	found, used := make([]bool, len(s.truths)), make([]bool, len(s.dets))
	for _, p := range s.pairs(c.IoU) {
		if !found[p.g] && !used[p.d] {
			found[p.g], used[p.d] = true, true
			c.Counts[s.truthOf[p.g]][s.seenAs[p.d]]++
		}
	}
	for g := range s.truths {
		if s.truths[g].toFind() && !found[g] {
			c.Counts[s.truthOf[g]][background]++
		}
	}
	for d := range s.dets {
		if !used[d] && !s.excused(d, c.IoU) {
			c.Counts[background][s.seenAs[d]]++
		}
	}
}

// pairs lists what overlaps, by falling IoU, then falling score, then the order
// of the file.
func (s *scene) pairs(over float64) []pair {
	var out []pair
	for d := range s.dets {
		for g := range s.truths {
			if iou := overlap(&s.dets[d].box, &s.truths[g].box, false); s.truths[g].toFind() && iou > over {
				out = append(out, pair{iou, d, g})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b pair) int {
		x, y := &s.dets[a.d], &s.dets[b.d]
		return cmp.Or(cmp.Compare(b.iou, a.iou), cmp.Compare(y.score, x.score), cmp.Compare(x.place, y.place))
	})
	return out
}

// excused says whether a detection lies on a truth of its category that need not
// be found.
func (s *scene) excused(d int, over float64) bool {
	for g := range s.truths {
		t := &s.truths[g]
		if !t.toFind() && s.truthOf[g] == s.seenAs[d] && overlap(&s.dets[d].box, &t.box, t.crowd) > over {
			return true
		}
	}
	return false
}

// Background is the label of the last row and column.
const Background = "background"

// Labels names the rows and columns.
func (c *Confusion) Labels() []string {
	var names []string
	for _, k := range c.Categories {
		names = append(names, k.Name)
	}
	return append(names, Background)
}
