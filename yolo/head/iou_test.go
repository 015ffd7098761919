package head

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func checkNear(t *testing.T, name string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-10) {
		t.Errorf("%s = %.12f, want %.10f", name, got, want)
	}
}

// Values computed from the formulas by an independent program.
func TestOverlapGolden(t *testing.T) {
	p, g := CentreBox{.50, .50, .30, .20}, CentreBox{.55, .48, .24, .26}
	checkNear(t, "IoU", IoU(p, g), .5612244898)
	checkNear(t, "GIoU", GIoU(p, g), .5035321821)
	checkNear(t, "DIoU", DIoU(p, g), .5441656663)
	checkNear(t, "CIoU", CIoU(p, g), .5430359279)
	a, b := p.corners(), g.corners()
	checkNear(t, "greedynms", IoU(p, g)-math.Pow(a.distance(&b), defaultBeta), .4742945366)

	p, g = CentreBox{.2, .2, .1, .1}, CentreBox{.7, .6, .2, .1}
	checkNear(t, "disjoint IoU", IoU(p, g), 0)
	checkNear(t, "disjoint GIoU", GIoU(p, g), -.9076923077)
	checkNear(t, "disjoint DIoU", DIoU(p, g), -.6096654275)
	checkNear(t, "disjoint CIoU", CIoU(p, g), -.6113548884)
}

func TestOverlapByHand(t *testing.T) {
	for _, c := range []struct {
		name                  string
		p, g                  CentreBox
		iou, giou, diou, ciou float64
	}{
		{"equal", CentreBox{1, 2, 3, 4}, CentreBox{1, 2, 3, 4}, 1, 1, 1, 1},
		// I 4*8, U 96, C 12*8 = U; d2 16, c2 144+64: 1/13; equal aspects.
		{"shifted", CentreBox{0, 0, 8, 8}, CentreBox{4, 0, 8, 8}, 1. / 3, 1. / 3, 1./3 - 1./13, 1./3 - 1./13},
		// I 1, U 7, C 9; d2 2, c2 18.
		{"diagonal", CentreBox{1, 1, 2, 2}, CentreBox{2, 2, 2, 2}, 1. / 7, 1./7 - 2./9, 1./7 - 1./9, 1./7 - 1./9},
		{"inside", CentreBox{0, 0, 4, 4}, CentreBox{0, 0, 2, 2}, .25, .25, .25, .25},
		// Touching: I 0, U 8 = C; d2 4, c2 16+4.
		{"touching", CentreBox{1, 1, 2, 2}, CentreBox{3, 1, 2, 2}, 0, 0, -.2, -.2},
		// A line and the square around it: C 4, U 4; nothing in common. Aspect
		// of the line: atan(inf) = pi/2, of the square pi/4: v = 4/pi^2*pi^2/16
		// = 1/4, alpha = .25/1.25.
		{"line", CentreBox{0, 0, 2, 0}, CentreBox{0, 0, 2, 2}, 0, 0, 0, -.05},
		{"points", CentreBox{1, 1, 0, 0}, CentreBox{1, 1, 0, 0}, 0, 0, 0, 0},
	} {
		checkNear(t, c.name+": IoU", IoU(c.p, c.g), c.iou)
		checkNear(t, c.name+": GIoU", GIoU(c.p, c.g), c.giou)
		checkNear(t, c.name+": DIoU", DIoU(c.p, c.g), c.diou)
		checkNear(t, c.name+": CIoU", CIoU(c.p, c.g), c.ciou)
	}
}

// The measures are ordered, bounded, and do not care which box is which, where
// the origin is, or what the unit is.
func TestOverlapProperties(t *testing.T) {
	at, size := rapid.Float64Range(-50, 50), rapid.Float64Range(.01, 60)
	draw := func(t *rapid.T, name string) CentreBox {
		return CentreBox{at.Draw(t, name+".x"), at.Draw(t, name+".y"), size.Draw(t, name+".w"), size.Draw(t, name+".h")}
	}
	rapid.Check(t, func(t *rapid.T) {
		p, g := draw(t, "p"), draw(t, "g")
		iou, giou, diou, ciou := IoU(p, g), GIoU(p, g), DIoU(p, g), CIoU(p, g)
		const e = 1e-9
		if iou < 0 || iou > 1+e || giou > iou+e || giou < -1-e || diou > iou+e || diou < -1-e || ciou > diou+e {
			t.Errorf("IoU %g, GIoU %g, DIoU %g, CIoU %g", iou, giou, diou, ciou)
		}
		for _, f := range []func(p, g CentreBox) float64{IoU, GIoU, DIoU, CIoU} {
			if d := f(g, p) - f(p, g); math.Abs(d) > e {
				t.Errorf("swapped: %g more", d)
			}
			move := func(b CentreBox) CentreBox { return CentreBox{b.X + 7, b.Y - 3, b.W, b.H} }
			if d := f(move(p), move(g)) - f(p, g); math.Abs(d) > e {
				t.Errorf("moved: %g more", d)
			}
			scale := func(b CentreBox) CentreBox { return CentreBox{8 * b.X, 8 * b.Y, 8 * b.W, 8 * b.H} }
			if d := f(scale(p), scale(g)) - f(p, g); math.Abs(d) > e {
				t.Errorf("scaled: %g more", d)
			}
		}
	})
}
