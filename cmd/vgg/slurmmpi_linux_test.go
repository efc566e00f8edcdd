//go:build mpi

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestMPIUnderSlurm: deploy's script trains by ranks that Slurm starts, over both families of
// libraries, to the bits of one process with as many groups.
func TestMPIUnderSlurm(t *testing.T) {
	startSlurm(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	vgg := filepath.Join(dir, "vgg")
	vggtest.WriteFiles(t, dir, map[string][]byte{"vgg": fmt.Appendf(nil, "#!/bin/sh\n%s=1 XDG_CACHE_HOME='%s' exec '%s' \"$@\"\n", asProgram, dir, self)})
	if err := os.Chmod(vgg, 0o755); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(dir, "alone")
	if out, err := exec.CommandContext(t.Context(), vgg, mpiTraining("A", alone)...).CombinedOutput(); err != nil {
		t.Fatalf("one process: %v:\n%s", err, out)
	}
	for plugin, program := range map[string]string{"pmix": "mpiexec.openmpi", "pmi2": "mpiexec.mpich"} {
		t.Run(plugin, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				vggtest.Skip(t, program)
			}
			run, log := filepath.Join(dir, plugin), filepath.Join(dir, plugin+".log")
			training := mpiTraining("A", run)[3:] // without the command and the images
			groups := slices.Index(training, "--groups")
			training = slices.Delete(training, groups, groups+2) // VGG_GROUPS has them
			args := append([]string{"--wait", "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--output=" + log, "../../deploy/slurm-mpi.sh", "sample", run}, training...)
			cmd := exec.CommandContext(t.Context(), "sbatch", args...)
			cmd.Env = append(os.Environ(), "VGG="+vgg, "MPI="+plugin, "VGG_GROUPS=6")
			said, err := cmd.CombinedOutput()
			text, _ := os.ReadFile(log)
			if err != nil {
				t.Fatalf("%v: %s%s", err, said, text)
			}
			if !bytes.Contains(text, []byte("Ranks: 2, in 2 processes")) {
				t.Errorf("the ranks don't train together:\n%s", text)
			}
			if sum(t, filepath.Join(run, "last.safetensors")) != sum(t, filepath.Join(alone, "last.safetensors")) {
				t.Error("other weights than of one process")
			}
		})
	}
}
