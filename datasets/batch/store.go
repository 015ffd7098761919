package batch

import (
	"fmt"
	"slices"
	"sync"

	"yoloprune/datasets"
	"yoloprune/datasets/imagefile"
)

// store holds the source's images at the network's size, 8 bits, B G R, as far
// as they fit into limit bytes. Only errors may be called beside load.
type store struct {
	src         datasets.Source
	w, h        int
	limit, used int64
	pixels      [][]byte
	scratch     []byte
	bad         []error // per sample, nil for one that was read or not yet tried

	mu    sync.Mutex
	found []error
}

func newStore(src datasets.Source, w, h int, limit int64) *store {
	return &store{
		src: src, w: w, h: h, limit: limit,
		pixels: make([][]byte, src.Len()),
		bad:    make([]error, src.Len()),
	}
}

// load returns sample i's pixels, H x W x 3, which are valid until the next
// load. A sample that could not be read once is not tried again.
func (s *store) load(i int) ([]byte, error) {
	if s.pixels[i] != nil || s.bad[i] != nil {
		return s.pixels[i], s.bad[i]
	}
	size := int64(s.w) * int64(s.h) * 3
	dst := s.scratch
	keep := s.used+size <= s.limit
	if keep || dst == nil {
		dst = make([]byte, size)
	}
	if err := s.decode(i, dst); err != nil {
		s.bad[i] = err
		s.mu.Lock()
		s.found = append(s.found, err)
		s.mu.Unlock()
		return nil, err
	}
	if keep {
		s.pixels[i], s.used = dst, s.used+size
	} else {
		s.scratch = dst
	}
	return dst, nil
}

func (s *store) decode(i int, dst []byte) error {
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
	return stretched(img, s.w, s.h, func(pixels []byte) { copy(dst, pixels) })
}

// errors lists what could not be read so far.
func (s *store) errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.found)
}
