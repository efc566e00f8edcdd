package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/progress"
)

// VerifyShards compares the shards that path names, on disk or on a server, with the size and the
// SHA-256 in the index beside each. path may be a pattern as [Open] takes it. It reads all of
// them from end to end, and keeps nothing. The error names each shard that is cut short, replaced
// or without such an index. The progress is in shards.
func VerifyShards(ctx context.Context, path string, o RemoteOptions, p progress.Func) (ShardReport, error) {
	report := ShardReport{}
	fail := func(err error) (ShardReport, error) {
		return report, fmt.Errorf("dataset: %s: %w", remote.Plain(path), err)
	}
	shards, rest, err := sourcesOf(ctx, path, o)
	if err != nil {
		return fail(err)
	}
	defer rest()
	report.Dir = shards[0].dir
	var bad []error
	for i, shard := range shards {
		n, size, err := shard.verify(ctx)
		switch {
		case ctx.Err() != nil:
			return fail(context.Cause(ctx))
		case remote.Temporary(err):
			return fail(err)
		case err != nil:
			bad = append(bad, fmt.Errorf("%s: %w", shard.name, err))
		default:
			report.Shards, report.Images, report.Bytes = report.Shards+1, report.Images+n, report.Bytes+size
		}
		p.Report(int64(i+1), int64(len(shards)))
	}
	if len(bad) == 0 {
		return report, nil
	}
	const most = 10
	n := len(bad)
	if n > most {
		bad = append(bad[:most:most], fmt.Errorf("and %d more", n-most))
	}
	return fail(fmt.Errorf("%d of %d shards aren't what their index says: %w", n, len(shards), errors.Join(bad...)))
}

// shardSource is a shard that is read from end to end.
type shardSource struct {
	dir, name string                                                     // for messages
	open      func(context.Context) (r io.Reader, size int64, err error) // r may be an [io.Closer]
	index     func(context.Context) ([]byte, error)
}

// sourcesOf lists the shards that name names. rest closes connections after their use.
func sourcesOf(ctx context.Context, name string, o RemoteOptions) ([]shardSource, func(), error) {
	var all []shardSource
	if remote.IsAddress(name) {
		files, err := farFiles(ctx, name, o)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range files.Names() {
			address := files.Address(n)
			all = append(all, shardSource{path.Dir(address), address, func(ctx context.Context) (io.Reader, int64, error) {
				info, err := fs.Stat(files, n)
				if err != nil {
					return nil, 0, err
				}
				return newBlockReader(ctx, files, n, info.Size()), info.Size(), nil
			}, func(ctx context.Context) ([]byte, error) {
				return wholefile.ReadFS(ctx, files, n+indexExt, wholefile.MaxTable)
			}})
		}
		return all, files.Rest, nil
	}
	paths, err := shardFiles(name)
	for _, file := range paths {
		all = append(all, shardSource{filepath.Dir(file), file, func(context.Context) (io.Reader, int64, error) {
			f, err := os.Open(file)
			if err != nil {
				return nil, 0, err
			}
			info, err := f.Stat()
			if err != nil {
				f.Close()
				return nil, 0, err
			}
			return f, info.Size(), nil
		}, func(context.Context) ([]byte, error) { return wholefile.Read(file+indexExt, wholefile.MaxTable) }})
	}
	return all, func() {}, err
}

// verify compares a shard with its index.
func (s shardSource) verify(ctx context.Context) (images int, size int64, err error) {
	r, size, err := s.open(ctx)
	if err != nil {
		return 0, 0, err
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	text, err := s.index(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, errors.New("no index beside it, want one by vgg shard --reindex")
	}
	if err != nil {
		return 0, 0, err
	}
	h, _, err := parseIndexHeader(text)
	if err != nil {
		return 0, 0, fmt.Errorf("its index: %w", err)
	}
	samples, current, err := parseIndex(text, size)
	switch {
	case err != nil:
		return 0, 0, err
	case !current:
		return 0, 0, fmt.Errorf("%d bytes, and %d by its index: it was replaced, or the index is another's; want the shard copied again, or vgg shard --reindex", size, h.size)
	case h.sum == "":
		return 0, 0, errors.New("an index of the first version, which has no checksum; want one by vgg shard --reindex")
	}
	sum := sha256.New()
	for n := int64(0); n < size; {
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		read, err := io.CopyN(sum, r, min(scanBytes, size-n))
		if n += read; err != nil {
			return 0, 0, fmt.Errorf("byte %d of %d: %w", n, size, err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.sum {
		return 0, 0, fmt.Errorf("its SHA-256 is %s, and %s by its index: it was replaced or damaged; want the shard copied again, or vgg shard --reindex", got, h.sum)
	}
	return len(samples), size, nil
}
