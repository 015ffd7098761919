package eval

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// WriteDetections writes a COCO results file, one detection a line, with every
// number at full precision: reading it back gives the same detections.
func WriteDetections(w io.Writer, dets []Detection) error {
	for i := range dets {
		if field, msg := dets[i].fault(); msg != "" {
			return &FormatError{Where: item("detections", i, field), Msg: msg}
		}
	}
	bw := bufio.NewWriter(w)
	separator := "[\n"
	var line []byte
	for i := range dets {
		line = append(line[:0], separator...)
		bw.Write(appendDetection(line, &dets[i]))
		separator = ",\n"
	}
	if len(dets) == 0 {
		bw.WriteString("[")
	}
	bw.WriteString("\n]\n")
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("writing detections: %w", err)
	}
	return nil
}

func appendDetection(b []byte, d *Detection) []byte {
	b = append(b, `{"image_id":`...)
	b = strconv.AppendInt(b, d.Image, 10)
	b = append(b, `,"category_id":`...)
	b = strconv.AppendInt(b, d.Category, 10)
	b = append(b, `,"bbox":[`...)
	for i, v := range d.Box {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	b = append(b, `],"score":`...)
	b = strconv.AppendFloat(b, d.Score, 'g', -1, 64)
	return append(b, '}')
}
