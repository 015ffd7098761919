package eval

import "testing"

func TestOnly(t *testing.T) {
	gt := &GroundTruth{Images: []int64{1, 2, 3}, Truths: []Truth{{ID: 1, Image: 1}, {ID: 2, Image: 2}, {ID: 3, Image: 1}}}
	got := gt.Only(func(id int64) bool { return id != 1 })
	if len(got.Images) != 2 || len(got.Truths) != 1 || got.Truths[0].ID != 2 {
		t.Errorf("without image 1: %+v", got)
	}
}
