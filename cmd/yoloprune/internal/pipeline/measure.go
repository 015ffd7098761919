package pipeline

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"gocv.io/x/gocv"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/draw"
	"yoloprune/datasets/imagefile"
	"yoloprune/finetune/validate"
	"yoloprune/pruning/report"
	"yoloprune/yolo/cost"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/engine/onednn"
	"yoloprune/yolo/eval"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// Metrics is a measurement as metrics.json and `val --json` hold it.
type Metrics struct {
	Stage string `json:"stage,omitempty"`
	report.Metrics
	Protocol Protocol `json:"protocol"`
	Skipped  int      `json:"skipped_images,omitempty"`
	Details  *Details `json:"details,omitempty"`
}

// Protocol names what a figure depends on beside the network: the evaluator's
// rules, and how the boxes were found.
type Protocol struct {
	evaluator
	boxes
}

type (
	evaluator = eval.Protocol
	boxes     = validate.Protocol
)

// NewMetrics joins a result with the network's cost.
func NewMetrics(g *graph.Graph, m *validate.Result, images int) *Metrics {
	out := &Metrics{Protocol: Protocol{m.Result.Protocol, m.Protocol}, Skipped: m.Skipped}
	out.Images = images - m.Skipped
	out.setCost(g)
	out.SetResult(m.Result)
	return out
}

func (m *Metrics) setCost(g *graph.Graph) {
	t := cost.Of(g)
	m.Params, m.MACs, m.FLOPs, m.Bytes = t.Params(), t.MACs(), t.FLOPs(), t.WeightsFileBytes()
	m.Input = [2]int{t.InputW, t.InputH}
}

// SetResult takes over the twelve numbers and those of every class, which are
// the protocol's own.
func (m *Metrics) SetResult(r *eval.Result) {
	m.AP, m.AP50, m.AP75, m.APs, m.APm, m.APl = r.AP, r.AP50, r.AP75, r.APs, r.APm, r.APl
	m.AR1, m.AR10, m.AR100, m.ARs, m.ARm, m.ARl = r.AR1, r.AR10, r.AR100, r.ARs, r.ARm, r.ARl
	m.Classes, m.Classes50 = map[string]float64{}, map[string]float64{}
	for _, c := range r.PerClass {
		m.Classes[c.Category.Name], m.Classes50[c.Category.Name] = c.MeanAP, c.AP50
	}
}

// measure writes val/<name>: metrics on both splits, predictions and samples.
func (r *Run) measure(name string) error {
	ms, runs, err := Latency(r.g, r.exp.Threads)
	if err != nil {
		return err
	}
	dir := r.path("val", name)
	val, m, err := r.measureSplit(name, r.data.val)
	if err != nil {
		return err
	}
	m.LatencyMS, m.LatencyRuns, m.Threads = ms, runs, onednn.SetThreads(r.exp.Threads)
	if err := writePredictions(filepath.Join(dir, "predictions.json"), val.Detections); err != nil {
		return err
	}
	if m.Details, err = NewDetails(val.Truth, val.Detections, val.Result); err != nil {
		return err
	}
	if err := m.Details.Plot(dir); err != nil {
		return err
	}
	if err := r.writeSamples(filepath.Join(dir, "samples"), val); err != nil {
		return err
	}
	both := fmt.Sprintf("val AP50 %.3f, AP %.3f", m.AP50, m.AP)
	if r.data.test != nil {
		_, t, err := r.measureSplit(name, r.data.test)
		if err != nil {
			return err
		}
		both += fmt.Sprintf("; test AP50 %.3f, AP %.3f", t.AP50, t.AP)
		if err := writeJSON(filepath.Join(dir, "test.json"), t); err != nil {
			return err
		}
	}
	r.say("%s: %s; %s parameters, %.3f GFLOPs, %.1f ms an image", name, both, term.SI(float64(m.Params)), float64(m.FLOPs)/1e9, ms)
	return writeJSON(filepath.Join(dir, "metrics.json"), m)
}

func (r *Run) measureSplit(name string, set *coco.Set) (*validate.Result, *Metrics, error) {
	o := r.validation()
	o.Eval.Protocol = r.exp.Val.Protocol
	v, err := validate.New(set, r.g.Net.Width, r.g.Net.Height, o)
	if err != nil {
		return nil, nil, err
	}
	res, err := v.Run(r.g, nil)
	if err != nil {
		return nil, nil, err
	}
	m := NewMetrics(r.g, res, set.Len())
	m.Stage = name
	if m.Skipped > 0 {
		r.warn("%s: %d images could not be read and are left out of the measurement", name, m.Skipped)
	}
	return res, m, nil
}

func writePredictions(path string, dets []eval.Detection) error {
	var b bytes.Buffer
	if err := eval.WriteDetections(&b, dets); err != nil {
		return err
	}
	return renameio.WriteFile(path, b.Bytes(), 0o666)
}

// sampleConf is the score from which a sample image shows a box.
const sampleConf = 0.25

// writeSamples draws the detections on the first images that have truths, the
// same ones for every stage.
func (r *Run) writeSamples(dir string, m *validate.Result) error {
	if r.exp.Report == nil || r.exp.Report.Samples == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	drawn := 0
	for i := 0; i < r.data.val.Len() && drawn < r.exp.Report.Samples; i++ {
		s := r.data.val.Sample(i)
		if len(s.Boxes) == 0 {
			continue
		}
		err := DrawFile(s.Path, filepath.Join(dir, fmt.Sprintf("%d.jpg", drawn)), r.data.val.Names(), above(m.Images[i], sampleConf))
		if r.exp.Data.SkipBad && BadImage(err) {
			continue
		}
		if err != nil {
			return err
		}
		drawn++
	}
	return nil
}

func above(dets []head.Detection, conf float64) []head.Detection {
	var out []head.Detection
	for _, d := range dets {
		if d.Score > conf {
			out = append(out, d)
		}
	}
	return out
}

// DrawFile writes a copy of an image with detections drawn on it.
func DrawFile(from, to string, names []string, dets []head.Detection) error {
	img, err := imagefile.Read(from)
	if err != nil {
		return err
	}
	defer img.Close()
	draw.Detections(&img, names, dets)
	b, err := gocv.IMEncode(gocv.FileExt(filepath.Ext(to)), img)
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	defer b.Close()
	return renameio.WriteFile(to, b.GetBytes(), 0o666)
}

// latencyRuns is how often a forward pass is timed, after latencyWarmup.
const (
	latencyRuns   = 40
	latencyWarmup = 5
)

// Latency returns the median time of one image's forward pass in milliseconds
// (batch 1; no decoding, no suppression) and the number of passes.
func Latency(g *graph.Graph, threads int) (float64, int, error) {
	net, err := engine.NewInference(g, engine.Options{Batch: 1, Threads: threads})
	if err != nil {
		return 0, 0, err
	}
	defer net.Close()
	image := make([]float32, g.InputShape().Size())
	for i := range image {
		image[i] = float32(i%255) / 255
	}
	var ms []float64
	for i := range latencyWarmup + latencyRuns {
		begin := time.Now()
		if _, err := net.Forward(image); err != nil {
			return 0, 0, err
		}
		if i >= latencyWarmup {
			ms = append(ms, time.Since(begin).Seconds()*1e3)
		}
	}
	slices.Sort(ms)
	return ms[len(ms)/2], len(ms), nil
}
