// Package statistics measures on images what criteria for pruning need: the
// responses of channels, and gradients of the training loss.
package statistics

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"yoloprune/datasets"
	"yoloprune/datasets/batch"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// Options say what is measured on.
type Options struct {
	Images  int // the first so many of the source; 0: all
	Threads int
	SkipBad bool    // go on without images that cannot be read
	Tau     float64 // see Response.Small; 0 is DefaultTau
}

// DefaultTau is the share of a layer's root mean square under which a response
// counts as small.
const DefaultTau = 0.05

// batchSize is the number of images that run at once, and of a mini-batch of
// Gradients; fewer where there are fewer images.
const batchSize = 8

// Response holds statistics of activations a over images and pixels, by layer and
// output channel.
//
// Small is the share of |a| < tau times the root mean square of the layer's
// activations in the first batch, and of a = 0 whatever that is. For ReLU and
// tau = 0 it would be the average percentage of zeros of Hu et al., Network
// Trimming, 2016, arXiv:1607.03250, section 3.1; leaky, mish and swish hardly
// ever give an exact zero.
//
// A convolution that leads to no head is not run; it counts as one that puts out
// zeros, all of them small.
type Response struct {
	Mean, MeanAbs, Small map[graph.NodeID][]float32
	Images               int // that were measured
}

// sums are the running sums of one layer.
type sums struct {
	sum, abs, small []float64
	limit           float32 // of small
	values          float64 // a channel
}

// Responses runs g, batch norms folded in, over images as they are in validation.
func Responses(g *graph.Graph, src datasets.Source, o Options) (*Response, error) {
	loader, size, err := open(g, src, o)
	if err != nil {
		return nil, err
	}
	net, err := engine.NewInference(g, engine.Options{Batch: size, Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	defer net.Close()
	layers := map[graph.NodeID]*sums{}
	r := &Response{Mean: map[graph.NodeID][]float32{}, MeanAbs: map[graph.NodeID][]float32{}, Small: map[graph.NodeID][]float32{}}
	for b, err := range loader.Epoch(0, false) {
		if err != nil {
			return nil, err
		}
		if _, err := net.Forward(b.Images); err != nil {
			return nil, err
		}
		for _, id := range net.Measured() {
			if layers[id] == nil {
				layers[id] = newSums(net, id, g.Nodes[id].Out, o.tau())
			}
			layers[id].add(net, id)
		}
		r.Images += b.N
	}
	if r.Images == 0 {
		return nil, errors.New("statistics: no image could be read")
	}
	return r, r.fill(g, layers)
}

func (o Options) check() error {
	if o.Images < 0 {
		return fmt.Errorf("statistics: images: %d; expected a number, or 0 for all", o.Images)
	}
	if !(o.Tau >= 0 && o.Tau <= math.MaxFloat32) {
		return fmt.Errorf("statistics: tau: %g; expected a positive number, or 0 for %g", o.Tau, DefaultTau)
	}
	return nil
}

func (o Options) tau() float64 {
	if o.Tau == 0 {
		return DefaultTau
	}
	return o.Tau
}

// open reads full batches, as the recalibration of batch norms does, in the order
// of the source; with fewer images a batch is as large as they are many.
func open(g *graph.Graph, src datasets.Source, o Options) (*batch.Loader, int, error) {
	if err := o.check(); err != nil {
		return nil, 0, err
	}
	if o.Images > 0 && o.Images < src.Len() {
		src = datasets.First(src, o.Images)
	}
	if src.Len() == 0 {
		return nil, 0, errors.New("statistics: there are no images")
	}
	size := min(batchSize, src.Len())
	l, err := batch.New(src, batch.Options{
		Batch: size, W: g.Net.Width, H: g.Net.Height, Fit: batch.Fit{Letterbox: head.Letterboxed(g.Net)}, DropLast: true, SkipBad: o.SkipBad,
	})
	return l, size, err
}

func newSums(net *engine.Inference, id graph.NodeID, s graph.Shape, tau float64) *sums {
	square, n := 0.0, 0
	net.Channels(id, func(_ int, v []float32, stride int) {
		for i := 0; i < len(v); i += stride {
			square += float64(v[i]) * float64(v[i])
			n++
		}
	})
	limit := tau * math.Sqrt(square/float64(n))
	return &sums{make([]float64, s.C), make([]float64, s.C), make([]float64, s.C), float32(limit), 0}
}

func (s *sums) add(net *engine.Inference, id graph.NodeID) {
	net.Channels(id, func(c int, v []float32, stride int) {
		var sum, abs float64
		small := 0
		for i := 0; i < len(v); i += stride {
			a := max(v[i], -v[i])
			sum += float64(v[i])
			abs += float64(a)
			if a < s.limit || a == 0 {
				small++
			}
		}
		s.sum[c] += sum
		s.abs[c] += abs
		s.small[c] += float64(small)
		if c == 0 {
			s.values += float64((len(v) + stride - 1) / stride)
		}
	})
}

func (r *Response) fill(g *graph.Graph, layers map[graph.NodeID]*sums) error {
	for _, n := range g.Nodes {
		s := layers[n.ID]
		if s == nil && n.Conv() == nil {
			continue
		}
		if s == nil {
			zeros := make([]float64, n.Out.C)
			s = &sums{sum: zeros, abs: zeros, small: slices.Repeat([]float64{1}, n.Out.C), values: 1}
		}
		r.Mean[n.ID], r.MeanAbs[n.ID], r.Small[n.ID] = over(s.sum, s.values), over(s.abs, s.values), over(s.small, s.values)
		if err := finite(n, "response", r.MeanAbs[n.ID]); err != nil {
			return err
		}
	}
	return nil
}

func over(v []float64, n float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x / n)
	}
	return out
}

// finite refuses what was measured as infinite or not a number.
func finite(n *graph.Node, what string, v []float32) error {
	for c, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("statistics: %v, channel %d: its %s is %v: the weights or the images make values without bounds", n, c, what, x)
		}
	}
	return nil
}
