package pipeline

import (
	"path/filepath"
	"testing"

	"yoloprune/configs"
	"yoloprune/datasets/formats"
	"yoloprune/datasets/labels"
	"yoloprune/datasets/toy"
)

// A run opens a split of each format as the same images, classes and boxes.
func TestOpenSplit(t *testing.T) {
	root := t.TempDir()
	if err := toy.Write(filepath.Join(root, "coco"), toy.Options{Images: 13}); err != nil {
		t.Fatal(err)
	}
	want, err := formats.Open(formats.Options{Format: "coco", Root: filepath.Join(root, "coco"), Split: "val"}, labels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	splits := map[string]configs.Split{
		"coco":    {Images: "images", Annotations: "annotations/val.json"},
		"toy":     {Images: "images", Annotations: "annotations/val.json"},
		"darknet": {Annotations: "val.txt"},
		"voc":     {Images: "JPEGImages", Annotations: "ImageSets/Main/val.txt"},
		"yolo":    {Annotations: "data.yaml"},
	}
	for format, split := range splits {
		dir := filepath.Join(root, format)
		switch format {
		case "coco":
		case "toy":
			dir = filepath.Join(root, "coco")
		default:
			if _, err := formats.Write(format, dir, "val", want, labels.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		r := &Run{exp: &configs.Experiment{Data: configs.Data{Root: dir, Format: format}}}
		got, err := r.openSplit("val", &split, dir, want.Names())
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got.Len() != want.Len() || len(got.Sample(0).Boxes) != len(want.Sample(0).Boxes) || len(got.GroundTruth().Truths) != len(want.GroundTruth().Truths) {
			t.Errorf("%s: %d images, want %d", format, got.Len(), want.Len())
		}
	}
}
