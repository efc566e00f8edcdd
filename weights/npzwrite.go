package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// WriteNPZ writes tensors, in the order given, to a file at path that numpy.load reads:
// a zip file of uncompressed arrays, as numpy.savez writes it. NumPy has no BF16.
//
// The metadata becomes the zip file's comment, as JSON of up to 65535 bytes. Open reads
// it; numpy.load ignores it. The file appears as that of [WriteSafetensors] does, the
// errors are the same, and equal arguments give equal bytes.
func WriteNPZ(path string, metadata map[string]string, tensors []Source) error {
	return writeAny(path, func(w io.Writer) error { return encodeNPZ(w, metadata, tensors) })
}

func encodeNPZ(w io.Writer, metadata map[string]string, tensors []Source) error {
	z := newZipEncoder(w)
	if len(metadata) > 0 {
		b, err := encodeMetadata(metadata)
		if err != nil {
			return err
		}
		if len(b) > math.MaxUint16 {
			return fmt.Errorf("metadata of %d bytes, want at most the %d of a zip file's comment", len(b), math.MaxUint16)
		}
		if err := z.SetComment(string(b)); err != nil {
			return err
		}
	}
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		switch {
		case seen[t.Name]:
			return fmt.Errorf("%s: name given twice", display(t.Name))
		case !utf8.ValidString(t.Name) || len(t.Name) > math.MaxUint16-len(".npy"):
			return fmt.Errorf("%s: name is not UTF-8, or too long", display(t.Name))
		case leavesFolder(t.Name):
			return fmt.Errorf("%s: name is a path out of the file", display(t.Name))
		case t.dtype() == "BF16":
			return fmt.Errorf("%s: dtype BF16, which numpy doesn't have: want F32 or F16", display(t.Name))
		case len(t.Shape) > maxNumpyAxes:
			return fmt.Errorf("%s: %d axes, want at most %d", display(t.Name), len(t.Shape), maxNumpyAxes)
		}
		seen[t.Name] = true
		if _, err := t.size(); err != nil {
			return err
		}
		if err := z.tensor(t.Name+".npy", 0, npyOpening(t), t); err != nil {
			return err
		}
	}
	return z.Close()
}

// maxNumpyAxes is the most axes that an array has in NumPy before version 2.
const maxNumpyAxes = 32

// NPYHeader returns the beginning of a .npy file of float32 in C order, up to its data. The
// caller writes the data after it, little-endian.
func NPYHeader(shape ...int) []byte { return npyOpening(Source{Shape: shape}) }

// npyOpening returns a .npy file up to its data, which begins at a multiple of 64 bytes.
func npyOpening(s Source) []byte {
	shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Shape), " ", ", "), "[]")
	if len(s.Shape) == 1 {
		shape += ","
	}
	descr := "<f4"
	if s.dtype() == "F16" {
		descr = "<f2"
	}
	b := []byte("\x93NUMPY\x01\x00\x00\x00")
	b = fmt.Appendf(b, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape)
	for len(b)%64 != 63 {
		b = append(b, ' ')
	}
	b = append(b, '\n')
	binary.LittleEndian.PutUint16(b[8:], uint16(len(b)-10))
	return b
}
