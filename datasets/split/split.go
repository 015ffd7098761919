// Package split divides a data set at random, keeping together what belongs
// together: frames of one film, tiles of one picture. Otherwise near copies of
// training images would be in the test set and its numbers too good.
package split

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
)

// Groups returns for each file name what the pattern finds in it: its first
// bracketed part or, without one, the whole match. A name that does not match
// is a group of its own. A nil pattern makes every file one.
func Groups(files []string, pattern *regexp.Regexp) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = "file:" + f
		if pattern == nil {
			continue
		}
		if m := pattern.FindStringSubmatch(f); m != nil {
			out[i] = "group:" + m[min(1, len(m)-1)]
		}
	}
	return out
}

// Split deals the groups out to parts of the given shares. Each group in a
// random order goes to the part that lacks the most images
//
//	argmax_p share_p * n - size_p
//
// so that parts are off by less than the largest group. It returns the indices
// of each part's images in rising order. Equal seeds give equal parts.
func Split(groups []string, shares []float64, seed uint64) ([][]int, error) {
	if err := check(shares); err != nil {
		return nil, err
	}
	members := map[string][]int{}
	var names []string
	for i, g := range groups {
		if members[g] == nil {
			names = append(names, g)
		}
		members[g] = append(members[g], i)
	}
	slices.Sort(names)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	parts := make([][]int, len(shares))
	for _, g := range names {
		p := neediest(parts, shares, len(groups))
		parts[p] = append(parts[p], members[g]...)
	}
	for p := range parts {
		if len(parts[p]) == 0 && shares[p] > 0 {
			return nil, fmt.Errorf("part %d of %g of %d images in %d groups would be empty: give it a larger share, or make groups smaller", p+1, shares[p], len(groups), len(names))
		}
		slices.Sort(parts[p])
	}
	return parts, nil
}

func check(shares []float64) error {
	sum := 0.0
	for _, s := range shares {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("a share of %g; expected numbers in 0..1", s)
		}
		sum += s
	}
	if math.Abs(sum-1) > 1e-6 {
		return fmt.Errorf("the shares add up to %g; expected 1", sum)
	}
	return nil
}

func neediest(parts [][]int, shares []float64, n int) int {
	best, most := 0, math.Inf(-1)
	for p, s := range shares {
		if lack := s*float64(n) - float64(len(parts[p])); s > 0 && lack > most {
			best, most = p, lack
		}
	}
	return best
}
