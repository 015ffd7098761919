package voc

import (
	"encoding/xml"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"yoloprune/datasets"
	"yoloprune/datasets/labels"
)

type (
	outFile struct {
		XMLName   xml.Name    `xml:"annotation"`
		Folder    string      `xml:"folder"`
		Filename  string      `xml:"filename"`
		Size      outSize     `xml:"size"`
		Segmented int         `xml:"segmented"`
		Objects   []outObject `xml:"object"`
	}
	outSize struct {
		Width  int `xml:"width"`
		Height int `xml:"height"`
		Depth  int `xml:"depth"`
	}
	outObject struct {
		Name      string `xml:"name"`
		Pose      string `xml:"pose"`
		Truncated int    `xml:"truncated"`
		Difficult int    `xml:"difficult"`
		Box       outBox `xml:"bndbox"`
	}
	outBox struct {
		XMin string `xml:"xmin"`
		YMin string `xml:"ymin"`
		XMax string `xml:"xmax"`
		YMax string `xml:"ymax"`
	}
)

// Write writes a set below dir. Corners keep their decimals, whole ones are
// written as whole numbers; readers that take whole numbers only need
// o.Integers. A crowd, which VOC does not know, becomes a difficult object. The
// order of the classes goes to classes.names.
func Write(dir, split string, s *labels.Set, o labels.WriteOptions) (notes []string, err error) {
	names, err := labels.CopyFlat(s, filepath.Join(dir, "JPEGImages"), split, o)
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	crowds := 0
	for i, name := range names {
		text, n, err := format(name, s.Sample(i), s.Names(), o.Integers)
		if err != nil {
			return nil, err
		}
		crowds += n
		stem := strings.TrimSuffix(name, path.Ext(name))
		if err := o.WriteFile(filepath.Join(dir, "Annotations", stem+".xml"), text); err != nil {
			return nil, err
		}
		list.WriteString(stem + "\n")
	}
	if err := o.WriteFile(filepath.Join(dir, "ImageSets", "Main", split+".txt"), []byte(list.String())); err != nil {
		return nil, err
	}
	if crowds > 0 {
		notes = append(notes, fmt.Sprintf("%d crowd boxes became difficult objects: the format has no mark for them", crowds))
	}
	return notes, labels.WriteNames(filepath.Join(dir, namesFile), s.Names())
}

// format writes the annotation file of an image.
func format(name string, s datasets.Sample, names []string, integers bool) (text []byte, crowds int, err error) {
	f := outFile{Folder: "JPEGImages", Filename: name, Size: outSize{s.Width, s.Height, 3}}
	for _, b := range s.Boxes {
		if b.Crowd {
			crowds++
		}
		f.Objects = append(f.Objects, outObject{
			Name: names[b.Class], Pose: "Unspecified", Truncated: flag(b.Truncated), Difficult: flag(b.Difficult || b.Crowd),
			Box: corners(b, integers),
		})
	}
	text, err = xml.MarshalIndent(f, "", "\t")
	return append(text, '\n'), crowds, err
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// corners turns a box into 1-based corners, both within the object. Whole ones
// are those of the pixels that the edges are nearest to, at least one pixel.
func corners(b datasets.Box, integers bool) outBox {
	x0, y0, x1, y1 := b.X+1, b.Y+1, b.X+b.W, b.Y+b.H
	if integers {
		x0, y0 = math.Round(x0), math.Round(y0)
		x1, y1 = max(math.Round(x1), x0), max(math.Round(y1), y0)
	}
	return outBox{decimal(x0), decimal(y0), decimal(x1), decimal(y1)}
}

// decimal writes at most six decimals, and none where there are none.
func decimal(v float64) string {
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}
