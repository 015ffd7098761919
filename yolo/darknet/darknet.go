// Package darknet reads and writes detectors in Darknet's two files: the .cfg,
// a text of sections that each describe a layer, and the .weights, the layers'
// numbers in the same order.
//
// The formats have no specification; this package follows AlexeyAB's program
// (https://github.com/AlexeyAB/darknet, src/parser.c and src/option_list.c) and
// says where it is stricter. A cfg that was read keeps its text, of which only
// what has changed is edited. One that is written anew keeps to the subset that
// OpenCV, DeepStream, ncnn, tkDNN and the forks of Darknet read alike.
package darknet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/google/renameio/v2"

	"yoloprune/yolo/graph"
)

// A FormatError says that a file is broken: no program could make sense of it,
// or two programs would read different networks.
type FormatError struct {
	File string
	Line int // 0: the whole file
	Msg  string
}

func (e *FormatError) Error() string { return position(e.File, e.Line) + e.Msg }

// An UnsupportedError says that a file is good Darknet but uses something that
// this program does not run, or that a graph cannot be written as Darknet.
type UnsupportedError struct {
	File string
	Line int // 0: the whole file
	Msg  string
}

func (e *UnsupportedError) Error() string { return position(e.File, e.Line) + e.Msg }

// A Warning is something in a cfg that was read, but probably not as meant.
type Warning struct {
	File string
	Line int
	Msg  string
}

func (w Warning) String() string { return position(w.File, w.Line) + w.Msg }

func position(file string, line int) string {
	switch {
	case file == "" && line == 0:
		return ""
	case file == "":
		return fmt.Sprintf("line %d: ", line)
	case line == 0:
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// Load reads a cfg and, unless weightsPath is empty, its weights.
func Load(cfgPath, weightsPath string) (*graph.Graph, []Warning, error) {
	g, warnings, err := loadCfg(cfgPath)
	if err != nil || weightsPath == "" {
		return g, warnings, err
	}
	f, err := os.Open(weightsPath)
	if err != nil {
		return nil, warnings, err
	}
	defer f.Close()
	if _, err := DecodeWeights(weightsPath, f, g); err != nil {
		return nil, warnings, err
	}
	return g, warnings, nil
}

func loadCfg(path string) (*graph.Graph, []Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return Decode(path, f)
}

// LoadBackbone reads a partial weights file into g's first layers and returns
// how many those are.
func LoadBackbone(path string, g *graph.Graph) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, layers, err := DecodePartialWeights(path, f, g)
	return layers, err
}

// Save writes a graph as a cfg and a weights file; a path may be empty to leave
// that file out. Neither file is touched unless both can be encoded, and each
// one is replaced whole or not at all. The weights are marked as having seen
// no images, so that a training with Darknet starts its schedule afresh.
func Save(cfgPath, weightsPath string, g *graph.Graph) error {
	return save(cfgPath, weightsPath, g, Encode)
}

// SaveCanonical is Save with a cfg that is written anew; see EncodeCanonical.
func SaveCanonical(cfgPath, weightsPath string, g *graph.Graph) error {
	return save(cfgPath, weightsPath, g, EncodeCanonical)
}

func save(cfgPath, weightsPath string, g *graph.Graph, encode func(io.Writer, *graph.Graph) error) error {
	return replace([]target{
		{cfgPath, func(w io.Writer) error { return encode(w, g) }},
		{weightsPath, func(w io.Writer) error { return EncodeWeights(w, g, 0) }},
	})
}

// SaveWeights writes the weights of the layers before number layers to a file,
// which is replaced whole or not at all.
func SaveWeights(path string, g *graph.Graph, layers int) error {
	return replace([]target{{path, func(w io.Writer) error { return EncodePartialWeights(w, g, layers, 0) }}})
}

// target is a path with what is to be written there.
type target struct {
	path  string
	write func(io.Writer) error
}

// replace writes files, leaving out those without a path. All are on the disk
// under temporary names before the first one gets its own.
func replace(files []target) error {
	var ready []*renameio.PendingFile
	defer func() {
		for _, f := range ready {
			f.Cleanup()
		}
	}()
	files = slices.DeleteFunc(files, func(f target) bool { return f.path == "" })
	for _, f := range files {
		pending, err := f.create()
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		ready = append(ready, pending)
	}
	for i, f := range ready {
		if err := f.CloseAtomicallyReplace(); err != nil {
			return fmt.Errorf("%s: %w", files[i].path, err)
		}
	}
	return nil
}

// create writes a file under a temporary name. A folder in its place would be
// noticed by the renaming only, when another file may have its name already.
func (f target) create() (*renameio.PendingFile, error) {
	if info, err := os.Stat(f.path); err == nil && info.IsDir() {
		return nil, errors.New("is a folder")
	}
	pending, err := renameio.NewPendingFile(f.path, renameio.WithPermissions(0o666), renameio.WithExistingPermissions())
	if err != nil {
		return nil, err
	}
	err = f.write(pending)
	if err == nil {
		err = pending.Sync()
	}
	if err != nil {
		pending.Cleanup()
		return nil, err
	}
	return pending, nil
}
