//go:build mpi && linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/pids"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

type launcher struct {
	name, program string
	arguments     []string
	rank          string // the variable that tells a process its rank
	killed        string // what it says of a rank that was killed
}

// launchers are the programs that start ranks, of both families of libraries.
var launchers = []launcher{
	{"Open MPI", "mpiexec.openmpi", []string{"--oversubscribe", "--allow-run-as-root", "--mca", "btl_vader_single_copy_mechanism", "none"}, "OMPI_COMM_WORLD_RANK", "signal 9"},
	{"MPICH", "mpiexec.mpich", nil, "PMI_RANK", "EXIT CODE: 9"},
}

// mpiTraining is a command line of a small run.
func mpiTraining(config, out string, more ...string) []string {
	return append([]string{
		"train", "--data", "sample", "--config", config, "--width", "0.0625", "--fc", "16", "--init", "he", "--set", "standardise=true",
		"--input", "32", "--scale-min", "34", "--scale-max", "40", "--test-scale", "36", "--batch", "40", "--groups", "6",
		"--learning-rate", "0.001", "--epochs", "2", "--set", "max_iterations=14", "--threads", "1", "--out", out,
	}, more...)
}

// mpiRuns starts runs in a folder.
type mpiRuns struct {
	*testing.T
	dir, self string
}

func newMPIRuns(t *testing.T) mpiRuns {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return mpiRuns{t, t.TempDir(), self}
}

// start makes a command, with where its output goes.
func (r mpiRuns) start(program string, arguments ...string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.CommandContext(vggtest.UntilDeadline(r.T), program, arguments...)
	var out bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = r.dir, &out, &out
	c.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+r.dir)
	c.WaitDelay = 10 * time.Second
	return c, &out
}

// run runs a command to its end.
func (r mpiRuns) run(program string, arguments ...string) {
	r.Helper()
	if c, out := r.start(program, arguments...); c.Run() != nil {
		r.Fatalf("%s %v:\n%s", program, arguments, out)
	}
}

// same compares the weights of two runs.
func (r mpiRuns) same(what, out, want string) {
	r.Helper()
	for _, name := range []string{"last.safetensors", "best.safetensors"} {
		a, errA := os.ReadFile(filepath.Join(r.dir, out, name))
		b, errB := os.ReadFile(filepath.Join(r.dir, want, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			r.Errorf("%s: %s isn't that of one process (%v, %v)", what, name, errA, errB)
		}
	}
}

// want skips a test where the launcher isn't there.
func (l launcher) want(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(l.program); err != nil {
		vggtest.Skip(t, l.program)
	}
}

// command has the arguments that start so many ranks of a program.
func (l launcher) command(n int, program string, arguments []string) []string {
	return append(append(slices.Clone(l.arguments), "-n", fmt.Sprint(n), program), arguments...)
}

// TestMPI: training in processes that a launcher started ends with the bits of one process,
// with several ranks in each, resumed in another number of them, and after a rank was killed.
func TestMPI(t *testing.T) {
	r := newMPIRuns(t)
	dir, self, start, run, same := r.dir, r.self, r.start, r.run, r.same
	for _, config := range []string{"A", "A-BN"} {
		run(self, mpiTraining(config, config)...)
		run(self, mpiTraining(config, config+"-2", "--ranks", "2")...)
		same(config+" on two ranks of one process", config+"-2", config)
	}
	for _, c := range [][2]string{{"A", "bf16"}, {"A", "factors"}, {"A-BN", "factors"}} { // the file tells its recipe
		run(self, mpiTraining(c[0], c[0]+"-"+c[1], "--set", "exchange="+c[1])...)
	}
	if sum(t, filepath.Join(dir, "A-bf16", "last.safetensors")) == sum(t, filepath.Join(dir, "A", "last.safetensors")) {
		t.Error("exchange: bf16 changes nothing")
	}
	statistics := filepath.Join(dir, "vgg", "stats.json") // of the sample, which processes divide to measure
	boxes := boxTraining(t, dir)
	run(self, append(boxes, "--out", "boxes")...)
	for i, l := range launchers {
		t.Run(l.name, func(t *testing.T) {
			l.want(t)
			under := func(n int, training []string) []string { return l.command(n, self, training) }
			for _, c := range []struct {
				config, exchange string
				processes, ranks int
			}{{"A", "float32", 2, 1}, {"A-BN", "float32", 3, 1}, {"A-BN", "float32", 2, 3}, {"A", "factors", 3, 1}, {"A-BN", "factors", 3, 1}, {"A", "bf16", 2, 1}, {"A", "bf16", 3, 1}, {"A", "bf16", 2, 3}} {
				out, want := fmt.Sprintf("%s-%s-%d-%dx%d", c.config, c.exchange, i, c.processes, c.ranks), c.config
				if c.exchange != "float32" {
					want += "-" + c.exchange
				}
				measured, err := os.ReadFile(statistics)
				if err := errors.Join(err, os.Remove(statistics)); err != nil {
					t.Fatal(err)
				}
				run(l.program, under(c.processes, mpiTraining(c.config, out, "--ranks", fmt.Sprint(c.ranks), "--rank-logs", out+"-logs", "--set", "exchange="+c.exchange))...)
				same(out, out, want)
				if again, err := os.ReadFile(statistics); err != nil || !bytes.Equal(again, measured) {
					t.Errorf("%s: other statistics of the images than of one process (%v)", out, err)
				}
				if logs, _ := filepath.Glob(filepath.Join(dir, out+"-logs", "rank-*.log")); len(logs) != c.processes-1 {
					t.Errorf("%s: %d logs of ranks", out, len(logs))
				}
			}
			out := fmt.Sprintf("boxes-%d", i)
			run(l.program, under(2, append(slices.Clone(boxes), "--out", out, "--epochs", "1"))...)
			run(l.program, under(3, []string{"localize", "train", "--out", out, "--resume", "--epochs", "2"})...)
			same("boxes on two ranks, then on three", out, "boxes")
			for _, rank := range []int{0, 2} {
				killed := fmt.Sprintf("killed-%d-%d", i, rank)
				c, text := start(l.program, under(3, mpiTraining("A-BN", killed, "--checkpoint-every", "1ms"))...)
				signalRank(t, c, text, rank, syscall.SIGKILL, func() bool {
					checkpoints, _ := filepath.Glob(filepath.Join(dir, killed, "checkpoints", "*.safetensors"))
					return len(checkpoints) >= 2
				})
				if err := c.Wait(); err == nil || !strings.Contains(text.String(), l.killed) {
					t.Errorf("rank %d was killed: error %v, want one, and %q:\n%s", rank, err, l.killed, text)
				}
				run(l.program, under(2, mpiTraining("A-BN", killed, "--resume"))...)
				same(fmt.Sprintf("rank %d of three killed, and resumed on two", rank), killed, "A-BN")
			}
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

// TestMPIStopped: a signal to the launcher or to a rank ends training in all of them at one step,
// with a checkpoint, from which another number of ranks goes on to the bits of a run that wasn't
// stopped.
func TestMPIStopped(t *testing.T) {
	r := newMPIRuns(t)
	training := func(out string, more ...string) []string {
		return mpiTraining("A", out, append([]string{"--epochs", "8", "--set", "max_iterations=64"}, more...)...)
	}
	r.run(r.self, training("whole")...)
	for i, l := range launchers {
		t.Run(l.name, func(t *testing.T) {
			l.want(t)
			for _, c := range []struct {
				rank   int // -1: the launcher
				signal syscall.Signal
				only   string // the launcher of which this is said
				codes  []int  // that the launcher may end with
			}{
				{2, syscall.SIGTERM, "", []int{130}},
				{0, syscall.SIGTERM, "", []int{130}},
				{-1, syscall.SIGTERM, "MPICH", []int{130, 0}}, // by which of its processes it hears of first
				{-1, syscall.SIGTERM, "Open MPI", []int{1}},
				{-1, syscall.SIGUSR1, "Open MPI", []int{130}},
			} {
				if c.only != "" && c.only != l.name {
					continue
				}
				what, out := fmt.Sprintf("%v to rank %d", c.signal, c.rank), fmt.Sprintf("stopped-%d-%d-%d", i, c.rank, c.signal)
				arguments := l.command(3, r.self, training(out))
				passedOn := l.name == "Open MPI" && c.rank < 0 && c.signal == syscall.SIGTERM
				if passedOn { // after so many seconds; and so many later the ranks are killed
					arguments = append([]string{"--mca", "odls_base_sigkill_timeout", "10"}, arguments...)
				}
				cmd, text := r.start(l.program, arguments...)
				signalRank(t, cmd, text, c.rank, c.signal, func() bool {
					metrics, _ := os.ReadFile(filepath.Join(r.dir, out, "metrics.jsonl"))
					return bytes.Contains(metrics, []byte(`"kind":"iteration"`))
				})
				if passedOn {
					holdUntilPending(t, pids.StartedBy(cmd.Process.Pid, r.self), c.signal)
				}
				_ = cmd.Wait() // its exit code tells
				if code := cmd.ProcessState.ExitCode(); !slices.Contains(c.codes, code) || !strings.Contains(text.String(), "interrupted; the weights so far are in") {
					t.Errorf("%s: exit code %d, want one of %d, and that it was interrupted:\n%s", what, code, c.codes, text)
				}
				if checkpoints, _ := filepath.Glob(filepath.Join(r.dir, out, "checkpoints", "*.safetensors")); len(checkpoints) == 0 {
					t.Errorf("%s: no checkpoint", what)
				}
				r.run(l.program, l.command(2, r.self, training(out, "--resume"))...)
				r.same(what+" of three ranks, and resumed on two", out, "whole")
			}
		})
	}
}

// TestMPIJoined: --ranks mpi joins ranks of a launcher that the program doesn't know by its
// variables. MPICH's library itself needs those of its launcher.
func TestMPIJoined(t *testing.T) {
	r, l := newMPIRuns(t), launchers[0]
	l.want(t)
	training := func(out string, more ...string) []string {
		return mpiTraining("A", out, append([]string{"--epochs", "1", "--set", "max_iterations=6"}, more...)...)
	}
	r.run(r.self, training("alone")...)
	unknown := append([]string{"-u", "OMPI_COMM_WORLD_SIZE", r.self}, training("joined", "--ranks", "mpi")...)
	c, text := r.start(l.program, l.command(2, "env", unknown)...)
	if err := c.Run(); err != nil || !strings.Contains(text.String(), "Ranks: 2, in 2 processes") {
		t.Fatalf("%v:\n%s", err, text)
	}
	r.same("ranks of an unknown launcher", "joined", "alone")
}

// TestMPIVersions: two processes of each library that [vggtest.MPIPrefixes] names train to the bits
// of one, and their launcher ends well.
func TestMPIVersions(t *testing.T) {
	all := vggtest.PrefixedMPI()
	if len(all) == 0 {
		vggtest.Skip(t, "other versions of MPI, in the folders of "+vggtest.MPIPrefixes)
	}
	r := newMPIRuns(t)
	r.run(r.self, mpiTraining("A-BN", "alone")...)
	for i, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			out := fmt.Sprintf("run-%d", i)
			t.Setenv("VGG_MPI", m.Library)
			l := launcher{program: m.Program, arguments: m.Arguments}
			r.run(l.program, l.command(2, r.self, mpiTraining("A-BN", out))...)
			r.same(m.Name, out, "alone")
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

// signalRank starts a run and, when it is so far, sends a signal to the process of a rank; to the
// launcher for a rank of -1.
func signalRank(t *testing.T, c *exec.Cmd, text *bytes.Buffer, rank int, signal syscall.Signal, far func() bool) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for !far() {
		time.Sleep(5 * time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	self, _ := os.Executable()
	ranks := pids.StartedBy(c.Process.Pid, self)
	target := c.Process.Pid
	if rank >= 0 {
		i := slices.IndexFunc(ranks, func(pid int) bool { return rankOf(pid) == rank })
		if len(ranks) != 3 || i < 0 {
			t.Fatalf("%d ranks run, want 3, of which one is %d:\n%s", len(ranks), rank, text)
		}
		target = ranks[i]
	}
	if err := syscall.Kill(target, signal); err != nil {
		t.Fatal(err)
	}
}

// holdUntilPending stops processes until a signal waits for each of them.
func holdUntilPending(t *testing.T, processes []int, signal syscall.Signal) {
	t.Helper()
	for _, pid := range processes {
		for pending := uint64(0); pending>>(signal-1)&1 == 0; {
			for _, all := range processes { // again: the launcher lets them go on first
				_ = syscall.Kill(all, syscall.SIGSTOP)
			}
			time.Sleep(20 * time.Millisecond)
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil || t.Context().Err() != nil {
				t.Fatal(err, t.Context().Err())
			}
			_, text, _ := strings.Cut(string(status), "ShdPnd:")
			line, _, _ := strings.Cut(text, "\n")
			pending, _ = strconv.ParseUint(strings.TrimSpace(line), 16, 64)
		}
	}
	for _, pid := range processes {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// rankOf is the rank of a process, as its launcher told it; -1 if it didn't.
func rankOf(pid int) int {
	environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	for _, variable := range strings.Split(string(environment), "\x00") {
		for _, l := range launchers {
			if value, ok := strings.CutPrefix(variable, l.rank+"="); ok {
				if n, err := strconv.Atoi(value); err == nil {
					return n
				}
			}
		}
	}
	return -1
}
