package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// Files of a run directory.
const (
	RecipeFile  = "recipe.yaml"      // the resolved recipe
	MetricsFile = "metrics.jsonl"    // one JSON object an iteration and an epoch
	BestFile    = "best.safetensors" // weights with the least validation error
	LastFile    = "last.safetensors" // weights after the last epoch
)

// runDir is a run's directory and its open log.
type runDir struct {
	path    string
	metrics *os.File
	w       *bufio.Writer
}

// newRunDir makes the directory. One that holds something is refused: a run never
// overwrites another.
func newRunDir(path string) (*runDir, error) {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(path, 0o777); err != nil {
			return nil, fmt.Errorf("train: run directory: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("train: run directory: %w", err)
	case len(entries) > 0:
		return nil, fmt.Errorf("train: run directory %s holds %s: want a new or empty directory", path, entries[0].Name())
	}
	d := &runDir{path: path}
	if d.metrics, err = os.Create(filepath.Join(path, MetricsFile)); err != nil {
		return nil, fmt.Errorf("train: run directory: %w", err)
	}
	d.w = bufio.NewWriter(d.metrics)
	return d, nil
}

func (d *runDir) best() string { return filepath.Join(d.path, BestFile) }
func (d *runDir) last() string { return filepath.Join(d.path, LastFile) }

func (d *runDir) writeRecipe(r Recipe) error {
	if err := os.WriteFile(filepath.Join(d.path, RecipeFile), r.YAML(), 0o666); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// log appends {"kind": kind, …the fields of v…} to the metrics; what an epoch logged
// is on disk when it ends.
func (d *runDir) log(kind string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	_, err = fmt.Fprintf(d.w, "{\"kind\":%q,%s\n", kind, line[1:])
	if err == nil && kind == "epoch" {
		err = d.w.Flush()
	}
	if err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	return nil
}

func (d *runDir) close() {
	d.w.Flush()
	d.metrics.Close()
}

// MarshalJSON writes errors and losses that are not numbers (there were no validation
// images) as null, which JSON has for them.
func (e Epoch) MarshalJSON() ([]byte, error) {
	type plain Epoch
	return json.Marshal(struct {
		plain
		Loss      *float64 `json:"loss"`
		Top1Error *float64 `json:"top1_error"`
		Top5Error *float64 `json:"top5_error"`
	}{plain(e), number(e.Loss), number(e.Top1Error), number(e.Top5Error)})
}

// MarshalJSON writes errors that are not numbers as null.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		plain
		Top1Error *float64 `json:"top1_error"`
		Top5Error *float64 `json:"top5_error"`
	}{plain(r), number(r.Top1Error), number(r.Top5Error)})
}

func number(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}
