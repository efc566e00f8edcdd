package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
)

// Changes counts the images that [Update] kept, computed again, added and removed.
type Changes struct {
	Kept    int `json:"kept"`    // unchanged
	Redone  int `json:"redone"`  // changed, or unreadable before
	Added   int `json:"added"`   // new, or not described yet
	Removed int `json:"removed"` // no longer in the set
}

// beforeSuffix names the work of an interrupted update of which the images have changed since.
const beforeSuffix = ".before.npy"

// Update brings the .npy file out, which [Extract] made, up to date: it computes
// descriptors of images that are new or have changed, and keeps the others. The old file stays until the new one is complete. An interrupted update
// goes on where it was. If there is no file, Update makes it.
//
// The error is an [*OtherRunError] if the file was made by other networks or in another way,
// and a [*HeldError] if another run is writing it.
func Update(ctx context.Context, nets []Net, images *Images, out string, o Options) (*Summary, *Changes, error) {
	if !strings.EqualFold(filepath.Ext(out), ".npy") {
		return nil, nil, fmt.Errorf("transfer: %s: want a file that ends in .npy", out)
	}
	p, err := newExtraction(nets, images, o)
	if err != nil {
		return nil, nil, err
	}
	if err := p.identify(ctx, out); err != nil {
		return nil, nil, err
	}
	release, err := lockfile.Beside(out)
	if err != nil {
		return nil, nil, fmt.Errorf("transfer: %w", err)
	}
	defer release()
	u := &update{extraction: p, out: out, work: resolve(out) + workSuffix, before: resolve(out) + beforeSuffix}
	s, err := u.run(ctx)
	return s, &u.changes, err
}

type update struct {
	*extraction
	out, work, before string
	changes           Changes
}

func (u *update) run(ctx context.Context) (*Summary, error) {
	if err := u.settle(); err != nil {
		return nil, err
	}
	old, done, err := openBegun(ctx, u.out)
	if errors.Is(err, fs.ErrNotExist) && !exists(u.out) && !exists(u.out+indexSuffix) {
		return u.first(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("transfer: %s: %w", u.out, err)
	}
	defer old.Close()
	if diff := old.Header.made(u.header); diff != "" {
		return nil, otherRun(u.out, diff)
	}
	same, err := u.compare(ctx, done)
	if err != nil {
		return nil, err
	}
	if same && done.header.differs(u.header) == "" {
		old.Close()
		return u.goOn(ctx)
	}
	s, err := u.rewrite(ctx, old, done)
	if err != nil {
		return nil, err
	}
	old.Close()
	return s, replacePair(u.work, u.out)
}

// settle ends a renaming that was cut short.
func (u *update) settle() error {
	if exists(u.work) && !exists(u.work+indexSuffix) && putAside(resolve(u.out)) {
		if err := atomicfile.Rename(u.work, u.before); err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	return settle(u.out)
}

// goOn computes the descriptors that out lacks.
func (u *update) goOn(ctx context.Context) (*Summary, error) {
	f, err := createUnlocked(ctx, u.out, u.header, u.follower())
	if err != nil {
		return nil, err
	}
	defer f.close()
	return u.into(ctx, f)
}

// first makes the file. It goes on with what an interrupted run that was to make it has done, of
// these images or of others.
func (u *update) first(ctx context.Context) (*Summary, error) {
	begun, done, err := openBegun(ctx, u.work)
	if err != nil { // none, or a damaged one, which createUnlocked tells
		u.changes.Added = u.header.Rows()
	} else {
		begun.Close()
		if diff := done.header.made(u.header); diff != "" {
			return nil, otherRun(u.work, diff)
		}
		if _, err := u.compare(ctx, done); err != nil {
			return nil, err
		}
		if done.header.differs(u.header) != "" {
			if err := replacePair(u.work, u.before); err != nil {
				return nil, err
			}
		}
	}
	f, err := createUnlocked(ctx, u.out, u.header, u.follower())
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := u.takeBefore(ctx, f); err != nil {
		return nil, err
	}
	return u.into(ctx, f)
}

// compare counts the changes since a file was made, and reports whether all descriptors in it
// are up to date.
func (u *update) compare(ctx context.Context, was *descriptorFile) (same bool, err error) {
	rows := was.byName(len(was.columns))
	changed, err := u.changedSince(ctx, was, rows)
	if err != nil {
		return false, err
	}
	same = true
	for r := range u.header.Rows() {
		i := u.header.image(r)
		old, ok := rows[u.images.Samples[i].Name]
		switch {
		case !ok:
			u.changes.Added++
		case was.rows[old].Error != "" || changed[i]:
			u.changes.Redone++
			same = same && was.rows[old].Error != ""
		default:
			u.changes.Kept++
		}
	}
	u.changes.Removed = len(rows) - u.changes.Kept - u.changes.Redone
	return same, nil
}

// changedSince returns the images that have changed since a file described them, in the row for
// each name, and those of which it doesn't tell.
func (u *update) changedSince(ctx context.Context, from *descriptorFile, rows map[string]int) (map[int]bool, error) {
	was, untold := map[int]Stamp{}, []int(nil)
	for r := range u.header.Rows() {
		i := u.header.image(r)
		at, ok := rows[u.images.Samples[i].Name]
		switch {
		case !ok || from.rows[at].Error != "":
		case from.rows[at].Stamp == Stamp{}:
			untold = append(untold, i)
		default:
			was[i] = from.rows[at].Stamp
		}
	}
	changed, err := u.images.changed(ctx, was, u.o.Verify)
	if err != nil {
		return nil, err
	}
	for _, i := range untold {
		changed[i] = true
	}
	return changed, nil
}

// byName returns the row of each image that has at least so many columns done, readable or not.
func (f *descriptorFile) byName(least int) map[string]int {
	rows := map[string]int{}
	for r := range f.rows {
		done := 0
		for c := range f.state {
			if f.state[c][r] != absent {
				done++
			}
		}
		if done >= least {
			rows[f.rows[r].File] = r
		}
	}
	return rows
}

// rewrite makes the work file: descriptors from the old file, from an earlier work file, and
// those that are left to compute.
func (u *update) rewrite(ctx context.Context, old *Descriptors, done *descriptorFile) (*Summary, error) {
	f, err := createWork(ctx, u.work, u.header, u.follower())
	if _, ok := errors.AsType[*OtherRunError](err); ok {
		// An earlier update was interrupted, and the folder has changed since. What it has done
		// counts.
		if err = replacePair(u.work, u.before); err == nil {
			f, err = createWork(ctx, u.work, u.header, u.follower())
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := u.take(ctx, f, old, done); err != nil {
		return nil, err
	}
	if err := u.takeBefore(ctx, f); err != nil {
		return nil, err
	}
	return u.into(ctx, f)
}

// takeBefore takes what an interrupted run has done of other images, and removes its files.
func (u *update) takeBefore(ctx context.Context, f *descriptorFile) error {
	if earlier, done, err := openBegun(ctx, u.before); err == nil {
		if earlier.Header.made(u.header) == "" {
			err = u.take(ctx, f, earlier, done)
		}
		earlier.Close()
		if err != nil {
			return err
		}
	}
	return removePair(u.before)
}

// take copies into f the descriptors that another file holds of unchanged images.
func (u *update) take(ctx context.Context, f *descriptorFile, from *Descriptors, done *descriptorFile) error {
	rows := done.byName(1)
	changed, err := u.changedSince(ctx, done, rows)
	if err != nil {
		return err
	}
	numbers := make([]float32, u.header.Dim)
	for r := range f.rows {
		i := u.header.image(r)
		at, ok := rows[u.images.Samples[i].Name]
		if !ok || done.rows[at].Error != "" || changed[i] {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := from.ReadRows(at, numbers); err != nil {
			return err
		}
		for c, col := range f.columns {
			if f.has(r, c) || !done.has(at, c) {
				continue
			}
			if err := f.put(r, c, numbers[col.start:col.start+col.dim], u.images, done.rows[at].Stamp, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
