package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/weights"
)

// CheckpointInfo describes a checkpoint.
type CheckpointInfo struct {
	Path      string
	Recipe    Recipe
	Epoch     int // in which it was taken, from 1
	Iteration int // the last one done
	Note      map[string]string
}

// LatestCheckpoint describes the newest readable checkpoint in a run directory. The error
// wraps fs.ErrNotExist if there is none.
func LatestCheckpoint(ctx context.Context, dir string) (CheckpointInfo, error) {
	paths, err := listCheckpoints(dir)
	if err != nil {
		return CheckpointInfo{}, err
	}
	var errs []error
	for _, path := range paths {
		s, err := stateOf(ctx, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r, err := s.recipe()
		if err != nil {
			return CheckpointInfo{}, fmt.Errorf("train: checkpoint %s: %w", path, err)
		}
		return CheckpointInfo{Path: path, Recipe: r, Epoch: s.Epoch, Iteration: s.Iteration, Note: s.Note}, nil
	}
	if len(errs) > 0 {
		return CheckpointInfo{}, errors.Join(errs...)
	}
	return CheckpointInfo{}, fmt.Errorf("train: %s: no checkpoint: %w", dir, fs.ErrNotExist)
}

// recipe returns the state's recipe, which has every key that there was when it was written.
func (s runState) recipe() (Recipe, error) {
	return ParseRecipe([]byte(s.Recipe), earlierRecipe())
}

// earlierRecipe is the paper's recipe with the values that keys stand for in the files of
// versions that hadn't them.
func earlierRecipe() Recipe {
	r := PaperRecipe()
	r.Winograd = 4
	return r
}

func stateOf(ctx context.Context, path string) (runState, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return runState{}, err
	}
	defer f.Close()
	return readState(f)
}

// listCheckpoints lists the checkpoints of a run directory, newest first.
func listCheckpoints(dir string) ([]string, error) {
	paths, err := filesIn(dir, CheckpointDir+"/checkpoint-*.safetensors")
	slices.Reverse(paths)
	return paths, err
}

// filesIn lists the files of a run directory whose paths in it match a pattern of slashes,
// sorted. The directory's own path may have any characters.
func filesIn(dir, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil {
		return nil, fmt.Errorf("train: %s: %w", dir, err)
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	slices.Sort(paths)
	return paths, nil
}

// openCheckpoint opens the newest intact checkpoint and returns its state. A damaged one is
// renamed, with a warning. It returns nil if there is no checkpoint.
func openCheckpoint(ctx context.Context, dir string, log *slog.Logger) (*weights.File, runState, error) {
	paths, err := listCheckpoints(dir)
	if err != nil {
		return nil, runState{}, err
	}
	var errs []error
	for i, path := range paths {
		f, s, err := openWhole(ctx, path)
		if err == nil {
			return f, s, nil
		}
		if ctx.Err() != nil {
			return nil, runState{}, context.Cause(ctx)
		}
		if i < len(paths)-1 {
			log.Warn("damaged checkpoint put aside, going back to the one before", "error", err)
			if err := atomicfile.Rename(path, path+".damaged"); err != nil {
				log.Warn("damaged checkpoint can't be renamed", "error", err)
			}
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, runState{}, fmt.Errorf("train: %s: no checkpoint can be read: %w", dir, errors.Join(errs...))
	}
	return nil, runState{}, nil
}

func openWhole(ctx context.Context, path string) (*weights.File, runState, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return nil, runState{}, err
	}
	s, err := readState(f)
	if err == nil {
		err = verify(ctx, f)
	}
	if err != nil {
		f.Close()
		return nil, s, err
	}
	return f, s, nil
}

// checkpoints writes the checkpoints of a run: while training goes on, if the copy that this
// needs is small.
type checkpoints struct {
	dir   string // of the run
	keep  int    // 0: none are written
	every time.Duration
	log   *slog.Logger

	last    time.Time   // time of the last one
	good    string      // path of the last one that is on disk; "" if none is
	writing chan error  // receives the result of the current write; nil if there is none
	copies  [][]float32 // copies of the tensors being written
}

// copyBytes is the most memory for writing while training goes on. Iterations of larger
// networks take so long that it would save little.
const copyBytes = 256 << 20

func (c *checkpoints) due() bool {
	return c.keep > 0 && c.every > 0 && time.Since(c.last) >= c.every
}

// save writes a checkpoint. Failing to is an error if last, else a warning, and training
// goes on.
func (c *checkpoints) save(s runState, tensors []weights.Source, last bool) error {
	if c.keep == 0 {
		return nil
	}
	c.wait()
	c.last = time.Now()
	path := checkpointPath(c.dir, s.Iteration)
	floats := 0
	for _, t := range tensors {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		floats += n
	}
	if last || 4*floats > copyBytes {
		err := c.write(path, s, tensors)
		if err != nil && !last {
			c.failed(err)
			return nil
		}
		return err
	}
	tensors = c.copy(tensors)
	c.writing = make(chan error, 1)
	go func() { c.writing <- c.write(path, s, tensors) }()
	return nil
}

// wait waits for the current write, if there is one.
func (c *checkpoints) wait() {
	if c.writing == nil {
		return
	}
	err := <-c.writing
	c.writing = nil
	if err != nil {
		c.failed(err)
	}
}

func (c *checkpoints) failed(err error) {
	kept := "none is on disk"
	if c.good != "" {
		kept = "the last good one is " + c.good
	}
	c.log.Warn("checkpoint not written, training goes on", "error", err, "kept", kept)
}

// copy returns copies of the tensors, which don't change while training goes on.
func (c *checkpoints) copy(tensors []weights.Source) []weights.Source {
	if c.copies == nil {
		c.copies = make([][]float32, len(tensors))
	}
	copied := slices.Clone(tensors)
	for i, t := range tensors {
		v := c.copies[i][:0]
		for part := range t.Data {
			v = append(v, part...)
		}
		c.copies[i] = v
		copied[i].Data = func(yield func([]float32) bool) { yield(v) }
	}
	return copied
}

// endsEpoch reports whether a checkpoint was taken between two epochs. It is asked when an
// interrupted run saves itself, too.
func endsEpoch(path string) bool {
	s, err := stateOf(context.Background(), path)
	return err == nil && s.Batches == 0
}

// removeAfter removes the checkpoints of later iterations, from which a run has gone back.
func (c *checkpoints) removeAfter(iteration int) error {
	paths, err := listCheckpoints(c.dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if path <= checkpointPath(c.dir, iteration) {
			break
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
	}
	return nil
}

// write writes a checkpoint, and then removes the oldest beyond the number kept, but for the
// newest that ends an epoch.
func (c *checkpoints) write(path string, s runState, tensors []weights.Source) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	if err := writeCheckpoint(path, s, tensors); err != nil {
		return err
	}
	c.good = path
	paths, err := listCheckpoints(c.dir)
	if err != nil {
		return err
	}
	ended := false // the end of an epoch is kept, to which a run that diverges goes back
	for i, old := range paths {
		whole := !ended && endsEpoch(old)
		ended = ended || whole
		if i < c.keep || whole {
			continue
		}
		if err := os.Remove(old); err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
	}
	return nil
}
