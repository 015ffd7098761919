package cvthreads

import "testing"

func TestSet(t *testing.T) {
	for _, n := range []int{2, 1} {
		Set(n)
		if got := Get(); got != n {
			t.Errorf("after Set(%d) OpenCV uses %d threads", n, got)
		}
	}
}
