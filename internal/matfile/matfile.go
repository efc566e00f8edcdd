// Package matfile reads MATLAB's level 5 MAT-files, which versions 5 to 7 write: numbers,
// texts, cells and structs, compressed or not, of either byte order.
//
// The format and the names of its structures are those of The MathWorks' "MAT-File
// Format". No file causes a panic. Data of large arrays stays in the file until it is
// read, and memory is bounded by a small multiple of the file's size, plus some megabytes.
package matfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// HeaderBytes is the length of the header that opens a file.
const HeaderBytes = 128

// Types of data elements.
const (
	typeInt8       = 1
	typeUint8      = 2
	typeInt16      = 3
	typeUint16     = 4
	typeInt32      = 5
	typeUint32     = 6
	typeSingle     = 7
	typeDouble     = 9
	typeInt64      = 12
	typeUint64     = 13
	typeMatrix     = 14
	typeCompressed = 15
	typeUTF8       = 16
	typeUTF16      = 17
	typeUTF32      = 18
)

// Limits that no sound file reaches.
const (
	maxArrays = 150_000 // arrays in a file, those in cells and structs among them
	maxDepth  = 32      // levels of cells and structs
	maxAxes   = 32
	maxFields = 1024
	maxName   = 4096 // bytes of an array's name
	maxInline = 4096 // bytes of the largest array whose data is kept in memory
	maxKept   = 16 << 20

	// A compressed element may have inflateRatio times its bytes, and inflateSlack more.
	// Trained weights hardly compress.
	inflateRatio = 32
	inflateSlack = 16 << 20
)

// FormatError says what is wrong in a file, or what it has that this package doesn't read.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return e.Reason }

func formatError(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// Array is a value of MATLAB. Its elements are in column-major order: the first index
// runs fastest.
type Array struct {
	Name string // of a variable; "" within cells and structs
	// Class is double, single, int8 … uint64, char, cell, struct, object, or another class,
	// whose content isn't read: sparse, function, opaque.
	Class string
	Shape []int
	// Fields are the names of a struct's fields.
	Fields []string
	// Elements are a cell's elements. Those of a struct array are the fields of its first
	// element, then those of its second, and so on.
	Elements []*Array
	// Data holds numbers and characters.
	Data Data
	// Complex tells that an imaginary part follows, which isn't read.
	Complex bool
}

// Data is where an array's elements are: bytes [Begin, End) of R, in column-major order.
type Data struct {
	R          io.ReaderAt
	Begin, End int64
	// Type is float32, float64, int8 … uint64, or utf8, utf16, utf32 for text. MATLAB stores
	// whole numbers of any class in the smallest type that holds them.
	Type      string
	BigEndian bool
	// InFile tells that R is the file itself.
	InFile bool
}

// Open reads the variables of a file of size bytes. Errors are those of r and
// *FormatErrors.
func Open(r io.ReaderAt, size int64) ([]*Array, error) {
	head := make([]byte, min(size, HeaderBytes))
	if err := readFull(r, head, 0); err != nil {
		return nil, err
	}
	order, ok := byteOrder(head)
	if !ok {
		return nil, formatError("no level 5 MAT-file")
	}
	f := &file{arrays: maxArrays, kept: min(maxKept, inflateRatio*size)}
	s := &scanner{file: f, r: r, at: HeaderBytes, end: size, order: order, inFile: true}
	var all []*Array
	for s.at < s.end {
		t, err := s.tag()
		if err != nil {
			return nil, err
		}
		var a *Array
		switch t.kind {
		case typeCompressed:
			a, err = s.compressed(t)
		case typeMatrix:
			a, err = s.array(t, 0)
		}
		if err != nil {
			return nil, err
		}
		if a != nil {
			all = append(all, a)
		}
		s.at = min(t.next, s.end)
	}
	return all, nil
}

// Is reports whether a file that begins with head is a level 5 MAT-file.
func Is(head []byte) bool {
	_, ok := byteOrder(head)
	return ok
}

// byteOrder reads a header: text, a version and the letters MI as a 16-bit number.
func byteOrder(head []byte) (binary.ByteOrder, bool) {
	if len(head) < HeaderBytes || !bytes.HasPrefix(head, []byte("MATLAB")) {
		return nil, false
	}
	switch string(head[124:HeaderBytes]) {
	case "\x00\x01IM":
		return binary.LittleEndian, true
	case "\x01\x00MI":
		return binary.BigEndian, true
	}
	return nil, false
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}
