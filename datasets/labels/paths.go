package labels

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Root is the folder that all image files of a set lie in. Paths are judged as
// they are written: links inside of the root may lead elsewhere.
type Root struct {
	Dir          string
	AllowOutside bool // accept files elsewhere
}

// Find returns where the file raw lies, which is relative to one of the folders
// in turn, or absolute, and its path below the root. Where there is no such
// file, backslashes are taken for slashes; if that does not help, the first
// folder's path is returned.
func (r Root) Find(raw string, folders ...string) (where, file string, err error) {
	spellings := []string{filepath.FromSlash(raw)}
	if strings.Contains(raw, `\`) {
		spellings = append(spellings, filepath.FromSlash(strings.ReplaceAll(raw, `\`, "/")))
	}
	for _, s := range spellings {
		for _, dir := range folders {
			p := join(dir, s)
			if _, err := os.Lstat(p); err == nil {
				where, file, err := r.Place(p)
				if err == nil || len(folders) == 1 {
					return where, file, err
				}
			}
		}
	}
	return r.Place(join(folders[0], spellings[len(spellings)-1]))
}

func join(dir, p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(dir, p)
}

// Place says whether a path may be used, and its form below the root. A file
// that is allowed elsewhere is called by its last element.
func (r Root) Place(p string) (where, file string, err error) {
	root, err := filepath.Abs(r.Dir)
	if err != nil {
		return "", "", err
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", "", err
	}
	rel, err := filepath.Rel(root, abs)
	if err == nil && filepath.IsLocal(rel) {
		return p, filepath.ToSlash(rel), nil
	}
	if !r.AllowOutside {
		return "", "", fmt.Errorf("%q leaves the data root %s; expected a path below it; --allow-outside accepts it", p, r.Dir)
	}
	return p, path.Base(filepath.ToSlash(abs)), nil
}
