package imagefile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// JPEG markers, as per ITU-T T.81, table B.1.
const (
	mSOI  = 0xd8
	mEOI  = 0xd9
	mSOS  = 0xda
	mAPP1 = 0xe1
	mTEM  = 0x01
	mRST0 = 0xd0
	mRST7 = 0xd7
)

func isJPEG(data []byte) bool { return bytes.HasPrefix(data, []byte{0xff, mSOI}) }

// nextSegment returns the next marker and its segment's content. Restart
// markers and stuffed zeros belong to the scan before them and are passed
// over, as is anything else between segments.
func nextSegment(r *bufio.Reader) (marker byte, content []byte, err error) {
	marker, err = nextMarker(r)
	if err != nil || marker == mSOI || marker == mEOI || marker == mTEM {
		return marker, nil, err
	}
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(n[:])) - 2
	if size < 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	content = make([]byte, size)
	_, err = io.ReadFull(r, content)
	return marker, content, err
}

func nextMarker(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != 0xff {
			continue
		}
		for b == 0xff {
			if b, err = r.ReadByte(); err != nil {
				return 0, err
			}
		}
		if b != 0 && (b < mRST0 || b > mRST7) {
			return b, nil
		}
	}
}

// jpegComplete says whether the end-of-image marker is reached. libjpeg fills
// what is missing with grey and only warns.
func jpegComplete(r io.Reader) bool {
	br := bufio.NewReader(r)
	for {
		marker, _, err := nextSegment(br)
		if err != nil {
			return false
		}
		if marker == mEOI {
			return true
		}
	}
}

// jpegOrientation returns the EXIF orientation, 1 to 8; 1 (upright) if there
// is none.
func jpegOrientation(r io.Reader) int {
	br := bufio.NewReader(r)
	for {
		marker, content, err := nextSegment(br)
		if err != nil || marker == mSOS || marker == mEOI {
			return 1
		}
		if tiff, ok := bytes.CutPrefix(content, []byte("Exif\x00\x00")); ok && marker == mAPP1 {
			return tiffOrientation(tiff)
		}
	}
}

// tiffOrientation finds tag 0x112 in the first directory of a TIFF header
// (TIFF 6.0, section 2; the tag is a SHORT).
func tiffOrientation(b []byte) int {
	const tagOrientation, typeShort = 0x112, 3
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte("II\x2a\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte("MM\x00\x2a")):
		order = binary.BigEndian
	default:
		return 1
	}
	if len(b) < 8 {
		return 1
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	n := int(order.Uint16(b[at:]))
	for entries := b[at+2:]; n > 0 && len(entries) >= 12; n, entries = n-1, entries[12:] {
		if order.Uint16(entries) != tagOrientation || order.Uint16(entries[2:]) != typeShort {
			continue
		}
		if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
			return o
		}
		return 1
	}
	return 1
}
