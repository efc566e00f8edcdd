package dataset

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// StatsFile is the file that keeps surveys, in the dataset's folder or beside its
// archive.
const StatsFile = ".vgg-stats.json"

const (
	// surveyVersion is part of the key. It changes with the way of decoding or
	// counting.
	surveyVersion = 2
	// keptSurveys is the most surveys in a file; the oldest are dropped.
	keptSurveys = 16
)

// keptSurvey is one entry of a StatsFile.
type keptSurvey struct {
	Key    string `json:"key"`
	Data   string `json:"data"` // name of the dataset, for readers
	Survey Survey `json:"survey"`
}

// CachedSurvey is [ComputeSurvey] with a memory. If the dataset was surveyed
// before, and the names, labels, sizes and dates of its files are the same, it
// returns the earlier result, to the bit, and kept is true. Otherwise it computes
// the survey and keeps it, in a [StatsFile] beside the images or, where that can't
// be written, in o.CacheDir. Being unable to keep it is not an error.
func CachedSurvey(ctx context.Context, d *Dataset, o StatsOptions) (s Survey, kept bool, err error) {
	key, err := d.surveyKey(ctx, o.MaxPixels)
	if err != nil {
		return s, false, err
	}
	files := d.statsFiles(o.CacheDir)
	for _, f := range files {
		for _, k := range readSurveys(f) {
			if k.Key == key {
				k.Survey.locate(d)
				return k.Survey, true, nil
			}
		}
	}
	if s, err = ComputeSurvey(ctx, d, o); err != nil {
		return s, false, err
	}
	if s.lacksRoom() {
		return s, false, nil // another run may have more
	}
	for _, f := range files {
		if writeSurvey(f, keptSurvey{key, d.Name, s}) == nil {
			break
		}
	}
	return s, false, nil
}

// lacksRoom reports whether an image is unreadable because it didn't fit into memory.
func (s *Survey) lacksRoom() bool {
	return slices.ContainsFunc(s.Unreadable, func(b BadImage) bool {
		_, ok := errors.AsType[*resources.RoomError](b.Err)
		return ok
	})
}

// locate finds the indices of the unreadable images, which JSON doesn't have.
func (s *Survey) locate(d *Dataset) {
	for i := range s.Unreadable {
		b := &s.Unreadable[i]
		b.Index = slices.IndexFunc(d.Samples, func(s Sample) bool { return s.Name == b.Name })
	}
}

// statsFiles returns the files that d's survey may be in, the preferred one first.
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

// surveyKey returns a key that differs between datasets whose surveys may differ.
func (d *Dataset) surveyKey(ctx context.Context, maxPixels int) (string, error) {
	return d.fingerprint(ctx, func(w *fieldWriter, info fs.FileInfo) {
		w.number(surveyVersion)
		if maxPixels != 0 && maxPixels != preprocess.DefaultMaxPixels {
			w.number(int64(maxPixels))
		}
		w.number(info.ModTime().UnixNano())
		if h, ok := info.Sys().(*zip.FileHeader); ok {
			w.number(int64(h.CRC32))
		}
	})
}

// readSurveys returns the surveys in a file; a broken file has none.
func readSurveys(file string) []keptSurvey {
	data, err := wholefile.Read(file, wholefile.MaxTable)
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
