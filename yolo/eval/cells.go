package eval

import (
	"cmp"
	"slices"
)

// truth and det are what matching needs, with the image as its position among
// the sorted image ids.
type truth struct {
	box   [4]float64
	area  float64
	image int
	crowd bool
}

type det struct {
	box   [4]float64
	score float64
	image int
}

// cells holds truths and detections sorted by category and then image, both by
// rising id; inside such a cell they keep their order. Category k's truths are
// truths[truthEnd[k-1]:truthEnd[k]].
type cells struct {
	categories []Category
	truths     []truth
	dets       []det
	truthEnd   []int
	detEnd     []int
}

func newCells(gt *GroundTruth, dets []Detection) *cells {
	c := &cells{categories: slices.Clone(gt.Categories)}
	slices.SortFunc(c.categories, func(a, b Category) int { return cmp.Compare(a.ID, b.ID) })
	ids := make([]int64, len(c.categories))
	for i, k := range c.categories {
		ids[i] = k.ID
	}
	categories := ranks(ids)
	images := ranks(slices.Sorted(slices.Values(gt.Images)))
	c.addTruths(gt.Truths, categories, images)
	c.addDets(dets, categories, images)
	return c
}

// ranks maps every id to its position.
func ranks(ids []int64) map[int64]int {
	r := make(map[int64]int, len(ids))
	for i, id := range ids {
		r[id] = i
	}
	return r
}

func (c *cells) addTruths(ts []Truth, categories, images map[int64]int) {
	category, image := make([]int, len(ts)), make([]int, len(ts))
	for i := range ts {
		category[i], image[i] = categories[ts[i].Category], images[ts[i].Image]
	}
	order, end := sortByCell(category, image, len(categories), len(images))
	c.truths, c.truthEnd = make([]truth, len(ts)), end
	for i, from := range order {
		t := &ts[from]
		c.truths[i] = truth{t.Box, t.Area, image[from], t.Crowd}
	}
}

func (c *cells) addDets(ds []Detection, categories, images map[int64]int) {
	category, image := make([]int, len(ds)), make([]int, len(ds))
	for i := range ds {
		category[i], image[i] = categories[ds[i].Category], images[ds[i].Image]
	}
	order, end := sortByCell(category, image, len(categories), len(images))
	c.dets, c.detEnd = make([]det, len(ds)), end
	for i, from := range order {
		c.dets[i] = det{ds[from].Box, ds[from].Score, image[from]}
	}
}

// sortByCell returns the items' order by category and image, equal ones as they
// stood, and where each category ends. Two counting sorts, the less important
// key first, take linear time.
func sortByCell(category, image []int, categories, images int) (order, end []int) {
	order = make([]int, len(category))
	for i := range order {
		order[i] = i
	}
	order, _ = countingSort(order, image, images)
	return countingSort(order, category, categories)
}

// countingSort sorts items by key[item] in 0..n-1, keeping the order of equal
// keys, and returns where each key's items end.
func countingSort(items, key []int, n int) (sorted, end []int) {
	end = make([]int, n)
	for _, i := range items {
		end[key[i]]++
	}
	for k := 1; k < n; k++ {
		end[k] += end[k-1]
	}
	sorted = make([]int, len(items))
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
