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
	"math"
	"strings"
	"unicode/utf16"
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

// file holds what is left of the file's limits.
type file struct {
	arrays int
	kept   int64
}

// scanner reads data elements one after another, in a file or in a compressed element.
type scanner struct {
	*file
	r      io.ReaderAt
	at     int64
	end    int64
	order  binary.ByteOrder
	inFile bool

	buf   []byte // bytes of r from bufAt on
	bufAt int64
}

// tag is a data element: its data is bytes [begin, end), and next follows the padding.
type tag struct {
	kind             int
	begin, end, next int64
}

func (t tag) length() int64 { return t.end - t.begin }

// bytes returns n bytes at a position. They are valid until the next call.
func (s *scanner) bytes(at, n int64) ([]byte, error) {
	const window = 16 << 10
	if n > s.end-at {
		return nil, formatError("truncated: bytes %d to %d of %d", at, at+n, s.end)
	}
	if at < s.bufAt || at+n > s.bufAt+int64(len(s.buf)) {
		size := max(n, min(window, s.end-at))
		if int64(cap(s.buf)) < size {
			s.buf = make([]byte, size)
		}
		s.buf, s.bufAt = s.buf[:size], at
		if err := readFull(s.r, s.buf, at); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[at-s.bufAt:][:n], nil
}

// tag reads the tag at s.at and goes to what follows its element.
func (s *scanner) tag() (t tag, err error) {
	b, err := s.bytes(s.at, 8)
	if err != nil {
		return t, err
	}
	word, size := s.order.Uint32(b), int64(s.order.Uint32(b[4:]))
	if short := word >> 16; short != 0 { // data of up to four bytes is in the tag
		if short > 4 {
			return t, formatError("byte %d: short element of %d bytes, want at most 4", s.at, short)
		}
		t = tag{int(word & 0xffff), s.at + 4, s.at + 4 + int64(short), s.at + 8}
		s.at = t.next
		return t, nil
	}
	t = tag{kind: int(word), begin: s.at + 8, end: s.at + 8 + size}
	if size > s.end-t.begin {
		return t, formatError("truncated: element of %d bytes at byte %d, %d are left", size, s.at, s.end-t.begin)
	}
	t.next = t.end
	if t.kind != typeCompressed {
		t.next = min(t.end+(-size&7), s.end)
	}
	s.at = t.next
	return t, nil
}

// compressed reads the array in a compressed element.
func (s *scanner) compressed(t tag) (*Array, error) {
	most := inflateRatio*t.length() + inflateSlack
	inner := &scanner{file: s.file, order: s.order, end: most}
	z := &inflated{r: s.r, begin: t.begin, end: t.end, most: most}
	inner.r = z
	defer z.release()
	// The first tag tells the length of all.
	b := make([]byte, 8)
	if err := readFull(z, b, 0); err != nil {
		return nil, formatError("byte %d: compressed element: %v", t.begin, err)
	}
	size := int64(s.order.Uint32(b[4:]))
	if s.order.Uint32(b) != typeMatrix || size > most-8 {
		return nil, formatError("byte %d: compressed element of type %d with %d bytes, want an array of at most %d", t.begin, s.order.Uint32(b), size, most-8)
	}
	z.most = 8 + size
	inner.end = z.most
	first, err := inner.tag()
	if err != nil {
		return nil, err
	}
	a, err := inner.array(first, 0)
	if err == io.ErrUnexpectedEOF {
		err = formatError("byte %d: compressed element ends before its array does", t.begin)
	}
	return a, err
}

// classes are the names of the classes by their numbers.
var classes = []string{1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single",
	8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64", 15: "uint64",
	16: "function", 17: "opaque"}

// array reads the array whose element is t.
func (s *scanner) array(t tag, depth int) (*Array, error) {
	if s.arrays--; s.arrays < 0 {
		return nil, formatError("more than %d arrays", maxArrays)
	}
	if depth > maxDepth {
		return nil, formatError("cells and structs over %d deep", maxDepth)
	}
	outer := s.end
	s.at, s.end = t.begin, t.end
	defer func() { s.at, s.end = t.next, outer }()
	a := &Array{}
	if t.length() == 0 { // an empty element of a cell or a struct
		a.Class, a.Shape = "double", []int{0, 0}
		return a, nil
	}
	flags, err := s.part(16)
	if err != nil {
		return nil, err
	}
	if len(flags) < 8 {
		return nil, formatError("byte %d: array flags of %d bytes, want 8", t.begin, len(flags))
	}
	word := s.order.Uint32(flags)
	if class := int(word & 0xff); class < 1 || class >= len(classes) {
		return nil, formatError("byte %d: array of class %d", t.begin, class)
	} else {
		a.Class = classes[class]
	}
	a.Complex = word>>8&0x08 != 0
	if a.Class == "opaque" { // has no dimensions
		return a, nil
	}
	if a.Shape, err = s.shape(); err != nil {
		return nil, err
	}
	name, err := s.part(maxName)
	if err != nil {
		return nil, err
	}
	a.Name = strings.ToValidUTF8(string(name), "?")
	switch a.Class {
	case "sparse", "function":
		return a, nil
	case "cell":
		return a, s.children(a, a.Len(), depth)
	case "struct", "object":
		return a, s.structs(a, depth)
	}
	return a, s.data(a)
}

// part reads an element of at most so many bytes. They are valid until the next call.
func (s *scanner) part(most int64) ([]byte, error) {
	t, err := s.tag()
	if err != nil {
		return nil, err
	}
	if t.length() > most {
		return nil, formatError("byte %d: element of %d bytes, want at most %d", t.begin, t.length(), most)
	}
	return s.bytes(t.begin, t.length())
}

// shape reads the lengths of an array's axes.
func (s *scanner) shape() ([]int, error) {
	at := s.at
	b, err := s.part(4 * maxAxes)
	if err != nil {
		return nil, err
	}
	var shape []int
	n := int64(1)
	for ; len(b) >= 4; b = b[4:] {
		axis := int64(int32(s.order.Uint32(b)))
		if axis < 0 || axis > 0 && n > math.MaxInt64/8/axis {
			return nil, formatError("byte %d: shape %v of an array, then %d", at, shape, axis)
		}
		n *= axis
		shape = append(shape, int(axis))
	}
	return shape, nil
}

// children reads n arrays.
func (s *scanner) children(a *Array, n, depth int) error {
	if int64(n) > (s.end-s.at)/8 {
		return formatError("byte %d: %s of %d elements in %d bytes", s.at, a.Class, n, s.end-s.at)
	}
	for range n {
		t, err := s.tag()
		if err != nil {
			return err
		}
		if t.kind != typeMatrix {
			return formatError("byte %d: element of type %d in a %s, want an array", t.begin, t.kind, a.Class)
		}
		child, err := s.array(t, depth+1)
		if err != nil {
			return err
		}
		a.Elements = append(a.Elements, child)
	}
	return nil
}

// structs reads the fields' names and values.
func (s *scanner) structs(a *Array, depth int) error {
	if a.Class == "object" {
		if _, err := s.part(maxName); err != nil { // its class
			return err
		}
	}
	at := s.at
	b, err := s.part(4)
	if err != nil {
		return err
	}
	if len(b) != 4 {
		return formatError("byte %d: length of field names of %d bytes, want 4", at, len(b))
	}
	width := int(int32(s.order.Uint32(b)))
	names, err := s.part(maxFields * 64)
	if err != nil {
		return err
	}
	if width < 1 || len(names)%width != 0 || len(names)/width > maxFields {
		return formatError("byte %d: field names of %d bytes, each of %d", at, len(names), width)
	}
	for ; len(names) > 0; names = names[width:] {
		field, _, _ := strings.Cut(string(names[:width]), "\x00")
		a.Fields = append(a.Fields, field)
	}
	n := a.Len()
	if fields := len(a.Fields); fields > 0 && n > math.MaxInt/fields {
		return formatError("byte %d: %d structs of %d fields", at, n, fields)
	}
	return s.children(a, n*len(a.Fields), depth)
}

// types are the types of elements, by their numbers, and their bytes.
var types = map[int]struct {
	name string
	size int64
}{
	typeInt8: {"int8", 1}, typeUint8: {"uint8", 1}, typeInt16: {"int16", 2}, typeUint16: {"uint16", 2},
	typeInt32: {"int32", 4}, typeUint32: {"uint32", 4}, typeInt64: {"int64", 8}, typeUint64: {"uint64", 8},
	typeSingle: {"float32", 4}, typeDouble: {"float64", 8},
	typeUTF8: {"utf8", 1}, typeUTF16: {"utf16", 2}, typeUTF32: {"utf32", 4},
}

// data finds the elements of an array of numbers or characters.
func (s *scanner) data(a *Array) error {
	at := s.at
	if s.at >= s.end && a.Len() == 0 {
		a.Data = Data{R: bytes.NewReader(nil), Type: "float64"}
		return nil
	}
	t, err := s.tag()
	if err != nil {
		return err
	}
	kind, ok := types[t.kind]
	if !ok {
		return formatError("byte %d: elements of type %d", at, t.kind)
	}
	// UTF-8 takes one to four bytes for a character.
	if n := int64(a.Len()); t.kind != typeUTF8 && n*kind.size != t.length() || t.length() > 0 && n == 0 {
		return formatError("byte %d: %s of shape %v in %d bytes of %s", at, a.Class, a.Shape, t.length(), kind.name)
	}
	a.Data = Data{R: s.r, Begin: t.begin, End: t.end, Type: kind.name, BigEndian: s.order == binary.BigEndian, InFile: s.inFile}
	if t.length() > maxInline || t.length() > s.kept {
		return nil
	}
	b, err := s.bytes(t.begin, t.length())
	if err != nil {
		return err
	}
	s.kept -= t.length()
	a.Data.R, a.Data.Begin, a.Data.End, a.Data.InFile = bytes.NewReader(bytes.Clone(b)), 0, t.length(), false
	return nil
}

// Len returns the number of elements.
func (a *Array) Len() int {
	n := 1
	for _, axis := range a.Shape {
		n *= axis
	}
	return n
}

// Field returns a field of element i of a struct array, nil if there is none.
func (a *Array) Field(i int, name string) *Array {
	if a == nil {
		return nil
	}
	for f, field := range a.Fields {
		if at := i*len(a.Fields) + f; field == name && at < len(a.Elements) {
			return a.Elements[at]
		}
	}
	return nil
}

// maxValues is the most elements that Text and Numbers return.
const maxValues = 8 << 20

// Text returns the characters of a char array in column-major order. ok is false for
// another array, or one that is too large or can't be read.
func (a *Array) Text() (text string, ok bool) {
	if a == nil || a.Class != "char" {
		return "", false
	}
	if a.Data.Type == "utf8" {
		b := make([]byte, min(a.Data.End-a.Data.Begin, maxValues))
		if int64(len(b)) < a.Data.End-a.Data.Begin || readFull(a.Data.R, b, a.Data.Begin) != nil {
			return "", false
		}
		return strings.ToValidUTF8(string(b), "?"), true
	}
	values, err := a.values()
	if err != nil {
		return "", false
	}
	units := make([]uint16, 0, len(values))
	for _, v := range values {
		if v < 0 || v > math.MaxUint16 {
			units = append(units, '?')
			continue
		}
		units = append(units, uint16(v))
	}
	return string(utf16.Decode(units)), true
}

// Numbers returns the elements of an array of numbers in column-major order. It is an
// error if they are of another class, too many, or can't be read.
func (a *Array) Numbers() ([]float64, error) {
	if a == nil || !a.Numeric() {
		return nil, formatError("no array of numbers")
	}
	return a.values()
}

// Numeric reports whether the elements are numbers.
func (a *Array) Numeric() bool {
	switch a.Class {
	case "double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "logical":
		return a.Data.R != nil || a.Len() == 0
	}
	return false
}

func (a *Array) values() ([]float64, error) {
	n := a.Len()
	if n > maxValues {
		return nil, formatError("%d elements, want at most %d", n, maxValues)
	}
	if n == 0 {
		return nil, nil
	}
	size := a.Data.size()
	if a.Data.End-a.Data.Begin < int64(n)*size {
		return nil, formatError("%d bytes of %d elements", a.Data.End-a.Data.Begin, n)
	}
	b := make([]byte, int64(n)*size)
	if err := readFull(a.Data.R, b, a.Data.Begin); err != nil {
		return nil, err
	}
	values := make([]float64, n)
	for i := range values {
		values[i] = a.Data.number(b[int64(i)*size:])
	}
	return values, nil
}

// size returns the bytes of an element.
func (d Data) size() int64 {
	switch d.Type {
	case "int16", "uint16", "utf16":
		return 2
	case "int32", "uint32", "float32", "utf32":
		return 4
	case "int64", "uint64", "float64":
		return 8
	}
	return 1
}

// number reads an element.
func (d Data) number(b []byte) float64 {
	order := binary.ByteOrder(binary.LittleEndian)
	if d.BigEndian {
		order = binary.BigEndian
	}
	switch d.Type {
	case "int8":
		return float64(int8(b[0]))
	case "int16":
		return float64(int16(order.Uint16(b)))
	case "uint16", "utf16":
		return float64(order.Uint16(b))
	case "int32":
		return float64(int32(order.Uint32(b)))
	case "uint32", "utf32":
		return float64(order.Uint32(b))
	case "int64":
		return float64(int64(order.Uint64(b)))
	case "uint64":
		return float64(order.Uint64(b))
	case "float32":
		return float64(math.Float32frombits(order.Uint32(b)))
	case "float64":
		return math.Float64frombits(order.Uint64(b))
	}
	return float64(b[0])
}

// Floats returns the elements of an array of numbers as little-endian float32, for the
// class single, or float64. What is returned is read at multiples of the element's size.
// It is the file itself, from byte begin on, if the file has them in this form.
func (a *Array) Floats() (r io.ReaderAt, begin int64, inFile bool) {
	want := "float64"
	if a.Class == "single" {
		want = "float32"
	}
	if a.Data.Type == want && !a.Data.BigEndian {
		return a.Data.R, a.Data.Begin, a.Data.InFile
	}
	return widened{a.Data, a.Class == "single"}, 0, false
}

// widened converts elements to floating point.
type widened struct {
	Data
	single bool
}

// ReadAt implements [io.ReaderAt].
func (w widened) ReadAt(p []byte, at int64) (int, error) {
	const most = 4096
	width := int64(8)
	if w.single {
		width = 4
	}
	size := w.size()
	b := make([]byte, min(most, int64(len(p))/width)*size)
	done := 0
	for int64(len(p)-done) >= width {
		i := (at + int64(done)) / width
		n := min(int64(len(b))/size, int64(len(p)-done)/width, (w.End-w.Begin)/size-i)
		if n <= 0 {
			return done, io.EOF
		}
		if err := readFull(w.R, b[:n*size], w.Begin+i*size); err != nil {
			return done, err
		}
		for k := range n {
			v := w.number(b[k*size:])
			if w.single {
				binary.LittleEndian.PutUint32(p[done:], math.Float32bits(float32(v)))
			} else {
				binary.LittleEndian.PutUint64(p[done:], math.Float64bits(v))
			}
			done += int(width)
		}
	}
	if done < len(p) {
		return done, io.ErrUnexpectedEOF
	}
	return done, nil
}
