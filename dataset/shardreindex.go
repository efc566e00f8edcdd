package dataset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/progress"
)

// IndexShards writes an index with checksums beside each of the shards on disk that path names,
// which may be a pattern as [Open] takes it. It reads all of them. An index that is there is
// replaced: what it says is not compared with the shard. The progress is in shards.
func IndexShards(ctx context.Context, path string, p progress.Func) (ShardReport, error) {
	report := ShardReport{}
	fail := func(err error) (ShardReport, error) {
		return report, fmt.Errorf("dataset: %s: %w", remote.Plain(path), err)
	}
	shards, err := shardFiles(path)
	if err != nil {
		return fail(err)
	}
	report.Dir = filepath.Dir(shards[0])
	for i, shard := range shards {
		n, size, err := indexShard(ctx, shard)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", shard, err))
		}
		report.Shards, report.Images, report.Bytes = report.Shards+1, report.Images+n, report.Bytes+size
		p.Report(int64(i+1), int64(len(shards)))
	}
	return report, nil
}

// shardFiles returns the shards of a folder, a file or a pattern.
func shardFiles(path string) ([]string, error) {
	if remote.IsAddress(path) {
		return nil, errors.New("an address, want shards on this machine: an index is written beside its shard, and copied to the server with it")
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		entries, err := os.ReadDir(path)
		var found []string
		for _, e := range entries {
			if strings.EqualFold(filepath.Ext(e.Name()), shardExt) {
				found = append(found, filepath.Join(path, e.Name()))
			}
		}
		if err == nil && len(found) == 0 {
			err = errors.New("no tar files, want shards")
		}
		return found, err
	case err == nil:
		return []string{path}, nil
	case !isShardPattern(path):
		return nil, errors.New("no such folder or file")
	}
	return findShards(path)
}

// indexShard writes the index of a shard.
func indexShard(ctx context.Context, shard string) (images int, size int64, err error) {
	f, err := os.Open(shard)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if err := checkPlain(io.NewSectionReader(f, 0, 16)); err != nil {
		return 0, 0, err
	}
	samples, err := scanShard(&search{ctx: ctx}, f)
	if err != nil {
		return 0, 0, err
	}
	if len(samples) == 0 {
		return 0, 0, errors.New("no images, want members such as 0001.jpg with 0001.cls or 0001.json")
	}
	for i := range samples {
		s := &samples[i]
		if strings.ContainsAny(s.name, "\t\n\r") {
			return 0, 0, fmt.Errorf("%q: a tab or line break in a name", s.name)
		}
		data := make([]byte, s.size)
		if _, err := f.ReadAt(data, s.offset); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", s.name, err)
		}
		s.sum, s.summed = imageSum(data), true
	}
	sum := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	for {
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		n, err := io.CopyN(sum, f, 16<<20)
		if size += n; err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, err
		}
	}
	index := formatIndex(samples, size, sum.Sum(nil))
	return len(samples), size, atomicfile.Write(shard+indexExt, func(w io.Writer) error {
		_, err := w.Write(index)
		return err
	})
}
