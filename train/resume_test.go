package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/vggtest"
)

// resumeOptions are of a run of 3 epochs of 3 iterations each, with checkpoints.
func resumeOptions(t *testing.T) Options {
	t.Helper()
	o := tinyOptions(t)
	o.Recipe.Epochs, o.Keep = 3, 2
	o.Recipe.Schedule.Steps = []int{1, 2}
	return o
}

// stopAt runs until after the given iteration, which is where a signal finds it.
func stopAt(t *testing.T, o Options, iteration int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.OnIteration = func(it Iteration) {
		if it.Iteration == iteration {
			cancel()
		}
	}
	if _, err := Run(ctx, o); err != context.Canceled {
		t.Fatalf("stopped at iteration %d: %v", iteration, err)
	}
}

// timeless is metrics.jsonl without what is measured of time.
func timeless(t *testing.T, dir string) []map[string]any {
	t.Helper()
	lines := metricsLines(t, dir)
	for _, m := range lines {
		for _, k := range []string{"images_per_second", "seconds", "wait_seconds", "exchange_seconds", "exchange_wait_seconds"} {
			delete(m, k)
		}
	}
	return lines
}

// sameRun fails unless two run directories hold the same weights and metrics.
func sameRun(t *testing.T, what, got, want string) {
	t.Helper()
	for _, name := range []string{LastFile, BestFile, RecipeFile} {
		if !bytes.Equal(read(t, got, name), read(t, want, name)) {
			t.Errorf("%s: %s is not that of the run that didn't stop", what, name)
		}
	}
	if a, b := timeless(t, got), timeless(t, want); !reflect.DeepEqual(a, b) {
		t.Errorf("%s: metrics\n%v\nwant\n%v", what, a, b)
	}
}

// TestResume: a run that is stopped anywhere and goes on has the bits of one that isn't.
func TestResume(t *testing.T) {
	for _, config := range []string{"A-BN", "A"} {
		if config == "A" && testing.Short() {
			continue // has nothing that A-BN hasn't
		}
		whole := resumeOptions(t)
		whole.Recipe.Config = config
		want := mustRun(t, whole)
		for at := 1; at <= 9; at++ {
			if testing.Short() && at != 2 && at != 6 && at != 7 {
				continue // the rest are in the middle and at the ends of epochs, too
			}
			o := resumeOptions(t)
			o.Recipe.Config = config
			stopAt(t, o, at)
			o.Resume, o.Workers = true, 1+at%3
			var start Start
			o.OnStart = func(s Start) { start = s }
			got := mustRun(t, o)
			what := fmt.Sprintf("%s stopped at iteration %d", config, at)
			if start.Iteration != at || start.Checkpoint != checkpointPath(o.Dir, at) {
				t.Errorf("%s: goes on from %+v", what, start)
			}
			sameRun(t, what, o.Dir, whole.Dir)
			if got.BestEpoch != want.BestEpoch || got.Epochs != 3 || got.Iterations != 9 || got.Top1Error != want.Top1Error || got.BestWeights != filepath.Join(o.Dir, BestFile) {
				t.Errorf("%s: result %+v, want as %+v", what, got, want)
			}
		}
	}
}

// TestResumeOften: every iteration ends a process.
func TestResumeOften(t *testing.T) {
	whole := resumeOptions(t)
	whole.Train = colours(t, "train", 10, 3)
	whole.Recipe.Schedule = Schedule{Name: "cosine", Factor: 0.5, FinalRate: 1e-5, WarmupIterations: 4, WarmupFactor: 0.1}
	want := mustRun(t, whole)
	o := resumeOptions(t)
	o.Train, o.Recipe, o.Resume = whole.Train, whole.Recipe, true
	for at := 1; at <= 9; at++ {
		stopAt(t, o, at)
	}
	got := mustRun(t, o)
	sameRun(t, "stopped at every iteration", o.Dir, whole.Dir)
	if got.Unreadable != 1 || got.Unreadable != want.Unreadable {
		t.Errorf("%d unreadable images, want %d", got.Unreadable, want.Unreadable)
	}
	if n := len(files(t, filepath.Join(o.Dir, CheckpointDir))); n != 2 {
		t.Errorf("%d checkpoints, want the 2 to keep", n)
	}
	// A run that has ended goes on to nothing.
	o.OnIteration = func(Iteration) { t.Error("a run that had ended went on") }
	if again := mustRun(t, o); again.Iterations != 9 || again.BestEpoch != got.BestEpoch {
		t.Errorf("result %+v of a run that had ended, want %+v", again, got)
	}
	sameRun(t, "resumed after its end", o.Dir, whole.Dir)
}

// TestCheckpointEvery: checkpoints are taken between the ends of epochs, and don't move
// the course of the run.
func TestCheckpointEvery(t *testing.T) {
	whole := resumeOptions(t)
	mustRun(t, whole)
	o := resumeOptions(t)
	o.CheckpointEvery, o.Keep = time.Nanosecond, 100
	mustRun(t, o)
	sameRun(t, "with a checkpoint at every iteration", o.Dir, whole.Dir)
	var want []string
	for i := 1; i <= 9; i++ {
		want = append(want, fmt.Sprintf("checkpoint-%010d.safetensors", i))
	}
	if got := files(t, filepath.Join(o.Dir, CheckpointDir)); !slices.Equal(got, want) {
		t.Errorf("checkpoints %q, want %q", got, want)
	}
	// From each of them the run comes to the same end.
	for i := 9; i >= 1; i-- {
		o.Resume = true
		if err := os.Remove(checkpointPath(o.Dir, i)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			break
		}
		if i%3 != 1 {
			continue
		}
		again := o
		again.CheckpointEvery = EpochsOnly
		mustRun(t, again)
		sameRun(t, fmt.Sprintf("from before iteration %d", i), o.Dir, whole.Dir)
		for j := i; j <= 9; j++ {
			os.Remove(checkpointPath(o.Dir, j))
		}
	}
}

// TestResumeWithoutCheckpoint: a run that was killed before its first one begins anew; a
// directory of something else is refused.
func TestResumeWithoutCheckpoint(t *testing.T) {
	whole := resumeOptions(t)
	mustRun(t, whole)
	o := resumeOptions(t)
	killed := o
	killed.Keep = KeepNone
	stopAt(t, killed, 4)
	o.Resume = true
	changed := o
	changed.Recipe.Batch, changed.OnIteration = 1, func(Iteration) { t.Error("training began") }
	if _, err := Run(context.Background(), changed); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("batch: 1, the run in %s, which came to no checkpoint, has %d", filepath.Join(o.Dir, RecipeFile), o.Recipe.Batch)) {
		t.Errorf("another recipe: %v, want an error that names the difference", err)
	}
	mustRun(t, o)
	sameRun(t, "begun anew", o.Dir, whole.Dir)

	empty := resumeOptions(t)
	empty.Resume = true
	mustRun(t, empty)
	sameRun(t, "resumed from nothing", empty.Dir, whole.Dir)

	other := resumeOptions(t)
	other.Resume, other.Dir = true, t.TempDir()
	if err := os.WriteFile(filepath.Join(other.Dir, "notes.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), other); err == nil || !strings.Contains(err.Error(), "notes.txt and no recipe.yaml") {
		t.Errorf("%v, want an error that names what is there", err)
	}
	wantFiles(t, other.Dir, "notes.txt")
	if _, err := LatestCheckpoint(t.Context(), other.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that there is none", err)
	}
}

// TestDamagedCheckpoint: one whose bytes are not those that were written is put aside,
// wherever the damage is.
func TestDamagedCheckpoint(t *testing.T) {
	whole := resumeOptions(t)
	mustRun(t, whole)
	size := len(read(t, checkpointPath(whole.Dir, 9)))
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":       func(b []byte) []byte { return b[:len(b)/3] },
		"empty":     func(b []byte) []byte { return nil },
		"a bit":     func(b []byte) []byte { b[size/2] ^= 4; return b },
		"last byte": func(b []byte) []byte { b[size-1] ^= 1; return b },
		"header":    func(b []byte) []byte { b[40] = 0xff; return b },
		"the state": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`\"iteration\":5`), []byte(`\"iteration\":4`), 1)
		},
		"the version": func(b []byte) []byte { return bytes.Replace(b, []byte(`{\"version\":1`), []byte(`{\"version\":9`), 1) },
	} {
		if testing.Short() && name != "cut" && name != "a bit" && name != "the state" {
			continue
		}
		o := resumeOptions(t)
		stopAt(t, o, 5)
		newest := checkpointPath(o.Dir, 5)
		if err := os.WriteFile(newest, damage(read(t, newest)), 0o666); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o.Resume = true
		from := -1
		o.OnStart = func(s Start) { from = s.Iteration }
		mustRun(t, o)
		if from != 3 || !strings.Contains(log.String(), filepath.Base(newest)) || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%s: went on from iteration %d, want 3 with a warning:\n%s", name, from, &log)
		}
		sameRun(t, name, o.Dir, whole.Dir)
		if _, err := os.Stat(newest + ".damaged"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	o := resumeOptions(t)
	stopAt(t, o, 2) // there is one checkpoint
	path := checkpointPath(o.Dir, 2)
	if err := os.WriteFile(path, read(t, path)[:1000], 0o666); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want an error that names %s", err, path)
	}
}

// TestResumeRefused: what a run goes on with must be what it began with.
func TestResumeRefused(t *testing.T) {
	o := resumeOptions(t)
	stopAt(t, o, 4)
	o.Resume = true
	for want, change := range map[string]func(*Options){
		"batch: 5, the checkpoint " + checkpointPath(o.Dir, 4) + " has 4": func(o *Options) { o.Recipe.Batch = 5 },
		"schedule.steps: [1], the checkpoint":                             func(o *Options) { o.Recipe.Schedule.Steps = []int{1} },
		"seed: 9, the checkpoint":                                         func(o *Options) { o.Recipe.Seed = 9 },
		"epochs: 2, the checkpoint":                                       func(o *Options) { o.Recipe.Epochs = 2 },
		"max_iterations: 8, the checkpoint":                               func(o *Options) { o.Recipe.MaxIterations = 8 },
		"training images: train has 11 images, the checkpoint 10":         func(o *Options) { o.Train = colours(t, "train", 11) },
		"validation images: val has 7 images, the checkpoint 6":           func(o *Options) { o.Val = colours(t, "val", 7) },
		"validation images: none, the checkpoint has val with 6":          func(o *Options) { o.Val = nil },
		"other names, classes or sizes":                                   func(o *Options) { o.Train = colours(t, "train", 10, 2) },
		"has 3 classes (rouge, vert, bleu), the checkpoint 3 classes (red, green, blue)": func(o *Options) {
			o.Train, o.Val = colours(t, "train", 10), colours(t, "val", 6)
			o.Train.Classes = []string{"rouge", "vert", "bleu"}
			o.Val.Classes = o.Train.Classes
		},
	} {
		other := o
		other.OnIteration = func(Iteration) { t.Errorf("%s: training went on", want) }
		change(&other)
		if _, err := Run(context.Background(), other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	// The same images elsewhere are the same.
	whole := resumeOptions(t)
	mustRun(t, whole)
	o.Train = colours(t, "another name", 10)
	mustRun(t, o)
	sameRun(t, "with images elsewhere", o.Dir, whole.Dir)
}

// TestMoreEpochs: a run that has ended can go on for longer, as if it had been longer
// from the beginning.
func TestMoreEpochs(t *testing.T) {
	long := resumeOptions(t)
	mustRun(t, long)
	o := resumeOptions(t)
	o.Recipe.Epochs = 2
	mustRun(t, o)
	o.Resume = true
	o.Recipe.Epochs = 3
	mustRun(t, o)
	// The recipe within the first best weights has the epochs of then.
	if got, want := tensorData(t, read(t, o.Dir, LastFile)), tensorData(t, read(t, long.Dir, LastFile)); !bytes.Equal(got, want) {
		t.Error("the weights are not those of the long run")
	}
	cosine := resumeOptions(t)
	cosine.Recipe.Schedule.Name = "cosine"
	stopAt(t, cosine, 4)
	cosine.Resume = true
	cosine.Recipe.Epochs = 4
	if _, err := Run(context.Background(), cosine); err == nil || !strings.Contains(err.Error(), "epochs: 4") || !strings.Contains(err.Error(), "cosine") {
		t.Errorf("%v, want an error that names epochs and the schedule", err)
	}
}

// TestResumeOnAnotherInstructionSet is a warning: the bits can't be the same.
func TestResumeOnAnotherInstructionSet(t *testing.T) {
	isas := kernel.ISAs()
	if len(isas) < 2 {
		vggtest.Skip(t, "a processor with a native instruction set")
	}
	now := kernel.Current().Name()
	t.Cleanup(func() { kernel.Use(now) })
	o := resumeOptions(t)
	stopAt(t, o, 4)
	for _, s := range isas {
		if s.Name() != now {
			if err := kernel.Use(s.Name()); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.Resume = true
	mustRun(t, o)
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "instruction set") || !strings.Contains(log.String(), now) {
		t.Errorf("no warning that names %s:\n%s", now, &log)
	}
}

// TestLatestCheckpoint: what a command needs to go on with a run.
func TestLatestCheckpoint(t *testing.T) {
	o := resumeOptions(t)
	o.Note = map[string]string{"data": "/somewhere"}
	o.Dir = filepath.Join(t.TempDir(), "run [1]*")
	stopAt(t, o, 5)
	c, err := LatestCheckpoint(t.Context(), o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Path != checkpointPath(o.Dir, 5) || c.Epoch != 2 || c.Iteration != 5 || !maps.Equal(c.Note, o.Note) || len(Differences(c.Recipe, o.Recipe)) > 0 {
		t.Errorf("checkpoint %+v", c)
	}
}

// TestIterationsEndARun in the middle of an epoch, after a validation.
func TestIterationsEndARun(t *testing.T) {
	o := resumeOptions(t)
	o.Recipe.MaxIterations = 5
	res := mustRun(t, o)
	if res.Iterations != 5 || res.Epochs != 2 {
		t.Errorf("%d iterations in %d epochs, want 5 in 2", res.Iterations, res.Epochs)
	}
	if lines := metricsLines(t, o.Dir); lines[len(lines)-1]["kind"] != "epoch" || lines[len(lines)-1]["iterations"] != 5. {
		t.Errorf("the last of the metrics is %v", lines[len(lines)-1])
	}
	text, err := json.Marshal(res)
	if err != nil || !strings.Contains(string(text), `"iterations":5`) {
		t.Errorf("%s, %v", text, err)
	}
}

// A run directory whose path holds what patterns treat specially keeps and finds its
// checkpoints.
func TestResumeInOddDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("such names are not allowed")
	}
	o := resumeOptions(t)
	o.Dir = filepath.Join(t.TempDir(), `a\b[c]*?{d}`, `\run`)
	stopAt(t, o, 8)
	paths, err := listCheckpoints(o.Dir)
	if err != nil || len(paths) != o.Keep {
		t.Fatalf("%d checkpoints (%v), want %d", len(paths), err, o.Keep)
	}
	o.Resume = true
	first := 0
	o.OnIteration = func(it Iteration) {
		if first == 0 {
			first = it.Iteration
		}
	}
	if _, err := Run(t.Context(), o); err != nil || first != 9 {
		t.Errorf("went on at iteration %d (%v), want 9", first, err)
	}
}

func TestResumeWithoutCheckpoints(t *testing.T) {
	o := resumeOptions(t)
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, CheckpointDir)); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	_, err := Run(t.Context(), o)
	if _, ok := errors.AsType[*OtherRunError](err); !ok || !strings.Contains(err.Error(), "has 3 epochs") {
		t.Errorf("%v, want an error that names the log", err)
	}
	if n, err := loggedEpochs(o.Dir); n != 3 || err != nil {
		t.Errorf("%d epochs are left in the log (%v), want 3", n, err)
	}
}

// The log may be deleted or cut: nothing that the run needs is in it.
func TestResumeWithoutLog(t *testing.T) {
	for _, kept := range []int64{-1, 100} {
		o := resumeOptions(t)
		stopAt(t, o, 5)
		path := filepath.Join(o.Dir, MetricsFile)
		err := os.Remove(path)
		if kept >= 0 {
			err = os.WriteFile(path, bytes.Repeat([]byte(`{"kind":"other","padding":"----------"}`+"\n"), 4)[:kept], 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		events, err := filesIn(o.Dir, eventsPattern)
		if err != nil || len(events) == 0 {
			t.Fatal(err)
		}
		if err := os.Truncate(events[0], 20); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		o.Resume, o.Log = true, slog.New(slog.NewTextHandler(&said, nil))
		r, err := Run(t.Context(), o)
		if err != nil || r.Epochs != 3 {
			t.Fatalf("%d epochs: %v", r.Epochs, err)
		}
		if !strings.Contains(said.String(), "cut or deleted") {
			t.Errorf("no word of the log in %q", &said)
		}
		if info, err := os.Stat(events[0]); err != nil || info.Size() != 20 {
			t.Errorf("the cut file of events has %d bytes (%v), want 20", info.Size(), err)
		}
		for _, line := range metricsLines(t, o.Dir) {
			if line["kind"] == "iteration" && line["iteration"].(float64) <= 5 {
				t.Errorf("line of iteration %v", line["iteration"])
			}
		}
	}
}

// TestChangedImages: a run that resumes tells of images that may have changed, and refuses those
// that have, if it can know.
func TestChangedImages(t *testing.T) {
	at := time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
	change := func(file string, seed uint64, at time.Time) {
		t.Helper()
		b := vggtest.PNG(40, 44, vggtest.Noise(seed))
		if err := os.WriteFile(file, append(b, make([]byte, 20_000-len(b))...), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		first, then bool // Verify
		seed        uint64
		at          time.Time
		warning     string
		refused     bool
	}{
		"nothing":                      {seed: 0, at: at},
		"nothing, verified":            {first: true, then: true, seed: 0, at: at},
		"a copy":                       {seed: 0, at: at.Add(time.Hour), warning: "other times of change"},
		"a copy, verified":             {first: true, seed: 0, at: at.Add(time.Hour)},
		"contents":                     {seed: 9, at: at.Add(time.Hour), warning: "other times of change"},
		"contents, verified":           {first: true, seed: 9, at: at.Add(time.Hour), refused: true},
		"contents, of the same time":   {first: true, then: true, seed: 9, at: at, refused: true},
		"verified without a hash":      {then: true, seed: 0, at: at, warning: "no hash"},
		"contents that nobody can see": {seed: 9, at: at},
	} {
		dir := t.TempDir()
		var files []string
		for i := range 8 {
			class := filepath.Join(dir, string(rune('a'+i%2)))
			if err := os.MkdirAll(class, 0o777); err != nil {
				t.Fatal(err)
			}
			files = append(files, filepath.Join(class, fmt.Sprint(i, ".png")))
			change(files[i], uint64(100+i), at)
		}
		change(files[0], 0, at)
		o := resumeOptions(t)
		var err error
		if o.Train, o.Val, err = dataset.Open(t.Context(), dir, dataset.OpenOptions{}); err != nil {
			t.Fatal(err)
		}
		o.Verify = c.first
		stopAt(t, o, 3)
		change(files[0], c.seed, c.at)
		var log bytes.Buffer
		o.Log, o.Resume, o.Verify = slog.New(slog.NewTextHandler(&log, nil)), true, c.then
		_, err = Run(t.Context(), o)
		if other, ok := errors.AsType[*OtherRunError](err); c.refused != ok || ok && !strings.Contains(other.Reason, "other contents than those of the checkpoint") {
			t.Errorf("%s: %v, refused: want %v", name, err, c.refused)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (c.warning != "") || !strings.Contains(log.String(), c.warning) {
			t.Errorf("%s: the log is %q, want %q in it", name, log.String(), c.warning)
		}
	}
}
