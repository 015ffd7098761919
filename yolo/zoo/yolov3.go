package zoo

import "yoloprune/yolo/graph"

// yolov3 is YOLOv3 (Redmon, Farhadi, YOLOv3: An Incremental Improvement, 2018,
// arXiv:1804.02767).
//
// The published cfgs of this family have batch=1 for testing; the values for
// training stand beside it as comments and are taken here.
var yolov3 = architecture{
	layers:  (*builder).yolov3,
	anchors: yolov3Anchors,
	heads:   []head{yolov3Head, yolov3Head, yolov3Head},
	batch:   "batch=64 subdivisions=16 momentum=0.9",
	rate:    "0.001",
}

// yolov3SPP is YOLOv3 with spatial pyramid pooling behind the backbone (He et
// al., ECCV 2014, arXiv:1406.4729).
var yolov3SPP = architecture{
	layers: (*builder).yolov3SPP, anchors: yolov3.anchors, heads: yolov3.heads, batch: yolov3.batch, rate: yolov3.rate,
}

// yolov3Tiny is YOLOv3-tiny: two of YOLOv3's heads over a plain backbone of
// convolutions and pooling, as in Fast YOLO (Redmon et al., CVPR 2016,
// arXiv:1506.02640) before it.
var yolov3Tiny = architecture{
	layers:  (*builder).yolov3Tiny,
	anchors: tinyAnchors,
	heads:   []head{yolov3Head, yolov3Head},
	batch:   "batch=64 subdivisions=2 momentum=0.9",
	rate:    "0.001",
}

// yolov3Anchors are for COCO at 416x416 (section 2.3 of the paper).
var yolov3Anchors = [][2]float64{
	{10, 13}, {16, 30}, {33, 23}, {30, 61}, {62, 45}, {59, 119}, {116, 90}, {156, 198}, {373, 326},
}

// tinyAnchors are those of YOLOv3-tiny and YOLOv4-tiny, for COCO at 416x416.
var tinyAnchors = [][2]float64{{10, 14}, {23, 27}, {37, 58}, {81, 82}, {135, 169}, {344, 319}}

var yolov3Head = head{graph.Yolo{
	ScaleXY: 1, IgnoreThresh: .7, TruthThresh: 1, IoUThresh: 1,
	IoULoss: "mse", IoUNormalizer: .75, ObjNormalizer: 1, ClsNormalizer: 1,
	NMSKind: "default", BetaNMS: .6,
}, "jitter=.3 random=1"}

func (b *builder) yolov3() {
	stride8, stride16 := b.darknet53()
	b.yolov3Neck(b.bottlenecks(512, 5), stride16, stride8)
}

func (b *builder) yolov3SPP() {
	stride8, stride16 := b.darknet53()
	b.bottlenecks(512, 3)
	b.route(b.pools()...)
	b.yolov3Neck(b.bottlenecks(512, 3), stride16, stride8)
}

// darknet53 adds the backbone (table 1 of the paper). It returns the last
// layers of its stages at strides 8 and 16; the newest layer has stride 32.
func (b *builder) darknet53() (stride8, stride16 graph.NodeID) {
	b.conv(32, 3, 1)
	b.residualStage(64, 1)
	b.residualStage(128, 2)
	stride8 = b.residualStage(256, 8)
	stride16 = b.residualStage(512, 8)
	b.residualStage(1024, 4)
	return stride8, stride16
}

// yolov3Neck adds the three heads, the coarsest first, each of the finer two
// behind the layer that leads to the head before, doubled in size and joined
// to a finer layer of the backbone (section 2.3 of the paper).
func (b *builder) yolov3Neck(stride32, stride16, stride8 graph.NodeID) {
	b.conv(1024, 3, 1)
	b.head(2)

	b.enlarge(stride32, 256)
	b.route(b.last(), stride16)
	stride16 = b.bottlenecks(256, 5)
	b.conv(512, 3, 1)
	b.head(1)

	b.enlarge(stride16, 128)
	b.route(b.last(), stride8)
	b.bottlenecks(128, 5)
	b.conv(256, 3, 1)
	b.head(0)
}

// enlarge reduces a layer to n channels and doubles its size.
func (b *builder) enlarge(layer graph.NodeID, n int) {
	b.route(layer)
	b.conv(n, 1, 1)
	b.upsample()
}

// yolov3Tiny has pooling where YOLOv3 has strides, no shortcuts and two heads.
// Its last pooling window moves by one pixel, so that the size stays.
func (b *builder) yolov3Tiny() {
	for _, n := range []int{16, 32, 64, 128} {
		b.conv(n, 3, 1)
		b.maxPool(2, 2)
	}
	stride16 := b.conv(256, 3, 1)
	b.maxPool(2, 2)
	b.conv(512, 3, 1)
	b.maxPool(2, 1)
	b.conv(1024, 3, 1)
	neck := b.conv(256, 1, 1)
	b.conv(512, 3, 1)
	b.head(1)

	b.enlarge(neck, 128)
	b.route(b.last(), stride16)
	b.conv(256, 3, 1)
	b.head(0)
}
