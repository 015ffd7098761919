package labels

import (
	"testing"

	"pgregory.net/rapid"
)

// A clipped box lies in the image and in the box it was cut from.
func TestClipProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Float64Range(-200, 200).Draw(t, "at")
		size := rapid.Float64Range(0.01, 300).Draw(t, "size")
		start, length, over := clip(at, size, 100)
		if at+size <= 0 || at >= 100 {
			if length > 0 {
				t.Fatalf("outside, but %g is left", length)
			}
			return
		}
		if start < 0 || start+length > 100+1e-9 || start < at || start+length > at+size+1e-9 {
			t.Fatalf("[%g, %g] leaves the image or the box", start, start+length)
		}
		if inside := at >= 0 && at+size <= 100; inside != (over == 0) {
			t.Fatalf("inside %v, overhang %g", inside, over)
		}
	})
}
