package labels

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"yoloprune/datasets"
	"yoloprune/datasets/imagefile"
	"yoloprune/datasets/internal/cvthreads"
	"yoloprune/yolo/eval"
)

// Options say what Build accepts.
type Options struct {
	SkipBad bool     // leave out and count entries and images that cannot be used
	Names   []string // the class names in order that the file must have; nil takes the file's
	Decode  bool     // decode every image fully instead of reading its header
}

// Build applies the policy to what a reader found.
func Build(f *File, o Options) (*Set, error) {
	if err := f.checkNames(o.Names); err != nil {
		return nil, err
	}
	b := newBuilder(f)
	if len(f.Faults) > 0 && !o.SkipBad {
		return nil, f.faultsError()
	}
	bad := b.checkFiles(o)
	switch {
	case len(bad) > 0 && !o.SkipBad:
		return nil, b.badImages(bad)
	case len(b.set.samples) == 0 && len(bad) > 0:
		return nil, b.error("none of the %d images can be used; the first: %v", len(f.Images), bad[0])
	case len(b.set.samples) == 0 && len(f.Faults) > 0:
		return nil, f.faultsError()
	case len(b.set.samples) == 0:
		return nil, b.error("there are no images; expected at least one")
	}
	b.addBoxes()
	return b.set, nil
}

// Check lists everything that is wrong instead of stopping at the first
// mistake; every image is decoded. The set holds what can be used and may be
// empty.
func Check(f *File, o Options) (*Set, error) {
	if err := f.checkNames(o.Names); err != nil {
		return nil, err
	}
	o.Decode = true
	b := newBuilder(f)
	b.checkFiles(o)
	b.addBoxes()
	return b.set, nil
}

// builder turns a File into a Set.
type builder struct {
	*File
	set    *Set
	sample []int // image index to sample, -1 for one left out
}

func newBuilder(f *File) *builder {
	b := &builder{File: f, sample: make([]int, len(f.Images))}
	b.set = &Set{name: f.Name, names: f.Names(), truth: &eval.GroundTruth{}}
	for _, c := range f.Classes {
		b.set.ids = append(b.set.ids, c.ID)
		b.set.truth.Categories = append(b.set.truth.Categories, eval.Category{ID: c.ID, Name: c.Name})
	}
	b.set.problems.Notes = f.Notes
	for _, e := range f.Faults {
		b.set.problems.addFault(e)
	}
	return b
}

func (f *File) error(format string, args ...any) error {
	return &FormatError{File: f.Name, Msg: fmt.Sprintf(format, args...)}
}

func (f *File) checkNames(want []string) error {
	got := f.Names()
	if want == nil || slices.Equal(want, got) {
		return nil
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return f.error("class %d is %q (category id %d); expected %q; the categories in the order of their ids must be the expected classes", i, got[i], f.Classes[i].ID, want[i])
		}
	}
	return f.error("the file has %d categories; expected %d classes", len(got), len(want))
}

// maxListed bounds how many items one error names.
const maxListed = 5

// FaultsError reports entries that make no sense; it wraps each one's error.
type FaultsError struct {
	msg    string
	faults []*FormatError
}

func (e *FaultsError) Error() string { return e.msg }

// Unwrap returns the errors of the single entries.
func (e *FaultsError) Unwrap() []error {
	out := make([]error, len(e.faults))
	for i, f := range e.faults {
		out[i] = f
	}
	return out
}

func (f *File) faultsError() error {
	if len(f.Faults) == 1 {
		return f.Faults[0]
	}
	msg := fmt.Sprintf("%s: %d entries make no sense; mend them or have bad entries skipped:%s", f.Name, len(f.Faults), listed(f.Faults))
	return &FaultsError{msg, f.Faults}
}

// listed writes the first few errors, one a line.
func listed[E error](all []E) string {
	var s strings.Builder
	for _, e := range all[:min(len(all), maxListed)] {
		s.WriteString("\n  " + e.Error())
	}
	if n := len(all) - maxListed; n > 0 {
		fmt.Fprintf(&s, "\n  and %d more", n)
	}
	return s.String()
}

// seen is what looking at an image file gave.
type seen struct {
	w, h int
	err  error
}

// look reads the headers of all usable images, or decodes them, on all cores.
func (b *builder) look(o Options) []seen {
	if o.Decode {
		cvthreads.Set(1)
	}
	out := make([]seen, len(b.Images))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(out)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(out)); i = next.Add(1) - 1 {
				out[i] = lookAt(b.Images[i], o.Decode)
			}
		})
	}
	wg.Wait()
	return out
}

func lookAt(m Image, decode bool) (s seen) {
	if m.Bad {
		return s
	}
	if s.w, s.h, s.err = imagefile.Size(m.Path); s.err != nil || !decode {
		return s
	}
	img, err := imagefile.Read(m.Path)
	if err != nil {
		return seen{err: err}
	}
	defer img.Close()
	return seen{w: img.Cols(), h: img.Rows()}
}

// tinySide is the side from which on YOLOv5 and YOLOv7 accept images.
const tinySide = 10

// checkFiles looks at every image file and keeps the samples that can be used.
func (b *builder) checkFiles(o Options) (bad []error) {
	for i, s := range b.look(o) {
		m := &b.Images[i]
		b.sample[i] = -1
		if m.Bad {
			continue
		}
		if err := b.checkFile(*m, s); err != nil {
			bad = append(bad, err)
			continue
		}
		m.Width, m.Height = s.w, s.h
		if min(s.w, s.h) < tinySide {
			b.set.problems.Tiny.Add("%s: %dx%d", m.Path, s.w, s.h)
		}
		b.sample[i] = len(b.set.samples)
		b.set.samples = append(b.set.samples, datasets.Sample{ID: m.ID, Path: m.Path, Width: m.Width, Height: m.Height})
		b.set.files = append(b.set.files, m.File)
		b.set.truth.Images = append(b.set.truth.Images, m.ID)
	}
	return bad
}

func (b *builder) checkFile(m Image, s seen) error {
	p := &b.set.problems
	switch {
	case errors.Is(s.err, fs.ErrNotExist):
		p.Missing.Add("image %d (%s)", m.ID, m.Path)
		return fmt.Errorf("%s: no such file: %s", m.Where, m.Path)
	case s.err != nil:
		p.Unreadable.Add("image %d: %v", m.ID, s.err)
		if m.Where == m.Path {
			return s.err
		}
		return fmt.Errorf("%s: %w", m.Where, s.err)
	case m.SizeHint && m.Width != 0 && (s.w != m.Width || s.h != m.Height):
		p.SizeHint.Add("%s: annotated %dx%d, file %dx%d", m.Where, m.Width, m.Height, s.w, s.h)
	case m.Width != 0 && (s.w != m.Width || s.h != m.Height):
		p.WrongSize.Add("image %d (%s): annotated %dx%d, file %dx%d", m.ID, m.Path, m.Width, m.Height, s.w, s.h)
		return fmt.Errorf("%s: annotated as %dx%d, but the file %s is %dx%d (orientation applied), so the boxes would not fit; correct the annotations or the file",
			m.Where, m.Width, m.Height, m.Path, s.w, s.h)
	}
	return nil
}

func (b *builder) badImages(bad []error) error {
	msg := fmt.Sprintf("%d of %d images cannot be used; expected all of them; mend them or have bad images skipped:%s",
		len(bad), len(b.Images), listed(bad))
	return &ImageError{File: b.Name, Count: len(bad), Msg: msg, errs: bad}
}

// ImageError reports image files that cannot be used; it wraps each one's error.
type ImageError struct {
	File  string
	Count int
	Msg   string
	errs  []error
}

func (e *ImageError) Error() string { return e.File + ": " + e.Msg }

// Unwrap returns the errors of the single images.
func (e *ImageError) Unwrap() []error { return e.errs }

// SortFaults puts the faults into the order of their places in the file.
func (f *File) SortFaults() {
	slices.SortStableFunc(f.Faults, func(x, y *FormatError) int {
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Col, y.Col))
	})
}
