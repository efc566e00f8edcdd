package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
)

// Fingerprint returns a hash of d's classes and of every sample's name, label or labels
// and size in bytes, in their order, as 64 hexadecimal digits; of pictures in
// memory ([FromPictures]) it covers the contents, too. Contents of files are not
// read: two datasets with the same fingerprint are the same unless a file was edited
// without a change of its size. The fingerprint doesn't depend on whether the files
// lie in a folder, a ZIP file or shards.
//
// A missing file counts as one of size -1; a [Loader] lists it among the bad
// images. It is an error if ctx is done.
func Fingerprint(ctx context.Context, d *Dataset) (string, error) {
	return d.fingerprint(ctx, func(w *fieldWriter, info fs.FileInfo) {})
}

// fingerprint is Fingerprint with what more adds for each file.
func (d *Dataset) fingerprint(ctx context.Context, more func(*fieldWriter, fs.FileInfo)) (string, error) {
	infos, err := d.Stat(ctx)
	if err != nil {
		return "", err
	}
	w := &fieldWriter{hash: sha256.New()}
	w.number(int64(len(d.Classes)))
	for _, c := range d.Classes {
		w.text(c)
	}
	if d.MultiLabel {
		w.number(-1) // which no number of samples is
	}
	w.number(int64(len(d.Samples)))
	for i, s := range d.Samples {
		w.text(s.Name)
		if d.MultiLabel {
			w.number(int64(len(s.Labels)))
		}
		for _, label := range d.LabelsOf(i) {
			w.number(int64(label))
		}
		if infos[i] == nil {
			w.number(-1)
			continue
		}
		w.number(infos[i].Size())
		if sum, ok := infos[i].Sys().(contentHash); ok {
			w.text(string(sum[:]))
		}
		more(w, infos[i])
	}
	return hex.EncodeToString(w.hash.Sum(nil)), nil
}

// Stat returns the file information of each sample, nil where there is no such file. It
// is an error if ctx is done.
func (d *Dataset) Stat(ctx context.Context) ([]fs.FileInfo, error) {
	if d == nil {
		return nil, errNil
	}
	if d.Len() > 0 {
		if err := d.check(0); err != nil {
			return nil, err
		}
	}
	const together = 16 // a disk answers several requests at once
	infos := make([]fs.FileInfo, d.Len())
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(together, d.Len()) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(infos)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if info, err := fs.Stat(d.fsys, d.Samples[i].Name); err == nil {
					infos[i] = info
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	}
	return infos, nil
}

// fieldWriter hashes a sequence of values; different sequences hash different bytes.
type fieldWriter struct {
	hash hash.Hash
	buf  []byte
}

func (w *fieldWriter) text(s string) {
	w.number(int64(len(s)))
	w.buf = append(w.buf[:0], s...)
	w.hash.Write(w.buf)
}

func (w *fieldWriter) number(v int64) {
	w.buf = append(strconv.AppendInt(w.buf[:0], v, 10), '\n')
	w.hash.Write(w.buf)
}
