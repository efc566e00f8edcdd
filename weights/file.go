// Package weights reads and writes files of named tensors with metadata, as
// trained weights are kept in; it knows no network.
//
// Open recognises by its content which of the Formats a file is of. Native to
// this project is safetensors (https://github.com/huggingface/safetensors): eight
// bytes that give the length of a header, the header in JSON, and the tensors'
// little-endian data, one after another. Of the others:
//
//   - PyTorch: what torch.save wrote, in its zip format or the one before it. The
//     state dict is taken by itself, out of a checkpoint that has it under state_dict,
//     model_state_dict or model, or out of a whole module, by its parameters and
//     buffers. Names are the file's, without the "module." of DataParallel and the
//     "_orig_mod." of torch.compile. The pickle is read by a machine that can make
//     values and nothing else: a file that asks for any function but those that tensors
//     and plain values are made with is an error that names it.
//   - npz: arrays in a file of numpy.savez or savez_compressed, in C or Fortran order.
//   - The formats of networks, as ONNX and Caffe, describe their layers too; see Layer.
//
// Whatever the format, opening reads what describes the tensors and not their data,
// a tensor is read in pieces (ReadRange) in little memory, and a malformed or hostile
// file is an error that says what is wrong with it.
package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/verydeep/vgg/tensor"
)

// Entry describes a tensor of a file.
type Entry struct {
	Name  string
	DType string // as the file has it: F32, F16, BF16, F64, I64, ...
	Shape []int  // empty for a scalar
}

// File is an open file of weights. Its header was read and checked when it was
// opened; a tensor's data is read when it is asked for, and nothing of it is
// kept. Any number of goroutines may use a File at once.
type File struct {
	name    string
	r       io.ReaderAt
	size    int64
	closer  io.Closer
	format  Format
	meta    map[string]string
	layers  []Layer
	entries []entry // by place in the file
	byName  map[string]int
}

// entry is an Entry with the place of its data: bytes [begin, end) of the file,
// little-endian and row-major. Data that lies otherwise (strided, compressed,
// column-major) is read by its own function instead.
type entry struct {
	Entry
	begin, end int64
	// read, unless it is nil, reads the elements from start on in row-major order. It is
	// safe for concurrent use; its errors lack the names of file and tensor.
	read func(start int, dst []float32) error
}

// Open opens the file of weights at path. The format is recognised by content. A format
// that keeps its data in several files, as TensorFlow.js and ONNX with external data do,
// has the others in the same folder.
//
// It is an *UnsupportedError if the file is of another format, and a *FormatError if its
// header is malformed or claims what the file doesn't contain. Open allocates in
// proportion to the header that is there, never to what the header claims.
func Open(path string) (*File, error) {
	// Opening a FIFO would wait for its writer, so the kind is checked first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("weights: %s: %s, want a file", path, kind(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, openError(path, err)
	}
	return newFile(path, f, info.Size(), f, folderOf(path))
}

// OpenReader reads weights from the first size bytes of r: from memory, or from an object
// store. The name stands in errors, which are those of Open. It is a *FolderError if the
// format keeps its data in other files beside this one.
//
// r must serve parallel calls if the File is used by several goroutines. Closing the
// File doesn't close r.
func OpenReader(name string, r io.ReaderAt, size int64) (*File, error) {
	return newFile(name, r, size, nil, nil)
}

// OpenFS opens the file of weights of that name in fsys, as an embed.FS. Files beside it
// that hold its data are taken from fsys too. The errors are those of Open.
//
// A file of fsys that implements io.ReaderAt is read in place; it must serve parallel
// calls if the File is used by several goroutines. Any other is read into memory and kept
// there until the File is closed; it is an error if it is larger than [MaxBuffered].
func OpenFS(fsys fs.FS, name string) (*File, error) {
	f, closer, err := openFS(fsys, name)
	if err != nil {
		return nil, openError(name, err)
	}
	return newFile(name, f, f.size, closer, folderIn(fsys, name))
}

// newFile reads the header of r. The File closes closer, unless it is nil, and beside;
// on an error they are closed at once.
func newFile(name string, r io.ReaderAt, size int64, closer io.Closer, beside *folder) (*File, error) {
	opened := closers{beside}
	if closer != nil {
		opened = closers{closer, beside}
	}
	h, format, err := readAny(r, size, beside)
	if err != nil {
		opened.Close()
		return nil, inFile(name, err)
	}
	f := &File{
		name:    name,
		r:       r,
		size:    size,
		closer:  opened,
		format:  format,
		meta:    h.meta,
		layers:  h.layers,
		entries: h.entries,
		byName:  make(map[string]int, len(h.entries)),
	}
	for i, e := range h.entries {
		f.byName[e.Name] = i
	}
	return f, nil
}

// closers are closed together, in their order; the first error counts.
type closers []io.Closer

func (cs closers) Close() error {
	var first error
	for _, c := range cs {
		if err := c.Close(); first == nil {
			first = err
		}
	}
	return first
}

// Name returns the path or name that the file was opened by.
func (f *File) Name() string { return f.name }

// Size returns the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// Format returns the kind of file, as its content shows.
func (f *File) Format() Format { return f.format }

// Layers returns the chain of layers that the file describes beside its tensors, first
// to last; nil of formats that hold tensors alone.
func (f *File) Layers() []Layer { return slices.Clone(f.layers) }

// Metadata returns the file's metadata; the caller may change what it gets. It
// isn't nil.
func (f *File) Metadata() map[string]string {
	m := make(map[string]string, len(f.meta))
	maps.Copy(m, f.meta)
	return m
}

// Tensors describes the file's tensors, in the order of their data or, where the file
// lists them in another, of that list.
func (f *File) Tensors() []Entry {
	es := make([]Entry, len(f.entries))
	for i, e := range f.entries {
		es[i] = e.Entry
		es[i].Shape = slices.Clone(e.Shape)
	}
	return es
}

// Lookup describes the tensor of that name. It is a *NotFoundError if there is
// none.
func (f *File) Lookup(name string) (Entry, error) {
	e, err := f.find(name)
	if err != nil {
		return Entry{}, err
	}
	d := e.Entry
	d.Shape = slices.Clone(e.Shape)
	return d, nil
}

// Read returns the tensor of that name, in float32 and of the file's shape. It
// has the errors of ReadInto.
func (f *File) Read(name string) (*tensor.Tensor, error) {
	e, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if err := f.checkDType(e); err != nil {
		return nil, err
	}
	t := tensor.New(e.Shape...)
	if err := f.decode(e, t.Data); err != nil {
		return nil, err
	}
	return t, nil
}

// ReadTensor reads the tensor of that name into t. Besides those of ReadInto,
// it is a *ShapeError if the file's shape isn't exactly t's.
func (f *File) ReadTensor(name string, t *tensor.Tensor) error {
	e, err := f.find(name)
	if err != nil {
		return err
	}
	if !slices.Equal(e.Shape, t.Shape) {
		return &ShapeError{File: f.name, Tensor: name, Shape: slices.Clone(e.Shape), Want: slices.Clone(t.Shape)}
	}
	return f.ReadInto(name, t.Data)
}

// ReadInto reads the elements of the tensor of that name into dst, in row-major
// order. F32 is copied bit by bit, F16 and BF16 are widened exactly, F64 is
// rounded to the nearest float32 (beyond its range, to an infinity).
//
// It is a *NotFoundError if there is no such tensor, a *DTypeError if the tensor is of
// another type, and an error if dst doesn't have exactly its number of elements or if
// reading fails; dst then holds part of the data.
func (f *File) ReadInto(name string, dst []float32) error {
	e, err := f.find(name)
	if err != nil {
		return err
	}
	if err := f.checkDType(e); err != nil {
		return err
	}
	// The header was checked: the shape's elements are the data's.
	if n, _ := tensor.Size(e.Shape...); n != len(dst) {
		return fmt.Errorf("weights: %s: %s: shape %v has %d elements, want %d", f.name, display(name), e.Shape, n, len(dst))
	}
	return f.decode(e, dst)
}

// ReadRange reads len(dst) elements of the tensor of that name, from the element
// at start in row-major order on, into dst: a large tensor piece by piece. Its
// errors are those of ReadInto.
func (f *File) ReadRange(name string, start int, dst []float32) error {
	e, err := f.find(name)
	if err != nil {
		return err
	}
	if err := f.checkDType(e); err != nil {
		return err
	}
	if n, _ := tensor.Size(e.Shape...); start < 0 || start > n || len(dst) > n-start {
		return fmt.Errorf("weights: %s: %s: shape %v has no elements %d to %d", f.name, display(name), e.Shape, start, start+len(dst))
	}
	part := *e
	if part.read != nil {
		return f.elsewhere(e, start, dst)
	}
	part.begin += int64(start) * int64(dtypeBits(e.DType)/8)
	part.end = part.begin + int64(len(dst))*int64(dtypeBits(e.DType)/8)
	return f.decode(&part, dst)
}

// SHA256 returns the SHA-256 of the whole file in lower-case hexadecimal, as
// sha256sum prints it: what a run records as the provenance of its weights.
func (f *File) SHA256() (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f.r, 0, f.size))
	if err == nil && n != f.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("weights: %s: %w", f.name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close closes the file; reading from it is an error from then on.
func (f *File) Close() error {
	if err := f.closer.Close(); err != nil {
		return openError(f.name, err)
	}
	return nil
}

func (f *File) find(name string) (*entry, error) {
	i, ok := f.byName[name]
	if !ok {
		return nil, f.notFound(name)
	}
	return &f.entries[i], nil
}

func (f *File) checkDType(e *entry) error {
	if !readable(e.DType) {
		return &DTypeError{File: f.name, Tensor: e.Name, DType: e.DType}
	}
	return nil
}

// chunk is the most bytes that are held in the file's own type at once. It is a
// multiple of every element's size.
const chunk = 256 << 10

func (f *File) decode(e *entry, dst []float32) error {
	if e.read != nil {
		return f.elsewhere(e, 0, dst)
	}
	size := int64(dtypeBits(e.DType) / 8)
	if e.DType == "F32" && littleEndian {
		if err := readFull(f.r, memory(dst[:(e.end-e.begin)/size]), e.begin); err != nil {
			return fmt.Errorf("weights: %s: %s: %w", f.name, display(e.Name), pathless(err))
		}
		return nil
	}
	buf := make([]byte, min(chunk, e.end-e.begin))
	for at := e.begin; at < e.end; {
		b := buf[:min(int64(len(buf)), e.end-at)]
		if err := readFull(f.r, b, at); err != nil {
			return fmt.Errorf("weights: %s: %s: %w", f.name, display(e.Name), pathless(err))
		}
		n := int64(len(b)) / size
		convert(dst[:n], b, e.DType)
		dst = dst[n:]
		at += int64(len(b))
	}
	return nil
}

func (f *File) elsewhere(e *entry, start int, dst []float32) error {
	if err := e.read(start, dst); err != nil {
		return fmt.Errorf("weights: %s: %s: %w", f.name, display(e.Name), pathless(err))
	}
	return nil
}
