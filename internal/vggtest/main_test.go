package vggtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// run runs this package's tests of a name on an instruction set in another process.
func run(t *testing.T, name, cpu string, args ...string) (output string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"-test.v", "-test.run=^" + name + "$"}, args...)...)
	cmd.Env = append(os.Environ(), vggtest.CPU+"="+cpu)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestInstructionSet is also run by the tests below.
func TestInstructionSet(t *testing.T) {
	want := os.Getenv(vggtest.CPU)
	if want == "" {
		want = kernel.ISAs()[0].Name()
	}
	if got := kernel.Current().Name(); got != want {
		t.Errorf("the instruction set is %s, want %s", got, want)
	}
	t.Logf("on %s", want)
}

func TestCPUChoosesTheInstructionSet(t *testing.T) {
	for _, s := range kernel.ISAs() {
		out, code := run(t, "TestInstructionSet", s.Name())
		if code != 0 || !strings.Contains(out, "on "+s.Name()+"\n") {
			t.Errorf("%s: exit code %d:\n%s", s.Name(), code, out)
		}
	}
	out, code := run(t, "TestInstructionSet", "mmx")
	if code != 2 || !strings.Contains(out, `VGG_CPU: `) || !strings.Contains(out, `"mmx"`) || strings.Contains(out, "RUN") {
		t.Errorf("mmx: exit code %d, want 2 before any test:\n%s", code, out)
	}
}

// TestUseWithoutEnd is run by TestChangedInstructionSet, and does nothing otherwise.
func TestUseWithoutEnd(t *testing.T) {
	if os.Getenv("VGG_TEST_USE") != "" {
		if err := kernel.Use("go"); err != nil {
			t.Fatal(err)
		}
	}
}

// A test that leaves another instruction set in use fails the package.
func TestChangedInstructionSet(t *testing.T) {
	best := kernel.ISAs()[0].Name()
	if best == "go" {
		vggtest.Skip(t, "a processor with a native instruction set")
	}
	t.Setenv("VGG_TEST_USE", "1")
	out, code := run(t, "TestUseWithoutEnd", best)
	if want := "VGG_CPU: the tests began on " + best + " and ended on go"; code != 1 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, want 1 and %q:\n%s", code, want, out)
	}
}

// Listing tests runs none and writes no log.
func TestListing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(self, "-test.list=TestListing", "-test.testlogfile="+filepath.Join(t.TempDir(), "log")).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "TestListing\n") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// The go command caches a result by the environment variables in its log.
func TestCacheKnowsCPU(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if out, code := run(t, "TestNothing", "go", "-test.testlogfile="+log); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if lines := string(text); !strings.HasPrefix(lines, "# test log\n") || !strings.HasSuffix(lines, "\ngetenv VGG_CPU\n") {
		t.Errorf("log:\n%s", lines)
	}
}
