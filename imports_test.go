package vgg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/verydeep/vgg"

// levels is the order of the packages: one imports only packages of a lower
// level. Paths are relative to the module; "" is the root package. What is
// under tools is outside the order, and nothing imports it.
var levels = map[string]int{
	"tensor":              0,
	"metrics":             0,
	"comm":                0,
	"internal/hdf5":       0,
	"internal/lockfile":   0,
	"internal/atomicfile": 0,
	"internal/prefetch":   0,
	"internal/journal":    1,
	"internal/kernel":     1,
	"weights":             1,
	"preprocess":          1,
	"comm/mpi":            1,
	"dataset":             2,
	"nn":                  2,
	"":                    3,
	"train":               4,
	"eval":                4,
	"releases":            4,
	"localize":            5,
	"transfer":            5,
	"report":              5,
	"reproduce":           6,
	"server":              6,
	"internal/cli":        7,
	"cmd/vgg":             8,
}

// listedPackage is what the test reads of a package in go list's output.
type listedPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportLevels(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to list the packages with")
	}
	watchTree(t)
	// A file may be built on one system only.
	for _, target := range []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"} {
		packages := listPackages(t, target)
		if len(packages) < 2 {
			t.Fatalf("%s: go list names %d packages", target, len(packages))
		}
		for _, violation := range importViolations(packages) {
			t.Errorf("%s: %s", target, violation)
		}
	}
}

func TestImportViolationsAreFound(t *testing.T) {
	for _, test := range []struct {
		name, from, to, want string
	}{
		{"downwards", "/nn", "/internal/kernel", ""},
		{"root", "", "/nn", ""},
		{"standard library", "/tensor", "fmt", ""},
		{"tool", "/tools/oracle", "/train", ""},
		{"upwards", "/nn", "/train", "nn (level 2) imports train (level 4)"},
		{"sideways", "/tensor", "/metrics", "tensor (level 0) imports metrics (level 0)"},
		{"to the root", "/nn", "", "nn (level 2) imports the root package (level 3)"},
		{"unlisted", "/util", "fmt", "util has no level"},
		{"of an unlisted one", "/nn", "/util", "nn (level 2) imports util, which has no level"},
		{"of a tool", "/nn", "/tools/oracle", "nn (level 2) imports tools/oracle, which has no level"},
		{"cgo", "/tensor", "C", "tensor imports C"},
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

// importViolations names every package without a level and every import that
// does not go down.
func importViolations(packages []listedPackage) []string {
	var found []string
	for _, p := range packages {
		from, ok := withinModule(p.ImportPath)
		if !ok || strings.HasPrefix(from, "tools/") {
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

func describe(relative string) string {
	if relative == "" {
		return "the root package"
	}
	return relative
}

// listPackages lists the module's packages as the target (GOOS/GOARCH) builds
// them; with cgo, so that a file that needs it is seen.
func listPackages(t *testing.T, target string) []listedPackage {
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

// watchTree opens every folder of the module, since go test caches a result
// by the files that the test itself opens, not by those that go list reads.
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
