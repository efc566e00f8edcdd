package localize

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
)

const resultFormat = "vgg localisation 1"

// resultHeader identifies the run that a result file is of.
type resultHeader struct {
	Format      string        `json:"format"`
	Run         string        `json:"run"` // networks and how they are run
	Protocol    eval.Protocol `json:"protocol"`
	Data        string        `json:"data"`
	Fingerprint string        `json:"fingerprint"`
	Boxes       string        `json:"boxes"`
	Images      int           `json:"images"`
	Classes     int           `json:"classes"` // of the networks
}

// boxesHash identifies the boxes of a set.
func boxesHash(sets ...*dataset.Dataset) string {
	h := sha256.New()
	for _, d := range sets {
		if d == nil {
			continue
		}
		for _, s := range d.Samples {
			fmt.Fprintln(h, len(s.Boxes), s.Boxes)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// textHash is a short hash of a text.
func textHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// resultFile holds a header and then a line for each image that is done.
type resultFile struct {
	path string
	f    *os.File
}

// openResults opens the result file of a run, and puts what it holds into records; where
// there is none, it begins one. A last line that was cut off goes. A file of another run
// is an error.
func openResults(path string, h resultHeader, records []*Record) (*resultFile, error) {
	fail := func(err error) (*resultFile, error) { return nil, fmt.Errorf("localize: results %s: %w", path, err) }
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("localize: results: %w", err)
	}
	end, err := readResults(f, h, records)
	if err == nil {
		if err = f.Truncate(end); err == nil {
			_, err = f.Seek(end, io.SeekStart)
		}
	}
	r := &resultFile{path, f}
	if err == nil && end == 0 {
		err = r.write(h)
	}
	if err != nil {
		f.Close()
		return fail(err)
	}
	return r, nil
}

// readResults reads a result file into records, and returns where its last whole line
// ends: 0 of an empty one.
func readResults(f io.Reader, h resultHeader, records []*Record) (end int64, err error) {
	in := bufio.NewReaderSize(f, 1<<16)
	for number := 1; ; number++ {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if want := []byte(`{"format":"` + resultFormat); number == 1 && !bytes.HasPrefix(want, text[:min(len(text), len(want))]) {
				return 0, errors.New("not a file of localisation results")
			}
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		if number == 1 {
			var was resultHeader
			if err := json.Unmarshal(text, &was); err != nil || was.Format != resultFormat {
				return 0, errors.New("line 1: not a file of localisation results")
			}
			if was != h {
				return 0, fmt.Errorf("it is of another run: %s on %s, want %s on %s: another file keeps both", was.Run, was.Data, h.Run, h.Data)
			}
		} else {
			r := &Record{}
			if err := json.Unmarshal(text, r); err != nil {
				return 0, fmt.Errorf("line %d: %w", number, err)
			}
			if r.Image < 0 || r.Image >= len(records) || r.Label < 0 || r.Label >= h.Classes || r.W < 1 || r.H < 1 || len(r.Truths) == 0 || r.Error != "" {
				return 0, fmt.Errorf("line %d: image %d of %d, want a record of one", number, r.Image, len(records))
			}
			records[r.Image] = r
		}
		end += int64(len(text))
	}
}

func (r *resultFile) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = r.f.Write(append(line, '\n'))
	return err
}

// add writes an image's line. Unreadable images are tried again by the next run.
func (r *resultFile) add(rec *Record) error {
	if rec.Error != "" {
		return nil
	}
	if err := r.write(rec); err != nil {
		return fmt.Errorf("localize: results: %w", err)
	}
	return nil
}

func (r *resultFile) sync() error { return r.f.Sync() }
func (r *resultFile) close()      { r.f.Close() }
