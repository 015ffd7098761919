package ref

import "testing"

func TestDropoutByHand(t *testing.T) {
	x := Tensor{2, 1, 1, 2, []float32{1, 2, 3, -4}}
	o := Dropout{[]float32{0, 1.25, 1.25, 0}}
	same(t, "y", o.Forward(x).Data, []float32{0, 2.5, 3.75, 0}, 0)
	same(t, "dx", o.Backward(Tensor{2, 1, 1, 2, []float32{8, 4, -4, 8}}).Data, []float32{0, 5, -5, 0}, 0)
	same(t, "x", x.Data, []float32{1, 2, 3, -4}, 0)
}
