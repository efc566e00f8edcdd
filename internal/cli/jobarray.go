package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/comm/launch"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
)

// shardFlag is shared by the commands of which several processes may do a part each.
type shardFlag struct {
	Shard string `placeholder:"I/N" help:"Take only every Nth image, from the Ith on; auto takes I and N from the job array or the ranks that the process is one of, auto/N the I alone. With auto, the files of the parts are called after --out (out.2-of-4.jsonl), and the last process to end merges them into it."`

	auto  bool   // the shard is that of a job array
	whole string // --out with auto, of which the part's file is called
	begun bool   // this process began the part's file: who saw it finished saw what this one wrote
}

// shardAuto is the word for the shard that a job array tells.
const shardAuto = "auto"

// shard returns the part of the images to take, the zero Shard of all. Of auto it replaces out
// by the name of the part's file.
func (f *shardFlag) shard(e *environment, out *string) (eval.Shard, error) {
	word, count, given := strings.Cut(f.Shard, "/")
	switch {
	case f.Shard == "":
		f.remarkArray(e)
		return eval.Shard{}, nil
	case word != shardAuto:
		s, err := eval.ParseShard(f.Shard)
		if err != nil {
			err = usageError{err}
		}
		return s, err
	case *out == "":
		return eval.Shard{}, usagef("--shard %s without --out, want a file in a folder that all processes share", f.Shard)
	}
	n := 0
	if given {
		var err error
		if n, err = strconv.Atoi(count); err != nil || n < 1 {
			return eval.Shard{}, usagef("--shard %s, want auto or auto/N, as auto/16", f.Shard)
		}
	}
	task, err := findTask(e.getenv, n)
	if err != nil {
		return eval.Shard{}, usageError{err}
	}
	f.auto, f.whole = true, *out
	s := eval.Shard{Index: task.index + 1, Count: task.count}
	*out = partFile(f.whole, s)
	_, err = os.Lstat(*out)
	f.begun = errors.Is(err, fs.ErrNotExist)
	fmt.Fprintf(e.stderr, "Shard %v by %s, into %s\n", s, task.from, *out)
	return s, nil
}

// partFile returns the name of the file of a part: out.2-of-4.jsonl.
func partFile(out string, s eval.Shard) string {
	ext := filepath.Ext(out)
	return fmt.Sprintf("%s.%d-of-%d%s", strings.TrimSuffix(out, ext), s.Index, s.Count, ext)
}

// partFiles returns the names of the files of all parts.
func (f *shardFlag) partFiles(count int) []string {
	files := make([]string, count)
	for i := range files {
		files[i] = partFile(f.whole, eval.Shard{Index: i + 1, Count: count})
	}
	return files
}

// remarkArray says that all tasks of a job array, or all ranks, do the same, which they hardly
// should.
func (f *shardFlag) remarkArray(e *environment) {
	task, err := findTask(e.getenv, 0)
	index := e.getenv("JOB_COMPLETION_INDEX")
	switch {
	case errors.Is(err, errNoTask):
	case err != nil && index != "":
		e.remark(fmt.Sprintf("JOB_COMPLETION_INDEX is %s, and this process takes all images; --shard auto/N takes its part of N", index))
	case err != nil:
		e.remark(fmt.Sprintf("this is a task of a job array, and takes all images: %v", err))
	case task.count == 1:
	case task.array:
		e.remark(fmt.Sprintf("this is task %d of %d (%s), and takes all images; --shard auto takes its part", task.index+1, task.count, task.from))
	case task.index == 0 && e.getenv("VGG_MPI") != launch.Off: // one of the ranks says it for all
		e.remark(fmt.Sprintf("this is one of %d %s, each of which takes all images; --shard auto takes its part, and VGG_MPI=off says that it is meant", task.count, task.from))
	}
}

// merging calls merge if this process is the last of its job array to end, and reports whether it
// was. merge opens the files of all parts; that one isn't there yet, or isn't finished, says
// that this isn't the last. One process merges at a time: another may have opened the file of this
// part before it was finished, so this one waits for it, and tries again.
func (f *shardFlag) merging(e *environment, s eval.Shard, merge func(parts []string) error) (last bool, err error) {
	before, _ := os.Stat(f.whole) // nil: not there
	release, err := f.mergeLock(e, s)
	if err != nil {
		return false, err
	}
	defer release()
	if after, err := os.Stat(f.whole); err == nil && f.begun && !unchanged(before, after) {
		fmt.Fprintf(e.stderr, "Shard %v is done; another process has merged all into %s\n", s, f.whole)
		return false, nil
	}
	err = merge(f.partFiles(s.Count))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, journal.ErrUnfinished) {
		fmt.Fprintf(e.stderr, "Shard %v is done; the last one to end merges all into %s\n", s, f.whole)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fmt.Fprintf(e.stderr, "All %d shards are merged into %s\n", s.Count, f.whole)
	return true, nil
}

// mergeLock keeps other processes from merging, until release is called. It waits for one that does.
func (f *shardFlag) mergeLock(e *environment, s eval.Shard) (release func(), err error) {
	waits := false
	const first, longest = 20 * time.Millisecond, 2 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		release, err := lockfile.Beside(f.whole + ".merge")
		if _, held := errors.AsType[*lockfile.HeldError](err); !held {
			return release, err
		}
		if !waits {
			fmt.Fprintf(e.stderr, "Shard %v is done; another process is merging into %s, and this one waits for it\n", s, f.whole)
		}
		waits = true
		select {
		case <-e.ctx.Done():
			return nil, context.Cause(e.ctx)
		case <-time.After(pause):
		}
	}
}

// unchanged reports whether a file wasn't replaced; was is nil if it wasn't there.
func unchanged(was, is fs.FileInfo) bool {
	return was != nil && os.SameFile(was, is) && was.ModTime().Equal(is.ModTime())
}

// task is a process's place in a job array or among ranks.
type task struct {
	index, count int // index from 0
	from         string
	array        bool // of a job array, rather than ranks of one program
}

// findTask reads the variables of the schedulers. count is the number of tasks if it is known
// otherwise, or 0.
func findTask(getenv func(string) string, count int) (task, error) {
	var found []task
	add := func(index, size, first, step string) error {
		if getenv(index) == "" {
			return nil
		}
		t := task{from: index, array: true}
		value := func(name string, otherwise int) (int, error) {
			text := getenv(name)
			if name == "" || text == "" {
				return otherwise, nil
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				return 0, fmt.Errorf("%s=%s, want a number", name, text)
			}
			return n, nil
		}
		i, err1 := value(index, 0)
		n, err2 := value(size, count)
		from, err3 := value(first, 0)
		by, err4 := value(step, 1)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return err
		}
		if size != "" && getenv(size) != "" {
			t.from += " and " + size
		}
		if n == 0 {
			return fmt.Errorf("%s=%d doesn't tell the number of tasks, want --shard auto/N or, in the environment, %s", index, i, size)
		}
		if count > 0 && n != count {
			return fmt.Errorf("--shard auto/%d, and %s=%d; want one number. Of an array in which only some tasks run again, want --shard I/N", count, size, n)
		}
		if by < 1 || (i-from)%by != 0 || (i-from)/by < 0 || (i-from)/by >= n {
			return fmt.Errorf("%s=%d of %d tasks from %d on, want --shard I/N: of a list with gaps the place isn't known", index, i, n, from)
		}
		t.index, t.count = (i-from)/by, n
		found = append(found, t)
		return nil
	}
	err := errors.Join(
		add("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", ""),
		add("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
		add("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", "", ""),
	)
	if err == nil && len(found) == 0 {
		// For the parts it doesn't matter whether the ranks know of one another.
		place, ok := launch.Find(func(name string) string {
			if name == "VGG_MPI" {
				return ""
			}
			return getenv(name)
		})
		if ok && count > 0 && count != place.Size {
			err = fmt.Errorf("--shard auto/%d, and this is %v; want one number", count, place)
		}
		if ok && place.Size > 1 {
			found = append(found, task{index: place.Rank, count: place.Size, from: "ranks of " + place.By})
		}
	}
	switch {
	case err != nil:
		return task{}, err
	case len(found) == 0 && getenv("SLURM_PROCID") != "" && getenv("SLURM_STEP_NUM_TASKS") == "":
		return task{}, fmt.Errorf("%w: a batch script of Slurm runs once, whatever --ntasks is; want srun before the command, which starts it for each task, or sbatch --array", errNoTask)
	case len(found) == 0:
		return task{}, fmt.Errorf("%w: neither JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, AWS_BATCH_JOB_ARRAY_INDEX nor OMPI_COMM_WORLD_RANK, PMI_RANK or SLURM_STEP_NUM_TASKS with several tasks is in the environment; want --shard I/N", errNoTask)
	case len(found) > 1:
		return task{}, fmt.Errorf("%s and %s are both in the environment, want --shard I/N", found[0].from, found[1].from)
	}
	return found[0], nil
}

// errNoTask is the error of a process that nothing started as one of several.
var errNoTask = errors.New("--shard auto, and no job array or ranks")
