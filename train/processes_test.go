package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/dataset"
)

// together runs the options in several processes, which goroutines stand for. edit changes those
// of a process. The context of the last process is done after the given iteration, 0: never.
func together(t *testing.T, processes int, o Options, stop int, edit func(rank int, o *Options)) ([]*Result, []error) {
	t.Helper()
	last, cancel := context.WithCancel(t.Context())
	defer cancel()
	results, errs := make([]*Result, processes), make([]error, processes)
	var wg sync.WaitGroup
	for rank, g := range comm.Local(processes) {
		mine := o
		mine.Processes = g
		if rank > 0 {
			mine.Dir = filepath.Join(o.Dir, "never") // only the first writes, and needs a disk
		}
		ctx := t.Context()
		if rank == processes-1 {
			ctx = last
		}
		mine.OnIteration = func(it Iteration) {
			if it.Iteration == stop {
				cancel()
			}
		}
		if edit != nil {
			edit(rank, &mine)
		}
		wg.Go(func() { results[rank], errs[rank] = Run(ctx, mine) })
	}
	wg.Wait()
	if _, err := os.Stat(filepath.Join(o.Dir, "never")); err == nil {
		t.Error("a process that isn't the first wrote to its run directory")
	}
	return results, errs
}

func mustTogether(t *testing.T, processes int, o Options) {
	t.Helper()
	results, errs := together(t, processes, o, 0, nil)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for rank, r := range results {
		if r.Iterations != results[0].Iterations || r.BestEpoch != results[0].BestEpoch || r.Top1Error != results[0].Top1Error {
			t.Errorf("rank %d has the result %+v, rank 0 %+v", rank, r, results[0])
		}
	}
}

// groupedOptions are resumeOptions with six groups in batches of twelve, unreadable images among
// them.
func groupedOptions(t *testing.T, config string) Options {
	o := resumeOptions(t)
	o.Recipe.Config, o.Recipe.Batch, o.Recipe.Groups = config, 12, 6
	o.Train, o.Val = colours(t, "train", 29, 0, 11, 12), colours(t, "val", 11, 4)
	o.MaxBad = 0.5
	return o
}

// TestProcesses: a run in several processes has the bits of one, with several ranks in each
// and unreadable images too, and whatever number of processes it goes on in.
func TestProcesses(t *testing.T) {
	for _, config := range []string{"A", "A-BN"} {
		if config == "A" && testing.Short() {
			continue
		}
		alone := groupedOptions(t, config)
		mustRun(t, alone)
		for _, c := range []struct{ processes, ranks, stop, then int }{
			{2, 1, 0, 0}, {3, 2, 0, 0}, {3, 1, 4, 2}, {2, 1, 6, 1}, {1, 2, 5, 6},
		} {
			what := fmt.Sprintf("%s in %d processes of %d ranks, stopped at %d and resumed in %d", config, c.processes, c.ranks, c.stop, c.then)
			o := groupedOptions(t, config)
			o.Ranks = c.ranks
			if c.stop == 0 {
				mustTogether(t, c.processes, o)
				sameRun(t, what, o.Dir, alone.Dir)
				continue
			}
			// The last process is told to stop, and it alone.
			_, errs := together(t, c.processes, o, c.stop, nil)
			for rank, err := range errs {
				want := ErrStopped
				if rank == c.processes-1 {
					want = context.Canceled
				}
				if !errors.Is(err, want) {
					t.Errorf("%s: error %v of rank %d, want %v", what, err, rank, want)
				}
			}
			if at, err := LatestCheckpoint(t.Context(), o.Dir); err != nil || at.Iteration != c.stop {
				t.Errorf("%s: the checkpoint is %+v, %v", what, at, err)
			}
			o.Ranks, o.Resume = 1, true
			mustTogether(t, c.then, o)
			sameRun(t, what, o.Dir, alone.Dir)
		}
	}
}

// hookedFS calls open before a file is opened.
type hookedFS struct {
	fs.FS
	open func(name string)
}

func (h hookedFS) Open(name string) (fs.File, error) {
	h.open(name)
	return h.FS.Open(name)
}

func (h hookedFS) Stat(name string) (fs.FileInfo, error) { return fs.Stat(h.FS, name) }

// hooked is colours of which open hears what is read.
func hooked(t *testing.T, n int, open func(name string)) *dataset.Dataset {
	plain := colours(t, "train", n)
	files := fstest.MapFS{}
	for i, s := range plain.Samples {
		files[s.Name] = &fstest.MapFile{Data: tinted(i%3, uint64(i))}
	}
	d, err := dataset.New(plain.Name, hookedFS{files, open}, plain.Classes, plain.Samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestProcessesSurvey: before the first step each process reads its part of the training images
// alone; a run whose other process is told to stop meanwhile ends there. A run that resumes
// surveys nothing.
func TestProcessesSurvey(t *testing.T) {
	for _, stop := range []bool{false, true} {
		o := groupedOptions(t, "A")
		o.Recipe.MaxIterations, o.Val, o.CacheBytes = 1, nil, 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		read := make([]map[string]bool, 2)
		var heard int64
		errs := make([]error, 2)
		run := func() {
			var wg sync.WaitGroup
			for rank, g := range comm.Local(2) {
				mine, began := o, false
				read[rank] = map[string]bool{}
				mine.Processes = g
				mine.Train = hooked(t, 24, func(name string) {
					mu.Lock()
					defer mu.Unlock()
					if !began {
						read[rank][name] = true
					}
					if stop && rank == 1 {
						cancel()
					}
				})
				mine.OnSurvey = func(done, total int64) {
					mu.Lock()
					defer mu.Unlock()
					if rank > 0 || total != 24 {
						t.Errorf("rank %d hears of %d of %d images", rank, done, total)
					}
					heard = done
				}
				mine.OnStart = func(Start) {
					mu.Lock()
					defer mu.Unlock()
					began = true
				}
				mine.Log = nil
				ctx := ctx
				if rank == 0 {
					ctx = t.Context()
				}
				wg.Go(func() { _, errs[rank] = Run(ctx, mine) })
			}
			wg.Wait()
		}
		run()
		if stop {
			if !errors.Is(errs[0], ErrStopped) || !errors.Is(errs[1], context.Canceled) {
				t.Errorf("rank 1 is told to stop in the survey: errors %v and %v", errs[0], errs[1])
			}
			if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a run directory was made: %v", err)
			}
			continue
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if heard != 24 || len(read[0]) != 12 {
			t.Errorf("rank 0 hears of %d images and reads %d before the first step, want 24 and 12", heard, len(read[0]))
		}
		heard = 0
		o.Resume, o.Recipe.MaxIterations = true, 2
		if run(); errors.Join(errs...) != nil || heard != 0 {
			t.Errorf("resumed: errors %v, %d images surveyed", errs, heard)
		}
	}
}

// TestProcessesDiverge: they go back together.
func TestProcessesDiverge(t *testing.T) {
	alone := groupedOptions(t, "A-BN")
	alone.Recipe.LearningRate, alone.Recipe.MaxIterations = 3000, 4
	mustRun(t, alone)
	if lines := timeless(t, alone.Dir); !strings.Contains(fmt.Sprint(lines), "rescue") {
		t.Fatal("the run doesn't diverge")
	}
	o := groupedOptions(t, "A-BN")
	o.Recipe = alone.Recipe
	mustTogether(t, 2, o)
	sameRun(t, "diverging in two processes", o.Dir, alone.Dir)
}

// TestProcessesDiffer: processes that would train apart are named, all at once, before anything
// is written.
func TestProcessesDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(o *Options)
		want string
	}{
		"recipe":   {func(o *Options) { o.Recipe.LearningRate = 0.5 }, "has the recipe's learning_rate: 0.5, rank 0 has 0.01"},
		"images":   {func(o *Options) { o.Train = colours(t, "train", 28) }, "has other training images: train has 28 images, on rank 0 29"},
		"contents": {func(o *Options) { o.Val = colours(t, "val", 11, 3) }, "has other validation images: the images of val have other names, classes or sizes than on rank 0"},
		"none":     {func(o *Options) { o.Val = nil }, "has validation images: none, rank 0 has: val with 11"},
		"ranks":    {func(o *Options) { o.Ranks = 2 }, "has 2 ranks in it, rank 0's process 1: want as many in each"},
		"bad":      {func(o *Options) { o.MaxBad = NoneBad }, "bears a share of 0 unreadable images, rank 0 of 0.5: want the same (--max-bad)"},
		"pixels":   {func(o *Options) { o.MaxPixels = 1e6 }, "reads images of up to 1000000 pixels, rank 0 of up to "},
		"broken":   {func(o *Options) { o.Train = &dataset.Dataset{Name: "nothing"} }, "train: nothing: no images to train on"},
	} {
		t.Run(name, func(t *testing.T) {
			o := groupedOptions(t, "A")
			_, errs := together(t, 3, o, 0, func(rank int, o *Options) {
				if rank == 1 {
					c.edit(o)
				}
			})
			for rank, err := range errs {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "rank 1") && rank != 1 {
					t.Errorf("rank %d: error %v, want %s", rank, err, c.want)
				}
			}
			if _, err := os.Stat(o.Dir); err == nil {
				t.Error("there is a run directory")
			}
		})
	}
}

// TestBuildsDiffer: two programs without a version are told apart, as far as they can be.
func TestBuildsDiffer(t *testing.T) {
	mine := executableHash()
	if len(mine) != 16 {
		t.Fatalf("this executable has the hash %q", mine)
	}
	for build, want := range map[string]string{mine: "", "": "", "0123456789abcdef": "is another build of the program (0123456789abcdef, rank 0 " + mine + ")"} {
		set := setup{Program: unversioned, Build: build, Recipe: "{}", Train: imageSet{}}
		first := set
		first.Build = mine
		if got := set.difference(first); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("build %q: %q, want %q", build, got, want)
		}
	}
}

// TestProcessFails: an error of one process ends all, with its name.
func TestProcessFails(t *testing.T) {
	o := groupedOptions(t, "A")
	_, errs := together(t, 2, o, 0, func(rank int, o *Options) {
		if rank == 0 {
			o.Dir = filepath.Join(o.Dir, "file")
			if err := errors.Join(os.MkdirAll(filepath.Dir(o.Dir), 0o777), os.WriteFile(o.Dir, []byte("no folder"), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
	})
	for rank, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "run directory") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
