package loss

import (
	"fmt"
	"math"
	"slices"

	"yoloprune/datasets"
)

// naive7 is YOLOv7's loss written straight from its formulas, in float64: every
// slot against every truth. The first evaluation notes the positives, every α
// and the objectness targets; later ones hold them fixed, as the gradient does.
type naive7 struct {
	naive
	slots  [][]naiveSlot // per head
	alphas []float64
	target []map[naiveSlot]float64 // per head, truth left 0
}

// naiveSlot is a slot and the truth that it is trained to.
type naiveSlot struct{ image, row, col, anchor, truth int }

// newNaive7 takes complete options.
func newNaive7(heads []Head, netW, netH float64, o Options, truths [][]datasets.Truth) *naive7 {
	return &naive7{naive: naive{heads: heads, netW: netW, netH: netH, o: o, truths: truths}}
}

func (n *naive7) values(raw []float64, h Head, s naiveSlot) []float64 {
	per := h.Yolo.PerAnchor()
	at := (((s.image*h.Shape.H+s.row)*h.Shape.W+s.col)*len(h.Yolo.Mask) + s.anchor) * per
	return raw[at : at+per]
}

func (n *naive7) box(raw []float64, h Head, s naiveSlot) corners {
	return n.decode(h, n.values(raw, h, s), s.row, s.col, s.anchor)
}

// near7 says whether a truth at g cells is assigned to cell c of n: its own cell
// and those whose nearer edge is less than the reach away.
func near7(g float64, c, n int, reach float64) bool {
	own := math.Min(math.Floor(g), float64(n-1))
	switch float64(c) {
	case own:
		return true
	case own - 1:
		return g-own < reach && g > 1
	case own + 1:
		return own+1-g < reach
	}
	return false
}

// proposed are the slots that a truth's shape and centre propose.
func (n *naive7) proposed(h Head, image, truth int, t datasets.Truth) (out []naiveSlot) {
	y, gx, gy := h.Yolo, t.X*float64(h.Shape.W), t.Y*float64(h.Shape.H)
	reach := math.Min(.5, (y.ScaleXY-1)/2)
	for row := range h.Shape.H {
		for col := range h.Shape.W {
			ownRow, ownCol := row == min(int(gy), h.Shape.H-1), col == min(int(gx), h.Shape.W-1)
			inside := near7(gx, col, h.Shape.W, reach) && near7(gy, row, h.Shape.H, reach)
			for a, m := range y.Mask {
				w, hh := t.W*n.netW/y.Anchors[m][0], t.H*n.netH/y.Anchors[m][1]
				fits := w < n.o.AnchorRatio && 1/w < n.o.AnchorRatio && hh < n.o.AnchorRatio && 1/hh < n.o.AnchorRatio
				if fits && inside && (ownRow || ownCol) {
					out = append(out, naiveSlot{image, row, col, a, truth})
				}
			}
		}
	}
	return out
}

// assign lists every head's positives.
func (n *naive7) assign(raws [][]float64) [][]naiveSlot {
	out := make([][]naiveSlot, len(n.heads))
	for image, truths := range n.truths {
		lists := make([][]naiveSlot, len(n.heads))
		for i, h := range n.heads {
			for k, t := range truths {
				lists[i] = append(lists[i], n.proposed(h, image, k, t)...)
			}
		}
		if n.o.Kind == KindYOLOv7OTA {
			lists = n.ota(raws, lists, truths)
		}
		for i := range lists {
			out[i] = append(out[i], lists[i]...)
		}
	}
	return out
}

// ota keeps the slots that optimal transport gives to a truth of their image.
func (n *naive7) ota(raws [][]float64, proposed [][]naiveSlot, truths []datasets.Truth) [][]naiveSlot {
	type pick struct {
		head int
		slot naiveSlot
		iou  []float64 // with every truth
		cost []float64
		by   []int // the truths that claim it
	}
	var picks []*pick
	for i, list := range proposed {
		seen := map[naiveSlot]bool{}
		for _, s := range list {
			if s.truth = 0; seen[s] {
				continue
			}
			seen[s] = true
			p := &pick{head: i, slot: s}
			for _, t := range truths {
				iou := naiveIoU(n.box(raws[i], n.heads[i], s), n.truthBox(t))
				p.iou = append(p.iou, iou)
				p.cost = append(p.cost, n.classCost(raws[i], n.heads[i], s, t.Class)-3*math.Log(iou+1e-8))
			}
			picks = append(picks, p)
		}
	}
	for t := range truths {
		slices.SortStableFunc(picks, func(a, b *pick) int { return -compare(a.iou[t], b.iou[t]) })
		sum := 0.0
		for _, p := range picks[:min(10, len(picks))] {
			sum += p.iou[t]
		}
		slices.SortStableFunc(picks, func(a, b *pick) int { return compare(a.cost[t], b.cost[t]) })
		for _, p := range picks[:min(max(1, int(sum)), len(picks))] {
			p.by = append(p.by, t)
		}
	}
	out := make([][]naiveSlot, len(n.heads))
	for _, p := range picks {
		if len(p.by) == 0 {
			continue
		}
		p.slot.truth = p.by[0]
		if len(p.by) > 1 {
			p.slot.truth = slices.Index(p.cost, slices.Min(p.cost))
		}
		out[p.head] = append(out[p.head], p.slot)
	}
	return out
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (n *naive7) classCost(raw []float64, h Head, s naiveSlot, class int) (sum float64) {
	v := n.values(raw, h, s)
	for c := range h.Yolo.Classes {
		p, o := v[5+c], v[4]
		if !h.Yolo.NewCoords {
			p, o = sigmoid(p), sigmoid(o)
		}
		if y := math.Sqrt(p * o); c == class {
			sum -= math.Log(y)
		} else {
			sum -= math.Log(1 - y)
		}
	}
	return sum
}

// ciou has boxes in cells.
func (n *naive7) ciou(p, g corners, strideX, strideY float64, k int) float64 {
	const eps = 1e-7
	for _, c := range []*corners{&p, &g} {
		c[0], c[2], c[1], c[3] = c[0]/strideX, c[2]/strideX, c[1]/strideY, c[3]/strideY
	}
	iw := math.Max(0, math.Min(p[2], g[2])-math.Max(p[0], g[0]))
	ih := math.Max(0, math.Min(p[3], g[3])-math.Max(p[1], g[1]))
	cw, ch := math.Max(p[2], g[2])-math.Min(p[0], g[0]), math.Max(p[3], g[3])-math.Min(p[1], g[1])
	h1, h2 := p.h()+eps, g.h()+eps
	iou := iw * ih / (p.w()*h1 + g.w()*h2 - iw*ih + eps)
	dx, dy := (p[0]+p[2]-g[0]-g[2])/2, (p[1]+p[3]-g[1]-g[3])/2
	v := 4 / (math.Pi * math.Pi) * math.Pow(math.Atan(g.w()/h2)-math.Atan(p.w()/h1), 2)
	if !n.frozen {
		n.alphas = append(n.alphas, v/(v-iou+1+eps))
	}
	return iou - (dx*dx+dy*dy)/(cw*cw+ch*ch+eps) - n.alphas[k]*v
}

func (n *naive7) eval(raws [][]float64) (p Parts) {
	if !n.frozen {
		n.slots = n.assign(raws)
	}
	k := 0
	for i, h := range n.heads {
		if !n.frozen {
			n.target = append(n.target, map[naiveSlot]float64{})
		}
		strideX, strideY := n.netW/float64(h.Shape.W), n.netH/float64(h.Shape.H)
		box, class := 0., 0.
		for _, s := range n.slots[i] {
			t := n.truths[s.image][s.truth]
			iou := n.ciou(n.box(raws[i], h, s), n.truthBox(t), strideX, strideY, k)
			k++
			box += 1 - iou
			class += n.classes(n.values(raws[i], h, s), h, t.Class)
			if s.truth = 0; !n.frozen {
				n.target[i][s] = math.Max(n.target[i][s], iou)
			}
		}
		if m := float64(len(n.slots[i])); m > 0 {
			p.Box += box / m
			p.Class += class / m / float64(h.Yolo.Classes)
		}
		p.Obj += n.balance(i) * n.objectness(raws[i], h, n.target[i])
		p.Positives += len(n.slots[i])
	}
	n.frozen = true
	images, levels := float64(len(n.truths)), float64(len(n.heads))
	p.Box *= images * n.o.Box * 3 / levels
	p.Obj *= images * n.o.Obj * 3 / levels * n.netW * n.netH / 640 / 640
	p.Class *= images * n.o.Class * 3 / levels * float64(n.heads[0].Yolo.Classes) / 80
	p.Total = p.Box + p.Obj + p.Class
	return p
}

// balance counts the heads with a smaller stride.
func (n *naive7) balance(i int) float64 {
	level := 0
	for _, h := range n.heads {
		if h.Shape.W > n.heads[i].Shape.W {
			level++
		}
	}
	return []float64{4, 1, .25}[level]
}

func (n *naive7) classes(v []float64, h Head, class int) (sum float64) {
	for c := range h.Yolo.Classes {
		y := n.o.LabelSmooth / 2
		if c == class {
			y = 1 - n.o.LabelSmooth/2
		}
		sum += n.entropy(h, v[5+c], y)
	}
	return sum
}

func (n *naive7) objectness(raw []float64, h Head, target map[naiveSlot]float64) (mean float64) {
	slots := 0
	for image := range n.truths {
		for row := range h.Shape.H {
			for col := range h.Shape.W {
				for a := range h.Yolo.Mask {
					s := naiveSlot{image, row, col, a, 0}
					mean += n.entropy(h, n.values(raw, h, s)[4], target[s])
					slots++
				}
			}
		}
	}
	return mean / float64(slots)
}

// list shows the positives as "head image row col anchor truth", in order; a
// truth is counted inside its image.
func (n *naive7) list() []string {
	var out []string
	for i, list := range n.slots {
		for _, s := range list {
			out = append(out, fmt.Sprint(i, s.image, s.row, s.col, s.anchor, s.truth))
		}
	}
	slices.Sort(out)
	return out
}
