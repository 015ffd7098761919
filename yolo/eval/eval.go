// Package eval measures detections against ground truth by the COCO protocol
// for boxes: average precision over 101 recall points and ten IoU thresholds,
// three object sizes, and recall for 1, 10 and 100 detections per image and
// class. It follows pycocotools' cocoeval.py step by step, so that its twelve
// numbers can be put beside published ones.
//
// Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014,
// arXiv:1405.0312; https://cocodataset.org/#detection-eval.
//
// Two things differ on purpose. In pycocotools an annotation whose id is 0 can
// never be found, because 0 also stands for "unmatched" there; here it is an
// ordinary annotation, as if ids were numbered from 1. And a detection of a
// category that the ground truth does not list is an error here, where
// pycocotools drops it without a word: it is nearly always a wrong mapping of
// class numbers.
package eval

// Category is a class of objects.
type Category struct {
	ID   int64
	Name string
}

// Truth is an annotated object. Area is the object's own area, which in COCO
// is that of its outline and smaller than the box; it decides whether the
// object counts as small, medium or large. A crowd is a region with many
// objects: detections inside it are neither right nor wrong.
type Truth struct {
	ID, Image, Category int64
	Box                 [4]float64 // x, y, w, h; pixels from the top left corner
	Area                float64
	Crowd               bool
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

// Result holds COCO's twelve numbers, each in 0..1, or -1 where nothing
// defines it (no truth of that size, say).
type Result struct {
	AP, AP50, AP75, APs, APm, APl   float64
	AR1, AR10, AR100, ARs, ARm, ARl float64
	PerClass                        []ClassAP // by rising category id
}

// ClassAP is the average precision of one category, -1 if it has no truth.
// Truths counts those that had to be found; crowds are not among them.
type ClassAP struct {
	Category Category
	AP, AP50 float64
	Truths   int
}
