package plan

import "slices"

// move changes what one slot keeps.
type move struct {
	slot, to int
	value    float64 // mean score of the channels that come or go
	fraction float64 // of the slot's channels that are kept before
}

// adjust takes the least valuable steps, one at a time, until the target is
// met. A step that would overshoot the tolerance is passed over; when only
// such steps are left, finish decides.
func (s *solver) adjust(c *choice) {
	for s.ratio(c.n) < s.o.Target.Ratio {
		best, found := move{}, false
		for _, m := range s.moves(c, -1) {
			if s.after(c, m) <= s.o.Target.Ratio+Tolerance && (!found || m.before(best)) {
				best, found = m, true
			}
		}
		if !found {
			s.finish(c)
			return
		}
		c.n[best.slot] = best.to
		s.settle(c.n)
	}
}

// before orders moves: the lower value, then the slot that keeps more, so that
// equal scores are cut evenly; then the order of the layers.
func (m move) before(o move) bool {
	if m.value != o.value {
		return m.value < o.value
	}
	return m.fraction > o.fraction
}

// moves lists each slot's next step down (dir -1) or up (dir 1).
func (s *solver) moves(c *choice, dir int) []move {
	var out []move
	for i, sl := range s.slots {
		for at, n := range sl.counts {
			if next := at + dir; n == c.n[i] && next >= 0 && next < len(sl.counts) {
				to := sl.counts[next]
				out = append(out, move{i, to, s.value(c, i, min(n, to), max(n, to)), float64(n) / float64(sl.size())})
			}
		}
	}
	return out
}

// value returns the mean score of the channels ranked from..to-1 in the parts.
func (s *solver) value(c *choice, slot, from, to int) float64 {
	total := 0.0
	for _, part := range c.order[slot] {
		for _, ch := range part[from:to] {
			total += c.scores[s.slots[slot].group][ch]
		}
	}
	return total / float64((to-from)*len(c.order[slot]))
}

// after returns the ratio removed after the moves.
func (s *solver) after(c *choice, moves ...move) float64 {
	n := slices.Clone(c.n)
	for _, m := range moves {
		n[m.slot] = m.to
	}
	s.settle(n)
	return s.ratio(n)
}

// finish is for when every step down goes too far: it takes one and, where
// that helps, gives another slot a step back. Among the pairs within the
// tolerance the one that loses the least value wins; else the one that
// overshoots the least.
func (s *solver) finish(c *choice) {
	type option struct {
		moves       []move
		over, value float64
	}
	var best *option
	consider := func(value float64, moves ...move) {
		o := option{moves, max(0, s.after(c, moves...)-s.o.Target.Ratio-Tolerance), value}
		if s.after(c, moves...) < s.o.Target.Ratio {
			return
		}
		if best == nil || o.over < best.over || o.over == best.over && o.value < best.value {
			best = &o
		}
	}
	ups := s.moves(c, 1)
	for _, down := range s.moves(c, -1) {
		consider(down.value, down)
		for _, up := range ups {
			if up.slot != down.slot {
				consider(down.value-up.value, down, up)
			}
		}
	}
	for _, m := range best.moves {
		c.n[m.slot] = m.to
	}
	s.settle(c.n)
}
