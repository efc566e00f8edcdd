// Package weights reads and writes files of named tensors with metadata, in which
// trained weights are published and kept. It knows no network.
//
// [Open], [OpenReader] and [OpenFS] recognise the format of a file, one of the [Formats],
// by its content. The project's own is safetensors
// (https://github.com/huggingface/safetensors): eight bytes that give the length of a
// header, the header in JSON, and the tensors' little-endian data, one after another. Of
// the others:
//
//   - PyTorch: files of torch.save, in its zip format or the one before it. The file may be
//     a state dict, a checkpoint that has one under state_dict, model_state_dict or model,
//     or a whole module, of which the parameters and buffers are read. Names are the
//     file's, without the "module." of DataParallel and the "_orig_mod." of torch.compile.
//     Reading a pickle makes values and runs nothing: a file that wants to run any function
//     except those that make tensors and plain values is an error that names the function.
//   - npz: arrays in a file of numpy.savez or savez_compressed, in C or Fortran order.
//   - Keras, TensorFlow.js, ONNX and Caffe describe the network's layers too; see [Layer].
//
// In every format, opening reads the description of the tensors and not their data. A
// tensor can be read in pieces, in little memory; see [File.ReadRange]. A malformed or
// hostile file is an error that says what is wrong with it.
package weights

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/verydeep/vgg/tensor"
)

// Entry describes a tensor of a file.
type Entry struct {
	Name  string
	DType string // in the file: F32, F16, BF16, F64, I64, ...
	Shape []int  // empty for a scalar
}

// File is an open file of weights. Opening it reads and checks its header. A tensor's data
// is read when a method asks for it, and isn't kept. Any number of goroutines may use a
// File at once.
type File struct {
	ctx     context.Context // of all reads
	name    string
	r       io.ReaderAt
	size    int64
	closer  io.Closer
	opened  os.FileInfo // of the file at a path; nil of a reader
	stat    func() (os.FileInfo, error)
	format  Format
	meta    map[string]string
	layers  []Layer
	notes   []string
	entries []entry // in the order of Tensors
	byName  map[string]int
	beside  map[string]string // texts beside the file, by name
	shards  []*folderFile     // of an index, in the order of their names
	last    *wholeTensor
}

// wholeTensor is the last tensor of which all was read at once.
type wholeTensor struct {
	mu     sync.Mutex
	name   string
	values []float32 // nil if it isn't kept
}

// entry is an Entry with its data: bytes [begin, end) of the file, little-endian and
// row-major. Data of any other form (strided, compressed, column-major, in another file)
// has its own function to read it.
type entry struct {
	Entry
	begin, end int64
	// read, if it isn't nil, reads elements from number start on, in row-major order. It is
	// safe for concurrent use. Its errors lack the names of the file and the tensor.
	read func(start int, dst []float32) error
	// whole says that reading a part of the elements takes as long as reading all.
	whole bool
}

// Open opens the file of weights at path. The format is recognised by content. A format
// that keeps its data in several files, as TensorFlow.js and ONNX with external data do,
// has the others in the same folder.
//
// If path is a folder, the file of weights in it is opened: model.safetensors,
// model.safetensors.index.json with its shards, pytorch_model.bin and their like, or the
// only one that there is. [File.Beside] then returns the texts beside it.
//
// It is an *UnsupportedError if the file or folder is of another format, and a *FormatError if its
// header is malformed or claims what the file doesn't contain. Open allocates in
// proportion to the header that is there, never to what the header claims.
//
// The context is that of the File, not of Open alone: once it is done, opening and every
// later read end with its cause, at the latest after the next megabyte of the file.
func Open(ctx context.Context, path string) (*File, error) {
	// Opening a FIFO would wait for its writer, so the kind is checked first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if info.IsDir() {
		return openDir(ctx, path)
	}
	if !info.Mode().IsRegular() {
		return nil, notFile(path, info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, openError(path, err)
	}
	file, err := newFile(ctx, path, f, info.Size(), f, folderOf(ctx, path))
	if err != nil {
		return nil, err
	}
	file.opened, file.stat = info, f.Stat
	return file, nil
}

// OpenReader opens the file of weights that is the first size bytes of r, which may be in
// memory or in an object store. Errors are those of Open and use the name. It is a
// *FolderError if the file's data is in other files beside it.
//
// r must serve parallel calls if the File is used by several goroutines. Closing the
// File doesn't close r.
func OpenReader(ctx context.Context, name string, r io.ReaderAt, size int64) (*File, error) {
	if r == nil || size < 0 {
		return nil, fmt.Errorf("weights: %s: a reader of %d bytes, want one that isn't nil, of 0 or more", name, size)
	}
	return newFile(ctx, name, r, size, nil, nil)
}

// OpenFS opens the file of weights of that name in fsys, for example an embed.FS, or that
// in the folder of that name, as Open does. If its
// data is in other files beside it, these are opened in fsys too. Errors are those of
// Open.
//
// A file of fsys that implements io.ReaderAt is read in place; it must serve parallel
// calls if the File is used by several goroutines. Any other file is read into memory, and
// stays there until the File is closed. It is an error if that file is larger than
// [MaxBuffered].
func OpenFS(ctx context.Context, fsys fs.FS, name string) (*File, error) {
	if fsys == nil {
		return nil, fmt.Errorf("weights: %s: a nil file system", name)
	}
	if info, err := fs.Stat(fsys, name); err == nil && info.IsDir() {
		return openDirFS(ctx, fsys, name)
	}
	f, closer, err := openFS(ctx, fsys, name)
	if err != nil {
		return nil, openError(name, err)
	}
	return newFile(ctx, name, f, f.size, closer, folderIn(ctx, fsys, name))
}

// newFile reads the header of r. The File closes closer, unless it is nil, and beside;
// on an error they are closed at once.
func newFile(ctx context.Context, name string, r io.ReaderAt, size int64, closer io.Closer, beside *folder) (*File, error) {
	opened := closers{beside}
	if closer != nil {
		opened = closers{closer, beside}
	}
	r = readerUntil{ctx, r}
	h, format, err := readAny(r, size, beside)
	if err != nil {
		opened.Close()
		if ctx.Err() != nil { // whatever a reader made of it
			return nil, inFile(name, context.Cause(ctx))
		}
		if checkpointShard.MatchString(name) {
			err = &UnsupportedError{Kind: "tensorflow-checkpoint", Found: "the data of a TensorFlow checkpoint (.data-00000-of-00001)", Convert: fromCheckpoint}
		}
		return nil, inFile(name, err)
	}
	f := &File{
		ctx:     ctx,
		name:    name,
		r:       r,
		size:    size,
		closer:  opened,
		format:  format,
		meta:    h.meta,
		layers:  h.layers,
		notes:   h.notes,
		entries: h.entries,
		shards:  h.shards,
		last:    &wholeTensor{},
		byName:  make(map[string]int, len(h.entries)),
	}
	for i, e := range h.entries {
		f.byName[e.Name] = i
	}
	if format == PyTorch || format == Safetensors || format == NPZ {
		if err := f.reparametrised(); err != nil {
			opened.Close()
			return nil, inFile(name, err)
		}
	}
	return f, nil
}

// closers are closed together, in order.
type closers []io.Closer

// Close returns the first error.
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

// Format returns the format that the content has.
func (f *File) Format() Format { return f.format }

// Layers returns the chain of layers that the file describes besides its tensors, first to
// last; nil for formats that hold only tensors.
func (f *File) Layers() []Layer { return slices.Clone(f.layers) }

// Notes describes what of the file's network is no part of Layers, each with the reason:
// nodes of an ONNX graph that its output doesn't need, the rounding of a quantised one.
func (f *File) Notes() []string { return slices.Clone(f.notes) }

// Metadata returns a copy of the file's metadata. It isn't nil.
func (f *File) Metadata() map[string]string {
	m := make(map[string]string, len(f.meta))
	maps.Copy(m, f.meta)
	return m
}

// Tensors describes the file's tensors. Those of safetensors and npz files are in the order
// of their data, those of other formats in the order in which the file lists them.
func (f *File) Tensors() []Entry {
	es := make([]Entry, len(f.entries))
	for i, e := range f.entries {
		es[i] = e.Entry
		es[i].Shape = slices.Clone(e.Shape)
	}
	return es
}

// Lookup describes the tensor of that name. It is a *NotFoundError if there is none.
func (f *File) Lookup(name string) (Entry, error) {
	e, err := f.find(name)
	if err != nil {
		return Entry{}, err
	}
	d := e.Entry
	d.Shape = slices.Clone(e.Shape)
	return d, nil
}

// Read returns the tensor of that name in float32, with its shape in the file. Its errors
// are those of ReadInto.
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

// ReadTensor reads the tensor of that name into t. It is a *ShapeError if the tensor
// doesn't have exactly t's shape. Its other errors are those of ReadInto.
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

// ReadRange reads len(dst) elements of the tensor of that name into dst, from number start
// in row-major order on, so that a large tensor can be read piece by piece. It is an error
// if the tensor has no such elements. Its other errors are those of ReadInto.
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
	if e.whole {
		return f.readWhole(e, start, dst)
	}
	part := *e
	if part.read != nil {
		return f.callRead(e, start, dst)
	}
	part.begin += int64(start) * int64(dtypeBits(e.DType)/8)
	part.end = part.begin + int64(len(dst))*int64(dtypeBits(e.DType)/8)
	return f.decode(&part, dst)
}

// InPlace reports whether any elements of the tensor of that name are read without reading
// others: its data is a range of the file, in the order of its shape.
func (f *File) InPlace(name string) bool {
	e, err := f.find(name)
	return err == nil && e.read == nil && !e.whole && f.checkDType(e) == nil
}

// Unchanged is an error if the file at the path that was opened has been written to since, as
// its size and its time of modification tell. A file that was replaced under its name is the
// old one still. Of a reader nothing is known, and it counts as unchanged.
func (f *File) Unchanged() error {
	if f.stat == nil {
		return nil
	}
	now, err := f.stat()
	if err != nil {
		return openError(f.name, err)
	}
	if now.Size() != f.opened.Size() || !now.ModTime().Equal(f.opened.ModTime()) {
		return fmt.Errorf("weights: %s: %w", f.name, ErrChanged)
	}
	return nil
}

// readWhole is ReadRange of a tensor that is read at once. Its values are kept until another
// such tensor is read, or its last element.
func (f *File) readWhole(e *entry, start int, dst []float32) error {
	n, _ := tensor.Size(e.Shape...)
	if len(dst) == n {
		return f.callRead(e, 0, dst)
	}
	f.last.mu.Lock()
	defer f.last.mu.Unlock()
	if f.last.values == nil || f.last.name != e.Name {
		f.last.values = nil // before the next is allocated
		values := make([]float32, n)
		if err := f.callRead(e, 0, values); err != nil {
			return err
		}
		f.last.name, f.last.values = e.Name, values
	}
	copy(dst, f.last.values[start:])
	if start+len(dst) == n {
		f.last.values = nil
	}
	return nil
}

// SHA256 returns the SHA-256 of the whole file in lower-case hexadecimal, as sha256sum
// prints it. An index of shards is followed by the shards, in the order of their names. A
// run records it as the provenance of its weights.
func (f *File) SHA256(ctx context.Context) (string, error) {
	h := sha256.New()
	for _, part := range append([]*folderFile{{f.r, f.size}}, f.shards...) {
		n, err := io.Copy(h, untilDone{ctx, io.NewSectionReader(part, 0, part.size)})
		if err == nil && n != part.size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", fmt.Errorf("weights: %s: %w", f.name, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close closes the file. After that, reading from it is an error.
func (f *File) Close() error {
	if err := f.closer.Close(); err != nil {
		return openError(f.name, err)
	}
	return nil
}

// find returns the entry of that name, or a *NotFoundError.
func (f *File) find(name string) (*entry, error) {
	i, ok := f.byName[name]
	if !ok {
		return nil, f.notFound(name)
	}
	return &f.entries[i], nil
}

// checkDType returns a *DTypeError if the entry's type can't be read.
func (f *File) checkDType(e *entry) error {
	if !readable(e.DType) {
		return &DTypeError{File: f.name, Tensor: e.Name, DType: e.DType}
	}
	return nil
}

// chunk is the most bytes that are held in the file's own type at once. It is a multiple of
// the size of every type.
const chunk = 256 << 10

// decode reads all elements of an entry into dst.
func (f *File) decode(e *entry, dst []float32) error {
	if e.read != nil {
		return f.callRead(e, 0, dst)
	}
	size := int64(dtypeBits(e.DType) / 8)
	if e.DType == "F32" && littleEndian {
		if err := readFull(f.r, memory(dst[:(e.end-e.begin)/size]), e.begin); err != nil {
			return f.readError(e, err)
		}
		return nil
	}
	buf := make([]byte, min(chunk, e.end-e.begin))
	for at := e.begin; at < e.end; {
		b := buf[:min(int64(len(buf)), e.end-at)]
		if err := readFull(f.r, b, at); err != nil {
			return f.readError(e, err)
		}
		n := int64(len(b)) / size
		convert(dst[:n], b, e.DType)
		dst = dst[n:]
		at += int64(len(b))
	}
	return nil
}

// callRead reads elements by the entry's own function.
func (f *File) callRead(e *entry, start int, dst []float32) error {
	if err := e.read(start, dst); err != nil {
		return f.readError(e, err)
	}
	return nil
}

// readError names the file and the tensor in an error of reading it. It is the context's cause
// once that is done, whatever a reader made of it.
func (f *File) readError(e *entry, err error) error {
	if f.ctx.Err() != nil {
		err = context.Cause(f.ctx)
	}
	return fmt.Errorf("weights: %s: %s: %w", f.name, display(e.Name), pathless(err))
}
