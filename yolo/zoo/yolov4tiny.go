package zoo

import "yoloprune/yolo/graph"

// yolov4Tiny is YOLOv4-tiny (Wang, Bochkovskiy, Liao, Scaled-YOLOv4, CVPR 2021,
// arXiv:2011.08036, section 4.2).
//
// The published fine head predicts anchors 1, 2, 3, an old slip that belongs to
// the published weights: anchor 0 is never used and anchor 3 twice. It is kept
// for the published anchors; anchors of one's own are used once each.
var yolov4Tiny = architecture{
	layers:  (*builder).yolov4Tiny,
	anchors: tinyAnchors,
	heads:   []head{yolov4TinyHead([]int{1, 2, 3}), yolov4TinyHead(nil)},
	batch:   "batch=64 subdivisions=1 momentum=0.9",
	rate:    "0.00261",
}

func yolov4TinyHead(mask []int) head {
	return head{graph.Yolo{
		Mask: mask, ScaleXY: 1.05, IgnoreThresh: .7, TruthThresh: 1, IoUThresh: 1,
		IoULoss: "ciou", IoUNormalizer: .07, ObjNormalizer: 1, ClsNormalizer: 1,
		NMSKind: "greedynms", BetaNMS: .6,
	}, "jitter=.3 random=0 resize=1.5"}
}

func (b *builder) yolov4Tiny() {
	b.conv(32, 3, 2)
	b.conv(64, 3, 2)
	b.tinyStage(64)
	b.tinyStage(128)
	stride16 := b.tinyStage(256)
	b.conv(512, 3, 1)
	neck := b.conv(256, 1, 1)
	b.conv(512, 3, 1)
	b.head(1)

	b.enlarge(neck, 128)
	b.route(b.last(), stride16)
	b.conv(256, 3, 1)
	b.head(0)
}

// tinyStage adds a cross-stage partial block of n filters and halves the size.
// It returns the block's last convolution, which has the full size.
func (b *builder) tinyStage(n int) graph.NodeID {
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

// secondHalf adds a route to the upper half of the last layer's channels.
func (b *builder) secondHalf() {
	b.g.Add(&graph.Route{Groups: 2, GroupID: 1}, b.last())
}
