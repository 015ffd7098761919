package zoo

import (
	"slices"

	"yoloprune/yolo/graph"
)

// yolov7 is YOLOv7 in its form for inference (Wang, Bochkovskiy, Liao, YOLOv7:
// Trainable Bag-of-Freebies Sets New State-of-the-Art for Real-Time Object
// Detectors, CVPR 2023, arXiv:2207.02696): the re-parameterised convolutions
// before the heads are plain ones.
var yolov7 = architecture{
	layers:  (*builder).yolov7,
	anchors: yolov4Anchors,
	heads:   yolov7Heads,
	batch:   "batch=8 subdivisions=1 momentum=0.9",
	rate:    "0.00261",
}

// yolov7Tiny is YOLOv7-tiny (section 5.1 of the same paper).
var yolov7Tiny = architecture{
	layers:  (*builder).yolov7Tiny,
	anchors: yolov3Anchors,
	heads:   yolov7Heads,
	batch:   "batch=64 subdivisions=1 momentum=0.9",
	rate:    "0.00261",
}

var yolov7Heads = []head{logisticHead(1, 2, 1), logisticHead(1, 2, 1), logisticHead(1, 2, 1)}

func (b *builder) yolov7() {
	b.activation = graph.Swish
	b.conv(32, 3, 1)
	b.conv(64, 3, 2)
	b.conv(64, 3, 1)
	b.conv(128, 3, 2)
	b.elan(64, 256)
	b.mp(128)
	stride8 := b.elan(128, 512)
	b.mp(256)
	stride16 := b.elan(256, 1024)
	b.mp(512)
	b.elan(256, 1024)
	stride32 := b.sppCSP(512, true)

	b.lateral(256, stride16)
	stride16 = b.elanNeck(256)
	b.lateral(128, stride8)
	stride8 = b.elanNeck(128)
	b.mp(128, stride16)
	stride16 = b.elanNeck(256)
	b.mp(256, stride32)
	stride32 = b.elanNeck(512)
	b.yolov7Detect(256, stride8, stride16, stride32)
}

func (b *builder) yolov7Tiny() {
	b.conv(32, 3, 2)
	b.conv(64, 3, 2)
	b.elanTiny(32, 64)
	b.maxPool(2, 2)
	stride8 := b.elanTiny(64, 128)
	b.maxPool(2, 2)
	stride16 := b.elanTiny(128, 256)
	b.maxPool(2, 2)
	b.elanTiny(256, 512)
	stride32 := b.sppTiny(256)

	b.lateral(128, stride16)
	stride16 = b.elanTiny(64, 128)
	b.lateral(64, stride8)
	stride8 = b.elanTiny(32, 64)
	b.route(b.conv(128, 3, 2), stride16)
	stride16 = b.elanTiny(64, 128)
	b.route(b.conv(256, 3, 2), stride32)
	stride32 = b.elanTiny(128, 256)
	b.yolov7Detect(128, stride8, stride16, stride32)
}

// yolov7Detect adds the heads behind layers of the neck, the finest first, the
// convolution before it having n channels, the next ones twice as many each.
func (b *builder) yolov7Detect(n int, neck ...graph.NodeID) {
	for scale, layer := range neck {
		b.route(layer)
		b.conv(n<<scale, 3, 1)
		b.head(scale)
	}
}

// elan is an efficient layer aggregation network: a chain of convolutions, of
// which every second one is joined at the end, and a branch past it (Wang,
// Liao, Yeh, Designing Network Design Strategies Through Gradient Path
// Analysis, 2022, arXiv:2211.04800; YOLOv7, section 3.1).
func (b *builder) elan(inner, n int) graph.NodeID {
	in := b.last()
	side := b.conv(inner, 1, 1)
	b.route(in)
	join := []graph.NodeID{side, b.conv(inner, 1, 1)}
	for range 2 {
		b.conv(inner, 3, 1)
		join = append(join, b.conv(inner, 3, 1))
	}
	slices.Reverse(join)
	b.route(join...)
	return b.conv(n, 1, 1)
}

// elanNeck is the neck's layer aggregation: every convolution of the chain is
// joined, and those behind the first have half the channels.
func (b *builder) elanNeck(n int) graph.NodeID {
	in := b.last()
	side := b.conv(n, 1, 1)
	b.route(in)
	join := []graph.NodeID{side, b.conv(n, 1, 1)}
	for range 4 {
		join = append(join, b.conv(n/2, 3, 1))
	}
	slices.Reverse(join)
	b.route(join...)
	return b.conv(n, 1, 1)
}

// elanTiny is the layer aggregation of YOLOv7-tiny, with a chain of three and
// the branch joined first.
func (b *builder) elanTiny(inner, n int) graph.NodeID {
	in := b.last()
	side := b.conv(inner, 1, 1)
	b.route(in)
	first := b.conv(inner, 1, 1)
	second := b.conv(inner, 3, 1)
	third := b.conv(inner, 3, 1)
	b.route(side, first, second, third)
	return b.conv(n, 1, 1)
}

// mp halves the size in two ways, by pooling and by a strided convolution of n
// channels each, and joins them and further layers.
func (b *builder) mp(n int, more ...graph.NodeID) graph.NodeID {
	in := b.last()
	b.maxPool(2, 2)
	pooled := b.conv(n, 1, 1)
	b.route(in)
	b.conv(n, 1, 1)
	strided := b.conv(n, 3, 2)
	return b.route(append([]graph.NodeID{strided, pooled}, more...)...)
}

// sppTiny is sppCSP with fewer convolutions, its branch joined first.
func (b *builder) sppTiny(n int) graph.NodeID {
	in := b.last()
	side := b.conv(n, 1, 1)
	b.route(in)
	b.conv(n, 1, 1)
	b.route(b.pools()...)
	b.route(side, b.conv(n, 1, 1))
	return b.conv(n, 1, 1)
}
