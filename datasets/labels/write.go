package labels

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// Copying is how a writer gets the images to their place.
type Copying string

// The ways. A hard link shares the file's content: who changes it in place
// changes the original.
const (
	Copy     Copying = "copy"
	Hardlink Copying = "hardlink"
	Symlink  Copying = "symlink"
)

// WriteOptions are common to the writers.
type WriteOptions struct {
	Images   Copying // default Copy
	Integers bool    // VOC: round to whole pixels
	Force    bool    // replace other files
}

// LeftOut describes boxes that a format cannot hold.
func LeftOut(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d crowd or difficult boxes left out: the format has no mark for them", n)}
}

// WriteFile writes a file of the new set. Another one of the same name stays
// unless Force is set.
func (o WriteOptions) WriteFile(file string, data []byte) error {
	old, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(old, data):
		return nil
	case err == nil && !o.Force:
		return fmt.Errorf("%s: exists and is another file; give another folder", file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return Replace(file, data)
}

// Replace writes a file whole, and the folder that it needs.
func Replace(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	return renameio.WriteFile(file, data, 0o666)
}

// WriteNames writes a names file. The one of another split must agree.
func WriteNames(file string, names []string) error {
	for i, n := range names {
		if n != strings.TrimSpace(n) || n == "" || strings.ContainsAny(n, "\r\n") {
			return fmt.Errorf("%s: class %d is called %q, which a names file cannot hold; rename it", file, i, n)
		}
	}
	old, err := ReadNames(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Replace(file, []byte(strings.Join(names, "\n")+"\n"))
	case err != nil || !slices.Equal(old, names):
		return fmt.Errorf("%s: is there and holds other class names; a folder holds splits of one set: give another folder", file)
	}
	return nil
}

// CopyImages brings the images of a set below folder and returns their paths
// there, with slashes: those that they have below their own image folder. Two
// images whose names differ in the extension only would share a label file and
// are refused.
func CopyImages(s *Set, folder, split string, o WriteOptions) ([]string, error) {
	names, err := newNames(s, split)
	if err != nil {
		return nil, err
	}
	return names, copyAll(s, folder, names, o)
}

// CopyFlat is CopyImages without subfolders: their names become part of the
// file's.
func CopyFlat(s *Set, folder, split string, o WriteOptions) ([]string, error) {
	names, err := newNames(s, split)
	if err != nil {
		return nil, err
	}
	from := map[string]string{}
	for i, n := range names {
		names[i] = strings.ReplaceAll(n, "/", "_")
		if other, twice := from[stem(names[i])]; twice {
			return nil, fmt.Errorf("%s and %s would both become %s; rename one of the two", other, n, names[i])
		}
		from[stem(names[i])] = n
	}
	return names, copyAll(s, folder, names, o)
}

func stem(p string) string { return strings.TrimSuffix(p, path.Ext(p)) }

func newNames(s *Set, split string) ([]string, error) {
	names := make([]string, s.Len())
	from := map[string]string{}
	for i := range names {
		names[i] = below(s.File(i), split)
		if other, twice := from[stem(names[i])]; twice {
			return nil, fmt.Errorf("%s: the images %s and %s would share one label file; rename one of the two", s.name, other, s.File(i))
		}
		from[stem(names[i])] = s.File(i)
	}
	return names, nil
}

// below removes the image folder and that of the split from a path.
func below(file, split string) string {
	parts := strings.Split(file, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if slices.Contains([]string{"images", "JPEGImages", "obj"}, parts[i]) {
			parts = parts[i+1:]
			break
		}
	}
	if len(parts) > 1 && parts[0] == split {
		parts = parts[1:]
	}
	return strings.Join(parts, "/")
}

func copyAll(s *Set, folder string, names []string, o WriteOptions) error {
	for i, n := range names {
		if err := copyImage(s.samples[i].Path, filepath.Join(folder, filepath.FromSlash(n)), o); err != nil {
			return err
		}
	}
	return nil
}

func copyImage(from, to string, o WriteOptions) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	same, err := sameContent(from, to)
	if err != nil || same {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		if !o.Force {
			return fmt.Errorf("%s: exists and is not %s; give another folder", to, from)
		}
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	switch o.Images {
	case Hardlink:
		return os.Link(from, to)
	case Symlink:
		return symlink(from, to)
	}
	return copyFile(from, to)
}

func symlink(from, to string) error {
	abs, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	return os.Symlink(abs, to)
}

// sameContent says whether to is there already and has the content of from.
func sameContent(from, to string) (bool, error) {
	a, err := os.Stat(from)
	if err != nil {
		return false, err
	}
	b, err := os.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || os.SameFile(a, b) || a.Size() != b.Size() {
		return err == nil && os.SameFile(a, b), err
	}
	x, err := os.ReadFile(from)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(to)
	return bytes.Equal(x, y), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := renameio.NewPendingFile(to, renameio.WithPermissions(0o666))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
