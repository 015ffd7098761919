package zoo

import (
	"fmt"
	"strings"
)

func unknownArch(arch string) error {
	hint, nearest := "", 3
	for _, known := range Archs() {
		if d := distance(strings.ToLower(arch), known); d < nearest {
			hint, nearest = fmt.Sprintf(" (did you mean %s?)", known), d
		}
	}
	return fmt.Errorf("unknown architecture %.40q%s: there is %s", arch, hint, strings.Join(Archs(), ", "))
}

// distance is the Levenshtein distance: the fewest characters to insert, delete
// or replace that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
