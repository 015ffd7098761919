package arch

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is the longest that a function may be.
const maxLines = 100

// long lists functions that may be longer, as folder.Name or folder.Type.Name,
// each with its reason.
var long = map[string]string{}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// sources lists the module's Go files relative to its root, tests included.
func sources(t *testing.T) []string {
	t.Helper()
	top := root(t)
	var files []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			rel, err := filepath.Rel(top, path)
			files = append(files, rel)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFormat(t *testing.T) {
	for _, file := range sources(t) {
		src, err := os.ReadFile(filepath.Join(root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := format.Source(src)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(src, out) {
			t.Errorf("%s: gofmt would change it", file)
		}
	}
}

// function is one function of the module's own code.
type function struct {
	name  string
	at    string
	lines int
}

func functions(t *testing.T) []function {
	t.Helper()
	var all []function
	fset := token.NewFileSet()
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(root(t), file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				from, to := fset.Position(fn.Pos()).Line, fset.Position(fn.End()).Line
				name := filepath.ToSlash(filepath.Dir(file)) + "." + receiver(fn) + fn.Name.Name
				all = append(all, function{name, fmt.Sprintf("%s:%d", file, from), to - from + 1})
			}
		}
	}
	return all
}

// receiver returns "Type." for a method.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	if name, ok := typ.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

func TestFunctionLength(t *testing.T) {
	all := functions(t)
	slices.SortFunc(all, func(a, b function) int { return cmp.Compare(a.lines, b.lines) })
	excused := map[string]bool{}
	for _, f := range all {
		if f.lines <= maxLines {
			continue
		}
		excused[f.name] = true
		if long[f.name] == "" {
			t.Errorf("%s: %s has %d lines, over %d; cut it up", f.at, f.name, f.lines, maxLines)
		}
	}
	for name := range long {
		if !excused[name] {
			t.Errorf("%s is listed as long and is not", name)
		}
	}
	n := len(all)
	t.Logf("%d functions, lines: median %d, nine tenths within %d, longest %d", n, all[n/2].lines, all[n*9/10].lines, all[n-1].lines)
}

// Nothing that reaches a user may panic on purpose. Folders named ...test hold
// what only tests use.
func TestNoPanic(t *testing.T) {
	fset := token.NewFileSet()
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(filepath.Dir(file), "test") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(root(t), file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "panic" {
					t.Errorf("%s: a call of panic; return an error", fset.Position(call.Pos()))
				}
			}
			return true
		})
	}
}
