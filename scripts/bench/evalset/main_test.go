package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"yoloprune/yolo/eval"
)

// What is written is what was made, and all of it.
func TestWritten(t *testing.T) {
	s := sizes{images: 20, boxes: 90, classes: 5, perImage: 12, seed: 3}
	gt, dets := s.make()
	if len(gt.Images) != 20 || len(gt.Truths) != 90 || len(gt.Categories) != 5 || len(dets) != 240 {
		t.Fatalf("%d images, %d truths, %d classes, %d detections", len(gt.Images), len(gt.Truths), len(gt.Categories), len(dets))
	}
	var a, d bytes.Buffer
	if err := writeTruths(&a, gt); err != nil {
		t.Fatal(err)
	}
	if err := eval.WriteDetections(&d, dets); err != nil {
		t.Fatal(err)
	}
	again, err := eval.ReadGroundTruth("annotations.json", &a)
	if err != nil {
		t.Fatal(err)
	}
	dets2, err := eval.ReadDetectionsOf(again, "detections.json", &d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gt, again) + cmp.Diff(dets, dets2); diff != "" {
		t.Error(diff)
	}
	r, err := eval.COCO(again, dets2)
	if err != nil || r.AP < .01 || r.AP > .9 {
		t.Errorf("AP %v, error %v; a set that is all right or all wrong measures little", r, err)
	}
}

// Sets of one and ten times the size of COCO val2017.
var scales = []int{1, 10}

func BenchmarkMeasure(b *testing.B) {
	for _, scale := range scales {
		b.Run(fmt.Sprintf("%dx", scale), func(b *testing.B) {
			gt, dets := val2017(scale).make()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := eval.COCO(gt, dets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadDetections(b *testing.B) {
	for _, scale := range scales {
		b.Run(fmt.Sprintf("%dx", scale), func(b *testing.B) {
			gt, dets := val2017(scale).make()
			var text bytes.Buffer
			if err := eval.WriteDetections(&text, dets); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(text.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := eval.ReadDetectionsOf(gt, "detections.json", bytes.NewReader(text.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadGroundTruth(b *testing.B) {
	gt, _ := val2017(1).make()
	var text bytes.Buffer
	if err := writeTruths(&text, gt); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := eval.ReadGroundTruth("annotations.json", bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
