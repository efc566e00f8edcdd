package transfer

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/weights"
)

// Descriptors is a file of descriptors that is open for reading, or all shards of one.
type Descriptors struct {
	Header Header
	Rows   []Row // one for each image of the set, or of the shard
	read   func(start int, dst []float32) error
	closer io.Closer
}

// Keys of the metadata of a safetensors file, whose values are JSON, and the name of its
// tensor.
const (
	metaHeader = "vgg.descriptors"
	metaRows   = "vgg.rows"
	tensorName = "descriptors"
)

// errNoDescriptors is the error of descriptors that are missing.
var errNoDescriptors = errors.New("transfer: nil descriptors, want those that Open returns")

// Open opens a complete file of descriptors: .npy with its index beside it, or .safetensors.
// The error is a [*FormatError] if it is no such file, or a damaged one.
func Open(ctx context.Context, path string) (*Descriptors, error) {
	var d *Descriptors
	var err error
	if strings.EqualFold(filepath.Ext(path), ".safetensors") {
		d, err = openSafetensors(ctx, path)
	} else {
		d, err = openNPY(ctx, path)
	}
	if err != nil {
		return nil, ofFile(path, err)
	}
	return d, nil
}

// ofFile adds the name of the file to an error, unless the error has it.
func ofFile(path string, err error) error {
	if f, ok := errors.AsType[*FormatError](err); ok && f.Path == path {
		return fmt.Errorf("transfer: %w", err)
	}
	if strings.HasPrefix(err.Error(), "weights: "+path+": ") {
		return err
	}
	return fmt.Errorf("transfer: %s: %w", path, err)
}

func openNPY(ctx context.Context, path string) (*Descriptors, error) {
	d, done, err := openBegun(ctx, path)
	if err != nil {
		return nil, err
	}
	if n := done.missing(); n > 0 {
		d.Close()
		return nil, fmt.Errorf("%d of %d images are not described yet: the same command goes on with it", n, len(done.rows))
	}
	return d, nil
}

// openBegun opens a file that may not be complete, and says what is done.
func openBegun(ctx context.Context, path string) (*Descriptors, *descriptorFile, error) {
	fail := func(err error) (*Descriptors, *descriptorFile, error) { return nil, nil, err }
	if work := resolve(path) + workSuffix; !exists(path) && !exists(path+indexSuffix) && exists(work+indexSuffix) {
		return fail(fmt.Errorf("%w: only %s of a run that hasn't ended: the same command goes on with it", fs.ErrNotExist, filepath.Base(work)))
	}
	if !exists(path + indexSuffix) {
		return fail(fmt.Errorf("the index beside it: %w", &fs.PathError{Op: "open", Path: path + indexSuffix, Err: fs.ErrNotExist}))
	}
	f, err := wholefile.Open(numbersAt(path))
	if err != nil {
		return fail(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fail(err)
	}
	var done *descriptorFile
	index, err := indexKind(func(h Header) error {
		// What the header claims must be there before memory is taken for it.
		if n := int64(h.Rows()); n > info.Size() || int64(len(weights.NPYHeader(h.Rows(), h.Dim)))+4*n*int64(h.Dim) != info.Size() {
			return fmt.Errorf("an array of %d×%d float32, which %s isn't", n, h.Dim, path)
		}
		done = newFile(path, h)
		return nil
	}, func(l line) error { return done.note(l) }).Open(ctx, path+indexSuffix)
	if err != nil {
		f.Close()
		return fail(err)
	}
	index.Close()
	h := done.header
	head := weights.NPYHeader(h.Rows(), h.Dim)
	if !beginsWith(f, head) {
		f.Close()
		return fail(fmt.Errorf("not the array of %d×%d float32 that its index says", h.Rows(), h.Dim))
	}
	read := func(start int, dst []float32) error { return readFloats(f, int64(len(head))+4*int64(start), dst) }
	return &Descriptors{Header: h, Rows: done.rows, closer: f, read: read}, done, nil
}

// littleEndian reports whether numbers have the same bytes in memory and in files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// readFloats reads little-endian float32 from offset at on.
func readFloats(r io.ReaderAt, at int64, dst []float32) error {
	if len(dst) == 0 {
		return nil
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst))
	if _, err := r.ReadAt(raw, at); err != nil {
		return err
	}
	if !littleEndian {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return nil
}

func openSafetensors(ctx context.Context, path string) (*Descriptors, error) {
	f, err := weights.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	d := &Descriptors{closer: f}
	fail := func(err error) (*Descriptors, error) {
		f.Close()
		return nil, err
	}
	meta := f.Metadata()
	if meta[metaHeader] == "" || meta[metaRows] == "" {
		return fail(&FormatError{Path: path, Err: fmt.Errorf("no metadata %s and %s, want a file of vgg features", metaHeader, metaRows)})
	}
	if err := json.Unmarshal([]byte(meta[metaHeader]), &d.Header); err != nil {
		return fail(fmt.Errorf("metadata %s: %w", metaHeader, err))
	}
	if err := d.Header.validate(); err != nil {
		return fail(fmt.Errorf("metadata %s: %w", metaHeader, err))
	}
	if err := json.Unmarshal([]byte(meta[metaRows]), &d.Rows); err != nil {
		return fail(fmt.Errorf("metadata %s: %w", metaRows, err))
	}
	e, err := f.Lookup(tensorName)
	if err != nil {
		return fail(err)
	}
	if want := []int{d.Header.Rows(), d.Header.Dim}; !slices.Equal(e.Shape, want) || len(d.Rows) != want[0] {
		return fail(fmt.Errorf("%s: shape %s with %d rows of metadata, want %s", tensorName, journal.Shape(e.Shape), len(d.Rows), journal.Shape(want)))
	}
	for r, row := range d.Rows {
		if row.Image != d.Header.image(r) {
			return fail(fmt.Errorf("row %d is of image %d, want %d", r, row.Image, d.Header.image(r)))
		}
		if err := d.Header.checkRow(row); err != nil {
			return fail(err)
		}
	}
	d.read = func(start int, dst []float32) error { return f.ReadRange(tensorName, start, dst) }
	return d, nil
}

// OpenMerged opens all shards of one extraction, in any order, as one file.
func OpenMerged(ctx context.Context, paths ...string) (_ *Descriptors, err error) {
	var opened []*Descriptors
	var all closers
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	var shards []journal.Part
	for _, path := range paths {
		d, err := Open(ctx, path)
		if err != nil {
			return nil, err
		}
		all, opened = append(all, d), append(opened, d)
		s := d.Header.Shard
		shards = append(shards, journal.Part{Path: path, Index: s.Index, Count: s.Count, Difference: d.Header.difference(opened[0].Header)})
	}
	order, err := journal.Merge("descriptors", shards)
	if err != nil {
		return nil, fmt.Errorf("transfer: %w", err)
	}
	if len(order) == 1 {
		return opened[0], nil
	}
	parts := make([]*Descriptors, len(order)) // by shard
	for s, at := range order {
		parts[s] = opened[at]
	}
	whole := &Descriptors{Header: parts[0].Header, closer: all}
	whole.Header.Shard = eval.Shard{Index: 1, Count: 1}
	part := func(image int) (*Descriptors, int) { return parts[image%len(parts)], image / len(parts) }
	for i := range whole.Header.Rows() {
		p, r := part(i)
		whole.Rows = append(whole.Rows, p.Rows[r])
	}
	dim := whole.Header.Dim
	whole.read = func(start int, dst []float32) error {
		for len(dst) > 0 {
			p, r := part(start / dim)
			n := min(dim-start%dim, len(dst))
			if err := p.read(r*dim+start%dim, dst[:n]); err != nil {
				return err
			}
			start, dst = start+n, dst[n:]
		}
		return nil
	}
	return whole, nil
}

type closers []io.Closer

// Close implements [io.Closer].
func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Close closes the file.
func (d *Descriptors) Close() error {
	if d.closer == nil {
		return nil
	}
	return d.closer.Close()
}

// Len returns the number of rows, including those of unreadable images.
func (d *Descriptors) Len() int { return len(d.Rows) }

// ReadRows reads rows into dst (rows × Header.Dim), beginning with row start.
func (d *Descriptors) ReadRows(start int, dst []float32) error {
	if dim := d.Header.Dim; start < 0 || len(dst)%dim != 0 || start+len(dst)/dim > d.Len() {
		return fmt.Errorf("transfer: %d numbers from row %d on, want rows of %d of %d", len(dst), start, dim, d.Len())
	}
	if err := d.read(start*d.Header.Dim, dst); err != nil {
		return fmt.Errorf("transfer: descriptors: %w", err)
	}
	return nil
}

// Load reads all descriptors (Len × Header.Dim).
func (d *Descriptors) Load(ctx context.Context) ([]float32, error) {
	x := make([]float32, 0, d.Len()*d.Header.Dim)
	var failed error
	for piece := range d.chunks(ctx, &failed) {
		x = append(x, piece...)
	}
	return x, failed
}

// chunkFloats is about how many numbers are copied between files at a time.
const chunkFloats = 1 << 18

// chunks yields all numbers in pieces of whole rows. An error, or the end of ctx, ends it and is
// put into failed.
func (d *Descriptors) chunks(ctx context.Context, failed *error) func(func([]float32) bool) {
	return func(yield func([]float32) bool) {
		rows := max(1, chunkFloats/d.Header.Dim)
		x := make([]float32, rows*d.Header.Dim)
		for r := 0; r < d.Len(); r += rows {
			if ctx.Err() != nil {
				*failed = context.Cause(ctx)
				return
			}
			piece := x[:min(rows, d.Len()-r)*d.Header.Dim]
			if *failed = d.ReadRows(r, piece); *failed != nil || !yield(piece) {
				return
			}
		}
	}
}

// Write writes the descriptors to a file, unless ctx ends before. The format is that of the ending: .npy, with names
// and labels in path + ".jsonl" beside it, .safetensors, .jsonl with one image a line, or .parquet with one image a row. An
// earlier file stays until the new one is whole. The error is a [*HeldError] if another run
// is writing the file.
func (d *Descriptors) Write(ctx context.Context, path string) error {
	release, err := lockfile.Beside(path)
	if err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	defer release()
	return d.write(ctx, path)
}

// write is Write for a caller that has the lock.
func (d *Descriptors) write(ctx context.Context, path string) error {
	var err error
	switch strings.ToLower(filepath.Ext(path)) {
	case ".npy":
		err = d.writeNPY(ctx, path)
	case ".safetensors":
		err = d.writeSafetensors(ctx, path)
	case ".jsonl":
		err = d.writeLines(ctx, path)
	case ".parquet":
		err = d.writeParquet(ctx, path)
	default:
		err = errors.New("want a file that ends in .npy, .safetensors, .jsonl or .parquet")
	}
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	return nil
}

func (d *Descriptors) writeSafetensors(ctx context.Context, path string) error {
	header, err := json.Marshal(d.Header)
	if err != nil {
		return err
	}
	rows, err := json.Marshal(d.Rows)
	if err != nil {
		return err
	}
	var failed error
	err = weights.WriteSafetensors(path, map[string]string{metaHeader: string(header), metaRows: string(rows)}, []weights.Source{{
		Name: tensorName, Shape: []int{d.Len(), d.Header.Dim}, Data: d.chunks(ctx, &failed),
	}})
	if failed != nil {
		return failed
	}
	return err
}

func (d *Descriptors) writeNPY(ctx context.Context, path string) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("not a file, want one of descriptors")
	}
	if err := settle(path); err != nil {
		return err
	}
	fresh := resolve(path) + newSuffix
	if err := removePair(fresh); err != nil {
		return err
	}
	if err := atomicfile.Write(fresh+indexSuffix, d.encodeIndex); err != nil {
		return err
	}
	if err := atomicfile.Write(fresh, func(to io.Writer) error { return d.encodeNPY(ctx, to) }); err != nil {
		return errors.Join(err, removePair(fresh))
	}
	return replacePair(fresh, path)
}

func (d *Descriptors) encodeNPY(ctx context.Context, to io.Writer) error {
	w := bufio.NewWriterSize(to, 1<<16)
	w.Write(weights.NPYHeader(d.Len(), d.Header.Dim)) // w keeps the first error, which Flush returns
	var buffer []byte
	var failed error
	for piece := range d.chunks(ctx, &failed) {
		buffer = buffer[:0]
		for _, v := range piece {
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
		}
		if _, err := w.Write(buffer); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return w.Flush()
}

func (d *Descriptors) encodeIndex(to io.Writer) error {
	w := bufio.NewWriterSize(to, 1<<16)
	e := json.NewEncoder(w)
	if err := e.Encode(d.Header); err != nil {
		return err
	}
	for _, r := range d.Rows {
		for c := range d.Header.columns() {
			if err := e.Encode(line{c, r}); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// jsonLine is the line of an image in a .jsonl file.
type jsonLine struct {
	File       string    `json:"file"`
	Labels     []string  `json:"labels,omitempty"` // names of its classes
	Part       string    `json:"part,omitempty"`
	Descriptor []float32 `json:"descriptor,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// jsonLine returns the line of row r, whose numbers are x.
func (d *Descriptors) jsonLine(r int, x []float32) jsonLine {
	row := d.Rows[r]
	l := jsonLine{File: row.File, Part: row.Part, Error: row.Error}
	for _, c := range row.Labels {
		l.Labels = append(l.Labels, d.Header.Data.Classes[c])
	}
	if row.Error == "" {
		l.Descriptor = x
	}
	return l
}

func (d *Descriptors) writeLines(ctx context.Context, path string) error {
	return atomicfile.WriteOrStream(path, func(to io.Writer) error {
		w := bufio.NewWriterSize(to, 1<<16)
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		r := 0
		var failed error
		for piece := range d.chunks(ctx, &failed) {
			for x := range slices.Chunk(piece, d.Header.Dim) {
				if err := e.Encode(d.jsonLine(r, x)); err != nil {
					return err
				}
				r++
			}
		}
		if failed != nil {
			return failed
		}
		return w.Flush()
	})
}
