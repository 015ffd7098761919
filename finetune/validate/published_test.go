package validate

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"yoloprune/datasets/batch"
	"yoloprune/datasets/imagefile"
	"yoloprune/yolo/darknet"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

// published are trained networks with what OpenCV's dnn module and Darknet (the
// CPU build of AlexeyAB's fork) find with them. Their layers are depthwise and
// other convolutions, shortcuts, routes, pools, upsampling, dropout, and in the
// -v2 ones squeeze and excitation.
var published = []string{
	"yolo-fastest-1.0", "yolo-fastest-1.1", "yolo-fastest-1.1-xl", "yolo-fastest-1.1-body",
	"mobilenetv2-yolov3-nano-coco", "mobilenetv2-yolo-fastest-voc", "mobilenetv2-yolo-fastest-voc-v2",
	"yoloface-500k", "yoloface-500k-v2", "yoloface-50k",
}

// shared returns a path in the folder of published models beside the
// repository, and skips the test when there is none.
func shared(t *testing.T, path ...string) string {
	t.Helper()
	root := os.Getenv("YOLOPRUNE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no published models: %v", err)
	}
	return full
}

// reference is a file of detections. PNGs have the network's input size, so
// nothing is resized.
type reference struct {
	Conf   float64             `json:"conf"`
	NMS    float64             `json:"nms_iou"`
	Images map[string]findings `json:"images"`
	PNGs   map[string]findings `json:"images_png"`
}

type findings struct {
	Detections []found      `json:"detections"`
	Heads      []headOutput `json:"head_outputs"`
}

type found struct {
	Class int        `json:"class_id"`
	Score float64    `json:"score"`
	Box   [4]float64 `json:"box"`
}

// headOutput is the raw output of the convolution before a [yolo] layer.
// Samples are pairs of an index in channels x height x width and a value.
type headOutput struct {
	Layer   graph.NodeID `json:"cfg_layer"`
	Shape   [3]int       `json:"shape_chw"`
	Sum     float64      `json:"sum"`
	AbsSum  float64      `json:"abs_sum"`
	Min     float64      `json:"min"`
	Max     float64      `json:"max"`
	Samples [][2]float64 `json:"samples"`
}

func readReference(t *testing.T, model, file string) *reference {
	t.Helper()
	b, err := os.ReadFile(shared(t, "models", model, file))
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{}
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// model is a network with its inference.
type model struct {
	g   *graph.Graph
	net *engine.Inference
}

// openCVEps is what a batch norm's variance must be shifted by to give OpenCV's
// results: OpenCV adds 1e-6 to it, Darknet 1e-5. On these networks that changes
// raw outputs by up to 0.09, for they have channels of little variance.
const openCVEps = 1e-6 - graph.BatchNormEps

func loadModel(t *testing.T, name string, shift float32) *model {
	t.Helper()
	base := filepath.Join(shared(t, "models", name), name)
	g, warnings, err := darknet.Load(base+".cfg", base+".weights")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("published cfg has a warning: %v", w)
	}
	for _, n := range g.Convs() {
		for i := range n.Weights.Var {
			n.Weights.Var[i] += shift
		}
	}
	net, err := engine.NewInference(g, engine.Options{Batch: 1, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	return &model{g, net}
}

// forward runs the network on an image and returns the image's size, too.
func (m *model) forward(t *testing.T, path string, f batch.Fit) (out []engine.Output, w, h int) {
	t.Helper()
	img, err := imagefile.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	x := make([]float32, m.g.InputShape().Size())
	if err := f.Tensor(img, m.g.Net.Width, m.g.Net.Height, x); err != nil {
		t.Fatal(err)
	}
	if out, err = m.net.Forward(x); err != nil {
		t.Fatal(err)
	}
	return out, img.Cols(), img.Rows()
}

// deviation is how far values are from a reference: the largest difference of
// a sample, the least or the greatest value, and that of the sum, relative to
// the sum of the magnitudes.
type deviation struct{ value, sum float64 }

func (d *deviation) add(out engine.Output, want *headOutput) {
	s := out.Shape
	sum, lowest, highest := 0.0, math.Inf(1), math.Inf(-1)
	for _, v := range out.Data[:s.Size()] {
		sum += float64(v)
		lowest, highest = min(lowest, float64(v)), max(highest, float64(v))
	}
	d.sum = max(d.sum, math.Abs(sum-want.Sum)/want.AbsSum)
	d.value = max(d.value, math.Abs(lowest-want.Min), math.Abs(highest-want.Max))
	for _, x := range want.Samples {
		channel, pixel := int(x[0])/(s.H*s.W), int(x[0])%(s.H*s.W)
		d.value = max(d.value, math.Abs(float64(out.Data[pixel*s.C+channel])-x[1]))
	}
}

// TestPublishedHeads compares raw head outputs with OpenCV's. Its input is the
// PNG, bit for bit.
func TestPublishedHeads(t *testing.T) {
	for _, name := range published {
		t.Run(name, func(t *testing.T) {
			m, ref := loadModel(t, name, openCVEps), readReference(t, name, "opencv_dets.json")
			var d deviation
			for _, image := range []string{"dog", "person"} {
				png := fmt.Sprintf("%s_%dx%d.png", image, m.g.Net.Width, m.g.Net.Height)
				out, _, _ := m.forward(t, shared(t, "images", "resized", png), batch.Fit{})
				want := ref.Images[image+".jpg"].Heads
				if len(out) != len(want) || len(want) == 0 {
					t.Fatalf("%d heads, want %d", len(out), len(want))
				}
				for k := range want {
					s := out[k].Shape
					if got := [3]int{s.C, s.H, s.W}; got != want[k].Shape || m.g.Nodes[out[k].Node].Inputs[0] != want[k].Layer {
						t.Fatalf("head %d: %v of layer %d, want %v of layer %d", k, got, m.g.Nodes[out[k].Node].Inputs[0], want[k].Shape, want[k].Layer)
					}
					d.add(out[k], &want[k])
				}
			}
			t.Logf("values differ by up to %.1e, sums by %.1e of their magnitudes", d.value, d.sum)
			if !(d.value <= 1e-3) || !(d.sum <= 1e-5) {
				t.Errorf("values differ by up to %.1e, sums by %.1e of their magnitudes; want 1e-3 and 1e-5", d.value, d.sum)
			}
		})
	}
}

// agreements are the tools, each by its own rules: how it resizes, its batch
// norm's epsilon, its kind of suppression, and neither of them clips boxes. How
// close boxes come is bounded by the digits of the files, but on photographs
// Darknet decodes JPEG by stb_image, OpenCV and we by libjpeg; pixels differ by
// a few units.
var agreements = []struct {
	name, file, dir string
	fit             batch.Fit
	kind            string
	shift           float32
	score, iou      float64
}{
	{"darknet, resized", "darknet_dets.json", "images/resized", batch.Fit{}, head.NMSAuto, 0, 1e-4, .995},
	{"darknet, photographs", "darknet_dets.json", "images", batch.Fit{Resize: batch.Darknet}, head.NMSAuto, 0, .03, .99},
	{"opencv, resized", "opencv_dets.json", "images/resized", batch.Fit{}, head.NMSDefault, openCVEps, 1e-4, .995},
	{"opencv, photographs", "opencv_dets.json", "images", batch.Fit{Resize: batch.Bilinear}, head.NMSDefault, openCVEps, 1e-4, .995},
}

// tie is a photograph on which two boxes of one cow, an IoU of .7 apart, have
// scores of .405 and .406; the JPEG decoder decides which suppresses the other.
const tie = "mobilenetv2-yolo-fastest-voc, darknet_dets.json, horses.jpg"

func TestPublishedDetections(t *testing.T) {
	for _, a := range agreements {
		t.Run(a.name, func(t *testing.T) {
			total := 0
			for _, name := range published {
				m, ref := loadModel(t, name, a.shift), readReference(t, name, a.file)
				images := ref.Images
				if a.dir == "images/resized" {
					images = ref.PNGs
				}
				n, score, iou := 0, 0.0, 1.0
				for image, want := range images {
					out, w, h := m.forward(t, shared(t, a.dir, image), a.fit)
					got := detect(m.g, out, 0, head.Options{
						Conf: ref.Conf, NMS: ref.NMS, NMSKind: a.kind, NoClip: true,
						ImageW: w, ImageH: h, NetW: m.g.Net.Width, NetH: m.g.Net.Height,
					})
					s, o, err := compare(got, want.Detections)
					if err != nil {
						t.Errorf("%s, %s: %v", name, image, err)
					}
					n, score = n+len(got), max(score, s)
					if fmt.Sprintf("%s, %s, %s", name, a.file, image) != tie {
						iou = min(iou, o)
					}
				}
				t.Logf("%-32s %2d detections, scores differ by up to %.1e, IoU from %.4f", name, n, score, iou)
				if score > a.score || iou < a.iou {
					t.Errorf("%s: scores differ by up to %.1e, IoU is from %.4f; want %.1e and %.4f", name, score, iou, a.score, a.iou)
				}
				total += n
			}
			if total < 50 {
				t.Errorf("%d detections in all, which shows little", total)
			}
		})
	}
}

// compare pairs every expected detection with the nearest of its class, and
// returns the largest difference of scores and the smallest IoU.
func compare(got []head.Detection, want []found) (score, iou float64, err error) {
	if len(got) != len(want) {
		return 0, 1, fmt.Errorf("%d detections %+v, want %d %+v", len(got), got, len(want), want)
	}
	iou = 1
	used := make([]bool, len(got))
	for _, w := range want {
		best, at := 0.0, -1
		for i, g := range got {
			if o := head.IoU(centred(g.Box), centred(head.Box{X: w.Box[0], Y: w.Box[1], W: w.Box[2], H: w.Box[3]})); !used[i] && g.Class == w.Class && o > best {
				best, at = o, i
			}
		}
		if at < 0 {
			return score, iou, fmt.Errorf("nothing like %+v in %+v", w, got)
		}
		used[at] = true
		score, iou = max(score, math.Abs(got[at].Score-w.Score)), min(iou, best)
	}
	return score, iou, nil
}

func centred(b head.Box) head.CentreBox {
	return head.CentreBox{X: b.X + b.W/2, Y: b.Y + b.H/2, W: b.W, H: b.H}
}
