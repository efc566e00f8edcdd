package localize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/preprocess"
)

// Errors of result files.
type (
	// HeldError is the error for a result file that another run is writing:
	// Path names it, and PID the process, 0 if not known.
	HeldError = lockfile.HeldError
	// OtherRunError is the error for a result file of another run.
	OtherRunError = journal.OtherRunError
	// FormatError is the error for a file that is no result file, or a damaged one.
	FormatError = journal.FormatError
)

const resultFormat = "vgg localisation 1"

// resultHeader identifies the run that made a result file.
type resultHeader struct {
	Format      string        `json:"format"`
	Run         string        `json:"run"` // networks and how they are run
	Protocol    eval.Protocol `json:"protocol"`
	Data        string        `json:"data"`
	Fingerprint string        `json:"fingerprint"`
	Boxes       string        `json:"boxes"`
	Images      int           `json:"images"`
	Classes     int           `json:"classes"` // of the networks
	// Orient and Fit are the networks'; files of earlier versions have neither: Stored, Keep.
	Orient preprocess.Orient `json:"orient,omitzero"`
	Fit    preprocess.Fit    `json:"fit,omitzero"`
	// Shard is zero of the whole set.
	Shard eval.Shard `json:"shard,omitzero"`
}

// difference says in which respect h is the header of another run than want; "" of the same
// run.
func (h resultHeader) difference(want resultHeader) string {
	switch {
	case h.Run != want.Run:
		return fmt.Sprintf("networks %s, want %s", h.Run, want.Run)
	case h.Protocol != want.Protocol:
		return fmt.Sprintf("protocol %v, want %v", h.Protocol, want.Protocol)
	case h.Images != want.Images:
		return fmt.Sprintf("data of %d images, want %d", h.Images, want.Images)
	case h.Fingerprint != want.Fingerprint || h.Data != want.Data:
		return fmt.Sprintf("data %s with fingerprint %.12s, want %s with %.12s", h.Data, h.Fingerprint, want.Data, want.Fingerprint)
	case h.Boxes != want.Boxes:
		return "other boxes on the same images"
	case h.Classes != want.Classes:
		return fmt.Sprintf("%d classes, want %d", h.Classes, want.Classes)
	case h.Orient != want.Orient:
		return fmt.Sprintf("orientation %v, want %v (--orient %v)", h.Orient, want.Orient, h.Orient)
	case h.Fit != want.Fit:
		return fmt.Sprintf("images rescaled by %v, want %v", h.Fit, want.Fit)
	}
	return ""
}

// boxesHash returns a hash of the boxes of sets.
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

// resultFile is a result file: a header and then a line for each image that is done.
type resultFile struct {
	lines   *journal.File
	sharded bool
}

// openResults opens the result file of a run, and puts what it holds into records; if there
// is none, it makes one. The error is a [*HeldError], an [*OtherRunError] or a [*FormatError]
// if the file isn't this run's to write.
func openResults(ctx context.Context, path string, h resultHeader, records []*Record) (*resultFile, error) {
	lines, err := resultKind(h, records).Resume(ctx, path, h)
	if err != nil {
		return nil, fmt.Errorf("localize: %w", err)
	}
	return &resultFile{lines, h.Shard.Count > 1}, nil
}

// keepOrientation gives h the orientation that the result file at path was made with, if the
// images are the same the one way and the other.
func (h *resultHeader) keepOrientation(ctx context.Context, path string, data *dataset.Dataset) error {
	was, ok := resultKind(*h, nil).Peek(path)
	if !ok || was.Orient == h.Orient {
		return nil
	}
	turned, err := data.AnyTurned(ctx)
	if err == nil && !turned {
		h.Orient = was.Orient
	}
	return err
}

// resultKind describes the result files of a run. What one holds goes into records.
func resultKind(h resultHeader, records []*Record) journal.Kind[resultHeader, Record] {
	return journal.Kind[resultHeader, Record]{
		Format: resultFormat,
		Name:   "a file of localisation results",
		Holds:  "results",
		Header: func(resultHeader) error { return nil }, // Difference compares all of it
		Difference: func(was, want resultHeader) string {
			if d := was.difference(want); d != "" || was.Shard == want.Shard {
				return d
			}
			return fmt.Sprintf("shard %v, want %v", was.Shard, want.Shard)
		},
		Line: func(r Record, _ journal.Place) error {
			if r.Error != "" && h.Shard.Count > 1 && r.Image >= 0 && r.Image < len(records) {
				return nil // an unreadable image, which is tried again
			}
			if r.Image < 0 || r.Image >= len(records) || r.Label < 0 || r.Label >= h.Classes || r.W < 1 || r.H < 1 || len(r.Truths) == 0 || r.Error != "" {
				return fmt.Errorf("image %d, want a whole record of one of %d", r.Image, len(records))
			}
			records[r.Image] = &r
			return nil
		},
	}
}

// add writes an image's line. Of an unreadable image, which the next run tries again, it writes
// one in the file of a shard alone, which tells that the shard is finished.
func (r *resultFile) add(rec *Record) error {
	if rec.Error != "" && !r.sharded {
		return nil
	}
	if _, err := r.lines.Append(rec); err != nil {
		return fmt.Errorf("localize: results: %w", err)
	}
	return nil
}

func (r *resultFile) sync() error {
	if err := r.lines.Sync(); err != nil {
		return fmt.Errorf("localize: results: %w", err)
	}
	return nil
}

func (r *resultFile) close() { r.lines.Close() }
