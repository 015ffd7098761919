package batch

import (
	"fmt"
	"slices"
	"sync"

	"yoloprune/datasets"
	"yoloprune/datasets/imagefile"
)

// store holds the source's images, resized for the network, as far as they fit
// into limit bytes. Only errors may be called beside load.
type store struct {
	src         datasets.Source
	fit         Fit
	w, h        int
	limit, used int64
	pictures    []*picture
	scratch     picture
	bad         []error // per sample, nil for one that was read or not yet tried

	mu    sync.Mutex
	found []error
}

func newStore(src datasets.Source, o *Options) *store {
	s := &store{
		src: src, fit: o.Fit, w: o.W, h: o.H, limit: o.CacheBytes,
		pictures: make([]*picture, src.Len()),
		bad:      make([]error, src.Len()),
	}
	if o.Augment != nil {
		s.fit = Fit{Resize: Area}
	}
	return s
}

// load returns sample i, which is valid until the next load. A sample that
// could not be read once is not tried again.
func (s *store) load(i int) (*picture, error) {
	if s.pictures[i] != nil || s.bad[i] != nil {
		return s.pictures[i], s.bad[i]
	}
	sample := s.src.Sample(i)
	size := s.fit.bytes(sample.Width, sample.Height, s.w, s.h)
	keep := s.used+size <= s.limit
	dst := &s.scratch
	if keep {
		dst = &picture{}
	}
	if err := s.decode(i, dst); err != nil {
		s.bad[i] = err
		s.mu.Lock()
		s.found = append(s.found, err)
		s.mu.Unlock()
		return nil, err
	}
	if keep {
		s.pictures[i], s.used = dst, s.used+size
	}
	return dst, nil
}

func (s *store) decode(i int, dst *picture) error {
	sample := s.src.Sample(i)
	img, err := imagefile.Read(sample.Path)
	if err != nil {
		return fmt.Errorf("image %d: %w", sample.ID, err)
	}
	defer img.Close()
	if img.Cols() != sample.Width || img.Rows() != sample.Height {
		return fmt.Errorf("image %d: %s is %dx%d, but its boxes are for %dx%d; correct the annotations or the file",
			sample.ID, sample.Path, img.Cols(), img.Rows(), sample.Width, sample.Height)
	}
	return dst.resize(img, s.fit, s.w, s.h)
}

// errors lists what could not be read so far.
func (s *store) errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.found)
}
