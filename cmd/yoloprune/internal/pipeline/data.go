package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"yoloprune/configs"
	"yoloprune/datasets"
	"yoloprune/datasets/coco"
	"yoloprune/datasets/formats"
	"yoloprune/datasets/labels"
	"yoloprune/datasets/toy"
)

// data are the splits; test may be nil, and train where nothing is trained.
type data struct {
	train, val, test *coco.Set
}

// openData reads the annotation files of all splits. The toy set is drawn
// first if it is not there.
func (r *Run) openData(context.Context) error {
	root := r.exp.Data.Root
	if r.exp.Data.Format == "toy" {
		var err error
		if root, err = r.openToy(root); err != nil {
			return err
		}
	}
	var names []string
	for _, s := range []struct {
		key   string
		split *configs.Split
		set   **coco.Set
	}{{"train", r.exp.Data.Train, &r.data.train}, {"val", r.exp.Data.Val, &r.data.val}, {"test", r.exp.Data.Test, &r.data.test}} {
		if s.split == nil {
			continue
		}
		set, err := r.openSplit(s.key, s.split, root, names)
		if err != nil {
			return err
		}
		names = set.Names()
		*s.set = set
		r.sayProblems(s.key, set)
	}
	return r.checkBatches()
}

// openSplit reads one split; the classes of the first give the names of the
// others.
func (r *Run) openSplit(key string, s *configs.Split, root string, names []string) (*coco.Set, error) {
	images, annotations := s.Paths(root)
	if err := errors.Join(r.checkPath("data."+key+".annotations", annotations), r.checkPath("data."+key+".images", images)); err != nil {
		return nil, err
	}
	o := formats.Options{Format: r.exp.Data.Format, Root: cmp.Or(root, "."), Split: key, Names: names}
	if o.Format == "toy" {
		o.Format = "coco"
	}
	if s.Annotations != "" {
		o.Annotations = annotations
	}
	if s.Images != "" || o.Format == "coco" {
		o.Images = images
	}
	return formats.Open(o, labels.Options{SkipBad: r.exp.Data.SkipBad})
}

// checkPath says where the experiment names a file or folder that is not
// there. An empty path is none.
func (r *Run) checkPath(key, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return r.exp.Errorf(key, "%v", err)
	}
	return nil
}

// checkBatches finds the stages that would have no full batch.
func (r *Run) checkBatches() error {
	for _, t := range r.trainings() {
		if t.Batch > r.data.train.Len() {
			return r.exp.Errorf(t.key+".batch", "%d is more than the %d images of data.train; use a smaller batch", t.Batch, r.data.train.Len())
		}
	}
	return nil
}

func (r *Run) sayProblems(key string, set *coco.Set) {
	r.say("data: %s: %d images, %d classes", key, set.Len(), len(set.Names()))
	p := set.Problems()
	for _, line := range p.Lines() {
		r.warn("data: %s: %s", key, line)
	}
	if !hasBox(set) {
		lost := "average precision is undefined"
		if key == "train" {
			lost = "there is nothing to learn"
		}
		r.warn("data: %s: no image has a box, so %s", key, lost)
	}
}

func hasBox(set *coco.Set) bool {
	for i := range set.Len() {
		if slices.ContainsFunc(set.Sample(i).Boxes, func(b datasets.Box) bool { return !b.Crowd }) {
			return true
		}
	}
	return false
}

// openToy draws the toy set where there is none and returns its folder. The
// run's own set, of which a run that was killed may have left a part, must be
// whole.
func (r *Run) openToy(root string) (string, error) {
	need := toy.Splits[:1]
	if root == "" {
		root, need = r.path("data"), toy.Splits
		if r.o.ExistOK {
			if err := os.RemoveAll(root); err != nil {
				return "", err
			}
		}
	}
	for _, s := range need {
		_, err := os.Stat(filepath.Join(root, "annotations", s+".json"))
		if errors.Is(err, os.ErrNotExist) {
			return root, r.drawToy(root)
		}
		if err != nil {
			return "", err
		}
	}
	return root, nil
}

func (r *Run) drawToy(root string) error {
	t := r.exp.Data.Toy
	r.say("data: drawing %d toy scenes in %s", t.Images, root)
	if err := toy.Write(root, toy.Options{Images: t.Images, Seed: t.Seed}); err != nil {
		return fmt.Errorf("toy data set: %w", err)
	}
	return nil
}
