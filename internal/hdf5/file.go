// Package hdf5 reads the part of HDF5 that h5py and Keras write: groups and
// attributes of every version, and datasets in one piece or in chunks, with or without
// deflate.
//
// The format and the names of its structures are those of the HDF Group's "HDF5 File
// Format Specification Version 3.0". No file causes a panic. Time and memory are bounded
// by a small multiple of the file's size.
package hdf5

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Signature opens a file.
const Signature = "\x89HDF\r\n\x1a\n"

// FormatError says what is wrong in a file, or what it has that this package doesn't read.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return e.Reason }

func formatError(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// within adds to a FormatError where in the file it is; it leaves other errors alone.
func within(err error, format string, args ...any) error {
	if e, ok := err.(*FormatError); ok {
		return &FormatError{fmt.Sprintf(format, args...) + ": " + e.Reason}
	}
	return err
}

// File is an open file. Only one goroutine at a time may use it or its objects. Any number
// of goroutines may read a Dataset of it.
type File struct {
	r    io.ReaderAt // from the superblock on
	size int64
	base int64 // bytes before the superblock
	// width and length are the bytes of an address and of a length.
	width, length int
	root          uint64
	// budget is the bytes of metadata that may still be read. A sound file has fewer; a
	// file whose structures overlap uses it up, which ends the reading.
	budget  int64
	objects map[uint64]*Object
	heaps   map[uint64]map[uint16][]byte // global heap collections by address
}

// userBlock returns the bytes before the superblock: none, or 512, 1024, 2048, … that a
// user's own data takes.
func userBlock(r io.ReaderAt, size int64) int64 {
	b := make([]byte, len(Signature))
	for at := int64(0); at <= size-int64(len(b)); at = max(512, 2*at) {
		if readFull(r, b, at) == nil && string(b) == Signature {
			return at
		}
	}
	return 0
}

// Open reads the superblock of a file of size bytes. The errors of the file and of its
// objects are those of r and *FormatErrors.
func Open(r io.ReaderAt, size int64) (*File, error) {
	user := userBlock(r, size)
	if user > 0 {
		size -= user
		r = io.NewSectionReader(r, user, size)
	}
	f := &File{
		r: r, size: size, base: user,
		budget:  4*size + 64<<10,
		objects: make(map[uint64]*Object),
		heaps:   make(map[uint64]map[uint16][]byte),
	}
	// The longest superblock, of version 1, has 100 bytes.
	c, err := f.block(0, uint64(min(size, 100)), "superblock")
	if err != nil {
		return nil, err
	}
	if string(c.bytes(len(Signature))) != Signature {
		return nil, formatError("no HDF5 file: another signature")
	}
	version := c.uint(1)
	switch version {
	case 0, 1:
		c.skip(4)
		f.width, f.length = int(c.uint(1)), int(c.uint(1))
		c.skip(1 + 4 + 4)
		if version == 1 {
			c.skip(4)
		}
	case 2, 3:
		f.width, f.length = int(c.uint(1)), int(c.uint(1))
		c.skip(1)
	default:
		return nil, formatError("superblock of version %d, want 0 to 3", version)
	}
	for _, n := range []int{f.width, f.length} {
		if n != 2 && n != 4 && n != 8 {
			return nil, formatError("superblock: addresses of %d bytes and lengths of %d, want 2, 4 or 8", f.width, f.length)
		}
	}
	base := f.address(c)
	f.address(c) // free space, or the superblock's extension
	end := f.address(c)
	if version < 2 {
		f.address(c) // driver information
		f.address(c) // the root's name
	}
	f.root = f.address(c)
	switch {
	case c.short:
		return nil, formatError("superblock: truncated")
	case base != uint64(user):
		return nil, formatError("superblock: base address %d, want %d", base, user)
	case end > uint64(size)+base:
		return nil, formatError("truncated: the superblock claims %d bytes, the file has %d", end, uint64(size)+base)
	}
	return f, nil
}

// undefined is the address that stands for none.
const undefined = math.MaxUint64

// address reads an address.
func (f *File) address(c *cursor) uint64 {
	a := c.uint(f.width)
	if a == math.MaxUint64>>(64-8*f.width) {
		return undefined
	}
	return a
}

// spend takes n bytes of the budget.
func (f *File) spend(n int64) error {
	if n > f.budget {
		return formatError("more metadata than the file has room for")
	}
	f.budget -= n
	return nil
}

// block reads n bytes at an address.
func (f *File) block(at, n uint64, what string) (*cursor, error) {
	if at > uint64(f.size) || n > uint64(f.size)-at {
		return nil, formatError("%s: bytes %d to %d of a file of %d", what, at, at+n, f.size)
	}
	if err := f.spend(int64(n)); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if err := readFull(f.r, b, int64(at)); err != nil {
		return nil, err
	}
	return &cursor{b: b}, nil
}

// signed reads n bytes at an address, checks the signature that they begin with, and
// skips it.
func (f *File) signed(at, n uint64, signature, what string) (*cursor, error) {
	c, err := f.block(at, n, what)
	if err != nil {
		return nil, err
	}
	if got := c.bytes(len(signature)); string(got) != signature {
		return nil, formatError("%s at byte %d: signature %q, want %q", what, at, got, signature)
	}
	return c, nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// cursor reads little-endian numbers one after the other. Past the end it gives 0 and sets
// short.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.short = true
		c.b = nil
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) skip(n int) { c.bytes(n) }

// uint reads a number of n bytes, at most 8.
func (c *cursor) uint(n int) uint64 {
	var b [8]byte
	copy(b[:], c.bytes(n))
	return binary.LittleEndian.Uint64(b[:])
}

// left is the number of bytes left.
func (c *cursor) left() int { return len(c.b) }
