package matfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
)

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
