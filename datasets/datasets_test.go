package datasets

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTruths(t *testing.T) {
	boxes := []Box{
		{Class: 2, X: 10, Y: 20, W: 40, H: 10},
		{Class: 1, X: 0, Y: 0, W: 100, H: 50, Crowd: true},
		{Class: 0, X: 0, Y: 0, W: 100, H: 50},
	}
	want := []Truth{{2, 0.3, 0.5, 0.4, 0.2}, {0, 0.5, 0.5, 1, 1}}
	if d := cmp.Diff(want, Truths(boxes, 100, 50)); d != "" {
		t.Error(d)
	}
}

func TestScaled(t *testing.T) {
	in := []Box{{ID: 7, X: 10, Y: 20, W: 40, H: 10, Area: 100}}
	want := []Box{{ID: 7, X: 5, Y: 60, W: 20, H: 30, Area: 150}}
	if d := cmp.Diff(want, Scaled(in, 0.5, 3)); d != "" {
		t.Error(d)
	}
	if in[0].X != 10 {
		t.Error("the caller's boxes were changed")
	}
}
