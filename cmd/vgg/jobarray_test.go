//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// arrays are the variables of the tasks of a job array of n, by their index from 0.
var arrays = map[string]func(i, n int) (shard string, environment []string){
	"kubernetes": func(i, n int) (string, []string) {
		return fmt.Sprintf("auto/%d", n), []string{fmt.Sprintf("JOB_COMPLETION_INDEX=%d", i)}
	},
	"slurm": func(i, n int) (string, []string) {
		return "auto", []string{fmt.Sprintf("SLURM_ARRAY_TASK_ID=%d", 5+2*i), fmt.Sprintf("SLURM_ARRAY_TASK_COUNT=%d", n), "SLURM_ARRAY_TASK_MIN=5", "SLURM_ARRAY_TASK_STEP=2", "SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=1"}
	},
	"aws": func(i, n int) (string, []string) {
		return "auto", []string{fmt.Sprintf("AWS_BATCH_JOB_ARRAY_INDEX=%d", i), fmt.Sprintf("AWS_BATCH_JOB_ARRAY_SIZE=%d", n)}
	},
	"openmpi": func(i, n int) (string, []string) {
		return "auto", []string{fmt.Sprintf("OMPI_COMM_WORLD_RANK=%d", i), fmt.Sprintf("OMPI_COMM_WORLD_SIZE=%d", n)}
	},
	"mpich": func(i, n int) (string, []string) {
		return "auto", []string{fmt.Sprintf("PMI_RANK=%d", i), fmt.Sprintf("PMI_SIZE=%d", n)}
	},
	"srun": func(i, n int) (string, []string) {
		return "auto", []string{fmt.Sprintf("SLURM_PROCID=%d", i), "SLURM_NTASKS=8", fmt.Sprintf("SLURM_STEP_NUM_TASKS=%d", n)}
	},
}

// withoutArrays returns the environment without the variables of schedulers.
func withoutArrays() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "JOB_COMPLETION") || strings.HasPrefix(v, "SLURM_") || strings.HasPrefix(v, "AWS_BATCH_") || strings.HasPrefix(v, "OMPI_") || strings.HasPrefix(v, "PMI_")
	})
}

// Processes of a job array do a part each, one of them after it was killed in the middle. What
// the last one merges is what one process makes.
func TestJobArrays(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tiny.Colours(3).Save(t.Context(), filepath.Join(dir, "net.safetensors")); err != nil {
		t.Fatal(err)
	}
	if err := tiny.Boxes(3).Save(t.Context(), filepath.Join(dir, "boxes.safetensors")); err != nil {
		t.Fatal(err)
	}
	classes := tiny.Boxes(3).Classes
	var table strings.Builder
	table.WriteString("file,x0,y0,x1,y1\n")
	files := map[string][]byte{}
	for i := range 24 {
		name := fmt.Sprintf("%s/%02d.png", classes[i%2], i)
		files["set/"+name] = vggtest.PNG(160, 150, vggtest.Noise(uint64(i)))
		fmt.Fprintf(&table, "%s,10,10,150,180\n", name)
	}
	damaged := fmt.Sprintf("set/%s/07.png", classes[1])
	files[damaged] = files[damaged][:2000]
	files["boxes.csv"] = []byte(table.String())
	files["map.csv"] = fmt.Appendf(nil, "%s,red\n%s,blue\n", classes[0], classes[1])
	vggtest.WriteFiles(t, dir, files)
	vgg := func(environment []string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Dir = dir
		cmd.Env = append(append(withoutArrays(), asProgram+"=1", "VGG_CPU=go", "XDG_CACHE_HOME="+filepath.Join(dir, "cache")), environment...)
		return cmd
	}
	run := func(want int, environment []string, args ...string) string {
		t.Helper()
		cmd := vgg(environment, args...)
		var out, text bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &text
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("%v vgg %s: exit code %d, want %d\n%s%s", environment, strings.Join(args, " "), code, want, &out, &text)
		}
		return out.String() + text.String()
	}
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, test := range []struct {
		name string
		args []string
		ext  string
		of   func(file string) string // what must be the same
	}{
		{"eval", []string{"eval", "net.safetensors", "set", "--map=map.csv", "--scales=64", "--protocol=dense", "--json"}, ".jsonl", func(f string) string {
			return run(3, nil, "eval", "--merge", f, "--json")
		}},
		{"features", []string{"features", "net.safetensors", "set", "--layer=pool5", "--json"}, ".npy", func(f string) string { return string(read(f)) }},
		{"index", []string{"index", "net.safetensors", "set", "--layer=pool5", "--json"}, ".npy", func(f string) string { return string(read(f)) }},
		{"localize", []string{"localize", "eval", "boxes.safetensors", "set", "--annotations=boxes.csv", "--json"}, ".jsonl", func(f string) string { return string(read(f)) }},
	} {
		single := test.name + test.ext
		run(3, nil, append(test.args, "--out", single)...)
		want := test.of(single)
		const n = 3
		for scheduler, variables := range arrays {
			if test.name != "eval" && scheduler != "slurm" {
				continue // the variables are read in one place
			}
			t.Run(test.name+" "+scheduler, func(t *testing.T) {
				out := test.name + "-" + scheduler + test.ext
				for i := range n {
					shard, environment := variables(i, n)
					args := append(slices.Clone(test.args), "--out", out, "--shard", shard)
					if i == 1 && scheduler == "slurm" {
						kill(t, vgg(environment, args...), filepath.Join(dir, strings.TrimSuffix(out, test.ext)+".2-of-3*"))
					}
					want := 0
					if i == n-1 {
						want = 3 // of the whole, which has the damaged picture
					}
					text := run(want, environment, args...)
					if last := strings.Contains(text, "merged into "+out); last != (i == n-1) {
						t.Errorf("task %d: last: %v\n%s", i, last, text)
					}
				}
				if got := test.of(out); got != want {
					t.Errorf("merged: %.2000s\nwant %.2000s", got, want)
				}
			})
		}
	}
	// Tasks that end at the same time: whichever is the last, all is merged.
	together := make([]*exec.Cmd, 3)
	texts := make([]bytes.Buffer, len(together))
	for i := range together {
		_, environment := arrays["openmpi"](i, len(together))
		together[i] = vgg(environment, "eval", "net.safetensors", "set", "--map=map.csv", "--scales=64", "--protocol=dense", "--out=together.jsonl", "--shard=auto")
		together[i].Stderr = &texts[i]
		if err := together[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cmd := range together {
		_ = cmd.Wait()
		want := 0
		if strings.Contains(texts[i].String(), "merged into together.jsonl") {
			want = 3
		}
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("task %d at the same time: exit code %d, want %d\n%s", i, code, want, &texts[i])
		}
	}
	if got, want := run(3, nil, "eval", "--merge", "together.jsonl", "--json"), run(3, nil, "eval", "--merge", "eval.jsonl", "--json"); got != want {
		t.Errorf("merged at the same time: %.2000s\nwant %.2000s", got, want)
	}
	if text := run(3, []string{"SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_COUNT=4", "SLURM_ARRAY_TASK_MIN=1"}, "eval", "net.safetensors", "set", "--map=map.csv", "--scales=40"); !strings.Contains(text, "note: this is task 1 of 4") {
		t.Errorf("no word of the job array:\n%s", text)
	}
	for _, args := range [][]string{
		{"eval", "net.safetensors", "set", "--map=map.csv", "--scales=40"}, {"features", "net.safetensors", "set", "--layer=pool5", "--out=ranks.npy"},
		{"index", "net.safetensors", "set", "--layer=pool5", "--out=ranks-index.npy"}, {"localize", "eval", "boxes.safetensors", "set", "--annotations=boxes.csv"},
	} {
		if text := run(3, []string{"PMI_RANK=0", "PMI_SIZE=4"}, args...); !strings.Contains(text, "note: this is one of 4 ranks of mpiexec, each of which takes all images") {
			t.Errorf("%s: no word of the ranks:\n%s", args[0], text)
		}
	}
	for _, environment := range [][]string{
		nil, {"JOB_COMPLETION_INDEX=1"}, {"SLURM_PROCID=0", "SLURM_NTASKS=8"}, {"SLURM_ARRAY_TASK_ID=7", "SLURM_ARRAY_TASK_COUNT=3", "SLURM_ARRAY_TASK_MIN=1"},
		{"JOB_COMPLETION_INDEX=1", "JOB_COMPLETIONS=2", "AWS_BATCH_JOB_ARRAY_INDEX=0", "AWS_BATCH_JOB_ARRAY_SIZE=2"},
	} {
		if text := run(2, environment, "eval", "net.safetensors", "set", "--out", "none.jsonl", "--shard=auto"); !strings.Contains(text, "--shard") {
			t.Errorf("%v: %s", environment, text)
		}
	}
}

// kill kills a process once it has written some of its file. It may have ended before.
func kill(t *testing.T, cmd *exec.Cmd, files string) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
		found, err := filepath.Glob(files)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if data, err := os.ReadFile(f); err == nil && bytes.Count(data, []byte("\n")) > 2 {
				_ = cmd.Process.Kill()
				<-ended
				return
			}
		}
	}
}
