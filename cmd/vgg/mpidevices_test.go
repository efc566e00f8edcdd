//go:build accel && mpi && linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/internal/vggtest"
)

// TestMPIDevices: processes with a device each train to the bits of one process with two devices,
// also after a rank was killed, on another number of processes and of devices; ranks on different
// devices are refused.
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
	command := func(program string, arguments ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), program, arguments...)
		c.Dir = dir
		// XLA has as many threads as a process has processors, and bits depend on them.
		c.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+dir, "NPROC=2")
		c.WaitDelay = 10 * time.Second
		return c
	}
	run := func(program string, arguments ...string) (string, error) {
		out, err := command(program, arguments...).CombinedOutput()
		return string(out), err
	}
	training := func(out string, more ...string) []string {
		return mpiTraining("A-BN", out, append([]string{"--set", "max_iterations=6", "--device", "cpu"}, more...)...)
	}
	under := func(n int, training ...string) []string {
		return append(append(slices.Clone(l.arguments), "--bind-to", "none", "-n", fmt.Sprint(n), self), training...)
	}
	same := func(what, out string, program string, arguments ...string) {
		t.Helper()
		if text, err := run(program, arguments...); err != nil {
			t.Fatalf("%s: %v:\n%s", what, err, text)
		}
		for _, name := range []string{"last.safetensors", "best.safetensors"} {
			want, err := os.ReadFile(filepath.Join(dir, "one", name))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, out, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s isn't that of one process (%v)", what, name, err)
			}
		}
	}
	same("one process", "one", self, training("one", "--ranks", "2")...)
	same("two processes", "two", l.program, under(2, training("two")...)...)
	c := command(l.program, under(3, training("killed", "--checkpoint-every", "1ms")...)...)
	var text bytes.Buffer
	c.Stdout, c.Stderr = &text, &text
	signalRank(t, c, &text, 1, syscall.SIGKILL, func() bool {
		checkpoints, _ := filepath.Glob(filepath.Join(dir, "killed", "checkpoints", "*.safetensors"))
		return len(checkpoints) >= 2
	})
	if err := c.Wait(); err == nil {
		t.Fatalf("a rank was killed, and the job ended well:\n%s", &text)
	}
	if err := os.CopyFS(filepath.Join(dir, "killed-2"), os.DirFS(filepath.Join(dir, "killed"))); err != nil {
		t.Fatal(err)
	}
	same("killed on three, resumed on one process and device", "killed", self, training("killed", "--resume")...)
	same("killed on three, resumed on two processes", "killed-2", l.program, under(2, training("killed-2", "--resume")...)...)
	apart := append(append(slices.Clone(l.arguments), "-n", "1", self), training("apart")...)
	apart = append(append(apart, ":", "-n", "1", self), mpiTraining("A-BN", "apart", "--set", "max_iterations=6")...)
	if out, err := run(l.program, apart...); err == nil || !strings.Contains(out, "computes on the processor, rank 0 on cpu f32") {
		t.Errorf("a device on rank 0 alone: %v:\n%s", err, out)
	}
}
