package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/weights"
)

// Descriptors is a file of descriptors, open for reading, or several shards of one.
type Descriptors struct {
	Header Header
	Rows   []Row // of every image of the set, or of the shard
	read   func(start int, dst []float32) error
	closer io.Closer
}

// Keys of a safetensors file's metadata, each JSON, and its tensor's name.
const (
	metaHeader = "vgg.descriptors"
	metaRows   = "vgg.rows"
	tensorName = "descriptors"
)

// Open opens a file of descriptors that is complete, .npy with its index beside it or
// .safetensors.
func Open(path string) (*Descriptors, error) {
	var d *Descriptors
	var err error
	if strings.EqualFold(filepath.Ext(path), ".safetensors") {
		d, err = openSafetensors(path)
	} else {
		d, err = openNPY(path)
	}
	if err != nil {
		return nil, fmt.Errorf("transfer: %s: %w", path, err)
	}
	return d, nil
}

func openNPY(path string) (*Descriptors, error) {
	d, done, err := openBegun(path)
	if err != nil {
		return nil, err
	}
	if n := done.missing(); n > 0 {
		d.Close()
		return nil, fmt.Errorf("%d of %d images are not described yet: the same command goes on with it", n, len(done.rows))
	}
	return d, nil
}

// openBegun opens a file of which perhaps not all is done, and says what is.
func openBegun(path string) (*Descriptors, *file, error) {
	fail := func(err error) (*Descriptors, *file, error) { return nil, nil, err }
	index, err := os.Open(path + indexSuffix)
	if err != nil {
		return fail(fmt.Errorf("the index beside it: %w", err))
	}
	defer index.Close()
	var done *file
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	h, _, err := readIndex(index, func(h Header) error {
		// What the header claims must be there before memory is taken for it.
		if n := int64(h.Rows()); n > info.Size() || int64(len(weights.NPYHeader(h.Rows(), h.Dim)))+4*n*int64(h.Dim) != info.Size() {
			return fmt.Errorf("an array of %d×%d float32, which %s isn't", n, h.Dim, path)
		}
		done = newFile(path, h)
		return nil
	}, func(l line) error { return done.note(l) })
	if err != nil {
		return fail(fmt.Errorf("%s: %w", path+indexSuffix, err))
	}
	if h == nil {
		return fail(fmt.Errorf("%s: no header, want an index of descriptors", path+indexSuffix))
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	head := weights.NPYHeader(h.Rows(), h.Dim)
	there := make([]byte, len(head))
	if _, err := f.ReadAt(there, 0); err != nil || string(there) != string(head) {
		f.Close()
		return fail(fmt.Errorf("not the array of %d×%d float32 that its index says", h.Rows(), h.Dim))
	}
	read := func(start int, dst []float32) error { return readFloats(f, int64(len(head))+4*int64(start), dst) }
	return &Descriptors{Header: *h, Rows: done.rows, closer: f, read: read}, done, nil
}

// littleEndian tells whether numbers lie in memory as they do in files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// readFloats reads little-endian numbers.
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

func openSafetensors(path string) (*Descriptors, error) {
	f, err := weights.Open(path)
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
		return fail(fmt.Errorf("no metadata %s and %s, want a file of vgg features", metaHeader, metaRows))
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
		return fail(fmt.Errorf("%s: shape %v with %d rows of metadata, want %v", tensorName, e.Shape, len(d.Rows), want))
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

// OpenMerged opens every shard of one extraction as the whole.
func OpenMerged(paths ...string) (_ *Descriptors, err error) {
	if len(paths) == 1 {
		d, err := Open(paths[0])
		if err == nil && d.Header.Shard.Count != 1 {
			d.Close()
			return nil, fmt.Errorf("transfer: %s: shard %v, want the others too", paths[0], d.Header.Shard)
		}
		return d, err
	}
	var parts []*Descriptors
	var all closers
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	of := map[int]int{}
	for i, path := range paths {
		d, err := Open(path)
		if err != nil {
			return nil, err
		}
		all, parts = append(all, d), append(parts, d)
		if diff := d.Header.Difference(parts[0].Header); diff != "" {
			return nil, fmt.Errorf("transfer: %s: descriptors of another run than %s: %s", path, paths[0], diff)
		}
		s := d.Header.Shard
		if s.Count != len(paths) {
			return nil, fmt.Errorf("transfer: %s: shard %v, want one of %d", path, s, len(paths))
		}
		if other, ok := of[s.Index]; ok {
			return nil, fmt.Errorf("transfer: %s: shard %v, which is %s already", path, s, paths[other])
		}
		of[s.Index] = i
	}
	if len(parts) == 0 {
		return nil, errors.New("transfer: no files of descriptors, want at least one")
	}
	whole := &Descriptors{Header: parts[0].Header, closer: all}
	whole.Header.Shard = eval.Shard{Index: 1, Count: 1}
	part := func(image int) (*Descriptors, int) { return parts[of[image%len(parts)+1]], image / len(parts) }
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

// Len is the number of rows, those of unreadable images included.
func (d *Descriptors) Len() int { return len(d.Rows) }

// ReadRows reads whole rows from the one at start on into dst.
func (d *Descriptors) ReadRows(start int, dst []float32) error {
	if dim := d.Header.Dim; start < 0 || len(dst)%dim != 0 || start+len(dst)/dim > d.Len() {
		return fmt.Errorf("transfer: %d numbers from row %d on, want rows of %d of %d", len(dst), start, dim, d.Len())
	}
	if err := d.read(start*d.Header.Dim, dst); err != nil {
		return fmt.Errorf("transfer: descriptors: %w", err)
	}
	return nil
}

// Load reads all descriptors, row by row.
func (d *Descriptors) Load() ([]float32, error) {
	x := make([]float32, d.Len()*d.Header.Dim)
	return x, d.ReadRows(0, x)
}

// chunkFloats is about how many numbers are on their way between files at a time.
const chunkFloats = 1 << 18

// chunks yields the numbers in pieces of whole rows, and keeps the error that ends it.
func (d *Descriptors) chunks(failed *error) func(func([]float32) bool) {
	return func(yield func([]float32) bool) {
		rows := max(1, chunkFloats/d.Header.Dim)
		x := make([]float32, rows*d.Header.Dim)
		for r := 0; r < d.Len(); r += rows {
			piece := x[:min(rows, d.Len()-r)*d.Header.Dim]
			if *failed = d.ReadRows(r, piece); *failed != nil || !yield(piece) {
				return
			}
		}
	}
}

// Write writes the descriptors to a file that ends in .npy (beside which path + ".jsonl"
// has names and labels), .safetensors or .jsonl, with one image a line.
func (d *Descriptors) Write(path string) error {
	var err error
	switch strings.ToLower(filepath.Ext(path)) {
	case ".npy":
		err = d.writeNPY(path)
	case ".safetensors":
		err = d.writeSafetensors(path)
	case ".jsonl":
		err = d.writeLines(path)
	default:
		err = errors.New("want a file that ends in .npy, .safetensors or .jsonl")
	}
	if err != nil {
		return fmt.Errorf("transfer: %s: %w", path, err)
	}
	return nil
}

func (d *Descriptors) writeSafetensors(path string) error {
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
		Name: tensorName, Shape: []int{d.Len(), d.Header.Dim}, Data: d.chunks(&failed),
	}})
	if failed != nil {
		return failed
	}
	return err
}

func (d *Descriptors) writeNPY(path string) error {
	var buffer []byte
	if err := create(path, func(w *bufio.Writer) error {
		if _, err := w.Write(weights.NPYHeader(d.Len(), d.Header.Dim)); err != nil {
			return err
		}
		var failed error
		for piece := range d.chunks(&failed) {
			buffer = buffer[:0]
			for _, v := range piece {
				buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
			}
			if _, err := w.Write(buffer); err != nil {
				return err
			}
		}
		return failed
	}); err != nil {
		return err
	}
	return create(path+indexSuffix, func(w *bufio.Writer) error {
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
		return nil
	})
}

// jsonLine is an image in a .jsonl file.
type jsonLine struct {
	File       string    `json:"file"`
	Labels     []string  `json:"labels,omitempty"` // names of its classes
	Part       string    `json:"part,omitempty"`
	Descriptor []float32 `json:"descriptor,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// Line is what is known of row r with the names of its classes, as JSON has it.
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

func (d *Descriptors) writeLines(path string) error {
	return create(path, func(w *bufio.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		r := 0
		var failed error
		for piece := range d.chunks(&failed) {
			for x := range slices.Chunk(piece, d.Header.Dim) {
				if err := e.Encode(d.jsonLine(r, x)); err != nil {
					return err
				}
				r++
			}
		}
		return failed
	})
}

// create makes a file of what write writes, and takes it away on an error.
func create(path string, write func(w *bufio.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}
