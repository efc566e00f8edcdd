package localize

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/journal"
)

// MergeShards writes the result files of all shards of a run into one at out, with which
// [Evaluate] of all images then goes on: it computes nothing again but the images that can't be
// read. The files may be named in any order. It is an error if one is of another run, comes
// twice or is missing, and one that wraps journal.ErrUnfinished if one lacks images.
func MergeShards(ctx context.Context, paths []string, out string) error {
	var (
		parts   []journal.Part
		headers []resultHeader
		records = map[int]Record{}
	)
	for _, path := range paths {
		var h resultHeader
		tried := map[int]bool{}
		kind := resultKind(h, nil)
		kind.Header = func(read resultHeader) error { h = read; return nil }
		kind.Line = func(r Record, _ journal.Place) error {
			if r.Image < 0 || r.Image >= h.Images || h.Shard.Count > 0 && r.Image%h.Shard.Count != h.Shard.Index-1 {
				return fmt.Errorf("image %d, want one of shard %v of %d", r.Image, h.Shard, h.Images)
			}
			tried[r.Image] = true
			if r.Error == "" {
				records[r.Image] = r
			}
			return nil
		}
		f, err := kind.Open(ctx, path)
		if err != nil {
			return fmt.Errorf("localize: %w", err)
		}
		f.Close()
		if want := h.Shard.Images(h.Images); len(tried) < want {
			return fmt.Errorf("localize: %s: %d of %d images: %w", path, len(tried), want, journal.ErrUnfinished)
		}
		headers = append(headers, h)
		parts = append(parts, journal.Part{Path: path, Index: max(1, h.Shard.Index), Count: max(1, h.Shard.Count), Difference: h.difference(headers[0])})
	}
	if _, err := journal.Merge("results", parts); err != nil {
		return fmt.Errorf("localize: %w", err)
	}
	whole := headers[0]
	whole.Shard = eval.Shard{}
	err := atomicfile.Write(out, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		lines := json.NewEncoder(buffered)
		if err := lines.Encode(whole); err != nil {
			return err
		}
		for i := range whole.Images {
			if r, ok := records[i]; ok {
				if err := lines.Encode(r); err != nil {
					return err
				}
			}
		}
		return buffered.Flush()
	})
	if err != nil {
		return fmt.Errorf("localize: %w", err)
	}
	return nil
}
