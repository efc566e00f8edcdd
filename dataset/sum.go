package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// Sum returns the SHA-256 of sample i's file, as [Dataset.Read] returns it, in hexadecimal, and
// what the file system said of the file when it was opened. The file isn't kept in memory. The
// errors are those of Read, and the context's cause once ctx is done.
func (d *Dataset) Sum(ctx context.Context, i int) (string, fs.FileInfo, error) {
	if err := d.check(i); err != nil {
		return "", nil, err
	}
	name := d.Samples[i].Name
	if m, ok := d.fsys.(*memoryFS); ok {
		info, err := fs.Stat(m, name)
		if err != nil {
			return "", nil, fmt.Errorf("dataset: %s: %w", d.Name, err)
		}
		sum := info.Sys().(contentHash)
		return hex.EncodeToString(sum[:]), info, nil
	}
	if fsys, name, ok := d.withContext(name); ok {
		return d.sumFar(ctx, fsys, name)
	}
	f, _, err := d.open(name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, d.readError(name, err)
	}
	h := sha256.New()
	buf := make([]byte, 1<<16)
	for {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), info, nil
		}
		if err != nil {
			return "", nil, d.readError(name, err)
		}
	}
}

// sumFar is Sum of a file on a server. One that was read lately isn't read again.
func (d *Dataset) sumFar(ctx context.Context, fsys *shardFS, name string) (string, fs.FileInfo, error) {
	info, err := fsys.Stat(name)
	if err != nil {
		return "", nil, d.readError(name, err)
	}
	if sum := fsys.far.sum(name); sum != "" {
		return sum, info, nil
	}
	data, err := fsys.readContext(ctx, name)
	if err != nil {
		return "", nil, d.readError(name, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), info, nil
}

// Sums is [Dataset.Sum] of many samples at once. The sum of a file that can't be read is "". It
// is an error if ctx is done.
func (d *Dataset) Sums(ctx context.Context, samples []int) ([]string, error) {
	const together = 8
	for _, i := range samples {
		if err := d.check(i); err != nil {
			return nil, err
		}
	}
	sums := make([]string, len(samples))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(together, len(samples)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(samples)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				sums[i], _, _ = d.Sum(ctx, samples[i])
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("dataset: %s: %w", d.Name, context.Cause(ctx))
	}
	return sums, nil
}
