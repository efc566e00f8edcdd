package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/metrics"
)

// Files of a run directory.
const (
	RecipeFile    = "recipe.yaml"      // the whole recipe
	MetricsFile   = "metrics.jsonl"    // one JSON object an iteration and an epoch
	BestFile      = "best.safetensors" // weights with the least validation error
	LastFile      = "last.safetensors" // weights after the last epoch
	CheckpointDir = "checkpoints"      // folder of what a run resumes from
)

// runDir is a run's directory and its open logs.
type runDir struct {
	path    string
	metrics *appendLog
	events  *events
}

// makeRunDir makes the directory. A directory that isn't empty is refused unless the run
// resumes: a run never overwrites another.
func makeRunDir(path string, resume bool) error {
	entries, err := os.ReadDir(path)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { // left by a run that was killed when it had just begun
		return e.Name() == LockFile || atomicfile.IsTemporary(e.Name())
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(path, 0o777); err != nil {
			return fmt.Errorf("train: run directory: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("train: run directory: %w", err)
	case len(entries) == 0:
		return nil
	case !resume:
		if err := Held(path); err != nil {
			return fmt.Errorf("train: run directory %w", err)
		}
		return &OtherRunError{Dir: path, Reason: fmt.Sprintf("run directory %s holds %s: want a new or empty directory, or Options.Resume", path, entries[0].Name())}
	}
	if _, err := os.Stat(filepath.Join(path, RecipeFile)); err != nil {
		return &OtherRunError{Dir: path, Reason: fmt.Sprintf("run directory %s holds %s and no %s: want a directory of an earlier run, a new or an empty one", path, entries[0].Name(), RecipeFile)}
	}
	atomicfile.Clean(path)
	atomicfile.Clean(filepath.Join(path, CheckpointDir))
	return nil
}

// openRunDir opens the logs: empty, or as they were when the checkpoint of a run that
// resumes was taken.
func openRunDir(path string, from *runState, log *slog.Logger) (*runDir, error) {
	var s runState
	if from != nil {
		s = *from
	}
	d := &runDir{path: path}
	err := cutEvents(path, s.EventsFile, s.EventsBytes)
	if err != nil {
		return nil, err
	}
	kept, err := keptOfLog(filepath.Join(path, MetricsFile), s.MetricsBytes, log)
	if err != nil {
		return nil, err
	}
	if d.metrics, err = openAppendLog(filepath.Join(path, MetricsFile), kept, log); err != nil {
		return nil, err
	}
	if d.events, err = newEvents(path, s.Iteration, from != nil, log, time.Now); err != nil {
		d.metrics.close()
		return nil, err
	}
	return d, nil
}

// keptOfLog returns how much of the log a run that resumes keeps: what it had when the
// checkpoint was taken. If it has been cut or deleted since, that is its whole lines. Nothing
// in the log is needed to go on.
func keptOfLog(path string, had int64, log *slog.Logger) (int64, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() >= had || errors.Is(err, fs.ErrNotExist) && had == 0 {
		return had, nil
	}
	var text []byte
	if err == nil {
		text, err = wholefile.Read(path, wholefile.MaxText)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("train: %w", err)
	}
	kept := int64(bytes.LastIndexByte(text, '\n') + 1)
	log.Warn("the log was cut or deleted: it goes on with the epochs that are left to do", "file", path, "bytes", kept, "bytes when the checkpoint was taken", had)
	return kept, nil
}

// loggedEpochs returns how many epochs the log in a run directory tells of.
func loggedEpochs(dir string) (int, error) {
	f, err := wholefile.Open(filepath.Join(dir, MetricsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	n := 0
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadBytes('\n')
		if bytes.HasPrefix(line, []byte(`{"kind":"epoch",`)) {
			n++
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("train: %w", err)
		}
	}
}

func bestPath(dir string) string { return filepath.Join(dir, BestFile) }

func (d *runDir) best() string { return bestPath(d.path) }
func (d *runDir) last() string { return filepath.Join(d.path, LastFile) }

// saveRecipe writes the recipe to a run directory.
func saveRecipe(dir string, r Recipe) error {
	err := atomicfile.Write(filepath.Join(dir, RecipeFile), func(w io.Writer) error {
		_, err := w.Write(r.YAML())
		return err
	})
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// log appends {"kind": kind, …the fields of v…} to the metrics. At the end of an epoch
// everything logged is on disk.
func (d *runDir) log(kind string, v any) error {
	if d == nil { // of a process that isn't the first
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	if err := d.metrics.add(fmt.Appendf(nil, "{\"kind\":%q,%s\n", kind, line[1:])); err != nil {
		return err
	}
	if kind == "epoch" {
		_ = d.metrics.flush() // it logs its own failure, and is tried again later
		_ = d.events.log.flush()
	}
	return nil
}

// logIteration logs an iteration.
func (d *runDir) logIteration(it Iteration) error {
	if d == nil {
		return nil
	}
	if err := d.log("iteration", it); err != nil {
		return err
	}
	return d.events.scalars(it.Iteration, scalar{"train/loss", it.Loss}, scalar{"train/learning_rate", it.LearningRate},
		scalar{"train/images_per_second", it.ImagesPerSecond})
}

// logEpoch logs the end of an epoch.
func (d *runDir) logEpoch(e Epoch) error {
	if d == nil {
		return nil
	}
	judged := []scalar{{"epoch/top1_error", e.Top1Error}, {"epoch/top5_error", e.Top5Error}}
	if !math.IsNaN(e.MeanIoU) {
		judged = []scalar{{"epoch/localisation_error", e.LocalisationError}, {"epoch/mean_iou", e.MeanIoU}}
	}
	if !math.IsNaN(e.MeanAP) {
		judged = []scalar{{"epoch/mean_ap", e.MeanAP}, {"epoch/micro_f1", e.MicroF1}}
	}
	err := d.events.scalars(e.Iterations, append([]scalar{{"epoch/train_loss", e.TrainLoss}, {"epoch/validation_loss", e.Loss}}, judged...)...)
	return errors.Join(err, d.log("epoch", e))
}

func (d *runDir) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.metrics.close(), d.events.log.close())
}

// MarshalJSON writes NaN, the errors and losses without validation images, as null.
func (e Epoch) MarshalJSON() ([]byte, error) {
	type plain Epoch
	return json.Marshal(struct {
		plain
		Loss              *float64 `json:"loss"`
		Top1Error         *float64 `json:"top1_error"`
		Top5Error         *float64 `json:"top5_error"`
		LocalisationError *float64 `json:"localisation_error,omitempty"`
		MeanIoU           *float64 `json:"mean_iou,omitempty"`
		MeanAP            *float64 `json:"mean_ap,omitempty"`
		MicroF1           *float64 `json:"micro_f1,omitempty"`
	}{plain(e), metrics.OrNil(e.Loss), metrics.OrNil(e.Top1Error), metrics.OrNil(e.Top5Error), metrics.OrNil(e.LocalisationError), metrics.OrNil(e.MeanIoU),
		metrics.OrNil(e.MeanAP), metrics.OrNil(e.MicroF1)})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (e *Epoch) UnmarshalJSON(text []byte) error {
	type plain Epoch
	var v struct {
		plain
		Loss              *float64 `json:"loss"`
		Top1Error         *float64 `json:"top1_error"`
		Top5Error         *float64 `json:"top5_error"`
		LocalisationError *float64 `json:"localisation_error"`
		MeanIoU           *float64 `json:"mean_iou"`
		MeanAP            *float64 `json:"mean_ap"`
		MicroF1           *float64 `json:"micro_f1"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	*e = Epoch(v.plain)
	for to, from := range map[*float64]*float64{&e.Loss: v.Loss, &e.Top1Error: v.Top1Error, &e.Top5Error: v.Top5Error,
		&e.LocalisationError: v.LocalisationError, &e.MeanIoU: v.MeanIoU,
		&e.MeanAP: v.MeanAP, &e.MicroF1: v.MicroF1} {
		*to = math.NaN()
		if from != nil {
			*to = *from
		}
	}
	return nil
}

// MarshalJSON writes NaN as null.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		plain
		Top1Error         *float64 `json:"top1_error"`
		Top5Error         *float64 `json:"top5_error"`
		LocalisationError *float64 `json:"localisation_error,omitempty"`
		MeanIoU           *float64 `json:"mean_iou,omitempty"`
		MeanAP            *float64 `json:"mean_ap,omitempty"`
		MicroF1           *float64 `json:"micro_f1,omitempty"`
	}{plain(r), metrics.OrNil(r.Top1Error), metrics.OrNil(r.Top5Error), metrics.OrNil(r.LocalisationError), metrics.OrNil(r.MeanIoU),
		metrics.OrNil(r.MeanAP), metrics.OrNil(r.MicroF1)})
}
