package matfile

import (
	"encoding/binary"
	"io"
	"math"
	"strings"
	"unicode/utf16"
)

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
