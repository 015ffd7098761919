package eval

import (
	"cmp"
	"math"
	"slices"
)

// sorter orders scores; its buffers are used again.
type sorter struct {
	order, spare []int32
	keys         []uint64
}

// smallSort is the length up to which comparing is quicker than counting.
const smallSort = 128

// falling returns the positions of the scores by falling score, equal ones as
// they stand. The scores are finite. The result holds until the next call.
//
// Long lists take a radix sort, least significant digit first, whose time is
// linear.
func (s *sorter) falling(scores []float64) []int32 {
	s.order = s.order[:0]
	for i := range scores {
		s.order = append(s.order, int32(i))
	}
	if len(scores) <= smallSort {
		slices.SortStableFunc(s.order, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
		return s.order
	}
	s.keys = s.keys[:0]
	for _, v := range scores {
		s.keys = append(s.keys, fallingKey(v))
	}
	s.spare = slices.Grow(s.spare[:0], len(scores))[:len(scores)]
	for shift := 0; shift < 64; shift += digitBits {
		s.pass(shift)
	}
	return s.order
}

// fallingKey maps scores to integers that rise as the scores fall; both zeros
// to one.
func fallingKey(v float64) uint64 {
	b := math.Float64bits(v + 0)
	if b>>63 == 1 {
		return b
	}
	return ^b &^ (1 << 63)
}

const (
	digitBits = 11
	digits    = 1 << digitBits
)

// pass sorts by one digit, unless all have the same.
func (s *sorter) pass(shift int) {
	var next [digits]int32
	for _, k := range s.keys {
		next[k>>shift%digits]++
	}
	if next[s.keys[0]>>shift%digits] == int32(len(s.keys)) {
		return
	}
	at := int32(0)
	for d, n := range next {
		next[d] = at
		at += n
	}
	for _, i := range s.order {
		d := s.keys[i] >> shift % digits
		s.spare[next[d]] = i
		next[d]++
	}
	s.order, s.spare = s.spare, s.order
}
