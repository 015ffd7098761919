package eval

// matches is the outcome of matching for one category: its detections, those
// over the largest limit left out, by falling score; equal scores keep the
// order of image and file.
type matches struct {
	dets      []scored
	positives [numArea]int // truths that are to be found
}

// scored is a detection with its fate.
type scored struct {
	score float64
	rank  int32 // place in its image and category, from 0
	fates [numArea]fate
}

// fate is what became of a detection within a range of area; bit t stands for
// IoU threshold t. Matched and not ignored is right, neither is wrong, and an
// ignored one counts for nothing.
type fate struct{ matched, ignored uint16 }

// matcher matches a category image by image; its buffers are used again and
// again.
type matcher struct {
	p *params
	sorter

	scores []float64 // what is to be sorted
	best   []int32   // the image's detections by falling score
	iou    []float64 // D x G: in that order, and the truths as they stand
	regard []int     // the order in which truths are tried
	ignore []bool    // by truth: outside the range of area, or a crowd
	taken  []bool    // by truth
	all    []scored  // the category's detections by image
}

// category matches all of a category's truths and detections, both sorted by
// image.
func (m *matcher) category(truths []truth, dets []det) *matches {
	out := &matches{}
	m.all = m.all[:0]
	for len(truths) > 0 || len(dets) > 0 {
		g, d := imageOf(truths, dets)
		m.image(out, truths[:g], dets[:d])
		truths, dets = truths[g:], dets[d:]
	}
	m.scores = m.scores[:0]
	for i := range m.all {
		m.scores = append(m.scores, m.all[i].score)
	}
	out.dets = make([]scored, len(m.all))
	for i, from := range m.falling(m.scores) {
		out.dets[i] = m.all[from]
	}
	return out
}

func (m *matcher) image(out *matches, truths []truth, dets []det) {
	m.rank(dets)
	m.overlaps(truths, dets)
	first := len(m.all)
	for rank, d := range m.best {
		m.all = append(m.all, scored{score: dets[d].score, rank: int32(rank)})
	}
	for a, area := range m.p.areas {
		if len(truths) > 0 {
			out.positives[a] += m.consider(truths, area)
			for t := range m.p.ious {
				m.match(m.all[first:], a, t, truths)
			}
		}
		m.ignoreOutside(m.all[first:], a, dets)
	}
}

// rank orders an image's detections by falling score and keeps the first ones.
func (m *matcher) rank(dets []det) {
	m.scores = m.scores[:0]
	for d := range dets {
		m.scores = append(m.scores, dets[d].score)
	}
	order := m.falling(m.scores)
	m.best = append(m.best[:0], order[:min(len(order), m.p.maxDets[numMax-1])]...)
}

func (m *matcher) overlaps(truths []truth, dets []det) {
	m.iou = m.iou[:0]
	for _, d := range m.best {
		for g := range truths {
			m.iou = append(m.iou, overlap(&dets[d].box, &truths[g].box, truths[g].crowd))
		}
	}
}

// overlap is the IoU of a detection d and a truth g; for a crowd it is the part
// of the detection that lies inside:
//
//	I/(|d|+|g|-I)   or   I/|d|
//
// Every product is rounded before it is used, as in pycocotools' C code.
func overlap(d, g *[4]float64, crowd bool) float64 {
	w := min(d[0]+d[2], g[0]+g[2]) - max(d[0], g[0])
	if w <= 0 {
		return 0
	}
	h := min(d[1]+d[3], g[1]+g[3]) - max(d[1], g[1])
	if h <= 0 {
		return 0
	}
	inter := w * h
	union := d[2] * d[3]
	if !crowd {
		areaG := g[2] * g[3]
		union = union + areaG - inter
	}
	if !(union > 0) {
		return 0
	}
	return inter / union
}

// consider decides which truths are ignored within a range of area, puts them
// behind the others, and returns how many others there are.
func (m *matcher) consider(truths []truth, area [2]float64) int {
	m.regard, m.ignore = m.regard[:0], m.ignore[:0]
	for g := range truths {
		ignore := truths[g].crowd || outside(truths[g].area, area)
		m.ignore = append(m.ignore, ignore)
		if !ignore {
			m.regard = append(m.regard, g)
		}
	}
	n := len(m.regard)
	for g, ignore := range m.ignore {
		if ignore {
			m.regard = append(m.regard, g)
		}
	}
	return n
}

func outside(v float64, r [2]float64) bool { return v < r[0] || v > r[1] }

// match gives every detection, best score first, the truth that it overlaps
// most among those still free. With the fault of annotation 0 that one is taken
// and the detection stays without a match all the same.
func (m *matcher) match(dets []scored, a, t int, truths []truth) {
	m.taken = append(m.taken[:0], make([]bool, len(truths))...)
	for i := range dets {
		row := m.iou[i*len(truths) : (i+1)*len(truths)]
		g := m.bestTruth(row, m.p.ious[t], truths)
		if g < 0 {
			continue
		}
		m.taken[g] = true
		f := &dets[i].fates[a]
		if !(truths[g].zero && m.p.loseZero) {
			f.matched |= 1 << t
		}
		if m.ignore[g] {
			f.ignored |= 1 << t
		}
	}
}

// bestTruth returns the truth with the highest IoU of at least limit, or -1. Of
// equal ones the last wins. An ignored truth is taken only when no other
// matches, and a crowd any number of times.
func (m *matcher) bestTruth(iou []float64, limit float64, truths []truth) int {
	found := -1
	for _, g := range m.regard {
		if m.taken[g] && !truths[g].crowd {
			continue
		}
		if found >= 0 && !m.ignore[found] && m.ignore[g] {
			break
		}
		if iou[g] >= limit {
			limit, found = iou[g], g
		}
	}
	return found
}

// ignoreOutside ignores unmatched detections whose own box lies outside the
// range of area.
func (m *matcher) ignoreOutside(dets []scored, a int, boxes []det) {
	for i := range dets {
		box := &boxes[m.best[i]].box
		if outside(box[2]*box[3], m.p.areas[a]) {
			f := &dets[i].fates[a]
			f.ignored |= ^f.matched
		}
	}
}
