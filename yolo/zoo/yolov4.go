package zoo

import (
	"fmt"

	"yoloprune/yolo/graph"
)

// yolov4 is YOLOv4 (Bochkovskiy, Wang, Liao, YOLOv4: Optimal Speed and Accuracy
// of Object Detection, 2020, arXiv:2004.10934).
var yolov4 = architecture{
	layers:  (*builder).yolov4,
	anchors: yolov4Anchors,
	heads:   []head{yolov4Head(1.2, ""), yolov4Head(1.1, ""), yolov4Head(1.05, "random=1")},
	batch:   "batch=64 subdivisions=8 momentum=0.949",
	rate:    "0.0013",
	more:    "mosaic=1",
}

// yolov4CSP is YOLOv4-CSP: YOLOv4 with a cross-stage partial neck and boxes
// from logistic values (Wang, Bochkovskiy, Liao, Scaled-YOLOv4, CVPR 2021,
// arXiv:2011.08036, section 4.1).
//
// The published cfg also has letter_box=1, with which Darknet refuses to train
// as soon as mosaic=1 stands beside it: mosaic stays, so images are stretched
// to the network's input. The published weights expect padding instead.
var yolov4CSP = architecture{
	layers:  (*builder).yolov4CSP,
	anchors: yolov4Anchors,
	heads:   []head{logisticHead(4, 5, 0), logisticHead(1, 5, 1), logisticHead(.4, 2, 1)},
	batch:   "batch=64 subdivisions=8 momentum=0.949",
	rate:    "0.001",
	more:    "mosaic=1 ema_alpha=0.9998",
}

// yolov4Anchors are for COCO at 512x512.
var yolov4Anchors = [][2]float64{
	{12, 16}, {19, 36}, {40, 28}, {36, 75}, {76, 55}, {72, 146}, {142, 110}, {192, 243}, {459, 401},
}

// yolov4Head is a head of YOLOv4. Its cfg asks for random input sizes at the
// coarsest head only, the last one, which is where Darknet looks.
func yolov4Head(scaleXY float64, more string) head {
	return head{graph.Yolo{
		ScaleXY: scaleXY, IgnoreThresh: .7, TruthThresh: 1, IoUThresh: .213,
		IoULoss: "ciou", IoUNormalizer: .07, ObjNormalizer: 1, ClsNormalizer: 1, MaxDelta: 5,
		NMSKind: "greedynms", BetaNMS: .6,
	}, "jitter=.3 " + more}
}

// logisticHead is a head over logistic values, as YOLOv4-CSP and YOLOv7 have.
func logisticHead(objNormalizer, maxDelta float64, smooth int) head {
	return head{graph.Yolo{
		ScaleXY: 2, NewCoords: true, IgnoreThresh: .7, TruthThresh: 1, IoUThresh: .2,
		IoULoss: "ciou", IoUNormalizer: .05, ObjNormalizer: objNormalizer, ClsNormalizer: .5, MaxDelta: maxDelta,
		NMSKind: "diounms", BetaNMS: .6,
	}, fmt.Sprintf("jitter=.1 objectness_smooth=%d resize=1.5", smooth)}
}

// yolov4 has Mish in the backbone, and leaky activations behind it.
func (b *builder) yolov4() {
	b.activation = graph.Mish
	b.conv(32, 3, 1)
	b.cspStage(64, 64, 32, 1)
	stride8, stride16 := b.cspDarknet53()
	b.activation = graph.Leaky
	b.bottlenecks(512, 3)
	b.route(b.pools()...)
	stride32 := b.bottlenecks(512, 3)
	b.pan(stride8, stride16, stride32, func(n int) graph.NodeID { return b.bottlenecks(n, 5) })
}

// yolov4CSP has a plain residual block in the first stage.
func (b *builder) yolov4CSP() {
	b.activation = graph.Mish
	b.conv(32, 3, 1)
	b.residualStage(64, 1)
	stride8, stride16 := b.cspDarknet53()
	stride32 := b.sppCSP(512, false)
	b.pan(stride8, stride16, stride32, b.cspBlock)
}

// cspDarknet53 adds the stages of the backbone from stride 4 on, Darknet-53
// with cross-stage partial connections. It returns the last layers at strides
// 8 and 16; the newest layer has stride 32.
func (b *builder) cspDarknet53() (stride8, stride16 graph.NodeID) {
	b.cspStage(128, 64, 64, 2)
	stride8 = b.cspStage(256, 128, 128, 8)
	stride16 = b.cspStage(512, 256, 256, 8)
	b.cspStage(1024, 512, 512, 4)
	return stride8, stride16
}

// cspStage halves the size and adds a cross-stage partial block of n channels:
// half of them, side, go past the residual blocks and are joined behind them
// (Wang et al., CSPNet, CVPR Workshops 2020, arXiv:1911.11929).
func (b *builder) cspStage(n, half, inner, blocks int) graph.NodeID {
	in := b.conv(n, 3, 2)
	side := b.conv(half, 1, 1)
	b.route(in)
	b.conv(half, 1, 1)
	for range blocks {
		b.residual(inner, half)
	}
	b.route(b.conv(half, 1, 1), side)
	return b.conv(n, 1, 1)
}

// pan adds a path aggregation network (Liu et al., CVPR 2018,
// arXiv:1803.01534) with the three heads: from coarse to fine, and from there
// back to coarse, with a block behind each join.
func (b *builder) pan(stride8, stride16, stride32 graph.NodeID, block func(n int) graph.NodeID) {
	b.lateral(256, stride16)
	stride16 = block(256)
	b.lateral(128, stride8)
	top := block(128)
	b.conv(256, 3, 1)
	b.head(0)
	for scale, side := range []graph.NodeID{stride16, stride32} {
		n := 256 << scale
		b.route(top)
		b.route(b.conv(n, 3, 2), side)
		top = block(n)
		b.conv(2*n, 3, 1)
		b.head(scale + 1)
	}
}

// cspBlock is the neck's cross-stage partial block of n channels, which splits
// behind its first convolution and has no shortcuts (Scaled-YOLOv4, section
// 4.1, CSP-ized PAN).
func (b *builder) cspBlock(n int) graph.NodeID {
	in := b.conv(n, 1, 1)
	side := b.conv(n, 1, 1)
	b.route(in)
	for range 2 {
		b.conv(n, 1, 1)
		b.conv(n, 3, 1)
	}
	b.route(b.last(), side)
	return b.conv(n, 1, 1)
}
