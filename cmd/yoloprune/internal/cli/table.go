package cli

import (
	"fmt"

	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/pruning/report"
)

// stageTable prints a row for every measured stage.
func (a *app) stageTable(r *report.Run) error {
	header := []string{"stage", "params", "GFLOPs", "weights", "val AP", "val AP50", "test AP", "test AP50", "ms/image"}
	var rows [][]string
	for _, s := range r.Stages {
		row := []string{
			s.Name, term.SI(float64(s.Val.Params)), fmt.Sprintf("%.3f", float64(s.Val.FLOPs)/1e9), term.Bytes(s.Val.Bytes),
			precision(s.Val.AP), precision(s.Val.AP50), "-", "-", fmt.Sprintf("%.2f", s.Val.LatencyMS),
		}
		if s.Test != nil {
			row[6], row[7] = precision(s.Test.AP), precision(s.Test.AP50)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(a.out, r.Headline())
	fmt.Fprintln(a.out)
	return term.Table(a.out, header, rows)
}

// precision prints an average precision; -1 is undefined.
func precision(x float64) string {
	if x < 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", x)
}
