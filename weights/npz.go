package weights

import (
	"archive/zip"
	"cmp"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/tensor"
)

// npzArray reports whether a member of a zip file is an array of NumPy.
func npzArray(name string) bool { return strings.HasSuffix(name, ".npy") }

func isNPZ(head []byte, r io.ReaderAt, size int64) bool { return zipHolds(head, r, size, npzArray) }

// The arrays of a file may take npzRatio times its bytes, and npzSlack more. Trained
// weights hardly compress, but zeros do. Deflate itself reaches a ratio of 1032.
const npzSlack, npzRatio = 16 << 20, 32

// readNPZ reads a file of numpy.savez or savez_compressed: a zip file of arrays, named
// after them with .npy.
func readNPZ(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	members, comment, err := zipMembers(r, size)
	if err != nil {
		return nil, err
	}
	all := make([]member, 0, len(members))
	total := uint64(0)
	for _, m := range members {
		if npzArray(m.Name) {
			all = append(all, m)
			total += min(m.UncompressedSize64, math.MaxInt64/uint64(len(members)))
		}
	}
	if total > npzSlack+npzRatio*uint64(size) {
		return nil, malformed("", "arrays of %d bytes in a file of %d: compressed beyond what weights can be", total, size)
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.begin, b.begin) })

	h := &header{meta: make(map[string]string)}
	for _, m := range all {
		e, err := npzEntry(r, m)
		if err != nil {
			return nil, err
		}
		h.entries = append(h.entries, e)
	}
	// The comment is the metadata in files that this package wrote, and any text in others.
	if strings.HasPrefix(comment, "{") {
		var own map[string]string
		if boundedjson.Unmarshal([]byte(comment), &own) == nil && own != nil {
			h.meta = own
		}
	}
	return h, nil
}

// npzEntry reads the header of an array.
func npzEntry(r io.ReaderAt, m member) (entry, error) {
	name := strings.TrimSuffix(m.Name, ".npy")
	var source io.ReaderAt = r
	begin, end := m.begin, m.end
	var h npyHeader
	var err error
	if m.Method == zip.Store {
		h, err = readNPYHeader(io.NewSectionReader(r, m.begin, m.end-m.begin), m.UncompressedSize64)
	} else {
		// If the claimed size is wrong, readFull fails.
		source, begin, end = &inflater{File: m.File}, 0, int64(m.UncompressedSize64)
		var opened io.ReadCloser
		if opened, err = m.Open(); err == nil {
			h, err = readNPYHeader(opened, m.UncompressedSize64)
			opened.Close()
		}
	}
	if err != nil {
		if fe, ok := err.(*FormatError); ok {
			fe.Tensor = name
			return entry{}, fe
		}
		return entry{}, malformed(name, "%v", err)
	}

	dtype, big := npyDType(h.descr)
	width := int64(dtypeBits(dtype) / 8)
	n, err := tensor.Size(h.shape...)
	if err != nil || width > 0 && int64(n) > math.MaxInt64/width {
		return entry{}, malformed(name, "shape %v has too many elements", h.shape)
	}
	if width == 0 { // strings, objects and records can be listed, but not read
		return entry{Entry: Entry{Name: name, DType: h.descr, Shape: h.shape}}, nil
	}
	if int64(n)*width != end-begin-h.length {
		return entry{}, malformed(name, "%s of shape %v is %d bytes, but the array has %d", h.descr, h.shape, int64(n)*width, end-begin-h.length)
	}
	v := &view{r: source, begin: begin + h.length, end: end, dtype: dtype, big: big, shape: h.shape, strides: make([]int, len(h.shape)), compressed: m.Method != zip.Store}
	stride := 1
	for i := range h.shape {
		a := i
		if !h.fortran {
			a = len(h.shape) - 1 - i
		}
		v.strides[a] = stride
		stride *= max(h.shape[a], 1)
	}
	if why := v.check(); why != "" {
		return entry{}, malformed(name, "%s: shape %v", why, h.shape)
	}
	return v.entry(name, m.Method == zip.Store), nil
}

// npyDType returns the type of elements for NumPy's name of it, "" if they aren't numbers,
// and whether they are big-endian.
func npyDType(descr string) (dtype string, big bool) {
	if len(descr) != 3 || strings.IndexByte("<>|=", descr[0]) < 0 {
		return "", false
	}
	switch descr[1:] {
	case "f2", "f4", "f8":
		dtype = "F" + strconv.Itoa(8*int(descr[2]-'0'))
	case "i1", "i2", "i4", "i8":
		dtype = "I" + strconv.Itoa(8*int(descr[2]-'0'))
	case "u1", "u2", "u4", "u8":
		dtype = "U" + strconv.Itoa(8*int(descr[2]-'0'))
	case "b1":
		dtype = "BOOL"
	case "c8":
		dtype = "C64"
	}
	return dtype, descr[0] == '>'
}

// npyHeader is the header of a .npy file.
type npyHeader struct {
	descr   string
	fortran bool // column-major
	shape   []int
	length  int64 // of the header in bytes
}

const maxNPYHeader = 64 << 10

// readNPYHeader reads the header of a .npy file of so many bytes: a magic number, a
// version, a length, and a dict in Python's notation,
//
//	{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3, 3, 64), }
//
// It reads no other notation.
func readNPYHeader(r io.Reader, size uint64) (npyHeader, error) {
	var h npyHeader
	opening := make([]byte, 12)
	if _, err := io.ReadFull(r, opening[:8]); err != nil {
		return h, npyShort(err)
	}
	if string(opening[:6]) != "\x93NUMPY" {
		return h, malformed("", "no array of NumPy: begins with %q", opening[:6])
	}
	width := 4
	switch opening[6] {
	case 1:
		width = 2
	case 2, 3:
	default:
		return h, malformed("", "version %d of NumPy's format, want 1 to 3", opening[6])
	}
	if _, err := io.ReadFull(r, opening[8:8+width]); err != nil {
		return h, npyShort(err)
	}
	clear(opening[8+width:])
	length := binary.LittleEndian.Uint32(opening[8:])
	h.length = 8 + int64(width) + int64(length)
	if length > maxNPYHeader || uint64(h.length) > size {
		return h, malformed("", "header of %d bytes claimed in an array of %d", length, size)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, npyShort(err)
	}
	p := &npyParser{s: string(text)}
	if err := p.header(&h); err != nil {
		return h, err
	}
	return h, nil
}

// npyShort returns the error of a header that is cut off, where err is its end.
func npyShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return malformed("", "truncated in the array's header")
	}
	return err
}

// npyParser reads the dict of a header from byte i of s on.
type npyParser struct {
	s string
	i int
}

// header reads the dict into h.
func (p *npyParser) header(h *npyHeader) error {
	if !p.next("{") {
		return p.want("{")
	}
	var descr, order, shape bool
	for !p.next("}") {
		key, ok := p.quoted()
		if !ok || !p.next(":") {
			return p.want("a key")
		}
		ok = false
		switch key {
		case "descr":
			if h.descr, ok = p.quoted(); !ok { // a record's list of fields
				h.descr, ok = p.brackets()
			}
			descr = true
		case "fortran_order":
			h.fortran = p.next("True")
			ok = h.fortran || p.next("False")
			order = true
		case "shape":
			h.shape, ok = p.tuple()
			shape = true
		}
		if !ok {
			return p.want("descr, fortran_order or shape")
		}
		if !p.next(",") {
			if !p.next("}") {
				return p.want(",")
			}
			break
		}
	}
	if !descr || !order || !shape {
		return malformed("", "header without descr, fortran_order or shape")
	}
	return nil
}

// want returns the error of a byte that is something else.
func (p *npyParser) want(what string) error {
	return malformed("", "header byte %d: want %s", p.i, what)
}

// next skips spaces, then want, and reports whether want was there.
func (p *npyParser) next(want string) bool {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
	if strings.HasPrefix(p.s[p.i:], want) {
		p.i += len(want)
		return true
	}
	return false
}

// quoted reads a string in single or double quotes, without escapes.
func (p *npyParser) quoted() (string, bool) {
	quote := "'"
	if !p.next(quote) {
		if quote = `"`; !p.next(quote) {
			return "", false
		}
	}
	s, _, ok := strings.Cut(p.s[p.i:], quote)
	p.i += len(s) + 1
	if !ok || strings.Contains(s, `\`) {
		p.i = min(p.i, len(p.s))
		return "", false
	}
	return s, true
}

// brackets reads a list and returns its text.
func (p *npyParser) brackets() (string, bool) {
	p.next("")
	start, depth := p.i, 0
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				p.i++
				return p.s[start:p.i], true
			}
		}
		if depth == 0 {
			return "", false
		}
	}
	return "", false
}

// tuple reads the lengths of the axes: (), (3,) or (3, 4).
func (p *npyParser) tuple() ([]int, bool) {
	shape := []int{}
	if !p.next("(") {
		return nil, false
	}
	for !p.next(")") {
		p.next("")
		start := p.i
		for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
			p.i++
		}
		n, err := strconv.Atoi(p.s[start:p.i])
		if err != nil || len(shape) == maxAxes {
			return nil, false
		}
		shape = append(shape, n)
		p.next("L") // of Python 2
		if !p.next(",") {
			return shape, p.next(")")
		}
	}
	return shape, true
}
