package report

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

const (
	maxEpoch = 1_000_000_000
	diverged = 1e30 // a value from here on has no place in a chart
)

// Epoch is a row of results.csv. A cell that is empty, or no finite number of
// a sane size, is NaN: it was not measured.
type Epoch struct {
	Epoch                 int
	LR                    float64
	Loss, Box, Obj, Class float64
	AP, AP50              float64
	NearZero              float64 // share of gammas that are almost zero
	Seconds               float64
}

// cell returns where a column's value goes, nil for a column that is not read.
func (e *Epoch) cell(column string) *float64 {
	switch column {
	case "lr":
		return &e.LR
	case "loss":
		return &e.Loss
	case "box":
		return &e.Box
	case "obj":
		return &e.Obj
	case "class":
		return &e.Class
	case "AP":
		return &e.AP
	case "AP50":
		return &e.AP50
	case "near_zero":
		return &e.NearZero
	case "seconds":
		return &e.Seconds
	}
	return nil
}

func readResults(path string) ([]Epoch, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseResults(path, data)
}

// parseResults reads results.csv. Columns are found by their names, so an
// additional one does no harm; epoch and loss must be there.
func parseResults(path string, data []byte) ([]Epoch, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err == io.EOF {
		return nil, &FormatError{File: path, Msg: "empty; expected a header line"}
	}
	if err != nil {
		return nil, csvError(path, err)
	}
	columns := strings.Join(header, ",")
	for _, need := range []string{"epoch", "loss"} {
		if !strings.Contains(","+columns+",", ","+need+",") {
			return nil, &FormatError{File: path, Line: 1, Msg: fmt.Sprintf("columns %q; expected one named %s", columns, need)}
		}
	}
	var epochs []Epoch
	for {
		row, err := r.Read()
		if err == io.EOF {
			return epochs, nil
		}
		if err != nil {
			return nil, csvError(path, err)
		}
		e, err := parseEpoch(header, row)
		if err != nil {
			line, _ := r.FieldPos(0)
			return nil, &FormatError{File: path, Line: line, Msg: err.Error()}
		}
		epochs = append(epochs, e)
	}
}

func parseEpoch(header, row []string) (Epoch, error) {
	nan := math.NaN()
	e := Epoch{LR: nan, Loss: nan, Box: nan, Obj: nan, Class: nan, AP: nan, AP50: nan, NearZero: nan, Seconds: nan}
	for i, column := range header {
		text := strings.TrimSpace(row[i])
		if column == "epoch" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > maxEpoch {
				return e, fmt.Errorf("epoch: %q; expected a whole number from 0 to %d", text, maxEpoch)
			}
			e.Epoch = n
			continue
		}
		cell := e.cell(column)
		if cell == nil || text == "" {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return e, fmt.Errorf("%s: %q; expected a number", column, text)
		}
		undefined := v < 0 && (column == "AP" || column == "AP50")
		if !undefined && math.Abs(v) < diverged {
			*cell = v
		}
	}
	return e, nil
}

func csvError(path string, err error) error {
	e := &FormatError{File: path, Msg: err.Error()}
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		e.Line, e.Msg = parse.Line, parse.Err.Error()
	}
	return e
}

// xy is a point of a curve.
type xy struct{ x, y float64 }

// series returns a column's measured points over the epochs.
func series(epochs []Epoch, column string) []xy {
	var points []xy
	for i := range epochs {
		if v := *epochs[i].cell(column); !math.IsNaN(v) {
			points = append(points, xy{float64(epochs[i].Epoch), v})
		}
	}
	return points
}

// curve is a named line of a panel.
type curve struct {
	name   string
	points []xy
}

// panel is one small chart of a training stage.
type panel struct {
	title  string
	rising bool // the curves end high: a legend belongs at the bottom
	curves []curve
}

// panels arranges a training stage's columns into charts, leaving out what was
// never measured. Nearly-zero gammas are shown where any were counted.
func panels(epochs []Epoch) []panel {
	var list []panel
	for _, p := range []struct {
		title   string
		rising  bool
		columns []string
	}{
		{"Loss", false, []string{"loss", "box", "obj", "class"}},
		{"Average precision (val)", true, []string{"AP50", "AP"}},
		{"Learning rate", false, []string{"lr"}},
		{"Share of gammas near zero", true, []string{"near_zero"}},
	} {
		var curves []curve
		for _, column := range p.columns {
			points := series(epochs, column)
			if len(points) == 0 || column == "near_zero" && largest(points) == 0 {
				continue
			}
			curves = append(curves, curve{column, points})
		}
		if len(curves) > 0 {
			list = append(list, panel{p.title, p.rising, curves})
		}
	}
	return list
}

func largest(points []xy) float64 {
	top := math.Inf(-1)
	for _, p := range points {
		top = max(top, p.y)
	}
	return top
}
