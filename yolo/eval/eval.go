// Package eval measures detections against ground truth: by the COCO protocol
// for boxes, by those of PASCAL VOC 2007 and 2012, and as Darknet's `detector
// map` does. It also draws up precision-recall curves, the score of the best F1,
// and the confusion matrix. Every result says by which protocol it was made.
//
// COCO is average precision over 101 recall points and ten IoU thresholds, three
// object sizes, and recall for 1, 10 and 100 detections per image and class. It
// follows pycocotools' cocoeval.py step by step, so that its twelve numbers can
// be put beside published ones.
//
// Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014,
// arXiv:1405.0312; https://cocodataset.org/#detection-eval.
//
// Two things differ on purpose. In pycocotools an annotation whose id is 0 can
// never be found, because 0 also stands for "unmatched" there; here it is an
// ordinary annotation, as if ids were numbered from 1, unless Options.Exact asks
// for the fault. And a detection of a category that the ground truth does not
// list is an error here, where pycocotools drops it without a word: it is nearly
// always a wrong mapping of class numbers.
package eval

// Category is a class of objects.
type Category struct {
	ID   int64
	Name string
}

// Truth is an annotated object. Area is the object's own area, which in COCO
// is that of its outline and smaller than the box; it decides whether the
// object counts as small, medium or large. A crowd is a region with many
// objects: detections inside it are neither right nor wrong. Difficult is
// VOC's mark of an object that need not be found; COCO does not know it.
type Truth struct {
	ID, Image, Category int64
	Box                 [4]float64 // x, y, w, h; pixels from the top left corner
	Area                float64
	Crowd               bool
	Difficult           bool
}

// Detection is a box that a detector reports.
type Detection struct {
	Image, Category int64
	Box             [4]float64 // x, y, w, h; pixels from the top left corner
	Score           float64
}

// GroundTruth is what the detections are measured against. Images without a
// truth belong in Images too: whatever is detected there is wrong.
type GroundTruth struct {
	Images     []int64
	Categories []Category
	Truths     []Truth

	// AreasFromBoxes counts the annotations that had no area in the file and
	// got that of their box, which pycocotools would refuse.
	AreasFromBoxes int
}

// Only returns the images that keep holds for, with their truths.
func (t *GroundTruth) Only(keep func(image int64) bool) *GroundTruth {
	out := &GroundTruth{Categories: t.Categories}
	for _, id := range t.Images {
		if keep(id) {
			out.Images = append(out.Images, id)
		}
	}
	for _, x := range t.Truths {
		if keep(x.Image) {
			out.Truths = append(out.Truths, x)
		}
	}
	return out
}

// Numbers are COCO's twelve, each in 0..1, or -1 where nothing defines it (no
// truth of that size, say). AR1, AR10 and AR100 go by the three limits of the
// protocol, whatever they are.
type Numbers struct {
	AP, AP50, AP75, APs, APm, APl   float64
	AR1, AR10, AR100, ARs, ARm, ARl float64
}

// undefined are the numbers of a protocol that has none of them.
var undefined = Numbers{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// Result is a measurement. A protocol with one IoU threshold leaves all of COCO's
// numbers at -1, except AP50 where the threshold is .5; its own is MeanAP.
type Result struct {
	Numbers
	MeanAP   float64   // the protocol's own number; for COCO it is AP
	PerIoU   []AtIoU   // by rising threshold
	PerClass []ClassAP // by rising category id
	AtScore  *Counts   // Darknet only: at its score threshold
	Protocol Protocol
}

// AtIoU holds the numbers at one IoU threshold.
type AtIoU struct {
	IoU float64
	Numbers
}

// ClassAP is the precision and recall of one category, -1 if it has no truth.
// Truths counts those that had to be found; crowds are not among them, nor
// difficult ones where the protocol knows them.
type ClassAP struct {
	Category Category
	Numbers
	MeanAP float64 // as in Result
	Truths int
}
