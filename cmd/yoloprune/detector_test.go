package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// The detector finds exactly one box, (8, 8, 16, 16) of class "white", in a
// white image of 32x32 pixels, and nothing in a black one:
//
//	layer 0   1x1 convolution with stride 32: y = gamma*x + beta of the top left
//	          pixel's red value x, twice: gamma 0.1 for filter 0, 1 for filter 1
//	layer 1   reads filter 0 alone: objectness 200*y - 10, class 10, box 0 0 0 0
//	layer 2   one cell, one anchor of 16x16: the box is in the centre
//
// White: y = 0.1, score = sigmoid(10)^2 = 0.99990920. Black: y = 0, score =
// sigmoid(-10)*sigmoid(10), which is below 0.001. Filter 0 has the smaller
// gamma, so a cut of half of the channels blinds the detector.
const detectorCfg = `[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=2
size=1
stride=32
pad=0
activation=linear

[convolutional]
filters=6
size=1
stride=1
pad=0
activation=linear

[yolo]
mask=0
anchors=16,16
classes=1
num=1
`

// detectorWeights lists the values in the order of a Darknet weights file; eps
// in the batch norm changes them by 5e-6.
var detectorWeights = []float32{
	0, 0, // layer 0: beta
	0.1, 1, // gamma
	0, 0, // mean
	1, 1, // variance
	1, 0, 0, 1, 0, 0, // kernel
	0, 0, 0, 0, -10, 10, // layer 1: bias of x, y, w, h, objectness, class
	0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, // kernel
}

const detectorTruth = `{
"images": [
	{"id": 1, "file_name": "white.png", "width": 32, "height": 32},
	{"id": 2, "file_name": "black.png", "width": 32, "height": 32}],
"categories": [{"id": 7, "name": "white"}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [8, 8, 16, 16], "area": 256, "iscrowd": 0}]
}
`

// writeDetector writes model.cfg, model.weights, truth.json, names.txt and
// images/{white,black}.png.
func writeDetector(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "detector DIR")
	write := func(name string, data []byte) {
		path := filepath.Join(ts.MkAbs(args[0]), name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o777))
		ts.Check(os.WriteFile(path, data, 0o666))
	}
	var weights bytes.Buffer
	for _, part := range []any{[3]int32{0, 2, 5}, uint64(0), detectorWeights} {
		ts.Check(binary.Write(&weights, binary.LittleEndian, part))
	}
	write("model.cfg", []byte(detectorCfg))
	write("model.weights", weights.Bytes())
	write("truth.json", []byte(detectorTruth))
	write("names.txt", []byte("white\n"))
	for name, c := range map[string]color.Gray{"white": {255}, "black": {0}} {
		img := image.NewGray(image.Rect(0, 0, 32, 32))
		for i := range img.Pix {
			img.Pix[i] = c.Y
		}
		var b bytes.Buffer
		ts.Check(png.Encode(&b, img))
		write("images/"+name+".png", b.Bytes())
	}
}
