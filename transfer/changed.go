package transfer

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/verydeep/vgg/dataset"
)

// errChanged is of an image that changed after it was described. Another run describes it again;
// until it has, the image counts as unreadable.
var errChanged = errors.New("changed since it was described: the same command describes it again")

// follower compares images with what a file says of their contents.
type follower struct {
	images *Images
	verify bool // Options.Verify
	tell   func(string)
}

// remark says that images have changed since a file was written.
func (n follower) remark(images int, path string) {
	if n.tell != nil {
		n.tell(n.images.follows.Remark(images, path, "described again"))
	}
}

// rows returns the rows of images that have changed.
func (n follower) rows(ctx context.Context, h Header, rows []Row) (map[int]bool, error) {
	was := map[int]Stamp{}
	for r, row := range rows {
		if row.Error == "" && row.File != "" {
			was[h.image(r)] = row.Stamp
		}
	}
	changed, err := n.images.changed(ctx, was, n.verify)
	if err != nil {
		return nil, err
	}
	list := make(map[int]bool, len(changed))
	for i := range changed {
		list[i/h.Shard.Count] = true
	}
	return list, nil
}

// changed returns the images whose contents are others than their stamps say, as
// [dataset.Versions] has it.
func (m *Images) changed(ctx context.Context, was map[int]Stamp, verify bool) (map[int]bool, error) {
	list, err := m.follows.Changed(ctx, slices.Sorted(maps.Keys(was)), func(i int) dataset.Version { return was[i].Version }, verify)
	if err != nil {
		return nil, err
	}
	changed := make(map[int]bool, len(list))
	for _, i := range list {
		changed[i] = true
	}
	for i, s := range was {
		if s != (Stamp{}) && s.Bytes != m.follows.Bytes(i) {
			changed[i] = true
		}
	}
	return changed, nil
}

// markChanged marks the images that have changed since the file described them.
func (f *descriptorFile) markChanged(ctx context.Context, now follower) error {
	changed, err := now.rows(ctx, f.header, f.rows)
	if err != nil {
		return err
	}
	for _, r := range slices.Sorted(maps.Keys(changed)) {
		for c := range f.columns {
			if f.state[c][r] != present {
				continue
			}
			if err := f.put(r, c, nil, now.images, Stamp{}, errChanged); err != nil {
				return err
			}
		}
	}
	if len(changed) > 0 {
		now.remark(len(changed), f.out)
	}
	return nil
}

// takeWhole copies the descriptors of f.whole whose images haven't changed.
func (f *descriptorFile) takeWhole(ctx context.Context, images *Images) error {
	if f.whole == nil {
		return nil
	}
	numbers := make([]float32, f.header.Dim)
	for r, row := range f.whole.Rows {
		if row.Error != "" || f.changed[r] {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f.whole.ReadRows(r, numbers); err != nil {
			return err
		}
		for c, col := range f.columns {
			if f.has(r, c) {
				continue
			}
			if err := f.put(r, c, numbers[col.start:col.start+col.dim], images, row.Stamp, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
