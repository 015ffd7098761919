package cli

import (
	"fmt"
	"slices"
	"strings"
)

// matchNames compares a network's names with the categories of a set, which are
// matched by their order. Names may be spelt in two ways (COCO's motorcycle is
// motorbike in Darknet's coco.names): where most agree in their places and the
// others stand nowhere else, warning lists those that differ. No names match
// anything.
func matchNames(file string, names []string, annotations string, set []string) (warning string, err error) {
	if names == nil {
		return "", nil
	}
	if len(names) != len(set) {
		return "", fmt.Errorf("%s has %d categories, but %s %d names; both must list the network's classes", annotations, len(set), file, len(names))
	}
	place := map[string]int{}
	for i, n := range set {
		place[plain(n)] = i
	}
	var differ []string
	first := -1
	for i, n := range names {
		if plain(n) == plain(set[i]) {
			continue
		}
		if first < 0 {
			first = i
		}
		differ = append(differ, fmt.Sprintf("%d %q is %q", i, n, set[i]))
		if j, ok := place[plain(n)]; ok {
			return "", fmt.Errorf("%s: class %d is %q, but %s has that name as category %d in the order of ids, and %q as category %d: put the names and the categories into the same order, that of the network's classes",
				file, i, n, annotations, j, set[i], i)
		}
	}
	switch {
	case first < 0:
		return "", nil
	case 2*len(differ) > len(names):
		return "", fmt.Errorf("%s: class %d is %q, but %s has %q in its place, and %d of %d names differ: give the names of this network and annotations of the classes that it predicts",
			file, first, names[first], annotations, set[first], len(differ), len(names))
	}
	return fmt.Sprintf("%s and %s name %d of %d classes differently; classes are matched by their order: %s",
		file, annotations, len(differ), len(names), strings.Join(differ, ", ")), nil
}

// plain drops case, spaces and the signs that stand for them.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if slices.Contains([]rune(" -_"), r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
