package term

import (
	"io"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Table writes rows under a header. A column in which every cell is a number,
// with or without a unit, is aligned to the right. Empty cells and "-" go with
// either.
func Table(w io.Writer, header []string, rows [][]string) error {
	widths, right := measure(header, rows)
	var out strings.Builder
	out.WriteString(Bold(w, tableLine(header, widths, right)) + "\n")
	for _, row := range rows {
		out.WriteString(tableLine(row, widths, right) + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func measure(header []string, rows [][]string) (widths []int, right []bool) {
	for _, cell := range header {
		widths = append(widths, runewidth.StringWidth(cell))
		right = append(right, len(rows) > 0)
	}
	for _, row := range rows {
		for i, cell := range row[:min(len(row), len(header))] {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
			right[i] = right[i] && isNumber(cell)
		}
	}
	return widths, right
}

// tableLine lays out one line; cells beyond the header's are left out.
func tableLine(cells []string, widths []int, right []bool) string {
	var out strings.Builder
	for i, cell := range cells[:min(len(cells), len(widths))] {
		if i > 0 {
			out.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
		if right[i] {
			out.WriteString(pad + cell)
		} else {
			out.WriteString(cell + pad)
		}
	}
	return strings.TrimRight(out.String(), " ")
}

// isNumber takes "1.48 M", "-61.2 %", "320x320" and "12.3ms".
func isNumber(cell string) bool {
	if cell == "" || cell == "-" {
		return true
	}
	number := strings.TrimRight(cell, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ% ")
	for part := range strings.SplitSeq(number, "x") {
		if _, err := strconv.ParseFloat(part, 64); err != nil {
			return false
		}
	}
	return true
}
