package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

func TestInputs(t *testing.T) {
	for log, want := range map[string]int64{
		"PASS\n": 0,
		"fuzz: elapsed: 0s, gathering baseline coverage: 0/5 completed\n": 0,
		"fuzz: elapsed: 3s, execs: 2686 (895/sec), new interesting: 1 (total: 6)\n" +
			"fuzz: elapsed: 6s, execs: 6451 (1255/sec), new interesting: 1 (total: 6)\nPASS\n": 6451,
	} {
		if n := inputs([]byte(log)); n != want {
			t.Errorf("%d inputs, want %d of\n%s", n, want, log)
		}
	}
}

// Counts add up over runs.
func TestCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), countsFile)
	for run := range 3 {
		c, err := readCounts(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.sum() != int64(run*12) {
			t.Errorf("run %d: %d inputs before", run, c.sum())
		}
		for target, n := range map[string]int64{"weights FuzzONNX": 5, "train FuzzCheckpoint": 7} {
			if err := c.add(path, target, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := readCounts(path); err == nil {
		t.Error("a damaged file of counts is read")
	}
}

func TestPackages(t *testing.T) {
	t.Chdir("../..")
	pkgs, err := packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, p := range pkgs {
		for _, name := range p.targets {
			targets[name] = true
		}
	}
	for _, want := range []string{"FuzzResume", "FuzzHDF5", "FuzzONNX"} {
		if !targets[want] {
			t.Errorf("no %s among %d targets", want, len(targets))
		}
	}
}
