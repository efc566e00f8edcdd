package hdf5

import (
	"slices"
	"sync"
)

// Dataset is an array in row-major order. Any number of goroutines may read it at once.
type Dataset struct {
	Type  Type
	Shape []int // empty for a scalar

	f      *File
	bytes  int64 // of all elements
	at     int64 // of contiguous data; -1 if it isn't contiguous
	inline []byte
	chunks []chunk
	grid   chunkGrid

	mu   sync.Mutex
	kept map[int][]byte // data of chunks that the last ReadAt didn't read to the end
}

// Dataset returns the array that the object is.
func (o *Object) Dataset() (*Dataset, error) {
	kind, err := o.message(messageDatatype)
	if err != nil {
		return nil, err
	}
	space, err := o.message(messageDataspace)
	if err != nil {
		return nil, err
	}
	layout, err := o.message(messageLayout)
	if err != nil {
		return nil, err
	}
	if kind == nil || space == nil || layout == nil {
		return nil, formatError("no dataset")
	}
	d := &Dataset{f: o.f, at: -1}
	if d.Type, err = parseType(kind); err != nil {
		return nil, err
	}
	if d.Shape, err = parseSpace(space, o.f.length); err != nil {
		return nil, err
	}
	if d.bytes, err = elements(d.Shape, d.Type.Size); err != nil {
		return nil, err
	}
	if err := d.parseLayout(o, layout); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dataset) parseLayout(o *Object, c *cursor) error {
	version, class := c.uint(1), c.uint(1)
	if version < 3 || version > 5 {
		return formatError("layout of version %d, want 3 to 5", version)
	}
	switch class {
	case 0: // compact: in the object header
		d.inline = c.bytes(int(c.uint(2)))
		if c.short || int64(len(d.inline)) < d.bytes {
			return formatError("%d bytes of data, want %d of shape %v", len(d.inline), d.bytes, d.Shape)
		}
		return nil
	case 1: // contiguous
		at, size := d.f.address(c), c.uint(d.f.length)
		switch {
		case c.short:
			return formatError("layout: truncated")
		case d.bytes == 0:
			d.inline = []byte{}
			return nil
		case at == undefined:
			return formatError("data was never written")
		case size < uint64(d.bytes):
			return formatError("%d bytes of data, want %d of shape %v", size, d.bytes, d.Shape)
		case at > uint64(d.f.size) || uint64(d.bytes) > uint64(d.f.size)-at:
			return formatError("%d bytes of data from byte %d on, the file has %d", d.bytes, at, d.f.size)
		}
		d.at = int64(at)
		return nil
	case 2:
		filters, err := o.message(messageFilters)
		if err != nil {
			return err
		}
		return d.readChunks(version, c, filters)
	}
	return formatError("layout of class %d, want compact, contiguous or chunked", class)
}

// Bytes is the number of bytes of all elements.
func (d *Dataset) Bytes() int64 { return d.bytes }

// Contiguous returns the byte of the file at which the elements begin, if they are in one
// piece.
func (d *Dataset) Contiguous() (at int64, ok bool) { return d.f.base + d.at, d.at >= 0 }

// ReadAt reads len(b) bytes of the elements, from byte start of them on, as they are in
// the file. start and len(b) are multiples of the element's size.
func (d *Dataset) ReadAt(b []byte, start int64) error {
	switch {
	case start < 0 || start > d.bytes || int64(len(b)) > d.bytes-start:
		return formatError("bytes %d to %d of %d", start, start+int64(len(b)), d.bytes)
	case d.at >= 0:
		return readFull(d.f.r, b, d.at+start)
	case d.inline != nil:
		copy(b, d.inline[start:])
		return nil
	}
	return d.readChunked(b, start)
}

// References returns the objects that the elements of a dataset refer to, in their order.
func (f *File) References(d *Dataset) ([]*Object, error) {
	if d.Type.Name != "reference" || d.Type.Size != f.width {
		return nil, formatError("type %s, want references to objects", d.Type.Name)
	}
	if err := f.spend(d.bytes); err != nil {
		return nil, err
	}
	b := make([]byte, d.bytes)
	if err := d.ReadAt(b, 0); err != nil {
		return nil, err
	}
	var all []*Object
	for c := (&cursor{b: b}); c.left() > 0; {
		o, err := f.object(f.address(c))
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// strides returns the bytes from one element to the next along each axis of an array.
func strides(shape []int, size int) []int64 {
	s := make([]int64, len(shape))
	step := int64(size)
	for i, n := range slices.Backward(shape) {
		s[i] = step
		step *= int64(n)
	}
	return s
}
