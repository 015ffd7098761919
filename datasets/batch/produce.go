package batch

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"yoloprune/datasets"
	"yoloprune/datasets/augment"

	"gocv.io/x/gocv"
)

var errStopped = errors.New("stopped")

// produce fills batches in the order of the epoch until the end, an error or a
// closed stop. It closes ready as its last act.
func (l *Loader) produce(epoch int, mosaic bool, free <-chan *Batch, ready chan<- result, stop <-chan struct{}) {
	defer close(ready)
	send := func(r result) bool {
		select {
		case ready <- r:
			return true
		case <-stop:
			return false
		}
	}
	p, err := newProducer(l, epoch, mosaic, stop)
	if err != nil {
		send(result{err: err})
		return
	}
	defer p.close()
	for sent := 0; ; sent++ {
		var b *Batch
		select {
		case b = <-free:
		case <-stop:
			return
		}
		err := p.fill(b)
		if err == nil && sent == 0 && !p.worth(b) {
			err = p.tooFew()
		}
		if err != nil {
			send(result{err: err})
			return
		}
		if !p.worth(b) || !send(result{batch: b}) {
			return
		}
	}
}

// producer is the goroutine's own state: where it is in the epoch, and OpenCV
// buffers.
type producer struct {
	*Loader
	epoch  int
	mosaic bool
	stop   <-chan struct{}
	order  []int
	at     int // position in order
	aug    *augment.Augmenter
	tiles  [4]gocv.Mat
	out    gocv.Mat
}

func newProducer(l *Loader, epoch int, mosaic bool, stop <-chan struct{}) (*producer, error) {
	p := &producer{Loader: l, epoch: epoch, mosaic: mosaic, stop: stop, order: l.order(epoch)}
	if l.o.Augment == nil {
		return p, nil
	}
	aug, err := augment.New(*l.o.Augment, l.o.W, l.o.H)
	if err != nil {
		return nil, err
	}
	p.aug, p.out = aug, gocv.NewMat()
	for i := range p.tiles {
		p.tiles[i] = gocv.NewMatWithSize(l.o.H, l.o.W, gocv.MatTypeCV8UC3)
	}
	return p, nil
}

func (p *producer) close() {
	if p.aug == nil {
		return
	}
	p.aug.Close()
	p.out.Close()
	for i := range p.tiles {
		p.tiles[i].Close()
	}
}

// worth says whether the batch is handed out.
func (p *producer) worth(b *Batch) bool {
	return b.N == p.o.Batch || b.N > 0 && !p.o.DropLast
}

// tooFew is the error of an epoch without a batch, for which bad images are the
// only reason.
func (p *producer) tooFew() error {
	bad := p.store.errors()
	return fmt.Errorf("batch: %d of %d images cannot be read, which leaves no batch of %d; such as: %w", len(bad), p.store.src.Len(), p.o.Batch, errors.Join(bad[:min(len(bad), 3)]...))
}

// fill takes samples from the epoch's order until the batch is full.
func (p *producer) fill(b *Batch) error {
	size := p.o.H * p.o.W * 3
	b.N, b.Samples = 0, b.Samples[:0]
	for ; b.N < p.o.Batch && p.at < len(p.order); p.at++ {
		select {
		case <-p.stop:
			return errStopped
		default:
		}
		i := p.order[p.at]
		truths, err := p.sample(i, b.Images[b.N*size:(b.N+1)*size])
		if err != nil && p.o.SkipBad && p.store.bad[i] != nil {
			continue
		}
		if err != nil {
			return err
		}
		b.Truths[b.N] = truths
		b.Samples = append(b.Samples, i)
		b.N++
	}
	clear(b.Images[b.N*size:])
	clear(b.Truths[b.N:])
	return nil
}

// sample writes sample i, H x W x 3, to dst and returns its truths.
func (p *producer) sample(i int, dst []float32) ([]datasets.Truth, error) {
	if p.aug == nil {
		return p.plain(i, dst)
	}
	rng := p.rng(p.epoch, p.at)
	boxes, err := p.augmented(i, rng)
	if err != nil {
		return nil, err
	}
	pixels, err := p.out.DataPtrUint8()
	if err != nil {
		return nil, err
	}
	toFloats(dst, pixels)
	return datasets.Truths(boxes, p.o.W, p.o.H), nil
}

// plain is sample without augmentation. Truths are relative to the image, as
// the boxes of head.Detect are.
func (p *producer) plain(i int, dst []float32) ([]datasets.Truth, error) {
	picture, err := p.store.load(i)
	if err != nil {
		return nil, err
	}
	picture.write(dst, p.o.W, p.o.H)
	s := p.store.src.Sample(i)
	return datasets.Truths(s.Boxes, s.Width, s.Height), nil
}

// augmented changes sample i into p.out.
func (p *producer) augmented(i int, rng *rand.Rand) ([]datasets.Box, error) {
	first, err := p.tile(0, i)
	if err != nil {
		return nil, err
	}
	if !p.mosaic || rng.Float64() >= p.o.Augment.Mosaic {
		return p.aug.Single(rng, first, &p.out)
	}
	imgs := [4]augment.Image{first}
	for q := 1; q < len(imgs); q++ {
		if imgs[q], err = p.other(q, i, rng); err != nil {
			return nil, err
		}
	}
	return p.aug.Mosaic(rng, imgs, &p.out)
}

// other loads a random sample to stand beside sample i; where images are
// skipped and many are bad, that may be i itself.
func (p *producer) other(q, i int, rng *rand.Rand) (augment.Image, error) {
	for range mosaicRetries {
		k := rng.IntN(p.store.src.Len())
		img, err := p.tile(q, k)
		if err == nil || !p.o.SkipBad || p.store.bad[k] == nil {
			return img, err
		}
	}
	return p.tile(q, i)
}

// tile loads a sample into buffer q.
func (p *producer) tile(q, i int) (augment.Image, error) {
	picture, err := p.store.load(i)
	if err != nil {
		return augment.Image{}, err
	}
	to, err := p.tiles[q].DataPtrUint8()
	if err != nil {
		return augment.Image{}, err
	}
	copy(to, picture.bgr)
	s := p.store.src.Sample(i)
	sx, sy := float64(p.o.W)/float64(s.Width), float64(p.o.H)/float64(s.Height)
	return augment.Image{Pixels: p.tiles[q], Boxes: datasets.Scaled(s.Boxes, sx, sy)}, nil
}
