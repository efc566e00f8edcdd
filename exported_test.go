package vgg_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestInternalNamesAreUsed: an internal package exports what another package uses, and no more.
// A public package exports what its users may want.
func TestInternalNamesAreUsed(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	unused, count := unusedNames(t)
	if count < 100 {
		t.Fatalf("%d exported names in the module, want hundreds", count)
	}
	for _, name := range unused {
		short, ok := strings.CutPrefix(name, modulePath+"/internal/")
		generated := strings.HasPrefix(short, "oip.") // by protoc, for the protocol's messages
		if ok && !generated && keptNames[short] == "" {
			t.Errorf("internal/%s is exported, and no other package uses it", short)
		}
	}
	for name := range keptNames {
		if !slices.Contains(unused, modulePath+"/internal/"+name) {
			t.Errorf("internal/%s is used, or there is no such name: it needs no exception", name)
		}
	}
}

// keptNames are exported names of internal packages that no other package uses, with the
// reason why they stay.
var keptNames = map[string]string{
	"interchange.OpenMMLab": "one of the Schemes, the others of which are used",
	"kernel.Panel":          "with Block, which is used, it describes the layout of packed weights",
	"pickle.Sized":          "an interface that values of a Library have",
	"pickle.Stateful":       "an interface that values of a Library have",
}

func TestUnusedNamesAreFound(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n",
		"a/a.go": "package a\n\ntype T struct{}\n\nfunc (T) Used() {}\nfunc (T) Unused() {}\nfunc (T) String() string { return \"\" }\n" +
			"func Used() {}\nfunc Unused() {}\nfunc InTest() {}\nfunc own() { Unused() }\n",
		"a/a_test.go": "package a_test\n\nimport \"m/a\"\n\nfunc use() { a.Unused() }\n",
		"b/b.go":      "package b\n\nimport \"m/a\"\n\nfunc use() { a.Used(); a.T{}.Used() }\n",
		"b/b_test.go": "package b\n\nimport \"m/a\"\n\nfunc use2() { a.InTest() }\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -mod=mod")
	got, count := unusedNames(t)
	if want := []string{"m/a.T.Unused", "m/a.Unused"}; !slices.Equal(got, want) || count != 7 {
		t.Errorf("unused of %d: %v, want %v of 7", count, got, want)
	}
}

// unusedNames lists the exported functions, types, variables, constants and methods that no
// other package of the module uses, tests included, and counts all. The tests of a package in
// a package of their own are not another one. Methods that an interface of another package
// names are used, and so are types that another exported name of their package mentions.
func unusedNames(t *testing.T) (unused []string, count int) {
	t.Helper()
	s := openSources(t)
	names, used := map[string]bool{}, map[string]bool{}
	interfaces := map[string]bool{"String": true, "Error": true, "Unwrap": true} // which any package may ask for
	for _, p := range s.own {
		// A test in a package of its own sees what the package exports to its tests.
		for _, part := range []struct {
			suffix string
			names  []string
			seen   *variant
		}{{"", slices.Concat(p.GoFiles, p.TestGoFiles), s.plain}, {"_test", p.XTestGoFiles, s.testing(p)}} {
			if len(part.names) == 0 {
				continue
			}
			parsed, err := s.parse(p, part.names)
			if err != nil {
				t.Fatal(err)
			}
			info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
			s.check(t, part.seen, p.ImportPath+part.suffix, parsed, info)
			for id, object := range info.Defs {
				position := s.files.Position(id.Pos())
				if name := exportedName(object); name != "" && part.suffix == "" && !strings.HasSuffix(position.Filename, "_test.go") {
					names[name] = true
					for _, t := range mentioned(object) {
						used[t] = true
					}
				}
			}
			for _, object := range info.Uses {
				if name := exportedName(object); name != "" && object.Pkg().Path() != p.ImportPath {
					used[name] = true
				}
			}
			for _, imported := range allPackages(info) {
				scope := imported.Scope()
				for _, name := range scope.Names() {
					if i, ok := scope.Lookup(name).Type().Underlying().(*types.Interface); ok {
						for m := range i.Methods() {
							interfaces[m.Name()] = true
						}
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		_, last, method := strings.Cut(name[strings.LastIndex(name, "/")+1:], ".")
		if _, m, ok := strings.Cut(last, "."); method && ok && interfaces[m] {
			continue
		}
		if !used[name] {
			unused = append(unused, name)
		}
	}
	return unused, len(names)
}

// allPackages lists the packages that the objects used are of, and those that these import.
func allPackages(info *types.Info) []*types.Package {
	seen := map[*types.Package]bool{}
	for _, object := range info.Uses {
		if p := object.Pkg(); p != nil && !seen[p] {
			seen[p] = true
			for _, imported := range p.Imports() {
				seen[imported] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// exportedName names a function, type, variable or constant of a package, or a method of an
// exported type; "" of anything else and of what isn't exported.
func exportedName(object types.Object) string {
	if object == nil || object.Pkg() == nil || !object.Exported() {
		return ""
	}
	if f, ok := object.(*types.Func); ok {
		object = f.Origin()
		if receiver := f.Signature().Recv(); receiver != nil {
			of := receiver.Type()
			if p, ok := of.(*types.Pointer); ok {
				of = p.Elem()
			}
			named, ok := of.(*types.Named)
			if !ok || !named.Obj().Exported() {
				return ""
			}
			return fmt.Sprintf("%s.%s.%s", object.Pkg().Path(), named.Obj().Name(), object.Name())
		}
	}
	if object.Parent() != object.Pkg().Scope() {
		return ""
	}
	return object.Pkg().Path() + "." + object.Name()
}

// mentioned names the types of its package that an exported function, method, variable or
// constant, or a field of an exported type, has to do with.
func mentioned(object types.Object) []string {
	var found []string
	var visit func(t types.Type)
	visit = func(t types.Type) {
		switch t := t.(type) {
		case *types.Named:
			if name := exportedName(t.Obj()); name != "" && t.Obj() != object && t.Obj().Pkg() == object.Pkg() {
				found = append(found, name)
			}
			for a := range t.TypeArgs().Types() {
				visit(a)
			}
		case *types.Signature:
			for v := range t.Params().Variables() {
				visit(v.Type())
			}
			for v := range t.Results().Variables() {
				visit(v.Type())
			}
		case *types.Struct:
			for f := range t.Fields() {
				if f.Exported() {
					visit(f.Type())
				}
			}
		case *types.Map:
			visit(t.Key())
			visit(t.Elem())
		case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
			visit(t.Elem())
		}
	}
	if _, ok := object.(*types.TypeName); ok {
		visit(object.Type().Underlying())
	} else {
		visit(object.Type())
	}
	return found
}
