package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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

// A slow target goes on until it has run enough inputs, but not for ever.
func TestMore(t *testing.T) {
	const span = 5 * time.Second
	for _, test := range []struct {
		n, least   int64
		passed     time.Duration
		from, most time.Duration
	}{
		{5000, 5000, span, 0, 0},
		{9000, 0, span, 0, 0},
		{4000, 5000, span, span / 4, span / 2},
		{10, 5000, span, 3 * span, 3*span + time.Second},
		{0, 5000, span, 3 * span, 3*span + time.Second},
		{4999, 5000, 4 * span, 0, 0},
	} {
		if got := more(test.n, test.least, span, test.passed); got < test.from || got > test.most {
			t.Errorf("%d of %d inputs after %v: %v more, want %v to %v", test.n, test.least, test.passed, got, test.from, test.most)
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
