// Step times a training step of YOLOv4-tiny: forward, loss, backward. The loss
// stands in for YOLO's: the mean square of each head's raw output, summed over
// the heads, as in torch_step.py. It prints one JSON object.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"yoloprune/yolo/engine"
	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/zoo"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "step:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	batch, size, classes, steps, warmup, threads int
	order                                        string
}

// result is what one run prints; torch_step.py prints the same keys.
type result struct {
	Name     string  `json:"name"`
	Batch    int     `json:"batch"`
	Size     int     `json:"size"`
	Threads  int     `json:"threads"`
	Steps    int     `json:"steps"`
	Params   int     `json:"params"`
	MinMS    float64 `json:"min_ms"`
	MedianMS float64 `json:"median_ms"`
	Loss     float64 `json:"loss"`
}

func run() error {
	var s settings
	flag.IntVar(&s.batch, "batch", 8, "images in a batch")
	flag.IntVar(&s.size, "size", 416, "width and height of the input")
	flag.IntVar(&s.classes, "classes", 80, "classes of the heads")
	flag.IntVar(&s.steps, "steps", 8, "timed steps")
	flag.IntVar(&s.warmup, "warmup", 2, "steps before these")
	flag.IntVar(&s.threads, "threads", 2, "threads")
	flag.StringVar(&s.order, "order", "", "memory order of the activations: nhwc, nChw8c or nChw16c; by default the processor's best")
	flag.Parse()
	if s.batch < 1 || s.size < 32 || s.steps < 1 || s.warmup < 0 {
		return fmt.Errorf("batch %d, size %d, steps %d, warmup %d: too small", s.batch, s.size, s.steps, s.warmup)
	}
	r, err := measure(s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func measure(s settings) (*result, error) {
	g, err := zoo.Build("yolov4-tiny", zoo.Options{Classes: s.classes, Width: 1, InputW: s.size, InputH: s.size})
	if err != nil {
		return nil, err
	}
	if err := zoo.InitWeights(g, 1); err != nil {
		return nil, err
	}
	o, err := options(s)
	if err != nil {
		return nil, err
	}
	t, err := engine.NewTraining(g, meanSquare, o)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	images := noise(s.batch * g.InputShape().Size())
	r := &result{Name: "yoloprune", Batch: s.batch, Size: s.size, Threads: s.threads, Steps: s.steps, Params: params(g)}
	var times []float64
	for i := range s.warmup + s.steps {
		start := time.Now()
		if r.Loss, err = t.Step(images); err != nil {
			return nil, err
		}
		if i >= s.warmup {
			times = append(times, float64(time.Since(start).Microseconds())/1000)
		}
	}
	slices.Sort(times)
	r.MinMS, r.MedianMS = times[0], times[len(times)/2]
	return r, nil
}

func options(s settings) (engine.Options, error) {
	o := engine.Options{Batch: s.batch, Threads: s.threads}
	if s.order == "" {
		return o, nil
	}
	for _, order := range []onednn.Order{onednn.NHWC, onednn.Blocked8, onednn.Blocked16} {
		if order.String() == s.order {
			return o.WithOrder(order), nil
		}
	}
	return o, fmt.Errorf("order %q: use nhwc, nChw8c or nChw16c", s.order)
}

// meanSquare is the sum over the heads of mean(x^2); its gradient is 2x/n.
func meanSquare(heads []engine.Output, grads [][]float32) (float64, error) {
	total := 0.0
	for h, head := range heads {
		sum, scale := 0.0, 2/float32(len(head.Data))
		for i, x := range head.Data {
			sum += float64(x) * float64(x)
			grads[h][i] = scale * x
		}
		total += sum / float64(len(head.Data))
	}
	if math.IsNaN(total) {
		return 0, fmt.Errorf("the loss is not a number")
	}
	return total, nil
}

func noise(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32()
	}
	return x
}

// params counts what is trained: kernels, biases and gammas.
func params(g *graph.Graph) int {
	n := 0
	for _, c := range g.Convs() {
		n += len(c.Weights.Kernel) + len(c.Weights.Bias) + len(c.Weights.Gamma)
	}
	return n
}
