package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
)

// lockedBuffer is a stream that may be read meanwhile.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until the text is there.
func (b *lockedBuffer) await(t *testing.T, want string) {
	t.Helper()
	for !strings.Contains(b.String(), want) {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestMergingTogether: a task that ends while another merges waits for it. It merges itself if
// the other one found this part unfinished, and not if the other merged all.
func TestMergingTogether(t *testing.T) {
	for _, c := range []struct {
		name         string
		begun, there bool // this task began its part; the whole was there before
		writes       bool // the other writes it
		merges       int
	}{
		{"the other found this part unfinished", true, false, false, 1},
		{"the other found it unfinished, and there is an old whole", true, true, false, 1},
		{"the other merged all", true, false, true, 0},
		{"the other merged all anew", true, true, true, 0},
		{"the other may have merged what was in the part before", false, false, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := filepath.Join(t.TempDir(), "out.jsonl")
			write := func() {
				t.Helper()
				if err := os.WriteFile(whole+".new", nil, 0o666); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(whole+".new", whole); err != nil {
					t.Fatal(err)
				}
			}
			if c.there {
				write()
			}
			release, err := lockfile.Beside(whole + ".merge")
			if err != nil {
				t.Fatal(err)
			}
			var text lockedBuffer
			e := &environment{ctx: t.Context(), stderr: &text}
			f := &shardFlag{auto: true, whole: whole, begun: c.begun}
			merges := 0
			ended := make(chan bool)
			go func() {
				last, err := f.merging(e, eval.Shard{Index: 2, Count: 3}, func(parts []string) error {
					if merges++; len(parts) != 3 {
						t.Errorf("parts %q", parts)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				ended <- last
			}()
			text.await(t, "waits for it")
			if c.writes {
				write()
			}
			release()
			if last := <-ended; merges != c.merges || last != (c.merges == 1) {
				t.Errorf("merged %d times, last: %v; want %d\n%s", merges, last, c.merges, &text)
			}
		})
	}
}

// TestLastMerges: of tasks that end at the same time one merges all, whenever each sees the
// parts of the others.
func TestLastMerges(t *testing.T) {
	const n = 8
	whole := filepath.Join(t.TempDir(), "out.jsonl")
	var all sync.WaitGroup
	var mu sync.Mutex
	lasts := 0
	for i := range n {
		all.Go(func() {
			f := &shardFlag{auto: true, whole: whole, begun: true}
			s := eval.Shard{Index: i + 1, Count: n}
			if err := os.WriteFile(partFile(whole, s), nil, 0o666); err != nil {
				t.Error(err)
				return
			}
			last, err := f.merging(&environment{ctx: t.Context(), stderr: &bytes.Buffer{}}, s, func(parts []string) error {
				for _, p := range parts {
					if _, err := os.Stat(p); err != nil {
						return fmt.Errorf("part: %w", err)
					}
				}
				return os.WriteFile(whole, nil, 0o666)
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if last {
				lasts++
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(whole); lasts == 0 || err != nil {
		t.Errorf("%d merged all: %v", lasts, err)
	}
}

// TestMergingEnds: a task that waits to merge ends when it is interrupted; one that isn't the
// last has no error, and any other error is told.
func TestMergingEnds(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "out.jsonl")
	f, s := &shardFlag{auto: true, whole: whole}, eval.Shard{Index: 1, Count: 2}
	damaged := errors.New("damaged")
	for err, want := range map[error]error{journal.ErrUnfinished: nil, fs.ErrNotExist: nil, damaged: damaged} {
		last, got := f.merging(&environment{ctx: t.Context(), stderr: &bytes.Buffer{}}, s, func([]string) error { return err })
		if last || got != want {
			t.Errorf("%v: last: %v, error %v", err, last, got)
		}
	}
	release, err := lockfile.Beside(whole + ".merge")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.merging(&environment{ctx: ctx, stderr: &bytes.Buffer{}}, s, func([]string) error { return damaged })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestTasks: the place of a process by the variables of schedulers and launchers, and what is
// said of one that takes all images though it is one of several.
func TestTasks(t *testing.T) {
	for name, c := range map[string]struct {
		env    map[string]string
		count  int    // of --shard auto/N
		want   string // index of count, or a part of the error
		remark string // without --shard; "": none
	}{
		"alone":              {nil, 0, "no job array or ranks", ""},
		"a batch script":     {map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, "a batch script of Slurm runs once", ""},
		"its number given":   {map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 8, "a batch script of Slurm runs once", ""},
		"a task of srun":     {map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}, 0, "0 of 4", "one of 4 ranks of srun"},
		"its other number":   {map[string]string{"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}, 8, "want one number", ""},
		"rank 0":             {map[string]string{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, 0, "0 of 4", "one of 4 ranks"},
		"rank 3":             {map[string]string{"PMI_RANK": "3", "PMI_SIZE": "4"}, 4, "3 of 4", ""},
		"one rank":           {map[string]string{"PMI_RANK": "0", "PMI_SIZE": "1"}, 0, "no job array or ranks", ""},
		"ranks apart":        {map[string]string{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4", "VGG_MPI": "off"}, 0, "0 of 4", ""},
		"an array":           {map[string]string{"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, 0, "2 of 4", "task 3 of 4"},
		"an array with gaps": {map[string]string{"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}, 0, "list with gaps", "a task of a job array"},
		"an indexed job":     {map[string]string{"JOB_COMPLETION_INDEX": "1"}, 2, "1 of 2", "--shard auto/N"},
	} {
		getenv := func(name string) string { return c.env[name] }
		got := ""
		if task, err := findTask(getenv, c.count); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%d of %d", task.index, task.count)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		var text bytes.Buffer
		new(shardFlag).remarkArray(&environment{stderr: &text, getenv: getenv})
		if got := text.String(); (got == "") != (c.remark == "") || !strings.Contains(got, c.remark) {
			t.Errorf("%s: %q is remarked, want %q", name, got, c.remark)
		}
	}
}
