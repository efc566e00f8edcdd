package vgg_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// apiFile lists what the library exports, a line for each name, as the Go project's own api
// folder does. Its differences are what a change means for those who use the library.
const apiFile = "docs/api.txt"

// TestAPI: the list is current. A line that goes, or changes, breaks programs.
func TestAPI(t *testing.T) {
	watchTree(t)
	got := exportedAPI(t, ".")
	if *update {
		if err := os.WriteFile(apiFile, []byte(strings.Join(got, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	gone, added := without(want, got), without(got, want)
	if len(gone)+len(added) > 0 {
		t.Errorf("%s isn't current: go test . -run TestAPI -update. Gone or changed, which CHANGELOG.md has to tell:\n%s\nnew:\n%s", apiFile, strings.Join(gone, "\n"), strings.Join(added, "\n"))
	}
	if len(got) < 500 {
		t.Errorf("%d exported names, want those of all packages", len(got))
	}
}

// TestAPILines: the forms of declarations, and what is left out.
func TestAPILines(t *testing.T) {
	dir := t.TempDir()
	source := `package p
// Answer is documented.
const Answer, hidden = 42, 1
var Limit int
type Number float64
type Alias = Number
type T struct { A, b int; Other }
type Other struct{}
type Shape interface { Area() float64; private() }
func (t *T) M(x ...int) (err error) { return nil }
func (T) m() {}
func (hiddenType) Exported() {}
type hiddenType struct{}
func F[K comparable](f func(K) int) int { return 0 }
`
	for name, text := range map[string]string{"p.go": source, "p_test.go": "package p\nfunc Test() {}\n", "p_windows.go": "package p\nfunc Windows() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"pkg p, const Answer = 42", "pkg p, func F[K comparable](f func(K) int) int", "pkg p, method (*T) M(x ...int) (err error)",
		"pkg p, type Alias = Number", "pkg p, type Number float64", "pkg p, type Other struct", "pkg p, type Shape interface", "pkg p, type Shape interface, Area() float64",
		"pkg p, type Shape interface, unexported methods", "pkg p, type T struct", "pkg p, type T struct, A int", "pkg p, type T struct, embedded Other", "pkg p, var Limit int",
	}
	if got := packageAPI(t, "p", dir); !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func without(a, b []string) []string {
	have := map[string]bool{}
	for _, line := range b {
		have[line] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return have[line] })
}

// exportedAPI lists what the public packages of the module export.
func exportedAPI(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	for name := range levels {
		if strings.HasPrefix(name, "internal/") || outside(name) {
			continue
		}
		shown := name
		if name == "" {
			shown = "vgg"
		}
		all = append(all, packageAPI(t, shown, filepath.Join(root, filepath.FromSlash(name)))...)
	}
	slices.Sort(all)
	return all
}

// packageAPI lists what a package exports on linux/amd64.
func packageAPI(t *testing.T, name, dir string) []string {
	t.Helper()
	on := build.Default
	on.GOOS, on.GOARCH, on.CgoEnabled, on.BuildTags = "linux", "amd64", false, nil
	p, err := on.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name == "main" {
		return nil
	}
	l := &apiLister{files: token.NewFileSet(), prefix: "pkg " + name + ", "}
	for _, file := range p.GoFiles {
		f, err := parser.ParseFile(l.files, filepath.Join(dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			l.declaration(d)
		}
	}
	slices.Sort(l.lines)
	return l.lines
}

type apiLister struct {
	files  *token.FileSet
	prefix string
	lines  []string
}

func (l *apiLister) add(format string, args ...any) {
	l.lines = append(l.lines, l.prefix+fmt.Sprintf(format, args...))
}

// text prints a piece of source on a line.
func (l *apiLister) text(node any) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, l.files, node); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (l *apiLister) declaration(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		l.function(d)
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				l.typ(s)
			case *ast.ValueSpec:
				l.values(d.Tok, s)
			}
		}
	}
}

func (l *apiLister) function(d *ast.FuncDecl) {
	if !d.Name.IsExported() {
		return
	}
	signature := strings.TrimPrefix(l.text(d.Type), "func")
	if d.Recv == nil {
		l.add("func %s%s", d.Name.Name, signature)
		return
	}
	receiver := l.text(d.Recv.List[0].Type)
	if ast.IsExported(strings.TrimPrefix(receiver, "*")) {
		l.add("method (%s) %s%s", receiver, d.Name.Name, signature)
	}
}

func (l *apiLister) values(kind token.Token, s *ast.ValueSpec) {
	for i, name := range s.Names {
		if !name.IsExported() {
			continue
		}
		line := kind.String() + " " + name.Name
		if s.Type != nil {
			line += " " + l.text(s.Type)
		}
		if kind == token.CONST && i < len(s.Values) {
			line += " = " + l.text(s.Values[i])
		}
		l.add("%s", line)
	}
}

func (l *apiLister) typ(s *ast.TypeSpec) {
	if !s.Name.IsExported() {
		return
	}
	name := s.Name.Name
	if s.TypeParams != nil {
		name += "[" + l.text(s.TypeParams) + "]"
	}
	switch of := s.Type.(type) {
	case *ast.StructType:
		l.add("type %s struct", name)
		for _, f := range of.Fields.List {
			if len(f.Names) == 0 {
				l.add("type %s struct, embedded %s", name, l.text(f.Type))
			}
			for _, field := range f.Names {
				if field.IsExported() {
					l.add("type %s struct, %s %s", name, field.Name, l.text(f.Type))
				}
			}
		}
	case *ast.InterfaceType:
		l.add("type %s interface", name)
		for _, m := range of.Methods.List {
			switch {
			case len(m.Names) == 0:
				l.add("type %s interface, embedded %s", name, l.text(m.Type))
			case m.Names[0].IsExported():
				l.add("type %s interface, %s%s", name, m.Names[0].Name, strings.TrimPrefix(l.text(m.Type), "func"))
			default:
				l.add("type %s interface, unexported methods", name)
			}
		}
	default:
		between := " "
		if s.Assign.IsValid() {
			between = " = "
		}
		l.add("type %s%s%s", name, between, l.text(s.Type))
	}
}
