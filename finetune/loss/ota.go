package loss

import (
	"cmp"
	"math"
	"slices"
)

// matcher picks YOLOv7's positives by their cost, image by image. The
// candidates are the slots that any truth of the image is assigned to by
// assignCells, on all heads. With G truths, N candidates, IoU plain and p, o the
// probabilities of class and objectness:
//
//	k_g     = max(1, trunc(Σ of the 10 largest IoU_gn over n))
//	cost_gn = Σ_classes BCE(√(p_c·o), [c is g's class]) − 3·ln(IoU_gn + 1e−8)
//
// Every truth claims its k_g cheapest candidates; one that several claim goes to
// the truth with the least cost for it, of all truths. It is SimOTA of YOLOX (Ge
// et al. 2021, arXiv:2107.08430, section 2.3) without its centre prior;
// utils/loss.py, ComputeLossOTA.build_targets. Equal costs go to the lower slot
// and the earlier truth. PyTorch lists a slot once for every truth that
// proposes it and may so train it twice; here, as in YOLOX, it is listed once.
type matcher struct {
	candidates []candidate // of the batch, by image, head and slot
	first      []int       // index of every image's first candidate, and their number at the end

	iou, cost []float64 // G x N of one image
	sorted    []float64 // N
	order     []int     // N
	claims    []claim   // N
}

type candidate struct {
	head int
	assignment
}

// claim counts the truths that claim a candidate; by is the last.
type claim struct{ count, by int }

const (
	maxTop    = 10
	iouWeight = 3
	iouFloor  = 1e-8
)

// collect turns the heads' positives into the list of candidates.
func (m *matcher) collect(l *network) {
	for i := range l.heads {
		h := &l.heads[i]
		clear(h.state)
		for _, s := range h.positives {
			h.state[s.slot] = positive
		}
	}
	m.candidates, m.first = m.candidates[:0], m.first[:0]
	for image := range l.images {
		m.first = append(m.first, len(m.candidates))
		for i := range l.heads {
			m.collectHead(&l.heads[i], i, image)
		}
	}
	m.first = append(m.first, len(m.candidates))
}

func (m *matcher) collectHead(h *head, index, image int) {
	n := h.slotsPerImage()
	for slot := image * n; slot < (image+1)*n; slot++ {
		if h.state[slot] == positive {
			at := h.position(index, slot*h.per)
			m.candidates = append(m.candidates, candidate{index, assignment{slot, at.Row, at.Col, at.Anchor, 0}})
		}
	}
}

// match sets the heads' positives for these predictions.
func (m *matcher) match(l *network, outs [][]float32) {
	for i := range l.heads {
		l.heads[i].positives = l.heads[i].positives[:0]
	}
	for image := range l.images {
		truths, first := l.truthsOf(image)
		list := m.candidates[m.first[image]:m.first[image+1]]
		if len(list) == 0 {
			continue
		}
		m.fill(l, outs, list, truths)
		m.claim(len(truths), len(list))
		for n, c := range list {
			if m.claims[n].count > 0 {
				c.truth = first + m.owner(n, len(truths), len(list))
				l.heads[c.head].positives = append(l.heads[c.head].positives, c.assignment)
			}
		}
	}
}

// fill computes IoU and cost of every truth and candidate.
func (m *matcher) fill(l *network, outs [][]float32, list []candidate, truths []truth) {
	n := len(list)
	m.iou, m.cost = resize(m.iou, len(truths)*n), resize(m.cost, len(truths)*n)
	for i, c := range list {
		h := &l.heads[c.head]
		at := c.slot * h.per
		p := h.decode(h.boxValues(outs[c.head], c.slot), c.row, c.col, c.anchor)
		values := outs[c.head][at+4 : at+h.per]
		none := h.noClassCost(values)
		for g, t := range truths {
			o := overlap(p, t.box)
			m.iou[g*n+i] = o.ratio()
			m.cost[g*n+i] = none + h.classCost(values, t.class) - iouWeight*math.Log(o.ratio()+iouFloor)
		}
	}
}

// score is √(p_c·o), of values objectness and classes.
func (h *head) score(values []float32, class int) float64 {
	return math.Sqrt(h.probability(values[0]) * h.probability(values[1+class]))
}

// noClassCost is Σ_classes BCE(√(p_c·o), 0).
func (h *head) noClassCost(values []float32) (sum float64) {
	for c := range h.yolo.Classes {
		value, _ := bceProbability(h.score(values, c), 0)
		sum += value
	}
	return sum
}

// classCost is what BCE(√(p·o), 1) costs more than BCE(√(p·o), 0).
func (h *head) classCost(values []float32, class int) float64 {
	one, _ := bceProbability(h.score(values, class), 1)
	zero, _ := bceProbability(h.score(values, class), 0)
	return one - zero
}

// claim lets every truth claim its cheapest candidates.
func (m *matcher) claim(truths, n int) {
	m.claims, m.order = resize(m.claims, n), resize(m.order, n)
	clear(m.claims)
	for g := range truths {
		k, cost := m.dynamicK(m.iou[g*n:(g+1)*n]), m.cost[g*n:(g+1)*n]
		for i := range m.order {
			m.order[i] = i
		}
		slices.SortFunc(m.order, func(a, b int) int {
			return cmp.Or(cmp.Compare(cost[a], cost[b]), cmp.Compare(a, b))
		})
		for _, i := range m.order[:k] {
			m.claims[i] = claim{m.claims[i].count + 1, g}
		}
	}
}

// dynamicK is the number of candidates that a truth claims. An IoU is at most
// 1, so it is never more than there are.
func (m *matcher) dynamicK(iou []float64) int {
	m.sorted = resize(m.sorted, len(iou))
	copy(m.sorted, iou)
	slices.Sort(m.sorted)
	sum := 0.0
	for _, v := range m.sorted[max(len(iou)-maxTop, 0):] {
		sum += v
	}
	return min(max(int(sum), 1), len(iou))
}

// owner is the truth that candidate i goes to.
func (m *matcher) owner(i, truths, n int) int {
	if m.claims[i].count == 1 {
		return m.claims[i].by
	}
	best := 0
	for g := range truths {
		if m.cost[g*n+i] < m.cost[best*n+i] {
			best = g
		}
	}
	return best
}

// resize returns a slice of n values that reuses s.
func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
