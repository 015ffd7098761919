package eval

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Tables and maps hold the same.
func TestIndex(t *testing.T) {
	edges := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, maxTable - 1, maxTable, math.MaxInt64 - 1, math.MaxInt64}
	id := rapid.OneOf(rapid.Int64Range(-20, 20), rapid.SampledFrom(edges))
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(id, 0, 30).Draw(t, "ids")
		want, repeated := map[int64]int32{}, -1
		for i, v := range ids {
			if _, seen := want[v]; seen {
				repeated = i
				break
			}
			want[v] = int32(i)
		}
		x, again := newIndex(len(ids), func(i int) int64 { return ids[i] })
		if again != repeated {
			t.Fatalf("the repeated one is %d, want %d", again, repeated)
		}
		for _, v := range append(ids, append(edges, -21, 21)...) {
			p, ok := x.find(v)
			if q, in := want[v]; ok != in || ok && p != q {
				t.Errorf("%d is at %d, %v; want %d, %v", v, p, ok, q, in)
			}
		}
	})
}
