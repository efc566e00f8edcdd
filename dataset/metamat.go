package dataset

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The parts of a level 5 MAT-file ("MAT-File Format", The MathWorks) that occur in the
// devkit's meta.mat.
const (
	matHeader     = 128
	matMatrix     = 14
	matCompressed = 15

	matStruct = 2 // classes of arrays
	matChar   = 4

	maxMeta = 64 << 20 // unpacked; the devkit's is under one megabyte
)

var errMAT = errors.New("not a level 5 MAT-file with an array of structs synsets")

// parseMeta reads the synsets of an ILSVRC devkit's meta.mat: an array of
// structs with ILSVRC2012_ID, WNID, words and num_children. Synsets with children
// are groups of classes, and are left out.
func parseMeta(data []byte) ([]synset, error) {
	if len(data) < matHeader || !bytes.HasPrefix(data, []byte("MATLAB 5.0")) || string(data[126:128]) != "IM" {
		return nil, errMAT
	}
	for rest := data[matHeader:]; len(rest) > 0; {
		kind, body, next, err := matElement(rest)
		if err != nil {
			return nil, err
		}
		rest = next
		if kind == matCompressed {
			if body, err = inflate(body); err != nil {
				return nil, fmt.Errorf("%w: %w", errMAT, err)
			}
			if kind, body, _, err = matElement(body); err != nil {
				return nil, err
			}
		}
		if kind != matMatrix {
			continue
		}
		m, err := parseMatArray(body)
		if err != nil {
			return nil, err
		}
		if m.class == matStruct && m.name == "synsets" {
			return m.synsets()
		}
	}
	return nil, errMAT
}

func inflate(data []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxMeta+1))
	if err == nil && len(out) > maxMeta {
		err = fmt.Errorf("more than %d bytes when unpacked", maxMeta)
	}
	return out, err
}

// matElement splits off the first data element. Elements are padded to eight bytes,
// except compressed ones. Short ones are packed into their tag.
func matElement(data []byte) (kind int, body, rest []byte, err error) {
	if len(data) < 8 {
		return 0, nil, nil, fmt.Errorf("%w: cut off", errMAT)
	}
	word := binary.LittleEndian.Uint32(data)
	if size := word >> 16; size != 0 {
		if size > 4 {
			return 0, nil, nil, fmt.Errorf("%w: short element of %d bytes", errMAT, size)
		}
		return int(word & 0xffff), data[4 : 4+size], data[8:], nil
	}
	size := uint64(binary.LittleEndian.Uint32(data[4:]))
	if size > uint64(len(data)-8) {
		return 0, nil, nil, fmt.Errorf("%w: element of %d bytes, %d are left", errMAT, size, len(data)-8)
	}
	body, rest = data[8:8+size], data[8+size:]
	if pad := int(-size & 7); word != matCompressed {
		rest = rest[min(pad, len(rest)):]
	}
	return int(word), body, rest, nil
}

// matArray is one array: the names and elements of its fields if it is an array of
// structs, else its values.
type matArray struct {
	class    int
	name     string
	elements int
	fields   []string
	cells    []byte // of structs: the fields' arrays, element by element
	values   []float64
}

func parseMatArray(data []byte) (m matArray, err error) {
	_, flags, data, err := matElement(data)
	if err != nil || len(flags) < 4 {
		return m, errors.Join(errMAT, err)
	}
	m.class = int(flags[0])
	_, dims, data, err := matElement(data)
	if err != nil {
		return m, err
	}
	m.elements = 1
	for ; len(dims) >= 4; dims = dims[4:] {
		n := int64(m.elements) * int64(int32(binary.LittleEndian.Uint32(dims)))
		if n < 0 || n > maxMeta {
			return m, fmt.Errorf("%w: array of %d elements", errMAT, n)
		}
		m.elements = int(n)
	}
	_, name, data, err := matElement(data)
	if err != nil {
		return m, err
	}
	m.name = string(name)
	if m.class != matStruct {
		if len(data) == 0 {
			return m, nil
		}
		kind, body, _, err := matElement(data)
		if err != nil {
			return m, err
		}
		m.values = matNumbers(kind, body)
		return m, nil
	}
	_, width, data, err := matElement(data)
	if err != nil || len(width) != 4 {
		return m, errors.Join(errMAT, err)
	}
	length := int(binary.LittleEndian.Uint32(width))
	_, names, data, err := matElement(data)
	if err != nil || length < 1 {
		return m, errors.Join(errMAT, err)
	}
	for ; len(names) >= length; names = names[length:] {
		field, _, _ := strings.Cut(string(names[:length]), "\x00")
		m.fields = append(m.fields, field)
	}
	m.cells = data
	return m, nil
}

// matNumbers converts the stored values to float64. MATLAB stores integral doubles, and
// text, in the smallest type that holds them.
func matNumbers(kind int, body []byte) []float64 {
	sizes := map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2}
	size := sizes[kind]
	if size == 0 {
		return nil
	}
	var out []float64
	for ; len(body) >= size; body = body[size:] {
		var v float64
		switch kind {
		case 1:
			v = float64(int8(body[0]))
		case 2, 16:
			v = float64(body[0])
		case 3:
			v = float64(int16(binary.LittleEndian.Uint16(body)))
		case 4, 17:
			v = float64(binary.LittleEndian.Uint16(body))
		case 5:
			v = float64(int32(binary.LittleEndian.Uint32(body)))
		case 6:
			v = float64(binary.LittleEndian.Uint32(body))
		case 7:
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(body)))
		case 9:
			v = math.Float64frombits(binary.LittleEndian.Uint64(body))
		case 12:
			v = float64(int64(binary.LittleEndian.Uint64(body)))
		case 13:
			v = float64(binary.LittleEndian.Uint64(body))
		}
		out = append(out, v)
	}
	return out
}

// text returns the characters of a char array.
func (m matArray) text() string {
	var b strings.Builder
	for _, v := range m.values {
		b.WriteRune(rune(v))
	}
	return b.String()
}

// number returns the value of an array with one value, else -1.
func (m matArray) number() int {
	if len(m.values) != 1 || m.values[0] != math.Trunc(m.values[0]) || math.Abs(m.values[0]) > 1<<30 {
		return -1
	}
	return int(m.values[0])
}

func (m matArray) synsets() ([]synset, error) {
	var list []synset
	rest := m.cells
	for range m.elements {
		s, children := synset{id: -1}, 0
		for _, f := range m.fields {
			kind, body, next, err := matElement(rest)
			if err != nil {
				return nil, err
			}
			rest = next
			if kind != matMatrix || f == "children" || f == "gloss" {
				continue
			}
			cell, err := parseMatArray(body)
			if err != nil {
				return nil, err
			}
			switch f {
			case "ILSVRC2012_ID", "ILSVRC2010_ID":
				s.id = cell.number()
			case "WNID":
				s.wnid = cell.text()
			case "words":
				s.title = cell.text()
			case "num_children":
				children = cell.number()
			}
		}
		if children != 0 {
			continue
		}
		if !isWNID(s.wnid) || s.id < 1 {
			return nil, fmt.Errorf("%w: synset %d: WNID %q, id %d", errMAT, len(list)+1, s.wnid, s.id)
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, errMAT
	}
	return list, nil
}
