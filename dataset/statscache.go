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

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
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
	first := o.Processes == nil || o.Processes.Rank() == 0
	var key string
	var files []string
	if first {
		if key, err = d.surveyKey(ctx, o.MaxPixels); err != nil {
			return s, false, err
		}
		files = d.statsFiles(o.CacheDir)
		s, kept = findSurvey(files, key)
	}
	if s, kept, err = shareKept(ctx, o.Processes, s, kept); err != nil {
		return s, false, err
	}
	if kept {
		s.locate(d)
		return s, true, nil
	}
	s, lacksRoom, err := computeSurvey(ctx, d, o)
	if err != nil || lacksRoom { // another run may have more room
		return s, false, err
	}
	for _, f := range files {
		if writeSurvey(f, keptSurvey{key, d.Name, s}) == nil {
			break
		}
	}
	return s, false, nil
}

// findSurvey returns the survey of a key that one of the files has.
func findSurvey(files []string, key string) (s Survey, found bool) {
	for _, f := range files {
		for _, k := range readSurveys(f) {
			if k.Key == key {
				return k.Survey, true
			}
		}
	}
	return s, false
}

// shareKept gives what rank 0 has found to all processes.
func shareKept(ctx context.Context, g comm.Group, s Survey, kept bool) (Survey, bool, error) {
	if g == nil {
		return s, kept, nil
	}
	var text []byte // empty: nothing
	if kept {
		var err error
		if text, err = json.Marshal(s); err != nil {
			return s, false, err
		}
	}
	text, err := comm.Share(context.WithoutCancel(ctx), g, 0, text)
	if err != nil || len(text) == 0 || g.Rank() == 0 {
		return s, kept, err
	}
	return s, true, json.Unmarshal(text, &s)
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
