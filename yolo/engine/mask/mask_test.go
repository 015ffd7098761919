package mask

import (
	"math"
	"slices"
	"testing"
)

func draw(seed, node, iteration uint64, p float64) []float32 {
	dst := make([]float32, 20000)
	Keep(seed, node, iteration, p, dst)
	return dst
}

// TestKeep: p of the values are zero, the others 1/(1-p). With 20000 draws the
// standard deviation of the fraction is below 0.0036.
func TestKeep(t *testing.T) {
	for _, p := range []float64{0, .2, .5, .9} {
		zeros := 0
		for _, v := range draw(1, 2, 3, p) {
			switch v {
			case 0:
				zeros++
			case float32(1 / (1 - p)):
			default:
				t.Fatalf("p %v: factor %v", p, v)
			}
		}
		if f := float64(zeros) / 20000; math.Abs(f-p) > .015 {
			t.Errorf("p %v: %v are dropped", p, f)
		}
	}
}

// TestMasksDiffer: the masks of neighbouring seeds, nodes and iterations agree
// where chance has it, in half of the values at p = 1/2. The standard deviation
// of that half is 0.0036.
func TestMasksDiffer(t *testing.T) {
	first := draw(1, 2, 3, .5)
	if !slices.Equal(first, draw(1, 2, 3, .5)) {
		t.Error("the same seed, node and iteration give two masks")
	}
	for _, other := range [][3]uint64{{2, 2, 3}, {1, 3, 3}, {1, 2, 4}, {0, 2, 3}, {2, 1, 3}, {1, 3, 2}, {1, 2, 3 + 1<<32}} {
		agree := 0
		for i, v := range draw(other[0], other[1], other[2], .5) {
			if v == first[i] {
				agree++
			}
		}
		if f := float64(agree) / 20000; math.Abs(f-.5) > .02 {
			t.Errorf("the masks of %v and [1 2 3] agree in %v of the values", other, f)
		}
	}
}
