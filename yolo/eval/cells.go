package eval

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// truth and det are what matching needs, with the image as its position among
// the sorted image ids.
type truth struct {
	box       [4]float64
	area      float64
	image     int32
	crowd     bool
	difficult bool
	zero      bool // its id is 0
}

type det struct {
	box   [4]float64
	score float64
	image int32
	place int32 // in the caller's list
}

// cells holds truths and detections sorted by category and then image, both by
// rising id; inside such a cell they keep their order. Category k's truths are
// truths[truthEnd[k-1]:truthEnd[k]].
type cells struct {
	categories []Category
	images     int
	truths     []truth
	dets       []det
	truthEnd   []int
	detEnd     []int
}

func newCells(gt *GroundTruth, dets []Detection) *cells {
	c := &cells{categories: slices.Clone(gt.Categories), images: len(gt.Images)}
	slices.SortFunc(c.categories, func(a, b Category) int { return cmp.Compare(a.ID, b.ID) })
	categories, _ := newIndex(len(c.categories), func(i int) int64 { return c.categories[i].ID })
	sorted := slices.Sorted(slices.Values(gt.Images))
	images, _ := newIndex(len(sorted), func(i int) int64 { return sorted[i] })
	c.addTruths(gt.Truths, categories, images)
	c.addDets(dets, categories, images)
	return c
}

func (c *cells) addTruths(ts []Truth, categories, images *index) {
	category, image := make([]int32, len(ts)), make([]int32, len(ts))
	for i := range ts {
		category[i], _ = categories.find(ts[i].Category)
		image[i], _ = images.find(ts[i].Image)
	}
	order, end := sortByCell(category, image, len(c.categories), c.images)
	c.truths, c.truthEnd = make([]truth, len(ts)), end
	for i, from := range order {
		t := &ts[from]
		c.truths[i] = truth{t.Box, t.Area, image[from], t.Crowd, t.Difficult, t.ID == 0}
	}
}

func (c *cells) addDets(ds []Detection, categories, images *index) {
	category, image := make([]int32, len(ds)), make([]int32, len(ds))
	for i := range ds {
		category[i], _ = categories.find(ds[i].Category)
		image[i], _ = images.find(ds[i].Image)
	}
	order, end := sortByCell(category, image, len(c.categories), c.images)
	c.dets, c.detEnd = make([]det, len(ds)), end
	for i, from := range order {
		c.dets[i] = det{ds[from].Box, ds[from].Score, image[from], from}
	}
}

// sortByCell returns the items' order by category and image, equal ones as they
// stood, and where each category ends. Two counting sorts, the less important
// key first, take linear time.
func sortByCell(category, image []int32, categories, images int) (order []int32, end []int) {
	order = make([]int32, len(category))
	for i := range order {
		order[i] = int32(i)
	}
	order, _ = countingSort(order, image, images)
	return countingSort(order, category, categories)
}

// countingSort sorts items by key[item] in 0..n-1, keeping the order of equal
// keys, and returns where each key's items end.
func countingSort(items, key []int32, n int) (sorted []int32, end []int) {
	end = make([]int, n)
	for _, i := range items {
		end[key[i]]++
	}
	for k := 1; k < n; k++ {
		end[k] += end[k-1]
	}
	sorted = make([]int32, len(items))
	next := slices.Clone(end)
	for _, i := range slices.Backward(items) {
		next[key[i]]--
		sorted[next[key[i]]] = i
	}
	return sorted, end
}

func (c *cells) truthsOf(k int) []truth { return section(c.truths, c.truthEnd, k) }

func (c *cells) detsOf(k int) []det { return section(c.dets, c.detEnd, k) }

func section[T any](s []T, end []int, k int) []T {
	if k == 0 {
		return s[:end[0]]
	}
	return s[end[k-1]:end[k]]
}

// eachClass runs a worker's function for every category, the one with the most
// detections first, on all cores. What a call does must depend on its category
// alone.
func (c *cells) eachClass(worker func() func(k int)) {
	order := make([]int, len(c.categories))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(c.detsOf(b)) - len(c.detsOf(a)) })
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(order)) {
		all.Go(func() {
			do := worker()
			for i := next.Add(1) - 1; i < int64(len(order)); i = next.Add(1) - 1 {
				do(order[i])
			}
		})
	}
	all.Wait()
}

// imageOf cuts the first image's truths and detections off two lists sorted by
// image, of which one is not empty.
func imageOf(truths []truth, dets []det) (g, d int) {
	image := firstImage(truths, dets)
	for g < len(truths) && truths[g].image == image {
		g++
	}
	for d < len(dets) && dets[d].image == image {
		d++
	}
	return g, d
}

func firstImage(truths []truth, dets []det) int32 {
	if len(dets) == 0 {
		return truths[0].image
	}
	if len(truths) == 0 {
		return dets[0].image
	}
	return min(truths[0].image, dets[0].image)
}
