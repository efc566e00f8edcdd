//go:build accel && mpi && linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/internal/vggtest"
)

// TestMPIDevices: processes with a device each train to the bits of one process with two devices;
// ranks on different devices are refused.
func TestMPIDevices(t *testing.T) {
	if os.Getenv(plugins.Variable) == "" {
		vggtest.Skip(t, "a PJRT plugin in "+plugins.Variable)
	}
	l := launchers[0]
	if _, err := exec.LookPath(l.program); err != nil {
		vggtest.Skip(t, l.program)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(program string, arguments ...string) (string, error) {
		c := exec.CommandContext(t.Context(), program, arguments...)
		c.Dir = dir
		// XLA has as many threads as a process has processors, and bits depend on them.
		c.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+dir, "NPROC=2")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	training := func(out string, more ...string) []string {
		return mpiTraining("A-BN", out, append([]string{"--set", "max_iterations=6", "--device", "cpu"}, more...)...)
	}
	under := func(training ...string) []string {
		return append(append(append([]string{}, l.arguments...), "--bind-to", "none", "-n", "2", self), training...)
	}
	if out, err := run(self, training("one", "--ranks", "2")...); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if out, err := run(l.program, under(training("two")...)...); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, name := range []string{"last.safetensors", "best.safetensors"} {
		want, err := os.ReadFile(filepath.Join(dir, "one", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "two", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s isn't that of one process (%v)", name, err)
		}
	}
	apart := append(append(append([]string{}, l.arguments...), "-n", "1", self), training("apart")...)
	apart = append(append(apart, ":", "-n", "1", self), mpiTraining("A-BN", "apart", "--set", "max_iterations=6")...)
	if out, err := run(l.program, apart...); err == nil || !strings.Contains(out, "computes on the processor, rank 0 on cpu f32") {
		t.Errorf("a device on rank 0 alone: %v:\n%s", err, out)
	}
}
