package split

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGroups(t *testing.T) {
	files := []string{"film1_001.jpg", "film1_002.jpg", "film2_001.jpg", "other.jpg"}
	for _, tt := range []struct {
		pattern string
		want    []string
	}{
		{`film\d`, []string{"group:film1", "group:film1", "group:film2", "file:other.jpg"}},
		{`film(\d)_`, []string{"group:1", "group:1", "group:2", "file:other.jpg"}},
	} {
		if got := Groups(files, regexp.MustCompile(tt.pattern)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", tt.pattern, got)
		}
	}
	if got := Groups(files, nil); got[0] == got[1] {
		t.Error("without a pattern two files are one group")
	}
}

// Every image is in one part, groups stay whole, the parts are off by less than
// the largest group for each part, and equal seeds give equal parts.
func TestSplitProperty(t *testing.T) {
	shares := []float64{0.7, 0.2, 0.1}
	rapid.Check(t, func(t *rapid.T) {
		groups := make([]string, rapid.IntRange(60, 200).Draw(t, "images"))
		for i := range groups {
			groups[i] = fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "group"))
		}
		seed := rapid.Uint64().Draw(t, "seed")
		parts, err := Split(groups, shares, seed)
		if err != nil {
			if strings.Contains(err.Error(), "would be empty") {
				return
			}
			t.Fatal(err)
		}
		where, size, n := map[string]int{}, map[string]int{}, 0
		for p, indices := range parts {
			n += len(indices)
			for _, i := range indices {
				if other, seen := where[groups[i]]; seen && other != p {
					t.Fatalf("group %s is in two parts", groups[i])
				}
				where[groups[i]] = p
				size[groups[i]]++
			}
		}
		if n != len(groups) {
			t.Fatalf("%d of %d images", n, len(groups))
		}
		largest := 0
		for _, s := range size {
			largest = max(largest, s)
		}
		for p, s := range shares {
			if over := float64(len(parts[p])) - s*float64(n); over > float64(largest) || over < -float64(2*largest) {
				t.Fatalf("part %d has %d of %d, groups up to %d", p, len(parts[p]), n, largest)
			}
		}
		again, _ := Split(groups, shares, seed)
		if !slices.EqualFunc(parts, again, slices.Equal) {
			t.Fatal("the same seed gave other parts")
		}
	})
}

// Ten images one by one: 8, 1 and 1.
func TestSplitCounts(t *testing.T) {
	groups := strings.Split("abcdefghij", "")
	parts, err := Split(groups, []float64{0.8, 0.1, 0.1}, 1)
	if err != nil || len(parts[0]) != 8 || len(parts[1]) != 1 || len(parts[2]) != 1 {
		t.Errorf("%v %v", parts, err)
	}
	other, _ := Split(groups, []float64{0.8, 0.1, 0.1}, 2)
	third, _ := Split(groups, []float64{0.8, 0.1, 0.1}, 3)
	if slices.EqualFunc(parts, other, slices.Equal) && slices.EqualFunc(parts, third, slices.Equal) {
		t.Error("the seed changes nothing")
	}
}

func TestSplitBad(t *testing.T) {
	for _, tt := range []struct {
		groups []string
		shares []float64
		want   string
	}{
		{[]string{"a", "b"}, []float64{0.8, 0.1}, "add up to 0.9"},
		{[]string{"a", "b"}, []float64{1.5, -0.5}, "a share of 1.5"},
		{[]string{"a", "a"}, []float64{0.5, 0.5}, "would be empty"},
	} {
		if _, err := Split(tt.groups, tt.shares, 1); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v", tt.shares, err)
		}
	}
}
