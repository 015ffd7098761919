// Package batch turns a datasets.Source into network input: images decoded
// once, brought to the network's size, augmented if asked for, and handed out in
// batches that one goroutine prepares ahead.
//
// What a batch holds depends on the seed, the epoch and its position in the
// epoch only, never on timing or on what is cached. OpenCV's own thread pool is
// set to one thread for the whole process, since the cores belong to training.
package batch

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync/atomic"

	"yoloprune/datasets"
	"yoloprune/datasets/augment"
	"yoloprune/datasets/internal/cvthreads"
)

// Options describe the batches.
type Options struct {
	Batch      int              // images a batch
	W, H       int              // network input size
	Fit        Fit              // how images are brought to that size; not with Augment
	Augment    *augment.Options // nil: images are only resized. Augmented ones are stretched by area first
	Shuffle    bool             // a new order every epoch
	Seed       uint64
	DropLast   bool  // leave out a last batch that is not full
	SkipBad    bool  // leave out images that cannot be read
	CacheBytes int64 // for resized images: 0 means 1 GiB, negative none
}

// Batch is valid until the next one is asked for. A batch that is not full is
// padded with black images without truths.
type Batch struct {
	Images  []float32          // Batch x H x W x 3: R, G, B in 0..1
	Truths  [][]datasets.Truth // one list an image, Batch of them
	Samples []int              // indices into the source, N of them
	N       int                // images that are not padding
}

// Loader makes batches. One epoch at a time may run.
type Loader struct {
	o       Options
	store   *store
	buffers []*Batch
	busy    atomic.Bool
}

const (
	maxSide       = 1 << 14
	maxFloats     = 1 << 30 // of one batch
	prefetched    = 2
	defaultCache  = 1 << 30
	mosaicRetries = 20
)

// New returns a loader over src.
func New(src datasets.Source, o Options) (*Loader, error) {
	if src == nil || src.Len() == 0 {
		return nil, errors.New("batch: the data set has no images; expected at least one")
	}
	if err := o.check(src.Len()); err != nil {
		return nil, err
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCache
	}
	if o.Augment != nil {
		a := *o.Augment
		o.Augment = &a
	}
	cvthreads.Set(1)
	return &Loader{o: o, store: newStore(src, &o)}, nil
}

func (o *Options) check(images int) error {
	switch {
	case o.W < 1 || o.H < 1 || o.W > maxSide || o.H > maxSide:
		return fmt.Errorf("batch: an input size of %dx%d; expected sides of 1 to %d", o.W, o.H, maxSide)
	case o.Batch < 1:
		return fmt.Errorf("batch: %d images a batch; expected at least 1", o.Batch)
	case o.Batch > maxFloats/(3*o.W*o.H):
		return fmt.Errorf("batch: %d images of %dx%d are too much for one batch; expected at most %d", o.Batch, o.W, o.H, maxFloats/(3*o.W*o.H))
	case o.DropLast && o.Batch > images:
		return fmt.Errorf("batch: %d images a batch, but there are %d images and only full batches are wanted; make batches smaller", o.Batch, images)
	case o.Augment != nil && o.Fit != Fit{}:
		return fmt.Errorf("batch: a fit for augmented images, %+v; expected none", o.Fit)
	case o.Augment != nil:
		return o.Augment.Check()
	}
	if err := o.Fit.Check(); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	return nil
}

// Batches returns the number of batches of an epoch in which every image can
// be read. With SkipBad an epoch may have fewer.
func (l *Loader) Batches() int {
	n := l.store.src.Len()
	if !l.o.DropLast {
		n += l.o.Batch - 1
	}
	return n / l.o.Batch
}

// Skipped returns how many images were found so far that cannot be read.
func (l *Loader) Skipped() int { return len(l.store.errors()) }

// SkippedErrors says what is wrong with each of them, in the order they were found.
func (l *Loader) SkippedErrors() []error { return l.store.errors() }

// result is what the goroutine hands over: a batch or the error that ended it.
type result struct {
	batch *Batch
	err   error
}

// Epoch yields the batches of an epoch; after an error there are none. mosaic
// allows the mosaic of the augmentation options, which is usually switched off
// for the last epochs. Leaving the loop early ends the goroutine.
func (l *Loader) Epoch(epoch int, mosaic bool) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if !l.busy.CompareAndSwap(false, true) {
			yield(nil, errors.New("batch: the loader's other epoch has not ended; use one loader for each loop"))
			return
		}
		defer l.busy.Store(false)
		l.run(epoch, mosaic, yield)
	}
}

// run starts the goroutine and hands its batches on. It returns only when the
// goroutine has ended: closing stop makes it end, closing ready says it has.
func (l *Loader) run(epoch int, mosaic bool, yield func(*Batch, error) bool) {
	free := make(chan *Batch, prefetched+1)
	for _, b := range l.allocated() {
		free <- b
	}
	ready, stop := make(chan result, prefetched), make(chan struct{})
	defer func() {
		close(stop)
		for range ready {
		}
	}()
	go l.produce(epoch, mosaic, free, ready, stop)
	for r := range ready {
		if !yield(r.batch, r.err) || r.err != nil {
			return
		}
		free <- r.batch
	}
}

// allocated returns the buffers: those ahead and the one in the caller's hands.
func (l *Loader) allocated() []*Batch {
	for len(l.buffers) < prefetched+1 {
		l.buffers = append(l.buffers, &Batch{
			Images:  make([]float32, l.o.Batch*l.o.H*l.o.W*3),
			Truths:  make([][]datasets.Truth, l.o.Batch),
			Samples: make([]int, 0, l.o.Batch),
		})
	}
	return l.buffers
}

// order returns the epoch's sequence of samples.
func (l *Loader) order(epoch int) []int {
	n := l.store.src.Len()
	if l.o.Shuffle {
		return l.rng(epoch, -1).Perm(n)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// rng is the generator for one position of an epoch's sequence, -1 being the
// sequence itself. Seed and epoch are mixed by SplitMix64's step and finaliser
// (Steele, Lea and Flood, OOPSLA 2014), so that neighbours share nothing.
func (l *Loader) rng(epoch, position int) *rand.Rand {
	x := l.o.Seed + 0x9e3779b97f4a7c15*(uint64(epoch)+1)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return rand.New(rand.NewPCG(x^x>>31, uint64(position)))
}
