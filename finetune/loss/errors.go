package loss

import (
	"fmt"
	"math"
)

// Position is the place of a raw value in the heads.
type Position struct {
	Head, Image, Row, Col, Anchor int
	Entry                         int // 0 x, 1 y, 2 w, 3 h, 4 objectness, 5.. classes
}

func (p Position) String() string {
	return fmt.Sprintf("head %d, image %d, row %d, column %d, anchor %d: %s", p.Head, p.Image, p.Row, p.Col, p.Anchor, p.entry())
}

func (p Position) entry() string {
	if p.Entry >= 5 {
		return fmt.Sprintf("class %d", p.Entry-5)
	}
	return [...]string{"x", "y", "w", "h", "objectness"}[p.Entry]
}

// NonFiniteError is a prediction that is NaN or infinite.
type NonFiniteError struct {
	Position Position
	Value    float32
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("loss: %v is %v; want a finite number", e.Position, e.Value)
}

// RangeError is a value outside [0, 1] in a head with new_coords, whose values
// must have passed a logistic.
type RangeError struct {
	Position Position
	Value    float32
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("loss: %v is %v; want a value in [0, 1]; with new_coords=1 the convolution before [yolo] needs activation=logistic", e.Position, e.Value)
}

// check verifies everything that Compute reads before it writes.
func (l *network) check(outs, grads [][]float32) error {
	if l.err != nil {
		return l.err
	}
	if len(outs) != len(l.heads) || len(grads) != len(l.heads) {
		return fmt.Errorf("loss: %d outputs and %d gradients for %d heads", len(outs), len(grads), len(l.heads))
	}
	for i := range l.heads {
		h := &l.heads[i]
		want := len(h.state) * h.per
		if len(outs[i]) != want || len(grads[i]) != want {
			return fmt.Errorf("loss: head %d: %d outputs and %d gradients; want %d (batch %d, %dx%d cells, %d anchors of %d values)",
				i, len(outs[i]), len(grads[i]), want, l.batch, h.rows, h.cols, len(h.anchors), h.per)
		}
	}
	for i := range l.heads {
		if err := l.heads[i].checkValues(i, outs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *head) checkValues(index int, values []float32) error {
	for i, v := range values {
		if math.Float32bits(v)&infinity == infinity {
			return &NonFiniteError{h.position(index, i), v}
		}
		if h.yolo.NewCoords && (v < 0 || v > 1) {
			return &RangeError{h.position(index, i), v}
		}
	}
	return nil
}

// infinity has the exponent bits that NaN and both infinities share.
const infinity = 0x7f800000

func (h *head) position(index, i int) Position {
	slot := i / h.per
	cell := slot / len(h.anchors)
	return Position{
		Head: index, Image: cell / (h.rows * h.cols),
		Row: cell / h.cols % h.rows, Col: cell % h.cols,
		Anchor: slot % len(h.anchors), Entry: i % h.per,
	}
}
