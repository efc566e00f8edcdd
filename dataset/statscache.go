package dataset

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/verydeep/vgg/internal/atomicfile"
)

// StatsOptions says how a dataset is surveyed and where the result is kept.
type StatsOptions struct {
	Workers  int                   // as of ComputeStats
	Progress func(done, total int) // likewise; not called if the result was kept
	// CacheDir is for datasets whose own folder can't be written to; "" keeps
	// nothing of them.
	CacheDir string
}

// StatsFile is where a survey is kept, in the dataset's folder or in that of
// its archive.
const StatsFile = ".vgg-stats.json"

const (
	// surveyVersion is part of the key: another way of decoding or counting
	// gives another.
	surveyVersion = 1
	// keptSurveys is how many a file holds, the oldest going first.
	keptSurveys = 16
)

// keptSurvey is one entry of a StatsFile.
type keptSurvey struct {
	Key    string `json:"key"`
	Data   string `json:"data"` // name of the dataset, for readers
	Survey Survey `json:"survey"`
}

// CachedSurvey returns what [ComputeSurvey] does. If the dataset was surveyed
// before and is the same by the names, labels, sizes and dates of its files,
// the result is that of then, to the bit, and kept is true. Otherwise it is
// computed and kept, in a [StatsFile] beside the images or, where that can't be
// written, in o.CacheDir; if neither can, the survey is returned all the same.
func CachedSurvey(ctx context.Context, d *Dataset, o StatsOptions) (s Survey, kept bool, err error) {
	key, err := d.surveyKey(ctx)
	if err != nil {
		return s, false, err
	}
	files := d.statsFiles(o.CacheDir)
	for _, f := range files {
		for _, k := range readSurveys(f) {
			if k.Key == key {
				return k.Survey, true, nil
			}
		}
	}
	if s, err = ComputeSurvey(ctx, d, o.Workers, o.Progress); err != nil {
		return s, false, err
	}
	for _, f := range files {
		if writeSurvey(f, keptSurvey{key, d.Name, s}) == nil {
			break
		}
	}
	return s, false, nil
}

// statsFiles returns where d's survey may be, the better place first.
func (d *Dataset) statsFiles(cacheDir string) []string {
	var files []string
	if d.path != "" {
		dir := d.path
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			dir = filepath.Dir(dir)
		}
		files = append(files, filepath.Join(dir, StatsFile))
	}
	if cacheDir != "" {
		files = append(files, filepath.Join(cacheDir, "stats.json"))
	}
	return files
}

// surveyKey tells apart all that may have another survey.
func (d *Dataset) surveyKey(ctx context.Context) (string, error) {
	return d.fingerprint(ctx, func(w *fieldWriter, info fs.FileInfo) {
		w.number(surveyVersion)
		w.number(info.ModTime().UnixNano())
		if h, ok := info.Sys().(*zip.FileHeader); ok {
			w.number(int64(h.CRC32))
		}
	})
}

// readSurveys returns what a file holds; one that is broken holds nothing.
func readSurveys(file string) []keptSurvey {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var kept []keptSurvey
	if json.Unmarshal(data, &kept) != nil {
		return nil
	}
	return kept
}

// writeSurvey adds a survey to a file of surveys.
func writeSurvey(file string, s keptSurvey) error {
	kept := slices.DeleteFunc(readSurveys(file), func(k keptSurvey) bool { return k.Key == s.Key })
	kept = append(kept, s)
	kept = kept[max(0, len(kept)-keptSurveys):]
	data, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	// The superuser could write anywhere; what is marked read-only is meant so.
	info, err := os.Stat(filepath.Dir(file))
	if err == nil && info.Mode().Perm()&0o222 == 0 {
		err = fs.ErrPermission
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(file, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}
