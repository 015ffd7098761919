package batch

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"yoloprune/datasets"
	"yoloprune/datasets/augment"
	"yoloprune/datasets/internal/cvthreads"

	"github.com/google/go-cmp/cmp"
)

// fake is a source of files that a test has made.
type fake []datasets.Sample

func (f fake) Names() []string              { return []string{"a", "b"} }
func (f fake) CategoryIDs() []int64         { return []int64{1, 2} }
func (f fake) Len() int                     { return len(f) }
func (f fake) Sample(i int) datasets.Sample { return f[i] }
func (f fake) replace(i int, path string)   { f[i].Path = path }
func (f fake) breakAt(t testing.TB, i int)  { f.replace(i, broken(t)) }
func broken(t testing.TB) string            { return file(t, "broken.png", []byte("\x89PNG\r\n\x1a\n")) }
func index(i int) string                    { return strconv.Itoa(i) }
func pixel(x, y, i int) (r, g, b uint8)     { return uint8(10 * x), uint8(10 * y), uint8(i) }
func file(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// source makes n images of w x h whose blue is their number, each with one box
// of class number mod 2 and a crowd.
func source(t testing.TB, n, w, h int) fake {
	t.Helper()
	dir := t.TempDir()
	var out fake
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				r, g, b := pixel(x, y, i)
				img.SetRGBA(x, y, color.RGBA{r, g, b, 255})
			}
		}
		path := filepath.Join(dir, index(i)+".png")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, img); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		out = append(out, datasets.Sample{ID: int64(i), Path: path, Width: w, Height: h, Boxes: []datasets.Box{
			{Class: i % 2, X: 0, Y: 0, W: float64(w) / 2, H: float64(h) / 4},
			{Class: 0, X: 0, Y: 0, W: float64(w), H: float64(h), Crowd: true},
		}})
	}
	return out
}

func loader(t testing.TB, src datasets.Source, o Options) *Loader {
	t.Helper()
	l, err := New(src, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// collect copies the batches of an epoch.
func collect(t testing.TB, l *Loader, epoch int, mosaic bool) []*Batch {
	t.Helper()
	var out []*Batch
	for b, err := range l.Epoch(epoch, mosaic) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &Batch{slices.Clone(b.Images), slices.Clone(b.Truths), slices.Clone(b.Samples), b.N})
	}
	return out
}

func same(a, b []*Batch) bool {
	return slices.EqualFunc(a, b, func(x, y *Batch) bool {
		return x.N == y.N && slices.Equal(x.Images, y.Images) && slices.Equal(x.Samples, y.Samples) && cmp.Equal(x.Truths, y.Truths)
	})
}

// Nine images make more batches than there are buffers, so that the padding of
// the last one lands where images have been.
func TestPlainBatches(t *testing.T) {
	const w, h = 8, 6
	l := loader(t, source(t, 9, w, h), Options{Batch: 2, W: w, H: h})
	if l.Batches() != 5 {
		t.Errorf("Batches() = %d, want 5", l.Batches())
	}
	got := collect(t, l, 0, false)
	if len(got) != 5 {
		t.Fatalf("%d batches, want 5", len(got))
	}
	for k, b := range got {
		if want := min(2, 9-2*k); b.N != want || len(b.Samples) != want || len(b.Truths) != 2 {
			t.Errorf("batch %d: N %d, %d samples, %d truths", k, b.N, len(b.Samples), len(b.Truths))
		}
		for s := range 2 {
			checkPlain(t, b, s, 2*k+s, w, h)
		}
	}
}

// checkPlain compares slot s of a batch with image i, or with padding.
func checkPlain(t *testing.T, b *Batch, s, i, w, h int) {
	t.Helper()
	for y := range h {
		for x := range w {
			at := ((s*h+y)*w + x) * 3
			got := [3]float32(b.Images[at:])
			want := [3]float32{}
			if s < b.N {
				r, g, bl := pixel(x, y, i)
				want = [3]float32{float32(r) / 255, float32(g) / 255, float32(bl) / 255}
			}
			if got != want {
				t.Fatalf("image %d, pixel %d,%d: %v, want %v", i, x, y, got, want)
			}
		}
	}
	want := []datasets.Truth(nil)
	if s < b.N {
		want = []datasets.Truth{{Class: i % 2, X: 0.25, Y: 0.125, W: 0.5, H: 0.25}}
		if b.Samples[s] != i {
			t.Errorf("slot %d holds sample %d, want %d", s, b.Samples[s], i)
		}
	}
	if d := cmp.Diff(want, b.Truths[s]); d != "" {
		t.Error(d)
	}
}

func TestShuffle(t *testing.T) {
	l := loader(t, source(t, 20, 4, 4), Options{Batch: 7, W: 4, H: 4, Shuffle: true, DropLast: true, Seed: 3})
	if l.Batches() != 2 {
		t.Errorf("Batches() = %d, want 2", l.Batches())
	}
	orders := map[string]bool{}
	for epoch := range 4 {
		var order []int
		for _, b := range collect(t, l, epoch, false) {
			order = append(order, b.Samples...)
		}
		sorted := slices.Clone(order)
		slices.Sort(sorted)
		if len(order) != 14 || len(slices.Compact(sorted)) != 14 {
			t.Errorf("epoch %d: samples %v", epoch, order)
		}
		orders[fmt.Sprint(order)] = true
	}
	if len(orders) != 4 {
		t.Errorf("only %d different orders in 4 epochs", len(orders))
	}
}

// The bytes depend on seed and epoch, not on the cache, on earlier epochs or on
// where a loop was left.
func TestSameSeedSameBytes(t *testing.T) {
	src := source(t, 11, 24, 16)
	strong := augment.Default()
	strong.Mosaic = 0.7
	o := Options{Batch: 3, W: 32, H: 32, Augment: &strong, Shuffle: true, Seed: 9}
	want := collect(t, loader(t, src, o), 4, true)

	uncached, partly := o, o
	uncached.CacheBytes = -1
	partly.CacheBytes = 4 * 32 * 32 * 3
	for name, opts := range map[string]Options{"again": o, "uncached": uncached, "partly cached": partly} {
		l := loader(t, src, opts)
		for range l.Epoch(1, false) {
			break
		}
		for round := range 2 {
			if !same(want, collect(t, l, 4, true)) {
				t.Errorf("%s, round %d: other batches", name, round)
			}
		}
	}
	other := o
	other.Seed = 10
	if same(want, collect(t, loader(t, src, other), 4, true)) {
		t.Error("another seed gives the same batches")
	}
	if same(want, collect(t, loader(t, src, o), 5, true)) {
		t.Error("another epoch gives the same batches")
	}
	if same(want, collect(t, loader(t, src, o), 4, false)) {
		t.Error("without mosaic the batches are the same")
	}
}

// The same image is changed in another way at every position.
func TestPositionsDiffer(t *testing.T) {
	one := source(t, 1, 16, 16)[0]
	strong := augment.Default()
	b := collect(t, loader(t, fake{one, one, one}, Options{Batch: 3, W: 16, H: 16, Augment: &strong}), 0, false)[0]
	size := len(b.Images) / 3
	if slices.Equal(b.Images[:size], b.Images[size:2*size]) || slices.Equal(b.Images[size:2*size], b.Images[2*size:]) {
		t.Error("two positions got the same change")
	}
}

func TestCacheLimit(t *testing.T) {
	src := source(t, 6, 8, 8)
	l := loader(t, src, Options{Batch: 2, W: 8, H: 8, CacheBytes: 2*8*8*3 + 5})
	collect(t, l, 0, false)
	kept := 0
	for _, p := range l.store.pictures {
		if p != nil {
			kept++
		}
	}
	if kept != 2 || l.store.used != 2*8*8*3 {
		t.Errorf("%d images cached, %d bytes", kept, l.store.used)
	}
}

func TestBadImage(t *testing.T) {
	for name, change := range map[string]func(fake){
		"broken.png":  func(f fake) { f.breakAt(t, 3) },
		"missing.png": func(f fake) { f.replace(3, "/nowhere/missing.png") },
		"empty.png":   func(f fake) { f.replace(3, file(t, "empty.png", nil)) },
		"9x8":         func(f fake) { f[3].Width = 9 },
	} {
		t.Run(name, func(t *testing.T) {
			src := source(t, 8, 8, 8)
			change(src)
			l := loader(t, src, Options{Batch: 2, W: 8, H: 8})
			batches, fails := 0, 0
			for b, err := range l.Epoch(0, false) {
				if err == nil {
					batches++
					continue
				}
				fails++
				if b != nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "image 3") {
					t.Errorf("%v", err)
				}
			}
			if batches != 1 || fails != 1 {
				t.Errorf("%d batches and %d errors, want 1 and 1", batches, fails)
			}

			l = loader(t, src, Options{Batch: 2, W: 8, H: 8, SkipBad: true, DropLast: true})
			var got []int
			for _, b := range collect(t, l, 0, false) {
				got = append(got, b.Samples...)
			}
			if !slices.Equal(got, []int{0, 1, 2, 4, 5, 6}) || l.Skipped() != 1 || !strings.Contains(l.SkippedErrors()[0].Error(), name) {
				t.Errorf("samples %v, skipped %v", got, l.SkippedErrors())
			}
		})
	}
}

// A bad image may also turn up as a mosaic's tile.
func TestBadTile(t *testing.T) {
	src := source(t, 8, 8, 8)
	for i := range 5 {
		src.breakAt(t, i)
	}
	always := augment.Default()
	always.Mosaic = 1
	o := Options{Batch: 3, W: 16, H: 16, Augment: &always, SkipBad: true, Seed: 1}
	want := collect(t, loader(t, src, o), 0, true)
	if len(want) != 1 || want[0].N != 3 {
		t.Fatalf("%d batches", len(want))
	}
	if !same(want, collect(t, loader(t, src, o), 0, true)) {
		t.Error("other bytes the second time")
	}
	o.SkipBad = false
	for _, err := range loader(t, src[5:], o).Epoch(0, true) {
		if err != nil {
			t.Errorf("good images only: %v", err)
		}
	}
}

func TestTooFewLeft(t *testing.T) {
	src := source(t, 3, 8, 8)
	src.breakAt(t, 0)
	src.breakAt(t, 1)
	for batch, want := range map[int]string{1: "", 2: "2 of 3 images cannot be read, which leaves no batch of 2"} {
		l := loader(t, src, Options{Batch: batch, W: 8, H: 8, SkipBad: true, DropLast: true})
		got := ""
		for _, err := range l.Epoch(0, false) {
			if err != nil {
				got = err.Error()
			}
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("batches of %d: %q, want %q", batch, got, want)
		}
	}
}

func TestNestedEpoch(t *testing.T) {
	l := loader(t, source(t, 4, 8, 8), Options{Batch: 2, W: 8, H: 8})
	inner := error(nil)
	for range l.Epoch(0, false) {
		for _, err := range l.Epoch(1, false) {
			inner = err
		}
	}
	if inner == nil || !strings.Contains(inner.Error(), "has not ended") {
		t.Errorf("%v", inner)
	}
	if n := len(collect(t, l, 2, false)); n != 2 {
		t.Errorf("%d batches afterwards", n)
	}
}

// Whether a loop is left early, after an error, by a panic or at its end, the
// goroutine is gone and the loader can go on.
func TestNoGoroutineLeft(t *testing.T) {
	src := source(t, 12, 8, 8)
	bad := slices.Clone(src)
	bad.breakAt(t, 5)
	strong := augment.Default()
	o := Options{Batch: 2, W: 16, H: 16, Augment: &strong, Seed: 2}
	good, failing := loader(t, src, o), loader(t, bad, o)
	before := runtime.NumGoroutine()
	for n := range 60 {
		left := n % 7
		for range good.Epoch(n, true) {
			if left == 0 {
				break
			}
			left--
		}
		for _, err := range failing.Epoch(n, true) {
			if err != nil && n%2 == 0 {
				break
			}
		}
		func() {
			defer func() { recover() }()
			for range good.Epoch(n, true) {
				panic("in the loop")
			}
		}()
	}
	// The last goroutine may still be on its way out after closing its channel.
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func TestBadOptions(t *testing.T) {
	src := source(t, 3, 8, 8)
	strong := augment.Default()
	strong.Scale = 2
	for _, tt := range []struct {
		src  datasets.Source
		o    Options
		want string
	}{
		{nil, Options{Batch: 1, W: 8, H: 8}, "no images"},
		{fake{}, Options{Batch: 1, W: 8, H: 8}, "no images"},
		{src, Options{Batch: 0, W: 8, H: 8}, "0 images a batch"},
		{src, Options{Batch: 1, W: 0, H: 8}, "input size of 0x8"},
		{src, Options{Batch: 1, W: 8, H: 1 << 30}, "input size of"},
		{src, Options{Batch: 1 << 40, W: 8, H: 8}, "too much for one batch"},
		{src, Options{Batch: 4, W: 8, H: 8, DropLast: true}, "4 images a batch, but there are 3 images"},
		{src, Options{Batch: 1, W: 8, H: 8, Augment: &strong}, "scale is 2"},
		{src, Options{Batch: 1, W: 8, H: 8, Augment: &strong, Fit: Fit{Letterbox: true}}, "a fit for augmented images"},
		{src, Options{Batch: 1, W: 8, H: 8, Fit: Fit{Resize: "cubic"}}, `kind of resize "cubic": use one of ["bilinear" "area" "darknet"]`},
	} {
		if _, err := New(tt.src, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.o, err, tt.want)
		}
	}
}

func TestOneThread(t *testing.T) {
	cvthreads.Set(2)
	loader(t, source(t, 1, 4, 4), Options{Batch: 1, W: 4, H: 4})
	if n := cvthreads.Get(); n != 1 {
		t.Errorf("OpenCV uses %d threads", n)
	}
}

// An image that stays open costs 786 kB at least: 190 MB over the loop.
func TestNoMemoryLeft(t *testing.T) {
	src := source(t, 4, 512, 512)
	strong := augment.Default()
	l := loader(t, src, Options{Batch: 2, W: 64, H: 64, Augment: &strong, CacheBytes: -1, Seed: 5})
	rounds := func(n int) {
		for epoch := range n {
			collect(t, l, epoch, true)
		}
	}
	rounds(5)
	before := resident(t)
	rounds(25)
	if grown := resident(t) - before; grown > 50<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
