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

func TestMasksDiffer(t *testing.T) {
	first := draw(1, 2, 3, .5)
	if !slices.Equal(first, draw(1, 2, 3, .5)) {
		t.Error("the same seed, node and iteration give two masks")
	}
	for _, other := range [][]float32{draw(2, 2, 3, .5), draw(1, 3, 3, .5), draw(1, 2, 4, .5)} {
		if slices.Equal(first, other) {
			t.Error("two masks are the same")
		}
	}
}
