package transfer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/weights"
)

// Row is what a file of descriptors knows of an image.
type Row struct {
	Image     int    `json:"image"` // index in the set
	File      string `json:"file"`
	Labels    []int  `json:"labels,omitempty"`    // classes, ascending
	Difficult []int  `json:"difficult,omitempty"` // classes that evaluation ignores
	Part      string `json:"part,omitempty"`      // train, val or test
	Error     string `json:"error,omitempty"`     // why it is unreadable: its numbers are zero
	Stamp            // where Options.Stamp was set
}

// Stamp tells, when it is compared with another, whether a file has changed.
type Stamp struct {
	Bytes    int64  `json:"bytes,omitempty"`
	Modified string `json:"modified,omitempty"` // RFC 3339 with nanoseconds, UTC
}

// line is a line of the index beside the numbers, after the header: a column of a row is
// done. The last of several counts.
type line struct {
	Column int `json:"column"`
	Row
}

// indexSuffix names the index beside a file of numbers; workSuffix the file that becomes
// one of another format.
const (
	indexSuffix = ".jsonl"
	workSuffix  = ".part.npy"
)

// file is descriptors being written: a .npy file and its index.
type file struct {
	out          string // what is wanted in the end
	npy          *os.File
	index        *os.File
	header       Header
	start        int64 // of the numbers in npy
	rows         []Row
	state        [][]state // by column, then row
	end          int64     // of the last whole line of the index
	columns      []column
	buffer       []byte
	complete     bool // out is there already, whole
	removeAtLast []string
	unlock       func() // others that would write it; nil for what is read alone
}

type state uint8

const (
	absent state = iota
	present
	unreadable
)

func newFile(out string, h Header) *file {
	f := &file{out: out, header: h, columns: h.columns(), rows: make([]Row, h.Rows())}
	f.state = make([][]state, len(f.columns))
	for c := range f.state {
		f.state[c] = make([]state, h.Rows())
	}
	return f
}

// createFile opens the files of an extraction, to go on with them or to begin them.
func createFile(out string, h Header) (_ *file, err error) {
	f := newFile(out, h)
	name := out
	switch strings.ToLower(filepath.Ext(out)) {
	case ".npy":
	case ".safetensors":
		if _, err := os.Stat(out); err == nil {
			return f, f.adopt()
		}
		fallthrough
	case ".jsonl":
		name = out + workSuffix
		f.removeAtLast = []string{name, name + indexSuffix}
	default:
		return nil, fmt.Errorf("transfer: %s: want a file that ends in .npy, .safetensors or .jsonl", out)
	}
	head := weights.NPYHeader(h.Rows(), h.Dim)
	f.start = int64(len(head))
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	flags := os.O_RDWR | os.O_CREATE
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("transfer: %s: not a file, want one of descriptors", name)
	}
	if f.unlock, err = lockfile.Beside(name); err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	if f.index, err = os.OpenFile(name+indexSuffix, flags, 0o666); err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	begun, err := f.resume()
	if err != nil {
		return nil, fmt.Errorf("transfer: %s: %w", name+indexSuffix, err)
	}
	if _, err := os.Stat(name); !begun && err == nil {
		return nil, fmt.Errorf("transfer: %s: is there, but not its index %s: remove it, or choose another name", name, name+indexSuffix)
	} else if begun && err != nil {
		return nil, fmt.Errorf("transfer: %w, but its index %s is: remove that", err, name+indexSuffix)
	}
	if f.npy, err = os.OpenFile(name, flags, 0o666); err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	if begun {
		there := make([]byte, len(head))
		if _, err := f.npy.ReadAt(there, 0); err != nil || !bytes.Equal(there, head) {
			return nil, fmt.Errorf("transfer: %s: not the array of %d×%d numbers that its index says", name, h.Rows(), h.Dim)
		}
		return f, nil
	}
	if _, err := f.npy.WriteAt(head, 0); err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	// Rows that never come, of unreadable images, are zero.
	if err := f.npy.Truncate(f.start + 4*int64(h.Rows())*int64(h.Dim)); err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	return f, f.writeLine(h)
}

// adopt takes a file that is whole for the result, if it is of this extraction.
func (f *file) adopt() error {
	d, err := Open(f.out)
	if err != nil {
		return err
	}
	defer d.Close()
	if diff := f.differs(d.Header); diff != "" {
		return fmt.Errorf("transfer: %s: %w: %s", f.out, ErrAnotherRun, diff)
	}
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

// ErrAnotherRun is of a file that holds descriptors of other images, or made in another way.
var ErrAnotherRun = errors.New("descriptors of another run")

func (f *file) differs(h Header) string {
	if d := h.Difference(f.header); d != "" {
		return d
	}
	if h.Shard != f.header.Shard {
		return fmt.Sprintf("shard %v, want %v", h.Shard, f.header.Shard)
	}
	return ""
}

// resume reads what the index holds; begun is false if there is no whole header.
func (f *file) resume() (begun bool, err error) {
	h, end, err := readIndex(f.index, func(h Header) error {
		if d := f.differs(h); d != "" {
			return fmt.Errorf("%w: %s", ErrAnotherRun, d)
		}
		return nil
	}, f.note)
	if err != nil || h == nil {
		return false, err
	}
	f.end = end
	return true, f.index.Truncate(end)
}

// note takes a line of the index.
func (f *file) note(l line) error {
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

// readIndex reads an index: its header, which check may refuse, and its lines. The header
// is nil if there is none; what follows the last whole line was cut off.
func readIndex(src io.Reader, check func(Header) error, each func(line) error) (h *Header, end int64, err error) {
	in := bufio.NewReaderSize(src, 1<<16)
	for number := 1; ; number++ {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			if h == nil && len(text) > 0 && !bytes.HasPrefix([]byte(`{"format":"vgg descriptors`), text[:min(len(text), 26)]) {
				return nil, 0, errors.New("line 1: not an index of descriptors")
			}
			return h, end, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if h == nil {
			h = &Header{}
			if err := json.Unmarshal(text, h); err != nil {
				return nil, 0, fmt.Errorf("line 1: not an index of descriptors: %w", err)
			}
			if err = h.validate(); err == nil {
				err = check(*h)
			}
			if err != nil {
				return nil, 0, err
			}
		} else {
			var l line
			if err = json.Unmarshal(text, &l); err == nil {
				err = h.check(l)
			}
			if err == nil {
				err = each(l)
			}
			if err != nil {
				return nil, 0, fmt.Errorf("line %d: %w", number, err)
			}
		}
		end += int64(len(text))
	}
}

// check reports a line that can't be of the header's file.
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

func (f *file) has(row, column int) bool { return f.complete || f.state[column][row] == present }

// put writes a column of a row, and then that it is done.
func (f *file) put(row, c int, numbers []float32, images *Images, bad error) error {
	i := f.header.image(row)
	l := line{Column: c, Row: Row{Image: i, File: images.Samples[i].Name, Part: images.part(i), Stamp: images.stamp(i)}}
	l.Labels, l.Difficult = images.labels(i)
	if bad != nil {
		if f.state[c][row] == unreadable {
			return nil // it is said already
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
	if err := f.writeLine(l); err != nil {
		return err
	}
	return f.note(l)
}

func (f *file) writeLine(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", f.out, err)
	}
	text = append(text, '\n')
	if _, err := f.index.WriteAt(text, f.end); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	f.end += int64(len(text))
	return nil
}

// sync makes sure that what was written is on the disk.
func (f *file) sync() error {
	for _, o := range []*os.File{f.npy, f.index} {
		if o == nil {
			continue
		}
		if err := o.Sync(); err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	return nil
}

func (f *file) close() error {
	var errs []error
	for _, o := range []*os.File{f.npy, f.index} {
		if o != nil {
			errs = append(errs, o.Close())
		}
	}
	if f.unlock != nil {
		f.unlock()
	}
	f.npy, f.index, f.unlock = nil, nil, nil
	return errors.Join(errs...)
}

// finish makes the wanted file of what is complete.
func (f *file) finish() error {
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
	if len(f.removeAtLast) == 0 {
		return nil
	}
	d, err := Open(f.removeAtLast[0])
	if err != nil {
		return err
	}
	err = d.Write(f.out)
	d.Close()
	if err != nil {
		return err
	}
	if err := f.close(); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	for _, name := range f.removeAtLast {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
	}
	return nil
}

// missing counts the images that are not done in every column.
func (f *file) missing() int {
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

// unreadableIn is the first column of a row that is unreadable, or -1.
func (f *file) unreadableIn(row int) int {
	for c := range f.state {
		if f.state[c][row] == unreadable {
			return c
		}
	}
	return -1
}

func (f *file) summary() *Summary { return summarise(f.header, f.rows) }

// Summary counts what the file holds.
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
