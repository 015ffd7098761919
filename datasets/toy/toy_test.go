package toy

import (
	"bytes"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yoloprune/datasets"
	"yoloprune/datasets/coco"

	"github.com/google/go-cmp/cmp"
	"gocv.io/x/gocv"
	"pgregory.net/rapid"
)

// tree reads every file below dir.
func tree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWriteSameBytes(t *testing.T) {
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, seed := range map[string]uint64{a: 5, b: 5, c: 6} {
		if err := Write(dir, Options{Images: 13, Seed: seed}); err != nil {
			t.Fatal(err)
		}
	}
	first, second, other := tree(t, a), tree(t, b), tree(t, c)
	if len(first) != 13+3 {
		t.Errorf("%d files, want 13 images and 3 annotation files", len(first))
	}
	if !cmp.Equal(first, second) {
		t.Error("the same seed gave other bytes")
	}
	for name, data := range first {
		if bytes.Equal(data, other[name]) {
			t.Errorf("%s is the same under another seed", name)
		}
	}
}

// The set is one that the COCO reader finds nothing to complain about.
func TestWriteIsClean(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, Options{Images: 65, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	classes, boxes, empty := [3]int{}, 0, 0
	for i, want := range []int{50, 10, 5} {
		s, err := coco.Load(annotationFile(dir, Splits[i]), filepath.Join(dir, "images"), coco.Options{Names: Names})
		if err != nil {
			t.Fatal(err)
		}
		p := s.Problems()
		if lines := p.Lines(); lines != nil {
			t.Errorf("%s: %q", Splits[i], lines)
		}
		if s.Len() != want {
			t.Errorf("%s: %d images, want %d", Splits[i], s.Len(), want)
		}
		for k := range s.Len() {
			if s.Sample(k).Boxes == nil {
				empty++
			}
			for _, b := range s.Sample(k).Boxes {
				classes[b.Class]++
				boxes++
			}
		}
	}
	for c, n := range classes {
		if n < boxes/5 {
			t.Errorf("%d of %d boxes are a %s", n, boxes, Names[c])
		}
	}
	if empty == 0 || empty > 12 {
		t.Errorf("%d of 65 images are empty", empty)
	}
}

func TestSplit(t *testing.T) {
	for n, want := range map[int][3]int{520: {400, 80, 40}, 13: {10, 2, 1}, 3: {1, 1, 1}, 100: {78, 15, 7}} {
		if got := Split(n); got != want {
			t.Errorf("Split(%d) = %v, want %v", n, got, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	tests := []struct {
		o    Options
		want string
	}{
		{Options{Images: 2}, "2 images; expected 3"},
		{Options{Images: -1}, "-1 images"},
		{Options{Images: 1 << 40}, "images; expected"},
		{Options{Width: 8}, "size of 8x160"},
		{Options{Height: 1 << 20}, "size of 160x1048576"},
		{Options{MinObjects: 4, MaxObjects: 3}, "4 to 3 objects"},
		{Options{MaxObjects: 1000}, "1 to 1000 objects"},
		{Options{MinSize: 3}, "objects of 3 to"},
		{Options{MinSize: math.NaN()}, "objects of NaN"},
		{Options{MaxSize: 161}, "to 161 pixels"},
	}
	for _, tt := range tests {
		dir := filepath.Join(t.TempDir(), "new")
		err := Write(dir, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.o, err, tt.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%+v: the folder was made all the same", tt.o)
		}
	}
}

func TestForeignSetIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, Options{Images: 3}); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, Options{Images: 3, Seed: 1}); err != nil {
		t.Errorf("drawing over a toy set: %v", err)
	}
	file := annotationFile(dir, "val")
	foreign := []byte(`{"info":{"description":"mine"},"images":[]}`)
	if err := os.WriteFile(file, foreign, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, Options{Images: 3}); err == nil || !strings.Contains(err.Error(), "give another folder") {
		t.Errorf("%v", err)
	}
	if data, _ := os.ReadFile(file); !bytes.Equal(data, foreign) {
		t.Error("a foreign file was written over")
	}
}

// The box of a shape that lies inside the picture is its outline's extent, the
// corner pixels included; of one that does not, it is cut at the edge and may
// be smaller still, since the widest part can lie outside.
func TestBoxFitsOutline(t *testing.T) {
	const w, h = 64, 48
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		class := rapid.IntRange(0, 2).Draw(t, "class")
		x := rapid.Float64Range(8, w-8).Draw(t, "x")
		y := rapid.Float64Range(8, h-8).Draw(t, "y")
		size := rapid.Float64Range(4, 40).Draw(t, "size")
		p := newShape(rng, class, x, y, size)
		owner := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(0, 0, 0, 0), h*super, w*super, gocv.MatTypeCV8UC1)
		defer owner.Close()
		fill(&owner, p.outline, color.RGBA{B: 1})
		_, got, err := survey(owner, 1)
		if err != nil {
			t.Fatal(err)
		}
		want := image.Rectangle{}
		for _, c := range p.outline {
			want = want.Union(image.Rect(c.X, c.Y, c.X+1, c.Y+1))
		}
		if side := float64(max(want.Dx(), want.Dy())) / super; math.Abs(side-size) > 2.0/super {
			t.Fatalf("larger side %g, want %g", side, size)
		}
		picture := image.Rect(0, 0, w*super, h*super)
		if want.In(picture) && got != want {
			t.Fatalf("drawn %v, outline %v", got, want)
		}
		if !got.In(want.Intersect(picture)) {
			t.Fatalf("drawn %v outside of %v", got, want)
		}
	})
}

func TestSurvey(t *testing.T) {
	owner := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(1, 0, 0, 0), 5, 7, gocv.MatTypeCV8UC1)
	defer owner.Close()
	owner.SetUCharAt(1, 3, 2)
	owner.SetUCharAt(1, 5, 2)
	owner.SetUCharAt(4, 2, 2)
	seen, last, err := survey(owner, 2)
	if err != nil || seen[0] != 32 || seen[1] != 3 || last != image.Rect(2, 1, 6, 5) {
		t.Errorf("%v %v %v", seen, last, err)
	}
}

func TestShapeArea(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		// A turned square of side a has a box of a(|cos|+|sin|), so its area lies
		// between half of the box's and all of it; a disc fills pi/4.
		const size = 40 * super
		if a := newShape(rng, square, 50, 50, 40).area / (size * size); a < 0.49 || a > 1.01 {
			t.Errorf("square fills %g of its box", a)
		}
		if a := newShape(rng, circle, 50, 50, 40).area / (size * size); math.Abs(a-math.Pi/4) > 0.01 {
			t.Errorf("circle fills %g of its box", a)
		}
	}
}

// Every box's object can be seen: more than half of it is neither hidden nor
// cut off, and no two boxes coincide so much that suppression removes one.
func TestScenesAreVisible(t *testing.T) {
	o := Options{MaxObjects: 12}.withDefaults()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		img, boxes, err := draw(rng, o)
		if err != nil {
			t.Fatal(err)
		}
		if img.Cols() != 160 || img.Rows() != 160 || img.Type() != gocv.MatTypeCV8UC3 {
			t.Errorf("image %dx%d type %v", img.Cols(), img.Rows(), img.Type())
		}
		img.Close()
		for i, a := range boxes {
			if a.X < 0 || a.Y < 0 || a.X+a.W > 160 || a.Y+a.H > 160 || a.W < 4 || a.H < 4 {
				t.Errorf("seed %d: box %+v", seed, a)
			}
			for _, b := range boxes[i+1:] {
				if v := iou(a, b); v > maxIoU {
					t.Errorf("seed %d: two boxes with IoU %g", seed, v)
				}
			}
		}
	}
}

func TestIoU(t *testing.T) {
	a := newBox(0, 0, 10, 10)
	for _, tt := range []struct {
		x, y, w, h, want float64
	}{{0, 0, 10, 10, 1}, {5, 0, 10, 10, 50.0 / 150}, {10, 0, 5, 5, 0}, {20, 20, 1, 1, 0}, {2, 2, 5, 5, 0.25}} {
		if got := iou(a, newBox(tt.x, tt.y, tt.w, tt.h)); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("%+v: got %g", tt, got)
		}
	}
}

func newBox(x, y, w, h float64) datasets.Box { return datasets.Box{X: x, Y: y, W: w, H: h} }
