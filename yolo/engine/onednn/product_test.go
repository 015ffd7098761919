package onednn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"yoloprune/yolo/engine/ref"
	"yoloprune/yolo/graph"
)

// gates are the three forms of a gate for an activation of shape s.
func gates(s graph.Shape) []graph.Shape {
	return []graph.Shape{s, {C: s.C, H: 1, W: 1}, {C: 1, H: s.H, W: s.W}}
}

// Products in every form, with the product kept and in place. The activation's
// kinks are avoided: no product of these values is zero.
func TestProduct(t *testing.T) {
	for _, o := range orders {
		for _, s := range append([]graph.Shape{{C: 9, H: 1, W: 1}, {C: 1, H: 1, W: 1}, {C: 70, H: 2, W: 2}}, shapes...) {
			for _, gate := range gates(s) {
				for _, act := range []graph.Activation{graph.Linear, graph.Leaky, graph.Relu, graph.Logistic} {
					checkProduct(t, Desc{2, gate, o}, Desc{2, s, o}, act)
				}
			}
		}
	}
}

func checkProduct(t *testing.T, gate, d Desc, act graph.Activation) {
	t.Helper()
	what := fmt.Sprintf("%v %v by %v %v", d.Order, d.Shape, gate.Shape, act)
	rng := rand.New(rand.NewPCG(uint64(d.Shape.C), uint64(gate.Shape.C)))
	a, x, dy := normalTensor(rng, d.N, gate.Shape), normalTensor(rng, d.N, d.Shape), normalTensor(rng, d.N, d.Shape)
	r := ref.Product{Activation: act}
	want := r.Forward(a, x).Data
	wantGate, wantX := r.Backward(a, x, dy)
	z, y, inPlace, dz := dirty(d.Len()), dirty(d.Len()), dirty(d.Len()), dirty(d.Len())
	dgate, dx := dirty(gate.Len()), dirty(d.Len())
	on(t, func() error {
		p := Product{Gate: gate, X: d, Act: act}
		pa, px, pdy := pack(gate, a), pack(d, x), pack(d, dy)
		p.Forward(pa, px, z, y)
		p.Forward(pa, px, inPlace, inPlace)
		p.BackwardGate(px, z, pdy, dz, dgate)
		p.BackwardX(pa, z, pdy, dz, dx)
		return nil
	})
	near(t, what+": y", unpack(t, what, d, y), want)
	near(t, what+": y in place", unpack(t, what, d, inPlace), want)
	near(t, what+": dgate", unpack(t, what, gate, dgate), wantGate.Data)
	near(t, what+": dx", unpack(t, what, d, dx), wantX.Data)
}

// TestAddScaled adds inputs of fewer, equal and more channels.
func TestAddScaled(t *testing.T) {
	for _, o := range orders {
		for _, c := range [][2]int{{1, 1}, {1, 9}, {9, 1}, {8, 16}, {16, 8}, {11, 37}, {37, 11}, {37, 37}} {
			src, dst := Desc{2, graph.Shape{C: c[0], H: 3, W: 5}, o}, Desc{2, graph.Shape{C: c[1], H: 3, W: 5}, o}
			rng := rand.New(rand.NewPCG(uint64(c[0]), uint64(c[1])))
			x, z, scale := gridTensor(rng, 2, src.Shape), gridTensor(rng, 2, dst.Shape), grid(rng, min(c[0], c[1]))
			got := pack(dst, z)
			on(t, func() error { AddScaled(src, dst, fenced(scale), pack(src, x), got); return nil })
			for p := range 2 * 3 * 5 {
				for i, s := range scale {
					z.Data[p*c[1]+i] += s * x.Data[p*c[0]+i]
				}
			}
			what := fmt.Sprintf("%v %d to %d channels", o, c[0], c[1])
			equal(t, what, unpack(t, what, dst, got), z.Data)
		}
	}
}

func TestActForward(t *testing.T) {
	forAll(t, func(t *testing.T, rng *rand.Rand, d Desc, act graph.Activation) {
		what := d.Order.String() + " " + d.Shape.String() + " " + string(act)
		z := normalTensor(rng, d.N, d.Shape)
		want := ref.ActivateForward(act, z).Data
		y, inPlace := dirty(d.Len()), pack(d, z)
		on(t, func() error {
			ActForward(d, act, pack(d, z), y)
			ActForward(d, act, inPlace, inPlace)
			return nil
		})
		near(t, what, unpack(t, what, d, y), want)
		near(t, what+" in place", unpack(t, what, d, inPlace), want)
	})
}
