package transfer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/weights"
)

// Errors of files of descriptors.
type (
	// HeldError is the error for a file that another run is writing:
	// Path names it, and PID the process, 0 if not known.
	HeldError = lockfile.HeldError
	// OtherRunError is the error for a file with descriptors of other images, or made in
	// another way.
	OtherRunError = journal.OtherRunError
	// FormatError is the error for an index that is none of descriptors, or damaged.
	FormatError = journal.FormatError
)

// Row describes one image of a file of descriptors.
type Row struct {
	Image     int    `json:"image"` // index in the set
	File      string `json:"file"`
	Labels    []int  `json:"labels,omitempty"`    // classes, ascending
	Difficult []int  `json:"difficult,omitempty"` // classes that evaluation ignores
	Part      string `json:"part,omitempty"`      // train, val or test
	Error     string `json:"error,omitempty"`     // why the image is unreadable; its numbers are zero
	Stamp
}

// Stamp is the size of a file and what tells its contents from others. Files of earlier versions
// lack the hash, or all of it.
type Stamp struct {
	Bytes int64 `json:"bytes,omitempty"`
	dataset.Version
}

// line is a line of the index after the header: one column of a row is done. Of several
// lines of the same column and row the last one counts.
type line struct {
	Column int `json:"column"`
	Row
}

const (
	// indexSuffix names the index beside a file of numbers.
	indexSuffix = ".jsonl"
	// workSuffix names a pair that grows, until it gets its final name, is converted to another
	// format, or takes the place of an earlier one in [Update].
	workSuffix = ".part.npy"
)

// descriptorFile is a .npy file of descriptors and its index, while they are being written.
type descriptorFile struct {
	out      string // the file that the user asked for, of any format
	npy      *os.File
	index    *journal.File
	header   Header
	start    int64 // offset of the numbers in npy
	rows     []Row
	state    [][]columnState // by column, then row
	columns  []column
	buffer   []byte
	complete bool         // out is there already, whole
	work     string       // the pair that grows until out is made of it; "": out itself
	release  func()       // the lock on out; nil if the caller has it
	whole    *Descriptors // out, if it is there, of images that have changed since; nil otherwise
	changed  map[int]bool // rows of whole that aren't taken
}

// columnState is how far a column of a row is.
type columnState uint8

const (
	absent columnState = iota
	present
	unreadable
)

func newFile(out string, h Header) *descriptorFile {
	f := &descriptorFile{out: out, header: h, columns: h.columns(), rows: make([]Row, h.Rows())}
	f.state = make([][]columnState, len(f.columns))
	for c := range f.state {
		f.state[c] = make([]columnState, h.Rows())
	}
	return f
}

// createFile opens the files of the extraction with the header h, to go on with them, or
// makes them. Until they are closed no other run can write out.
func createFile(ctx context.Context, out string, h Header, now follower) (*descriptorFile, error) {
	release, err := lockfile.Beside(out)
	if err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	f, err := createUnlocked(ctx, out, h, now)
	if err != nil {
		release()
		return nil, err
	}
	f.release = release
	return f, nil
}

// createUnlocked is createFile for a caller that has the lock.
func createUnlocked(ctx context.Context, out string, h Header, now follower) (*descriptorFile, error) {
	f := newFile(out, h)
	switch strings.ToLower(filepath.Ext(out)) {
	case ".npy":
		if err := settle(out); err != nil {
			return nil, err
		}
		// A whole pair stays whole while rows of it are described again: until then the index
		// has them as unreadable.
		if !exists(out) && !exists(out+indexSuffix) {
			f.work = resolve(out) + workSuffix
		}
	case ".safetensors":
		if exists(out) {
			if err := f.adopt(ctx, now); err != nil || f.complete {
				if err == nil { // what a process left that was killed after the last renaming
					_ = removePair(out + workSuffix)
				}
				return f, err
			}
			defer f.whole.Close()
		}
		fallthrough
	case ".jsonl", ".parquet":
		f.work = out + workSuffix
	default:
		return nil, fmt.Errorf("transfer: %s: want a file that ends in .npy, .safetensors, .jsonl or .parquet", out)
	}
	return f, f.open(ctx, cmp.Or(f.work, out), now)
}

// createWork opens the pair that will take the place of another, for a caller that has the
// lock of that and renames the pair.
func createWork(ctx context.Context, name string, h Header, now follower) (*descriptorFile, error) {
	f := newFile(name, h)
	return f, f.open(ctx, name, now)
}

// open opens the pair at name to go on with it, or makes it.
func (f *descriptorFile) open(ctx context.Context, name string, now follower) (err error) {
	h := f.header
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	there := false
	switch info, err := os.Stat(name); {
	case err != nil:
	case !info.Mode().IsRegular():
		return fmt.Errorf("transfer: %s: not a file, want one of descriptors", name)
	case !exists(name + indexSuffix):
		return withoutIndex(name)
	default:
		there = true
	}
	if !there && f.work != "" { // a killed process was removing the pair, its numbers first
		if err := os.Remove(name + indexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	head := weights.NPYHeader(h.Rows(), h.Dim)
	f.start = int64(len(head))
	kind := indexKind(func(Header) error { return nil }, f.note)
	kind.Difference = func(was, want Header) string { return was.differs(want) }
	kind.Begin = func() error { return f.begin(name, head) }
	kind.Unlocked = true
	if f.index, err = kind.Resume(ctx, name+indexSuffix, h); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if !f.index.Resumed {
		return f.takeWhole(ctx, now.images)
	}
	if !there {
		return fmt.Errorf("transfer: %s is missing, but its index %s is there: remove the index", name, name+indexSuffix)
	}
	if f.npy, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if !beginsWith(f.npy, head) {
		return fmt.Errorf("transfer: %s: not the array of %d×%d numbers that its index says", name, h.Rows(), h.Dim)
	}
	if err := f.markChanged(ctx, now); err != nil {
		return err
	}
	return f.takeWhole(ctx, now.images)
}

// headerOf returns the header of the descriptors that out, or the file of an interrupted run,
// holds; ok is false if there are none.
func headerOf(ctx context.Context, out string) (h Header, ok bool) {
	name := out
	switch strings.ToLower(filepath.Ext(out)) {
	case ".safetensors":
		if d, err := Open(ctx, out); err == nil {
			d.Close()
			return d.Header, true
		}
		fallthrough
	case ".jsonl", ".parquet":
		name = out + workSuffix
	case ".npy":
		if !exists(out + indexSuffix) {
			name = resolve(out) + workSuffix
		}
	}
	return indexKind(Header.validate, nil).Peek(name + indexSuffix)
}

func withoutIndex(name string) error {
	return fmt.Errorf("transfer: %s: is there, but not its index %s: remove it, or choose another name", name, name+indexSuffix)
}

// begin makes the file of numbers, all of them zero: those of unreadable images stay so.
func (f *descriptorFile) begin(name string, head []byte) (err error) {
	if f.npy, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return err
	}
	// Beside an index without a header there may be a file that a killed run had just begun.
	if info, err := f.npy.Stat(); err != nil || info.Size() > 0 && !beginsWith(f.npy, head) {
		return withoutIndex(name)
	}
	if err := f.npy.Truncate(0); err != nil {
		return err
	}
	if _, err := f.npy.WriteAt(head, 0); err != nil {
		return err
	}
	return f.npy.Truncate(f.start + 4*int64(f.header.Rows())*int64(f.header.Dim))
}

func beginsWith(f *os.File, head []byte) bool {
	there := make([]byte, len(head))
	_, err := f.ReadAt(there, 0)
	return err == nil && bytes.Equal(there, head)
}

// adopt takes a whole file for the result, if it is of this extraction. If images have changed
// since, it keeps the file open as f.whole.
func (f *descriptorFile) adopt(ctx context.Context, now follower) error {
	d, err := Open(ctx, f.out)
	if err != nil {
		return err
	}
	if diff := d.Header.differs(f.header); diff != "" {
		d.Close()
		return otherRun(f.out, diff)
	}
	if f.changed, err = now.rows(ctx, f.header, d.Rows); err != nil {
		d.Close()
		return err
	}
	if len(f.changed) > 0 {
		now.remark(len(f.changed), f.out)
		f.whole = d
		return nil
	}
	defer d.Close()
	for r, row := range d.Rows {
		for c := range f.columns {
			f.state[c][r] = present
			if row.Error != "" {
				f.state[c][r] = unreadable
			}
		}
	}
	f.rows, f.complete = d.Rows, true
	return nil
}

func otherRun(path, difference string) error {
	return fmt.Errorf("transfer: %w", &OtherRunError{Path: path, Holds: "descriptors", Difference: difference})
}

// indexKind describes indices. header and each take what is read of one.
func indexKind(header func(Header) error, each func(line) error) journal.Kind[Header, line] {
	var h Header
	return journal.Kind[Header, line]{
		Format: fileFormat,
		Name:   "an index of descriptors",
		Holds:  "descriptors",
		Header: func(read Header) error {
			h = read
			if err := h.validate(); err != nil {
				return err
			}
			return header(h)
		},
		Line: func(l line, _ journal.Place) error {
			if err := h.check(l); err != nil {
				return err
			}
			return each(l)
		},
	}
}

// note takes a line of the index.
func (f *descriptorFile) note(l line) error {
	r := l.Image / f.header.Shard.Count
	f.state[l.Column][r] = present
	if l.Error != "" {
		f.state[l.Column][r] = unreadable
	}
	if l.Error != "" || f.unreadableIn(r) < 0 {
		f.rows[r] = l.Row
	}
	return nil
}

// check reports a line that the header doesn't allow.
func (h Header) check(l line) error {
	if l.Image < 0 || l.Image >= h.Data.Images || l.Image%h.Shard.Count != h.Shard.Index-1 {
		return fmt.Errorf("image %d, want one of shard %v of %d", l.Image, h.Shard, h.Data.Images)
	}
	if n := len(h.Nets) * len(h.Regions); l.Column < 0 || l.Column >= n {
		return fmt.Errorf("image %d: column %d, want 0 to %d", l.Image, l.Column, n-1)
	}
	return h.checkRow(l.Row)
}

func (h Header) checkRow(r Row) error {
	for _, c := range append(append([]int(nil), r.Labels...), r.Difficult...) {
		if c < 0 || c >= len(h.Data.Classes) {
			return fmt.Errorf("image %d: class %d, want 0 to %d", r.Image, c, len(h.Data.Classes)-1)
		}
	}
	if h.Layout == oneClass && len(r.Labels) != 1 {
		return fmt.Errorf("image %d: %d classes, want one", r.Image, len(r.Labels))
	}
	return nil
}

// has reports whether a column of a row is done.
func (f *descriptorFile) has(row, column int) bool {
	return f.complete || f.state[column][row] == present
}

// put writes a column of a row, and then the line of the index that says so. With bad, the
// image is unreadable.
func (f *descriptorFile) put(row, c int, numbers []float32, images *Images, stamp Stamp, bad error) error {
	i := f.header.image(row)
	l := line{Column: c, Row: Row{Image: i, File: images.Samples[i].Name, Part: images.part(i), Stamp: stamp}}
	l.Labels, l.Difficult = images.labels(i)
	if bad != nil {
		if f.state[c][row] == unreadable {
			return nil // the index says so already
		}
		l.Error = bad.Error()
	} else {
		f.buffer = f.buffer[:0]
		for _, v := range numbers {
			f.buffer = binary.LittleEndian.AppendUint32(f.buffer, math.Float32bits(v))
		}
		at := f.start + 4*(int64(row)*int64(f.header.Dim)+int64(f.columns[c].start))
		if _, err := f.npy.WriteAt(f.buffer, at); err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	if _, err := f.index.Append(l); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	return f.note(l)
}

// sync makes what was written last through a power failure.
func (f *descriptorFile) sync() error {
	if f.complete {
		return nil
	}
	if err := errors.Join(f.npy.Sync(), f.index.Sync()); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	return nil
}

// close closes the files and lets other runs write them.
func (f *descriptorFile) close() error {
	var errs []error
	if f.npy != nil {
		errs = append(errs, f.npy.Close())
	}
	if f.index != nil {
		errs = append(errs, f.index.Close())
	}
	if f.release != nil {
		f.release()
	}
	f.npy, f.index, f.release = nil, nil, nil
	return errors.Join(errs...)
}

// finish makes out of the complete .npy file.
func (f *descriptorFile) finish(ctx context.Context) error {
	if f.complete {
		return nil
	}
	readable := 0
	for r := range f.rows {
		if f.rows[r].Error == "" {
			readable++
		}
	}
	if readable == 0 {
		return fmt.Errorf("transfer: %s: none of %d images is readable; the first: %s: %s", f.header.Data.Name, len(f.rows), f.rows[0].File, f.rows[0].Error)
	}
	if err := f.sync(); err != nil {
		return err
	}
	if f.work == "" {
		return nil
	}
	if strings.EqualFold(filepath.Ext(f.out), ".npy") {
		if err := f.closePair(); err != nil {
			return err
		}
		return replacePair(f.work, f.out)
	}
	d, err := Open(ctx, f.work)
	if err != nil {
		return err
	}
	err = d.write(ctx, f.out)
	d.Close()
	if err != nil {
		return err
	}
	if err := f.closePair(); err != nil {
		return err
	}
	return removePair(f.work)
}

// closePair closes the files, since Windows renames and removes none that is open. The lock
// stays until the caller closes f.
func (f *descriptorFile) closePair() error {
	err := errors.Join(f.npy.Close(), f.index.Close())
	f.npy, f.index = nil, nil
	if err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	return nil
}

// missing counts the images that lack a column.
func (f *descriptorFile) missing() int {
	n := 0
	for r := range f.rows {
		for c := range f.state {
			if f.state[c][r] == absent {
				n++
				break
			}
		}
	}
	return n
}

// unreadableIn returns the first column of a row that is unreadable, or -1.
func (f *descriptorFile) unreadableIn(row int) int {
	for c := range f.state {
		if f.state[c][row] == unreadable {
			return c
		}
	}
	return -1
}

func (f *descriptorFile) summary() *Summary { return summarise(f.header, f.rows) }

// Summary counts the images of the file.
func (d *Descriptors) Summary() *Summary { return summarise(d.Header, d.Rows) }

func summarise(h Header, rows []Row) *Summary {
	s := &Summary{Dim: h.Dim, Unreadable: []dataset.BadImage{}}
	for i, row := range rows {
		if row.Error == "" {
			s.Images++
			continue
		}
		s.Unreadable = append(s.Unreadable, dataset.BadImage{Name: row.File, Index: i, Err: errors.New(row.Error)})
	}
	return s
}
