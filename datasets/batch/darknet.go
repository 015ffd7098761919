package batch

// darknetResize resizes B, G, R bytes of sw x sh to R, G, B values of w x h as
// Darknet's resize_image does (src/image.c): first along x, then along y, in
// float32. Column x of w shows the source at
//
//	s = x*(sw-1)/(w-1),   i = floor(s), d = s-i:   (1-d)*p[i] + d*p[i+1]
//
// so the outer pixels' centres stay on one another; the last column is the
// source's last. Rows go alike, but for the last one Darknet leaves the second
// term out: where s is rounded to just below sh-1, that row is black. So it is
// here. With one row, for which Darknet's scale is a division by 0, the
// source's last is taken.
func darknetResize(dst []float32, w, h int, bgr []byte, sw, sh int) {
	columns := newTaps(w, sw)
	columns[w-1] = tap{sw - 1, 0}
	row := make([]float32, 3*w)
	stretch := func(i int) []float32 {
		columns.apply(row, bgr[i*3*sw:(i+1)*3*sw])
		return row
	}
	for y, t := range newTaps(h, sh) {
		to := dst[y*3*w : (y+1)*3*w]
		for k, v := range stretch(t.at) {
			to[k] = (1 - t.part) * v
		}
		if y == h-1 || sh == 1 {
			continue
		}
		for k, v := range stretch(t.at + 1) {
			to[k] += float32(t.part * v) // rounded before it is added, never fused
		}
	}
}

// tap is a place between pixel at and the next one.
type tap struct {
	at   int
	part float32
}

type taps []tap

// newTaps lays n places over size pixels.
func newTaps(n, size int) taps {
	t := make(taps, n)
	if n == 1 {
		t[0].at = size - 1
		return t
	}
	scale := float32(size-1) / float32(n-1)
	for i := range t {
		s := float32(i) * scale
		t[i].at = int(s)
		t[i].part = s - float32(t[i].at)
	}
	return t
}

// apply resizes a row of B, G, R bytes.
func (t taps) apply(dst []float32, bgr []byte) {
	for x, p := range t {
		from := bgr[3*p.at : 3*p.at+3]
		next := bgr[min(3*p.at+3, len(bgr)-3):]
		for c := range 3 {
			dst[3*x+c] = float32((1-p.part)*unit[from[2-c]]) + float32(p.part*unit[next[2-c]])
		}
	}
}
