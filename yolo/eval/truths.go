package eval

import "io"

// ReadGroundTruth reads a COCO annotation file: an object with the lists images
// {id}, categories {id, name} and annotations {id, image_id, category_id, bbox,
// area, iscrowd, difficult}; everything else in it is skipped. A missing area
// becomes that of the box and is counted; a missing iscrowd or difficult is 0.
// name stands for the file in errors, which are *FormatError unless r itself
// fails. The file is read as a stream.
func ReadGroundTruth(name string, r io.Reader) (*GroundTruth, error) {
	s, err := newScanner(name, r)
	if err != nil {
		return nil, err
	}
	f := &truthFile{file: file{scanner: s, at: map[string][]position{}}}
	f.each = f.member
	err = f.lists([]list{
		{"images", f.image},
		{"categories", f.category},
		{"annotations", f.annotation},
	})
	if err != nil {
		return nil, err
	}
	if err := f.gt.check(f.locate); err != nil {
		return nil, err
	}
	return &f.gt, nil
}

// truthFile gathers the items of an annotation file.
type truthFile struct {
	file
	gt      GroundTruth
	present values
	each    func(key []byte) error // member, made once
}

func (f *truthFile) image() error {
	var id field[int64]
	err := f.members(func(key []byte) error {
		if string(key) == "id" {
			return f.integer("id", &id)
		}
		return f.skip()
	})
	if err != nil {
		return err
	}
	if !id.ok {
		return missing("id", "an integer")
	}
	f.gt.Images = append(f.gt.Images, id.v)
	return nil
}

func (f *truthFile) category() error {
	var id field[int64]
	var name string
	err := f.members(func(key []byte) error {
		switch string(key) {
		case "id":
			return f.integer("id", &id)
		case "name":
			return f.string("name", &name)
		}
		return f.skip()
	})
	if err != nil {
		return err
	}
	if !id.ok {
		return missing("id", "an integer")
	}
	f.gt.Categories = append(f.gt.Categories, Category{id.v, name})
	return nil
}

// values are those of one annotation.
type values struct {
	id, image, category field[int64]
	box                 field[[4]float64]
	area                field[float64]
	crowd, difficult    bool
}

func (f *truthFile) member(key []byte) error {
	a := &f.present
	switch string(key) {
	case "id":
		return f.integer("id", &a.id)
	case "image_id":
		return f.integer("image_id", &a.image)
	case "category_id":
		return f.integer("category_id", &a.category)
	case "bbox":
		return f.box("bbox", &a.box)
	case "area":
		return f.float("area", &a.area)
	case "iscrowd":
		return f.flag("iscrowd", &a.crowd)
	case "difficult":
		return f.flag("difficult", &a.difficult)
	}
	return f.skip()
}

func (f *truthFile) annotation() error {
	f.present = values{}
	if err := f.members(f.each); err != nil {
		return err
	}
	a := &f.present
	switch {
	case !a.id.ok:
		return missing("id", "an integer")
	case !a.image.ok:
		return missing("image_id", "an integer")
	case !a.category.ok:
		return missing("category_id", "an integer")
	case !a.box.ok:
		return missing("bbox", fourNumbers)
	}
	if !a.area.ok {
		a.area.v = a.box.v[2] * a.box.v[3]
		f.gt.AreasFromBoxes++
	}
	f.gt.Truths = append(f.gt.Truths, Truth{a.id.v, a.image.v, a.category.v, a.box.v, a.area.v, a.crowd, a.difficult})
	return nil
}
