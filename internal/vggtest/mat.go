package vggtest

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// MAT is a part of a level 5 MAT-file: bytes, or a hole of zeros that takes no memory.
type MAT []matPart

type matPart struct {
	bytes []byte
	hole  int64
}

// MATHole is n zeros.
func MATHole(n int64) MAT { return MAT{{hole: n}} }

// Len returns the number of bytes.
func (m MAT) Len() int64 {
	n := int64(0)
	for _, p := range m {
		n += int64(len(p.bytes)) + p.hole
	}
	return n
}

// Bytes returns the part.
func (m MAT) Bytes() []byte {
	var b []byte
	for _, p := range m {
		b = append(append(b, p.bytes...), make([]byte, p.hole)...)
	}
	return b
}

// Write writes the part to a new file, whose holes take no space where the file system has
// such files. It returns the offsets of the holes.
func (m MAT) Write(t testing.TB, path string) (holes []int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for _, p := range m {
		if p.hole > 0 {
			holes = append(holes, at)
		}
		if _, err := f.WriteAt(p.bytes, at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(p.bytes)) + p.hole
	}
	if err := f.Truncate(at); err != nil {
		t.Fatal(err)
	}
	return holes
}

// MATBytes is a part of these bytes.
func MATBytes(b []byte) MAT { return MAT{{bytes: b}} }

// MATElement is a data element of that type, with its padding.
func MATElement(kind int, parts ...MAT) MAT {
	m := MAT{{}}
	for _, p := range parts {
		m = append(m, p...)
	}
	n := m.Len()
	m[0].bytes = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(kind)), uint32(n))
	return append(m, matPart{bytes: make([]byte, -n&7)})
}

// MATArray is an array of that class and shape. Its parts follow the name.
func MATArray(class int, name string, shape []int, parts ...MAT) MAT {
	var dims []byte
	for _, n := range shape {
		dims = binary.LittleEndian.AppendUint32(dims, uint32(n))
	}
	all := []MAT{
		MATElement(6, MATBytes([]byte{byte(class), 0, 0, 0, 0, 0, 0, 0})),
		MATElement(5, MATBytes(dims)),
		MATElement(1, MATBytes([]byte(name))),
	}
	return MATElement(14, append(all, parts...)...)
}

// MATText is a char array.
func MATText(text string) MAT {
	return MATArray(4, "", []int{1, len(text)}, MATElement(16, MATBytes([]byte(text))))
}

// MATNumber is an array of one whole number from 0 to 255, stored in a byte as MATLAB does.
func MATNumber(n int) MAT {
	return MATArray(6, "", []int{1, 1}, MATElement(2, MATBytes([]byte{byte(n)})))
}

// MATStruct is a struct with these fields and their values.
func MATStruct(name string, fields []string, values ...MAT) MAT {
	const width = 32
	var names bytes.Buffer
	for _, f := range fields {
		names.WriteString(f)
		names.Write(make([]byte, width-len(f)))
	}
	return MATArray(2, name, []int{1, 1}, append([]MAT{
		MATElement(5, MATBytes([]byte{width, 0, 0, 0})), MATElement(1, MATBytes(names.Bytes()))}, values...)...)
}

// MATCell is a cell array of one row.
func MATCell(name string, elements ...MAT) MAT {
	return MATArray(1, name, []int{1, len(elements)}, elements...)
}

// MATFile is a file of these variables.
func MATFile(variables ...MAT) MAT {
	head := append(bytes.Repeat([]byte(" "), 116), 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'I', 'M')
	copy(head, "MATLAB 5.0 MAT-file, Platform: GLNXA64")
	m := MATBytes(head)
	for _, v := range variables {
		m = append(m, v...)
	}
	return m
}
