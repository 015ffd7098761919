package pipeline

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"gocv.io/x/gocv"

	"yoloprune/datasets/batch"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
)

// MaxDifference is how far OpenCV's raw head outputs may be from ours.
const MaxDifference = 1e-3

// VerifyOpenCV reads cfg and weights with us and with OpenCV's dnn module,
// runs both on an image, a drawn pattern if picture is empty, and returns the largest difference of a raw head
// output, relative to its size where that is above one. A difference over
// MaxDifference is an error.
func VerifyOpenCV(cfg, weights, picture string) (float64, error) {
	g, _, err := darknet.Load(cfg, weights)
	if err != nil {
		return 0, err
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
	worst := 0.0
	err = withOpenCV(cfg, weights, func(net *gocv.Net) error {
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
	if err == nil && !(worst <= MaxDifference) {
		err = fmt.Errorf("%s: OpenCV's head outputs differ from ours by %.2g, more than %g", cfg, worst, MaxDifference)
	}
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

// withOpenCV opens the network; OpenCV throws on what it cannot read, which
// ends the process, so what it is known to refuse is checked when the cfg is
// written.
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

// compareHead compares the output of the convolution before a [yolo]. OpenCV
// names it conv_N, after the layer's number.
func compareHead(net *gocv.Net, g *graph.Graph, h *graph.Node, ours engine.Output) (float64, error) {
	name := fmt.Sprintf("conv_%d", h.Inputs[0])
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
