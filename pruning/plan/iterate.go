package plan

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"yoloprune/pruning/importance"
)

// iteration is the state of the strategy iterative: after every step only what
// the step has changed is counted, scored and queued again.
type iteration struct {
	*solver
	c       *choice
	left    load
	live    importance.Live
	touches [][]int // by slot: the units that its channels belong to
	link    [][]int // by slot: the slots that are cut with it
	version []int   // by slot: of the queued step that counts
	queue   steps
}

// step takes channels out of a slot, and of those linked to it.
type step struct {
	slot    int
	moves   []move
	rate    float64 // score lost for what is saved
	version int
}

// steps is a heap, the least rate first, then the first slot.
type steps []step

func (q steps) Len() int      { return len(q) }
func (q steps) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q steps) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].rate, q[j].rate), q[i].slot-q[j].slot) < 0
}

// Push implements heap.Interface.
func (q *steps) Push(x any) { *q = append(*q, x.(step)) }

// Pop implements heap.Interface.
func (q *steps) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// iterate takes the cheapest step that does not overshoot, until the target is
// met or only steps that go too far are left.
func (s *solver) iterate() *choice {
	it := s.newIteration()
	for i := range s.slots {
		it.push(i)
	}
	for len(it.queue) > 0 && it.removed(it.left) < s.o.Target.Ratio {
		st := heap.Pop(&it.queue).(step)
		if st.version != it.version[st.slot] {
			continue
		}
		if after := it.left.minus(it.saved(st.moves)); it.removed(after) > s.o.Target.Ratio+Tolerance {
			continue
		}
		it.take(st)
	}
	return it.c
}

func (s *solver) newIteration() *iteration {
	c := s.newChoice()
	c.scores, c.order = slices.Clone(s.static.scores), slices.Clone(s.static.order)
	it := &iteration{
		solver: s, c: c, left: s.full, live: importance.Live{},
		touches: make([][]int, len(s.slots)), link: make([][]int, len(s.slots)), version: make([]int, len(s.slots)),
	}
	for u := range s.units {
		for _, t := range append(slices.Clone(s.in[u]), s.out[u]...) {
			if list := it.touches[t.slot]; len(list) == 0 || list[len(list)-1] != u {
				it.touches[t.slot] = append(list, u)
			}
		}
	}
	for _, set := range s.linked {
		for _, i := range set {
			it.link[i] = set
		}
	}
	return it
}

func (it *iteration) removed(l load) float64 { return l.ratios(it.full).Of(it.o.Target.Quantity) }

// push queues a slot's next step, if it has one.
func (it *iteration) push(slot int) {
	it.version[slot]++
	moves := it.next(slot)
	if moves == nil {
		return
	}
	score := 0.0
	for _, m := range moves {
		n := it.c.n[m.slot]
		score += it.value(it.c, m.slot, m.to, n) * float64((n-m.to)*len(it.slots[m.slot].parts))
	}
	q := it.o.Target.Quantity
	saved := it.saved(moves)
	if gain := it.full.of(q) - it.full.minus(saved).of(q); gain > 0 {
		heap.Push(&it.queue, step{slot, moves, score / gain * it.full.of(q), it.version[slot]})
	}
}

// next lists what a slot's next step takes along.
func (it *iteration) next(slot int) []move {
	counts := it.slots[slot].counts
	at, _ := slices.BinarySearch(counts, it.c.n[slot])
	if at == 0 {
		return nil
	}
	moves := []move{{slot: slot, to: counts[at-1]}}
	for _, i := range it.link[slot] {
		sl := it.slots[i]
		if i != slot && it.c.n[i] == sl.size() && sl.size()%it.step(i, it.o.Align) != 0 {
			moves = append(moves, move{slot: i, to: sl.counts[len(sl.counts)-2]})
		}
	}
	return moves
}

// saved counts what moves save.
func (it *iteration) saved(moves []move) load {
	units := it.around(moves)
	before := it.sum(units)
	was := make([]int, len(moves))
	for i, m := range moves {
		was[i], it.c.n[m.slot] = it.c.n[m.slot], m.to
	}
	after := it.sum(units)
	for i, m := range moves {
		it.c.n[m.slot] = was[i]
	}
	return before.minus(after)
}

// around lists the units that moves change, each once.
func (it *iteration) around(moves []move) []int {
	if len(moves) == 1 {
		return it.touches[moves[0].slot]
	}
	var units []int
	for _, m := range moves {
		units = append(units, it.touches[m.slot]...)
	}
	slices.Sort(units)
	return slices.Compact(units)
}

func (it *iteration) sum(units []int) (l load) {
	for _, u := range units {
		l = l.plus(it.unit(u, it.c.n))
	}
	return l
}

// take makes a step, scores again the groups of the layers that read what is
// gone, and queues again every slot whose score or saving has changed.
func (it *iteration) take(st step) {
	it.left = it.left.minus(it.saved(st.moves))
	again, rescore := map[int]bool{}, map[int]bool{}
	for _, m := range st.moves {
		it.c.n[m.slot] = m.to
		again[m.slot] = true
	}
	for _, u := range it.around(st.moves) {
		for _, t := range append(slices.Clone(it.in[u]), it.out[u]...) {
			again[t.slot] = true
		}
		for _, t := range it.out[u] {
			rescore[it.slots[t.slot].group] = true
		}
	}
	for _, m := range st.moves {
		i := it.slots[m.slot].group
		it.live.Cut(it.g, it.groups[i], it.mask(it.c, i))
	}
	for _, i := range slices.Sorted(maps.Keys(rescore)) {
		if it.whole[i] == "" {
			it.rerank(i)
			for _, slot := range it.slotsOf[i] {
				again[slot] = true
			}
		}
	}
	for _, slot := range slices.Sorted(maps.Keys(again)) {
		it.push(slot)
	}
}

// rerank scores a group again. Channels that are gone stay behind those that
// are left.
func (it *iteration) rerank(group int) {
	raw, _ := it.crit.Score(it.groups[group], it.live)
	scores := importance.Normalizations[it.o.Normalize](raw)
	it.c.scores[group] = scores
	for _, i := range it.slotsOf[group] {
		parts := slices.Clone(it.c.order[i])
		for p := range parts {
			parts[p] = slices.Clone(parts[p])
			slices.SortStableFunc(parts[p][:it.c.n[i]], func(a, b int) int {
				return cmp.Or(cmp.Compare(scores[b], scores[a]), a-b)
			})
		}
		it.c.order[i] = parts
	}
}
