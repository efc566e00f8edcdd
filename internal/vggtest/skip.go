package vggtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Skip skips a test or benchmark that needs what this machine or checkout doesn't have; the
// need is a noun phrase. tools/testreport lists the needs at the end of a test run.
func Skip(t testing.TB, need string) {
	t.Helper()
	t.Skip("needs " + need)
}

// SkipShort skips a test under -short; what says what it does that takes long.
func SkipShort(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: " + what)
	}
}

// All reports whether tests run every combination of what they combine: VGG_TEST_ALL is set, as
// in CI. Otherwise some run fewer, in which each value is met beside each other one.
func All() bool { return os.Getenv("VGG_TEST_ALL") != "" }

// Shared returns the path of a file or folder in the shared data, which are too large for
// the repository and may lie beside it, in ../shared/data; the name has slashes. Where it
// is missing, the test is skipped.
func Shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(root(t), "..", "shared", "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Logf("no %s in ../shared/data", name)
		Skip(t, "../shared/data, too large for the repository")
	}
	return path
}

// root returns the folder of the module, which the tests run in a folder of.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no folder above has a go.mod")
		}
		dir = parent
	}
}

// Python returns the path of a python3 that can import the modules. Where there is none,
// the test is skipped.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return path
		}
	}
	Skip(t, "python3 with "+strings.Join(modules, ", "))
	return ""
}
