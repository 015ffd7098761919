package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Diagnostic is one mistake and its place. File is the experiment file, or
// names the override or the environment variable; Line is 0 for those.
type Diagnostic struct {
	File      string
	Line, Col int
	Key       string // dotted path, may be empty
	Msg       string
}

func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d", d.Line)
	}
	if d.Col > 0 {
		fmt.Fprintf(&b, ":%d", d.Col)
	}
	if d.Key != "" {
		b.WriteString(": " + d.Key)
	}
	b.WriteString(": " + d.Msg)
	return b.String()
}

// Error is everything that is wrong with an experiment, in order of place.
type Error struct{ Diagnostics []Diagnostic }

func (e *Error) Error() string {
	lines := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// maxDiagnostics bounds the list: a file of another kind would fill screens.
const maxDiagnostics = 50

// asError returns nil for an empty list.
func asError(diags []Diagnostic) error {
	if len(diags) == 0 {
		return nil
	}
	slices.SortStableFunc(diags, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if n := len(diags) - maxDiagnostics; n > 0 {
		diags = append(diags[:maxDiagnostics:maxDiagnostics], Diagnostic{File: diags[0].File, Msg: fmt.Sprintf("%d more mistakes", n)})
	}
	return &Error{diags}
}

// nearest returns the first of the words that is fewest edits from word, or ""
// if every one of them needs more than a third of its letters changed.
func nearest(word string, words []string) string {
	best, at := "", min(3, (len(word)+2)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w), at); d < at {
			best, at = w, d
		}
	}
	return best
}

// distance is the Levenshtein distance: the fewest letters to insert, delete
// or replace. It stops early at limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
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

func didYouMean(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", s)
}
