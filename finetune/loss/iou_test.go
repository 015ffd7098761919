package loss

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s = %.10g, want %.10g", what, got, want)
	}
}

func nearBox(t *testing.T, what string, got, want box, tol float64) {
	t.Helper()
	near(t, what+"/x", got.x, want.x, tol)
	near(t, what+"/y", got.y, want.y, tol)
	near(t, what+"/w", got.w, want.w, tol)
	near(t, what+"/h", got.h, want.h, tol)
}

// The numbers are the formulas evaluated in float64 by another program.
func TestSimilarityGolden(t *testing.T) {
	p, g := box{.50, .50, .30, .20}, box{.55, .48, .24, .26}
	for kind, want := range map[string]float64{"iou": .5612244898, "giou": .5035321821, "diou": .5441656663, "ciou": .5430359279} {
		got, _ := similarities[kind](p, g)
		near(t, kind, got, want, 1e-10)
	}
	o := overlap(p, g)
	near(t, "v", o.aspect(), .0228363897, 1e-10)
	_, d := iou(p, g)
	nearBox(t, "d iou", d, box{3.982716, 0, .559663, 2.233444}, 1e-6)
	_, d = ciou(p, g)
	nearBox(t, "d ciou", d, box{4.506729, -.235294, .577129, 2.255410}, 1e-6)
}

func TestSimilarityDisjoint(t *testing.T) {
	p, g := box{.2, .2, .1, .1}, box{.7, .6, .2, .1}
	for kind, want := range map[string]float64{"iou": 0, "giou": -.9076923077, "diou": -.6096654275, "ciou": -.6113548884} {
		got, d := similarities[kind](p, g)
		near(t, kind, got, want, 1e-10)
		if kind == "iou" && d != (box{}) {
			t.Errorf("iou of disjoint boxes has gradient %v, want none", d)
		}
		if kind != "iou" && !(d.x > 0 && d.y > 0) {
			t.Errorf("%s: gradient %v does not pull the prediction towards the truth", kind, d)
		}
	}
}

// Two boxes one inside the other: I = 4, U = C = 16, centres 1 apart, c² = 32.
func TestSimilarityNested(t *testing.T) {
	p, g := box{3, 2, 2, 2}, box{2, 2, 4, 4}
	for kind, want := range map[string]float64{"iou": .25, "giou": .25, "diou": .25 - 1./32, "ciou": .25 - 1./32} {
		got, _ := similarities[kind](p, g)
		near(t, kind, got, want, 1e-12)
	}
}

func TestSimilarityPerfectFit(t *testing.T) {
	b := box{37.5, 12.25, 20, 9}
	for kind, s := range similarities {
		value, d := s(b, b)
		near(t, kind, value, 1, 1e-12)
		nearBox(t, "d "+kind, d, box{}, 1e-12)
	}
}

// Predictions that overlap, contain, lie inside, lie beside and lie far from
// the truth, and extreme shapes.
var fitCases = []struct{ p, g box }{
	{box{50, 50, 30, 20}, box{55, 48, 24, 26}},
	{box{50, 50, 60, 60}, box{55, 48, 24, 26}},
	{box{51, 49, 10, 12}, box{55, 48, 24, 26}},
	{box{20, 48, 10, 12}, box{55, 48, 24, 26}},
	{box{20, 20, 10, 10}, box{70, 60, 20, 10}},
	{box{50, 20, 10, 10}, box{50.5, 60, 20, 10}},
	{box{50, 50, 200, 2}, box{52, 51, 3, 150}},
	{box{50, 50, .3, .2}, box{52, 51, 30, 15}},
}

func TestSimilarityGradient(t *testing.T) {
	const eps = 1e-5
	for kind, s := range similarities {
		for _, c := range fitCases {
			_, got := s(c.p, c.g)
			base := overlap(c.p, c.g)
			alpha := aspectWeight(base.ratio(), base.aspect())
			f := func(dp box) float64 {
				p := c.p.add(dp.scale(eps))
				if kind != "ciou" {
					v, _ := s(p, c.g)
					return v
				}
				o := overlap(p, c.g)
				return o.ratio() - o.offset() - alpha*o.aspect()
			}
			slope := func(d box) float64 { return (f(d) - f(d.scale(-1))) / (2 * eps) }
			want := box{slope(box{x: 1}), slope(box{y: 1}), slope(box{w: 1}), slope(box{h: 1})}
			nearBox(t, kind, got, want, 1e-6*(1+math.Abs(want.w)+math.Abs(want.h)))
		}
	}
}

// Scaling both boxes changes no similarity.
func TestSimilarityScaleInvariant(t *testing.T) {
	for kind, s := range similarities {
		for _, c := range fitCases {
			a, _ := s(c.p, c.g)
			b, _ := s(c.p.scale(7), c.g.scale(7))
			near(t, kind, b, a, 1e-12)
		}
	}
}
