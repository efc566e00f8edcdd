package vgg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// sources type-checks the packages of a module from their sources, tests too, for which go list
// would compile each of them. Of other modules' packages it reads export data.
type sources struct {
	files    *token.FileSet
	own      []*sourcePackage
	paths    map[string]*sourcePackage
	external types.Importer
	plain    *variant // packages without their tests
}

// sourcePackage is what is read of a package in go list's output.
type sourcePackage struct {
	ImportPath, Dir                          string
	GoFiles, TestGoFiles, XTestGoFiles       []string
	Imports, TestImports, XTestImports, Deps []string
	Module                                   *struct{ Main bool }
}

// openSources lists the packages of the module in the working directory.
func openSources(t *testing.T) *sources {
	t.Helper()
	s := &sources{files: token.NewFileSet(), paths: map[string]*sourcePackage{}}
	list(t, func(p *sourcePackage) {
		if p.Module != nil && p.Module.Main {
			s.own, s.paths[p.ImportPath] = append(s.own, p), p
		}
	}, "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Deps,Module", "./...")
	if len(s.own) == 0 {
		t.Fatal("no packages")
	}
	var foreign []string
	for _, p := range s.own {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if s.paths[path] == nil && path != "unsafe" && path != "C" {
				foreign = append(foreign, path)
			}
		}
	}
	slices.Sort(foreign)
	exports := map[string]string{}
	if foreign = slices.Compact(foreign); len(foreign) > 0 {
		list(t, func(p *struct{ ImportPath, Export string }) { exports[p.ImportPath] = p.Export }, append([]string{"-export", "-json=ImportPath,Export"}, foreign...)...)
	}
	s.external = importer.ForCompiler(s.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	s.plain = &variant{s: s, checked: map[string]*types.Package{}}
	return s
}

// list calls each with the objects that go list prints.
func list[P any](t *testing.T, each func(p *P), args ...string) {
	t.Helper()
	list := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", list, err, &stderr)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p P
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		each(&p)
	}
}

// parse reads files of a package.
func (s *sources) parse(p *sourcePackage, names []string) ([]*ast.File, error) {
	var parsed []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(s.files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	return parsed, nil
}

// check type-checks files of a package as package path, whose imports are those of v.
func (s *sources) check(t *testing.T, v *variant, path string, files []*ast.File, info *types.Info) {
	t.Helper()
	config := types.Config{Importer: v, FakeImportC: true}
	if _, err := config.Check(path, s.files, files, info); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// testing returns the packages as the tests of p that are a package of their own see them.
func (s *sources) testing(p *sourcePackage) *variant {
	if len(p.TestGoFiles) == 0 {
		return s.plain
	}
	return &variant{s: s, of: p, checked: map[string]*types.Package{}}
}

// variant is the packages with the tests of one of them in it, without function bodies.
type variant struct {
	s       *sources
	of      *sourcePackage // nil: none
	checked map[string]*types.Package
}

// Import returns a package.
func (v *variant) Import(path string) (*types.Package, error) {
	p := v.s.paths[path]
	switch {
	case path == "unsafe":
		return types.Unsafe, nil
	case p == nil:
		return v.s.external.Import(path)
	case v.of != nil && p != v.of && !slices.Contains(p.Deps, v.of.ImportPath):
		return v.s.plain.Import(path)
	case v.checked[path] != nil:
		return v.checked[path], nil
	}
	names := p.GoFiles
	if p == v.of {
		names = slices.Concat(names, p.TestGoFiles)
	}
	files, err := v.s.parse(p, names)
	if err != nil {
		return nil, err
	}
	config := types.Config{Importer: v, FakeImportC: true, IgnoreFuncBodies: true}
	checked, err := config.Check(path, v.s.files, files, nil)
	v.checked[path] = checked
	return checked, err
}
