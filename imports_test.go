package vgg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

const modulePath = "github.com/verydeep/vgg"

// levels is the order of the packages: one imports only packages of a lower
// level. Paths are relative to the module; "" is the root package. What is
// under tools is outside the order, and nothing imports it.
var levels = map[string]int{
	"accel":                 3,
	"accel/hlo":             0,
	"accel/pjrt":            0,
	"internal/remote":       1,
	"accel/plugins":         0,
	"architecture":          0,
	"comm":                  1,
	"comm/launch":           0,
	"comm/mpi":              2,
	"internal/atomicfile":   0,
	"internal/bfloat16":     0,
	"internal/boundedjson":  0,
	"internal/flush":        0,
	"internal/hdf5":         0,
	"internal/lockfile":     0,
	"internal/matfile":      0,
	"internal/oip":          0,
	"internal/pickle":       0,
	"internal/protoscan":    0,
	"internal/wholefile":    0,
	"metrics":               0,
	"internal/prefetch":     0,
	"progress":              0,
	"resources":             0,
	"tensor":                0,
	"internal/journal":      1,
	"internal/kernel":       1,
	"preprocess":            1,
	"weights":               1,
	"dataset":               2,
	"internal/vggtest":      2,
	"nn":                    2,
	"dataset/sample":        3,
	"network":               3,
	"releases":              3,
	"internal/interchange":  4,
	"":                      5,
	"eval":                  6,
	"perceptual":            6,
	"releases/pull":         6,
	"stylise":               6,
	"train":                 6,
	"internal/vggtest/pids": 0,
	"internal/vggtest/s3":   0,
	"internal/vggtest/tiny": 6,
	"internal/vggtest/xla":  3,
	"localize":              7,
	"report":                7,
	"transfer":              7,
	"reproduce":             8,
	"teach":                 8,
	"explain":               8,
	"server":                9,
	"internal/cli":          10,
	"cmd/vgg":               11,

	"internal/vggtest/oracle": 3,
}

// targets are the systems that the packages are listed for, since a file may be built on one
// of them only.
var targets = []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}

// listedPackage is what the test reads of a package in go list's output.
type listedPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportLevels(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	for _, target := range targets {
		packages := listPackages(t, target)
		if len(packages) < 2 {
			t.Fatalf("%s: go list names %d packages", target, len(packages))
		}
		for _, violation := range importViolations(packages) {
			t.Errorf("%s: %s", target, violation)
		}
	}
}

// testsPackage is for tests only. Every package whose tests reach the kernels uses it, so
// that VGG_CPU chooses the instruction set of them all.
const testsPackage = "internal/vggtest"

func TestTestsHeedVGGCPU(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	all := listTests(t)
	users := 0
	for _, p := range all {
		if slices.Contains(p.Deps, modulePath+"/"+testsPackage) {
			users++
		}
	}
	if users < 10 {
		t.Fatalf("go list names %d packages whose tests use %s, want at least 10", users, testsPackage)
	}
	for _, violation := range testViolations(all) {
		t.Error(violation)
	}
}

func TestTestViolationsAreFound(t *testing.T) {
	tests := func(files ...string) []listedTest {
		return []listedTest{{ImportPath: modulePath + "/train", Deps: []string{modulePath + "/internal/kernel"}, Files: files}}
	}
	const main = "package train\nfunc TestMain(m *testing.M) { vggtest.Main(m) }"
	const suite = "package train\nfunc TestMain(m *testing.M) { testscript.Main(vggtest.Suite(m), nil) }"
	const other = "package train\nfunc TestMain(m *testing.M) { os.Exit(m.Run()) }\nfunc TestX() { vggtest.Main(nil) }"
	want := []string{"train: its tests reach internal/kernel, and no TestMain of it calls vggtest.Main or vggtest.Suite: they don't heed VGG_CPU"}
	for _, test := range []struct {
		tests []listedTest
		want  []string
	}{
		{tests("package train\n", main), nil},
		{tests(suite), nil},
		{tests("package train\n", other), want},
		{tests("package train\n"), want},
		{[]listedTest{{ImportPath: modulePath + "/tensor", Files: []string{other}}}, nil},
	} {
		if got := testViolations(test.tests); !slices.Equal(got, test.want) {
			t.Errorf("%v: %q, want %q", test.tests, got, test.want)
		}
	}
}

// listedTest is the test binary of a package.
type listedTest struct {
	ImportPath string   // of the package
	Deps       []string // of the binary, the package itself among them
	Files      []string // contents of its test files
}

// testViolations names the packages whose tests reach the kernels without vggtest.
func testViolations(tests []listedTest) []string {
	var found []string
	for _, p := range tests {
		if !slices.Contains(p.Deps, modulePath+"/internal/kernel") {
			continue
		}
		if !slices.ContainsFunc(p.Files, heedsVGGCPU) {
			name, _ := withinModule(p.ImportPath)
			found = append(found, describe(name)+": its tests reach internal/kernel, and no TestMain of it calls vggtest.Main or vggtest.Suite: they don't heed VGG_CPU")
		}
	}
	return found
}

// heedsVGGCPU reports whether a file has a TestMain that calls vggtest.Main or Suite.
func heedsVGGCPU(source string) bool {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		return false
	}
	found := false
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "TestMain" {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					from, ok := s.X.(*ast.Ident)
					found = found || ok && from.Name == "vggtest" && (s.Sel.Name == "Main" || s.Sel.Name == "Suite")
				}
				return true
			})
		}
	}
	return found
}

// listTests lists the packages that have tests, with the dependencies of their test
// binaries.
func listTests(t *testing.T) []listedTest {
	t.Helper()
	list := exec.Command("go", "list", "-test", "-json=ImportPath,Dir,Deps,TestGoFiles,XTestGoFiles", "./...")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", list, err, &stderr)
	}
	files, deps := map[string][]string{}, map[string][]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                 string
			Deps, TestGoFiles, XTestGoFiles []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		if path, ok := strings.CutSuffix(p.ImportPath, ".test"); ok {
			// A package under test is "PACKAGE [PACKAGE.test]" here.
			for _, dep := range p.Deps {
				dep, _, _ = strings.Cut(dep, " ")
				deps[path] = append(deps[path], dep)
			}
			continue
		}
		if strings.Contains(p.ImportPath, " ") {
			continue
		}
		files[p.ImportPath] = []string{}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files[p.ImportPath] = append(files[p.ImportPath], string(text))
		}
	}
	var tests []listedTest
	for _, path := range slices.Sorted(maps.Keys(deps)) {
		tests = append(tests, listedTest{path, deps[path], files[path]})
	}
	return tests
}

func TestImportViolationsAreFound(t *testing.T) {
	for _, test := range []struct {
		name, from, to, want string
	}{
		{"downwards", "/nn", "/internal/kernel", ""},
		{"root", "", "/nn", ""},
		{"standard library", "/tensor", "fmt", ""},
		{"tool", "/tools/oracle", "/train", ""},
		{"upwards", "/nn", "/train", "nn (level 2) imports train (level 6)"},
		{"sideways", "/tensor", "/metrics", "tensor (level 0) imports metrics (level 0)"},
		{"to the root", "/nn", "", "nn (level 2) imports the root package (level 5)"},
		{"unlisted", "/util", "fmt", "util has no level"},
		{"of an unlisted one", "/nn", "/util", "nn (level 2) imports util, which has no level"},
		{"of a tool", "/nn", "/tools/oracle", "nn (level 2) imports tools/oracle, which has no level"},
		{"cgo", "/tensor", "C", "tensor imports C"},
		{"of the tests' package", "/train", "/internal/vggtest", "train imports internal/vggtest, which is for tests only"},
		{"within the tests' package", "/internal/vggtest/tiny", "/internal/vggtest", ""},
	} {
		imported := test.to
		if imported == "" || imported[0] == '/' {
			imported = modulePath + imported
		}
		got := importViolations([]listedPackage{{modulePath + test.from, []string{imported}}})
		want := []string{test.want}
		if test.want == "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
	}
}

// importViolations lists every package without a level and every import of a package that
// is not of a lower level.
func importViolations(packages []listedPackage) []string {
	var found []string
	for _, p := range packages {
		from, ok := withinModule(p.ImportPath)
		if !ok || outside(from) {
			continue
		}
		level, ok := levels[from]
		if !ok {
			found = append(found, describe(from)+" has no level")
			continue
		}
		for _, path := range p.Imports {
			if path == "C" {
				found = append(found, describe(from)+" imports C")
			}
			to, ok := withinModule(path)
			if !ok {
				continue
			}
			if within(to, testsPackage) && !within(from, testsPackage) {
				found = append(found, fmt.Sprintf("%s imports %s, which is for tests only", describe(from), to))
				continue
			}
			switch below, ok := levels[to]; {
			case !ok:
				found = append(found, fmt.Sprintf("%s (level %d) imports %s, which has no level", describe(from), level, describe(to)))
			case below >= level:
				found = append(found, fmt.Sprintf("%s (level %d) imports %s (level %d)", describe(from), level, describe(to), below))
			}
		}
	}
	return found
}

// withinModule returns path relative to the module, if it is part of it.
func withinModule(path string) (string, bool) {
	if path == modulePath {
		return "", true
	}
	return strings.CutPrefix(path, modulePath+"/")
}

// within reports whether a package is folder's or below it.
func within(relative, folder string) bool {
	return relative == folder || strings.HasPrefix(relative, folder+"/")
}

func describe(relative string) string {
	if relative == "" {
		return "the root package"
	}
	return relative
}

// listPackages lists the module's packages as built for a target (GOOS/GOARCH), with cgo,
// so that files that need it are included. Each target is listed once.
func listPackages(t *testing.T, target string) []listedPackage {
	t.Helper()
	listed.Lock()
	defer listed.Unlock()
	if listed.packages[target] == nil {
		if listed.packages == nil {
			listed.packages = map[string][]listedPackage{}
		}
		listed.packages[target] = goList(t, target)
	}
	return listed.packages[target]
}

// listed are the packages that have been listed, by target.
var listed struct {
	sync.Mutex
	packages map[string][]listedPackage
}

func goList(t *testing.T, target string) []listedPackage {
	t.Helper()
	goos, goarch, _ := strings.Cut(target, "/")
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=1")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", list, err, &stderr)
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		packages = append(packages, p)
	}
}

// watchTree opens every folder of the module. The cache of go test knows the files that the
// test itself opens, not those that go list reads.
func watchTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The photographs are megabytes, which a program that trains on its own doesn't want.
func TestOnlySampleEmbedsMuch(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		vggtest.Skip(t, "the go command")
	}
	watchTree(t)
	const most = 64 << 10 // bytes that a package may embed
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,EmbedFiles,Deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	large := map[string]int64{}
	deps := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir  string
			EmbedFiles, Deps []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		for _, file := range p.EmbedFiles {
			info, err := os.Stat(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if size > most {
			large[p.ImportPath] = size
		}
		deps[p.ImportPath] = p.Deps
	}
	if page := modulePath + "/server"; large[page] < 5*most { // the page, with the library of its curves
		delete(large, page)
	}
	if len(large) != 1 || large[modulePath+"/dataset/sample"] == 0 {
		t.Fatalf("packages that embed more than %d bytes: %v, want dataset/sample alone", most, large)
	}
	for path, imports := range deps {
		name := strings.TrimPrefix(path, modulePath+"/")
		free := strings.HasPrefix(name, "internal/vggtest") || name == "internal/cli" || name == "cmd/vgg" || outside(name)
		if !free && slices.Contains(imports, modulePath+"/dataset/sample") {
			t.Errorf("%s imports dataset/sample, and a program that uses it grows by %d bytes", name, large[modulePath+"/dataset/sample"])
		}
	}
}

// outside tells whether a package is outside the order of levels: programs that nothing
// imports.
func outside(name string) bool {
	return strings.HasPrefix(name, "tools/") || name == "examples" || strings.HasPrefix(name, "examples/")
}
