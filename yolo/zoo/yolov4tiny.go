package zoo

import (
	"fmt"

	"yoloprune/yolo/graph"
)

// tinyAnchors are YOLOv4-tiny's published anchors, for COCO at 416x416.
var tinyAnchors = [][2]float64{{10, 14}, {23, 27}, {37, 58}, {81, 82}, {135, 169}, {344, 319}}

// yolov4Tiny builds YOLOv4-tiny (Wang, Bochkovskiy, Liao, Scaled-YOLOv4, CVPR
// 2021, arXiv:2011.08036, section 4.1), layer by layer as in its published
// yolov4-tiny.cfg.
//
// The published fine head predicts anchors 1, 2, 3, an old slip that belongs to
// the published weights: anchor 0 is never used and anchor 3 twice. It is kept
// for the published anchors; anchors of one's own are used once each.
func (b *builder) yolov4Tiny() error {
	anchors, coarse, fine := tinyAnchors, []int{3, 4, 5}, []int{1, 2, 3}
	if b.Anchors != nil {
		anchors, fine = b.Anchors, []int{0, 1, 2}
	}
	if len(anchors) != 6 {
		return fmt.Errorf("%d anchors: yolov4-tiny has two heads of three, so it wants 6", len(anchors))
	}
	b.conv(32, 3, 2)
	b.conv(64, 3, 2)
	b.cspStage(64)
	b.cspStage(128)
	stride16 := b.cspStage(256)
	b.conv(512, 3, 1)
	neck := b.conv(256, 1, 1)
	b.conv(512, 3, 1)
	b.head(tinyYolo(anchors, coarse))

	b.route(neck)
	b.conv(128, 1, 1)
	b.route(b.upsample(), stride16)
	b.conv(256, 3, 1)
	b.head(tinyYolo(anchors, fine))
	return nil
}

// cspStage adds a cross-stage partial block of n filters and halves the size.
// It returns the block's last convolution, which has the full size.
func (b *builder) cspStage(n int) graph.NodeID {
	whole := b.conv(n, 3, 1)
	b.secondHalf()
	first := b.conv(n/2, 3, 1)
	second := b.conv(n/2, 3, 1)
	b.route(second, first)
	joined := b.conv(n, 1, 1)
	b.route(whole, joined)
	b.maxPool(2, 2)
	return joined
}

func tinyYolo(anchors [][2]float64, mask []int) graph.Yolo {
	return graph.Yolo{
		Mask: mask, Anchors: append([][2]float64(nil), anchors...), ScaleXY: 1.05,
		IgnoreThresh: .7, TruthThresh: 1, IoUThresh: 1,
		IoULoss: "ciou", IoUNormalizer: .07, ObjNormalizer: 1, ClsNormalizer: 1,
		NMSKind: "greedynms", BetaNMS: .6,
	}
}
