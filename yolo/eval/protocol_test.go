package eval

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestOptionsCheck(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Protocol: "pascal"}, `protocol "pascal": use one of coco, darknet, voc07, voc12`},
		{Options{IoU: .5}, "the protocol coco has its own"},
		{Options{Points: 11}, "the protocol coco has its own"},
		{Options{MaxDets: [3]int{1, 10, 10}}, "limits of detections [1 10 10]: must be three rising numbers"},
		{Options{MaxDets: [3]int{-1, 10, 100}}, "must be three rising numbers"},
		{Options{Protocol: ProtocolVOC07, Exact: true}, "exact: only the protocol coco has it, not voc07"},
		{Options{Protocol: ProtocolVOC12, MaxDets: [3]int{1, 2, 3}}, "only the protocol coco has them, not voc12"},
		{Options{Protocol: ProtocolVOC12, Points: 11}, "voc12 has its own"},
		{Options{Protocol: ProtocolVOC12, IoU: 1}, "IoU threshold 1: must be in [0, 1)"},
		{Options{Protocol: ProtocolDarknet, Points: 12}, "12 recall points: use 11, 101, or 0"},
		{Options{Protocol: ProtocolDarknet, Threshold: 2}, "score threshold 2: must be in [0, 1)"},
	} {
		if _, err := Measure(nil, nil, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %s", c.o, err, c.want)
		}
	}
	if _, err := TraceCurves(nil, nil, 1.5); err == nil || !strings.Contains(err.Error(), "IoU threshold 1.5") {
		t.Errorf("curves: error %v", err)
	}
	if _, err := Confuse(nil, nil, .25, -1); err == nil || !strings.Contains(err.Error(), "IoU threshold -1") {
		t.Errorf("confusion: error %v", err)
	}
}

// Every result says by which rules it was made.
func TestResultProtocol(t *testing.T) {
	for want, o := range map[string]Options{
		`{"name":"coco","evaluator":"COCO bbox, 101 points, IoU .50:.95, 100 detections a class","mode":"mended","iou":[0.5,0.55,0.6,0.65,0.7,0.75,0.8,0.85,0.8999999999999999,0.95],"points":101,"max_dets":[1,10,100]}`:                                       {},
		`{"name":"coco","evaluator":"COCO bbox, 101 points, IoU .50:.95, 3 detections a class, annotation 0 never found as in pycocotools","mode":"exact","iou":[0.5,0.55,0.6,0.65,0.7,0.75,0.8,0.85,0.8999999999999999,0.95],"points":101,"max_dets":[1,2,3]}`: {Exact: true, MaxDets: [3]int{1, 2, 3}},
		`{"name":"voc07","evaluator":"PASCAL VOC 2007, 11 points, IoU over 0.5","iou":[0.5],"points":11}`:                                                                                                                                                       {Protocol: ProtocolVOC07},
		`{"name":"voc12","evaluator":"PASCAL VOC 2010 to 2012, area under the curve, IoU over 0.75","iou":[0.75],"points":0}`:                                                                                                                                   {Protocol: ProtocolVOC12, IoU: .75},
		`{"name":"darknet","evaluator":"Darknet detector map, area under the curve, IoU over 0.5, mean over all classes","iou":[0.5],"points":0}`:                                                                                                               {Protocol: ProtocolDarknet},
		`{"name":"darknet","evaluator":"Darknet detector map, 101 points, IoU over 0.5, mean over all classes","iou":[0.5],"points":101}`:                                                                                                                       {Protocol: ProtocolDarknet, Points: 101},
	} {
		r, err := Measure(nil, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(r.Protocol)
		if err != nil || string(got) != want {
			t.Errorf("%+v: protocol %s, error %v, want %s", o, got, err, want)
		}
	}
}
