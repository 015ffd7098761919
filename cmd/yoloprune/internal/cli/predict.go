package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/datasets/imagefile"
	"yoloprune/finetune/validate"
	"yoloprune/yolo/engine"
	"yoloprune/yolo/graph"
	"yoloprune/yolo/head"
)

type predictFlags struct {
	cfg, weights, names, save, letterbox string
	o                                    validate.Options
	json                                 bool
}

// prediction is an entry of `predict --json`.
type prediction struct {
	Image      string      `json:"image"`
	Detections []predicted `json:"detections"`
}

type predicted struct {
	Class int        `json:"class"`
	Name  string     `json:"name"`
	Score float64    `json:"score"`
	Box   [4]float64 `json:"box"` // x, y, width, height in pixels of the image
}

func (a *app) predictCommand() *cobra.Command {
	f := predictFlags{o: validate.Options{Batch: 1}}
	c := &cobra.Command{
		Use: "predict --cfg MODEL.cfg --weights MODEL.weights IMAGE ...", Short: "Find objects in images",
		Example: `  yoloprune predict --cfg model.cfg --weights model.weights --names model.names photo.jpg
  yoloprune predict --cfg model.cfg --weights model.weights --resize darknet photo.jpg   as Darknet itself does`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := require(c, "cfg", "weights"); err != nil {
				return err
			}
			if len(args) == 0 {
				return usagef("%s needs at least one image", c.CommandPath())
			}
			if err := checkDetection(f.o, f.letterbox); err != nil {
				return err
			}
			return a.predict(f, args)
		},
	}
	c.Flags().StringVar(&f.cfg, "cfg", "", "network")
	c.Flags().StringVar(&f.weights, "weights", "", "its weights")
	c.Flags().StringVar(&f.names, "names", "", "names file, one class a line")
	c.Flags().StringVar(&f.save, "save", "", "folder for copies of the images with boxes drawn")
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON array")
	detectionFlags(c, &f.o, &f.letterbox, detection{0.25, 0.45, head.NMSAuto})
	return c
}

func (a *app) predict(f predictFlags, images []string) error {
	g, err := a.load(f.cfg, f.weights)
	if err != nil {
		return err
	}
	if err := pipeline.CheckDetector(g); err != nil {
		return fmt.Errorf("%s: %w", f.cfg, err)
	}
	f.o.Fit.Letterbox = letterboxes(f.letterbox, g)
	names, err := readNames(f.names, g.Heads()[0].Yolo().Classes)
	if err != nil {
		return err
	}
	net, err := engine.NewInference(g, engine.Options{Batch: 1, Threads: f.o.Threads})
	if err != nil {
		return err
	}
	defer net.Close()
	out := []prediction{}
	for _, path := range images {
		dets, err := detect(g, net, path, f.o)
		if err != nil {
			return err
		}
		if err := saveDrawing(f.save, path, names, dets); err != nil {
			return err
		}
		out = append(out, a.named(path, names, dets))
	}
	if f.json {
		return a.printJSON(out)
	}
	return a.printPredictions(out)
}

func detect(g *graph.Graph, net *engine.Inference, path string, o validate.Options) ([]head.Detection, error) {
	img, err := imagefile.Read(path)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	dets, err := validate.Image(g, net, img, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return dets, nil
}

// saveDrawing writes dir/name-boxes.jpg, or dir/name-boxes-2.jpg and so on when
// that is taken.
func saveDrawing(dir, path string, names []string, dets []head.Detection) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	to := filepath.Join(dir, base+"-boxes.jpg")
	for n := 2; ; n++ {
		if _, err := os.Stat(to); err != nil {
			break
		}
		to = filepath.Join(dir, fmt.Sprintf("%s-boxes-%d.jpg", base, n))
	}
	return pipeline.DrawFile(path, to, names, dets)
}

func (a *app) named(path string, names []string, dets []head.Detection) prediction {
	p := prediction{Image: path, Detections: []predicted{}}
	for _, d := range dets {
		p.Detections = append(p.Detections, predicted{d.Class, names[d.Class], d.Score, [4]float64{d.Box.X, d.Box.Y, d.Box.W, d.Box.H}})
	}
	return p
}

func (a *app) printPredictions(out []prediction) error {
	for _, p := range out {
		if _, err := fmt.Fprintf(a.out, "%s: %d objects\n", p.Image, len(p.Detections)); err != nil {
			return err
		}
		for _, d := range p.Detections {
			fmt.Fprintf(a.out, "  %-16s %.3f  x %.0f  y %.0f  w %.0f  h %.0f\n", d.Name, d.Score, d.Box[0], d.Box[1], d.Box[2], d.Box[3])
		}
	}
	return nil
}
