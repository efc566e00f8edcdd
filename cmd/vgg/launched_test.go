//go:build unix && !mpi

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLaunchedWithoutMPI: the program that was built without MPI doesn't train N times at once.
func TestLaunchedWithoutMPI(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for rank, want := range []string{"rank 0 of 2 that mpiexec started", ""} {
		c := exec.Command(self, "train", "--out", "run")
		c.Dir = dir
		c.Env = append(os.Environ(), asProgram+"=1", "PMI_SIZE=2", "PMI_RANK="+[]string{"0", "1"}[rank])
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || (want == "") != (len(out) == 0) {
			t.Errorf("rank %d: error %v, output %q", rank, err, out)
		}
		if want != "" && !strings.Contains(string(out), "go build -tags mpi") {
			t.Errorf("the error doesn't say what to do: %s", out)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("there is %s", left[0].Name())
	}
}
