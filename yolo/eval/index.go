package eval

// index maps ids to positions: by a table where they lie close together, which
// costs one access, by a map otherwise.
type index struct {
	base  int64
	table []int32 // position+1, 0 for none
	far   map[int64]int32
}

// maxTable is the largest table.
const maxTable = 1 << 22

// newIndex numbers n ids in their order, and returns the position of the first
// repeated one, or -1.
func newIndex(n int, id func(int) int64) (x *index, again int) {
	x = &index{}
	if n == 0 {
		return x, -1
	}
	low, high := id(0), id(0)
	for i := range n {
		low, high = min(low, id(i)), max(high, id(i))
	}
	x.base = low
	if span := uint64(high) - uint64(low); span < maxTable {
		x.table = make([]int32, span+1)
	} else {
		x.far = make(map[int64]int32, n)
	}
	for i := range n {
		if _, seen := x.find(id(i)); seen {
			return x, i
		}
		x.set(id(i), int32(i))
	}
	return x, -1
}

func (x *index) set(id int64, position int32) {
	if x.table != nil {
		x.table[uint64(id)-uint64(x.base)] = position + 1
		return
	}
	x.far[id] = position
}

// find returns an id's position, and whether it has one.
func (x *index) find(id int64) (int32, bool) {
	if x.table == nil {
		p, ok := x.far[id]
		return p, ok
	}
	i := uint64(id) - uint64(x.base)
	if i >= uint64(len(x.table)) {
		return 0, false
	}
	return x.table[i] - 1, x.table[i] > 0
}

func (x *index) has(id int64) bool {
	_, ok := x.find(id)
	return ok
}
