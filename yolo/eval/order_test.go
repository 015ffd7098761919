package eval

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Long lists are sorted otherwise than short ones; both must be stable.
func TestFalling(t *testing.T) {
	some := rapid.OneOf(
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, .5, .25, 5e-324, -5e-324, math.MaxFloat64, -math.MaxFloat64}),
		rapid.Float64Range(0, 1),
		rapid.Float64Range(-1e300, 1e300),
	)
	s := &sorter{}
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(some, 0, 3*smallSort).Draw(t, "scores")
		want := make([]int32, len(scores))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortStableFunc(want, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
		if got := s.falling(scores); !slices.Equal(got, want) {
			t.Errorf("order %v of %v, want %v", got, scores, want)
		}
	})
}
