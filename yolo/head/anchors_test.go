package head

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKMeansAnchors(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes [][2]float64
		n     int
		want  [][2]float64
		iou   float64
	}{
		// As many anchors as sizes: each is its own, sorted by area.
		{"all", [][2]float64{{30, 10}, {10, 10}, {10, 40}}, 3, [][2]float64{{10, 10}, {30, 10}, {10, 40}}, 1},
		// One anchor is the median of each side, (20, 10): IoU 100/200, 1,
		// 200/400 and so 2/3.
		{"median", [][2]float64{{10, 10}, {20, 10}, {40, 10}}, 1, [][2]float64{{20, 10}}, 2. / 3},
		// The three small ones are far from the large ones by ratio: their
		// median (12, 10) has IoU 10/12, 1 and 12/14; the two equal ones 1.
		{"two groups", [][2]float64{{200, 200}, {10, 10}, {14, 10}, {200, 200}, {12, 10}}, 2, [][2]float64{{12, 10}, {200, 200}}, (10./12 + 1 + 12./14 + 2) / 5},
		{"equal area, narrow first", [][2]float64{{40, 10}, {10, 40}}, 2, [][2]float64{{10, 40}, {40, 10}}, 1},
		{"repeated sizes", slices.Repeat([][2]float64{{5, 5}, {50, 5}}, 20), 2, [][2]float64{{5, 5}, {50, 5}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				got, iou, err := KMeansAnchors(c.sizes, c.n, seed)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("seed %d: %v, want %v", seed, got, c.want)
				}
				checkNear(t, "mean IoU", iou, c.iou)
			}
		})
	}
}

func TestKMeansAnchorsErrors(t *testing.T) {
	good := [][2]float64{{1, 2}, {3, 4}, {1, 2}}
	for _, c := range []struct {
		name  string
		sizes [][2]float64
		n     int
		want  string
	}{
		{"none asked", good, 0, "0 anchors: at least 1"},
		{"too few different", good, 3, "3 anchors from 2 different box sizes: give more boxes or ask for fewer"},
		{"no boxes", nil, 6, "6 anchors from 0 different box sizes"},
		{"zero", [][2]float64{{1, 1}, {0, 5}}, 1, "size 1 is 0 x 5: width and height must be positive and finite"},
		{"negative", [][2]float64{{-1, -1}}, 1, "size 0 is -1 x -1"},
		{"NaN", [][2]float64{{math.NaN(), 1}}, 1, "size 0 is NaN x 1"},
		{"infinite", [][2]float64{{1, math.Inf(1)}}, 1, "size 0 is 1 x +Inf"},
		{"too large", [][2]float64{{1e200, 1e200}}, 1, "size 0 is 1e+200 x 1e+200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _, err := KMeansAnchors(c.sizes, c.n, 1)
			if err == nil || !strings.Contains(err.Error(), c.want) || a != nil {
				t.Errorf("anchors %v, error %v, want %q", a, err, c.want)
			}
		})
	}
}

// Six clusters are found again from noisy sizes around them.
func TestKMeansAnchorsFindsClusters(t *testing.T) {
	want := [][2]float64{{10, 14}, {23, 27}, {37, 58}, {81, 82}, {135, 169}, {344, 319}} // yolov4-tiny's
	rng := rand.New(rand.NewPCG(7, 0))
	var sizes [][2]float64
	for range 200 {
		for _, c := range want {
			sizes = append(sizes, [2]float64{c[0] * math.Exp(.05*rng.NormFloat64()), c[1] * math.Exp(.05*rng.NormFloat64())})
		}
	}
	got, iou, err := KMeansAnchors(sizes, 6, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if shapeIoU(got[i], want[i]) < .97 {
			t.Errorf("anchor %d is %v, want about %v", i, got[i], want[i])
		}
	}
	if iou < .9 {
		t.Errorf("mean IoU %g, want above .9", iou)
	}
}

// Each anchor set comes again from the same seed, is sorted, has the mean IoU
// that is reported, and is no worse than the best single size for all.
func TestKMeansAnchorsProperties(t *testing.T) {
	side := rapid.IntRange(1, 12)
	rapid.Check(t, func(t *rapid.T) {
		var sizes [][2]float64
		distinct := map[[2]float64]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "boxes") {
			s := [2]float64{float64(side.Draw(t, "w") * 5), float64(side.Draw(t, "h") * 5)}
			sizes, distinct[s] = append(sizes, s), true
		}
		n := rapid.IntRange(1, len(distinct)).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		before := slices.Clone(sizes)
		a, iou, err := KMeansAnchors(sizes, n, seed)
		if err != nil {
			t.Fatal(err)
		}
		b, _, _ := KMeansAnchors(sizes, n, seed)
		if len(a) != n || !slices.Equal(a, b) || !slices.Equal(sizes, before) {
			t.Errorf("%d of %d anchors; %v, then %v; sizes %v, were %v", len(a), n, a, b, sizes, before)
		}
		if !slices.IsSortedFunc(a, func(x, y [2]float64) int { return int(x[0]*x[1] - y[0]*y[1]) }) {
			t.Errorf("not by area: %v", a)
		}
		if want := meanBest(sizes, a); math.Abs(iou-want) > 1e-12 || n == len(distinct) && iou < 1 {
			t.Errorf("mean IoU %g, the anchors have %g", iou, want)
		}
	})
}

// meanBest is the mean over sizes of the IoU with the best anchor.
func meanBest(sizes, anchors [][2]float64) float64 {
	sum := 0.0
	for _, s := range sizes {
		best := 0.0
		for _, a := range anchors {
			best = max(best, IoU(CentreBox{0, 0, s[0], s[1]}, CentreBox{0, 0, a[0], a[1]}))
		}
		sum += best
	}
	return sum / float64(len(sizes))
}
