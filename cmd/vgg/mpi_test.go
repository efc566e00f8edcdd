//go:build mpi && linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/pids"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// launchers are the programs that start ranks, of both families of libraries.
var launchers = []struct {
	name, program string
	arguments     []string
}{
	{"Open MPI", "mpiexec.openmpi", []string{"--oversubscribe", "--allow-run-as-root", "--mca", "btl_vader_single_copy_mechanism", "none"}},
	{"MPICH", "mpiexec.mpich", nil},
}

// mpiTraining is a command line of a small run.
func mpiTraining(config, out string, more ...string) []string {
	return append([]string{
		"train", "--data", "sample", "--config", config, "--width", "0.0625", "--fc", "16", "--init", "he", "--set", "standardise=true",
		"--input", "32", "--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "40", "--groups", "6",
		"--learning-rate", "0.001", "--epochs", "2", "--set", "max_iterations=14", "--threads", "1", "--out", out,
	}, more...)
}

// TestMPI: training in processes that a launcher started ends with the bits of one process,
// with several ranks in each, resumed in another number of them, and after a rank was killed.
func TestMPI(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	start := func(program string, arguments ...string) (*exec.Cmd, *bytes.Buffer) {
		c := exec.CommandContext(vggtest.UntilDeadline(t), program, arguments...)
		var out bytes.Buffer
		c.Dir, c.Stdout, c.Stderr = dir, &out, &out
		c.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+dir)
		c.WaitDelay = 10 * time.Second
		return c, &out
	}
	run := func(program string, arguments ...string) {
		t.Helper()
		if c, out := start(program, arguments...); c.Run() != nil {
			t.Fatalf("%s %v:\n%s", program, arguments, out)
		}
	}
	same := func(what, out, want string) {
		t.Helper()
		for _, name := range []string{"last.safetensors", "best.safetensors"} {
			a, errA := os.ReadFile(filepath.Join(dir, out, name))
			b, errB := os.ReadFile(filepath.Join(dir, want, name))
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: %s isn't that of one process (%v, %v)", what, name, errA, errB)
			}
		}
	}
	for _, config := range []string{"A", "A-BN"} {
		run(self, mpiTraining(config, config)...)
		run(self, mpiTraining(config, config+"-2", "--ranks", "2")...)
		same(config+" on two ranks of one process", config+"-2", config)
	}
	for _, exchange := range []string{"bf16", "factors"} { // the file tells its recipe
		run(self, mpiTraining("A", "A-"+exchange, "--set", "exchange="+exchange)...)
	}
	if sum(t, filepath.Join(dir, "A-bf16", "last.safetensors")) == sum(t, filepath.Join(dir, "A", "last.safetensors")) {
		t.Error("exchange: bf16 changes nothing")
	}
	boxes := boxTraining(t, dir)
	run(self, append(boxes, "--out", "boxes")...)
	for i, l := range launchers {
		t.Run(l.name, func(t *testing.T) {
			if _, err := exec.LookPath(l.program); err != nil {
				vggtest.Skip(t, l.program)
			}
			under := func(n int, training []string) []string {
				return append(append(slices.Clone(l.arguments), "-n", fmt.Sprint(n), self), training...)
			}
			for _, c := range []struct {
				config, exchange string
				processes, ranks int
			}{{"A", "float32", 2, 1}, {"A-BN", "float32", 3, 1}, {"A-BN", "float32", 2, 3}, {"A", "factors", 3, 1}, {"A", "bf16", 2, 1}, {"A", "bf16", 3, 1}, {"A", "bf16", 2, 3}} {
				out, want := fmt.Sprintf("%s-%s-%d-%dx%d", c.config, c.exchange, i, c.processes, c.ranks), c.config
				if c.exchange != "float32" {
					want += "-" + c.exchange
				}
				run(l.program, under(c.processes, mpiTraining(c.config, out, "--ranks", fmt.Sprint(c.ranks), "--rank-logs", out+"-logs", "--set", "exchange="+c.exchange))...)
				same(out, out, want)
				if logs, _ := filepath.Glob(filepath.Join(dir, out+"-logs", "rank-*.log")); len(logs) != c.processes-1 {
					t.Errorf("%s: %d logs of ranks", out, len(logs))
				}
			}
			out := fmt.Sprintf("boxes-%d", i)
			run(l.program, under(2, append(slices.Clone(boxes), "--out", out, "--epochs", "1"))...)
			run(l.program, under(3, []string{"localize", "train", "--out", out, "--resume", "--epochs", "2"})...)
			same("boxes on two ranks, then on three", out, "boxes")
			killed := fmt.Sprintf("killed-%d", i)
			killRank(t, dir, func() (*exec.Cmd, *bytes.Buffer) {
				return start(l.program, under(3, mpiTraining("A-BN", killed, "--checkpoint-every", "1ms"))...)
			}, killed)
			run(l.program, under(2, mpiTraining("A-BN", killed, "--resume"))...)
			same("killed on three ranks and resumed on two", killed, "A-BN")
			// Ranks that would train apart.
			apart := append(under(1, mpiTraining("A", "apart")), ":", "-n", "1", self)
			c, text := start(l.program, append(apart, mpiTraining("A", "apart", "--seed", "7")...)...)
			if err := c.Run(); err == nil || !strings.Contains(text.String(), "rank 1 (") || !strings.Contains(text.String(), "seed: 7, rank 0 has 1") {
				t.Errorf("another seed on rank 1: %v:\n%s", err, text)
			}
			// An error of a rank whose exit code is 0, before the first step, and of rank 0 after the last.
			apart = append(under(1, mpiTraining("A", "apart")), ":", "-n", "1", self)
			c, text = start(l.program, append(apart, mpiTraining("A", "apart", "--rank-logs", filepath.Join(self, "logs"))...)...)
			if err := c.Run(); err == nil || !strings.Contains(text.String(), "rank 1: mkdir") {
				t.Errorf("an error on rank 1: %v:\n%s", err, text)
			}
			full := append(slices.Clone(l.arguments), "-n", "2", "sh", "-c", `exec "$0" "$@" >/dev/full`, self)
			c, text = start(l.program, append(full, mpiTraining("A", fmt.Sprintf("full-%d", i), "--json", "--set", "max_iterations=2")...)...)
			if err := c.Run(); err == nil || !strings.Contains(text.String(), "standard output: ") {
				t.Errorf("a result that can't be printed: %v:\n%s", err, text)
			}
		})
	}
}

// TestMPIUnlikeRanks: ranks of which one has fewer instruction sets compute with those, to the bits
// of one process with them, and say so; an error of rank 1 that may pass has its exit code.
func TestMPIUnlikeRanks(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := fmt.Sprintf("http://%v/train-000000.tar", listener.Addr())
	listener.Close()
	run := func(program string, arguments ...string) (code int, text string) {
		t.Helper()
		c := exec.CommandContext(vggtest.UntilDeadline(t), program, arguments...)
		c.Dir, c.WaitDelay = dir, 10*time.Second
		c.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+dir)
		out, _ := c.CombinedOutput()
		return c.ProcessState.ExitCode(), string(out)
	}
	short := func(out string, more ...string) []string {
		return mpiTraining("A", out, append([]string{"--set", "max_iterations=2"}, more...)...)
	}
	if code, text := run("env", append([]string{"VGG_CPU=go", self}, short("plain")...)...); code != 0 {
		t.Fatalf("one process: exit code %d:\n%s", code, text)
	}
	for i, l := range launchers {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel() // a server that is gone is waited for
			if _, err := exec.LookPath(l.program); err != nil {
				vggtest.Skip(t, l.program)
			}
			two := func(first, second []string) (int, string) {
				args := append(append(slices.Clone(l.arguments), "-n", "1"), first...)
				return run(l.program, append(append(args, ":", "-n", "1"), second...)...)
			}
			out := fmt.Sprintf("sets-%d", i)
			code, text := two(append([]string{self}, short(out)...), append([]string{"env", "VGG_CPU=go", self}, short(out)...))
			if code != 0 || !strings.Contains(text, "note: rank 1 (") || !strings.Contains(text, "all ranks compute with go") {
				t.Fatalf("rank 1 with go alone: exit code %d:\n%s", code, text)
			}
			if sum(t, filepath.Join(dir, out, "last.safetensors")) != sum(t, filepath.Join(dir, "plain", "last.safetensors")) {
				t.Error("rank 1 with go alone: other weights than of one process")
			}
			code, text = two(append([]string{self}, short("gone")...), append([]string{self}, short("gone", "--data", gone)...))
			if code != 75 || !strings.Contains(text, "rank 1: ") || !strings.Contains(text, gone) {
				t.Errorf("rank 1 without its server: exit code %d, want 75:\n%s", code, text)
			}
		})
	}
}

// boxTraining is a command line of a small run that learns boxes, of a set that it writes.
func boxTraining(t *testing.T, dir string) []string {
	t.Helper()
	if err := tiny.Random(16, 1).Save(t.Context(), filepath.Join(dir, "net.safetensors")); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	var table strings.Builder
	table.WriteString("file,x0,y0,x1,y1\n")
	for i := range 32 {
		name := fmt.Sprintf("%s/%02d.png", []string{"blue", "red"}[i%2], i)
		files["boxed/"+name] = vggtest.PNG(60, 50, vggtest.Noise(uint64(i)))
		fmt.Fprintf(&table, "%s,%d,10,%d,45\n", name, i%20, 30+i%25)
	}
	files["boxes.csv"] = []byte(table.String())
	vggtest.WriteFiles(t, dir, files)
	return []string{"localize", "train", "--init-from", "net.safetensors", "--data", "boxed", "--annotations", "boxes.csv",
		"--batch", "12", "--groups", "6", "--epochs", "2", "--threads", "1"}
}

// sum is a file's SHA-256.
func sum(t *testing.T, file string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// killRank kills a rank of a run that has a checkpoint, and waits until the launcher has ended
// the others.
func killRank(t *testing.T, dir string, start func() (*exec.Cmd, *bytes.Buffer), out string) {
	t.Helper()
	c, text := start()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for checkpoints := []string(nil); len(checkpoints) < 2; checkpoints, _ = filepath.Glob(filepath.Join(dir, out, "checkpoints", "*.safetensors")) {
		time.Sleep(5 * time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	self, _ := os.Executable()
	ranks := pids.StartedBy(c.Process.Pid, self)
	if len(ranks) != 3 {
		t.Fatalf("%d ranks run, want 3:\n%s", len(ranks), text)
	}
	if err := syscall.Kill(ranks[len(ranks)-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Errorf("the launcher ends well though a rank was killed:\n%s", text)
	}
}
