package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
)

// shardFlag is shared by the commands of which several processes may do a part each.
type shardFlag struct {
	Shard string `placeholder:"I/N" help:"Take only every Nth image, from the Ith on; auto takes I and N from the job array or the ranks that the process is one of, auto/N the I alone. With auto, the files of the parts are called after --out (out.2-of-4.jsonl), and the last process to end merges them into it."`

	auto  bool   // the shard is that of a job array
	whole string // --out with auto, of which the part's file is called
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

// remarkArray says that a job array's tasks all do the same, which they hardly should.
func (f *shardFlag) remarkArray(e *environment) {
	task, err := findTask(e.getenv, 0)
	if index := e.getenv("JOB_COMPLETION_INDEX"); err != nil && index != "" {
		e.remark(fmt.Sprintf("JOB_COMPLETION_INDEX is %s, and this process takes all images; --shard auto/N takes its part of N", index))
	}
	if err == nil && task.count > 1 && task.array {
		e.remark(fmt.Sprintf("this is task %d of %d (%s), and takes all images; --shard auto takes its part", task.index+1, task.count, task.from))
	}
}

// merging calls merge if this process is the last of its job array to end, and reports whether it
// was. merge opens the files of all parts; that one isn't there yet, or isn't finished, says
// that this isn't the last.
func (f *shardFlag) merging(e *environment, s eval.Shard, merge func(parts []string) error) (last bool, err error) {
	release, err := lockfile.Beside(f.whole + ".merge")
	if _, held := errors.AsType[*lockfile.HeldError](err); held {
		fmt.Fprintf(e.stderr, "Shard %v is done; another process merges all into %s\n", s, f.whole)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer release()
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
	add := func(index, size, first, step string, array bool) error {
		if getenv(index) == "" {
			return nil
		}
		t := task{from: index, array: array}
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
		if t.count > 1 || array {
			found = append(found, t)
		}
		return nil
	}
	err := errors.Join(
		add("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", "", true),
		add("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", true),
		add("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", "", "", true),
	)
	if err == nil && len(found) == 0 {
		err = errors.Join(add("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "", "", false))
		if err == nil && len(found) == 0 {
			err = add("PMI_RANK", "PMI_SIZE", "", "", false)
		}
		if err == nil && len(found) == 0 {
			err = add("SLURM_PROCID", "SLURM_NTASKS", "", "", false)
		}
	}
	switch {
	case err != nil:
		return task{}, err
	case len(found) == 0:
		return task{}, errors.New("--shard auto, and no job array or ranks: neither JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, AWS_BATCH_JOB_ARRAY_INDEX nor OMPI_COMM_WORLD_RANK, PMI_RANK or SLURM_PROCID with several tasks is in the environment; want --shard I/N")
	case len(found) > 1:
		return task{}, fmt.Errorf("%s and %s are both in the environment, want --shard I/N", found[0].from, found[1].from)
	}
	return found[0], nil
}
