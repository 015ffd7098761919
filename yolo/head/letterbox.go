package head

import (
	"strings"

	"yoloprune/yolo/graph"
)

// Letterboxed says whether Darknet's detector commands letterbox images for the
// network, which letter_box in [net] decides: any number but 0.
func Letterboxed(n graph.Net) bool {
	v, _ := graph.Lookup(n.Options, "letter_box")
	v = strings.TrimLeft(v, "+-0")
	return v != "" && v[0] >= '1' && v[0] <= '9'
}

// LetterboxSize fits an image of w x h into a network input: scaled with its
// aspect kept to nw x nh, rounded down but at least 1, and pasted with its top
// left corner at (padX, padY). A side that is not positive gives zeros.
func LetterboxSize(w, h, netW, netH int) (nw, nh, padX, padY int) {
	if w < 1 || h < 1 || netW < 1 || netH < 1 {
		return 0, 0, 0, 0
	}
	if netW*h < netH*w {
		nw, nh = netW, max(1, h*netW/w)
	} else {
		nw, nh = max(1, w*netH/h), netH
	}
	return nw, nh, (netW - nw) / 2, (netH - nh) / 2
}

// view is the part of the network input that shows the image, relative to it.
type view struct{ x, y, w, h float64 }

// newView returns the whole input for a stretched image. For a letterboxed one
// the margin is half of what is left over, not rounded down as the image's place
// is: that is Darknet's correct_yolo_boxes, up to half a pixel of the network
// input away from where the image stands.
func newView(o *Options) view {
	if !o.Letterbox {
		return view{0, 0, 1, 1}
	}
	nw, nh, _, _ := LetterboxSize(o.ImageW, o.ImageH, o.NetW, o.NetH)
	w, h := float64(nw)/float64(o.NetW), float64(nh)/float64(o.NetH)
	return view{(1 - w) / 2, (1 - h) / 2, w, h}
}

// undo converts a box relative to the network input to one relative to the
// image.
func (v view) undo(b CentreBox) CentreBox {
	return CentreBox{(b.X - v.x) / v.w, (b.Y - v.y) / v.h, b.W / v.w, b.H / v.h}
}
