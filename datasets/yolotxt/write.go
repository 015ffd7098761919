package yolotxt

import (
	"fmt"
	"strconv"
	"strings"

	"yoloprune/datasets"
)

// Format writes the label file of an image. Crowds and difficult objects,
// which the format does not know, are left out and counted.
func Format(s datasets.Sample) (text string, left int) {
	var out strings.Builder
	w, h := float64(s.Width), float64(s.Height)
	for _, b := range s.Boxes {
		if b.Crowd || b.Difficult {
			left++
			continue
		}
		fmt.Fprintf(&out, "%d %s %s %s %s\n", b.Class, share((b.X+b.W/2)/w), share((b.Y+b.H/2)/h), share(b.W/w), share(b.H/h))
	}
	return out.String(), left
}

// share writes nine decimals: in an image of 10,000 pixels they are 1e-5 of one.
func share(v float64) string { return strconv.FormatFloat(v, 'f', 9, 64) }
