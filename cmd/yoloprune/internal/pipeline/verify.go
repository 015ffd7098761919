package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"gocv.io/x/gocv"

	"yoloprune/datasets/batch"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// MaxDifference is how far OpenCV's raw head outputs may be from ours.
const MaxDifference = 1e-3

// CompareCommand is the hidden command of the program that calls CompareOpenCV.
const CompareCommand = "compare-opencv"

// errNotRun marks a network that OpenCV refuses.
var errNotRun = errors.New("OpenCV does not run the network")

// VerifyOpenCV calls CompareOpenCV in a process of its own: where OpenCV does
// not like a network it throws a C++ exception, which nothing here can catch.
func VerifyOpenCV(cfg, weights, picture string, reader darknet.Reader) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var out, text bytes.Buffer
	c := exec.Command(self, CompareCommand, cfg, weights, picture, string(reader))
	c.Stdout, c.Stderr = &out, &text
	// Ctrl-C is for this process, which ends when the comparison is done.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Run(); err != nil {
		return 0, childError(cfg, text.String(), err)
	}
	var diff float64
	if _, err := fmt.Sscan(out.String(), &diff); err != nil {
		return 0, fmt.Errorf("%s: comparison with OpenCV: %w", cfg, err)
	}
	if !(diff <= MaxDifference) {
		return diff, fmt.Errorf("%s: OpenCV's head outputs differ from ours by %.2g, more than %g", cfg, diff, MaxDifference)
	}
	return diff, nil
}

// thrown finds what an exception of OpenCV says.
var thrown = regexp.MustCompile(`what\(\): +OpenCV\(.*?\).*? error: (?:\(-?\d+:[^)]*\) )?(.*)`)

func childError(cfg, text string, err error) error {
	if m := thrown.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: %w: %s", cfg, errNotRun, strings.TrimSpace(m[1]))
	}
	if _, message, ok := strings.Cut(text, "yoloprune: "); ok {
		return errors.New(strings.TrimSpace(message))
	}
	return fmt.Errorf("%s: comparison with OpenCV: %w", cfg, err)
}

// CompareOpenCV reads cfg and weights with us and with OpenCV's dnn module,
// runs both on an image, a drawn pattern if picture is empty, and returns the
// largest difference of a raw head output, relative to its size where that is
// above one. It may end the process.
func CompareOpenCV(cfg, weights, picture string, reader darknet.Reader) (float64, error) {
	g, _, err := darknet.Load(cfg, weights)
	if err != nil {
		return 0, err
	}
	if reader == darknet.ForOpenCV {
		shiftBack(g)
	}
	if err := CheckDetector(g); err != nil {
		return 0, fmt.Errorf("%s: %w", cfg, err)
	}
	img, err := readOrDraw(picture, g.Net.Width, g.Net.Height)
	if err != nil {
		return 0, err
	}
	defer img.Close()
	gocv.Resize(img, &img, image.Pt(g.Net.Width, g.Net.Height), 0, 0, gocv.InterpolationLinear)
	ours, err := forward(g, img)
	if err != nil {
		return 0, err
	}
	return compareHeads(g, cfg, weights, img, ours)
}

// shiftBack takes from the variances what an export for OpenCV adds to them.
func shiftBack(g *graph.Graph) {
	for _, n := range g.Convs() {
		for k, v := range n.Weights.Var {
			n.Weights.Var[k] = float32(float64(v) - darknet.VarianceShift)
		}
	}
}

// compareHeads runs OpenCV on an image of the network's input size and
// compares its heads with ours.
func compareHeads(g *graph.Graph, cfg, weights string, img gocv.Mat, ours []engine.Output) (float64, error) {
	worst := 0.0
	err := withOpenCV(cfg, weights, func(net *gocv.Net) error {
		blob := gocv.BlobFromImage(img, 1.0/255, image.Pt(g.Net.Width, g.Net.Height), gocv.NewScalar(0, 0, 0, 0), true, false)
		defer blob.Close()
		net.SetInput(blob, "")
		for i, h := range g.Heads() {
			d, err := compareHead(net, g, h, ours[i])
			if err != nil {
				return err
			}
			worst = max(worst, d)
		}
		return nil
	})
	return worst, err
}

func readOrDraw(picture string, w, h int) (gocv.Mat, error) {
	if picture != "" {
		return imagefile.Read(picture)
	}
	img := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 120, 60, 0), h, w, gocv.MatTypeCV8UC3)
	gocv.Circle(&img, image.Pt(w/3, h/3), min(w, h)/5, color.RGBA{R: 220, G: 40, B: 90}, -1)
	gocv.Rectangle(&img, image.Rect(w/2, h/2, w-w/8, h-h/8), color.RGBA{R: 30, G: 200, B: 240}, -1)
	return img, nil
}

func forward(g *graph.Graph, img gocv.Mat) ([]engine.Output, error) {
	net, err := engine.NewInference(g, engine.Options{Batch: 1})
	if err != nil {
		return nil, err
	}
	defer net.Close()
	x := make([]float32, g.InputShape().Size())
	if err := batch.Tensor(img, g.Net.Width, g.Net.Height, x); err != nil {
		return nil, err
	}
	return net.Forward(x)
}

// withOpenCV opens the network.
func withOpenCV(cfg, weights string, use func(*gocv.Net) error) error {
	net := gocv.ReadNet(weights, cfg)
	defer net.Close()
	if net.Empty() {
		return fmt.Errorf("%s: OpenCV does not read the network", cfg)
	}
	if err := net.SetPreferableBackend(gocv.NetBackendOpenCV); err != nil {
		return err
	}
	return use(&net)
}

// compareHead compares what a [yolo] reads.
func compareHead(net *gocv.Net, g *graph.Graph, h *graph.Node, ours engine.Output) (float64, error) {
	name, err := openCVName(g.Nodes[h.Inputs[0]])
	if err != nil {
		return 0, err
	}
	out := net.Forward(name)
	defer out.Close()
	theirs, err := out.DataPtrFloat32()
	if err != nil {
		return 0, fmt.Errorf("OpenCV's layer %s: %w", name, err)
	}
	s := ours.Shape
	if len(theirs) != s.Size() {
		return 0, fmt.Errorf("OpenCV's layer %s has %d values, ours %d", name, len(theirs), s.Size())
	}
	worst := 0.0
	px := s.H * s.W
	for c := range s.C {
		for p := range px {
			a, b := float64(ours.Data[p*s.C+c]), float64(theirs[c*px+p])
			d := math.Abs(a-b) / max(1, math.Abs(b))
			if !(d <= worst) {
				worst = d
			}
		}
	}
	return worst, nil
}

// openCVName is OpenCV's name for a convolution's output. It makes layers of
// their own from batch norm and activation; the latter has the number after the
// convolution's.
func openCVName(n *graph.Node) (string, error) {
	c := n.Conv()
	switch {
	case c == nil:
		return "", fmt.Errorf("%v stands before a head; only the output of a convolution can be compared with OpenCV's", n)
	case c.Activation != graph.Linear:
		return fmt.Sprintf("%s_%d", c.Activation, n.ID+1), nil
	case c.BatchNorm:
		return fmt.Sprintf("bn_%d", n.ID), nil
	}
	return fmt.Sprintf("conv_%d", n.ID), nil
}
